"""``harness judge``, ``report`` and ``heal``: what is done with records after a run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED, EXIT_UNUSABLE, RecordError
from harness.model import Verdict
from harness.timeline.record import is_case
from harness.timeline.soak_record import soak_in

EXIT_OF_VERDICT = {
    Verdict.PASS: EXIT_OK,
    Verdict.UNSUPPORTED: EXIT_OK,
    Verdict.INCONCLUSIVE: EXIT_UNDECIDED,
    Verdict.NOT_EXERCISED: EXIT_FAILED,
    Verdict.ABORTED: EXIT_FAILED,
    Verdict.FAIL: EXIT_FAILED,
}


def register(commands: Any) -> None:
    """Add the commands' parsers."""
    judge = commands.add_parser("judge", help="judge a recorded case or session again")
    judge.add_argument("directory", type=Path, metavar="DIR")
    judge.add_argument("--json", action="store_true", help="print verdict.json")
    judge.set_defaults(run=_judge)

    report = commands.add_parser("report", help="write report.html of a recorded session again")
    report.add_argument("directory", type=Path, metavar="DIR")
    report.add_argument("--json", action="store_true", help="print where it was written, as JSON")
    report.set_defaults(run=_report)

    heal = commands.add_parser("heal", help="heal whatever a killed harness left in force")
    heal.add_argument("--json", action="store_true", help="print what was healed, as JSON")
    heal.set_defaults(run=_heal)


def _judge(arguments: argparse.Namespace) -> int:
    from harness.drilling import write_case_verdict
    from harness.report.session import JudgedSession, judge_session, never_started, write_judged

    folder: Path = arguments.directory
    soak = soak_in(folder)
    if soak is not None:
        return _judge_soak(soak, as_json=arguments.json)
    if is_case(folder):
        case = write_case_verdict(folder)
        judged = JudgedSession(folder, (case,), case.json)
    elif folder.is_dir():
        _check_session(folder)
        judged = judge_session(folder)
        write_judged(judged)
    else:
        raise RecordError(
            "no such directory", where=str(folder), hint="give a session or case directory below results/"
        )
    verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    if arguments.json:
        print(json.dumps(verdict, indent=2, sort_keys=True))
    else:
        _print_verdict(verdict)
    code = EXIT_OF_VERDICT[Verdict(verdict["verdict"])]
    return EXIT_UNUSABLE if code == EXIT_FAILED and never_started(judged) else code  # as the session itself ended


def _check_session(folder: Path) -> None:
    """Refuse a directory that is nothing of ours before a verdict is written into it."""
    from harness.report.session import session_folders

    if not session_folders(folder):
        raise RecordError("holds no case", where=str(folder), hint="give a session or case directory below results/")


def _judge_soak(folder: Path, *, as_json: bool) -> int:
    from harness.report.soak import read_soak, write_soak_verdict
    from harness.report.soak_terminal import verdict_text

    record = read_soak(folder)
    judgement = record.judge()
    verdict = write_soak_verdict(record, judgement)
    print(json.dumps(verdict, indent=2, sort_keys=True) if as_json else verdict_text(verdict))
    return EXIT_UNUSABLE if record.never_began else EXIT_OF_VERDICT[judgement.verdict]  # as the soak itself ended


def _print_verdict(verdict: dict[str, Any]) -> None:
    for case in verdict.get("cases", [verdict]):
        print(f"{case['verdict']:<14}{case['name']}")
        for reason in case.get("reasons", []):
            print(f"              {reason}")
    if "cases" in verdict:
        print(f"session {verdict['session']}: {verdict['verdict']}")


def _report(arguments: argparse.Namespace) -> int:
    from harness.report.html import write_report
    from harness.report.session import write_verdicts

    soak = soak_in(arguments.directory)
    if soak is not None:
        return _report_soak(soak, as_json=arguments.json)
    _check_session(arguments.directory)
    session = write_verdicts(arguments.directory)
    path = write_report(arguments.directory)
    print(json.dumps({"report": str(path), "verdict": session["verdict"]}) if arguments.json else path)
    return EXIT_OK


def _report_soak(folder: Path, *, as_json: bool) -> int:
    from harness.report.soak import read_soak, write_soak_verdict
    from harness.report.soak_html import write_soak_report

    record = read_soak(folder)
    judgement = record.judge()
    write_soak_verdict(record, judgement)
    path = write_soak_report(folder, record, judgement)
    print(json.dumps({"report": str(path), "verdict": judgement.verdict.value}) if as_json else path)
    return EXIT_OK


def _heal(arguments: argparse.Namespace) -> int:
    from harness.faults.healing import heal_all

    report = heal_all()
    if arguments.json:
        left = {"healed": report.healed, "still_open": report.still_open, "in_use": report.in_use}
        print(json.dumps({**left, "problems": report.problems}))
    else:
        lines = [f"healed: {what}" for what in report.healed]
        lines += [f"NOT healed: {what}: {why}" for what, why in report.still_open.items()]
        lines += [f"in use, left alone: {what}" for what in report.in_use] + report.problems
        print("\n".join(lines) if lines else "nothing was left in force")
    return EXIT_OK if report.clean else EXIT_FAILED
