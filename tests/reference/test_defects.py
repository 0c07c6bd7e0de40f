"""Every defect is seen in a service born with it, and not seen, by the same look, in a healthy one."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import pytest

from harness.reference.defects import TABLE
from tests.reference.conftest import Launch
from tests.reference.server import Server, wait_for

Look = Callable[[Server], bool]


def _slow(server: Server, latency_ms: float = 60) -> None:
    server.chaos("semantic_pathway/latency", latency_ms=latency_ms)


def _healed(server: Server) -> None:
    _slow(server, 500)
    assert server.metadata()["semantic_missing"] == "timeout"
    _slow(server, 0)
    assert server.faults() == []


def timeout_answers_500(server: Server) -> bool:
    _slow(server)
    return server.recall().status_code == 500


def waits_for_the_pathway(server: Server) -> bool:
    _slow(server)
    return bool(server.metadata()["pathway"] == "blended")


def nothing_when_late(server: Server) -> bool:
    _slow(server)
    return server.recalled() == []


def timeouts_uncounted(server: Server) -> bool:
    before = server.metrics()["engram_semantic_pathway_timeout_total"]
    _slow(server)
    assert server.metadata()["semantic_missing"] == "timeout"
    return server.metrics()["engram_semantic_pathway_timeout_total"] == before


def recall_fails_with_consolidation(server: Server) -> bool:
    server.chaos("consolidation/fail_rate", fail_rate=1)
    server.runs(2)
    return server.recall().status_code == 500


def failures_uncounted(server: Server) -> bool:
    server.chaos("consolidation/fail_rate", fail_rate=1)
    before = server.stats()["failed_consolidations"]
    server.runs(3)
    return bool(server.stats()["failed_consolidations"] == before)


def success_stays_away(server: Server) -> bool:
    server.chaos("consolidation/fail_rate", fail_rate=1)
    server.runs(2)
    server.chaos("consolidation/fail_rate", fail_rate=0)
    server.runs(1)
    before = server.stats()["successful_consolidations"]
    server.runs(3)
    return bool(server.stats()["successful_consolidations"] == before)


def invalid_strength_served(server: Server) -> bool:
    server.chaos("binding_index/corrupt", corruption_rate=1)
    served = [item for item in server.recalled() if item["concept_id"] is not None]
    return any(i["binding_strength"] is None or not 0 <= i["binding_strength"] <= 1 for i in served)


def violations_uncounted(server: Server) -> bool:
    before = server.metrics()["engram_binding_quality_violations_total"]
    server.chaos("binding_index/corrupt", corruption_rate=0.5)
    server.runs(2)
    server.recalled()
    return server.metrics()["engram_binding_quality_violations_total"] == before


def invalid_after_restore(server: Server) -> bool:
    server.chaos("binding_index/corrupt", corruption_rate=1)
    server.chaos("binding_index/restore")
    return server.invalid() > 0


def late_after_healing(server: Server) -> bool:
    _healed(server)
    return bool(server.metadata()["semantic_missing"] == "timeout")


def never_late(server: Server) -> bool:
    _slow(server)
    assert server.faults() != []
    return bool(server.metadata()["semantic_missing"] is None)


def fewer_corrupted_than_asked(server: Server) -> bool:
    server.chaos("binding_index/corrupt", corruption_rate=1)
    return bool(server.invalid() < server.stats()["bindings"])


def blends_though_off(server: Server) -> bool:
    assert server.flags(blended_recall=False)["blended_recall"] is False
    return bool(server.metadata()["pathway"] == "blended")


def flag_back_after_restart(server: Server) -> bool:
    server.flags(blended_recall=False)
    server.stop()
    server.start()
    return bool(server.flags()["blended_recall"])


def healthy_though_failing(server: Server) -> bool:
    server.chaos("consolidation/fail_rate", fail_rate=0.01)
    failed = sum(server.recall().status_code == 503 for _ in range(60))
    return failed > 50 and server.client.get("/health").status_code == 200


def unhealthy_when_slow(server: Server) -> bool:
    _slow(server)
    return server.client.get("/health").status_code == 503


def canary_fails(server: Server) -> bool:
    server.flags(cohort_sampling_rate=0.5)
    answers = [server.recall(user=f"user{i}") for i in range(40)]
    succeeded = {a.json()["metadata"]["cohort"] for a in answers if a.status_code == 200}
    return any(a.status_code == 500 for a in answers) and succeeded == {"control"}


def recall_fails(server: Server) -> bool:
    return server.recall().status_code == 500


def errors_uncounted(server: Server) -> bool:
    return recall_fails(server) and server.metrics()["engram_recall_errors_total{canary}"] == 0


def acknowledged_and_gone(server: Server) -> bool:
    server.remember("kept", "something to keep")
    return server.client.get("/api/v1/memories/kept").status_code == 404


def old_version(server: Server) -> bool:
    server.remember("versioned", "the first version")
    server.remember("versioned", "the second version")
    return "first" in server.client.get("/api/v1/memories/versioned").json()["content"]


def lost_when_killed(server: Server) -> bool:
    server.remember("durable", "something durable")
    server.kill()
    server.start()
    return server.client.get("/api/v1/memories/durable").status_code == 404


def stranger_in_the_space(server: Server) -> bool:
    server.remember("mine", "an owl of my own", space="mine")
    return any("owl" not in item["content"] for item in server.recalled("owl", space="mine"))


def damaged_content(server: Server) -> bool:
    return bool(server.client.get("/api/v1/memories/m3").json()["content"] != "note number3 on topic1")


def faster_on_paper(server: Server) -> bool:
    server.chaos("latency", latency_ms=60)
    name = "engram_blended_recall_duration_seconds"
    before = server.metrics()
    measured_s = sum(server.metadata()["server_ms"] for _ in range(3)) / 1000
    return bool(server.metrics()[f"{name}_sum"] - before[f"{name}_sum"] < measured_s / 2)


def memory_grows(server: Server) -> bool:
    before = server.metrics()["process_resident_memory_bytes"]
    for _ in range(25):
        server.client.get("/health")
    return server.metrics()["process_resident_memory_bytes"] - before > 20e6


def descriptors_grow(server: Server) -> bool:
    before = server.metrics()["process_open_fds"]
    for _ in range(20):
        server.recall()
    return server.metrics()["process_open_fds"] - before >= 15


def _always_slower_than(server: Server, limit_ms: float) -> bool:
    return bool(min(server.metadata()["server_ms"] for _ in range(3)) > limit_ms)


def slower_under_fault(server: Server) -> bool:
    server.chaos("consolidation/fail_rate", fail_rate=0.01)
    return _always_slower_than(server, 100)


def slower_with_time(server: Server) -> bool:
    uptime = "uptime_seconds"
    wait_for(lambda: server.client.get("/api/v1/system/health").json()[uptime] > 0.4, "some uptime")
    return _always_slower_than(server, 100)


def everybody_blocked(server: Server) -> bool:
    _slow(server, 200)
    return _always_slower_than(server, 150)


def open_after_healing(server: Server) -> bool:
    _healed(server)
    return bool(server.metadata()["semantic_missing"] == "breaker_open")


def too_confident(server: Server) -> bool:
    return any(item["confidence"]["value"] > 1 for item in server.recalled())


def nobody_in_the_sample(server: Server) -> bool:
    return all(server.metadata(user=f"user{i}")["cohort"] == "control" for i in range(10))


def families_missing(server: Server) -> bool:
    server.chaos("consolidation/fail_rate", fail_rate=0.01)
    return "engram_blended_recall_total" not in server.metrics()


def under_another_name(server: Server) -> bool:
    names = server.metrics()
    return "engram_blended_recalls_total" in names and "engram_blended_recall_total" not in names


def gauges_are_nan(server: Server) -> bool:
    server.chaos("consolidation/fail_rate", fail_rate=0.01)
    return math.isnan(server.metrics()["engram_bindings_total"])


def fewer_results(server: Server) -> bool:
    whole = len(server.recalled())
    server.chaos("consolidation/fail_rate", fail_rate=0.01)
    return len(server.recalled()) < whole


def _within(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it comes true in that time."""
    end, tick = time.monotonic() + seconds, threading.Event()
    while not condition():
        if time.monotonic() > end:
            return False
        tick.wait(0.02)
    return True


def runs_no_more(server: Server) -> bool:
    before = server.stats()["total_runs"]
    return not _within(lambda: server.stats()["total_runs"] > before, 1.5)


def ends_by_itself(server: Server) -> bool:
    return _within(lambda: server.process is not None and server.process.poll() is not None, 1.0)


def breaker_open_at_times(server: Server) -> bool:
    return _within(lambda: server.metrics()["engram_spreading_breaker_state"] == 1, 1.0)


LOOKS: dict[str, tuple[list[str], Look]] = {
    "semantic_timeout_answers_500": ([], timeout_answers_500),
    "no_fallback": ([], waits_for_the_pathway),
    "fallback_returns_nothing": ([], nothing_when_late),
    "timeout_counter_stuck": ([], timeouts_uncounted),
    "consolidation_failure_leaks": ([], recall_fails_with_consolidation),
    "failures_not_counted": ([], failures_uncounted),
    "consolidation_never_resumes": ([], success_stays_away),
    "corrupted_bindings_served": ([], invalid_strength_served),
    "quality_counter_silent": ([], violations_uncounted),
    "restore_half": ([], invalid_after_restore),
    "recovery_late": (["recovery_late=30"], late_after_healing),
    "recovery_never": ([], late_after_healing),
    "slow_recovery_ramp": (["slow_recovery_ramp=30"], late_after_healing),
    "chaos_ignored": ([], never_late),
    "chaos_half_dose": ([], fewer_corrupted_than_asked),
    "flag_ignored": ([], blends_though_off),
    "flag_forgotten": ([], flag_back_after_restart),
    "health_lies": (["health_lies=1"], healthy_though_failing),
    "health_down_on_fault": ([], unhealthy_when_slow),
    "errors_one_cohort": (["errors_one_cohort=1"], canary_fails),
    "error_rate": (["error_rate=1"], recall_fails),
    "errors_counter_silent": (["errors_counter_silent", "error_rate=1"], errors_uncounted),
    "lost_ack": (["lost_ack=1"], acknowledged_and_gone),
    "stale_version": (["stale_version=1"], old_version),
    "ack_before_write": (["ack_before_write=30"], lost_when_killed),
    "wrong_space_leak": (["wrong_space_leak=1"], stranger_in_the_space),
    "corrupt_content": (["corrupt_content=1"], damaged_content),
    "latency_underreported": (["latency_underreported=0.1"], faster_on_paper),
    "leak_bytes": (["leak_bytes=1e6"], memory_grows),
    "fd_leak": (["fd_leak=1"], descriptors_grow),
    "slow_under_fault": (["slow_under_fault=110"], slower_under_fault),
    "latency_drift": (["latency_drift=30000"], slower_with_time),
    "episodic_pathway_blocked": (["episodic_pathway_blocked=200"], everybody_blocked),
    "breaker_stuck_open": ([], open_after_healing),
    "invalid_confidence_served": (["invalid_confidence_served=1"], too_confident),
    "cohort_skew": (["cohort_skew=0"], nobody_in_the_sample),
    "metric_renamed": (["metric_renamed"], under_another_name),
    "metrics_vanish": ([], families_missing),
    "nan_metrics": ([], gauges_are_nan),
    "consolidation_stops": (["consolidation_stops=0"], runs_no_more),
    "error_creep": (["error_creep=1e6"], recall_fails),
    "crash_after": (["crash_after=0.7"], ends_by_itself),
    "breaker_flaps": (["breaker_flaps=0.4"], breaker_open_at_times),
    "recall_truncated": ([], fewer_results),
}
# Looked for in test_durability_defects.py: they show over a crash only, or in another space.
DURABILITY = {"never_synced", "leaked_write", "lost_nth", "lost_tail", "second_generation_loss", "resurrected_deletes"}
# Looked for in test_backup.py: they show over a restore, or where flags change.
ROLLBACK = {"flag_off_ignored", "replica_not_reached", "latency_stays", "restore_loses_memory"}
# Looked for in test_quality_defects.py, with the functions that judge the quality of two cohorts.
QUALITY = {
    "quality_overlap", "recall_misses", "partial_cue_no_gain", "convergence_lost", "completion_overused",
    "semantic_late", "canary_slow",
}  # fmt: skip
# Looked for in test_phase0_defects.py: they show where dual memory is turned on, or with certain flags.
PHASE_0 = {
    "migration_loses", "migration_reorders", "migration_crashes_recall", "dual_deviates", "combination_answers_500",
    "combination_ignored",
}  # fmt: skip
# Looked for in test_rollout_defects.py: what a rehearsal injects.
ROLLOUT = {"canary_slower", "coherence_low", "consolidation_fails", "metrics_gone", "canary_unsure", "confidence_gone"}
# Defects under which the usual twenty-four memories cannot be stored or be consolidated.
_UNPOPULATED = {
    "lost_ack", "ack_before_write", "stale_version", "error_rate", "errors_counter_silent", "fd_leak",
    "consolidation_stops", "crash_after",
}  # fmt: skip


def test_every_defect_is_looked_for() -> None:
    looked_for = LOOKS.keys() | DURABILITY | ROLLBACK | QUALITY | PHASE_0 | ROLLOUT
    assert looked_for == {defect.name for defect in TABLE}
    assert len(TABLE) >= 25


@pytest.mark.parametrize("name", LOOKS)
def test_a_defect_is_seen(launch: Launch, name: str) -> None:
    arguments, look = LOOKS[name]
    server = launch(*(part for defect in arguments or [name] for part in ("--defect", defect)))
    if name not in _UNPOPULATED:
        server.populate()
    assert look(server)


@pytest.mark.parametrize("look", dict.fromkeys(look for _, look in LOOKS.values()), ids=lambda look: look.__name__)
def test_a_healthy_service_shows_none(healthy: Server, look: Look) -> None:
    assert not look(healthy)


def test_a_late_recovery_comes_after_its_delay(launch: Launch) -> None:
    server = launch("--defect", "recovery_late=0.3", "--defect", "restore_half")
    server.populate()
    server.chaos("binding_index/corrupt", corruption_rate=0.5)
    server.chaos("binding_index/restore")
    assert (server.faults(), server.invalid()) == ([], 12)
    wait_for(lambda: server.invalid() == 6, "half of it restored")


def test_a_ramp_ends(launch: Launch) -> None:
    server = launch("--defect", "slow_recovery_ramp=0.4")
    server.populate()
    _healed(server)
    server.chaos("binding_index/corrupt", corruption_rate=1)
    server.chaos("binding_index/restore")
    assert server.invalid() > 0
    wait_for(lambda: server.invalid() == 0, "all restored")
    wait_for(lambda: server.metadata()["semantic_missing"] is None, "the pathway in time again")
