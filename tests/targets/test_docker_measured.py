"""What is measured on a docker target: a soak, a performance check; and what is said where that cannot be."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.report.soak import read_soak
from harness.settings import scenarios_folder
from harness.soak.plan import make_plan
from harness.targets.docker_engine import GRAFANA_VARIABLE, PROMETHEUS_VARIABLE, Images
from harness.targets.docker_part import Part
from harness.timeline.soak_record import Lines
from tests.faults.conftest import wait_for
from tests.soak.synthetic import Shape, write
from tests.targets.docker_here import left_of


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A state directory of our own, nothing to pull, and the signal handler as it was."""
    monkeypatch.setenv("ENGRAM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv(GRAFANA_VARIABLE, "none")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def soak(results: Path, *more: str) -> tuple[int, Path]:
    """A soak of an hour and a half in nine seconds: its exit code and its directory."""
    words = ["soak", "--target", "docker", "--duration", "90m", "--time-scale", "600", "--rate", "60", *more]
    code = main([*words, "--results-dir", str(results)])
    return code, next(results.iterdir()) / "soak"


def criteria(folder: Path) -> dict[str, dict[str, Any]]:
    verdict = json.loads((folder / "verdict.json").read_text())
    return {row["name"]: row for row in verdict["criteria"]}


@pytest.mark.docker
def test_a_soak_of_a_container_sees_its_process_and_leaves_nothing(images: Images, tmp_path: Path) -> None:
    code, folder = soak(tmp_path / "results")
    assert code in (0, 4), read_soak(folder).judge().reasons  # too short to decide everything; nothing may fail
    intervals = [record["target"] for record in Lines(folder / "intervals.jsonl")]
    assert {target["source"] for target in intervals} == {"process"}
    assert all(target["rss_bytes"] > 1e7 and target["fds"] > 0 and target["disk_bytes"] > 0 for target in intervals)
    ready = next(event for event in Lines(folder / "timeline.jsonl") if event["event"] == "target_ready")
    assert ready["target"]["target"] == "docker"
    assert set(ready["target"]["containers"]) == {"engram", "prometheus"}
    found = criteria(folder)
    assert found["acknowledged_memories"]["verdict"] == found["no_crash"]["verdict"] == "PASS"
    assert left_of(ready["target"]["environment"]) == []
    assert not (folder / "data").exists()


@pytest.mark.docker
@pytest.mark.parametrize(
    "seen",
    [pytest.param(True, id="its process"), pytest.param(False, id="the engine's word", marks=pytest.mark.long)],
)
def test_a_leak_in_a_container_fails_its_soak(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """By either witness: the one that stands in must not be blind to what it stands in for."""
    monkeypatch.setenv(PROMETHEUS_VARIABLE, "none")
    if not seen:
        monkeypatch.setattr(Part, "process", lambda self: None)
    code, folder = soak(tmp_path / "results", "--defect", "leak_bytes=262144")
    targets = [record["target"] for record in Lines(folder / "intervals.jsonl")]
    assert {target["source"] for target in targets} == {"process" if seen else "engine"}
    assert code == 1
    grown = criteria(folder)["memory_growth"]
    assert grown["verdict"] == "FAIL", grown["reason"]
    assert all(target["fds"] > 0 for target in targets), "the service tells them where nobody can count"


@pytest.mark.long
@pytest.mark.docker
def test_what_nobody_tells_of_a_container_is_no_pass(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROMETHEUS_VARIABLE, "none")
    monkeypatch.setattr(Part, "process", lambda self: None)
    monkeypatch.setattr("harness.targets.docker_usage.read_usage", lambda stats: {})
    monkeypatch.setattr("harness.probes.soak.told_reading", lambda metrics: {})
    code, folder = soak(tmp_path / "results")
    assert code == 4
    found = criteria(folder)
    for name in ("memory_growth", "leak", "rss_settled", "cpu", "open_files"):
        assert found[name]["verdict"] == "INCONCLUSIVE", name
        assert "the container's process cannot be seen, and neither engine nor service tells" in found[name]["reason"]


@pytest.mark.long
@pytest.mark.docker
def test_a_soak_that_was_killed_goes_on_with_the_data_of_its_container(images: Images, tmp_path: Path) -> None:
    results = tmp_path / "results"
    words = ["soak", "--target", "docker", "--duration", "90m", "--time-scale", "600", "--rate", "60"]
    child = subprocess.Popen([sys.executable, "-m", "harness.cli", *words, "--results-dir", str(results)])
    wait_for("recorded", lambda: any(p.stat().st_size for p in results.glob("*/soak/intervals.jsonl")), 60.0)
    child.kill()
    child.wait(10)
    (session,) = results.iterdir()
    first = _ready(session)[0]["environment"]
    code = main(["soak", "--resume", str(session)])
    assert code in (0, 4), read_soak(session / "soak").judge().reasons
    assert left_of(first) == left_of(_ready(session)[-1]["environment"]) == []
    rows = [row["phase"] for row in Lines(session / "soak" / "read_back.jsonl") if row.get("ok", True)]
    assert "resume" in rows, "what was acknowledged before the kill was read back"
    found = criteria(session / "soak")
    assert found["acknowledged_memories"]["verdict"] == found["no_crash"]["verdict"] == "PASS"
    verdict = json.loads((session / "soak" / "verdict.json").read_text())
    assert [restart["by_the_harness"] for restart in verdict["restarts"]] == [True]


def _ready(session: Path) -> list[dict[str, Any]]:
    events = Lines(session / "soak" / "timeline.jsonl")
    return [event["target"] for event in events if event["event"] == "target_ready"]


@pytest.mark.parametrize(
    ("image", "reference", "said"),
    [
        ("engram:2", False, "another image's data are a volume that goes with its container"),
        ("engram-harness/reference:newer", True, "was begun on the image engram-harness/reference:older"),
    ],
)
def test_a_soak_does_not_go_on_without_its_data(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    image: str,
    reference: bool,
    said: str,
) -> None:
    """All that was acknowledged would be taken for lost."""
    found = Images(image, is_reference=reference)
    monkeypatch.setattr("harness.starting._images", lambda defects, say, alone: found)
    folder = write(tmp_path / "session", Shape(duration_s=3600.0, interval_s=300.0))
    manifest = json.loads((folder / "manifest.json").read_text())
    plan = make_plan(scenarios_folder() / "soak" / "phase0.toml", seed=1, target="docker")
    (folder / "manifest.json").write_text(json.dumps({**manifest, "plan": plan.as_json()}))
    target = {"containers": {"engram": {"image": "engram-harness/reference:older"}}}
    ready = {"t": 0.0, "wall": "", "event": "target_ready", "at_s": 0.0, "target": target}
    (folder / "timeline.jsonl").write_text(json.dumps(ready) + "\n")
    assert main(["soak", "--resume", str(tmp_path / "session")]) == 3
    assert said in capsys.readouterr().err


@pytest.mark.docker
def test_a_performance_check_of_a_container_measures_engram_alone(
    images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["perf", "001", "before", "--target", "docker", "--seconds", "1", "--rate", "50", "--json"]
    assert main([*words, "--results-dir", str(tmp_path / "results")]) in (0, 4)
    result = json.loads((Path(json.loads(capsys.readouterr().out)["result"]) / "result.json").read_text())
    assert result["memory_source"] == "process"
    assert result["memory"]["rss_mb"] > 10
    assert result["target"]["target"] == "docker"
    assert set(result["target"]["containers"]) == {"engram"}
    assert set(result["target"]["absent"].values()) == {"left out: Engram alone is measured"}
    assert "blended_recall = false" in result["target"]["config"]
    assert left_of(result["target"]["environment"]) == []


COMMANDS = {
    "soak": ["soak", "--profile", "quick"],
    "perf": ["perf", "001", "before", "--seconds", "1"],
    "pairs": ["perf", "001", "--pairs", "2", "--after-target", "docker"],
    "replay": ["replay", str(Path(__file__).parents[1] / "soak_traces")],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_without_an_engine_each_says_so_in_a_line_and_leaves_no_result(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    words = COMMANDS[name] if name == "pairs" else [*COMMANDS[name], "--target", "docker"]
    assert main([*words, "--results-dir", str(tmp_path / "results")]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no Docker engine answers: there is no such socket" in said
    assert "DOCKER_HOST" in said
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["soak", "--target", "docker", "--i-own-this-target"], "--i-own-this-target contradicts --target docker"),
        (["soak", "--target", "podman"], "embedded, docker, or http://host:port"),
        (["perf", "001", "before", "--target", "podman"], "embedded, docker, or http://host:port"),
    ],
)
def test_what_contradicts_a_docker_target(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 3
    assert said in capsys.readouterr().err
