"""How long an alert may take follows from its own rule, under any time scale."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.monitoring.assets import load_spec
from harness.monitoring.expectations import alert_plan

SPEC = load_spec(Path(__file__).resolve().parents[2] / "scenarios")
LOOKS_S = 2 * 15 + 3 * 30


@pytest.mark.parametrize(
    ("name", "window_s", "for_s"),
    [
        ("BlendedRecallLatencyP99Breach", 300, 600),
        ("ConsolidationFailures", 3600, 3600),
        ("CanaryP99LatencyRegression", 300, 300),  # through a recorded series that reads another
        ("EngramDown", 0, 120),
        ("EngramMetricsMissing", 0, 300),
    ],
)
def test_windows_and_waits(name: str, window_s: float, for_s: float) -> None:
    plan = alert_plan(SPEC, name, 1.0)
    assert plan.fires_s == window_s + for_s + LOOKS_S + 2
    assert plan.resolves_s == window_s + LOOKS_S + 2
    short = alert_plan(SPEC, name, 60.0)
    assert short.fires_s == pytest.approx((window_s + for_s + LOOKS_S) / 60 + 2)
    assert "monitoring.toml" in short.source


def test_an_unknown_alert_is_refused() -> None:
    with pytest.raises(UsageError, match="no alert 'Nothing'"):
        alert_plan(SPEC, "Nothing", 1.0)
