"""Consolidation, blended recall, cohorts, flags, faults and what the metrics say of them."""

from __future__ import annotations

import math

import pytest

from tests.reference.conftest import Launch
from tests.reference.server import CONFIG, VECTORS, Server, wait_for

COUNTERS = [
    "engram_recall_total{canary}",
    "engram_recall_total{control}",
    "engram_recall_errors_total{canary}",
    "engram_blended_recall_total",
    "engram_blended_recall_convergent_total",
    "engram_blended_recall_pattern_completed_total",
    "engram_semantic_pathway_timeout_total",
    "engram_concepts_formed_total",
    "engram_bindings_created_total",
    "engram_consolidation_runs_total",
    "engram_consolidation_failures_total",
    "engram_concept_quality_violations_total",
    "engram_binding_quality_violations_total",
    "engram_fan_effect_penalties_total",
    "engram_fan_effect_penalty_sum",
    "engram_bindings_total",
    "engram_episodes_total",
    "engram_concept_coherence",
    "engram_blended_recall_convergent_ratio",
    "engram_recall_topk_overlap_ratio{canary}",
    "engram_recall_result_count{canary}",
    "engram_spreading_breaker_state",
    "engram_concept_coherence_distribution_count",
    "engram_recall_duration_seconds_count{canary}",
    "engram_blended_recall_duration_seconds_count",
    "engram_consolidation_duration_seconds_count",
]
POSITIVE = [
    "engram_memory_limit_bytes",
    "engram_consolidation_freshness_seconds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
]


def test_all_metrics_exist_from_the_start_and_are_zero(launch: Launch) -> None:
    idle = CONFIG.replace("true", "false").replace("interval_seconds = 0.05", "interval_seconds = 60")
    server = launch(config=idle)
    metrics = server.metrics()
    assert {name: metrics[name] for name in COUNTERS} == dict.fromkeys(COUNTERS, 0.0)
    assert all(metrics[name] > 0 for name in POSITIVE)
    text = server.client.get("/metrics").text
    for edge in ("0.008", "0.01", "0.015", "0.02", "0.05"):
        assert f'engram_recall_duration_seconds_bucket{{cohort="canary",le="{edge}"}} 0.0' in text
        assert f'engram_blended_recall_duration_seconds_bucket{{le="{edge}"}} 0.0' in text


def test_the_monitoring_flag_takes_the_dual_memory_metrics_away(healthy: Server) -> None:
    healthy.flags(monitoring=False)
    metrics = healthy.metrics()
    assert "engram_blended_recall_total" not in metrics
    assert "engram_recall_total{canary}" in metrics


def test_concepts_and_bindings_are_in_range_and_paged(healthy: Server) -> None:
    concepts = healthy.client.get("/api/v1/admin/concepts").json()
    assert concepts["total"] >= 2
    assert all(0.6 <= c["coherence"] <= 1 and c["size"] >= 3 for c in concepts["concepts"])
    seen, cursor = [], ""
    while True:
        page = healthy.client.get("/api/v1/admin/bindings", params={"limit": 7, "cursor": cursor, "space": "default"})
        seen += page.json()["bindings"]
        cursor = page.json()["next"]
        if cursor is None:
            break
    assert len({(b["episode_id"], b["concept_id"]) for b in seen}) == len(seen) == page.json()["total"]
    assert all(0.1 <= b["strength"] <= 1 for b in seen)
    beliefs = healthy.client.get("/api/v1/consolidations", params={"max_episodes": 1}).json()["beliefs"]
    assert len(beliefs) == 1


def test_unlike_episodes_form_no_concept(launch: Launch) -> None:
    server = launch()
    for i in range(6):
        server.remember(f"u{i}", f"unlike{i}", embedding=[1.0 if k % 6 == i else 0.0 for k in range(768)])
    server.runs(3)
    assert server.stats()["concepts"] == 0


def test_a_moved_episode_changes_its_concept(launch: Launch) -> None:
    server = launch()
    server.populate()

    def concept(memory_id: str) -> str | None:
        bound = server.client.get("/api/v1/admin/bindings").json()["bindings"]
        return next((str(b["concept_id"]) for b in bound if b["episode_id"] == memory_id), None)

    assert concept("m0") != concept("m1")
    server.remember("m0", "moved", embedding=VECTORS[1])
    wait_for(lambda: concept("m0") == concept("m1"), "bound to the other concept")


def test_blended_recall_finds_the_exact_one_first_and_its_fellows(healthy: Server) -> None:
    found = healthy.recalled("number3 topic1")
    assert (found[0]["id"], found[0]["retrieval_path"]) == ("m3", "convergent")
    assert all(item["content"].endswith("topic1") for item in found)
    assert {item["retrieval_path"] for item in found} <= {"convergent", "semantic", "pattern_completion", "episodic"}
    assert any(item["retrieval_path"] != "convergent" for item in found)
    for item in found:
        assert 0 <= item["confidence"]["value"] <= 1
        assert (item["concept_id"] is None) == (item["binding_strength"] is None)


def test_a_poor_cue_is_completed_through_concepts(healthy: Server) -> None:
    metadata = healthy.metadata("number3 unheard of")
    assert metadata["pattern_completed"] is True
    healthy.flags(blended_recall=False)
    assert healthy.metadata("number3 unheard of")["pattern_completed"] is False


def test_control_and_flag_off_are_episodic(healthy: Server) -> None:
    healthy.flags(cohort_sampling_rate=0.5)
    answers = {f"user{i}": healthy.metadata(user=f"user{i}") for i in range(60)}
    canary = {user for user, metadata in answers.items() if metadata["cohort"] == "canary"}
    assert 10 < len(canary) < 50
    for user, metadata in answers.items():
        expected = ("blended", None) if user in canary else ("episodic", "off")
        assert (metadata["pathway"], metadata["semantic_missing"]) == expected
    healthy.flags(cohort_sampling_rate=0.25)
    smaller = {user for user in answers if healthy.metadata(user=user)["cohort"] == "canary"}
    assert smaller < canary
    healthy.flags(blended_recall=False)
    assert healthy.metadata(user=next(iter(smaller)))["semantic_missing"] == "off"


def test_metadata_can_be_left_out(healthy: Server) -> None:
    assert "metadata" not in healthy.recall(include_metadata="false").json()


def test_a_cohort_label_sets_the_rate(healthy: Server) -> None:
    assert healthy.flags(blended_recall=True, cohort="canary_5pct")["cohort_sampling_rate"] == 0.05
    assert healthy.flags(cohort="canary_5pct", cohort_sampling_rate=0.25)["cohort_sampling_rate"] == 0.25
    assert healthy.flags(cohort="canary_5pct")["cohort"] == "canary_5pct"
    assert healthy.flags(fan_effect=True, cohort_sampling_rate=0.05)["cohort"] == "canary_5pct"
    assert healthy.flags(cohort_sampling_rate=0.25)["cohort"] is None  # it is no 5 % any more


@pytest.mark.parametrize(
    "changes",
    [
        {"blended_recall": "yes"},
        {"unknown": True},
        {"cohort_sampling_rate": 1.5},
        {"cohort_sampling_rate": True},
        {"semantic_weight": "0.3"},
        {"cohort": "everyone"},
        {"fan_effect": False, "nonsense": 1},
    ],
    ids=str,
)
def test_a_bad_flag_changes_nothing(healthy: Server, changes: dict[str, object]) -> None:
    before = healthy.flags()
    healthy.flags(expect=400, **changes)
    assert healthy.flags() == before


def test_flags_survive_a_kill(launch: Launch) -> None:
    server = launch()
    server.flags(blended_recall=False, cohort_sampling_rate=0.25, semantic_weight=0.1)
    server.kill()
    server.start()
    flags = server.flags()
    assert (flags["blended_recall"], flags["cohort_sampling_rate"], flags["semantic_weight"]) == (False, 0.25, 0.1)


def test_a_late_semantic_pathway_costs_its_half_only_and_is_counted(healthy: Server) -> None:
    before = healthy.metrics()
    healthy.chaos("semantic_pathway/latency", latency_ms=50)
    metadata = [healthy.metadata() for _ in range(5)]
    assert [(m["pathway"], m["semantic_missing"]) for m in metadata] == [("episodic", "timeout")] * 5
    assert healthy.recalled()[0]["id"] == "m3"
    after = healthy.metrics()
    name = "engram_semantic_pathway_timeout_total"
    assert after[name] - before[name] == 6
    assert after["engram_spreading_breaker_state"] == 0
    assert after["engram_recall_errors_total{canary}"] == before["engram_recall_errors_total{canary}"]
    healthy.chaos("semantic_pathway/latency", latency_ms=0)
    assert healthy.metadata()["semantic_missing"] is None


def test_failing_consolidation_forms_nothing_and_is_counted(healthy: Server) -> None:
    healthy.chaos("consolidation/fail_rate", fail_rate=1)
    healthy.runs(1)
    before = healthy.stats()
    for i in range(3):
        healthy.remember(f"c{i}", f"camel{i}", embedding=[1.0 if k < 50 else 0.0 for k in range(768)], space="camels")
    healthy.runs(3)
    during = healthy.stats()
    assert during["failed_consolidations"] >= before["failed_consolidations"] + 3
    assert during["successful_consolidations"] == before["successful_consolidations"]
    assert during["concepts"] == before["concepts"]
    assert during["last_success_age_s"] > before["last_success_age_s"]
    assert healthy.recall().status_code == 200
    healthy.chaos("consolidation/fail_rate", fail_rate=0)
    wait_for(lambda: healthy.stats()["concepts"] == before["concepts"] + 1, "the new concept")


def test_half_of_the_runs_fail_at_half_a_rate(healthy: Server) -> None:
    healthy.chaos("consolidation/fail_rate", fail_rate=0.5)
    before = healthy.stats()
    healthy.runs(16)
    after = healthy.stats()
    assert after["failed_consolidations"] > before["failed_consolidations"]
    assert after["successful_consolidations"] > before["successful_consolidations"]


def _strengths(server: Server) -> dict[tuple[str, str], float | None]:
    bound = server.client.get("/api/v1/admin/bindings", params={"space": "default"}).json()["bindings"]
    return {(b["episode_id"], b["concept_id"]): b["strength"] for b in bound}


def test_corruption_is_filtered_counted_and_restored_exactly(healthy: Server) -> None:
    before = _strengths(healthy)
    reply = healthy.chaos("binding_index/corrupt", corruption_rate=0.5)
    total = healthy.stats()["bindings"]
    assert (reply["corrupted"], healthy.invalid()) == (round(total / 2), round(total / 2))
    healthy.remember("m3", "note number3 on topic1", embedding=VECTORS[3])
    healthy.runs(3)
    assert healthy.invalid() == round(total / 2)
    filtered = sum(healthy.metadata(f"number{i} topic{i % 2}")["bindings_filtered"] for i in range(8))
    assert filtered > 0
    strengths = [item["binding_strength"] for i in range(8) for item in healthy.recalled(f"number{i} topic{i % 2}")]
    assert all(s is None or 0 <= s <= 1 for s in strengths)
    counted = healthy.metrics()["engram_binding_quality_violations_total"]
    assert counted >= filtered
    assert healthy.chaos("binding_index/restore")["restored"] == round(total / 2)
    after = _strengths(healthy)
    assert after.keys() == before.keys()
    same = {key: value for key, value in after.items() if key[0] != "m3"}
    assert same == {key: before[key] for key in same}
    assert healthy.metadata()["bindings_filtered"] == 0


def test_new_bindings_are_clean_while_others_are_corrupted(launch: Launch) -> None:
    server = launch()
    server.populate()
    server.chaos("binding_index/corrupt", corruption_rate=1)
    server.remember("new", "note number99 on topic0", embedding=VECTORS[0])
    wait_for(lambda: server.stats()["bindings"] == len(VECTORS) + 1, "the new one bound")
    assert server.invalid() == len(VECTORS)


def test_faults_are_listed_and_heal_themselves(healthy: Server) -> None:
    healthy.chaos("semantic_pathway/latency", latency_ms=50, ttl_s=1.0)
    healthy.chaos("binding_index/corrupt", corruption_rate=0.2, ttl_s=1.0)
    healthy.chaos("latency", latency_ms=1)
    listed = {fault["fault"]: fault for fault in healthy.faults()}
    assert listed.keys() == {"semantic_pathway.latency", "binding_index.corrupt", "latency"}
    assert 0 < listed["semantic_pathway.latency"]["ttl_remaining_s"] <= 1.0
    assert listed["latency"]["ttl_remaining_s"] is None
    wait_for(lambda: [f["fault"] for f in healthy.faults()] == ["latency"], "both healed")
    assert healthy.metadata()["semantic_missing"] is None
    assert healthy.invalid() == 0


def test_a_repeated_fault_replaces_its_ttl(healthy: Server) -> None:
    healthy.chaos("consolidation/fail_rate", fail_rate=0.5, ttl_s=0.05)
    healthy.chaos("consolidation/fail_rate", fail_rate=0.4)
    healthy.runs(3)
    assert [(f["value"], f["ttl_remaining_s"]) for f in healthy.faults()] == [(0.4, None)]


def test_corrupting_nothing_is_a_no_op(healthy: Server) -> None:
    healthy.chaos("binding_index/corrupt", corruption_rate=0)
    assert (healthy.faults(), healthy.invalid()) == ([], 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("consolidation/fail_rate", {"fail_rate": 1.5}),
        ("consolidation/fail_rate", {"rate": 0.5}),
        ("semantic_pathway/latency", {"latency_ms": -1}),
        ("semantic_pathway/latency", {"latency_ms": "50"}),
        ("binding_index/corrupt", {"corruption_rate": 0.5, "ttl_s": 0}),
        ("latency", {"latency_ms": 5, "extra": 1}),
        ("latency", {}),
    ],
    ids=str,
)
def test_a_bad_dose_is_refused(healthy: Server, path: str, body: dict[str, object]) -> None:
    healthy.chaos(path, expect=400, **body)
    assert healthy.faults() == []


def test_general_latency_strikes_blended_recalls_only(healthy: Server) -> None:
    healthy.chaos("latency", latency_ms=120)
    assert min(healthy.metadata()["server_ms"] for _ in range(2)) >= 119
    healthy.flags(blended_recall=False)
    assert min(healthy.metadata()["server_ms"] for _ in range(4)) < 119


def test_without_dual_memory_types_nothing_is_formed(launch: Launch) -> None:
    server = launch(env={"DUAL_MEMORY_TYPES": "false"})
    for i, vector in enumerate(VECTORS[:6]):
        server.remember(f"m{i}", f"plain{i}", embedding=vector)
    server.flags(dual_memory_types=True)
    assert server.stats()["concepts"] == 0 or server.stats()["total_runs"] > 0
    wait_for(lambda: server.stats()["concepts"] == 2, "concepts once the flag is on")


def test_a_recall_result_count_is_a_number(healthy: Server) -> None:
    healthy.recalled()
    assert not math.isnan(healthy.metrics()["engram_recall_result_count{canary}"])
