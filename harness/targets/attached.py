"""A target somebody else started: spoken to, never started or stopped."""

from __future__ import annotations

from typing import Any

from harness.engram import Capabilities, EngramClient, probe_capabilities
from harness.engram.transport import check_base_url
from harness.errors import TargetAnswerInvalid, TargetError, TargetRefused, TargetUnreachable
from harness.targets.base import Target


class AttachedTarget(Target):
    """The Engram at ``url``; it is ours to harm only where ``claimed``."""

    name = "attached"

    def __init__(
        self, url: str, *, claimed: bool = False, prometheus_url: str | None = None, grafana_url: str | None = None
    ) -> None:
        self._url = check_base_url(url)
        self._prometheus_url = prometheus_url
        self._grafana_url = grafana_url
        self.owned = claimed
        self._capabilities: Capabilities | None = None
        self._version = "unknown"

    @property
    def base_url(self) -> str:
        return self._url

    @property
    def prometheus_url(self) -> str | None:
        return self._prometheus_url

    @property
    def grafana_url(self) -> str | None:
        return self._grafana_url

    @property
    def capabilities(self) -> Capabilities:
        if self._capabilities is None:
            with self.client() as client:
                self._capabilities = probe_capabilities(client)
        return self._capabilities

    def start(self) -> None:
        """See that a healthy Engram is there; changes nothing."""
        with self.client() as client:
            if not client.health():
                raise TargetError("says it is unhealthy (503)", where=f"{self._url}/health", hint="bring it up first")
            self._capabilities = probe_capabilities(client)
            if "memory" not in self._capabilities:
                raise TargetAnswerInvalid(
                    f"does not recall memories: {self._capabilities.reasons['memory']}",
                    where=self._url,
                    hint="is it an Engram?",
                )
            try:
                self._version = str(client.system_info().get("version", "unknown"))
            except (TargetRefused, TargetAnswerInvalid, TargetUnreachable):
                self._version = "unknown"  # the public build has no such route

    def stop(self) -> None:
        """Nothing was started."""

    def client(self, timeout_s: float = 5.0) -> EngramClient:
        return EngramClient(self._url, timeout_s=timeout_s)

    def describe(self) -> dict[str, Any]:
        return {
            "target": self.name,
            "base_url": self._url,
            "prometheus_url": self._prometheus_url,
            "grafana_url": self._grafana_url,
            "claimed": self.owned,
            "version": self._version,
        }

    def alive(self) -> bool:
        with self.client(2.0) as client:
            return client.alive()
