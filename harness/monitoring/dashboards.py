"""Dashboards for Grafana, built with its own SDK from :mod:`harness.monitoring.boards`."""

from __future__ import annotations

import json
from typing import Any

from harness.monitoring.boards import boards
from harness.monitoring.panels import Board, Panel, Query
from harness.monitoring.windows import scaled
from harness.scenario.monitoring import MonitoringSpec

DATASOURCE_UID = "engram-prometheus"
ANNOTATION_TAG = "engram-harness"
_HEIGHT = 8
_STAT_HEIGHT = 4


def dashboards(spec: MonitoringSpec, *, time_scale: float = 1.0) -> dict[str, dict[str, Any]]:
    """Every dashboard's model by its uid, as Grafana reads it."""
    return {board.uid: _model(board, time_scale) for board in boards(spec)}


def dashboard_queries(spec: MonitoringSpec, *, time_scale: float = 1.0) -> dict[str, list[tuple[str, str]]]:
    """By dashboard uid: the title of a panel and an expression of it, for every expression."""
    return {
        board.uid: [
            (panel.title, scaled(query.expr, time_scale)) for panel in board.panels() for query in panel.queries
        ]
        for board in boards(spec)
    }


def _model(board: Board, time_scale: float) -> dict[str, Any]:
    # The SDK is wanted only where dashboards are made.
    from grafana_foundation_sdk.builders import dashboard as build
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef

    drills = (
        build.AnnotationQuery()
        .name("Drills")
        .datasource(DataSourceRef(type_val="grafana", uid="-- Grafana --"))
        .enable(True)
        .icon_color("purple")
        .target(build.AnnotationTarget().type("tags").tags([ANNOTATION_TAG]).limit(100).match_any(True))
    )
    made = (
        build.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["engram", "dual-memory", "generated"])
        .refresh(board.refresh)
        .time("now-1h", "now")
        .timezone("browser")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .annotation(drills)
    )
    number = 0
    for title, panels in board.rows:
        made = made.with_row(build.Row(title))
        for panel in panels:
            number += 1
            made = made.with_panel(_panel(panel, number, time_scale))
    found: dict[str, Any] = json.loads(JSONEncoder().encode(made.build()))
    return found


def _panel(panel: Panel, number: int, time_scale: float) -> Any:
    from grafana_foundation_sdk.builders import common, stat, timeseries
    from grafana_foundation_sdk.models.common import (
        BigValueColorMode,
        GraphTresholdsStyleMode,
        LegendDisplayMode,
        LegendPlacement,
    )
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    made: Any
    if panel.stat:
        reduce = common.ReduceDataOptions().calcs(["lastNotNull"])
        made = stat.Panel().height(_STAT_HEIGHT).color_mode(BigValueColorMode.VALUE).reduce_options(reduce)
    else:
        legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        made = timeseries.Panel().height(_HEIGHT).legend(legend.show_legend(True)).min(0)
    made = (
        made.id(number)
        .title(panel.title)
        .description(panel.about)
        .span(panel.width)
        .unit(panel.unit)
        .no_value("no data")
        .datasource(DataSourceRef(type_val="prometheus", uid=DATASOURCE_UID))
    )
    if panel.limit is not None:
        made = made.thresholds(_steps(panel.limit, below=panel.below))
        if not panel.stat:
            style = common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.LINE)
            made = made.thresholds_style(style)
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        made = made.with_target(_query(query, letter, time_scale))
    return made


def _steps(limit: float, *, below: bool) -> Any:
    from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
    from grafana_foundation_sdk.models.dashboard import Threshold, ThresholdsMode

    good, bad = "green", "red"
    steps = [Threshold(None, bad if below else good), Threshold(limit, good if below else bad)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _query(query: Query, letter: str, time_scale: float) -> Any:
    from grafana_foundation_sdk.builders.prometheus import Dataquery
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    source = DataSourceRef(type_val="prometheus", uid=DATASOURCE_UID)
    made = Dataquery().expr(scaled(query.expr, time_scale)).legend_format(query.legend).ref_id(letter)
    return made.range().datasource(source)
