"""Where a soak stands when it goes on: what was recorded last, how long nobody looked, what became of the target."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.clock import Clock
from harness.targets.base import ProcessIdentity, boot_id
from harness.timeline.soak_record import EVENTS, INTERVALS, Lines


@dataclass(frozen=True)
class Standing:
    """The end of what is recorded. Real seconds; ``gap_s`` is what nobody observed, ``by`` says which clock told it."""

    segment: int
    end_s: float
    observed_s: float
    gap_s: float
    by: str
    target: str
    finished: bool
    records: int

    @property
    def start_s(self) -> float:
        """Where the next segment begins, in real seconds since the soak's start."""
        return self.end_s + self.gap_s


def standing(folder: Path, clock: Clock) -> Standing:
    """Read a soak's directory and say where it stands. Raises :class:`RecordError` where it cannot be read."""
    observed_s, records, last = 0.0, 0, None
    intervals, lines = Lines(folder / INTERVALS), Lines(folder / EVENTS)
    with intervals.taken():
        for record in intervals:
            observed_s += float(record["to_s"]) - float(record["from_s"])
            records += 1
            last = record
    with lines.taken():
        return _stands(list(lines), last, observed_s, records, clock)


def _stands(
    events: list[dict[str, Any]], last: dict[str, Any] | None, observed_s: float, records: int, clock: Clock
) -> Standing:
    segments = [e for e in events if e["event"] == "segment_started"]
    finished = any(e["event"] in ("soak_ended", "aborted") for e in events)
    segment = int(segments[-1]["segment"]) if segments else -1
    if last is None:
        # Nothing was recorded yet: the clock of the soak has not begun.
        return Standing(segment + 1, 0.0, 0.0, 0.0, "", "never seen", finished, 0)
    begun = next((e for e in segments if int(e["segment"]) == int(last["segment"])), {})
    gap_s, by = _gap(last, str(begun.get("boot", "")), clock)
    return Standing(
        segment + 1, float(last["to_s"]), observed_s, gap_s, by, _target_since(last, events), finished, records
    )


def _gap(last: dict[str, Any], boot: str, clock: Clock) -> tuple[float, str]:
    """How long ago the last record was written; across a reboot only the wall clock can say."""
    if boot and boot == boot_id():
        return max(0.0, clock.now() - float(last["t"])), "the monotonic clock"
    then, now = _instant(str(last.get("wall", ""))), _instant(clock.wall())
    if then is None or now is None:
        return 0.0, "nothing: the record carries no wall time"
    return max(0.0, (now - then).total_seconds()), "the wall clock, as the machine was restarted"


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None


def _target_since(last: dict[str, Any], events: list[dict[str, Any]]) -> str:
    """Whether the target outlived us. Asked before anything is healed, since healing ends what we left behind."""
    if any(e["event"] == "target_died" for e in events):
        return "died before the harness did"
    identity = (last.get("target") or {}).get("identity")
    if not isinstance(identity, list) or len(identity) != 3:
        return "not ours to see"
    process = ProcessIdentity(int(identity[0]), int(identity[1]), str(identity[2]))
    if process.boot != boot_id():
        return "ended with the machine"
    return "still running" if process.alive() else "ended with the harness, or since"
