"""Stacks that lie, in containers and live: each is caught by its own check and words, with exit code 1.

Everything is real but for Grafana, whose lies are told by a stub (``test_validation.py``) where its image is not had.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from harness.cli import main
from harness.errors import EXIT_FAILED, EXIT_OK
from harness.monitoring.assets import load_spec, lookback_s, write_assets
from harness.starting import monitoring_assets
from harness.targets.docker import DockerTarget
from harness.targets.docker_engine import Images, engine
from harness.targets.embedded import EmbeddedTarget
from harness.targets.prometheus_process import MonitoredTarget, prometheus_program
from tests.faults.conftest import wait_for
from tests.monitoring.conftest import CONFIG, SCALE, SCENARIOS
from tests.monitoring.grafana_stub import Server
from tests.targets.docker_here import images_here, left_of

HELD_S = 3.0  # four scrapes
SCRAPE, RULES = "prometheus/prometheus.yml", "prometheus/rules/dual_memory.yml"
Document = dict[str, Any]


@pytest.fixture
def images() -> Images:
    found = images_here()
    if isinstance(found, str):
        pytest.skip(f"Docker: {found}")
    if found.prometheus is None:
        pytest.skip(f"Docker: no Prometheus: {found.absent['prometheus']}")
    return found


def _job(change: Document) -> Callable[[Path], None]:
    """What the scrape configuration of Engram says otherwise."""
    return _edited(SCRAPE, lambda document: document["scrape_configs"][0].update(change))


def _edited(name: str, change: Callable[[Document], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        document = yaml.safe_load((folder / name).read_text("utf-8"))
        change(document)
        (folder / name).write_text(yaml.safe_dump(document), encoding="utf-8")

    return edit


def _rules(document: Document) -> list[Document]:
    return next(group for group in document["groups"] if group["name"] == "dual_memory")["rules"]  # type: ignore[no-any-return]


def _in_error(document: Document) -> None:
    """Both sides of the match have the same labels twice: Prometheus loads it, and fails to evaluate it."""
    recording = next(rule for rule in _rules(document) if "record" in rule)
    recording["expr"] = "engram_recall_total * on(job) engram_recall_total"


def _without(alert: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        for group in document["groups"]:
            group["rules"] = [rule for rule in group["rules"] if rule.get("alert") != alert]

    return change


RENAME = {
    "source_labels": ["__name__"],
    "regex": "engram_blended_recall_total",
    "target_label": "__name__",
    "replacement": "engram_blended_recalls_total",
}


@dataclass(frozen=True)
class Lie:
    """What is wrong with a stack, and the check that must say so in these words; ``others`` cannot but break, too."""

    change: Callable[[Path], None]
    check: str
    words: str
    others: frozenset[str] = frozenset()


BLIND = frozenset({"scrape fresh", "metrics scraped", "test alert fires"})
LIES = {
    "target down": Lie(
        _job({"static_configs": [{"targets": ["engram:7433"]}]}), "target up", "connection refused", BLIND
    ),
    "not scraped": Lie(_job({"job_name": "engrams"}), "target up", "no target of job 'engram'", BLIND),
    "metric renamed": Lie(
        _job({"metric_relabel_configs": [RENAME]}), "metrics scraped", "renamed to engram_blended_recalls_total?"
    ),
    "rule in error": Lie(_edited(RULES, _in_error), "rules without error", "many-to-many matching not allowed"),
    "alert rule gone": Lie(_edited(RULES, _without("ConsolidationFailures")), "rules loaded", "ConsolidationFailures"),
    "rules gone": Lie(
        _edited(SCRAPE, lambda document: document.update(rule_files=[])),
        "rules loaded",
        "no rule group 'dual_memory'; there is no group at all",
        frozenset({"test alert fires"}),
    ),
    "test alert gone": Lie(
        _edited(RULES, _without("MonitoringTest")), "test alert fires", "does not fire", frozenset({"rules loaded"})
    ),
}


class Said:
    """What the command says of a Prometheus, again and again."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url = url
        self._capsys = capsys
        self._last: tuple[int, dict[str, str]] = (-1, {})
        self._since = math.inf

    def until(self, code: int, check: str, words: str, others: frozenset[str] = frozenset()) -> None:
        """Until it has said this for some scrapes: while a stack starts, much is missing that is no lie."""
        self._since = math.inf
        with suppress(AssertionError):  # said below, with what was found
            wait_for(f"{check or 'all is well'}", lambda: self._holds(code, check, words, others), 60.0)
        assert time.monotonic() - self._since >= HELD_S, self._last

    def _holds(self, code: int, check: str, words: str, others: frozenset[str]) -> bool:
        found = main(["validate-monitoring", "--prometheus-url", self._url, "--json"])
        findings = json.loads(self._capsys.readouterr().out)["findings"]
        failed = {one["check"]: one["detail"] for one in findings if one["verdict"] == "failed"}
        self._last = found, failed
        good = found == code and words in failed.get(check, "") and set(failed) <= {check} | others
        self._since = min(self._since, time.monotonic()) if good else math.inf
        return time.monotonic() - self._since >= HELD_S


SHORT = (None, "metric renamed")  # the others take as long each and go the same way


@pytest.mark.docker
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, id=n or "honest", marks=() if n in SHORT else pytest.mark.long) for n in (None, *LIES)],
)
def test_a_stack_that_lies_is_caught(
    name: str | None, images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, flags = monitoring_assets(SCENARIOS, SCALE)
    assert flags == (f"--query.lookback-delta={round(lookback_s(SCALE) * 1000)}ms",)
    assets = tmp_path / "assets"
    write(assets)
    lie = LIES[name] if name is not None else None
    if lie is not None:
        lie.change(assets)
    target = DockerTarget(tmp_path / "case", images, config_text=CONFIG, monitoring=assets, prometheus_flags=flags)
    with target:
        environment, said = target.describe()["environment"], Said(str(target.prometheus_url), capsys)
        if lie is None:
            said.until(EXIT_OK, "", "")
        else:
            said.until(EXIT_FAILED, lie.check, lie.words, lie.others)
    assert left_of(environment) == []


@pytest.mark.long
@pytest.mark.docker
def test_an_engram_that_dies_is_seen_by_its_stack(
    images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, flags = monitoring_assets(SCENARIOS, SCALE)
    write(tmp_path / "assets")
    stack = DockerTarget(
        tmp_path / "case", images, config_text=CONFIG, monitoring=tmp_path / "assets", prometheus_flags=flags
    )
    with stack as target:
        said = Said(str(target.prometheus_url), capsys)
        said.until(EXIT_OK, "", "")
        target.kill()
        said.until(EXIT_FAILED, "target up", "is down", BLIND)


@pytest.mark.long
@pytest.mark.docker
def test_a_scrape_that_grows_stale_is_seen(images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prometheus is told to scrape once an hour: its target is up still, and its rules go on being evaluated."""
    assets = tmp_path / "assets"
    write, flags = monitoring_assets(SCENARIOS, SCALE)
    write(assets)
    stack = DockerTarget(tmp_path / "case", images, config_text=CONFIG, monitoring=assets, prometheus_flags=flags)
    with stack as target:
        said = Said(str(target.prometheus_url), capsys)
        said.until(EXIT_OK, "", "")
        _job({"scrape_interval": "1h"})(assets)
        with engine() as client:
            client.api.kill(target.describe()["containers"]["prometheus"]["container"], "SIGHUP")
        said.until(EXIT_FAILED, "scrape fresh", "no sample of up", BLIND | {"target up"})


class OldSamples(Server):
    """What the Engram at ``url`` exports, as of a minute ago: with timestamps, which Prometheus honours."""

    content_type = "text/plain; version=0.0.4"

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        lines = httpx.get(f"{self._url}/metrics", trust_env=False).text.splitlines()
        then = round((time.time() - 60.0) * 1000)  # of the wall clock, as samples are
        return 200, "".join(f"{line if line.startswith('#') else f'{line} {then}'}\n" for line in lines).encode()


def test_an_exporter_that_answers_with_old_samples_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its target is up and was scraped just now."""
    if prometheus_program() is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    spec = load_spec(SCENARIOS)
    with ExitStack() as kept:
        inner = EmbeddedTarget(tmp_path, config_text=CONFIG)
        servers: list[OldSamples] = []

        def write(where: Path, engram: str, key: str | None) -> object:
            servers.append(kept.enter_context(OldSamples(f"http://{engram}")))
            return write_assets(where, spec, engram=servers[-1].url.removeprefix("http://"), time_scale=SCALE)

        target = kept.enter_context(MonitoredTarget(inner, tmp_path, write, lookback_s=lookback_s(1.0)))
        said = Said(str(target.prometheus_url), capsys)
        said.until(EXIT_FAILED, "scrape fresh", "s old, more than", frozenset({"metrics scraped"}))


@pytest.mark.docker
def test_the_shipped_stack_is_brought_up_validated_and_taken_down(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not there is said with its reason, and is no failure."""
    monkeypatch.setenv("ENGRAM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ENGRAM_GRAFANA_IMAGE", "none")
    command = ["validate-monitoring", "--target", "docker", "--results-dir", str(tmp_path / "results"), "--json"]
    code = main(command)
    findings = {one["check"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    failed = {check: one["detail"] for check, one in findings.items() if one["verdict"] == "failed"}
    assert {check for check in failed if check != "witness: P99 latency"} == set(), failed  # on a busy machine
    assert code == (EXIT_FAILED if failed else EXIT_OK)
    assert findings["grafana"] | {"check": ""} == {
        "check": "",
        "verdict": "skipped",
        "detail": "left out ($ENGRAM_GRAFANA_IMAGE is none)",
    }
    assert "http://engram:7432/metrics" in findings["target up"]["detail"], "in its own network"
    assert {"metrics exported", "witness: recalls"} <= set(findings)
    assert list((tmp_path / "state").glob("**/*.jsonl")) == []


@pytest.mark.docker
def test_without_prometheus_there_is_nothing_to_validate(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGRAM_STATE_DIR", str(tmp_path / "state"))
    found = replace(images, prometheus=None, absent={"prometheus": "left out", "grafana": "left out"})
    monkeypatch.setattr("harness.starting._images", lambda defects, say, alone: found)
    assert main(["validate-monitoring", "--target", "docker", "--results-dir", str(tmp_path / "results")]) == 3
    assert "left out: there is no Prometheus to validate" in capsys.readouterr().err
    assert list((tmp_path / "state").glob("**/*.jsonl")) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "docker", "--prometheus-url", "http://127.0.0.1:1"], "contradict --target docker"),
        (["--target", "docker", "--time-scale", "1000"], "--time-scale 1000 is not from 1 to 60"),
        (["--target", "http://127.0.0.1:1", "--time-scale", "2"], "--time-scale is of a stack that is started here"),
        (["--target", "docker"], "no Docker engine answers: there is no such socket"),
    ],
    ids=["two stacks", "too fast", "not ours", "no engine"],
)
def test_what_cannot_be_validated(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    assert main(["validate-monitoring", *words, "--results-dir", str(tmp_path / "results")]) == 3
    trouble = capsys.readouterr().err
    assert said in trouble
    assert trouble.count("\n") == 1
    assert not (tmp_path / "results").exists()
