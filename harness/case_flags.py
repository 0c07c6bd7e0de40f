"""The flags a case runs under: set through the ledger, and put back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.engram.client import EngramClient
from harness.errors import Aborted
from harness.experiment import Experiment
from harness.faults.flags import CANARY, flags_recipe
from harness.faults.ledger import Ledger
from harness.faults.recipe import apply
from harness.targets.base import Target
from harness.timeline.record import CaseWriter


@contextmanager
def case_flags(
    experiment: Experiment, target: Target, client: EngramClient, ledger: Ledger, writer: CaseWriter
) -> Iterator[None]:
    """The case's flags (blended recall on for the cohort), and as they were where the target is not ours.

    Raises :class:`Aborted` where the guardian put them back while the case was running.
    """
    if "features" not in target.capabilities.names:
        yield
        return
    wanted = {**CANARY, "cohort_sampling_rate": experiment.cohort_rate, **(experiment.flags or {})}
    before = client.features()
    touched = experiment.remedy is not None  # a rollback changes flags that were as wanted
    differing = {key: before.get(key) for key, value in wanted.items() if touched or before.get(key) != value}
    if differing:
        target.require_owned()
    entry = None
    if differing:
        recipe = flags_recipe(target, {k: v for k, v in differing.items() if v is not None})
        entry = ledger.intent("flags set for the drill", target=target.base_url, slot="features", recipes=(recipe,))
        client.set_features(**wanted)
    try:
        writer.event("flags_set", wanted=wanted, before=before, after=client.features())
        yield
        if entry is not None and (why := ledger.relieved(entry)):
            raise Aborted(f"the guardian put the flags back under us: {'; '.join(why)}")
    finally:
        if entry is not None:
            ledger.healed(entry, apply(recipe))
