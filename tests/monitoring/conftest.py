"""One live stack for all: an Engram under a little load, and a Prometheus at twenty times the usual pace."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from harness.engram import EngramClient
from harness.faults.ledger import Ledger
from harness.monitoring.assets import load_spec, lookback_s, write_assets
from harness.prometheus import PrometheusClient
from harness.scenario.monitoring import MonitoringSpec
from harness.targets.embedded import EmbeddedTarget
from harness.targets.prometheus_process import MonitoredTarget, prometheus_program
from tests.reference.server import wait_for

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
SCALE = 20.0
PHASE0_BYTES = 1e8
CONFIG = (
    "[features]\ndual_memory_types = true\nblended_recall = true\nfan_effect = true\nmonitoring = true\n\n"
    "[blended_recall]\ncohort_sampling_rate = 0.5\n\n[consolidation]\ninterval_seconds = 0.2\n"
)


@dataclass(frozen=True)
class Stack:
    """A running stack."""

    target: MonitoredTarget
    spec: MonitoringSpec
    assets: Path
    prometheus: str
    engram: str
    ledger: Ledger


class _Load:
    """Stores clustered memories and recalls them as many users, until told to stop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def runs(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        rng = np.random.default_rng(7)
        with EngramClient(self._url) as client:
            for number in range(100_000):
                if self._stop.is_set():
                    return
                if number % 6 == 0:  # a new cluster now and then, so that concepts go on being formed
                    centre = rng.normal(size=768) / np.sqrt(768)
                vector = centre + rng.normal(size=768) * 0.5 / np.sqrt(768)
                embedding = [round(float(x), 5) for x in vector / np.linalg.norm(vector)]
                client.remember(f"memory {number}", memory_id=f"m-{number:06d}", embedding=embedding)
                for user in range(4):
                    client.recall(embedding=embedding, user=f"user-{(number + user) % 40}")
                self._stop.wait(0.01)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if prometheus_program() is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("stack")
    spec = load_spec(SCENARIOS)

    def write(where: Path, engram: str, key: str | None) -> object:
        return write_assets(where, spec, engram=engram, time_scale=SCALE, api_key_file=key, phase0_bytes=PHASE0_BYTES)

    with ExitStack() as kept:
        ledger = kept.enter_context(Ledger(folder / "ledger.jsonl"))  # its guardian ends it all where pytest is killed
        register = ledger.register_process
        inner = EmbeddedTarget(folder, config_text=CONFIG, register=register)
        target = kept.enter_context(
            MonitoredTarget(inner, folder, write, lookback_s=lookback_s(SCALE), register=register)
        )
        load = _Load(target.base_url)
        load.start()
        try:
            assert target.prometheus_url is not None
            with PrometheusClient(target.prometheus_url) as client:
                wait_for(lambda: _evaluated(client, load), "every rule to be evaluated with data", 40.0)
            yield Stack(target, spec, folder / "monitoring", target.prometheus_url, target.base_url, ledger)
        finally:
            load.stop()


def _evaluated(client: PrometheusClient, load: _Load) -> bool:
    assert load.runs(), "the load has ended"
    coherence = client.query("engram:concept_coherence").value()
    age = client.query('time() - min(process_start_time_seconds{job="engram"})').value() or 0.0
    formed = client.query("increase(engram_concepts_formed_total[1m])").value() or 0.0
    penalty = client.query("engram:fan_effect_penalty:average_5m").value()
    # The longest range of those that need two samples is 3 days: everything else has them after a few scrapes.
    return coherence is not None and penalty is not None and formed > 0.0 and age > 8.0
