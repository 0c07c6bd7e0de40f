"""``harness rollout watch``: look at a rollout, roll back what needs no human, tell people the rest."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNDECIDED, UsageError

if TYPE_CHECKING:
    from harness.clock import Clock
    from harness.rollout.notify import Notifier
    from harness.rollout.watch import Act, Say, Watch
    from harness.rollout.witnesses import ServiceMetrics, Source, WitnessRecalls
    from harness.scenario.rollout import Phase
    from harness.scenario.watch import Trigger, WatchRules
    from harness.targets.base import Target

_STABLE_S = 1800.0  # runbook, "Immediate Rollback": full stabilisation within 30 minutes


def register(subcommands: Any) -> None:
    """Add the command's parser."""
    watch = subcommands.add_parser("watch", help="watch a phase: triggers, rollback by itself, notices, hourly table")
    watch.add_argument("--target", required=True, metavar="URL", help="http://host:port of the Engram to watch")
    watch.add_argument("--i-own-this-target", action="store_true", help="it may be rolled back (not with --dry-run)")
    watch.add_argument("--plan", default="runbook", metavar="NAME|FILE", help="the plan whose triggers hold")
    watch.add_argument("--phase", default="100", metavar="X", help="the phase it is in: shadow, 5, 25, 50, 75, 100")
    watch.add_argument("--prometheus-url", metavar="U", help="a second witness: what Prometheus counted")
    watch.add_argument("--fact", action="append", default=[], metavar="NAME=N", help="what only people can say")
    watch.add_argument("--for", dest="for_", default="24h", metavar="D", help="how long to watch (full scale)")
    watch.add_argument("--ramp", action="store_true", help="the cohort was just raised: 5-minute table, ramp triggers")
    watch.add_argument("--dry-run", action="store_true", help="say what would be rolled back, and change nothing")
    watch.add_argument("--time-scale", type=float, default=1.0, metavar="N", help="divide every duration by N")
    watch.add_argument("--state", type=Path, metavar="FILE", help="kept after every look, gone on from if there")
    watch.add_argument("--json", action="store_true", help="events as JSON lines")
    watch.set_defaults(run=_watch)


def _watch(arguments: argparse.Namespace) -> int:
    from harness.clock import SystemClock
    from harness.rollout.notify import Notifier
    from harness.rollout.watch import Watch, WatchState, load_state
    from harness.targets.attached import AttachedTarget
    from harness.targets.base import boot_id

    asked = _asked(arguments)
    target = AttachedTarget(arguments.target, claimed=arguments.i_own_this_target)
    if not arguments.dry_run:
        target.require_owned()
    target.start()
    clock, voice, phase = SystemClock(), _Voice(as_json=arguments.json), asked.phase.name
    state = WatchState(target.base_url, phase, clock.now(), boot_id())
    if arguments.state:
        state = load_state(arguments.state, target.base_url, phase, clock.now())
    sources = _sources(arguments, target, asked.rules, clock)
    try:
        voice("begun", text=_opening(arguments, phase, len(asked.triggers), asked.left))
        watch = Watch(
            asked.rules,
            asked.triggers,
            sources,
            state,
            act=actor(target, asked.phase, asked.rules, clock, voice),
            tell=_teller(Notifier(voice.line), voice),
            say=voice,
            clock=clock,
            facts=asked.facts,
            dry_run=arguments.dry_run,
            save=(lambda kept: kept.save(arguments.state)) if arguments.state else (lambda kept: None),
        )
        return _until_over(watch, asked, sources, voice)
    finally:
        for source in sources:
            source.close()


@dataclass(frozen=True)
class _Asked:
    """The command line, read and checked; durations are scaled."""

    phase: Any
    rules: WatchRules
    triggers: tuple[Trigger, ...]
    left: tuple[str, ...]
    facts: dict[str, float]
    until_s: float
    scale: float


def _asked(arguments: argparse.Namespace) -> _Asked:
    from harness.rollout.plan import load_plan
    from harness.scenario.watch import fact_of, load_watch, triggers_of
    from harness.settings import scenarios_folder
    from harness.soak.plan import parse_duration

    scale = arguments.time_scale
    if not 1.0 <= scale <= 3600.0:
        raise UsageError(f"--time-scale {scale:g} is not from 1 to 3600")
    facts = dict(map(fact_of, arguments.fact))
    plan = load_plan(arguments.plan)
    phase = plan.phase(arguments.phase)
    every, left = triggers_of(plan, phase)
    attested = [trigger for trigger in every if trigger.attested]
    for name in facts:
        if not any(trigger.called(name) for trigger in attested):
            hint = f"one of {', '.join(trigger.name.rpartition('.')[2] for trigger in attested) or 'none'}"
            raise UsageError(f"the plan has no trigger on {name!r}", hint=hint)
    rules = load_watch(scenarios_folder() / "watch.toml")
    rules = (rules if arguments.ramp else rules.without_ramp()).asked(every).at_scale(scale)
    return _Asked(
        phase=phase,
        rules=rules,
        triggers=tuple(trigger.at_scale(scale) for trigger in every),
        left=tuple(one.id for one in left),
        facts=facts,
        until_s=parse_duration(arguments.for_) / scale,
        scale=scale,
    )


def _sources(arguments: argparse.Namespace, target: Any, rules: WatchRules, clock: Clock) -> list[Source]:
    """Witness recalls first, then the service's metrics, then Prometheus where it is there."""
    from harness.rollout.witnesses import PrometheusCounters, ServiceMetrics, WitnessRecalls

    per_s = rules.witness_per_s * arguments.time_scale
    found: list[Source] = []
    if arguments.prometheus_url:
        from harness.prometheus import PrometheusClient

        client = PrometheusClient.from_environment(arguments.prometheus_url)
        found.append(PrometheusCounters(client, rules.limits_ms, every_s=rules.scrape_s, clock=clock))
    service = ServiceMetrics(target.client(), unreachable_s=rules.unreachable_s, clock=clock)
    return [WitnessRecalls(target.client, rules.limits_ms, per_s=per_s, clock=clock), service, *found]


def _opening(arguments: argparse.Namespace, phase: str, triggers: int, left: Sequence[str]) -> str:
    text = f"watching {arguments.target} in phase {phase} of {arguments.plan}: {triggers} triggers"
    text += "; nothing will be rolled back (--dry-run)" if arguments.dry_run else ""
    return text + (f"; left to `harness rollout gate`: {', '.join(left)}" if left else "")


def _until_over(watch: Watch, asked: _Asked, sources: Sequence[Any], voice: _Voice) -> int:
    over, interrupted = threading.Event(), threading.Event()

    def stop(*_: object) -> None:
        interrupted.set()
        over.set()

    before = signal.signal(signal.SIGTERM, stop)
    table = threading.Thread(
        target=_tables, args=(watch, asked.rules, sources[0], sources[1], over, voice), name="watch-table", daemon=True
    )
    table.start()
    try:
        watch.run(asked.until_s, over, after_rollback_s=_STABLE_S / asked.scale)
    except KeyboardInterrupt:
        interrupted.set()
    finally:
        over.set()
        table.join(5.0)
        watch.keep()
        signal.signal(signal.SIGTERM, before)
    return _ended(watch, voice, interrupted=interrupted.is_set())


def _ended(watch: Watch, voice: _Voice, *, interrupted: bool) -> int:
    """Say how it went: 1 where a trigger was met, 4 where too little was seen to say that none was."""
    state = watch.state
    blind = [name for name, looks in state.blind.items() if looks * 2 > state.looks]
    code = EXIT_OK
    if watch.rolled_back or state.met:
        code = EXIT_FAILED
    elif interrupted:
        code = EXIT_INTERRUPTED
    elif blind or not state.looks:
        code = EXIT_UNDECIDED
    back = state.rollback.get("status", "none")
    text = f"{state.looks} looks; met: {', '.join(state.met) or 'none'}; rollback: {back}"
    text += f"; unseen for most of the time: {', '.join(blind)}" if blind else ""
    voice("ended", text=text, met=state.met, rollback=state.rollback, looks=state.looks, blind=blind, exit_code=code)
    return code


def _tables(
    watch: Watch,
    rules: WatchRules,
    witness: WitnessRecalls,
    service: ServiceMetrics,
    over: threading.Event,
    voice: _Voice,
) -> None:
    """The 5-minute table of the first hours after a ramp, then the hourly one of the first day (runbook 3.2, 5.1)."""
    passed_s = 0.0
    while passed_s < rules.hourly_for_s and not over.is_set():
        step_s = rules.ramp_every_s if passed_s < rules.ramp_watch_s else rules.hour_s
        if over.wait(step_s):
            return
        passed_s += step_s
        row = watch.row(witness, service.memory_bytes)
        marks = f"  over the SLO: {', '.join(row['over'])}" if row["over"] else ""
        text = (
            f"hour {passed_s / rules.hour_s:5.2f}  P99 {row['recall_p99_ms']:8.2f} ms  "
            f"errors {row['error_rate']:7.3%}  memory {row['memory_gb']:6.2f} GB  ({row['recalls']:,} recalls){marks}"
        )
        voice("table", text=text, hour=passed_s / rules.hour_s, **row)


def actor(target: Target, phase: Phase | None, rules: WatchRules, clock: Clock, voice: Say) -> Act:
    """What carries a trigger's rollback out on the target: the phase's own way back, else the blend off."""
    from harness.faults.remedy import carried_out
    from harness.rollout.rollback import rollback_of_phase
    from harness.rollout.watch import RolledBack

    def act(trigger: Trigger) -> RolledBack:
        remedy = rollback_of_phase(phase if trigger.of_phase else None)
        said: list[str] = [remedy.describe()]

        def record(event: str, /, **fields: Any) -> None:
            said.extend(filter(None, [str(fields.get("why") or fields.get("evidence") or fields.get("how") or "")]))
            voice(event, **fields)

        done = carried_out(remedy, target, record, limit_s=max(5.0, rules.evaluate_s), clock=clock)
        return RolledBack(done, "; ".join(said))

    return act


def _teller(notifier: Notifier, voice: _Voice) -> Any:
    def tell(notice: Any, page: bool, public: bool) -> None:
        went = notifier.tell(notice, page=page, public=public)
        voice("told", text=f"told: {'; '.join(went)}", trigger=notice.trigger, went=went)

    return tell


class _Voice:
    """Says events: lines for people, or JSON lines."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._lock = threading.Lock()

    def __call__(self, event: str, /, text: str = "", **fields: Any) -> None:
        from harness.clock import SystemClock
        from harness.timeline.jsonl import plain

        wall = SystemClock().wall()
        if self._as_json:
            self._put(json.dumps(plain({"wall": wall, "event": event, "text": text, **fields}), allow_nan=False))
        elif text:
            self._put(f"{wall}  {text}")

    def line(self, text: str) -> None:
        """What is to be told, where it is printed."""
        self("notice", text=text)

    def _put(self, text: str) -> None:
        with self._lock:
            print(text, flush=True)
