"""Words: tokens, an inverted index scored by rare-word coverage, and a vector for a memory that brought none."""

from __future__ import annotations

import heapq
import math
import re
from functools import lru_cache
from hashlib import blake2b
from itertools import islice

import numpy as np

from harness.reference.memory import DIMENSIONS, Vector

_WORD = re.compile(r"\w+")
_FEATURES_PER_WORD = 4
_SCAN_WHOLE = 256
_SCAN_AT_MOST = 4096


def tokens(text: str) -> frozenset[str]:
    """The distinct words of ``text``, case folded."""
    return frozenset(_WORD.findall(text.casefold()))


@lru_cache(maxsize=16384)
def _features(word: str) -> tuple[list[int], list[float]]:
    digest = blake2b(word.encode(), digest_size=4 * _FEATURES_PER_WORD).digest()
    numbers = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, len(digest), 4)]
    return [n % DIMENSIONS for n in numbers], [1.0 if n & 0x8000_0000 else -1.0 for n in numbers]


def derived_embedding(words: frozenset[str]) -> Vector:
    """A unit vector for a bag of words: every word adds its own few signed components (feature hashing)."""
    vector = np.zeros(DIMENSIONS, dtype=np.float32)
    for word in words:
        positions, signs = _features(word)
        for position, sign in zip(positions, signs, strict=True):
            vector[position] += sign
    norm = float(np.linalg.norm(vector))
    return vector / np.float32(norm) if norm > 0 else vector


class Lexicon:
    """Which slot holds which words."""

    def __init__(self) -> None:
        self._postings: dict[str, set[int]] = {}
        self._words: dict[int, frozenset[str]] = {}

    def put(self, slot: int, words: frozenset[str]) -> None:
        """Index ``slot`` under ``words``, in place of what it held."""
        before = self._words.get(slot, frozenset())
        if before == words:
            return
        for word in before - words:
            self._drop(word, slot)
        for word in words - before:
            self._postings.setdefault(word, set()).add(slot)
        self._words[slot] = words

    def remove(self, slot: int) -> None:
        """Forget ``slot``."""
        for word in self._words.pop(slot, frozenset()):
            self._drop(word, slot)

    def _drop(self, word: str, slot: int) -> None:
        holders = self._postings[word]
        holders.discard(slot)
        if not holders:
            del self._postings[word]

    def search(self, words: frozenset[str], limit: int) -> list[tuple[int, float]]:
        """The best ``limit`` slots with their scores in (0, 1]: the share of the cue's rare-word weight they cover.

        A tenth of the score asks how much of the memory the cue covers, so that of two memories holding all the cue's
        words the one about nothing else comes first.
        """
        total = len(self._words)
        if not total or not words:
            return []
        known: list[tuple[int, float, set[int]]] = []
        weight = 0.0
        for word in words:
            holders = self._postings.get(word)
            rarity = math.log1p(total / len(holders)) if holders else math.log1p(total)
            weight += rarity
            if holders:
                known.append((len(holders), rarity, holders))
        known.sort(key=lambda entry: entry[0])
        scores: dict[int, float] = {}
        for size, rarity, holders in known:
            # A common word ranks the candidates the rare words found; it does not bring candidates of its own.
            if scores and size > _SCAN_WHOLE:
                for slot in scores:
                    if slot in holders:
                        scores[slot] += rarity
            else:
                for slot in islice(holders, _SCAN_AT_MOST):
                    scores[slot] = scores.get(slot, 0.0) + rarity
        rough = heapq.nlargest(limit * 2, scores.items(), key=lambda entry: entry[1])
        return heapq.nlargest(limit, (self._refine(words, slot, s / weight) for slot, s in rough), key=lambda e: e[1])

    def _refine(self, words: frozenset[str], slot: int, coverage: float) -> tuple[int, float]:
        held = self._words[slot]
        return slot, coverage * (0.9 + 0.1 * len(words & held) / len(held))
