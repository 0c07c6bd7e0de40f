"""Whether Grafana works: its health, every dashboard by uid, and every query of every panel on the way it goes."""

from __future__ import annotations

from harness.errors import TargetError
from harness.monitoring.boards import boards
from harness.monitoring.dashboards import DATASOURCE_UID
from harness.monitoring.grafana import Dashboard, GrafanaClient
from harness.monitoring.panels import Board
from harness.monitoring.rules import PHASE0_SERIES
from harness.monitoring.validation import Finding, failed, ok, query_fails, skipped
from harness.prometheus import PrometheusClient
from harness.scenario.monitoring import MonitoringSpec

_SHOWN = 4


def validate_grafana(client: GrafanaClient, spec: MonitoringSpec) -> list[Finding]:
    """Every question to Grafana. Raises what the client raises where it is no Grafana or refuses us."""
    said = client.health()
    if said != "ok":
        return [failed("grafana healthy", f"{client.base_url} says its database is {said!r}")]
    found = [ok("grafana healthy", client.base_url)]
    installed: list[Dashboard] = []
    for board in boards(spec):
        there = client.dashboard(board.uid)
        found.append(_dashboard(client, board, there))
        installed += [there] if there is not None else []
    with client.datasource(DATASOURCE_UID) as prometheus:
        found.append(_queries(prometheus, installed))
    return found


def _dashboard(client: GrafanaClient, board: Board, there: Dashboard | None) -> Finding:
    check = f"dashboard {board.uid}"
    if there is None:
        others = client.uids_of(board.title)
        if others:
            return failed(check, f"{board.title!r} has the wrong uid: {', '.join(others)}")
        return failed(check, f"there is no dashboard {board.title!r}")
    if there.title != board.title:
        return failed(check, f"is called {there.title!r}, not {board.title!r}")
    wanted = {panel.title for panel in board.panels()}
    missing = sorted(wanted - {title for title, _ in there.queries})
    if missing:
        return failed(check, f"lacks the panels {', '.join(missing[:_SHOWN])}")
    if there.refresh != board.refresh:
        return failed(check, f"refreshes every {there.refresh or 'never'}, not {board.refresh}")
    return ok(check, f"{board.title}, {len(there.queries)} queries, refreshed every {there.refresh}")


def _queries(prometheus: PrometheusClient, installed: list[Dashboard]) -> Finding:
    """The expressions as they are installed, through Grafana's own datasource."""
    check = "dashboard queries answer"
    if not installed:
        return skipped(check, "no dashboard is there to ask")
    try:
        phase0 = bool(prometheus.query(PHASE0_SERIES).series)
    except TargetError as error:
        return failed(check, f"datasource {DATASOURCE_UID!r} does not answer: {error}")
    bad, count = [], 0
    for board in installed:
        for title, expr in board.queries:
            if not phase0 and (PHASE0_SERIES in expr or "memory_increase" in expr):
                continue  # Phase0BaselineMissing says so
            count += 1
            why = query_fails(prometheus, expr)
            if why:
                bad.append(f"{board.uid} / {title}: {why} ({' '.join(expr.split())[:120]})")
    if bad:
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        return failed(check, "; ".join(bad[:_SHOWN]) + more)
    return ok(check, f"{count} queries of {len(installed)} dashboards have data")
