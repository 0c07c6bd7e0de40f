"""The HTTP API of Prometheus, bounded in size and time; redirects are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

import orjson

from harness.engram.transport import Answer, Service, SignedClient
from harness.errors import TargetAnswerInvalid, TargetRefused, UsageError
from harness.prometheus.answers import (
    Alert,
    Result,
    RuleGroup,
    ScrapeTarget,
    read_alerts,
    read_groups,
    read_result,
    read_targets,
)

TOKEN_VARIABLE = "ENGRAM_PROMETHEUS_TOKEN"
BASIC_VARIABLE = "ENGRAM_PROMETHEUS_BASIC"
SERVICE = Service("Prometheus", f"${TOKEN_VARIABLE} or ${BASIC_VARIABLE}", "a bearer token, or user:password,")
_LONG_EXPR = 1500

Shape = TypeVar("Shape")


class PrometheusClient(SignedClient):
    """Speaks to one Prometheus. Threads may share one.

    ``bearer`` is a token, ``basic`` a pair of user and password. Every call raises
    :class:`~harness.errors.TargetUnreachable` (no answer), :class:`~harness.errors.TargetRefused` (401, a redirect, an
    error status, a query Prometheus cannot run) or :class:`~harness.errors.TargetAnswerInvalid` (HTML, or not the
    documented shape), each naming the URL; all of them are unusable environment, exit code 3.
    """

    service = SERVICE
    token_variable, basic_variable = TOKEN_VARIABLE, BASIC_VARIABLE
    max_answer_bytes = 64 * 1024 * 1024

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = 10.0,
        bearer: str | None = None,
        basic: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(base_url, timeout_s=timeout_s, bearer=bearer, basic=basic)
        self._known = False

    def ready(self) -> bool:
        """Whether it serves queries (``/-/ready``); False while it starts (503).

        What answers must be a Prometheus: its ``buildinfo`` is read once, so that a page with status 200 is refused.
        """
        answer = self._transport.exchange("GET", "/-/ready")
        if answer.status == 503:
            return False
        if answer.status != 200:
            raise answer.refused()
        if not self._known:
            self.version()
            self._known = True
        return True

    def healthy(self) -> bool:
        """Whether it says it is healthy (``/-/healthy`` answers 200). Its words differ by version and are not read."""
        return self._transport.exchange("GET", "/-/healthy").status == 200

    def version(self) -> str:
        """Its version."""
        return self._get("/api/v1/status/buildinfo", {}, lambda data, _: str(data["version"]))

    def query(self, expr: str, at: float | None = None) -> Result:
        """The value of an expression at one instant (seconds since the epoch; now where None)."""
        params = {"query": expr} | ({} if at is None else {"time": f"{at:.3f}"})
        return self._get("/api/v1/query", params, lambda data, answer: read_result(expr, data, answer.get("warnings")))

    def query_range(self, expr: str, start: float, end: float, step_s: float) -> Result:
        """An expression from ``start`` to ``end`` (both included) in steps of ``step_s`` seconds."""
        if not (step_s > 0 and end >= start):
            raise UsageError(f"no range: {start:g} to {end:g} in steps of {step_s:g} s", where=self.base_url)
        params = {"query": expr, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step_s:.3f}"}
        return self._get(
            "/api/v1/query_range", params, lambda data, answer: read_result(expr, data, answer.get("warnings"))
        )

    def now(self) -> float:
        """The present by its own clock, seconds since the epoch."""
        found = self.query("time()").value()
        if found is None:
            raise TargetAnswerInvalid("time() has no value", where=self.base_url)
        return found

    def rules(self) -> tuple[RuleGroup, ...]:
        """Every group of rules with its rules, their health and alerts."""
        return self._get("/api/v1/rules", {}, lambda data, _: read_groups(data))

    def alerts(self) -> tuple[Alert, ...]:
        """The alerts that are pending or firing now."""
        return self._get("/api/v1/alerts", {}, lambda data, _: read_alerts(data))

    def targets(self) -> tuple[ScrapeTarget, ...]:
        """What it scrapes."""
        return self._get("/api/v1/targets", {"state": "active"}, lambda data, _: read_targets(data))

    def metric_names(self, start: float, end: float, match: str = "") -> frozenset[str]:
        """The names of the metrics it has samples of between two instants, of the series that ``match`` where given.

        Prometheus looks at whole blocks of storage: a name that ended shortly before ``start`` may be among them.
        """
        params = {"start": f"{start:.3f}", "end": f"{end:.3f}"} | ({"match[]": match} if match else {})
        return self._get("/api/v1/label/__name__/values", params, lambda data, _: frozenset(str(name) for name in data))

    def metadata(self) -> dict[str, str]:
        """The type of every metric family it scrapes now, by name."""
        return self._get(
            "/api/v1/metadata",
            {},
            lambda data, _: {str(name): str(entries[0]["type"]) for name, entries in data.items() if entries},
        )

    def series(self, match: str, start: float, end: float) -> tuple[Mapping[str, str], ...]:
        """The label sets that match between two instants."""
        params = {"match[]": match, "start": f"{start:.3f}", "end": f"{end:.3f}"}
        return self._get("/api/v1/series", params, lambda data, _: tuple(dict(item) for item in data))

    def _get(self, path: str, params: Mapping[str, str], read: Callable[[Any, Mapping[str, Any]], Shape]) -> Shape:
        if sum(map(len, params.values())) > _LONG_EXPR:  # longer than a proxy's request line may be
            body = urlencode(params).encode("ascii")
            headers = {"content-type": "application/x-www-form-urlencoded"}
            answer = self._transport.exchange("POST", path, body=body, headers=headers)
        else:
            answer = self._transport.exchange("GET", path, params=params)
        found = _success(answer, params.get("query", ""))
        try:
            return read(found["data"], found)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise answer.invalid(f"not the shape Prometheus answers with ({error})") from error


def _success(answer: Answer, expr: str) -> dict[str, Any]:
    if answer.status != 200:
        raise _refused(answer, expr)
    found = answer.object()
    if found.get("status") != "success":
        raise (
            _refused(answer, expr) if found.get("status") == "error" else answer.invalid("not an answer of Prometheus")
        )
    return found


def _refused(answer: Answer, expr: str) -> TargetRefused:
    """Prometheus says why in JSON; anything else is told as it came."""
    if answer.status not in (401, 403) and answer.is_json:
        try:
            found = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            return answer.refused()
        if isinstance(found, dict) and isinstance(found.get("error"), str):
            what = f"{found.get('errorType', 'error')}: {found['error'][:300]}"
            return TargetRefused(what, where=answer.url, hint=f"the query was {expr[:300]}" if expr else "")
    return answer.refused()
