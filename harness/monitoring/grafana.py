"""The part of Grafana's HTTP API that monitoring needs: health, dashboards, its way to Prometheus, annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from harness.engram.transport import Answer, Service, SignedClient
from harness.errors import TargetRefused
from harness.prometheus import PrometheusClient

TOKEN_VARIABLE = "ENGRAM_GRAFANA_TOKEN"
BASIC_VARIABLE = "ENGRAM_GRAFANA_BASIC"
SERVICE = Service("Grafana", f"${TOKEN_VARIABLE} or ${BASIC_VARIABLE}", "a service account token, or user:password,")


@dataclass(frozen=True)
class Dashboard:
    """One dashboard as it is installed; ``queries`` are pairs of panel title and expression."""

    uid: str
    title: str
    refresh: str
    queries: tuple[tuple[str, str], ...]


class GrafanaClient(SignedClient):
    """Speaks to one Grafana. Raises as :class:`~harness.prometheus.PrometheusClient` does, naming the URL."""

    service = SERVICE
    token_variable, basic_variable = TOKEN_VARIABLE, BASIC_VARIABLE
    max_answer_bytes = 16 * 1024 * 1024

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = 10.0,
        bearer: str | None = None,
        basic: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(base_url, timeout_s=timeout_s, bearer=bearer, basic=basic)
        self._how: dict[str, Any] = {"timeout_s": timeout_s, "bearer": bearer, "basic": basic}

    def health(self) -> str:
        """What it says of its database: ``ok`` where all is well."""
        answer = self._transport.exchange("GET", "/api/health")
        if answer.status not in (200, 503):
            raise answer.refused()
        found = answer.object()
        if not isinstance(found.get("database"), str):
            raise answer.invalid("not an answer of Grafana")
        return str(found["database"])

    def dashboard(self, uid: str) -> Dashboard | None:
        """The dashboard of that uid, or None where there is none."""
        answer = self._transport.exchange("GET", f"/api/dashboards/uid/{quote(uid, safe='')}")
        if answer.status == 404:
            return None
        found = _ok(answer).object()
        model = found.get("dashboard")
        if not isinstance(model, dict):
            raise answer.invalid("no dashboard in the answer")
        return Dashboard(
            str(model.get("uid", "")), str(model.get("title", "")), str(model.get("refresh", "")), _queries(model)
        )

    def uids_of(self, title: str) -> tuple[str, ...]:
        """The uids of the dashboards of exactly that title."""
        answer = _ok(self._transport.exchange("GET", "/api/search", params={"query": title, "type": "dash-db"}))
        try:
            found = orjson.loads(answer.body)
            return tuple(str(item["uid"]) for item in found if item["title"] == title)
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise answer.invalid(f"not a list of dashboards ({error})") from error

    def datasource(self, uid: str) -> PrometheusClient:
        """Prometheus, asked through Grafana's datasource of that uid, as its panels ask; the caller closes it."""
        return PrometheusClient(f"{self.base_url}/api/datasources/proxy/uid/{quote(uid, safe='')}", **self._how)

    def annotate(self, text: str, tags: Sequence[str], *, time_ms: int | None = None) -> int:
        """Mark a moment (epoch milliseconds; now where None) on every dashboard that shows ``tags``; answers its id."""
        body: dict[str, Any] = {"text": text, "tags": list(tags)} | ({} if time_ms is None else {"time": time_ms})
        headers = {"content-type": "application/json"}
        answer = _ok(self._transport.exchange("POST", "/api/annotations", body=orjson.dumps(body), headers=headers))
        number = answer.object().get("id")
        if not isinstance(number, int):
            raise answer.invalid("no id of an annotation")
        return number


def _ok(answer: Answer) -> Answer:
    if answer.status == 412:
        raise TargetRefused("a dashboard changed meanwhile (412)", where=answer.url)
    if answer.status != 200:
        raise answer.refused()
    return answer


def _queries(model: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Every expression of every panel, of panels inside collapsed rows too."""
    found: list[tuple[str, str]] = []
    waiting = list(model.get("panels") or [])
    while waiting:
        panel = waiting.pop(0)
        if not isinstance(panel, dict):
            continue
        waiting += panel.get("panels") or []
        for target in panel.get("targets") or []:
            if isinstance(target, dict) and target.get("expr"):
                found.append((str(panel.get("title", "")), str(target["expr"])))
    return tuple(found)
