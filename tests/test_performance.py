"""The performance check against the stub, and the options that contradict each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from harness.baseline import read_figures
from harness.cli import main
from harness.errors import RecordError
from harness.faults.ledger import Ledger
from harness.performance import Measurement, latest_of, measure_pairs, read_pairs, result_folder
from harness.scenario.workload import load_workload
from harness.settings import scenarios_folder
from harness.targets.attached import AttachedTarget
from harness.targets.base import Target
from tests.load.servers import small_workload, stub

WHAT = Measurement(small_workload(100.0), 0.6, 7, lag_limit_ms=1e9, warm_up_s=0.2)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ENGRAM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("harness.performance.Measurement", partial(Measurement, warm_up_s=0.3))
    yield


def test_pairs_are_run_in_turn_and_read_back(tmp_path: Path) -> None:
    made: list[str] = []

    def side(name: str, url: str) -> Target:
        made.append(name)
        return AttachedTarget(url)

    with stub(tmp_path) as (url, _):

        def before(folder: Path, ledger: Ledger) -> Target:
            return side("A", url)

        def after(folder: Path, ledger: Ledger) -> Target:
            return side("B", url)

        found = measure_pairs((before, after), 2, WHAT, tmp_path / "pairs", {"task": "t"})
    assert made == ["A", "B", "A", "B"]
    again = read_pairs(tmp_path / "pairs")
    assert [run.p99_ms for run in again[1]] == [run.p99_ms for run in found[1]]
    assert all(run.operations > 20 and run.errors == 0 for runs in found for run in runs)
    value = json.loads((tmp_path / "pairs" / "02-after" / "result.json").read_text())
    assert value["seed"] == 8 and value["side"] == "after"
    assert not list((tmp_path / "pairs").rglob("requests-*.bin")) or value["operations"]["total"] > 0


@pytest.mark.parametrize("scenario", ["multi_tenant", "burst_traffic", "write_heavy"])
def test_a_large_scenario_with_fewer_memories_and_its_result_says_so(tmp_path: Path, scenario: str) -> None:
    with stub(tmp_path) as (url, _):
        words = ["perf", "001", "before", "--target", url, "--seconds", "1", "--rate", "100", "--nodes", "20"]
        words += ["--scenario", str(scenarios_folder() / f"{scenario}.toml")]
        assert main([*words, "--results-dir", str(tmp_path / "results")]) in (0, 4)
    value = json.loads(next((tmp_path / "results").rglob("result.json")).read_text())
    spaces = load_workload(scenarios_folder() / f"{scenario}.toml").data.memory_spaces
    assert value["memories"] == {"num_nodes": 20, "memory_spaces": spaces}


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--nodes", "0"], "one memory at least"), (["--preload-time", "soon"], "soon"), (["--preload-time", "9d"], "9d")],
)
def test_sizes_that_are_none(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["perf", "001", "before"], ["soak"], ["up", "--target", "embedded", "--load", "drill"]):
        assert main([*command, *words, "--results-dir", str(tmp_path)]) == 3
        assert said in capsys.readouterr().err


def test_one_check_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stub(tmp_path) as (url, _):
        words = ["perf", "001", "before", "--target", url, "--seconds", "1", "--rate", "100", "--json"]
        assert main([*words, "--results-dir", str(tmp_path / "results")]) in (0, 4)
    value = json.loads(capsys.readouterr().out)
    assert value["p99_ms"] > 0 and value["errors"] == 0
    folder = latest_of(tmp_path / "results", "001", ["before"])[0]
    assert str(folder) == value["result"]
    assert read_figures(folder).p99_ms == pytest.approx(value["p99_ms"])


def test_a_target_that_is_not_there_is_refused(tmp_path: Path) -> None:
    words = ["perf", "001", "before", "--target", "http://127.0.0.1:9", "--seconds", "1"]
    assert main([*words, "--results-dir", str(tmp_path)]) == 3


@pytest.mark.parametrize(
    "words",
    [
        ["001"],
        ["001", "during"],
        ["../x", "before"],
        ["001", "before", "--pairs", "3"],
        ["001", "--pairs", "1"],
        ["001", "--pairs", "3", "--target", "http://127.0.0.1:1"],
        ["001", "--pairs", "3", "--before-target", "http://127.0.0.1:1", "--before-defect", "x"],
        ["001", "--pairs", "3", "--after-config", "missing.toml"],
        ["001", "before", "--after-defect", "x"],
        ["001", "before", "--target", "http://127.0.0.1:1", "--config", "x.toml"],
        ["001", "before", "--target", "ftp://x"],
        ["001", "before", "--seconds", "0"],
        ["001", "before", "--processes", "0"],
        ["001", "before", "--seed", "many"],
        ["001", "before", "--rate", "-1"],
        ["001", "before", "--config", "missing.toml"],
    ],
)
def test_contradictions_are_told_before_anything_starts(tmp_path: Path, words: list[str]) -> None:
    try:
        code = main(["perf", *words, "--results-dir", str(tmp_path / "r")])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 3
    assert not list(tmp_path.rglob("target.log"))


def test_results_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "performance").write_text("a file")
    with pytest.raises(RecordError, match="cannot make"):
        result_folder(tmp_path, "001", "before", "2025-11-20T00:00:00Z")
