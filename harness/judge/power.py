"""What a sample can decide, said before it is taken (STATISTICS.md, "effect size, power").

Alpha 0.05 and power 0.80 are the runbook's (A/B Testing Methodology, "Statistical Significance Thresholds").
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from harness.judge.intervals import Floats

ALPHA = 0.05
POWER = 0.80
RUNBOOK_MINIMUM = 1000  # "1000 queries per cohort per day": enough for its t-test, far too few for a P99


def _z(alpha: float, power: float) -> float:
    return -float(special.ndtri(alpha)) + float(special.ndtri(power))


def tail_weight(values: Floats, q: float) -> float:
    """``f(x_q) * x_q``: the density of the log values at their ``q`` quantile, from a sample; NaN where it cannot tell.

    Read from the slope of the empirical quantiles over a quarter of the tail at each side.
    """
    if len(values) < 8 or not bool(np.isfinite(values).all()):
        return math.nan
    step = (1 - q) / 4
    low, high = (float(np.quantile(values, p)) for p in (q - step, q + step))
    if low <= 0 or high <= low:
        return math.nan
    return 2 * step / (math.log(high) - math.log(low))


def tail_weight_log_normal(q: float, sigma: float) -> float:
    """The same for log-normal values whose logarithms have standard deviation ``sigma``."""
    z = float(special.ndtri(q))
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / sigma


def requests_for_quantile(
    q: float,
    margin: float,
    weight: float,
    *,
    true_change: float = 0.0,
    design_effect: float = 1.0,
    control_per_canary: float = 1.0,
    alpha: float = ALPHA,
    power: float = POWER,
) -> int | None:
    """Requests of the canary that decide a change of a quantile against a margin; None where none would.

    ``n = (z_alpha + z_power)^2 q (1 - q) deff (1 + 1/k) / (weight^2 delta^2)`` with ``delta`` the distance of the true
    log change from the log margin, ``weight`` as :func:`tail_weight` gives it, and ``k`` control requests a canary
    request (STATISTICS.md has k = 1). ``true_change`` and ``margin`` are relative: 0.05 is 5 %.
    """
    delta = abs(math.log1p(margin) - math.log1p(true_change))
    if delta <= 0 or not math.isfinite(weight) or weight <= 0:
        return None
    spread = q * (1 - q) * max(1.0, design_effect) * (1 + 1 / control_per_canary)
    return math.ceil(_z(alpha, power) ** 2 * spread / (weight * delta) ** 2)


def requests_for_share(base: float, changed: float, *, alpha: float = ALPHA, power: float = POWER) -> int | None:
    """Requests per arm that tell two shares apart, one-sided; None where they do not differ."""
    if base == changed or not (0 <= base <= 1 and 0 <= changed <= 1):
        return None
    variance = base * (1 - base) + changed * (1 - changed)
    return math.ceil(_z(alpha, power) ** 2 * variance / (base - changed) ** 2)


def requests_for_mean(effect_size: float, *, alpha: float = ALPHA, power: float = POWER) -> int | None:
    """Independent observations per arm that see a difference of ``effect_size`` standard deviations, two-sided."""
    if effect_size == 0 or not math.isfinite(effect_size):
        return None
    return math.ceil(2 * _z(alpha / 2, power) ** 2 / effect_size**2)


def clean_requests(limit: float, alpha: float = ALPHA) -> int:
    """Requests without one error that prove an error rate of at most ``limit``: 2,995 for 0.1 %."""
    return math.ceil(math.log(alpha) / math.log1p(-limit))


def pairs_for_margin(spread: float, margin: float, *, alpha: float = ALPHA, power: float = POWER) -> int:
    """Interleaved pairs that decide a margin on paired log ratios of standard deviation ``spread``."""
    delta = abs(math.log1p(margin))
    normal = _z(alpha, power) ** 2 * (spread / delta) ** 2
    return max(3, math.ceil(normal + _z(alpha, 0.5) ** 2 / 2))  # Student's t costs about z^2/2 pairs more


def detectable_quantile_change(q: float, requests: int, weight: float, *, design_effect: float = 1.0) -> float:
    """The smallest relative change of a quantile that so many requests per arm would see with power 0.80."""
    if requests <= 0 or not math.isfinite(weight) or weight <= 0:
        return math.inf
    error = math.sqrt(2 * q * (1 - q) * max(1.0, design_effect) / requests) / weight
    return math.expm1(_z(ALPHA, POWER) * error)
