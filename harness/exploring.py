"""A target that stays up for people to explore: brought up, put under load if asked, shown as it goes, taken down."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

from harness.clock import Clock, SystemClock
from harness.errors import HarnessError, RecordError, TargetError
from harness.faults.ledger import Ledger
from harness.load.plan import PRELOAD_S, LoadPlan
from harness.load.supervisor import LoadSupervisor
from harness.prometheus import PrometheusClient
from harness.report.standing import Standing, StandingDisplay
from harness.scenario.workload import Workload
from harness.starting import TargetMaker
from harness.targets.base import Target

_WEEK_S = 7 * 86_400.0
_LOOK_S = 1.0
_RECENT_S = 5.0
_ASK_S = 2.0
Found = TypeVar("Found")


@dataclass(frozen=True)
class Stay:
    """What is to stay up. ``cohort_rate`` of the users get blended recall; ``duration_s`` None: until interrupted."""

    workload: Workload | None = None
    cohort_rate: float = 0.5
    seed: int = 0
    page: bool = False
    port: int = 0
    duration_s: float | None = None
    preload_s: float = PRELOAD_S


class Exploration:
    """One stay."""

    def __init__(
        self,
        stay: Stay,
        maker: TargetMaker,
        folder: Path,
        *,
        say: Callable[[str], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        self._stay = stay
        self._say = say
        self._maker = maker
        self._folder = folder
        self._clock = clock or SystemClock()
        self._never = threading.Event()

    def run(self, ready: Callable[[dict[str, Any]], None], stream: TextIO) -> None:
        """Bring it up, tell ``ready`` where everything is, show how it goes on ``stream``, and take it down at the end.

        Answers when the stay is over, or on Ctrl-C once it was up. Raises :class:`KeyboardInterrupt` where it was not
        yet, and :class:`HarnessError` where it cannot be brought up or its load breaks; nothing is left either way.
        """
        with self._up() as (target, load):
            ready(self._places(target, load))
            try:
                self._stay_up(target, load, StandingDisplay(stream))
            except KeyboardInterrupt:
                stream.write("taking it down\n")
                stream.flush()

    def visit(self, look: Callable[[Target], Found]) -> Found:
        """Bring it up, a Prometheus beside it where there can be one, and answer what ``look`` finds under the load.

        Raises as :meth:`run` does; nothing is left either way.
        """
        with self._up(frozenset({"prometheus"})) as (target, load):
            if load is not None:
                self._say("storing the load's memories")
                load.preload()
                load.keep_samples(False)
                load.start()
            self._say("looking")
            return look(target)

    @contextmanager
    def _up(self, wants: frozenset[str] = frozenset()) -> Iterator[tuple[Target, LoadSupervisor | None]]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordError(f"cannot be made: {error.strerror}", where=str(self._folder)) from error
        with Ledger(self._folder / "ledger.jsonl", clock=self._clock) as ledger, ExitStack() as stack:
            self._say("starting")
            target = stack.enter_context(self._maker.make(self._folder, ledger, wants, port=self._stay.port))
            ledger.claim(target.claimed_url)
            self._flags(target)
            yield target, self._load(target, stack)

    def _flags(self, target: Target) -> None:
        if "cohorts" in target.capabilities and self._stay.cohort_rate > 0:
            with target.client() as client:
                client.set_features(blended_recall=True, fan_effect=True, cohort_sampling_rate=self._stay.cohort_rate)

    def _load(self, target: Target, stack: ExitStack) -> LoadSupervisor | None:
        if self._stay.workload is None:
            return None
        plan = LoadPlan(
            workload=self._stay.workload,
            base_url=target.base_url,
            seed=self._stay.seed,
            folder=self._folder / "samples",
            max_duration_s=(self._stay.duration_s or _WEEK_S) + 600.0,
            preload_deadline_s=self._stay.preload_s,
            web=self._stay.page,
        )
        load = stack.enter_context(LoadSupervisor(plan, self._clock))
        load.get_ready()
        return load

    def _places(self, target: Target, load: LoadSupervisor | None) -> dict[str, Any]:
        described = target.describe()
        return {
            "urls": {
                "engram": target.base_url,
                "prometheus": target.prometheus_url,
                "grafana": target.grafana_url,
                "locust": load.page if load is not None else None,
            },
            "absent": described.get("absent", {}),
            "environment": described.get("environment"),
            "pid": target.pid,
            "folder": str(self._folder),
        }

    def _stay_up(self, target: Target, load: LoadSupervisor | None, display: StandingDisplay) -> None:
        """Until the time is over: store what the load asks for (which can take minutes), then keep the load up."""
        begun = self._clock.now()
        end = begun + (self._stay.duration_s if self._stay.duration_s is not None else math.inf)
        storing = _Storing(load) if load is not None else None
        try:
            while (now := self._clock.now()) < end:
                if load is not None and storing is not None and storing.done():
                    load.keep_samples(False)  # for days nobody would read
                    load.start()
                    storing = None
                display.show(self._standing(target, load if storing is None else None, now - begun))
                if load is not None:
                    load.check_alive()
                self._clock.wait(self._never, min(_LOOK_S, end - now))
        finally:
            display.close()

    def _standing(self, target: Target, load: LoadSupervisor | None, up_s: float) -> Standing:
        recent = load.recent(_RECENT_S) if load is not None else None
        alerts, trouble = _alerts(target.prometheus_url)
        return Standing(
            up_s=up_s,
            engram=_health(target),
            storing=self._stay.workload is not None and load is None,
            rate_ops_per_s=recent.rate if recent is not None else math.nan,
            p99_ms=recent.recall_latency.percentile(99) * 1e3 if recent is not None else math.nan,
            errors=sum(load.live().errors.values()) if load is not None else None,
            alerts=alerts,
            trouble=trouble,
        )


class _Storing:
    """The preload, in a thread of its own; nothing else may be asked of the load before it is done."""

    def __init__(self, load: LoadSupervisor) -> None:
        self._problem: HarnessError | None = None
        self._thread = threading.Thread(target=self._run, args=(load,), name="storing", daemon=True)
        self._thread.start()

    def _run(self, load: LoadSupervisor) -> None:
        try:
            load.preload()
        except HarnessError as error:
            self._problem = error

    def done(self) -> bool:
        """Whether all is stored. Raises what the preload raised."""
        if self._thread.is_alive():
            return False
        if self._problem is not None:
            raise self._problem
        return True


def _health(target: Target) -> str:
    if not target.alive():
        return "down"
    try:
        with target.client(_ASK_S) as client:
            return "healthy" if client.health() else "unhealthy"
    except TargetError as error:
        return f"does not answer ({error.what})"


def _alerts(url: str | None) -> tuple[tuple[str, ...], str]:
    """The names of alerts that fire, and what is wrong with Prometheus, if anything is."""
    if url is None:
        return (), ""
    try:
        with PrometheusClient(url, timeout_s=_ASK_S) as client:
            down = [target for target in client.targets() if target.health == "down"]
            alerts = [one for one in client.alerts() if one.state == "firing" and one.labels.get("severity") != "none"]
    except HarnessError as error:
        return (), f"Prometheus does not answer ({error.what})"
    trouble = f"Prometheus cannot scrape: {down[0].last_error}" if down else ""
    return tuple(sorted({one.name for one in alerts})), trouble
