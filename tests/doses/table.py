"""``python -m tests.doses.table [--fault NAME]``: every fault, by an honest and by four false injectors.

Prints a table; ``--document`` writes it to ``docs/doses.md``. Exit status 1 where a lie was taken for the fault, an
honest injection was not seen to act, or anything was left behind.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.faults.catalogue import FAULTS
from tests.doses.catalogue import DOSES, Dose
from tests.doses.trial import HONEST, LIES, Bench, Row
from tests.provenance import Provenance

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "doses.md"


def trials(doses: Sequence[Dose], folder: Path, lies: Sequence[str] = (HONEST, *LIES)) -> Iterator[Row | str]:
    """A row per trial, or why this machine cannot do a fault."""
    with Bench(folder) as bench:
        for dose in doses:
            if why := bench.lacks(dose):
                yield f"{dose.name}: {why}"
                continue
            for lie in lies:
                yield bench.trial(dose, lie)


def summary(rows: Sequence[Row], doses: Sequence[Dose]) -> str:
    """A line per fault, a column per injector; what is not as it must be is bold."""
    text = ["| fault | half of it | honest | nothing | half | wrong target | late |", "|---|---|---|---|---|---|---|"]
    for dose in doses:
        found = {row.lie: row for row in rows if row.fault == dose.name and row.lie in (HONEST, *LIES)}
        if found:
            cells = [_cell(found.get(lie)) for lie in (HONEST, *LIES)]
            text.append(f"| {dose.name} | {dose.half_text} | {' | '.join(cells)} |")
    return "\n".join(text)


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    said = row.verdict
    said += f"; left: {row.residual}" if row.residual else ""
    return said if row.good else f"**{said}**"


def untried() -> list[str]:
    """Kinds of the catalogue without a dose here; the control case has none."""
    return sorted({fault.kind for fault in FAULTS} - {dose.fault.kind for dose in DOSES} - {"no_fault"})


def document(text: str, rows: Sequence[Row], unable: Sequence[str], took_s: float, where: str) -> str:
    """The whole of ``docs/doses.md``; ``where`` says what machine and commit."""
    lies = [row for row in rows if row.lie != HONEST]
    fooled = sum(not row.good for row in lies)
    cannot = "\n\nThis machine cannot do: " + "; ".join(unable) + "." if unable else ""
    return (
        "# Injectors that lie\n\n"
        f"Written by `make doses` ({took_s / 60:.0f} min, {took_s / max(1, len(rows)):.1f} s a trial). {where}\n\n"
        "Every fault of the catalogue is put into a live reference Engram by its own injector, and by four that answer "
        "as if they were it: one does nothing, one puts half of the dose in, one acts on another target, one acts "
        "after the time in which the effect has to be seen. The verdict is the judge's, of a case that passes but for "
        "what this injection recorded: PASS in the honest column, where the same observer sees the fault act and go, "
        "and never in the others.\n\n"
        f"{len(lies)} false injections, {fooled} not told; {len(rows) - len(lies)} honest ones.\n\n"
        f"{text}{cannot}\n"
    )


def main() -> int:
    """Run, print, write the document where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fault", action="append", default=[], help="only doses whose name begins so")
    parser.add_argument("--document", action="store_true", help="write docs/doses.md")
    given = parser.parse_args()
    doses = [d for d in DOSES if not given.fault or any(d.name.startswith(name) for name in given.fault)]
    started = time.monotonic()
    rows: list[Row] = []
    unable: list[str] = []
    with tempfile.TemporaryDirectory(prefix="engram-doses-") as folder, Provenance() as machine:
        for found in trials(doses, Path(folder)):
            if isinstance(found, str):
                unable.append(found)
                print(f"cannot: {found}", flush=True)
                continue
            rows.append(found)
            mark = "" if found.good else "BAD "
            took = f"{found.took_s:.1f} s"
            print(f"{mark}{found.fault} · {found.lie} · {found.verdict} · {took} · {found.evidence}", flush=True)
    print(summary(rows, doses))
    print(machine.sentence)
    if given.document:
        took_s = time.monotonic() - started
        text = document(summary(rows, doses), rows, unable, took_s, machine.sentence)
        DOCUMENT.write_text(text, encoding="utf-8")
    return 0 if rows and all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
