"""Who is in the canary. One rule is ours and the default; the two of the documents are there by name.

``keyed`` (the reference Engram's rule, too): a keyed hash of the *user* alone to [0, 1), in the canary where it lies
below the rate. It is stable (a user never changes sides while the rate stands) and nested (raising 5 % to 25 % keeps
the first 5 %).

``crc32-query`` is the rollout runbook's 2.1: ``crc32("user:query:seed")``. The same user is in the canary with one
question and in the control with the next, so users are no unit of analysis and no user ever sees one behaviour; CRC-32
is no hash to split by either, as it is linear: users whose names differ alike differ alike in their places.

``space`` is Task 015's ``assign_to_treatment``: per memory space, in the canary where ``hash(space) / u64::MAX`` lies
below the rate. It names no hash; its sibling in the runbook ("A/B Testing Methodology") is Rust's ``DefaultHasher``,
whose algorithm Rust does not promise and which therefore cannot be reproduced outside Rust, nor across its versions.
Our ``space`` rule is per space as theirs is, with the keyed hash.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from hashlib import blake2b

from harness.errors import UsageError

KEYED, CRC32_QUERY, SPACE = "keyed", "crc32-query", "space"
RULES = (KEYED, CRC32_QUERY, SPACE)
DEFAULT_SEED = 42  # the runbook's cohort_seed
CANARY, CONTROL = "canary", "control"


def place(key: str, seed: int = DEFAULT_SEED) -> float:
    """Where ``key`` falls in [0, 1): fixed by key and seed."""
    digest = blake2b(key.encode(), digest_size=8, key=str(seed).encode()).digest()
    # 53 bits are what a float holds; more could round up to 1.0.
    return (int.from_bytes(digest, "big") >> 11) / float(1 << 53)


def crc32_place(user: str, query: str, seed: int = DEFAULT_SEED) -> float:
    """The runbook's 2.1, to the letter: unstable per user."""
    return zlib.crc32(f"{user}:{query}:{seed}".encode()) / 2**32


def cohort_of(
    user: str, rate: float, seed: int = DEFAULT_SEED, *, rule: str = KEYED, query: str = "", space: str = ""
) -> str:
    """``canary`` or ``control``. Raises :class:`UsageError` for an unknown rule or a rate outside [0, 1].

    ``query`` matters to ``crc32-query`` only, ``space`` to ``space`` only.
    """
    if rule not in RULES:
        raise UsageError(f"no such cohort rule: {rule!r}", hint=f"one of {', '.join(RULES)}")
    if not 0.0 <= rate <= 1.0:
        raise UsageError(f"a cohort rate is a share from 0 to 1, not {rate!r}")
    by_key = place(user if rule == KEYED else space, seed)
    where = crc32_place(user, query, seed) if rule == CRC32_QUERY else by_key
    return CANARY if where < rate else CONTROL


def canary_users(users: Iterable[str], rate: float, seed: int = DEFAULT_SEED) -> frozenset[str]:
    """The users of the canary under the ``keyed`` rule."""
    return frozenset(user for user in users if cohort_of(user, rate, seed) == CANARY)
