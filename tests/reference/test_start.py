"""Starting, refusing to start, and stopping."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import httpx
import pytest

from tests.reference.conftest import Launch
from tests.reference.server import CONFIG, Server, run, wait_for


@pytest.mark.parametrize(
    ("config", "line", "complaint"),
    [
        ("[features]\nblended_recal = true\n", 2, "unknown key"),
        ("\n[blended]\nx = 1\n", 2, "unknown section"),
        ("stray = 1\n", 1, "unknown key"),
        ("[features]\n\nfan_effect = 1\n", 3, "must be true or false"),
        ("[consolidation]\ninterval_seconds = 0.01\n", 2, "out of range"),
        ("[blended_recall]\nmax_concepts = 2.5\n", 2, "whole number"),
        ("[blended_recall]\nsemantic_timeout_ms = nan\n", 2, "out of range"),
        ("blended_recall.cohort_sampling_rate = 2.0\n", 1, "out of range"),
        ("[features\n", 1, "not valid TOML"),
    ],
)
def test_a_bad_config_is_refused_with_file_and_line(tmp_path: Path, config: str, line: int, complaint: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(config, encoding="utf-8")
    refused = run("--port", "0", "--data-dir", str(tmp_path / "data"), "--config", str(path))
    assert refused.returncode == 3
    assert f"{path}:{line}: " in refused.stderr
    assert complaint in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--defect", "nonsense"], "unknown defect"),
        (["--defect", "recovery_late=soon"], "not a number"),
        (["--defect", "error_rate=2"], "out of range"),
        (["--defect", "lost_ack=0"], "out of range"),
        (["--defect", "no_fallback=1"], "takes no magnitude"),
        (["--port", "70000"], "0 to 65535"),
        (["--config", "/does/not/exist.toml"], "cannot be read"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_a_bad_command_line_is_refused_in_one_line(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    refused = run("--port", "0", "--data-dir", str(tmp_path / "data"), *arguments)
    assert refused.returncode == 3
    assert complaint in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_busy_port_and_a_busy_directory_are_refused(launch: Launch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = run("--port", port, "--data-dir", str(tmp_path / "other"))
    assert (refused.returncode, "in use" in refused.stderr) == (3, True)
    server = launch()
    refused = run("--port", "0", "--data-dir", str(server.data_dir))
    assert (refused.returncode, "in use by another process" in refused.stderr) == (3, True)


def test_defects_are_listed() -> None:
    entries = json.loads(run("--list-defects", "--json").stdout)
    assert len(entries) >= 25
    assert {"name", "meaning", "default", "unit"} == set(entries[0])
    assert "recovery_late=5 s" in run("--list-defects").stdout


def test_defects_in_force_are_announced(launch: Launch) -> None:
    server = launch("--defect", "lost_ack=7", "--defect", "no_fallback")
    assert "lost_ack=7, no_fallback" in server.output
    assert server.client.get("/api/v1/system/info").json()["defects"] == ["lost_ack=7", "no_fallback"]


def test_termination_answers_what_has_begun(launch: Launch) -> None:
    server = launch()
    server.populate()
    server.chaos("latency", latency_ms=400)
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(server.recall()))
    asking.start()
    with httpx.Client(base_url=server.client.base_url) as other:
        wait_for(lambda: "engram_blended_recall_total 1.0" in other.get("/metrics").text, "the recall has begun")
    assert server.stop() == 0
    asking.join(10)
    assert answers[0].status_code == 200
    assert "stopped" in server.output


def test_shutdown_by_request(launch: Launch) -> None:
    server = launch()
    assert server.client.post("/shutdown").status_code == 200
    assert server.process is not None
    assert server.process.wait(10) == 0


def test_environment_overrides_flags_and_nonsense_is_refused(launch: Launch, tmp_path: Path) -> None:
    server = launch(env={"BLENDED_RECALL": "false", "FAN_EFFECT": "0"})
    assert (server.flags()["blended_recall"], server.flags()["fan_effect"]) == (False, False)
    broken = Server(tmp_path / "broken", config=CONFIG, env={"BLENDED_RECALL": "perhaps"})
    with pytest.raises(AssertionError, match="BLENDED_RECALL"):
        broken.start()
