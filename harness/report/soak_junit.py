"""A soak as JUnit XML: a test case a criterion, for job runners."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from harness.errors import RecordError
from harness.model import Verdict

_ERRORS = frozenset({Verdict.ABORTED, Verdict.NOT_EXERCISED, Verdict.INCONCLUSIVE})


def junit_xml(verdict: dict[str, Any]) -> str:
    """FAIL is a failure; what could not be decided is an error; UNSUPPORTED is skipped."""
    rows = verdict["criteria"]
    kinds = [Verdict(row["verdict"]) for row in rows]
    suite = ElementTree.Element(
        "testsuite",
        name="engram soak",
        tests=str(len(rows)),
        failures=str(sum(kind is Verdict.FAIL for kind in kinds)),
        errors=str(sum(kind in _ERRORS for kind in kinds)),
        skipped=str(sum(kind is Verdict.UNSUPPORTED for kind in kinds)),
        time=f"{verdict['observed_s'] / verdict['time_scale']:.3f}",
    )
    for row, kind in zip(rows, kinds, strict=True):
        case = ElementTree.SubElement(suite, "testcase", classname="soak", name=row["name"])
        message = _printable(f"{row['label']}: {row['reason'] or kind.value} [{row['source']}]")
        if kind is Verdict.FAIL:
            ElementTree.SubElement(case, "failure", message=message)
        elif kind in _ERRORS:
            ElementTree.SubElement(case, "error", message=message, type=kind.value)
        elif kind is Verdict.UNSUPPORTED:
            ElementTree.SubElement(case, "skipped", message=message)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def _printable(text: str) -> str:
    """XML cannot hold control characters, and a target's own words may."""
    return "".join(c if c.isprintable() else " " for c in text)


def write_junit(verdict: dict[str, Any], path: Path) -> None:
    """Write it. Raises :class:`RecordError` where that is not possible."""
    try:
        path.write_text(junit_xml(verdict), encoding="utf-8")
    except OSError as error:
        raise RecordError(f"cannot write: {error.strerror}", where=str(path)) from error
