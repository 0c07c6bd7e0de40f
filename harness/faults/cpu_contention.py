"""Other programs want the same processor: bounded burners, tied with the target to one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.clock import SystemClock
from harness.engram import EngramClient
from harness.errors import TargetError, UsageError
from harness.faults.base import Observation, Observer, TargetFault, process_of
from harness.faults.recipe import Recipe
from harness.faults.recipe_local import AffinityRecipe
from harness.faults.witness import WitnessCue
from harness.probes.machine import run_delay_s, run_time_s
from harness.targets.base import Target

_MOST_S = 900.0
# Burns until its standard input ends (we heal, or die) or its time is over, whichever comes first.
_BURN = (
    "import select,sys,time\n"
    "end=time.monotonic()+float(sys.argv[1])\n"
    "while time.monotonic()<end and not select.select([0],[],[],0)[0]:\n"
    "    sum(range(20000))\n"
)
_LEAST_SHARE = 0.2


@dataclass(frozen=True)
class CpuContention(TargetFault):
    """``burners`` processes that never stop computing share one processor with the target."""

    burners: int = 3
    kind: ClassVar[str] = "cpu_contention"
    requires: ClassVar[tuple[str, ...]] = ("process",)
    slot: ClassVar[str] = "resource.cpu"
    longest_hold_s: ClassVar[float] = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.burners <= 16:
            raise UsageError(f"burners must be from 1 to 16, not {self.burners!r}")

    def describe(self) -> str:
        return f"{self.burners} other programs on the target's processor"

    def inject_into(self, target: Target, client: EngramClient, ttl_s: float | None) -> None:
        process = process_of(target)
        try:
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {_last_cpu(process.pid)})
        except OSError as error:
            raise TargetError(f"the target cannot be tied to a processor: {error.strerror}") from error

    def act(self, target: Target, client: EngramClient) -> Callable[[], None]:
        cpu = _last_cpu(process_of(target).pid)
        started = [self._burner(cpu) for _ in range(self.burners)]

        def end() -> None:
            for child in started:  # all of them first: those that burn on would keep each other from ending
                assert child.stdin is not None
                child.stdin.close()
            for child in started:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(2.0)
                child.kill()
                child.wait()

        return end

    def _burner(self, cpu: int) -> subprocess.Popen[bytes]:
        child = subprocess.Popen([sys.executable, "-I", "-S", "-c", _BURN, str(_MOST_S)], stdin=subprocess.PIPE)
        with suppress(OSError):
            os.sched_setaffinity(child.pid, {cpu})
            os.setpriority(os.PRIO_PROCESS, child.pid, max(-20, os.getpriority(os.PRIO_PROCESS, 0)))
        return child

    def differs(self, target: Target, client: EngramClient) -> str:
        cpus = os.sched_getaffinity(process_of(target).pid)
        if len(cpus) != 1:
            return f"the target is tied to no processor, it may run on {len(cpus)}"
        found = _burning_on(cpus)
        return "" if found >= self.burners else f"{found} of {self.burners} other programs compute on its processor"

    def recipes(self, target: Target) -> tuple[Recipe, ...]:
        process = process_of(target)
        return (AffinityRecipe(process, tuple(sorted(os.sched_getaffinity(process.pid)))),)

    def observer_of(self, target: Target, client: EngramClient, cue: WitnessCue) -> Observer:
        return _Waiting(target)


class _Waiting(Observer):
    """How much of the time the target is ready to run and is not let, by the kernel's scheduler."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._clock = SystemClock()
        self._last: tuple[float, float] | None = None
        self._before = 0.0
        self.patience_s = 15.0

    def baseline(self) -> dict[str, Any]:
        self._before = self._share(20)
        return {"waiting_share": round(self._before, 3)}

    def effective(self) -> Observation:
        share = self._share(20)
        return Observation(share > self._before + _LEAST_SHARE, f"it waits for {share:.0%} of what it needs")

    def healed(self) -> Observation:
        share = self._share(20)
        return Observation(share <= self._before + _LEAST_SHARE, f"it waits for {share:.0%} of what it needs")

    def _share(self, requests: int) -> float:
        """Give it something to do; of the time it wanted to run, the share it was not let."""
        pid = process_of(self._target).pid
        ran, waited = _ran_s(pid), run_delay_s(pid) or 0.0
        with self._target.client(5.0) as client:
            for _ in range(requests):
                client.request("GET", "/metrics/prometheus")
        ran, waited = _ran_s(pid) - ran, (run_delay_s(pid) or 0.0) - waited
        return waited / (ran + waited) if ran + waited > 0 else 0.0


def _ran_s(pid: int) -> float:
    ran = run_time_s(pid)
    if ran is None:
        raise TargetError(f"the scheduler does not say how long process {pid} ran")
    return ran


def _last_cpu(pid: int) -> int:
    return max(os.sched_getaffinity(pid))


def _burning_on(cpus: set[int]) -> int:
    """How many of our own burning programs are tied to these processors."""
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended meanwhile
                ours = (entry / "stat").read_bytes().rpartition(b")")[2].split()[1] == str(os.getpid()).encode()
                if ours and _BURN.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found += os.sched_getaffinity(int(entry.name)) == cpus
    return found
