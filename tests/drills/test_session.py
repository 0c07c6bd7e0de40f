"""A whole session, as a user runs it: healthy, with idle injectors, with a defect; and judged again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from harness.commands.drill import exit_code
from tests.drills.session import ROOT, DrillRun, tiny_scenarios

SEMANTIC = "drills/semantic_pathway"


def _harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_healthy_session_passes_and_is_judged_again_byte_for_byte(tmp_path: Path) -> None:
    with DrillRun(tmp_path, SEMANTIC, "drills/control") as run:
        assert run.wait() == 0, run.output
        verdict = run.verdict()
        assert verdict["verdict"] == "PASS"
        assert {case["verdict"] for case in verdict["cases"]} == {"PASS"}
        assert all(case["checks"] for case in verdict["cases"])
        assert (run.session / "report.html").stat().st_size > 10_000
        assert "report.html" in run.output
        paths = [run.session / "verdict.json", *run.session.glob("*/verdict.json")]
        before = {path: path.read_bytes() for path in paths}
        again = _harness("judge", str(run.session))
        assert again.returncode == 0, again.stderr
        assert {path: path.read_bytes() for path in paths} == before
        case = _harness("judge", str(run.case()), "--json")
        assert case.returncode == 0
        assert '"verdict": "PASS"' in case.stdout
        assert not psutil.pid_exists(run.target_pid())


def test_an_idle_injector_earns_no_pass(tmp_path: Path) -> None:
    with DrillRun(tmp_path, SEMANTIC, "-p", "tests.defects.idle_injectors") as run:
        assert run.wait() == 1, run.output
        assert run.verdict()["verdict"] == "NOT_EXERCISED", run.verdict()["cases"][0]["reasons"]
        suite = ElementTree.parse(run.junit).getroot()[0]
        assert (suite.get("errors"), suite.get("failures")) == ("1", "0"), run.output


def test_a_defect_fails_and_the_assertion_explains_itself(tmp_path: Path) -> None:
    with DrillRun(tmp_path, SEMANTIC, "--defect", "no_fallback") as run:
        assert run.wait() == 1, run.output
        case = run.verdict()["cases"][0]
        assert case["verdict"] == "FAIL"
        assert "semantic_timeout_ratio" in case["reasons"][-1]
        suite = ElementTree.parse(run.junit).getroot()[0]
        assert (suite.get("errors"), suite.get("failures")) == ("0", "1"), run.output
        for part in ("measured:", "bound:", "slo.toml", "window:", "samples", "case:", str(run.case())):
            assert part in run.output


@pytest.mark.parametrize(
    ("code", "verdict", "ours"),
    [
        (0, "PASS", 0),
        (1, "FAIL", 1),
        (1, "INCONCLUSIVE", 4),
        (1, "NOT_EXERCISED", 1),
        (1, "ABORTED", 1),
        (1, "UNSUPPORTED", 1),  # --strict-capabilities
        (1, "PASS", 1),  # a test that is no drill
        (1, None, 1),
        (2, "ABORTED", 130),
        (3, None, 3),
        (4, None, 3),
        (5, None, 3),
    ],
)
def test_pytests_exit_codes_become_ours(code: int, verdict: str | None, ours: int) -> None:
    assert exit_code(code, verdict) == ours


def test_an_undecided_case_is_run_again_both_attempts_are_kept_and_the_command_answers_json_alone_and_four(
    tmp_path: Path,
) -> None:
    limits = tiny_scenarios(tmp_path) / "slo.toml"
    limits.write_text(limits.read_text().replace("[error_rate]\nvalue = 0.02", "[error_rate]\nvalue = 0.000001"))
    own = {"ENGRAM_SCENARIOS_DIR": str(limits.parent), "ENGRAM_STATE_DIR": str(tmp_path / "state")}
    results = tmp_path / "results"
    options = ["--profile", "tiny", "--retry-inconclusive", "1", "--results-dir", str(results)]
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "drill", "--json", "drills/control", *options],
        cwd=ROOT,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert json.loads(done.stdout)["verdict"] == "INCONCLUSIVE"
    assert "report: " in done.stderr
    names = sorted(path.name for path in results.glob("*/*") if path.is_dir())
    assert len(names) == 2
    assert names[1] == names[0] + "~2"
    assert "samples would decide" in done.stderr
    assert "Inconclusive" in done.stderr
