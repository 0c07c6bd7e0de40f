"""Defects of recall quality, seen by the functions that judge two cohorts, and not seen in a healthy service."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from harness.cohort import CANARY, cohort_of
from harness.judge.arms import arm
from harness.judge.compare import compare_quantile, compare_share
from harness.judge.comparison import Comparison
from harness.judge.quality import compare_overlap, compare_recall_at_k, compare_robustness, recall_at_k
from harness.model import Verdict
from tests.reference.conftest import Launch
from tests.reference.server import VECTORS, Server, items
from tests.reference.test_defects import QUALITY

RATE, K, ASKED = 0.5, 5, 24
KEEP = 0.25  # of a vector's components in a partial cue: few memories are within the threshold of what is left


@dataclass(frozen=True)
class Seen:
    """One cohort's answers to the same questions."""

    results: list[list[int]]
    partial: list[int]
    convergent: list[bool]
    completed: list[bool]
    late: list[bool]
    latency_ms: list[float]


@cache
def users(cohort: str) -> list[str]:
    """A few users of a cohort, by our rule."""
    known = (f"user-{number:05d}" for number in range(1000))
    return [user for user in known if cohort_of(user, RATE) == cohort][:6]


def ask(server: Server, cohort: str) -> Seen:
    """Every memory's question, whole and in part, asked by users of one cohort; the cohort is the service's own too."""
    seen = Seen([], [], [], [], [], [])
    for number in range(ASKED):
        user = users(cohort)[number % 6]
        vector = np.array(VECTORS[number])
        part = np.where(np.random.default_rng(number).random(768) < KEEP, vector, 0.0)
        for cue in (vector, part):
            found = json.dumps([round(float(x), 6) for x in cue])
            reply = server.client.get(
                "/api/v1/memories/recall",
                params={"embedding": found, "max_results": K, "include_metadata": "true"},
                headers={"x-user-id": user},
            )
            metadata = reply.json()["metadata"]
            assert metadata["cohort"] == cohort, "the reference and harness.cohort disagree"
            named = [int(item["id"].removeprefix("m")) for item in items(reply)]
            seen.latency_ms.append(metadata["server_ms"])
            seen.late.append(metadata["semantic_missing"] == "timeout")
            seen.completed.append(bool(metadata["pattern_completed"]))
            seen.convergent.append(bool(metadata["convergent"]))
            if cue is vector:
                seen.results.append(named)
            else:
                seen.partial.append(len(named))
    return seen


def truth() -> list[list[int]]:
    """The nearest memories to each question, by brute force."""
    vectors = np.array(VECTORS)
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    return np.argsort(-(vectors @ vectors.T), axis=1, kind="stable")[:, :K].tolist()


Look = Callable[[Seen, Seen], Comparison]


def overlap(control: Seen, canary: Seen) -> Comparison:
    return compare_overlap([recall_at_k(a, b, K) for a, b in zip(control.results, canary.results, strict=True)], 0.85)


def recall(control: Seen, canary: Seen) -> Comparison:
    return compare_recall_at_k([recall_at_k(t, a, K) for t, a in zip(truth(), control.results, strict=True)], 0.85)


def robustness(control: Seen, canary: Seen) -> Comparison:
    return compare_robustness(control.partial, canary.partial, 0.2)


def convergent(control: Seen, canary: Seen) -> Comparison:
    return compare_share("convergent", _arm(canary.convergent), ">", 0.3)


def completed(control: Seen, canary: Seen) -> Comparison:
    whole = [flag for index, flag in enumerate(canary.completed) if index % 2 == 0]
    return compare_share("pattern completion", _arm(whole), "<", 0.12)


def late(control: Seen, canary: Seen) -> Comparison:
    return compare_share("semantic timeouts", _arm(canary.late), "<", 0.1)


def _arm(flags: list[bool]):  # type: ignore[no-untyped-def]
    return arm("canary", np.arange(len(flags)) % 6, np.array(flags, dtype=float))


LOOKS: dict[str, tuple[str, Look]] = {
    "quality_overlap": ("quality_overlap=0.5", overlap),
    "recall_misses": ("recall_misses=0.4", recall),
    "partial_cue_no_gain": ("partial_cue_no_gain", robustness),
    "convergence_lost": ("convergence_lost", convergent),
    "completion_overused": ("completion_overused=0.6", completed),
    "semantic_late": ("semantic_late=0.5", late),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Seen]:
    """Both cohorts of a healthy service."""
    server = Server(Path(tmp_path_factory.mktemp("sound"))).start()
    try:
        return _both(server)
    finally:
        server.close()


def _both(server: Server) -> tuple[Seen, Seen]:
    server.populate()
    server.flags(cohort_sampling_rate=RATE)
    return ask(server, "control"), ask(server, CANARY)


def test_every_quality_defect_is_looked_for() -> None:
    assert LOOKS.keys() | {"canary_slow"} == QUALITY


@pytest.mark.parametrize("name", LOOKS)
def test_a_quality_defect_is_caught(launch: Launch, sound: tuple[Seen, Seen], name: str) -> None:
    argument, look = LOOKS[name]
    assert look(*sound).verdict is Verdict.PASS
    found = look(*_both(launch("--defect", argument)))
    assert found.verdict is Verdict.FAIL, found.as_json()


def test_a_slow_canary_is_caught(launch: Launch) -> None:
    control, canary = _both(launch("--defect", "canary_slow=40"))
    left, right = (
        arm(name, np.arange(len(seen.latency_ms)) // 2 % 6, seen.latency_ms)
        for name, seen in (("control", control), ("canary", canary))
    )
    assert compare_quantile(left, right, 0.5, 0.05, 5.0).verdict is Verdict.FAIL
