"""Making targets: what a session or a command asks for, checked once, then one fresh target after another."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.engram.transport import secret_from_environment
from harness.errors import TargetError, UsageError
from harness.faults.ledger import Ledger
from harness.monitoring.grafana import GrafanaClient
from harness.prometheus import PrometheusClient
from harness.targets.attached import AttachedTarget
from harness.targets.base import DOCKER, EMBEDDED, Target
from harness.targets.embedded import EmbeddedTarget
from harness.targets.prometheus_process import MonitoredTarget, WriteAssets, prometheus_program
from harness.targets.proxied import ProxiedTarget

if TYPE_CHECKING:  # Docker's libraries are imported where a Docker target is asked for
    from harness.targets.docker_engine import Images
    from harness.targets.kubernetes_place import Place


_LOOK_S = 5.0


def see_prometheus(url: str) -> None:
    """See that a Prometheus answers at ``url``, before anything is done that would need it.

    Raises :class:`TargetUnreachable`, :class:`TargetRefused` or :class:`TargetAnswerInvalid`, each naming the URL.
    """
    with PrometheusClient.from_environment(url, timeout_s=_LOOK_S) as client:
        if not client.ready():
            raise TargetError("is starting and not ready yet (503)", where=url, hint="wait until it serves queries")


def see_grafana(url: str) -> None:
    """See that a Grafana answers at ``url``; raises as :func:`see_prometheus` does."""
    with GrafanaClient.from_environment(url, timeout_s=_LOOK_S) as client:
        database = client.health()
        if database != "ok":
            raise TargetError(f"no Grafana whose database is well: it is {database!r}", where=url)


# What writes a local Prometheus's configuration, and its --query.lookback-delta in seconds.
Beside = tuple[WriteAssets, float]


def silent(text: str) -> None:
    """Says nothing."""


class TargetMaker:
    """Makes the targets of one session.

    ``target``: ``embedded``, ``docker``, ``kubernetes`` (with its ``place``) or a URL. ``config_text``: the
    ``engram.toml`` of one started here. ``assets`` writes the configuration of Prometheus and Grafana into a folder of
    each docker target; ``alone`` leaves both out, so that nothing but Engram is measured. ``say`` is told what takes
    long (an image that is pulled). Raises :class:`EnvironmentUnusable` or :class:`UsageError` where no target can be
    made at all: no engine, no image, a defect of an image without any; :class:`TargetError` where what is said to be
    Prometheus is none, or wants another key.
    """

    def __init__(
        self,
        target: str,
        *,
        config_text: str | None = None,
        claimed: bool = False,
        defects: Sequence[str] = (),
        prometheus_url: str | None = None,
        grafana_url: str | None = None,
        assets: Callable[[Path], object] | None = None,
        prometheus_flags: Sequence[str] = (),
        place: Place | None = None,
        beside: Beside | None = None,
        alone: bool = False,
        say: Callable[[str], None] = silent,
    ) -> None:
        if prometheus_url is not None:
            see_prometheus(prometheus_url)
        if grafana_url is not None:
            see_grafana(grafana_url)
        self._target = target
        self._config_text = config_text
        self._claimed = claimed
        self._defects = tuple(defects)
        self._prometheus_url = prometheus_url
        self._grafana_url = grafana_url
        self._assets = assets
        self._prometheus_flags = tuple(prometheus_flags)
        self._beside = beside
        self._images = _images(self._defects, say, alone) if target == DOCKER else None
        self._place = place

    @property
    def image(self) -> str:
        """Engram's image, where it is to run in a container of ours; else empty."""
        return self._images.engram if self._images is not None else ""

    @property
    def keeps_data(self) -> bool:
        """Whether a ``data_dir`` outlives the target: not where another image lays its data out in a volume of ours."""
        return self._target == EMBEDDED or (self._images is not None and self._images.is_reference)

    def make(
        self,
        folder: Path,
        ledger: Ledger,
        wants: frozenset[str] = frozenset(),
        *,
        port: int = 0,
        data_dir: Path | None = None,
    ) -> Target:
        """A target that is not started yet.

        ``wants``: ``proxy`` puts the network fault proxy in front of it, where it may be harmed; ``disk_shim`` puts
        the disk shim between it and its files, where it is ours to start; ``prometheus`` starts one beside an embedded
        target, where the program is installed. ``port`` 0: any free one. ``data_dir``: where one started here keeps
        its data, after its end as well (see :attr:`keeps_data`); otherwise they go with it.
        """
        target = self._bare(folder, ledger, shimmed="disk_shim" in wants, port=port, data_dir=data_dir)
        if "proxy" in wants and target.owned:
            target = ProxiedTarget(target, folder, register=ledger.register_process)
        if "prometheus" in wants and self._beside is not None and prometheus_program() is not None:
            write, lookback_s = self._beside  # outermost: it scrapes on the way that faults of the network lie on
            target = MonitoredTarget(target, folder, write, lookback_s=lookback_s, register=ledger.register_process)
        return target

    def _bare(self, folder: Path, ledger: Ledger, *, shimmed: bool, port: int, data_dir: Path | None) -> Target:
        how: dict[str, Any] = {"config_text": self._config_text, "defects": self._defects, "disk_shim": shimmed}
        how["data_dir"] = data_dir
        if self._target == EMBEDDED:
            return EmbeddedTarget(folder, port=port, register=ledger.register_process, **how)
        if self._images is not None:
            return self._docker(folder, ledger, self._images, port, how)
        beside: dict[str, Any] = {"prometheus_url": self._prometheus_url, "grafana_url": self._grafana_url}
        if self._place is not None:
            from harness.targets.kubernetes import KubernetesTarget

            register = ledger.register_process
            return KubernetesTarget(folder, self._place, claimed=self._claimed, register=register, **beside)
        return AttachedTarget(self._target, claimed=self._claimed, **beside)

    def _docker(self, folder: Path, ledger: Ledger, images: Images, port: int, how: Mapping[str, Any]) -> Target:
        from harness.targets.docker import DockerTarget

        monitoring = None
        if self._assets is not None and (images.prometheus or images.grafana):
            monitoring = folder / "monitoring"
            self._assets(monitoring)
        return DockerTarget(
            folder,
            images,
            monitoring=monitoring,
            prometheus_flags=self._prometheus_flags,
            port=port,
            register=ledger.register_environment,
            **how,
        )


def monitoring_assets(scenarios: Path, time_scale: float) -> tuple[Callable[[Path], object], tuple[str, ...]]:
    """What writes the assets of ``harness/monitoring`` for a docker target, and the flags Prometheus needs with them.

    ``time_scale`` divides every interval and window of theirs alike. Raises :class:`ConfigError` where
    ``monitoring.toml`` cannot be used.
    """
    from harness.monitoring.assets import load_spec, lookback_s, write_assets
    from harness.targets.docker_recipes import ENGRAM, ENGRAM_PORT, KEY_INSIDE

    spec = load_spec(scenarios)
    key = str(KEY_INSIDE) if secret_from_environment() is not None else None

    def write(folder: Path) -> object:
        engram = f"{ENGRAM}:{ENGRAM_PORT}"
        return write_assets(folder, spec, engram=engram, time_scale=time_scale, api_key_file=key)

    return write, (f"--query.lookback-delta={round(lookback_s(time_scale) * 1000)}ms",)


def monitoring_beside(scenarios: Path, time_scale: float) -> Beside:
    """What a Prometheus process beside an embedded target needs. Raises :class:`ConfigError`."""
    from harness.monitoring.assets import load_spec, lookback_s, write_assets

    spec = load_spec(scenarios)

    def write(folder: Path, engram: str, key: str | None) -> object:
        return write_assets(folder, spec, engram=engram, time_scale=time_scale, api_key_file=key)

    return write, lookback_s(time_scale)


def _images(defects: Sequence[str], say: Callable[[str], None], alone: bool) -> Images:
    from harness.targets.docker_engine import (
        GRAFANA_VARIABLE,
        NO_IMAGE,
        PROMETHEUS_VARIABLE,
        engine,
        resolve_images,
    )

    named = {**os.environ, PROMETHEUS_VARIABLE: NO_IMAGE, GRAFANA_VARIABLE: NO_IMAGE} if alone else None
    with engine() as client:
        images = resolve_images(client, named, say=say)
    if alone:
        images = replace(images, absent=dict.fromkeys(images.absent, "left out: Engram alone is measured"))
    if defects and not images.is_reference:
        raise UsageError("--defect works on the reference Engram only", where="$ENGRAM_IMAGE", hint="unset it")
    return images
