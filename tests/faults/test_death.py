"""A harness that dies at any step leaves no fault behind: the guardian heals, or ``heal_all`` does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.faults import state
from harness.faults.healing import heal_all
from harness.targets.base import ProcessIdentity
from harness.targets.embedded import EmbeddedTarget
from harness.timeline.jsonl import read_lines
from tests.faults.conftest import Doomed, active, wait_for

Doom = Callable[..., Doomed]

STEPS = [
    "before-append-1",  # 1: intent
    "between-append-1",
    "after-append-1",
    "before-inject",
    "after-inject",
    "before-append-2",  # 2: injected
    "between-append-2",
    "after-append-2",
    "before-heal",
    "after-heal",
    "before-append-3",  # 3: healed
    "between-append-3",
    "after-append-3",
]


def relieved(folder: Path) -> list[str]:
    """Why the guardian healed under a living harness, as the record says once it has."""
    lines = read_lines(folder / "case" / "ledger.jsonl")
    return [str(line["why"]) for line in lines if line["entry"] == "relieved"]


def nothing_open(state_dir: Path) -> bool:
    return not state.journals(state_dir)


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_the_guardian_heals(step: str, doom: Doom, target: EmbeddedTarget, state_dir: Path) -> None:
    code, out, err = doom(step).end()
    assert (code, out) == (-signal.SIGKILL, ""), err
    wait_for("healed", lambda: nothing_open(state_dir))
    assert active(target) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "binding_corruption", "corruption_rate": 0.5},
        {"kind": "consolidation_failure", "fail_rate": 1.0},
        {"kind": "recall_latency", "latency_ms": 30},
    ],
    ids=lambda fault: str(fault["kind"]),
)
def test_killed_while_in_force(
    fault: dict[str, object], doom: Doom, target: EmbeddedTarget, state_dir: Path, tmp_path: Path
) -> None:
    harness = doom("hold", fault)
    harness.hold()
    assert len(active(target)) == 1 or relieved(tmp_path), "on a starved machine the lease may lapse before the kill"
    harness.signal(signal.SIGKILL)
    harness.child.wait(10)
    wait_for("healed", lambda: nothing_open(state_dir))
    assert active(target) == []
    with target.client() as client:
        assert client.binding_counts().invalid == 0
    lines = list(read_lines(tmp_path / "case" / "ledger.jsonl"))
    # How soon it heals is measured by the torture runs.
    assert [line["entry"] for line in lines if not line["entry"].startswith("reliev")] == [
        "intent",
        "injected",
        "healed",
    ]
    assert lines[-1]["by"] == "guardian"


def test_killed_with_its_guardian_the_next_one_heals(doom: Doom, target: EmbeddedTarget, state_dir: Path) -> None:
    assert doom("leave").end()[0] == -signal.SIGKILL
    assert active(target) == ["semantic_pathway.latency"]
    assert not nothing_open(state_dir)
    report = heal_all()
    assert report.clean
    assert report.healed == [f"semantic pathway 50 ms slower on {target.base_url}"]
    assert active(target) == []
    assert nothing_open(state_dir)
    assert heal_all().healed == [], "idempotent"


def test_the_next_run_heals_before_it_starts(doom: Doom, target: EmbeddedTarget, tmp_path: Path) -> None:
    assert doom("leave").end()[0] == -signal.SIGKILL
    harness = doom("hold", {"kind": "semantic_latency", "latency_ms": 20})
    harness.hold()
    assert harness.end()[0] == 0
    assert active(target) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_heals(number: signal.Signals, doom: Doom, target: EmbeddedTarget, state_dir: Path) -> None:
    harness = doom("hold")
    harness.hold()
    harness.signal(number)
    code, _, err = harness.end()
    if number == signal.SIGINT:
        assert code in (1, -signal.SIGINT)
        assert "KeyboardInterrupt" in err
    else:
        assert code == -number
    wait_for("healed", lambda: nothing_open(state_dir))
    assert active(target) == []


def test_a_hung_harness_is_relieved_and_heals_again_at_its_end(
    doom: Doom, target: EmbeddedTarget, tmp_path: Path, state_dir: Path
) -> None:
    harness = doom("hold")
    harness.hold()
    harness.signal(signal.SIGSTOP)
    wait_for("relieved", lambda: relieved(tmp_path))
    assert active(target) == []
    assert not nothing_open(state_dir), "it may wake up and do harm still: its entry stays open"
    harness.signal(signal.SIGCONT)
    assert harness.end()[0] == 0
    lines = list(read_lines(tmp_path / "case" / "ledger.jsonl"))
    entries = [line["entry"] for line in lines]
    assert entries[:4] == ["intent", "injected", "relieving", "relieved"]
    assert "healed" in entries
    assert "no sign of life" in relieved(tmp_path)[0]


def test_an_embedded_target_goes_with_its_harness(tmp_path: Path, state_dir: Path) -> None:
    script = (
        "import os,sys,signal,json;from pathlib import Path;from harness.faults.ledger import Ledger;"
        "from harness.targets.embedded import EmbeddedTarget;case=Path(sys.argv[1]);"
        "ledger=Ledger(case/'ledger.jsonl');target=EmbeddedTarget(case,register=ledger.register_process);"
        "target.start();print(json.dumps([target.process.as_json(),str(target.data_dir)]),flush=True);"
        "os.kill(os.getpid(),signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    process, data = json.loads(done.stdout)
    wait_for("the server is gone", lambda: nothing_open(state_dir))
    assert not ProcessIdentity.from_json(process).alive()
    assert not Path(data).exists()
