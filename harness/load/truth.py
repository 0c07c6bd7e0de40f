"""The true answers to the panel's questions: by brute force over what was acknowledged.

Every vector is a pure function of the seed, so nothing has to be asked of the target. Two memories whose nearness to a
cue differs by less than what five decimals of a component can hold are a tie; the judge allows for it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.load.payload import PayloadBank
from harness.model import Cue, Flag, Op, Outcome
from harness.scenario.workload import Workload
from harness.timeline.answers import NEAREST, NONE, TRUTH, Truth, no_truth
from harness.timeline.samples import Samples, read_all_samples

PANEL = 256  # (space, item) pairs, at most, whose answers are kept
MOST_MEMORIES = 20_000  # beyond this, vectors for a brute force take more than a second and 60 MB
ASKED = (Cue.EXACT, Cue.PARTIAL, Cue.NOISY)


def panel_stride(workload: Workload) -> int:
    """Every which item's answers are kept; 0 for none, where there are too many memories for a brute force."""
    if workload.data.num_nodes > MOST_MEMORIES:
        return 0
    return max(1, math.ceil(workload.data.num_nodes * workload.data.memory_spaces / PANEL))


def truth_of(workload: Workload, seed: int, folder: Path) -> Truth:
    """The nearest memories to each question of the panel, among those acknowledged before the arrivals began.

    What was stored for the first time later, or deleted meanwhile, belongs to no truth: when it was there is unknown.
    """
    stride = panel_stride(workload)
    samples = read_all_samples(folder)
    if not stride or not len(samples):
        return no_truth()
    bank = PayloadBank(workload, seed)
    vectors = np.stack([bank.embedding(item) for item in range(workload.data.num_nodes)])
    panel = range(0, workload.data.num_nodes, stride)
    cues = {cue: np.stack([bank.cue_embedding(item, cue) for item in panel]) for cue in ASKED}
    parts = []
    for space in range(workload.data.memory_spaces):
        known = _known(samples, space)
        if len(known):
            parts += [
                _nearest(space, cue, np.array(panel), asked, known, vectors[known]) for cue, asked in cues.items()
            ]
    return np.concatenate(parts) if parts else no_truth()


def _known(samples: Samples, space: int) -> npt.NDArray[np.int64]:
    """Items of a space whose preload was acknowledged and which nobody deleted."""
    here = samples[samples["space"] == space]
    stored = (here["op"] == Op.STORE) & (here["outcome"] == Outcome.OK) & ((here["flags"] & int(Flag.PRELOAD)) != 0)
    deleted = here["op"] == Op.DELETE
    return np.setdiff1d(here["item"][stored], here["item"][deleted]).astype(np.int64)


def _nearest(
    space: int,
    cue: int,
    items: npt.NDArray[np.int64],
    asked: npt.NDArray[np.float32],
    known: npt.NDArray[np.int64],
    vectors: npt.NDArray[np.float32],
) -> Truth:
    """Cosines of every cue to every known memory; the largest of them."""
    norms = np.linalg.norm(asked, axis=1, keepdims=True) * np.linalg.norm(vectors, axis=1)
    cosines = (asked @ vectors.T) / norms
    count = min(NEAREST, len(known))
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    found = np.zeros(len(items), dtype=TRUTH)
    found["space"], found["item"], found["cue"], found["count"] = space, items, cue, count
    found["items"] = NONE
    found["items"][:, :count] = known[order]
    found["nearness"] = -1.0
    found["nearness"][:, :count] = np.take_along_axis(cosines, order, axis=1)
    return found
