"""The ways back of the runbook ("Rollback Procedures"): flags, traffic, the whole milestone, the data.

Each is carried out, read back, and seen in what the service does. Carrying one out twice is harmless; one that is
done in half says which half.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from harness.engram import EngramClient
from harness.errors import RollbackIncomplete, TargetAnswerInvalid, TargetError, TargetRefused
from harness.faults.base import Observation
from harness.faults.remedy import Remedy
from harness.rollout import behaviour
from harness.scenario.rollout import Phase
from harness.targets.base import Target

RECALLS = 40  # none blended among so many: fewer than 7 % are (95 %), so a replica out of ten is seen
SPLIT_USERS = 400
BACKUP_VERSION = 1
_READS = 8  # over connections of their own: one read may come from the replica that was reached
_TRIES = 3
_AGREE = 1e-9


def set_flags(target: Target, wanted: Mapping[str, bool | float]) -> str:
    """Set flags and read them back; answers what was done.

    Raises :class:`RollbackIncomplete` naming what is in force and what is not, :class:`TargetError` where nothing
    can be said.
    """
    error = _asked(target, wanted)
    read = [_features(target) for _ in range(_READS)]
    right = [name for name, value in wanted.items() if all(_agrees(flags.get(name), value) for flags in read)]
    wrong = [name for name in wanted if name not in right]
    if not wrong:
        return f"read back {_READS} times: {_shown(wanted)}"
    said = [f"{name} = {_shown_values(read, name)} (wanted {_plain(wanted[name])})" for name in wrong]
    what = f"not done: {', '.join(said)}"
    if right:
        what = f"done: {_shown({name: wanted[name] for name in right})}; {what}"
    why = f"; the flag API answered: {error.what}" if error is not None else ""
    raise RollbackIncomplete(f"half a flag change: {what}{why}", where=target.base_url, hint="set it again")


def _asked(target: Target, wanted: Mapping[str, bool | float]) -> TargetError | None:
    """Ask for the change, again where it is not taken; the last error, whose change may be in force all the same."""
    last: TargetError | None = None
    for _ in range(_TRIES):
        try:
            with target.client() as client:
                client.set_features(**dict(wanted))
        except (TargetRefused, TargetAnswerInvalid) as error:
            last = error
        else:
            return None
    return last


def _features(target: Target) -> dict[str, Any]:
    with target.client() as client:
        return client.features()


def _agrees(found: Any, wanted: bool | float) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool) or not isinstance(found, int | float):
        return found is wanted
    return abs(float(found) - float(wanted)) <= _AGREE


def _plain(value: Any) -> str:
    return json.dumps(value)


def _shown(flags: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {_plain(value)}" for name, value in flags.items())


def _shown_values(read: Sequence[Mapping[str, Any]], name: str) -> str:
    return " and ".join(sorted({_plain(flags.get(name)) for flags in read}))


class ImmediateRollback(Remedy):
    """Flags off (runbook: 0-5 minutes); seen where no witness recall is answered by the blended pathway."""

    kind: ClassVar[str] = "immediate"
    requires: ClassVar[tuple[str, ...]] = ("features", "blended_recall", "recall.metadata")

    def __init__(self, flags: Sequence[str] = ("blended_recall", "fan_effect")) -> None:
        self.flags = dict.fromkeys(flags, False)
        self._users: list[str] = []

    def describe(self) -> str:
        return f"flags off: {', '.join(self.flags)}"

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "flags": list(self.flags)}

    def prepare(self, target: Target) -> dict[str, Any]:
        """Find users who are served blended answers, since only theirs can show the change."""
        self._users, named = behaviour.canary_users(target.client, 8)
        return {"canary_users": len(self._users), "cohorts_named": named}

    def carry_out(self, target: Target) -> str:
        return set_flags(target, self.flags)

    def seen(self, target: Target) -> Observation:
        return _no_blend(target, self._users)


def _no_blend(target: Target, users: Sequence[str]) -> Observation:
    asked = users or [behaviour.witness_user(number) for number in range(RECALLS)]
    answers = behaviour.ask(target.client, (asked[number % len(asked)] for number in range(RECALLS)))
    failed = behaviour.errors_of(answers)
    blended = behaviour.blended_of(answers)
    detail = {"asked": len(answers), "named": blended.asked, "blended": blended.hits, "errors": failed}
    said = f"; {len(answers) - blended.asked} fail: {failed[0]}" if failed else ""
    if failed and blended.asked < RECALLS // 4:
        return Observation(False, f"witness recalls fail: {failed[0]}", detail)
    if not blended.asked:
        return Observation(False, "answers do not name their pathway, so the change cannot be seen", detail)
    if blended.hits:
        text = f"{blended.hits} of {blended.asked} witness recalls are still answered by the blended pathway{said}"
        return Observation(False, text, detail)
    return Observation(True, f"0 of {blended.asked} witness recalls are blended{said}", detail)


class PartialRollback(Remedy):
    """The canary cohort becomes smaller (runbook: 5-15 minutes); seen in the split of witness users."""

    kind: ClassVar[str] = "partial"
    requires: ClassVar[tuple[str, ...]] = ("features", "cohorts", "recall.metadata")

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def describe(self) -> str:
        return f"cohort rate to {self.rate:g}"

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "rate": self.rate}

    def carry_out(self, target: Target) -> str:
        return set_flags(target, {"cohort_sampling_rate": self.rate})

    def seen(self, target: Target) -> Observation:
        answers = behaviour.ask(target.client, map(behaviour.witness_user, range(SPLIT_USERS)))
        failed, split = behaviour.errors_of(answers), behaviour.split_of(answers)
        detail = {"asked": len(answers), "canary": split.hits, "named": split.asked, "errors": failed}
        if failed:
            return Observation(False, f"witness recalls fail: {failed[0]}", detail)
        if not split.asked:
            return Observation(False, "answers do not name their cohort, so the split cannot be seen", detail)
        text = f"canary is {split} witness users; asked for {self.rate:.1%}"
        return Observation(split.interval.contains(self.rate), text, detail)


class FullRollback(Remedy):
    """The previous milestone (runbook: 30-60 minutes): restarted with its configuration, or by a command of yours.

    ``command`` is run as it stands (no shell) where the target is not ours to restart.
    """

    kind: ClassVar[str] = "full"
    takes_target_down: ClassVar[bool] = True

    def __init__(self, *, milestone: str = "16", config_text: str | None = None, command: Sequence[str] = ()) -> None:
        self.milestone = milestone
        self._config_text = config_text
        self._command = tuple(command)
        if not command:
            self.requires = ("restart",)  # type: ignore[misc]  # of this one

    def describe(self) -> str:
        how = f"by {shlex.join(self._command)}" if self._command else "by a restart with its configuration"
        return f"back to milestone {self.milestone} {how}"

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "milestone": self.milestone}

    def carry_out(self, target: Target) -> str:
        before = milestone_of(target)
        if before == self.milestone:
            return f"milestone {before} runs already"
        if self._command:
            _run(self._command, target)
        else:
            target.restart_with(config_text=self._config_text)
        return f"milestone {before or 'unknown'} was replaced"

    def seen(self, target: Target) -> Observation:
        found = milestone_of(target)
        if found != self.milestone:
            return Observation(False, f"the service says milestone {found or 'unknown'}, not {self.milestone}")
        unblended = _no_blend(target, ())
        return Observation(unblended.holds, f"milestone {found}; {unblended.evidence}", unblended.detail)


def rollback_of_phase(phase: Phase | None) -> Remedy:
    """The way back a phase names (flags or traffic); the blend off where there is none, or no phase."""
    back = phase.rollback if phase is not None else None
    if back is not None and back.method == "traffic" and back.cohort_rate is not None:
        return PartialRollback(back.cohort_rate)
    off = [name for name, on in back.flags.items() if not on] if back is not None else []
    return ImmediateRollback(off) if off else ImmediateRollback()


def milestone_of(target: Target) -> str:
    """The milestone the service says it is; empty where it does not answer or say."""
    try:
        with target.client() as client:
            return str(client.system_info().get("milestone", ""))
    except TargetError:
        return ""


def _run(command: Sequence[str], target: Target) -> None:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=600, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise RollbackIncomplete(f"{command[0]} failed: {error}", where=target.base_url) from error
    if done.returncode:
        said = done.stderr[-300:].decode("utf-8", "replace").strip()
        what = f"{shlex.join(command)} exited with {done.returncode}: {said}"
        raise RollbackIncomplete(what, where=target.base_url, hint="nothing else was done")


class DataRollback(Remedy):
    """A backup put back (runbook: 1-4 hours), with dual memory off where the service can migrate.

    Without a ``backup`` file one is taken by :meth:`prepare`. Seen where every memory of the backup is read back as it
    stands there, and no binding is invalid.
    """

    kind: ClassVar[str] = "data"
    requires: ClassVar[tuple[str, ...]] = ("admin.export", "admin.restore")

    def __init__(self, backup: Path | None = None, *, migrate: bool = True) -> None:
        self._file = backup
        self._raw = b""
        self._migrate = migrate

    def describe(self) -> str:
        where = self._file.name if self._file else "taken before"
        return f"restore the backup {where}" + (", dual memory off" if self._migrate else "")

    def prepare(self, target: Target) -> dict[str, Any]:
        """Take the backup where none was given, and see that it is one."""
        if self._file is not None:
            self._raw = read_backup(self._file)
        else:
            with target.client() as client:
                self._raw = client.export("dual_memory")
        return {"memories": len(self._memories())}

    def carry_out(self, target: Target) -> str:
        if not self._raw:
            self.prepare(target)
        with target.client() as client:
            if self._migrate and "admin.migrate" in target.capabilities:
                return f"{client.migrate(self._raw)['restored']} memories restored, dual memory off"
            return f"{client.restore(self._raw)['restored']} memories restored"

    def seen(self, target: Target) -> Observation:
        wanted = self._memories()
        with target.client() as client, ThreadPoolExecutor(8, thread_name_prefix="integrity") as pool:
            found = list(pool.map(lambda memory: _as_backed_up(client, memory), wanted))
            invalid = client.binding_counts().invalid if "admin.bindings" in target.capabilities else 0
        bad = [f"{memory['id']} {why}" for memory, why in zip(wanted, found, strict=True) if why]
        detail = {"memories": len(wanted), "bad": len(bad), "invalid_bindings": invalid}
        if bad:
            return Observation(False, f"{len(bad)} of {len(wanted)} memories are not as backed up: {bad[0]}", detail)
        if invalid:
            return Observation(False, f"{invalid} bindings are invalid", detail)
        return Observation(True, f"all {len(wanted)} memories of the backup are read back as they stand there", detail)

    def _memories(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._raw)["memories"]
        return found


def read_backup(path: Path) -> bytes:
    """A backup file, looked at as far as needed to read it back.

    Raises :class:`TargetAnswerInvalid` where it is none or of another version; nothing is done with it then.
    """
    try:
        raw = path.read_bytes()
        found = json.loads(raw)
        version = found.get("version")
        good = all(isinstance(m["id"], str) and isinstance(m["content"], str) for m in found["memories"])
    except OSError as error:
        raise TargetAnswerInvalid(f"the backup cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, KeyError, TypeError, AttributeError):
        good, version = False, None
    if not good:
        raise TargetAnswerInvalid("this is no backup", where=str(path), hint="harness rollout backup writes one")
    if version != BACKUP_VERSION:
        what = f"the backup is of version {version!r}, and this harness reads {BACKUP_VERSION}"
        raise TargetAnswerInvalid(what, where=str(path), hint="restore it with the version that wrote it")
    return raw


def write_backup(path: Path, raw: bytes) -> int:
    """Write a backup whole or not at all; answers how many memories it holds. Raises :class:`OSError`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return len(json.loads(raw)["memories"])


def _as_backed_up(client: EngramClient, memory: Mapping[str, Any]) -> str:
    """Why a memory is not as the backup has it; empty where it is."""
    found = client.memory(str(memory["id"]), memory.get("space"))
    if found is None:
        return "is lost"
    return "" if found.get("content") == memory["content"] else "has other content"
