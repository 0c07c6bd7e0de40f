"""Everything Prometheus and Grafana are started with, written into a folder.

``prometheus/`` holds ``prometheus.yml`` and ``rules/``; ``grafana/`` holds ``provisioning/`` (mount it at
``/etc/grafana/provisioning``) and ``dashboards/`` (mount it where ``dashboards_path`` says). Paths inside
``prometheus.yml`` are relative to it, so the folder may be mounted anywhere.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import yaml

from harness.errors import EnvironmentUnusable, UsageError
from harness.monitoring.dashboards import DATASOURCE_UID, dashboards
from harness.monitoring.rules import rule_document
from harness.monitoring.windows import duration
from harness.scenario.monitoring import MonitoringSpec, load_monitoring
from harness.scenario.slo import load_objectives

_HEADER = "# Generated from scenarios/monitoring.toml by harness/monitoring; after a change there: make monitoring.\n"


def load_spec(scenarios: Path) -> MonitoringSpec:
    """The monitoring file of a ``scenarios/`` directory. Raises :class:`~harness.errors.ConfigError`."""
    return load_monitoring(scenarios / "monitoring.toml", load_objectives(scenarios / "slo.toml"))


def write_assets(
    folder: Path,
    spec: MonitoringSpec,
    *,
    engram: str,
    time_scale: float = 1.0,
    prometheus_url: str = "http://prometheus:9090",
    dashboards_path: str = "/var/lib/grafana/dashboards",
    scheme: str = "http",
    api_key_file: str | None = None,
    phase0_bytes: float | None = None,
) -> Path:
    """Write all assets below ``folder`` and answer it; what was there of them is replaced.

    ``engram`` is ``host:port`` as Prometheus reaches it, ``prometheus_url`` is where Grafana reaches Prometheus.
    ``time_scale`` divides scrape interval, evaluation interval and every window alike. ``api_key_file`` is the file, as
    Prometheus sees it, that holds Engram's bearer key. ``phase0_bytes``: resident memory of the phase 0 baseline.

    Raises :class:`UsageError` for a time scale below 1 or an ``engram`` that is no ``host:port``, and
    :class:`EnvironmentUnusable` where the folder cannot be written.
    """
    if not (math.isfinite(time_scale) and time_scale >= 1.0):
        raise UsageError(f"a time scale of {time_scale} is not 1 or more", where="monitoring assets")
    if "/" in engram or ":" not in engram:
        raise UsageError(f"{engram!r} is not host:port", where="monitoring assets", hint="without http://")
    scrape = prometheus_config(spec, engram, time_scale=time_scale, scheme=scheme, api_key_file=api_key_file)
    rules = rule_document(spec, time_scale=time_scale, phase0_bytes=phase0_bytes)
    files = {
        "prometheus/prometheus.yml": as_yaml(scrape),
        "prometheus/rules/dual_memory.yml": as_yaml(rules),
        "grafana/provisioning/datasources/prometheus.yml": as_yaml(_datasource(spec, prometheus_url, time_scale)),
        "grafana/provisioning/dashboards/engram.yml": as_yaml(_provider(dashboards_path)),
    }
    for uid, model in dashboards(spec, time_scale=time_scale).items():
        files[f"grafana/dashboards/{uid}.json"] = as_json(model)
    _write(folder, files)
    return folder


def prometheus_config(
    spec: MonitoringSpec,
    engram: str,
    *,
    time_scale: float = 1.0,
    scheme: str = "http",
    api_key_file: str | None = None,
) -> dict[str, Any]:
    """``prometheus.yml`` as a document."""
    interval = duration(spec.scrape.interval_s / time_scale)
    job: dict[str, Any] = {
        "job_name": spec.scrape.job,
        "metrics_path": "/metrics",
        "scheme": scheme,
        "static_configs": [{"targets": [engram]}],
    }
    if api_key_file is not None:
        job["authorization"] = {"type": "Bearer", "credentials_file": api_key_file}
    return {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": duration(min(10.0, spec.scrape.interval_s / time_scale)),
            "evaluation_interval": duration(spec.scrape.evaluation_s / time_scale),
        },
        "rule_files": ["rules/*.yml"],
        "scrape_configs": [job],
    }


def lookback_s(time_scale: float) -> float:
    """What ``--query.lookback-delta`` is to be: its default of 5 minutes, divided by the time scale."""
    return 300.0 / time_scale


def _datasource(spec: MonitoringSpec, url: str, time_scale: float) -> dict[str, Any]:
    interval = duration(spec.scrape.interval_s / time_scale)
    source = {
        "name": "Prometheus",
        "uid": DATASOURCE_UID,
        "type": "prometheus",
        "access": "proxy",
        "url": url,
        "isDefault": True,
        "editable": False,
        "jsonData": {"timeInterval": interval, "httpMethod": "POST"},
    }
    return {"apiVersion": 1, "datasources": [source]}


def _provider(path: str) -> dict[str, Any]:
    provider = {
        "name": "engram",
        "type": "file",
        "folder": "Engram",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "options": {"path": path},
    }
    return {"apiVersion": 1, "providers": [provider]}


class _Dumper(yaml.SafeDumper):
    """Long expressions as blocks, as people write them."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(document: Any) -> str:
    """YAML with a word on where it comes from."""
    return _HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def as_json(document: Any) -> str:
    """JSON as it is checked in: the same bytes for the same document."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _write(folder: Path, files: dict[str, str]) -> None:
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnvironmentUnusable(
            f"cannot write the monitoring assets: {error.strerror}", where=str(error.filename or folder)
        ) from error
