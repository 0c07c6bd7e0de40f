"""Who is in the canary: the rule is stable, nested, fair, and the reference's own; the documents' rules are kept."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path

import pytest

from harness.cohort import CANARY, CRC32_QUERY, RULES, SPACE, canary_users, cohort_of, crc32_place, place
from harness.errors import UsageError
from harness.judge.sample_ratio import sample_ratio_check
from harness.load.payload import user_id
from harness.model import Verdict
from tests.reference.server import Server

USERS = [user_id(number) for number in range(4000)]


def test_a_higher_rate_keeps_everybody_who_was_in() -> None:
    cohorts = [canary_users(USERS, rate) for rate in (0.0, 0.05, 0.25, 0.5, 0.75, 1.0)]
    assert all(lower < higher for lower, higher in itertools.pairwise(cohorts))
    assert (len(cohorts[0]), len(cohorts[-1])) == (0, len(USERS))


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.25, 0.5])
def test_the_split_is_fair_and_the_seed_makes_another(rate: float) -> None:
    chosen = canary_users(USERS, rate)
    assert sample_ratio_check(len(chosen), len(USERS) - len(chosen), rate).verdict is Verdict.PASS
    other = canary_users(USERS, rate, seed=43)
    both = len(chosen & other)
    assert sample_ratio_check(both, len(chosen) - both, rate).verdict is Verdict.PASS


def test_places_are_fixed_for_ever() -> None:
    """A changed rule would move users between arms in the middle of a rollout."""
    assert place("user-00000") == 0.5318651623978293
    assert cohort_of("user-00000", 0.54) == CANARY
    assert cohort_of("user-00000", 0.53) != CANARY


def test_the_reference_has_the_same_rule(tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    try:
        server.remember("m0", "note number3 topic1")
        for rate in (0.3, 0.6):
            server.flags(cohort_sampling_rate=rate)
            for user in USERS[:40]:
                answer = server.recall(user=user, include_metadata="true").json()
                assert answer["metadata"]["cohort"] == cohort_of(user, rate), user
    finally:
        server.close()


def test_the_runbooks_rule_is_kept_and_changes_sides_with_the_question() -> None:
    known = zlib.crc32(b"user-00001:q7:42") / 2**32
    assert crc32_place("user-00001", "q7") == known
    seen = {cohort_of("user-00001", 0.5, rule=CRC32_QUERY, query=f"q{n}") for n in range(20)}
    assert seen == {"canary", "control"}


def test_task_015s_rule_is_per_space() -> None:
    by_space = {space: cohort_of("anybody", 0.5, rule=SPACE, space=space) for space in ("a", "b", "c", "d", "e", "f")}
    assert by_space == {space: cohort_of("else", 0.5, rule=SPACE, space=space) for space in by_space}
    assert set(by_space.values()) == {"canary", "control"}


def test_what_is_no_rule_or_rate_is_refused() -> None:
    assert len(RULES) == 3
    with pytest.raises(UsageError, match="no such cohort rule"):
        cohort_of("u", 0.5, rule="default_hasher")
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="share from 0 to 1"):
            cohort_of("u", rate)
