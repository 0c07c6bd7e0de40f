"""The table of regressions: injected live into the reference, and generated at full size; which gate stops, and why.

``python -m tests.rollout.regressions docs/rehearsal.md`` writes it (``make rehearsals``). A full-size row takes a
second; a live one walks its phase on a running reference.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.judge.gate import Decision, GateResult
from harness.judge.phase_gate import judge_gate
from harness.rollout.plan import DEFAULT_PLAN, load_plan
from tests.rollout.full_size import World

HEAD = """# Regressions, and the gates that stop them

Written by `make rehearsals`. Every row was run twice. **At full size** the evidence is generated (weeks of metrics at a
point every 5 minutes, nightly runs of 2,000 users, a 24-hour soak) and judged by the gate's own code: this is what the
plan decides in earnest. **Live** the phase was walked on a running reference with that defect in it, in seconds
(`harness rollout rehearse --phases ... --override-hold --inject-regression PHASE:KIND`): what so small a sample cannot
tell is HOLD (exit 4), and is never walked past. Phase 25 is walked as phase 50, which has no drills; the leak in shadow
mode. GO is wrong in every row but the healthy ones.

"""


@dataclass(frozen=True)
class Row:
    """One regression: its phase, its kind for the live rehearsal, its full-size world, the criterion that names it."""

    name: str
    phase: str
    world: World
    names: str
    live: str = ""
    live_at: str = ""  # another phase for the live walk: one without drills, or one that has the criterion
    plan: str = DEFAULT_PLAN

    @property
    def live_phase(self) -> str:
        """The phase that is walked live."""
        return self.live_at or {"25": "50"}.get(self.phase, self.phase)


def _of_task015(name: str, world: World, live: str = "") -> Row:
    """A row of the gate that alone asks for the confidence of answers."""
    names = "" if world == World() else "canary.confidence"
    return Row(name, "canary", world, names, live, plan="task015")


ROWS = (
    Row("nothing at all (healthy)", "5", World(), ""),
    Row("latency +15 % at canary", "5", World(at="5", canary_slower=1.15), "5.p99_control", "latency-15"),
    Row("latency +30 % at canary", "5", World(at="5", canary_slower=1.30), "5.p99_slo", "latency-30"),
    Row("latency six times at canary", "25", World(at="25", canary_slower=6), "25.p99", "latency-x6"),
    Row("error rate 0.3 % in the canary", "25", World(at="25", canary_errors=0.003), "25.canary_error_rate", "errors"),
    Row("error rate 0.3 % of all", "5", World(at="5", errors=0.003), "5.error_rate_absolute"),
    Row("top-k overlap 0.7", "25", World(at="25", overlap=0.7), "25.overlap", "overlap"),
    Row("partial-cue robustness unchanged", "25", World(at="25", gain=1.0), "25.robustness", "robustness"),
    Row("semantic timeouts 25 %", "25", World(at="25", timeouts=0.25), "25.timeouts", "timeouts"),
    Row("coherence low", "shadow", World(at="shadow", coherence_good=0.85), "shadow.coherence", "coherence"),
    Row("memory leak", "25", World(at="25", leak_mb_per_h=600.0), "25.abort.leak", "leak", "shadow"),
    Row(
        "consolidation failing",
        "shadow",
        World(at="shadow", failing_consolidation=0.3),
        "shadow.abort.consolidation",
        "consolidation",
    ),
    Row("crash", "5", World(at="5", crash=True), "5.no_crash", "crash"),
    Row("flags that don't take effect", "25", World(at="25", blended=False), "25.cohort_split", "flags"),
    Row("metrics that vanish", "shadow", World(at="shadow", metrics=False), "shadow.coherence", "metrics"),
    Row("the cohort is too small", "25", World(at="25", cohort_rate=0.08), "25.cohort_split", "cohort"),
    Row("convergence 20 %", "5", World(at="5", convergent=0.2), "5.convergent"),
    Row("pattern completion 15 %", "5", World(at="5", completion=0.15), "5.pattern_completion"),
    Row("memory +60 % over the baseline", "50", World(at="50", memory_mb=140.0), "50.memory"),
    Row("corrupt binding strengths", "shadow", World(at="shadow", binding_violations=9), "shadow.binding_strengths"),
    _of_task015("nothing at all (healthy)", World()),
    _of_task015("the canary 20 % less sure of its answers", World(at="canary", confidence=0.83), "confidence"),
    _of_task015("confidence 8 % below control's", World(at="canary", confidence=0.92)),
    _of_task015("confidences that vanish", World(at="canary", confidences=False), "confidence-gone"),
    _of_task015("confidences that vanish from 2 % of the canary's answers", World(at="canary", sure=0.98)),
)


def full_size(row: Row) -> GateResult:
    """The gate of a row's phase on generated evidence."""
    plan = load_plan(row.plan)
    return judge_gate(plan, plan.phase(row.phase), row.world.evidence(plan, row.phase))


def live(row: Row, folder: Path) -> dict[str, Any]:
    """Walk the row's phase live; answers ``rehearsal.json``."""
    command = [
        sys.executable,
        "-m",
        "harness.cli",
        "rollout",
        "rehearse",
        "--plan",
        row.plan,
        "--phases",
        row.live_phase,
        "--override-hold",
    ]
    command += ["--inject-regression", f"{row.live_phase}:{row.live}", "--results-dir", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    if not done.stdout.strip():
        raise RuntimeError(f"{row.name}: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(rows: tuple[Row, ...], *, with_live: bool) -> Iterator[str]:
    """The table's lines."""
    yield "| regression | phase | at full size | named by | live | named by |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        result = full_size(row)
        said = f"{result.decision.value} | {_names([a.criterion.id for a in _stopping(result)], row.names)}"
        walked = " – | "
        if row.live and with_live:
            with tempfile.TemporaryDirectory() as folder:
                walk = live(row, Path(folder))
            gate = walk["steps"][-1]["gate"]
            names = gate["no_go"] or gate["hold"]
            walked = f"{gate['decision']} (exit {walk['exit_code']}) | {_names(names, row.names)}"
        phase = row.phase if row.plan == DEFAULT_PLAN else f"{row.phase} ({row.plan})"
        yield f"| {row.name} | {phase} | {said} | {walked} |"


def _stopping(result: GateResult) -> list[Any]:
    return result.of(Decision.NO_GO) or result.of(Decision.HOLD)


def _names(names: list[str], first: str) -> str:
    """The criterion the row is about first, then how many more."""
    if not names:
        return ""
    key = first.partition(".")[2]
    head = next((name for name in names if name.partition(".")[2] == key), names[0])
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"`{head}`{more}"


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--no-live", action="store_true")
    arguments = parser.parse_args()
    lines = []
    for line in table(ROWS, with_live=not arguments.no_live):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        lines.append(line)
    arguments.file.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
