"""What the service does, as users see it: cohort and pathway of witness recalls, and how long they take.

Recalls that are asked together go over a connection each, so that a load balancer shows every replica behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.engram import EngramClient, Recalled
from harness.errors import TargetError
from harness.judge.intervals import binomial_interval
from harness.model import Interval

CANARY_NAMES = ("canary", "treatment")  # the runbook writes both
SURE = 0.0005  # at each side: a split is looked at once, and must not be called wrong by chance
AT_ONCE = 8
_MOST_USERS = 400
MakeClient = Callable[[], EngramClient]


@dataclass(frozen=True)
class Answered:
    """One witness recall: who asked, the cohort and pathway the answer named (None where it named none)."""

    user: str
    cohort: str | None
    pathway: str | None
    latency_s: float
    error: str = ""

    @property
    def canary(self) -> bool:
        return self.cohort in CANARY_NAMES

    @property
    def blended(self) -> bool:
        return self.pathway == "blended"


@dataclass(frozen=True)
class Split:
    """A share of witness recalls, with its interval (99.9 %)."""

    hits: int
    asked: int

    @property
    def share(self) -> float:
        return self.hits / self.asked if self.asked else math.nan

    @property
    def interval(self) -> Interval:
        return binomial_interval(self.hits, self.asked, SURE)

    def __str__(self) -> str:
        interval = self.interval
        return f"{self.share:.1%} [{interval.low:.1%}, {interval.high:.1%}] of {self.asked}"


def witness_user(number: int) -> str:
    """The witness users; the same ones every time, so that a cohort can be compared with itself."""
    return f"witness-{number:04d}"


def ask(make: MakeClient, users: Iterable[str], *, query: str = "witness", space: str | None = None) -> list[Answered]:
    """One recall per user, in their order, each over a new connection; a failed one is an answer too.

    ``AT_ONCE`` are in flight: where each takes long, which is when one rolls back, hundreds take as much less.
    """
    with make() as client, ThreadPoolExecutor(AT_ONCE, thread_name_prefix="witness") as asking:
        return list(asking.map(lambda user: one(client, user, query=query, space=space, closing=True), users))


def one(
    client: EngramClient, user: str, *, query: str = "witness", space: str | None = None, closing: bool = False
) -> Answered:
    """One recall; a failed one is an answer too. ``closing`` as :meth:`EngramClient.recall` has it."""
    try:
        recalled: Recalled = client.recall(query, user=user, space=space, closing=closing)
    except TargetError as error:
        return Answered(user, None, None, math.nan, error.what)
    said = recalled.metadata
    return Answered(user, said.cohort, said.pathway, recalled.service_s)


def canary_users(make: MakeClient, wanted: int, *, space: str | None = None) -> tuple[list[str], bool]:
    """Up to ``wanted`` users of the canary cohort, and whether answers name cohorts at all."""
    found: list[str] = []
    named = False
    with make() as client:
        for number in range(_MOST_USERS):
            answer = one(client, witness_user(number), space=space)
            named = named or answer.cohort is not None
            if answer.canary:
                found.append(answer.user)
            if len(found) >= wanted or (number >= 20 and not named):
                break
    return found, named


def errors_of(answers: Sequence[Answered]) -> list[str]:
    """What went wrong, each once."""
    return sorted({answer.error for answer in answers if answer.error})


def split_of(answers: Sequence[Answered]) -> Split:
    """The share of those answered whose answer named the canary cohort."""
    named = [answer for answer in answers if answer.cohort is not None]
    return Split(sum(answer.canary for answer in named), len(named))


def blended_of(answers: Sequence[Answered]) -> Split:
    """The share of those answered that the blended pathway answered."""
    named = [answer for answer in answers if answer.pathway is not None]
    return Split(sum(answer.blended for answer in named), len(named))
