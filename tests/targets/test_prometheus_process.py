"""Prometheus beside an embedded target: there while it is there, registered before it runs, gone with its data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import EnvironmentUnusable
from harness.prometheus import PrometheusClient
from harness.starting import monitoring_beside
from harness.targets import prometheus_process
from harness.targets.base import ProcessIdentity
from harness.targets.embedded import EmbeddedTarget
from harness.targets.prometheus_process import MonitoredTarget, PrometheusProcess, prometheus_program
from tests.reference.server import wait_for

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
needs_prometheus = pytest.mark.skipif(prometheus_program() is None, reason="prometheus is not installed")


class Register:
    """Remembers what was registered, and whether it ran then."""

    def __init__(self) -> None:
        self.entries: list[tuple[ProcessIdentity, str, Path | None]] = []
        self.released: list[str] = []

    def __call__(self, process: ProcessIdentity, what: str, scratch: Path | None) -> Callable[[], None]:
        assert process.alive()
        self.entries.append((process, what, scratch))
        return lambda: self.released.append(what)


@needs_prometheus
def test_it_scrapes_its_target_and_goes_with_it(tmp_path: Path) -> None:
    register = Register()
    write, lookback_s = monitoring_beside(SCENARIOS, 60.0)
    inner = EmbeddedTarget(tmp_path, register=register)
    with MonitoredTarget(inner, tmp_path, write, lookback_s=lookback_s, register=register) as target:
        assert target.prometheus_url is not None
        with PrometheusClient(target.prometheus_url) as client:
            wait_for(lambda: client.query('up{job="engram"}').value() == 1.0, "a scrape")
            assert {group.name for group in client.rules()} == {"dual_memory", "monitoring_test"}
    what = {name: (process, scratch) for process, name, scratch in register.entries}
    process, scratch = what["Prometheus"]
    assert not process.alive()
    assert scratch is not None
    assert not scratch.exists()
    assert set(register.released) == set(what)
    assert (tmp_path / "prometheus.log").is_file()


@needs_prometheus
def test_a_configuration_it_refuses_is_one_clear_error(tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_text("nonsense: [", encoding="utf-8")
    register = Register()
    with pytest.raises(EnvironmentUnusable, match=r"ended before it was ready; its log ends"):
        PrometheusProcess(tmp_path, config, register=register).start()
    ((process, _, scratch),) = register.entries
    assert not process.alive()
    assert scratch is not None
    assert not scratch.exists()
    assert register.released == ["Prometheus"]


def test_without_the_program_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_process, "prometheus_program", lambda: None)
    with pytest.raises(EnvironmentUnusable, match="not installed"):
        PrometheusProcess(tmp_path, tmp_path / "prometheus.yml").start()


@needs_prometheus
def test_the_key_reaches_prometheus_and_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_API_KEY", "k3y-of-a-test")
    write, lookback_s = monitoring_beside(SCENARIOS, 60.0)
    with MonitoredTarget(EmbeddedTarget(tmp_path), tmp_path, write, lookback_s=lookback_s) as target:
        assert target.prometheus_url is not None
        with PrometheusClient(target.prometheus_url) as client:
            wait_for(lambda: client.query('up{job="engram"}').value() == 1.0, "a scrape")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"k3y-of-a-test" not in path.read_bytes()
