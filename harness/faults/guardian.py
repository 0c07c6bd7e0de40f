"""The guardian: ``python -m harness.faults.guardian``, a process that outlives the harness and heals after it.

It notices the harness' death by a pidfd (at once), a hang by the lease (no heartbeat on its standard input for
``lease_s``), and a fault that overran its time by the journal. It needs the journals of its harness and nothing else,
keeps no state, and may be killed and started again at any moment.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from harness.errors import RecordError
from harness.faults import state
from harness.faults.healing import HealReport, heal_journal, relieve
from harness.faults.journal import Entry, read_journal
from harness.targets.base import ProcessIdentity, boot_id

LEASE_S = 2.0
GIVE_UP_S = 600.0
_TICK_S = 0.25
_RETRY_S = 2.0
GOODBYE = b"q"


class Guardian:
    """Watches one harness."""

    def __init__(self, harness: ProcessIdentity, state_dir: Path, *, lease_s: float = LEASE_S) -> None:
        self._harness = harness
        self._state = state_dir
        self._lease_s = lease_s
        self._pidfd = _open_pidfd(harness)
        self._pipe: int | None = sys.stdin.fileno()
        self._dismissed = False
        self._beat = time.monotonic()
        self._lapsed = False
        self._not_before = 0.0
        self._overrun: dict[Path, set[int]] = {}
        self._deadlines: dict[Path, tuple[int, list[tuple[int, float]]]] = {}

    def run(self) -> int:
        """Watch until the harness is gone and healed after, or until dismissed with nothing open."""
        while self._harness.alive():
            asked = time.monotonic()
            self._wait(_TICK_S)
            now = time.monotonic()
            if now - asked > 4 * _TICK_S:
                self._beat = max(self._beat, now)  # it was us who stood still, or the whole machine
            if self._dismissed and not any(read.open_entries for read in self._journals()):
                return 0
            self._watch_lease(now)
            self._watch_deadlines(now)
        return self._heal_after()

    def _wait(self, timeout_s: float) -> None:
        watched = [fd for fd in (self._pidfd, self._pipe) if fd is not None]
        if not watched:
            threading.Event().wait(timeout_s)
            return
        ready, _, _ = select.select(watched, [], [], timeout_s)
        if self._pipe is not None and self._pipe in ready:
            data = os.read(self._pipe, 4096)
            self._beat = time.monotonic()
            self._lapsed = False
            self._dismissed = self._dismissed or GOODBYE in data
            if not data:
                self._pipe = None  # closed: dead (the loop sees that), or its descriptors are; no lease from now on

    def _watch_lease(self, now: float) -> None:
        if self._pipe is None or self._lapsed or now - self._beat <= self._lease_s or now < self._not_before:
            return
        why = f"no sign of life for {now - self._beat:.1f} s"
        reports = [relieve(path, why, None) for path in state.journals(self._state, self._harness)]
        self._lapsed = all(_report(report) for report in reports)
        self._not_before = now + _RETRY_S

    def _watch_deadlines(self, now: float) -> None:
        if now < self._not_before:
            return
        for path in state.journals(self._state, self._harness):
            done = self._overrun.setdefault(path, set())
            late = {number for number, expires in self._expiries(path) if now > expires and number not in done}
            if not late:
                continue
            if _report(relieve(path, "it overran its time", late)):
                done |= late
            else:
                self._not_before = now + _RETRY_S

    def _expiries(self, path: Path) -> list[tuple[int, float]]:
        """Deadlines of a journal, read again only when it has grown."""
        try:
            size = path.stat().st_size
            known = self._deadlines.get(path)
            if known is None or known[0] != size:
                entries = read_journal(path).open_entries
                known = (size, [(entry.id, entry.expires) for entry in entries if entry.expires is not None])
                self._deadlines[path] = known
        except (OSError, RecordError):
            return []
        return known[1]

    def _journals(self) -> list[_OpenEntries]:
        return [_OpenEntries(path) for path in state.journals(self._state, self._harness)]

    def _heal_after(self) -> int:
        give_up = time.monotonic() + GIVE_UP_S
        while paths := state.journals(self._state, self._harness):
            if time.monotonic() > give_up:
                return 1  # what is left stays in the journal for the next run, or for somebody with the key
            for path in paths:
                _report(heal_journal(path, "guardian", deadline_s=10.0))
            if state.journals(self._state, self._harness):
                threading.Event().wait(1.0)
        return 0


class _OpenEntries:
    def __init__(self, path: Path) -> None:
        try:
            self.open_entries: list[Entry] = read_journal(path).open_entries
        except RecordError:
            self.open_entries = []


def _open_pidfd(harness: ProcessIdentity) -> int | None:
    try:
        return os.pidfd_open(harness.pid)
    except OSError:
        return None


def _report(report: HealReport) -> bool:
    """Into the log; whether all is healed."""
    for label in report.healed:
        print(f"healed: {label}", file=sys.stderr, flush=True)  # noqa: T201  its log
    for label, why in report.still_open.items():
        print(f"not healed: {label}: {why}", file=sys.stderr, flush=True)  # noqa: T201
    for problem in report.problems:
        print(problem, file=sys.stderr, flush=True)  # noqa: T201
    return report.clean


def main(arguments: list[str] | None = None) -> int:
    """Run as a process; says ``ready`` on its standard output once it watches."""
    parser = argparse.ArgumentParser(prog="harness.faults.guardian")
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--start-time", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--lease-s", type=float, default=LEASE_S)
    options = parser.parse_args(arguments)
    # Ctrl-C, a closed terminal and a shutdown are about the harness; after it we heal, and go by ourselves.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    harness = ProcessIdentity(options.pid, options.start_time, boot_id())
    guardian = Guardian(harness, options.state_dir, lease_s=options.lease_s)
    with suppress(BrokenPipeError):  # the harness died as it started us: all the more is to be healed
        os.write(sys.stdout.fileno(), b"ready\n")
    return guardian.run()


if __name__ == "__main__":
    raise SystemExit(main())
