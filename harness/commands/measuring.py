"""What the commands share that put load on a target: making it, its seed, how a stop ends it, one line of progress."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.targets.base import DOCKER, STARTED_HERE

_MOST_PRELOAD_S = 172_800.0
_MOST_SCALE = 60.0

if TYPE_CHECKING:
    from harness.performance import Maker
    from harness.starting import TargetMaker


_PROFILE = "full"  # consolidation every second
TARGET_HELP = "embedded, docker, or http://host:port"


def maker(where: str, config: Path | None, defects: list[str], default: str) -> Maker:
    """How to make the target, Engram alone; what was asked for is checked now.

    Raises :class:`UsageError`, and :class:`EnvironmentUnusable` where there is no engine or no image for ``docker``.
    """
    from harness.starting import TargetMaker

    where = where.rstrip("/")
    if where not in STARTED_HERE:
        if not where.startswith(("http://", "https://")):
            raise UsageError(f"target {where!r} is not known", hint="embedded, docker, or http://host:port")
        return TargetMaker(where).make
    try:
        text = config.read_text(encoding="utf-8") if config else default
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the configuration: {error}", where=str(config)) from error
    return TargetMaker(where, config_text=text, defects=defects, alone=True, say=say).make


def stack_maker(
    target: str,
    *,
    config_text: str | None = None,
    defects: Sequence[str] = (),
    time_scale: float = 1.0,
    beside: bool = False,
    say: Callable[[str], None],
) -> TargetMaker:
    """How to make Engram with its monitoring: a docker target's; of an embedded one where it is wanted ``beside`` it.

    ``time_scale`` (1 to 60) divides Prometheus' intervals and windows. Raises as :func:`maker` does.
    """
    if not 1 <= time_scale <= _MOST_SCALE:
        raise UsageError(
            f"--time-scale {time_scale:g} is not from 1 to {_MOST_SCALE:g}", hint="a scrape takes its time"
        )

    from harness.drilling import engram_toml
    from harness.scenario.profiles import load_profile
    from harness.settings import scenarios_folder
    from harness.starting import TargetMaker, monitoring_assets, monitoring_beside

    folder = scenarios_folder()
    assets, flags = monitoring_assets(folder, time_scale) if target == DOCKER else (None, ())
    return TargetMaker(
        target,
        config_text=config_text
        if config_text is not None
        else engram_toml(load_profile(folder / "profiles.toml", _PROFILE)),
        defects=defects,
        assets=assets,
        prometheus_flags=flags,
        beside=monitoring_beside(folder, time_scale) if beside else None,
        say=say,
    )


def say(text: str) -> None:
    """What takes long, on standard error."""
    print(f"{text} …", file=sys.stderr, flush=True)


def progress() -> Callable[[str], None]:
    """One line that is written over on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda _: None

    def show(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    return show


def interrupt_on_sigterm() -> None:
    """From now on SIGTERM, a job runner's stop, ends the command as Ctrl-C does: recorded, healed, taken down."""
    signal.signal(signal.SIGTERM, _as_interrupt)


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """The options that say how many memories a load is about."""
    parser.add_argument(
        "--nodes", type=int, metavar="N", help="memories in each space (default: the scenario's num_nodes)"
    )
    parser.add_argument(
        "--preload-time", metavar="D", help="what storing them may take before the load (default: 120s)"
    )


def preload_s(arguments: argparse.Namespace) -> float:
    """Seconds the preload may take. Raises :class:`UsageError` where it is no duration."""
    from harness.load.plan import PRELOAD_S
    from harness.soak.plan import parse_duration

    if arguments.preload_time is None:
        return PRELOAD_S
    found = parse_duration(arguments.preload_time)
    if not 1 <= found <= _MOST_PRELOAD_S:
        raise UsageError(f"--preload-time {arguments.preload_time} is not from 1 s to 2 days")
    return found


def parse_seed(text: str) -> int:
    """A seed, decimal or hexadecimal with 0x. Raises :class:`UsageError` where it is none of 64 bits."""
    try:
        seed = int(text, 0)
    except ValueError:
        raise UsageError(f"--seed {text!r} is not a number", hint="decimal, or hexadecimal with 0x") from None
    if not 0 <= seed < 2**64:
        raise UsageError(f"--seed {text!r} is not a number from 0 to 2^64-1")
    return seed
