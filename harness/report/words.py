"""Numbers and verdicts as people read them."""

from __future__ import annotations

import math
import re
from typing import Any

from harness.judge.recovery import Recovery
from harness.model import Estimate, Verdict, number_from_json

MEANING: dict[Verdict, str] = {
    Verdict.PASS: "every fault took effect, was healed and seen healed, and every tolerance was met.",
    Verdict.FAIL: "the target broke a tolerance: this is a finding about the service, not about the run.",
    Verdict.ABORTED: "a case was cut short, so it proves nothing; its timeline says whether all was healed.",
    Verdict.NOT_EXERCISED: "a fault was never seen to take effect, so surviving it proves nothing.",
    Verdict.INCONCLUSIVE: "the samples cannot decide a case, either way; its reason says what would.",
    Verdict.UNSUPPORTED: "the target lacks what a drill needs; nothing that could be run went wrong.",
}


def session_sentence(verdict: Verdict, cases: list[dict[str, Any]]) -> str:
    """What the session's verdict means, in one sentence."""
    if not cases:
        return "The session holds no case, so nothing was proven."
    same = sum(case["verdict"] == verdict.value for case in cases)
    which = "the one case" if len(cases) == 1 else f"{'all' if same == len(cases) else f'{same} of'} {len(cases)} cases"
    return f"{verdict.value} for {which}: {MEANING[verdict]}"


def plain_number(value: float, digits: int = 4) -> str:
    """A number with ``digits`` significant digits and no exponent where it can be avoided."""
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == round(value) and abs(value) < 1e15:
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    return f"{float(text):,.12f}".rstrip("0").rstrip(".") if 1e-4 <= abs(value) < 1e9 else text


def with_unit(value: float, unit: str) -> str:
    """A value in its unit; a ratio below 2 is written as it is compared, as a plain number."""
    return plain_number(value) if unit in ("", "ratio") else f"{plain_number(value)} {unit}"


def interval_text(low: float, high: float) -> str:
    """``[low, high]``; empty where both are the same or unknown."""
    if math.isnan(low) or math.isnan(high) or low == high:
        return ""
    return f"[{plain_number(low)}, {plain_number(high)}]"


def estimate_text(estimate: Estimate) -> str:
    """Value and interval; ``unknown`` with nothing behind it where there was no data."""
    if not estimate.samples or math.isnan(estimate.value):
        return "unknown"
    text = interval_text(estimate.interval.low, estimate.interval.high)
    return f"{with_unit(estimate.value, estimate.unit)} {text}".strip()


def json_estimate_text(value: dict[str, Any]) -> str:
    """The same, of an estimate out of ``verdict.json``."""
    measured = number_from_json(value.get("value"))
    if not value.get("samples") or math.isnan(measured):
        return "no data"
    return with_unit(measured, str(value.get("unit", "")))


def json_interval_text(value: dict[str, Any]) -> str:
    """The interval of an estimate out of ``verdict.json``."""
    return interval_text(number_from_json(value.get("low")), number_from_json(value.get("high")))


def seconds_text(value: float) -> str:
    """A duration: ms below one second."""
    if math.isinf(value):
        return "∞"
    return f"{value * 1e3:.0f} ms" if value < 0.9995 else f"{value:.2f} s"


def recovery_text(recovery: Recovery) -> str:
    """A recovery as one phrase."""
    low, high = recovery.seconds.low, recovery.seconds.high
    if recovery.state == "never_left":
        return "never left tolerance"
    if recovery.state == "unknown":
        return "too few events to tell"
    if recovery.state == "censored":
        return f"not back: more than {seconds_text(low)}"
    if high < 0.9995:
        return f"{low * 1e3:.0f}–{high * 1e3:.0f} ms"
    return f"{low:.2f}–{high:.2f} s"


def fault_text(fault: dict[str, Any]) -> str:
    """The fault's own words where it gave some, else ``semantic latency, latency_ms = 50``."""
    if isinstance(fault.get("text"), str):
        return str(fault["text"])
    kind = str(fault.get("kind", "") or "unknown").replace("_", " ")
    doses = [
        f"{key} = {value:g}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in fault.items()
        if key != "kind"
    ]
    return ", ".join([kind, *doses])


def signal_name(name: str) -> str:
    """A signal's name in words."""
    return re.sub(r"\bslo\b", "SLO", name.replace("_", " "))
