"""What Prometheus had of a case stands in its report; where nothing was kept, the report says why."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from harness.report.html import write_report
from harness.report.prometheus import P99
from harness.timeline.jsonl import JsonLines
from harness.timeline.record import read_case
from tests.cases import write_case


def alert(name: str, state: str, severity: str = "warning") -> str:
    return f"ALERTS{{alertname={name},alertstate={state},severity={severity}}}"


def case(folder: Path, values: dict[str, Any], *, during: dict[str, Any] | None = None) -> Path:
    """A case with a row a second: ``values``, and ``during`` on top while the fault is in force."""
    write_case(folder, kind="semantic_latency")
    record = read_case(folder)
    begun, ended = (float(record.first(name)["t"]) for name in ("baseline_started", "load_stopped"))  # type: ignore[index]
    low, high = (float(record.first(name)["t"]) for name in ("fault_in_force", "heal_sent"))  # type: ignore[index]
    file = JsonLines(folder / "metrics" / "prometheus.jsonl")
    t = begun
    while t < ended:
        file.append({"t": t, "values": {**values, **(during or {} if low <= t <= high else {})}})
        t += 1.0
    file.close()
    return folder.parent


def page(session: Path) -> str:
    return html.unescape(write_report(session).read_text())


def test_signals_alerts_and_the_p99_beside_the_clients(tmp_path: Path) -> None:
    values = {"up": 1.0, P99: 0.004, "engram:up": 1.0, "engram:slo_recall:bad_ratio_5m": 0.0, "engram_x_total": 7.0}
    values |= {alert("Always", "firing", "none"): 1.0}
    text = page(case(tmp_path / "case", values, during={P99: 0.0521, alert("Slow", "firing"): 1.0}))
    assert "Recall p99 as Prometheus has it" in text
    assert "alerts: Slow firing (during)" in text
    assert "Always" not in text
    assert f"<td><code>{P99}</code></td><td>0.004</td><td>0.0521</td><td>0.004</td>" in text
    assert "engram:slo_recall" not in text
    assert "engram_x_total" not in text


def test_a_window_without_a_value_is_no_zero(tmp_path: Path) -> None:
    text = page(case(tmp_path / "case", {"up": None}, during={"up": 1.0}))
    assert "<td><code>up</code></td><td>no data</td><td>1</td><td>no data</td>" in text
    assert "no alert was pending or firing" in text


def test_why_nothing_was_kept(tmp_path: Path) -> None:
    failed = (30.0, {"event": "series_not_kept", "reason": "http://p: no answer in 5 s"})
    write_case(tmp_path / "case", kind="semantic_latency", extra_events=(failed,))
    assert "Its series were not kept: http://p: no answer in 5 s" in page(tmp_path)


def test_without_prometheus_nothing_is_said_of_it(tmp_path: Path) -> None:
    write_case(tmp_path / "case", kind="semantic_latency")
    assert "Prometheus" not in page(tmp_path)


def test_rows_that_make_no_sense_are_left_out(tmp_path: Path) -> None:
    session = case(tmp_path / "case", {"up": 1.0})
    with (tmp_path / "case" / "metrics" / "prometheus.jsonl").open("a") as file:
        file.write('{"t": 1.0}\n{"t": 2.0, "values": [1]}\n')
    assert "<code>up</code>" in page(session)
