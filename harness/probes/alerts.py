"""What alerts, asked of Prometheus a few times a second."""

from __future__ import annotations

from pathlib import Path

from harness.clock import Clock
from harness.errors import TargetError
from harness.probes.poller import Poller, Reading
from harness.prometheus import PrometheusClient

STREAM = "alerts"
_INTERVAL_S = 0.25
_RANK = {"pending": 1, "firing": 2}


def alert_states(client: PrometheusClient) -> dict[str, str]:
    """Every alert that is pending or firing; the worse of the two where it is both for several series."""
    found: dict[str, str] = {}
    for alert in client.alerts():
        if _RANK.get(alert.state, 0) > _RANK.get(found.get(alert.name, ""), 0):
            found[alert.name] = alert.state
    return found


class AlertProbe(Poller):
    """Records ``{"states": {alert: "pending" | "firing"}}``; what is not named is inactive."""

    def __init__(self, url: str, folder: Path, clock: Clock) -> None:
        self._client = PrometheusClient.from_environment(url, timeout_s=5.0)
        self._states: dict[str, str] | None = None
        super().__init__(STREAM, self._ask, folder, _INTERVAL_S, clock)

    def state(self, name: str) -> str | None:
        """What the last reading said of one alert (``inactive`` where it did not name it); None without an answer."""
        states = self._states
        return None if states is None else states.get(name, "inactive")

    def _ask(self) -> Reading:
        try:
            self._states = alert_states(self._client)
        except TargetError:
            self._states = None
            raise
        return {"states": self._states}

    def stop(self) -> None:
        super().stop()
        self._client.close()
