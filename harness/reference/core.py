"""What every part of the service shares."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from harness.reference.breaker import CircuitBreaker
from harness.reference.chaos import Chaos
from harness.reference.config import Config
from harness.reference.defects import Defects
from harness.reference.flags import FlagStore
from harness.reference.metrics import Metrics
from harness.reference.store import Store


@dataclass(slots=True)
class Core:
    """Built once at start, handed to recall, consolidation and the API."""

    config: Config
    defects: Defects
    flags: FlagStore
    chaos: Chaos
    metrics: Metrics
    breaker: CircuitBreaker
    store: Store
    api_key: str | None
    milestone: str = "17"
    started: float = field(default_factory=time.monotonic)
    migrated: float = -math.inf
    """When dual memory was last turned on, on the monotonic clock."""
