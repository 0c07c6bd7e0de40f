"""The ledger: what is about to be done, and how to undo it, on disk before it is done.

Two copies are kept. The *journal* lies in the state directory and is what healing reads; it goes away when all is
healed. ``ledger.jsonl`` of the case directory gets the same lines and stays as the record. A results directory that
is full, read-only by now, or deleted can thus not hide a fault.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.clock import Clock, SystemClock
from harness.errors import EnvironmentUnusable, FaultError, HealFailed, RecordError, TargetBusy
from harness.faults import state
from harness.faults.guarding import Guarding, guarding
from harness.faults.guards import Guard, Limits
from harness.faults.healing import HealReport, heal_all
from harness.faults.journal import FAULT, PROCESS, VERSION, Entry, read_journal
from harness.faults.recipe import EndProcessRecipe, Recipe, RemoveTreeRecipe, TakeDownRecipe, mark_scratch, to_json
from harness.targets.base import ProcessIdentity, this_process
from harness.timeline.jsonl import JsonLines, dump_line


class Ledger:
    """One case's ledger; a context manager. Threads may share it.

    Opening makes the journal; :meth:`claim` takes the target's lock and heals what dead harnesses left on it;
    the first :meth:`intent` starts the guardian. Raises :class:`EnvironmentUnusable` or :class:`RecordError` where
    it cannot be written: then nothing was done yet.
    """

    def __init__(
        self,
        path: Path,
        *,
        state_dir: Path | None = None,
        clock: Clock | None = None,
        guard: bool = True,
        limits: Limits | None = None,
    ) -> None:
        self.guard = Guard(limits or Limits())
        self._begun: dict[int, float] = {}
        self._clock = clock or SystemClock()
        self._state = state.prepare(state_dir) if state_dir is not None else state.state_dir()
        self._record = JsonLines(path, durable=True)
        self._guarding: Guarding | None = guarding(self._state) if guard else None
        self._lock = threading.RLock()
        self._target_locks: dict[str, state.TargetLock] = {}
        self._entries: dict[int, Entry] = {}
        self._closed = False
        try:
            self._journal_path = self._create_journal(path.resolve())
            self._journal = JsonLines(self._journal_path, durable=True)
        except BaseException:
            self._record.close()
            raise

    @property
    def journal_path(self) -> Path:
        """Where the journal lies while the ledger is open."""
        return self._journal_path

    @property
    def open_entries(self) -> tuple[Entry, ...]:
        """What is not healed yet, oldest first."""
        with self._lock:
            return tuple(entry for entry in self._entries.values() if not entry.healed)

    def claim(self, base_url: str, *, wait_s: float = 0.0, heal_s: float = 15.0) -> HealReport:
        """Take the target for this ledger until it is closed, and heal what dead harnesses left on it.

        Raises :class:`TargetBusy` naming another holder (after ``wait_s``), :class:`HealFailed` where what was left
        cannot be healed: a run on a broken target would measure somebody else's fault.
        """
        key = state.same_target(base_url)
        with self._lock:
            if key not in self._target_locks:
                lock = state.TargetLock(base_url, self._state, clock=self._clock)
                lock.acquire(wait_s)
                self._target_locks[key] = lock
        report = heal_all(self._state, target=base_url, deadline_s=heal_s, by="next run", clock=self._clock)
        if report.in_use:
            raise TargetBusy(f"faults are in force on it: {'; '.join(report.in_use)}", where=base_url)
        if report.still_open:
            left = "; ".join(f"{what} ({why})" for what, why in report.still_open.items())
            raise HealFailed(f"an earlier run left what cannot be healed: {left}", where=base_url)
        return report

    def intent(
        self,
        what: str,
        *,
        target: str,
        slot: str,
        recipes: Sequence[Recipe],
        detail: dict[str, Any] | None = None,
        expires: float | None = None,
    ) -> int:
        """Write down that ``what`` is about to be done, and how it is healed; answers the entry's id.

        When this returns, intent and recipes are on disk and a guardian watches. ``slot`` names what two faults may
        not hold at once; ``expires`` is the monotonic instant from which the guardian heals it whatever we say.
        Raises :class:`FaultError` where the slot is taken, the limits are reached or no guardian runs,
        :class:`RecordError` where the disk will not take it; nothing may be done then.
        """
        with self._lock:
            taken = next((e for e in self.open_entries if e.slot == slot and e.target == target), None)
            if taken is not None:
                raise FaultError(
                    f"{taken.what} is in force already, and two of a kind would hide each other", where=target
                )
            now = self._clock.now()
            self.guard.admit(len(self._begun), what, 0.0 if expires is None else expires - now)
            entry = Entry(self._next_id(), what, FAULT, slot, target, tuple(recipes), expires)
            self._open(entry, detail)
            if expires is not None:  # what has no end is a setting, not a fault
                self._begun[entry.id] = now
            return entry.id

    def register_process(self, process: ProcessIdentity, what: str, scratch: Path | None) -> Callable[[], None]:
        """Write down that ``process`` has to end with us, and its scratch directory to go; call the answer once it did.

        Fits :data:`harness.targets.base.Register`.
        """
        slot = f"process {process.pid}"
        return self._outlived(what, slot, EndProcessRecipe(process), scratch, {"process": process.as_json()})

    def register_environment(self, what: str, command: Sequence[str], scratch: Path | None) -> Callable[[], None]:
        """Write down that an environment has to go with us, by ``command``, and its scratch directory after it.

        Fits :data:`harness.targets.base.RegisterEnvironment`.
        """
        return self._outlived(what, what, TakeDownRecipe(tuple(command)), scratch, {"command": list(command)})

    def _outlived(
        self, what: str, slot: str, recipe: Recipe, scratch: Path | None, detail: dict[str, Any]
    ) -> Callable[[], None]:
        recipes: list[Recipe] = [recipe]
        token = secrets.token_hex(16)
        if scratch is not None:
            recipes.append(RemoveTreeRecipe(str(scratch), token))
        with self._lock:
            entry = Entry(self._next_id(), what, PROCESS, slot, "", tuple(recipes))
            self._open(entry, detail)
        if scratch is not None:
            mark_scratch(scratch, token)  # after the entry: were we killed before it, nobody would know of the mark
        return lambda: self.healed(entry.id, "it has ended")

    def injected(self, entry_id: int) -> None:
        """The target acknowledged the fault. Raises :class:`RecordError`."""
        self._entries[entry_id].acknowledged = True
        self._append({"entry": "injected", "id": entry_id})

    def healed(self, entry_id: int, how: str = "") -> None:
        """The entry is healed. Raises :class:`RecordError` where that cannot be written; it counts as healed then."""
        with self._lock:
            self._entries[entry_id].healed = True
            begun = self._begun.pop(entry_id, None)
        if begun is not None:
            self.guard.spent(self._clock.now() - begun)
        self._append({"entry": "healed", "id": entry_id, "by": "harness", "how": [how] if how else []})

    def heal_failed(self, entry_id: int, why: str) -> None:
        """A heal was tried and failed; the entry stays open. Raises :class:`RecordError`."""
        self._append({"entry": "heal_failed", "id": entry_id, "by": "harness", "why": why})

    def note(self, what: str, **fields: Any) -> None:
        """Add a line for people; it changes nothing."""
        self._append({"entry": what, **fields})

    def relieved(self, entry_id: int) -> tuple[str, ...]:
        """Why the guardian healed this entry under a living harness, if it did (we hung, or overran)."""
        try:
            entry = read_journal(self._journal_path).entries.get(entry_id)
        except RecordError:
            return ()
        return tuple(entry.relieved) if entry is not None else ()

    def close(self) -> None:
        """Close; the journal goes where all is healed, and stays for the guardian where not. Idempotent.

        Raises :class:`HealFailed` where something is still open.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left = self.open_entries
            if left:
                with suppress(RecordError):  # then it waits for our end, which the guardian sees
                    self._append({"entry": "abandoned"})
            self._journal.close()
            self._record.close()
            if not left:
                self._journal_path.unlink(missing_ok=True)
            for lock in self._target_locks.values():
                lock.release()
        if left:
            names = ", ".join(entry.label for entry in left)
            raise HealFailed(f"still in force at the end: {names}", hint="`harness heal` tries again")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.close()
        except HealFailed as left:
            if error is None:
                raise
            error.add_note(str(left))  # what ended the case stays the error; this must not go unsaid

    def _next_id(self) -> int:
        return len(self._entries) + 1

    def _open(self, entry: Entry, detail: dict[str, Any] | None) -> None:
        if self._closed:
            raise FaultError("the ledger is closed")
        if self._guarding is not None:
            self._guarding.ensure()
        line = {
            "entry": "intent",
            "id": entry.id,
            "what": entry.what,
            "lifetime": entry.lifetime,
            "slot": entry.slot,
            "target": entry.target,
            "expires": entry.expires,
            "detail": detail or {},
            "recipes": [to_json(recipe) for recipe in entry.recipes],
        }
        self._entries[entry.id] = entry
        try:
            self._append(line)
        except RecordError:
            entry.healed = True  # never acted on
            with suppress(RecordError):  # then the guardian heals what was never broken, which is harmless
                self._journal.append(self._stamped({"entry": "healed", "id": entry.id, "how": ["never done"]}))
            raise

    def _append(self, line: dict[str, Any]) -> None:
        line = self._stamped(line)
        with self._lock:
            self._journal.append(line)
            self._record.append(line)

    def _stamped(self, line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "t": self._clock.now(), "wall": self._clock.wall()}

    def _create_journal(self, record: Path) -> Path:
        """A journal appears under its name with its header whole, or not at all."""
        me = this_process()
        name = f"{me.pid}-{me.start_time}-{secrets.token_hex(4)}.jsonl"
        folder = state.journals_dir(self._state)
        header = {
            "entry": "opened",
            "version": VERSION,
            "owner": me.as_json(),
            "program": state.program(),
            "ledger": str(record),
        }
        scratch = folder / f"{name}{state.UNFINISHED}"
        try:
            with scratch.open("xb") as file:
                file.write(dump_line(self._stamped(header)))
                file.flush()
                os.fsync(file.fileno())
            scratch.rename(folder / name)
            state.sync_folder(folder)
        except OSError as error:
            raise EnvironmentUnusable(f"cannot write the journal: {error.strerror}", where=str(folder)) from error
        return folder / name
