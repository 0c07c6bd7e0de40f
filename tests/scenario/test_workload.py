"""Scenario TOML: the public schema as it is, our extension, and complaints that name file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.scenario.arrival import Constant, Exponential, PeriodicBurst, Poisson
from harness.scenario.workload import Clustered, Cues, HotSpot, Uniform, load_workload, workload_from_json

SHAPES = Path(__file__).parents[2] / "scenarios"
PUBLIC = (
    "m17_baseline",
    "mixed_balanced",
    "read_heavy",
    "write_heavy",
    "burst_traffic",
    "embeddings_search",
    "consolidation",
    "multi_tenant",
)

MINIMAL = """name = "x"
description = "y"

[arrival]
{arrival}

[operations]
store_weight = 1.0
recall_weight = 1.0
embedding_search_weight = 0.0

[data]
num_nodes = 10
embedding_dim = 768
memory_spaces = 1
"""


def _file(tmp_path: Path, arrival: str = 'pattern = "constant"\nrate = 10.0', more: str = "") -> Path:
    path = tmp_path / "shape.toml"
    path.write_text(MINIMAL.format(arrival=arrival) + more, encoding="utf-8")
    return path


def test_m17_baseline_says_what_the_public_build_says() -> None:
    workload = load_workload(SHAPES / "m17_baseline.toml")
    assert workload.duration_s == 60
    assert workload.arrival == Constant(1000.0)
    assert workload.operations.shares() == pytest.approx((0.5, 0.425, 0.075, 0.0))
    assert (workload.data.num_nodes, workload.data.embedding_dim, workload.data.memory_spaces) == (1000, 768, 1)
    assert workload.data.distribution == Clustered(10, 0.1)
    assert workload.validation.expected_p99_latency_ms == 50.0
    assert workload.validation.expected_throughput_ops_per_s == 800.0
    assert workload.validation.max_error_rate == 0.01
    assert workload.chaos_enabled is False


@pytest.mark.parametrize("name", [*PUBLIC, "drill"])
def test_every_shape_loads_and_survives_the_way_through_json(name: str) -> None:
    workload = load_workload(SHAPES / f"{name}.toml")
    assert workload_from_json(workload.as_json()) == workload


@pytest.mark.parametrize(
    ("arrival", "expected", "mean"),
    [
        ('pattern = "constant"\nrate = 10', Constant(10.0), 10.0),
        ('pattern = "poisson"\nlambda = 20.0', Poisson(20.0), 20.0),
        ('pattern = "exponential"\nlambda = 30.0', Exponential(30.0), 30.0),
        (
            'pattern = "periodic_burst"\nbase_rate = 10.0\nburst_rate = 100.0\nburst_duration_sec = 1\n'
            "burst_period_sec = 10",
            PeriodicBurst(10.0, 100.0, 1.0, 10.0),
            19.0,
        ),
    ],
)
def test_arrival_patterns_and_their_mean_rate(tmp_path: Path, arrival: str, expected: object, mean: float) -> None:
    workload = load_workload(_file(tmp_path, arrival))
    assert workload.arrival == expected
    assert workload.arrival.mean_rate == pytest.approx(mean)
    assert workload.at_rate(500.0).arrival.mean_rate == pytest.approx(500.0)
    assert type(workload.at_rate(500.0).arrival) is type(expected)


@pytest.mark.parametrize(
    ("arrival", "rate"),
    [
        ('pattern = "constant"\nrate = 10', 2e6),
        ('pattern = "poisson"\nlambda = 20.0', 1e-4),
        (
            'pattern = "periodic_burst"\nbase_rate = 10.0\nburst_rate = 100.0\nburst_duration_sec = 1\n'
            "burst_period_sec = 10",
            9e5,  # on average; its bursts would be beyond the schema
        ),
    ],
)
def test_a_rate_no_file_could_say_is_refused_where_it_is_asked_for(tmp_path: Path, arrival: str, rate: float) -> None:
    with pytest.raises(ConfigError, match=r"arrivals a second are not from 0\.001 to 1e"):
        load_workload(_file(tmp_path, arrival)).at_rate(rate)


def test_more_memories_than_a_file_could_say_are_refused(tmp_path: Path) -> None:
    workload = load_workload(_file(tmp_path))
    assert workload.with_nodes(100_000_000).data.num_nodes == 100_000_000
    with pytest.raises(ConfigError, match="more than the 100,000,000"):
        workload.with_nodes(100_000_001)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('\n[data.embedding_distribution]\ntype = "uniform"\n', Uniform()),
        ('\n[data.embedding_distribution]\ntype = "hot_spot"\ncenter = [1.0, 0.5]\n', HotSpot((1.0, 0.5))),
        ('embedding_distribution = { type = "clustered", num_clusters = 5, std_dev = 0.2 }\n', Clustered(5, 0.2)),
    ],
)
def test_embedding_distributions_in_both_spellings_of_toml(tmp_path: Path, table: str, expected: object) -> None:
    assert load_workload(_file(tmp_path, more=table)).data.distribution == expected


def test_our_table_is_optional_and_read(tmp_path: Path) -> None:
    plain = load_workload(_file(tmp_path))
    assert (plain.users, plain.request_timeout_ms, plain.cues) == (200, 2000.0, Cues())
    ours = "\n[harness]\nusers = 7\nslots = 3\nrequest_timeout_ms = 500\ncues = { exact = 1.0 }\n"
    workload = load_workload(_file(tmp_path, more=ours))
    assert (workload.users, workload.slots_needed(), workload.request_timeout_s) == (7, 3, 0.5)
    assert workload.cues.shares() == (0.0, 1.0, 0.0, 0.0)


def test_slots_cover_a_stall_of_one_request_timeout(tmp_path: Path) -> None:
    workload = load_workload(_file(tmp_path))
    assert workload.at_rate(300.0).slots_needed() == 600
    assert workload.at_rate(1e5).slots_needed() == 2000
    assert workload.at_rate(0.5).slots_needed() == 16


@pytest.mark.parametrize(
    ("arrival", "more", "complaint"),
    [
        ('pattern = "constant"\nrate = -1', "", r"shape.toml:6: arrival.rate: -1 is outside"),
        ('pattern = "diurnal"\nrate = 1', "", r"shape.toml:5: arrival.pattern: 'diurnal' is not one of"),
        ('pattern = "constant"', "", r"shape.toml:4: arrival.rate: this key is required"),
        ('pattern = "constant"\nrate = 1\nlambda = 2', "", r"shape.toml:7: arrival.lambda: unknown key"),
        ('pattern = "constant"\nrate = nan', "", r"shape.toml:6: arrival.rate: must be a number"),
        (
            'pattern = "periodic_burst"\nbase_rate = 1\nburst_rate = 2\nburst_duration_sec = 9\nburst_period_sec = 3',
            "",
            r"shape.toml:8: arrival.burst_duration_sec: a burst cannot last longer",
        ),
        ('pattern = "constant"\nrate = 1', "\n[harnes]\nusers = 3\n", r"shape.toml:18: harnes: unknown key"),
        ('pattern = "constant"\nrate = 1', "\n[harness]\nuser = 3\n", r"shape.toml:19: harness.user: unknown key"),
        ('pattern = "constant"\nrate = 1', "\n[harness.cues]\nexact = 0\n", r"harness.cues: one kind of cue at least"),
        ('pattern = "constant"\nrate = 1', "\n[chaos]\nenabled = 1\n", r"chaos.enabled: must be true or false"),
    ],
)
def test_complaints_name_file_line_and_key(tmp_path: Path, arrival: str, more: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_workload(_file(tmp_path, arrival, more))


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.toml: cannot read"):
        load_workload(tmp_path / "nowhere.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken.toml: not valid TOML"):
        load_workload(broken)


@pytest.mark.parametrize("rate", [0.0, -3.0, float("inf"), float("nan")])
def test_a_rate_must_be_above_zero(tmp_path: Path, rate: float) -> None:
    with pytest.raises(ConfigError, match="above zero"):
        load_workload(_file(tmp_path)).at_rate(rate)
