"""Durations of PromQL, and expressions at another time scale."""

from __future__ import annotations

import re

from harness.scenario.monitoring import parse_seconds

_WINDOW = re.compile(r"\[(\w+)(:\w*)?\]")
_OFFSET = re.compile(r"\boffset (\w+)")
_WHOLE = (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def duration(seconds: float) -> str:
    """A duration as Prometheus writes it, to the millisecond: ``5m``, ``90s``, ``250ms``."""
    milliseconds = round(seconds * 1000)
    if milliseconds % 1000:
        return f"{milliseconds}ms"
    whole = milliseconds // 1000
    for unit, size in _WHOLE:
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def scaled(expr: str, time_scale: float) -> str:
    """``expr`` with every window and offset divided by ``time_scale``."""
    if time_scale == 1.0:
        return expr

    def window(match: re.Match[str]) -> str:
        step = match.group(2) or ""
        if len(step) > 1:
            step = f":{duration(parse_seconds(step[1:]) / time_scale)}"
        return f"[{duration(parse_seconds(match.group(1)) / time_scale)}{step}]"

    expr = _WINDOW.sub(window, expr)
    return _OFFSET.sub(lambda match: f"offset {duration(parse_seconds(match.group(1)) / time_scale)}", expr)
