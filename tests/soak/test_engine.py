"""Real soaks of the embedded target, seconds long: recorded, with a fault, killed and gone on with."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import main
from harness.clock import FakeClock
from harness.report.soak import read_soak
from harness.soak.segment import standing
from harness.targets.base import boot_id
from harness.targets.embedded import EmbeddedTarget
from harness.timeline.soak_record import Lines, SoakWriter
from tests.soak.sigkill import run

FAULTS = """
name = "one"
[limits]
max_concurrent = 1
max_fault_share = 0.5
max_faults = 1
[quiet_ms]
least = 600_000
most = 700_000
[[fault]]
kind = "binding_corruption"
hold_ms = [300_000, 300_000]
dose = { corruption_rate = [0.2] }
"""


@pytest.fixture(scope="module")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state directory of our own, and the signal handler as it was."""
    root = tmp_path_factory.mktemp("soak")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENGRAM_STATE_DIR", str(root / "state"))
        yield root
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def ended(own_state: Path) -> tuple[int, Path]:
    """A soak of six seconds with a fault: its exit code and its directory."""
    faults = own_state / "faults.toml"
    faults.write_text(FAULTS)
    results = own_state / "results"
    words = ["soak", "--duration", "40m", "--time-scale", "400", "--rate", "60", "--faults", str(faults)]
    code = main([*words, "--results-dir", str(results), "--junit", str(own_state / "junit.xml")])
    return code, next(results.iterdir()) / "soak"


def test_a_soak_leaves_its_whole_record(ended: tuple[int, Path]) -> None:
    code, folder = ended
    record = read_soak(folder)
    assert code in (0, 4), record.judge().reasons  # too short to decide everything; nothing may fail
    intervals = list(Lines(folder / "intervals.jsonl"))
    assert [r["n"] for r in intervals] == list(range(len(intervals)))
    assert all(a["to_s"] == b["from_s"] for a, b in itertools.pairwise(intervals))
    assert record.series.observed_s == pytest.approx(2400, rel=0.2)
    assert record.series.gaps == []
    done = sum(int(r["completed"]) for r in intervals)
    assert done == sum(h.count for h in record.series.latency.values()) + sum(int(r["cancelled"]) for r in intervals)
    assert (record.tally.complete, record.tally.bad) == (True, 0)
    assert record.tally.checked >= 1000


def test_a_soak_keeps_what_people_and_job_runners_read(ended: tuple[int, Path]) -> None:
    _, folder = ended
    beat = json.loads((folder / "heartbeat.json").read_text())
    assert beat["interval"] > 0
    assert len((folder / "resources.log").read_text().splitlines()) >= 2
    assert (folder.parent / "report.html").stat().st_size < 3e6
    assert json.loads((folder.parent / "verdict.json").read_text())["cases"][0]["name"] == "soak"
    assert (folder.parents[1].parent / "junit.xml").exists()
    assert not (folder / "data").exists()


def test_a_fault_goes_through_the_ledger_and_is_healed(ended: tuple[int, Path]) -> None:
    _, folder = ended
    series = read_soak(folder).series
    assert [text for _, _, text in series.faults]
    names = [e["event"] for e in Lines(folder / "timeline.jsonl")]
    assert names.count("fault_begins") == names.count("fault_ends") == names.count("healed_observed") >= 1
    assert (series.column("fault") > 0).any()


def test_an_ended_soak_cannot_be_gone_on_with(ended: tuple[int, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["soak", "--resume", str(ended[1])]) == 3
    assert "has ended" in capsys.readouterr().err


def test_killed_and_gone_on_with(own_state: Path) -> None:
    found = run(2, 11, "20m", 480.0, own_state / "killed")
    assert found["kills"] == 2
    verdicts = {row["name"]: row["verdict"] for row in found["verdict"]["criteria"]}
    assert verdicts["completed"] == verdicts["no_crash"] == verdicts["acknowledged_memories"] == "PASS"
    assert found["verdict"]["observed_s"] >= 1200
    assert all(restart["by_the_harness"] for restart in found["verdict"]["restarts"])


def test_a_running_engram_is_soaked_although_its_data_cannot_be_reached(own_state: Path, tmp_path: Path) -> None:
    with EmbeddedTarget(tmp_path / "engram") as target:
        words = ["soak", "--duration", "20m", "--time-scale", "240", "--faults", "none", "--rate", "20"]
        words += ["--target", target.base_url, "--results-dir", str(tmp_path / "results"), "--i-own-this-target"]
        code = main(words)
    (folder,) = (tmp_path / "results").iterdir()
    assert code in (0, 1, 4)  # its consolidation runs at its own pace, whatever the time scale
    assert read_soak(folder / "soak").series.observed_s == pytest.approx(1200, rel=0.2)


def test_nobody_at_the_address_is_said_in_a_line(own_state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["soak", "--duration", "10s", "--target", "http://127.0.0.1:1", "--results-dir", str(own_state / "nobody")]
    assert main(words) == 3
    assert capsys.readouterr().err.startswith("harness: http://127.0.0.1:1")


class TestStanding:
    """Where a soak goes on from."""

    def begun(self, folder: Path, clock: FakeClock, *, boot: str, identity: list[object]) -> None:
        writer = SoakWriter(folder, clock)
        writer.event("segment_started", segment=0, at_s=0.0, boot=boot)
        for n in range(3):
            clock.advance(15.0)
            target = {"identity": identity}
            writer.interval({"n": n, "segment": 0, "from_s": n * 15.0, "to_s": n * 15.0 + 15.0, "target": target})
        writer.close()

    def test_within_a_boot_the_monotonic_clock_tells_the_gap(self, tmp_path: Path) -> None:
        clock = FakeClock()
        self.begun(tmp_path, clock, boot=boot_id(), identity=[1, 1, boot_id()])
        clock.advance(120.0)
        stands = standing(tmp_path, clock)
        assert (stands.segment, stands.records, stands.observed_s) == (1, 3, 45.0)
        assert (stands.end_s, stands.gap_s, stands.start_s) == (45.0, 120.0, 165.0)
        assert stands.target == "ended with the harness, or since"
        assert not stands.finished

    def test_across_a_reboot_only_the_wall_clock_can(self, tmp_path: Path) -> None:
        clock = FakeClock()
        self.begun(tmp_path, clock, boot="another", identity=[1, 1, "another"])
        stands = standing(tmp_path, clock)
        assert "wall" in stands.by
        assert stands.target == "ended with the machine"

    def test_a_target_that_died_first_is_told_apart(self, tmp_path: Path) -> None:
        clock = FakeClock()
        self.begun(tmp_path, clock, boot=boot_id(), identity=[1, 1, boot_id()])
        writer = SoakWriter(tmp_path, clock)
        writer.event("target_died", at_s=46.0, reason="gone")
        writer.close()
        assert standing(tmp_path, clock).target == "died before the harness did"

    def test_killed_before_anything_was_recorded(self, tmp_path: Path) -> None:
        SoakWriter(tmp_path, FakeClock()).close()
        stands = standing(tmp_path, FakeClock())
        assert (stands.segment, stands.start_s, stands.target) == (0, 0.0, "never seen")
