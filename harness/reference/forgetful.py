"""Defects of durability: what a crash takes with it although it was acknowledged. Nothing is done without a defect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.reference.defects import Defects
from harness.reference.frames import Scan, read_frames
from harness.reference.wal import sync_directory


class Forgetful:
    """Cuts the end of the log off before it is read, as a store would that had never made it durable.

    ``marker`` tells a stop in order from a crash, and holds how long the log was after the last recovery.
    """

    def __init__(self, defects: Defects, marker: Path) -> None:
        self._defects = defects
        self._marker = marker
        self._since_recovery = defects.on("second_generation_loss")
        self._tail = int(defects.magnitude("lost_tail")) if defects.on("lost_tail") else 0
        self.skips_deletes = defects.on("resurrected_deletes")

    def sync_of(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        """``sync``, or what takes its place and does nothing."""
        return (lambda _: None) if self._defects.on("never_synced") else sync

    def before_recovery(self, log: Path) -> None:
        """Lose what the defects say, where the last stop was a crash."""
        if not (self._since_recovery or self._tail) or not log.exists():
            return
        said = self._marker.read_text(encoding="ascii") if self._marker.exists() else ""
        crashed = said != "clean"
        if crashed and self._tail:
            _drop_last(log, self._tail)
        name, _, length = said.partition(" ")
        if self._since_recovery and name == log.name and int(length) < log.stat().st_size:
            _truncate(log, int(length))
        self._marker.write_text(f"{log.name} {log.stat().st_size}" if crashed else "first", encoding="ascii")

    def stopped_in_order(self) -> None:
        """The end was no crash."""
        if self._since_recovery or self._tail:
            self._marker.write_text("clean", encoding="ascii")


def _drop_last(log: Path, count: int) -> None:
    scan = Scan()
    starts = [scan.good_until for _ in read_frames(log.read_bytes(), scan)]
    if starts:
        _truncate(log, starts[max(0, len(starts) - count)])


def _truncate(log: Path, length: int) -> None:
    with log.open("r+b") as file:
        file.truncate(length)
    sync_directory(log.parent)
