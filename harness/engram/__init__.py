"""The HTTP client of Engram: every wrong answer becomes one clear error, and capabilities are probed, not assumed."""

from __future__ import annotations

from harness.engram.answers import (
    ActiveFault,
    BindingPage,
    ChaosListing,
    ConsolidationStats,
    Recalled,
    RecallMetadata,
)
from harness.engram.capabilities import Capabilities, probe_capabilities
from harness.engram.client import EngramClient
from harness.engram.metrics import MetricsSnapshot, parse_prometheus
from harness.engram.transport import Answer, Secret, secret_from_environment

__all__ = [
    "ActiveFault",
    "Answer",
    "BindingPage",
    "Capabilities",
    "ChaosListing",
    "ConsolidationStats",
    "EngramClient",
    "MetricsSnapshot",
    "RecallMetadata",
    "Recalled",
    "Secret",
    "parse_prometheus",
    "probe_capabilities",
    "secret_from_environment",
]
