"""Making targets: what a session or a command asks for, checked once, then one fresh target after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.faults.ledger import Ledger
from harness.targets.attached import AttachedTarget
from harness.targets.base import DOCKER, EMBEDDED, Target
from harness.targets.embedded import EmbeddedTarget
from harness.targets.proxied import ProxiedTarget

if TYPE_CHECKING:  # Docker's libraries are imported where a Docker target is asked for
    from harness.targets.docker_engine import Images


def silent(text: str) -> None:
    """Says nothing."""


class TargetMaker:
    """Makes the targets of one session.

    ``target``: ``embedded``, ``docker`` or a URL. ``config_text``: the ``engram.toml`` of one started here.
    ``say`` is told what takes long (an image that is pulled). Raises :class:`EnvironmentUnusable` or
    :class:`UsageError` where no target can be made at all: no engine, no image, a defect of an image that has none.
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
        monitoring: bool = True,
        say: Callable[[str], None] = silent,
    ) -> None:
        self._target = target
        self._config_text = config_text
        self._claimed = claimed
        self._defects = tuple(defects)
        self._prometheus_url = prometheus_url
        self._grafana_url = grafana_url
        self._images = _images(self._defects, monitoring, say) if target == DOCKER else None

    def make(self, folder: Path, ledger: Ledger, wants: frozenset[str] = frozenset(), *, port: int = 0) -> Target:
        """A target that is not started yet.

        ``wants``: ``proxy`` puts the network fault proxy in front of it, where it may be harmed; ``disk_shim`` puts
        the disk shim between it and its files, where it is ours to start. ``port`` 0: any free one.
        """
        target = self._bare(folder, ledger, shimmed="disk_shim" in wants, port=port)
        if "proxy" in wants and target.owned:
            return ProxiedTarget(target, folder, register=ledger.register_process)
        return target

    def _bare(self, folder: Path, ledger: Ledger, *, shimmed: bool, port: int) -> Target:
        how: dict[str, Any] = {"config_text": self._config_text, "defects": self._defects, "disk_shim": shimmed}
        if self._target == EMBEDDED:
            return EmbeddedTarget(folder, port=port, register=ledger.register_process, **how)
        if self._images is not None:
            from harness.targets.docker import DockerTarget

            return DockerTarget(folder, self._images, port=port, register=ledger.register_environment, **how)
        return AttachedTarget(
            self._target,
            claimed=self._claimed,
            prometheus_url=self._prometheus_url,
            grafana_url=self._grafana_url,
        )


def _images(defects: Sequence[str], monitoring: bool, say: Callable[[str], None]) -> Images:
    from harness.targets.docker_engine import engine, resolve_images

    with engine() as client:
        images = resolve_images(client, say=say, monitoring=monitoring)
    if defects and not images.is_reference:
        raise UsageError("--defect works on the reference Engram only", where="$ENGRAM_IMAGE", hint="unset it")
    return images
