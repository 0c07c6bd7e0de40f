"""Nonsense in: one clear message, the right exit code, no traceback, nothing left running."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.errors import EXIT_UNUSABLE
from tests.drills.session import ROOT, DrillRun, tiny_scenarios

CONTROL = "drills/control"
USAGE = 4  # pytest's exit code for unusable options


@contextmanager
def answering(status: int, body: bytes, content_type: str = "text/html") -> Iterator[str]:
    """A server on loopback that answers everything with one thing."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "swift"], "there is no profile 'swift'"),
        (["--target", "embeded"], "--target 'embeded' is not known"),
        (["--seed", "pi"], "--seed 'pi' is not a number"),
        (["--retry-inconclusive", "-1"], "--retry-inconclusive '-1' is not a number"),
        (["--scenario", "nowhere.toml"], "nowhere.toml: cannot read"),
        (["--i-own-this-target"], "contradicts --target embedded"),
        (["--target", "http://me:it@127.0.0.1:1"], "http://…@127.0.0.1: credentials in the URL are refused"),
        (["--target", "http://127.0.0.1:1", "--defect", "error_rate"], "--defect works on the embedded and docker"),
        (["--results-dir", "/dev/null/results"], "cannot make the session directory"),
        (["--target", "docker", "--i-own-this-target"], "contradicts --target docker"),
        (["--prometheus-url", "http://127.0.0.1:9"], "--prometheus-url and --grafana-url contradict"),
        (["--target", "http://127.0.0.1:1", "--prometheus-url", "http://127.0.0.1:9"], "cannot connect"),
        (["--target", "http://127.0.0.1:1", "--grafana-url", "grafana"], "--grafana-url: not an http(s) URL"),
        (["--engram-config", "/no/such/engram.toml"], "there is no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unusable_options(tmp_path: Path, options: list[str], message: str) -> None:
    with DrillRun(tmp_path, CONTROL, *options) as run:
        assert run.wait() == USAGE, run.output
        assert message in run.output
        assert "Traceback" not in run.output


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("profiles.toml", "time_scale = 50.0", "time_scal = 50.0", "profiles.quick.time_scale: this key is required"),
        ("profiles.toml", "restart = false", "restart = 0", "restart: must be true or false, not 0"),
        ("profiles.toml", "[limits]", "[limits]\nmax_lag = 1", "limits.max_lag: unknown key"),
        ("slo.toml", "value = 8.0", 'value = "8"', "semantic_timeout_ms.value: must be a number, not '8'"),
        ("slo.toml", "[recall_p99_ms]", "[recall_p99_ms]]", "slo.toml: not valid TOML"),
        ("drill.toml", 'pattern = "constant"', 'pattern = "steady"', "arrival.pattern: 'steady' is not one of"),
    ],
)
def test_bad_toml_names_file_line_and_key(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    path = tiny_scenarios(tmp_path) / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with DrillRun(tmp_path, CONTROL) as run:
        assert run.wait() == USAGE, run.output
        assert message in run.output
        assert "Traceback" not in run.output


def test_an_unknown_defect_is_the_targets_word(tmp_path: Path) -> None:
    with DrillRun(tmp_path, CONTROL, "--defect", "gremlins") as run:
        assert run.wait() == EXIT_UNUSABLE, run.output
        assert "gremlins" in run.output
        assert "Traceback" not in run.output


def _attached(tmp_path: Path, url: str, drill: str, *options: str) -> str:
    with DrillRun(tmp_path, drill, "--target", url, *options) as run:
        assert run.wait() == EXIT_UNUSABLE, run.output
        assert "Traceback" not in run.output
        assert url in run.output
        return run.output


def test_a_target_nobody_listens_on(tmp_path: Path) -> None:
    output = _attached(tmp_path, f"http://127.0.0.1:{closed_port()}", CONTROL)
    assert "Connection refused" in output


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (200, b"<html>welcome</html>", "text/html", "HTML"),
        (401, b'{"error":{"code":"unauthorized","message":"no"}}', "application/json", "401"),
        (503, b"", "text/plain", "unhealthy"),
        (200, b"{}", "application/json", "recall"),
    ],
    ids=["html", "401", "503", "wrong shape"],
)
def test_a_target_that_is_no_engram(tmp_path: Path, status: int, body: bytes, kind: str, message: str) -> None:
    with answering(status, body, kind) as url:
        assert message in _attached(tmp_path, url, CONTROL, "--i-own-this-target")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["judge", "no/such/place"], 3, "no such directory"),
        (["report", "no/such/place"], 3, "No such file"),
        (["judgement"], 3, "invalid choice"),
        (["heal", "--quickly"], 3, "unknown arguments: --quickly"),
        ([], 3, "required"),
    ],
)
def test_the_command_line(arguments: list[str], code: int, message: str) -> None:
    command = [sys.executable, "-m", "harness.cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_record_of_a_newer_harness_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"schema": 999}')
    command = [sys.executable, "-m", "harness.cli", "judge", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "999" in done.stdout + done.stderr
    assert done.returncode in (3, 4)


@pytest.mark.parametrize("kilobytes", [64, 400, 640])
def test_a_disk_that_fills_up_ends_the_run_and_keeps_what_was_written(tmp_path: Path, kilobytes: int) -> None:
    results = tmp_path / "results"
    results.mkdir()
    options = ["-o", f"size={kilobytes}k", "tmpfs", str(results)]
    if subprocess.run(["mount", "-t", "tmpfs", *options], capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        with DrillRun(tmp_path, "drills/semantic_pathway") as run:
            assert run.wait() in (1, 3), run.output  # 3: not even the report could be written
            assert "No space left" in run.output
            assert "Traceback" not in run.output
            assert (run.case() / "timeline.jsonl").stat().st_size > 0
        assert not list((tmp_path / "state").glob("**/*.jsonl")), "nothing is left in force"
    finally:
        subprocess.run(["umount", str(results)], check=True)
