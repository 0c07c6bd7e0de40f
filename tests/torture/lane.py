"""One lane of the torture: ``python -m tests.torture.lane``; kills victims one after the other and writes what came.

A single thread from beginning to end, so that forking a victim off it is safe and takes milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import random
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.cli import main as harness_command
from harness.errors import HarnessError
from harness.faults import capability, state
from harness.faults.base import Fault
from harness.faults.journal import read_journal
from harness.report.session import judge_folder
from harness.targets.embedded import EmbeddedTarget
from harness.timeline.jsonl import dump_line
from tests.torture import fingerprint
from tests.torture.doses import doses
from tests.torture.victim import CONFIG, Life, live

PLACES = ("before", "between", "after")
MOST_LINES = 6
STEPS = (
    *(f"{place}-append-{line}" for line in range(1, MOST_LINES + 1) for place in PLACES),
    *("before-inject", "after-inject", "before-heal", "middle-heal", "after-heal"),
)
RANDOM_SHARE = 2  # of three kills, so many come at a random instant
WHOLE_SHARE = 0.04  # so many of those in a whole experiment with load; it takes seconds
HOLD_S = 0.25
HEAL_LIMIT_S = 30.0


@dataclass
class Death:
    """One kill and what came of it."""

    number: int
    kind: str
    step: str
    guardian_too: bool
    whole: bool = False
    pid: int = 0
    killed: bool = False
    open_entries: int = 0
    healed_s: float = -1.0
    residual: str = ""
    verdict: str = ""
    note: str = ""
    took_s: float = 0.0


class Plans:
    """Who is killed next, and where: the kind with the fewest kills yet, so that all weigh alike.

    Of a kind's kills one in three comes at a ledger boundary or around injection and heal, each in turn; the others
    come whenever they come. What a kind's run never reaches is remembered, beside the lanes' folders for those to come.
    """

    def __init__(self, kinds: Iterable[str], dice: random.Random, memory: Path) -> None:
        self._dice = dice
        self._memory = memory
        self._killed = dict.fromkeys(dice.sample(sorted(kinds), len(list(kinds))), 0)
        self._tries = dict.fromkeys(self._killed, 0)
        self._steps = {kind: itertools.cycle(dice.sample(STEPS, len(STEPS))) for kind in self._killed}
        known = memory.read_text().splitlines() if memory.exists() else []
        self._unreached = {(kind, step) for kind, _, step in (line.partition(" ") for line in known)}

    def next(self) -> tuple[str, str, bool]:
        """Kind, step, and whether the guardian is to die too."""
        kind = min(self._killed, key=lambda one: self._killed[one])
        number = self._tries[kind]
        self._tries[kind] += 1
        step = "random" if number % (1 + RANDOM_SHARE) else self._boundary(kind)
        return kind, step, self._dice.random() < 0.3

    def _boundary(self, kind: str) -> str:
        left = (step for step in itertools.islice(self._steps[kind], len(STEPS)) if (kind, step) not in self._unreached)
        return next(left, "random")

    def killed(self, kind: str) -> None:
        """One more."""
        self._killed[kind] += 1

    def never_reached(self, kind: str, step: str) -> None:
        """Its run ended without coming by there; so it does not write the lines after that one either."""
        place, _, what = step.partition("-")
        lines = range(int(what.rpartition("-")[2]), MOST_LINES + 1) if what.startswith("append") else ()
        beyond = {f"{where}-append-{line}" for line in lines for where in PLACES[PLACES.index(place) :]}
        beyond |= {f"{where}-append-{line}" for line in list(lines)[1:] for where in PLACES}
        with self._memory.open("a") as file:
            for one in sorted({step, *beyond}):
                self._unreached.add((kind, one))
                file.write(f"{kind} {one}\n")


class Lane:
    """Victims, one after the other, on a target of this lane."""

    def __init__(self, folder: Path, seed: int, kinds: list[str]) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        able = {kind: fault for kind, fault in doses().items() if not capability.missing(fault.requires, None)}
        self._doses = {kind: fault for kind, fault in able.items() if not kinds or kind in kinds}
        self._lifetimes: dict[str, float] = {}
        self._plans = Plans(self._doses, self._random, folder.parent / "never_reached")
        self._target: EmbeddedTarget | None = None
        self._before: dict[str, Any] = {}
        self._state = folder / "state"
        self._scratch = folder / "tmp"
        self._scratch.mkdir(parents=True, exist_ok=True)
        os.environ[state.STATE_VARIABLE] = str(self._state)
        os.environ["TMPDIR"] = str(self._scratch)
        state.prepare(self._state)

    def run(self, kills: int) -> Iterator[Death]:
        """That many kills, spread evenly over kinds and steps."""
        numbers = itertools.count(1)
        with EmbeddedTarget(self._folder / "target", config_text=CONFIG, data_dir=self._folder / "data") as target:
            self._target = target
            _populate(target)
            self._before = self._fingerprint()
            done = 0
            while done < kills:
                begun = time.monotonic()
                death = self._kill(next(numbers), *self._plans.next())
                death.took_s = time.monotonic() - begun
                if death.killed:
                    done += 1
                    self._plans.killed(death.kind)
                yield death
                if death.residual:
                    self._clean_up()
        yield self._at_the_end()

    def _kill(self, number: int, kind: str, step: str, guardian_too: bool) -> Death:
        death = Death(number, kind, step, guardian_too)
        fault = self._doses[kind]
        case = self._folder / "cases" / f"{number:05d}-{kind}"
        case.parent.mkdir(exist_ok=True)
        death.whole = step == "random" and self._random.random() < WHOLE_SHARE
        life = Life(case, fault.to_json(), step, HOLD_S, guardian_too=guardian_too, whole=death.whole)
        if not death.whole:
            life = self._lent(life, fault)
        pid, armed = _fork(life)
        death.pid = pid
        started = time.monotonic()
        died_at, status = self._await_death(pid, armed, death)
        death.killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and not _had_ended(case)
        if not death.killed:
            self._survived(death, status, time.monotonic() - started, case)
            return death
        death.open_entries = _open_entries(self._state)
        if guardian_too:
            self._heal_by_hand(death)
        self._await_healing(death, died_at)
        self._look(death, case)
        return death

    def _lent(self, life: Life, fault: Fault) -> Life:
        """The lane's own target where that can take the fault; else the victim starts one of its own.

        A fault of the process then hits one that lives on, where what is left of it can be seen.
        """
        assert self._target is not None
        here = self._target.capabilities.names - {"restart", "process", "data_dir", "disk_shim"} | {"proxy"}
        wanted = {name for name in fault.requires if not name.startswith(capability.HOST_PREFIX)}
        if wanted <= here:
            return replace(life, url=self._target.base_url)
        if wanted <= here | {"process"}:
            return replace(life, url=self._target.base_url, process=self._target.process)
        return life

    def _await_death(self, pid: int, armed: int, death: Death) -> tuple[float, int]:
        """When it died, and its status. With the step ``random`` it is killed here."""
        select.select([armed], [], [], 20.0)
        os.close(armed)
        if death.step == "random":
            wait_s = self._random.uniform(0.0, self._lifetimes.get(_sort(death), 10.0 if death.whole else 1.0))
            fd = os.pidfd_open(pid)
            select.select([fd], [], [], wait_s)
            os.close(fd)
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                if death.guardian_too:
                    os.kill(pid, signal.SIGSTOP)  # or it would start another one
                    for guardian in _guardians_of(pid):
                        os.kill(guardian, signal.SIGKILL)
                died_at = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                return died_at, os.waitpid(pid, 0)[1]
        _, status = os.waitpid(pid, 0)
        return time.monotonic(), status

    def _survived(self, death: Death, status: int, lived_s: float, case: Path) -> None:
        if death.step != "random":
            self._plans.never_reached(death.kind, death.step)
        elif os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            self._lifetimes[_sort(death)] = lived_s
        death.note = f"ended by itself: {status}"
        if status:
            log = case.with_suffix(".log")
            death.note += " " + (log.read_text()[-300:] if log.exists() else "")
        shutil.rmtree(case, ignore_errors=True)

    def _heal_by_hand(self, death: Death) -> None:
        """``harness heal``, as somebody would after the machine room called."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = harness_command(["heal", "--json"])
        if code != 0:
            death.note = f"harness heal exited with {code}: {said.getvalue()[-300:]}"

    def _await_healing(self, death: Death, died_at: float) -> None:
        limit = died_at + HEAL_LIMIT_S
        while _open_entries(self._state) and time.monotonic() < limit:
            select.select([], [], [], 0.005)
        if not _open_entries(self._state):
            death.healed_s = time.monotonic() - died_at

    def _look(self, death: Death, case: Path) -> None:
        """Independent of the harness: what is left of the fault, of its processes and of its files."""
        assert self._target is not None
        if not self._target.alive():
            death.residual = f"the lane's target did not outlive it; its log ends: {self._target.log_tail(3)}"[:600]
            return
        now = self._fingerprint()
        differing = [key for key in self._before if now[key] != self._before[key]]
        left = [f"{key}: {now[key]!r} instead of {self._before[key]!r}" for key in differing]
        rules = fingerprint.kernel(self._names_of(death, case))
        left += [f"{what}: {lines}" for what, lines in rules.items() if lines]
        if strays := _strays(str(case)):
            left.append(f"processes of the run live on: {strays}")
        # An empty directory, made an instant before the kill, is no fault; the next `harness heal` takes it away.
        if scratch := sorted(p.name for p in self._scratch.iterdir() if any(p.iterdir())):
            left.append(f"files left: {scratch}")
        if death.healed_s < 0:
            left.append("the journal is still open")
        death.residual = "; ".join(left)[:600]
        try:
            death.verdict = str(judge_folder(case).json["verdict"])
        except HarnessError as error:
            death.verdict = f"unreadable: {error}"
        if not death.residual and death.verdict == "ABORTED":
            shutil.rmtree(case, ignore_errors=True)
            case.with_suffix(".log").unlink(missing_ok=True)

    def _names_of(self, death: Death, case: Path) -> set[str]:
        """By what a rule or a control group would name this victim or its target: ports and pids."""
        assert self._target is not None
        names = {str(death.pid), str(self._target.pid), self._target.base_url.rpartition(":")[2]}
        for path in case.glob("*.port"):
            names |= {path.read_text().strip()} - {""}
        with contextlib.suppress(OSError):
            names |= set(re.findall(r'"pid": ?(\d+)', (case / "ledger.jsonl").read_text()))
        return names

    def _at_the_end(self) -> Death:
        """After one more ``harness heal`` there is no journal and no scratch directory, empty ones included."""
        last = Death(0, "", "end", False)
        self._heal_by_hand(last)
        left = [str(path) for path in (*state.journals(self._state), *self._scratch.iterdir())]
        last.residual = f"left after the last heal: {left}" if left else ""
        return last

    def _fingerprint(self) -> dict[str, Any]:
        assert self._target is not None
        assert self._target.pid is not None
        return {
            "service": fingerprint.service(self._target.base_url),
            "process": fingerprint.process(self._target.pid),
            "files": fingerprint.files(self._folder / "data"),
        }

    def _clean_up(self) -> None:
        """A fresh start for the next victim, so that one residue is counted once."""
        assert self._target is not None
        for path in self._scratch.iterdir():
            shutil.rmtree(path, ignore_errors=True)
        for path in state.journals(self._state):
            path.unlink(missing_ok=True)
        self._target.restart(kill=True)
        self._before = self._fingerprint()


def _had_ended(case: Path) -> bool:
    """Whether the run was through when it was killed: that is no kill of a run."""
    with contextlib.suppress(OSError):
        return '"event":"run_ended"' in (case / "timeline.jsonl").read_text()
    return False


def _sort(death: Death) -> str:
    return f"{death.kind} whole" if death.whole else death.kind


def _fork(life: Life) -> tuple[int, int]:
    """A victim; answers its pid and a descriptor that gets a byte (or ends) once there is something to kill."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, read_end
    status = 1
    try:
        os.close(read_end)
        log = os.open(life.case.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.setpgid(0, 0)
        status = live(life, write_end)
        from harness.faults.guarding import guarding

        guarding().dismiss()
    except BaseException:  # noqa: BLE001  a forked process must never return into its parent's code
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _guardians_of(pid: int) -> list[int]:
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        children = thread / "children"
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                if b"harness.faults.guardian" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def _open_entries(folder: Path) -> int:
    count = 0
    for path in state.journals(folder):
        with contextlib.suppress(HarnessError):
            count += len(read_journal(path).open_entries)
    return count


def _strays(text: str) -> list[int]:
    """Processes that name ``text`` and stay; one that ends by itself once it has noticed is given time to."""
    for _ in range(750):
        found = fingerprint.processes_naming(text)
        if not found:
            return []
        select.select([], [], [], 0.02)
    return found


def _populate(target: EmbeddedTarget) -> None:
    """Bindings to corrupt and users in the cohort, as a drill's preload leaves them; then nothing is written."""
    with target.client() as client:
        client.set_features(dual_memory_types=True, blended_recall=True, cohort_sampling_rate=0.5)
        for number in range(12):
            vector = [0.0] * 768
            vector[0], vector[1 + number] = 1.0, 0.7
            client.remember(f"witness {number}", memory_id=f"memory-{number}", embedding=vector)
        while client.binding_counts().total == 0:
            select.select([], [], [], 0.05)


def main() -> int:
    """Kill, and write a line per death to standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--kind", action="append", default=[])
    given = parser.parse_args()
    lane = Lane(given.folder, given.seed, given.kind)
    out = os.dup(1)
    for death in lane.run(given.kills):
        os.write(out, dump_line(asdict(death)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
