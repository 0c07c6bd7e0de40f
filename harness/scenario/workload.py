"""What load to put on a target: the public build's scenario TOML, read as it is, plus our ``[harness]`` table.

The public schema is ENGRAM.md section 5. Where its generator and ours differ, it is said at the field: arrivals are
an open-loop schedule, ``num_nodes`` bounds the ids written, and ``std_dev`` is scaled so that clusters are clusters.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.scenario.arrival import LEAST_RATE, MOST_RATE, Arrival, arrival_from
from harness.scenario.document import Table, read_document

DEFAULT_DURATION_S = 300.0
DEFAULT_USERS = 200
DEFAULT_REQUEST_TIMEOUT_MS = 2000.0
MOST_SLOTS = 2000
MOST_NODES = 100_000_000  # memories of a space


@dataclass(frozen=True)
class Operations:
    """Weights of the operations; any scale, only their ratios count."""

    store: float
    recall: float
    embedding_search: float
    pattern_completion: float = 0.0
    delete: float = 0.0  # ours, beyond the public schema

    def shares(self) -> tuple[float, ...]:
        """The weights as shares of one, in the order of :class:`harness.model.Op`, as far as there are any."""
        weights = [self.store, self.recall, self.embedding_search, self.pattern_completion]
        if self.delete:
            weights += [0.0, self.delete]  # no schedule reads by id
        total = sum(weights)
        return tuple(weight / total for weight in weights)


@dataclass(frozen=True)
class Clustered:
    """Items around ``num_clusters`` centres.

    The noise around a centre of norm 1 has norm ``6 * std_dev`` (at least 0.3, so that no two items reach the 0.95
    at which the public build merges them). Taken per component, as written in the public files, 0.1 in 768
    dimensions would drown the centre; scaled, 0.1 gives a cosine of 1 / (1 + 0.6**2) = 0.735 within a cluster,
    between the 0.55 at which episodes cluster and the 0.95 at which they merge.
    """

    num_clusters: int
    std_dev: float

    @property
    def noise_norm(self) -> float:
        """Norm of the noise around a centre of norm 1."""
        return max(0.3, 6 * self.std_dev)

    def as_json(self) -> dict[str, Any]:
        """As it stands in TOML."""
        return {"type": "clustered", "num_clusters": self.num_clusters, "std_dev": self.std_dev}


@dataclass(frozen=True)
class Uniform:
    """Independent random directions: nothing to consolidate."""

    def as_json(self) -> dict[str, Any]:
        """As it stands in TOML."""
        return {"type": "uniform"}


@dataclass(frozen=True)
class HotSpot:
    """Everything around one ``center`` (padded with zeros), as near as merging allows: cosine 0.917."""

    center: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """As it stands in TOML."""
        return {"type": "hot_spot", "center": list(self.center)}


Distribution = Clustered | Uniform | HotSpot


@dataclass(frozen=True)
class Data:
    """The memories a workload is about: ``num_nodes`` ids per space, written again and again."""

    num_nodes: int
    embedding_dim: int
    memory_spaces: int
    distribution: Distribution

    @property
    def memories(self) -> int:
        """How many there are in all spaces: all of them are stored before a load starts."""
        return self.num_nodes * self.memory_spaces


@dataclass(frozen=True)
class Validation:
    """Limits the file states for itself; None where it states none."""

    expected_p99_latency_ms: float | None = None
    expected_throughput_ops_per_s: float | None = None
    max_error_rate: float | None = None


@dataclass(frozen=True)
class Cues:
    """Weights of what a recall is asked with: words, the stored vector, part of it, or a noisy copy."""

    text: float = 0.2
    exact: float = 0.4
    partial: float = 0.2
    noisy: float = 0.2

    def shares(self) -> tuple[float, float, float, float]:
        """As shares of one, in the order of :class:`harness.model.Cue` from TEXT on."""
        total = self.text + self.exact + self.partial + self.noisy
        return (self.text / total, self.exact / total, self.partial / total, self.noisy / total)


@dataclass(frozen=True)
class Workload:
    """A load shape; everything from ``users`` on is our extension, table ``[harness]``."""

    name: str
    description: str
    duration_s: float
    arrival: Arrival
    operations: Operations
    data: Data
    validation: Validation = field(default_factory=Validation)
    chaos_enabled: bool = False
    users: int = DEFAULT_USERS
    cues: Cues = field(default_factory=Cues)
    partial_keep: float = 0.6  # share of a vector's components a partial cue keeps; the others are zero
    noise: float = 0.5  # norm of what a noisy cue adds to the vector of norm 1
    request_timeout_ms: float = DEFAULT_REQUEST_TIMEOUT_MS
    slots: int | None = None  # requests that can be in flight; None: peak rate times the request timeout
    max_results: int = 10

    @property
    def request_timeout_s(self) -> float:
        """:attr:`request_timeout_ms` in seconds."""
        return self.request_timeout_ms / 1000

    def at_rate(self, ops_per_s: float) -> Workload:
        """The same shape at a mean of ``ops_per_s`` arrivals a second.

        Raises :class:`ConfigError` where a file could not say it either: its load processes would refuse it late.
        """
        if not 0 < ops_per_s < math.inf:
            raise ConfigError(f"a rate must be above zero, not {ops_per_s}", where=self.name)
        arrival = self.arrival.at_rate(ops_per_s)
        unheard_of = [rate for rate in arrival.rates if not LEAST_RATE <= rate <= MOST_RATE]
        if unheard_of:
            raise ConfigError(
                f"{unheard_of[0]:g} arrivals a second are not from {LEAST_RATE:g} to {MOST_RATE:g}", where=self.name
            )
        return dataclasses.replace(self, arrival=arrival)

    def with_nodes(self, num_nodes: int) -> Workload:
        """The same shape about ``num_nodes`` memories in each space. Raises :class:`ConfigError` out of range."""
        if num_nodes < 1:
            raise ConfigError(f"a load is about one memory at least, not {num_nodes}", where=self.name)
        if num_nodes > MOST_NODES:
            raise ConfigError(
                f"{num_nodes} memories are more than the {MOST_NODES:,} a space may have", where=self.name
            )
        return dataclasses.replace(self, data=dataclasses.replace(self.data, num_nodes=num_nodes))

    def slots_needed(self) -> int:
        """Slots that keep every arrival on time while the target stalls for a whole request timeout."""
        if self.slots is not None:
            return self.slots
        return min(MOST_SLOTS, max(16, math.ceil(self.arrival.peak_rate * self.request_timeout_s)))

    def as_json(self) -> dict[str, Any]:
        """The values in the shape of the TOML file; :func:`workload_from_json` reads them back."""
        checks = {
            "expected_p99_latency_ms": self.validation.expected_p99_latency_ms,
            "expected_throughput_ops_sec": self.validation.expected_throughput_ops_per_s,
            "max_error_rate": self.validation.max_error_rate,
        }
        ours: dict[str, Any] = {
            "users": self.users,
            "cues": dataclasses.asdict(self.cues),
            "partial_keep": self.partial_keep,
            "noise": self.noise,
            "request_timeout_ms": self.request_timeout_ms,
            "max_results": self.max_results,
        }
        if self.slots is not None:
            ours["slots"] = self.slots
        data = self.data
        return {
            "name": self.name,
            "description": self.description,
            "duration": {"total_seconds": self.duration_s},
            "arrival": self.arrival.as_json(),
            "operations": _weights(self.operations),
            "data": {
                "num_nodes": data.num_nodes,
                "embedding_dim": data.embedding_dim,
                "memory_spaces": data.memory_spaces,
                "embedding_distribution": data.distribution.as_json(),
            },
            "validation": {key: value for key, value in checks.items() if value is not None},
            "chaos": {"enabled": self.chaos_enabled},
            "harness": ours,
        }


def _weights(operations: Operations) -> dict[str, float]:
    """As they stand in TOML; without the one the public schema lacks, where it is not used."""
    found = {f"{key}_weight": value for key, value in dataclasses.asdict(operations).items()}
    return found if operations.delete else {k: v for k, v in found.items() if k != "delete_weight"}


def load_workload(path: Path) -> Workload:
    """Read a scenario file. Raises :class:`ConfigError` naming file, line and key."""
    return _workload(read_document(path))


def workload_from_json(values: dict[str, Any], name: str = "workload") -> Workload:
    """The inverse of :meth:`Workload.as_json`; ``name`` stands for the file in messages."""
    return _workload(Table(values, name, {}, ()))


def _workload(document: Table) -> Workload:
    duration = document.table("duration", required=False)
    chaos = document.table("chaos", required=False)
    validation = document.table("validation", required=False)
    workload = Workload(
        name=document.text("name"),
        description=document.text("description", ""),
        duration_s=duration.number("total_seconds", DEFAULT_DURATION_S, low=0.001, high=1e9),
        arrival=arrival_from(document.table("arrival")),
        operations=_operations(document.table("operations")),
        data=_data(document.table("data")),
        validation=Validation(
            validation.number("expected_p99_latency_ms", None, low=0.0),
            validation.number("expected_throughput_ops_sec", None, low=0.0),
            validation.number("max_error_rate", None, low=0.0, high=1.0),
        ),
        chaos_enabled=chaos.boolean("enabled", False),
        **_extension(document.table("harness", required=False)),
    )
    for table in (duration, chaos, validation, document):
        table.finish()
    return workload


def _operations(table: Table) -> Operations:
    operations = Operations(
        table.number("store_weight", low=0.0, high=1e9),
        table.number("recall_weight", low=0.0, high=1e9),
        table.number("embedding_search_weight", low=0.0, high=1e9),
        table.number("pattern_completion_weight", 0.0, low=0.0, high=1e9),
        table.number("delete_weight", 0.0, low=0.0, high=1e9),
    )
    table.finish()
    if sum(dataclasses.astuple(operations)) <= 0:
        raise table.fail("store_weight", "one weight at least must be above zero")
    return operations


def _data(table: Table) -> Data:
    dimensions = table.integer("embedding_dim", 768, low=8, high=8192)
    data = Data(
        num_nodes=table.integer("num_nodes", low=1, high=MOST_NODES),
        embedding_dim=dimensions,
        memory_spaces=table.integer("memory_spaces", 1, low=1, high=1000),
        distribution=_distribution(table.table("embedding_distribution", required=False), dimensions),
    )
    table.finish()
    return data


def _distribution(table: Table, dimensions: int) -> Distribution:
    kind = table.text("type", "clustered", choices=("clustered", "uniform", "hot_spot"))
    distribution: Distribution
    if kind == "clustered":
        distribution = Clustered(
            table.integer("num_clusters", 10, low=1, high=1_000_000),
            table.number("std_dev", 0.1, low=0.0, high=10.0),
        )
    elif kind == "uniform":
        distribution = Uniform()
    else:
        distribution = HotSpot(table.numbers("center"))
        if len(distribution.center) > dimensions or not any(distribution.center):
            raise table.fail("center", f"must have 1 to {dimensions} numbers, not all zero")
    table.finish()
    return distribution


def _extension(table: Table) -> dict[str, Any]:
    cues = table.table("cues", required=False)
    standard = Cues() if "cues" not in table else Cues(0.0, 0.0, 0.0, 0.0)
    weights = Cues(
        cues.number("text", standard.text, low=0.0, high=1e9),
        cues.number("exact", standard.exact, low=0.0, high=1e9),
        cues.number("partial", standard.partial, low=0.0, high=1e9),
        cues.number("noisy", standard.noisy, low=0.0, high=1e9),
    )
    cues.finish()
    if weights.text + weights.exact + weights.partial + weights.noisy <= 0:
        raise table.fail("cues", "one kind of cue at least must be above zero")
    values = {
        "users": table.integer("users", DEFAULT_USERS, low=1, high=1_000_000),
        "cues": weights,
        "partial_keep": table.number("partial_keep", 0.6, low=0.01, high=1.0),
        "noise": table.number("noise", 0.5, low=0.0, high=10.0),
        "request_timeout_ms": table.number("request_timeout_ms", DEFAULT_REQUEST_TIMEOUT_MS, low=1.0, high=600_000.0),
        "slots": table.integer("slots", None, low=1, high=20_000),
        "max_results": table.integer("max_results", 10, low=1, high=1000),
    }
    table.finish()
    return values
