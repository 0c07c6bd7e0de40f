"""``make fail-closed``: a thousand broken sets of evidence over every gate of every plan, and not one promotion.

``python -m tests.rollout.fail_closed [--sets N] [--seed S]``: exit 0 where no gate said GO, 1 where one did. A gate
that does not let whole evidence pass either shows nothing, and is not counted.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence

from harness.judge.gate import Decision
from harness.rollout.plan import load_plan, plan_names
from tests.rollout.breaking import BREAKS, Gate

GATES = tuple(Gate(name, phase.name) for name in plan_names() for phase in load_plan(name).phases)


def promotions(gate: Gate, sets: int, seed: int) -> tuple[Counter[str], list[str]]:
    """(how many sets of each kind were judged, what was broken in those that got a GO)."""
    draw = random.Random(f"{gate.plan_name}:{gate.phase_name}:{seed}")
    judged: Counter[str] = Counter()
    wrong = []
    place = 0
    while judged.total() < sets:
        name, broken = BREAKS[place % len(BREAKS)]
        place += 1
        evidence = broken(gate, draw)
        if evidence is None:
            continue
        judged[name] += 1
        if gate.judge(evidence).decision is Decision.GO:
            wrong.append(name)
    return judged, wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """All gates."""
    parser = argparse.ArgumentParser(prog="python -m tests.rollout.fail_closed", description=__doc__)
    parser.add_argument("--sets", type=int, default=75, help="of every gate")
    parser.add_argument("--seed", type=int, default=20251120)
    given = parser.parse_args(arguments)
    total, promoted, gates = 0, 0, 0
    for gate in GATES:
        said = gate.judge(gate.healthy).decision
        judged, wrong = promotions(gate, given.sets, given.seed)
        shows = said is Decision.GO
        total, promoted = total + judged.total() * shows, promoted + len(wrong)
        told = f"{len(wrong)} promoted {dict(Counter(wrong))}" if wrong else "0 promoted"
        head = f"{gate.plan_name} {gate.phase_name}: whole {said.value}" + ("" if shows else " (shows nothing)")
        sys.stdout.write(f"{head}; {judged.total()} broken, {len(judged)} ways: {told}\n")
        sys.stdout.flush()
        gates += shows
    sys.stdout.write(f"{total:,} sets over {gates} gates of {len(GATES)}; {promoted} promoted\n")
    return 1 if promoted else 0


if __name__ == "__main__":
    sys.exit(main())
