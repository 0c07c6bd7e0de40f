"""Marks on Grafana: baseline, fault, recovery of a drill. They decide nothing, so failing to set one costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.errors import TargetError, UsageError
from harness.monitoring.dashboards import ANNOTATION_TAG
from harness.monitoring.grafana import GrafanaClient

_TIMEOUT_S = 2.0
# Events of a case that are marked, and what is written.
MARKED = {
    "baseline_started": "baseline",
    "inject_acked": "fault in force",
    "rollback_acked": "rolled back",
    "heal_acked": "healed",
    "after_started": "recovery watched",
    "run_ended": "ended",
    "aborted": "aborted",
}


class Annotator:
    """Marks the events of one case. After the first failure it says so once and is silent: a drill must not wait."""

    def __init__(self, url: str | None, case: str, fault: str, warn: Callable[..., Any]) -> None:
        self._case = case
        self._fault = fault
        self._warn = warn
        self._url = url
        self._client: GrafanaClient | None = None

    def mark(self, event: str) -> None:
        """Mark ``event`` where it is one of :data:`MARKED`; never raises for a Grafana that fails."""
        words = MARKED.get(event)
        if words is None or self._url is None:
            return
        try:
            if self._client is None:
                self._client = GrafanaClient.from_environment(self._url, timeout_s=_TIMEOUT_S)
            tags = [ANNOTATION_TAG, self._case, words.replace(" ", "-")]
            self._client.annotate(f"{self._case}: {words} ({self._fault})", tags)
        except (TargetError, UsageError) as error:
            self._url = None
            self._warn("annotation_failed", reason=str(error))

    def close(self) -> None:
        """Close the connection; idempotent."""
        if self._client is not None:
            self._client.close()
            self._client = None
