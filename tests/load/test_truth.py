"""The true answers: nearest memories by brute force over what was acknowledged; and what of it a record keeps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from harness.errors import RecordError, RecordTooNew
from harness.load.payload import PayloadBank
from harness.load.recording import AnswerWriter
from harness.load.truth import MOST_MEMORIES, PANEL, panel_stride, truth_of
from harness.model import Cue, Flag, Op, Outcome
from harness.scenario.workload import Workload, workload_from_json
from harness.timeline.answers import ANSWER_OF_1, KEPT, MAGIC_OF_1, NONE, read_answers, read_truth, write_truth
from harness.timeline.samples import DTYPE, MAGIC


def workload(nodes: int = 60, spaces: int = 2) -> Workload:
    return workload_from_json(
        {
            "name": "truth",
            "arrival": {"pattern": "constant", "rate": 10.0},
            "operations": {"store_weight": 0.0, "recall_weight": 1.0, "embedding_search_weight": 0.0},
            "data": {
                "num_nodes": nodes,
                "memory_spaces": spaces,
                "embedding_distribution": {"type": "clustered", "num_clusters": 4, "std_dev": 0.1},
            },
        }
    )


def record(folder: Path, stored: list[tuple[int, int]], deleted: list[tuple[int, int]] = []) -> None:  # noqa: B006
    samples = np.zeros(len(stored) + len(deleted), dtype=DTYPE)
    for row, (space, item) in zip(samples, [*stored, *deleted], strict=True):
        row["space"], row["item"], row["outcome"] = space, item, int(Outcome.OK)
    samples["op"][: len(stored)], samples["op"][len(stored) :] = int(Op.STORE), int(Op.DELETE)
    samples["flags"][: len(stored)] = int(Flag.PRELOAD)
    (folder / "requests-00.bin").write_bytes(MAGIC + samples.tobytes())


def test_the_truth_is_the_nearest_of_what_was_acknowledged(tmp_path: Path) -> None:
    load = workload()
    record(tmp_path, [(0, item) for item in range(60)] + [(1, item) for item in range(30)], [(0, 8)])
    truth = truth_of(load, 7, tmp_path)
    bank = PayloadBank(load, 7)
    assert set(truth["cue"].tolist()) == {Cue.EXACT, Cue.PARTIAL, Cue.NOISY}
    for row in truth[:: max(1, len(truth) // 40)]:
        known = [i for i in range(60) if i != 8] if row["space"] == 0 else list(range(30))
        cue = bank.cue_embedding(int(row["item"]), int(row["cue"])).astype(np.float64)
        vectors = np.array([bank.embedding(i) for i in known], dtype=np.float64)
        cosines = vectors @ cue / np.linalg.norm(vectors, axis=1) / np.linalg.norm(cue)
        best = np.sort(cosines)[::-1][: int(row["count"])]
        assert np.allclose(row["nearness"][: int(row["count"])], best, atol=1e-5)
        assert set(row["items"][: int(row["count"])].tolist()) <= set(known)
    own = truth[(truth["cue"] == int(Cue.EXACT)) & (truth["space"] == 0) & (truth["item"] == 12)][0]
    assert own["items"][0] == 12
    write_truth(tmp_path, truth)
    assert read_truth(tmp_path).tobytes() == truth.tobytes()


def test_the_panel_is_bounded(tmp_path: Path) -> None:
    for nodes, spaces in ((60, 2), (300, 2), (5000, 4), (MOST_MEMORIES, 1)):
        stride = panel_stride(workload(nodes, spaces))
        assert len(range(0, nodes, stride)) * spaces <= PANEL + spaces
    assert panel_stride(workload(MOST_MEMORIES + 1)) == 0
    record(tmp_path, [])
    assert len(truth_of(workload(), 1, tmp_path)) == 0


def test_answers_are_kept_whole_and_a_torn_one_is_left_out(tmp_path: Path) -> None:
    writer = AnswerWriter(tmp_path / "answers-00.bin")
    writer.answer(5, tuple(range(15)), 0.75)
    writer.answer(3, (9,), math.nan)
    writer.close()
    found = read_answers(tmp_path)
    assert found["sequence"].tolist() == [3, 5]
    assert found["confidence"][1] == 0.75 and math.isnan(found["confidence"][0])
    assert found["items"][0].tolist() == [9] + [NONE] * (KEPT - 1)
    assert found["items"][1].tolist() == list(range(KEPT))
    whole = (tmp_path / "answers-00.bin").read_bytes()
    (tmp_path / "answers-00.bin").write_bytes(whole[:-7])
    assert len(read_answers(tmp_path)) == 1
    (tmp_path / "answers-00.bin").write_bytes(b"ENGRANS9" + whole[8:])
    with pytest.raises(RecordTooNew):
        read_answers(tmp_path)
    (tmp_path / "answers-00.bin").write_bytes(b"something else")
    with pytest.raises(RecordError):
        read_answers(tmp_path)


def test_answers_of_version_1_are_read_and_have_no_confidence(tmp_path: Path) -> None:
    old = np.zeros(2, dtype=ANSWER_OF_1)
    old["sequence"], old["count"], old["items"] = [7, 4], 1, NONE
    old["items"][:, 0] = [30, 40]
    (tmp_path / "answers-00.bin").write_bytes(MAGIC_OF_1 + old.tobytes() + b"torn")
    writer = AnswerWriter(tmp_path / "answers-01.bin")
    writer.answer(5, (), 0.5)
    writer.close()
    found = read_answers(tmp_path)
    assert found["sequence"].tolist() == [4, 5, 7]
    assert found["items"][:, 0].tolist() == [40, NONE, 30]
    assert np.isnan(found["confidence"]).tolist() == [True, False, True]


def test_a_record_of_before_has_neither(tmp_path: Path) -> None:
    assert len(read_answers(tmp_path)) == 0
    assert len(read_truth(tmp_path)) == 0
