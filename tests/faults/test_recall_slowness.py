"""A latency fault is told from a busy machine by the recalls it must have slowed."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import pytest

from harness.engram import EngramClient
from harness.engram.answers import Recalled, RecallMetadata
from harness.errors import TargetRefused
from harness.faults.recall_slowness import RecallSlowness
from harness.faults.witness import WitnessCue


class ScriptedClient:
    """Recalls that take as long as written, in milliseconds; None is refused. Without a script: 2 ms."""

    def __init__(self) -> None:
        self.times: deque[float | None] = deque()

    def recall(self, *_: Any, **__: Any) -> Recalled:
        took = self.times.popleft() if self.times else 2.0
        if took is None:
            raise TargetRefused("503")
        return Recalled((), RecallMetadata(cohort="canary", pathway="blended"), took / 1000.0, {})


@pytest.mark.parametrize(
    ("times", "effective", "healed"),
    [
        ([2, 2, 2, 2, 2], False, True),
        ([32, 33, 31, 40, 32], True, False),
        ([2, 25, 31, 40, 32], False, False),  # a busy machine: not proven, and not proven gone
        ([2, 2, 60, 2, 40], False, True),
        ([32, None, 31, 40, 32], False, False),  # a refusal is no slow recall
    ],
)
def test_every_recall_of_a_round_must_be_slower(times: list[float | None], effective: bool, healed: bool) -> None:
    client = ScriptedClient()
    observer = RecallSlowness(cast(EngramClient, client), WitnessCue(), latency_ms=30.0, least_ms=30.0)
    observer.baseline()
    client.times.extend(times)
    assert observer.effective().holds is effective
    client.times.extend(times)
    assert observer.healed().holds is healed
