"""Recipes for what was done to a process or a file of this machine: limits, control groups, files, kernel rules.

Each checks that what it finds is what was left: another process under the same pid, a file somebody went on from or a
group that is not ours is left alone. Standard library only, as the guardian imports it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from harness.errors import HealFailed, RecordError
from harness.targets.base import ProcessIdentity

GROUP_PREFIX = "engram-harness-"
_PATIENCE_S = 1.0


class LocalRecipe(ABC):
    """A recipe that knows how to apply itself; subclasses are frozen dataclasses of plain values."""

    type: ClassVar[str]

    @abstractmethod
    def apply(self) -> str:
        """Heal; answers what was done. Idempotent. Raises :class:`HealFailed`."""

    @abstractmethod
    def there(self) -> bool | None:
        """Whether the fault is still in force; None where that cannot be told."""

    def as_json(self) -> dict[str, Any]:
        """As the ledger holds it."""
        return {"type": self.type, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_fields(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`as_json`; raises what a wrong dictionary raises."""
        fields = {key: item for key, item in value.items() if key != "type"}
        if isinstance(fields.get("process"), Mapping):
            fields["process"] = ProcessIdentity.from_json(fields["process"])
        if isinstance(fields.get("cpus"), list):
            fields["cpus"] = tuple(int(cpu) for cpu in fields["cpus"])
        return cls(**fields)


@dataclass(frozen=True)
class LimitRecipe(LocalRecipe):
    """Put a process' resource limit back (``resource.RLIMIT_*``; soft and hard, -1 is none)."""

    type: ClassVar[str] = "limit"
    process: ProcessIdentity
    resource: int
    soft: int
    hard: int

    def apply(self) -> str:
        if not self.process.alive():
            return "the process is gone, its limit with it"
        try:
            resource.prlimit(self.process.pid, self.resource, (self.soft, self.hard))
        except ProcessLookupError:
            return "the process is gone, its limit with it"
        except (OSError, ValueError) as error:
            raise HealFailed(f"the limit of process {self.process.pid} cannot be put back: {error}") from error
        return "the limit is as it was"

    def there(self) -> bool | None:
        if not self.process.alive():
            return False
        try:
            return resource.prlimit(self.process.pid, self.resource) != (self.soft, self.hard)
        except (OSError, ValueError):
            return None


@dataclass(frozen=True)
class AffinityRecipe(LocalRecipe):
    """Let a process and its threads run on ``cpus`` again."""

    type: ClassVar[str] = "affinity"
    process: ProcessIdentity
    cpus: tuple[int, ...]

    def apply(self) -> str:
        if not self.process.alive():
            return "the process is gone"
        try:
            for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
                with suppress(ProcessLookupError):  # the thread has ended meanwhile
                    os.sched_setaffinity(int(thread.name), self.cpus)
        except FileNotFoundError:
            return "the process is gone"
        except OSError as error:
            raise HealFailed(f"process {self.process.pid} stays tied: {error.strerror}") from error
        return "it runs where it did"

    def there(self) -> bool | None:
        try:
            return self.process.alive() and os.sched_getaffinity(self.process.pid) != set(self.cpus)
        except OSError:
            return False


@dataclass(frozen=True)
class GroupRecipe(LocalRecipe):
    """Move whoever is in a control group of ours back ``home`` and remove the group."""

    type: ClassVar[str] = "group"
    group: str
    home: str

    def apply(self) -> str:
        group = Path(self.group)
        if not group.name.startswith(GROUP_PREFIX):
            return "left alone: not a control group of ours"
        never, deadline = threading.Event(), time.monotonic() + _PATIENCE_S
        while group.is_dir():
            try:
                for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
                    self._move(pid)
                group.rmdir()
            except FileNotFoundError:
                break
            except OSError as error:
                if time.monotonic() > deadline:  # the kernel takes a moment to let go of a group whose process died
                    raise HealFailed(f"the control group stays: {error.strerror}", where=self.group) from error
                never.wait(0.02)
        return "the control group is gone"

    def _move(self, pid: str) -> None:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            (Path(self.home) / "cgroup.procs").write_text(pid, encoding="ascii")

    def there(self) -> bool | None:
        return Path(self.group).is_dir()


@dataclass(frozen=True)
class RestoreRecipe(LocalRecipe):
    """Put damaged files back from their copies, as ``plan`` (a JSON file written before any damage) says.

    Without a plan nothing was damaged. Where ``lock`` is held, a server has gone on from what it found, and putting
    back an older state under it would be the damage.
    """

    type: ClassVar[str] = "restore"
    plan: str
    lock: str

    def apply(self) -> str:
        plan = self._read()
        if plan is None:
            return "nothing was damaged"
        with _Unused(Path(self.lock)) as unused:
            if not unused:
                return "left alone: a server has gone on from it"
            for path, (copy, digest) in plan.items():
                self._put_back(Path(path), Path(copy), digest)
        return f"{len(plan)} files are as they were"

    def there(self) -> bool | None:
        plan = self._read()
        if plan is None:
            return False
        with _Unused(Path(self.lock)) as unused:
            return unused and any(file_digest(Path(path)) != digest for path, (_, digest) in plan.items())

    def _read(self) -> dict[str, tuple[str, str]] | None:
        try:
            files = json.loads(Path(self.plan).read_text(encoding="utf-8"))["files"]
            return {str(path): (str(copy), str(digest)) for path, (copy, digest) in files.items()}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HealFailed(f"the plan of what was damaged cannot be read: {error}", where=self.plan) from error

    def _put_back(self, path: Path, copy: Path, digest: str) -> None:
        if file_digest(path) == digest:
            return
        if not path.parent.exists():
            return  # its directory was removed: there is nothing to put back
        if file_digest(copy) != digest:
            raise HealFailed("the copy is not what it was", where=str(copy))
        draft = path.with_name(f"{path.name}.{GROUP_PREFIX}restored")
        try:
            draft.write_bytes(copy.read_bytes())
            _sync(draft)
            draft.rename(path)
            _sync(path.parent)
        except OSError as error:
            raise HealFailed(f"cannot put it back: {error.strerror}", where=str(path)) from error


@dataclass(frozen=True)
class RelinkRecipe(LocalRecipe):
    """Give a deleted file its name back from another name of the same file."""

    type: ClassVar[str] = "relink"
    path: str
    spare: str

    def apply(self) -> str:
        path, spare = Path(self.path), Path(self.spare)
        try:
            if not spare.exists():
                return "it was never deleted"
            if not path.exists():
                path.hardlink_to(spare)
            spare.unlink()
            _sync(path.parent)
        except OSError as error:
            raise HealFailed(f"cannot give it its name back: {error.strerror}", where=self.path) from error
        return "it has its name back"

    def there(self) -> bool | None:
        return Path(self.spare).exists() and not Path(self.path).exists()


@dataclass(frozen=True)
class WriteRecipe(LocalRecipe):
    """Write ``text`` into a control file that is there (and whose reader obeys it)."""

    type: ClassVar[str] = "write"
    path: str
    text: str

    def apply(self) -> str:
        path = Path(self.path)
        if not path.exists():
            return "the control file is gone, and what it controlled"
        draft = path.with_name(f"{path.name}.new")
        try:
            draft.write_text(self.text, encoding="utf-8")
            draft.rename(path)
        except OSError as error:
            raise HealFailed(f"cannot write: {error.strerror}", where=self.path) from error
        return "written back"

    def there(self) -> bool | None:
        try:
            return Path(self.path).read_text(encoding="utf-8") != self.text
        except OSError:
            return False


class _Unused:
    """Whether nobody holds the lock file; it is held as long as we look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> bool:
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, empty where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


LOCAL: dict[str, type[LocalRecipe]] = {
    kind.type: kind for kind in (LimitRecipe, AffinityRecipe, GroupRecipe, RestoreRecipe, RelinkRecipe, WriteRecipe)
}


def local_from_json(value: Mapping[str, Any]) -> LocalRecipe | None:
    """A recipe of this module, or None for another kind. Raises :class:`RecordError` for one that makes no sense."""
    kind = LOCAL.get(str(value.get("type")))
    if kind is None:
        return None
    try:
        return kind.from_fields(value)
    except (TypeError, ValueError, KeyError) as error:
        raise RecordError(f"not a recipe: {error}") from error
