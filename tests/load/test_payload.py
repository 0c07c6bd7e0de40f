"""The payload bank: recognisable contents, clusters that are clusters, nothing the target would merge."""

from __future__ import annotations

import json
import re

import numpy as np
import numpy.typing as npt
import pytest

from harness.load.payload import PayloadBank, memory_id, parse_content, parse_origin, space_name, user_id
from harness.model import Cue
from harness.scenario.arrival import Constant
from harness.scenario.workload import Clustered, Data, Distribution, HotSpot, Operations, Uniform, Workload


def _bank(distribution: Distribution, items: int = 240, seed: int = 7) -> PayloadBank:
    data = Data(items, 768, 2, distribution)
    return PayloadBank(Workload("w", "", 1.0, Constant(1.0), Operations(1, 1, 1), data), seed)


def _cosines(bank: PayloadBank, items: int = 240) -> npt.NDArray[np.float64]:
    vectors = np.array([bank.embedding(item) for item in range(items)], dtype=np.float64)
    return vectors @ vectors.T


def test_a_cluster_is_a_cluster_and_other_clusters_are_far() -> None:
    cosines = _cosines(_bank(Clustered(24, 0.1)))
    same = (np.arange(240)[:, None] - np.arange(240)[None, :]) % 24 == 0
    within = cosines[same & ~np.eye(240, dtype=bool)]
    assert within.mean() == pytest.approx(1 / 1.36, abs=0.005)
    assert within.min() > 0.65
    assert np.abs(cosines[~same]).max() < 0.3


@pytest.mark.parametrize(
    "shape", [Clustered(1, 0.0), Clustered(3, 0.01), Clustered(24, 0.1), Uniform(), HotSpot((1.0,))]
)
def test_no_two_items_come_near_enough_to_be_merged(shape: Distribution) -> None:
    cosines = _cosines(_bank(shape))
    np.fill_diagonal(cosines, 0.0)
    assert cosines.max() < 0.945


def test_vectors_have_norm_one_and_few_digits() -> None:
    bank = _bank(Clustered(24, 0.1))
    for item in range(20):
        assert np.linalg.norm(bank.embedding(item)) == pytest.approx(1.0, abs=1e-3)
    text = bank.vector_json(3, Cue.EXACT)
    assert len(text) < 7000
    assert np.array_equal(np.array(json.loads(text), dtype=np.float32), bank.embedding(3))


def test_cues_are_as_near_as_they_should_be() -> None:
    bank = _bank(Clustered(24, 0.1))
    for item in range(10):
        stored = bank.embedding(item)
        partial, noisy = bank.cue_embedding(item, Cue.PARTIAL), bank.cue_embedding(item, Cue.NOISY)
        assert (partial != 0).sum() <= round(0.6 * 768)
        assert stored @ partial / np.linalg.norm(partial) == pytest.approx(0.6**0.5, abs=0.06)
        assert stored @ noisy / np.linalg.norm(noisy) == pytest.approx(1 / 1.25**0.5, abs=0.03)
        assert np.array_equal(bank.cue_embedding(item, Cue.EXACT), stored)


def test_a_partial_embedding_has_nulls_where_nothing_is_known() -> None:
    values = json.loads(_bank(Clustered(24, 0.1)).partial_json(5))
    assert len(values) == 768
    assert sum(value is None for value in values) == 768 - round(0.6 * 768)


def test_payloads_depend_on_the_seed_alone() -> None:
    shape = Clustered(24, 0.1)
    assert _bank(shape).remember_body(3, 9, 1) == _bank(shape).remember_body(3, 9, 1)
    assert _bank(shape).remember_body(3, 9, 1) != _bank(shape, seed=8).remember_body(3, 9, 1)
    # Asking in another order changes nothing either.
    early, late = _bank(shape), _bank(shape)
    late.vector_json(200, Cue.NOISY)
    assert early.vector_json(4, Cue.NOISY) == late.vector_json(4, Cue.NOISY)


def test_contents_tell_item_version_and_space() -> None:
    bank = _bank(Clustered(24, 0.1))
    content = bank.content(42, 1705, 1)
    assert parse_content(content) == (42, 1705)
    assert parse_origin(content) == (42, 1705, 1)
    assert json.loads(bank.remember_body(42, 1705, 1))["content"] == content
    assert bank.content(1_234_567, 1).startswith("m-1234567 v1 s0 ")
    for other in ("", "hello", "m-42 v1 s0 x", "m-00042 vX s0 y", "m-00042"):
        assert parse_content(other) is None
        assert parse_origin(other) is None


def test_names_are_what_engram_accepts() -> None:
    for name in (memory_id(0), memory_id(999_999), space_name(0, 1), space_name(15, 16)):
        assert re.fullmatch(r"[a-z0-9_-]{3,64}", name)
    assert user_id(42) == "user-00042"
    assert space_name(0, 1) == "default"


def test_words_of_a_cluster_are_shared_and_own_words_are_not() -> None:
    bank = _bank(Clustered(24, 0.1))
    first, second, other = (bank.words(item).split() for item in (0, 24, 1))
    assert first[:3] == second[:3] != other[:3]
    assert len({bank.words(item) for item in range(240)}) == 240


def test_the_bank_stays_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.load.payload._BANK_BYTES", 50_000)
    bank = _bank(Clustered(24, 0.1))
    texts = [bank.vector_json(item, Cue.EXACT) for item in range(30)]
    assert sum(len(text) for text in bank._bank.values()) <= 50_000
    assert [bank.vector_json(item, Cue.EXACT) for item in range(30)] == texts
