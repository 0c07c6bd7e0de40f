"""What every target offers, and how a process is told from another that got its pid later."""

from __future__ import annotations

import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from harness.errors import RecordError, TargetError, TargetNotOwned

if TYPE_CHECKING:  # the guardian imports this module and must start fast
    from harness.engram import Capabilities, EngramClient


@dataclass(frozen=True)
class ProcessIdentity:
    """A process for good: pids are used again, a pid with its start time and boot is not."""

    pid: int
    start_time: int
    boot: str

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        if self.boot != boot_id():
            return False
        found = _stat(self.pid)
        return found is not None and found[1] == self.start_time and found[0] not in "ZX"

    def send(self, number: signal.Signals) -> bool:
        """Signal this very process; False where it is gone. Raises :class:`PermissionError` where it is not ours."""
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            # Checked after opening: the descriptor names the process that has the pid now, whatever happens next.
            if not self.alive():
                return False
            signal.pidfd_send_signal(fd, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)

    def as_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "start_time": self.start_time, "boot": self.boot}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ProcessIdentity:
        """The inverse of :meth:`as_json`. Raises :class:`RecordError`."""
        try:
            return ProcessIdentity(int(value["pid"]), int(value["start_time"]), str(value["boot"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"not a process identity: {value!r}") from error


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of the process that has ``pid`` now, or None."""
    found = _stat(pid)
    return None if found is None else ProcessIdentity(pid, found[1], boot_id())


def this_process() -> ProcessIdentity:
    """Our own identity."""
    found = identify(os.getpid())
    if found is None:
        raise RecordError("cannot read this process' start time", where="/proc", hint="faults need Linux and /proc")
    return found


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Names this boot of the machine; start times are counted from it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time in clock ticks since boot."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = raw[raw.rfind(b")") + 2 :].split()  # the name in parentheses may hold anything
    return (fields[0].decode("ascii"), int(fields[19])) if len(fields) > 19 else None


EMBEDDED, DOCKER = "embedded", "docker"
STARTED_HERE = (EMBEDDED, DOCKER)
KUBERNETES = "kubernetes"


def package_environment() -> dict[str, str]:
    """The environment of a program of this package: as ours, and it finds the package where we did."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


SCRATCH_PREFIX = "engram-harness-data-"


def scratch_prefix(maker: ProcessIdentity) -> str:
    """How a scratch directory's name begins: it tells who made it, for the instant before that stands in a ledger."""
    return f"{SCRATCH_PREFIX}{maker.pid}-{maker.start_time}-"


# Called with a process just started, what it is, and the scratch directory to remove after it. It must have made
# durable that the process has to end before it returns; what it answers is called once the process is gone.
Register = Callable[[ProcessIdentity, str, Path | None], Callable[[], None]]


def unregistered(identity: ProcessIdentity, what: str, scratch: Path | None) -> Callable[[], None]:
    """The :data:`Register` of who cleans up by itself: nothing is written down."""
    return lambda: None


# The same for what is more than a process: called before anything of it exists, with what it is, the command that
# takes it down, and the scratch directory to remove after it.
RegisterEnvironment = Callable[[str, Sequence[str], Path | None], Callable[[], None]]


@dataclass(frozen=True)
class Frontend:
    """The proxy of ours in front of a target: where it takes orders, and its process."""

    control_url: str
    process: ProcessIdentity


@dataclass(frozen=True)
class Tunnel:
    """The way to a target that has no address on this machine.

    ``url``: our end of it, while ``process`` lives. ``command`` reaches the target without it: it takes ``--method``,
    ``--path``, ``--body``, ``--listed PATH FAULT`` and ``--outlives``, and exits with 0 where that was done.
    """

    url: str
    process: ProcessIdentity
    command: tuple[str, ...]


class Target(ABC):
    """One Engram under test. ``owned``: we started it, or the caller claimed it; only then may it be harmed."""

    name: str
    owned: bool

    @property
    @abstractmethod
    def base_url(self) -> str:
        """Where it listens, without a trailing slash. Raises :class:`TargetError` before it is started."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What it can do; probed once per start."""

    @property
    def claimed_url(self) -> str:
        """What a lock on this target names: the service itself, also where it is reached through a proxy of ours."""
        return self.base_url

    @property
    def frontend(self) -> Frontend | None:
        """The fault proxy it is reached through, where there is one."""
        return None

    @property
    def prometheus_url(self) -> str | None:
        """The Prometheus that scrapes it, where one is known."""
        return None

    @property
    def grafana_url(self) -> str | None:
        """The Grafana beside it, where one is known."""
        return None

    @property
    def tunnel(self) -> Tunnel | None:
        """How healing reaches it, where :attr:`claimed_url` is no address."""
        return None

    @property
    def process(self) -> ProcessIdentity | None:
        """The service's process, where it is ours to see."""
        return None

    @property
    def pid(self) -> int | None:
        """The pid of :attr:`process`."""
        return self.process.pid if self.process else None

    def usage(self) -> dict[str, Any] | None:
        """What its container uses (``rss_bytes``, ``cpu_s``, ``threads``, and ``identity`` of this very start).

        For a target whose :attr:`process` is not ours to see; what nobody says is left out, and None where nobody is
        there to ask. Raises :class:`TargetError` where who should say does not answer.
        """
        return None

    @abstractmethod
    def start(self) -> None:
        """Bring it up, ready to serve. Raises :class:`TargetError` or :class:`EnvironmentUnusable`."""

    @abstractmethod
    def stop(self) -> None:
        """Take down what :meth:`start` brought up; idempotent."""

    def kill(self) -> None:
        """End the service without a word; it stays down until :meth:`restart`. Raises :class:`TargetError`."""
        if self.process is None or not self.process.send(signal.SIGKILL):
            raise TargetError("the target has no process of ours to kill", where=self.base_url)

    def restart(self, *, kill: bool = False, cancel: threading.Event | None = None) -> None:
        """Stop (with SIGKILL where ``kill``) and start again on the same data. Not every target can.

        ``cancel``, once set, ends the waiting where the target can leave it; it is down then, and
        :class:`TargetError` is raised.
        """
        raise TargetNotOwned(f"the {self.name} target cannot be restarted from here", where=self.base_url)

    def restart_with(
        self,
        *,
        config_text: str | None = None,
        env: Mapping[str, str] | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        """Restart on the same data with another configuration or environment; the next :meth:`restart` undoes that.

        Raises :class:`TargetError` with what it said where it refuses to start: it is down then. ``cancel``: as of
        :meth:`restart`.
        """
        raise TargetNotOwned(f"the {self.name} target cannot be restarted from here", where=self.base_url)

    @property
    def data_dir(self) -> Path:
        """Where its data lie, where they can be reached. Raises :class:`TargetNotOwned` where they cannot."""
        raise TargetNotOwned(f"the data of the {self.name} target cannot be reached", where=self.base_url)

    @property
    def disk_shim(self) -> Path:
        """The control file of the disk shim it runs on. Raises :class:`TargetNotOwned` where it runs on none."""
        raise TargetNotOwned(f"the {self.name} target runs on no disk shim of ours", where=self.base_url)

    @abstractmethod
    def client(self, timeout_s: float = 5.0) -> EngramClient:
        """A new client; the caller closes it."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """For the manifest; no secrets."""

    @abstractmethod
    def alive(self) -> bool:
        """Whether it still runs, as far as can be told cheaply; never raises."""

    def log_tail(self, lines: int = 40) -> str:
        """The end of its log, empty where there is none to read."""
        return ""

    def require_owned(self) -> None:
        """Raise :class:`TargetNotOwned` unless this target may be harmed."""
        if not self.owned:
            raise TargetNotOwned(
                "faults go only into a target that was started here or is claimed",
                where=self.base_url,
                hint="a loopback port can be a tunnel to production; claim it with --i-own-this-target",
            )

    def require_same(self) -> None:  # noqa: B027  most are what they were by the checks of the guard itself
        """Raise :class:`TargetError` where this is no longer what was started or claimed; asked before every fault."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
