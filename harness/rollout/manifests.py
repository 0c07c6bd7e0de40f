"""Kubernetes manifests of a plan's phase: stable and canary, services, traffic, and a configuration for each.

One thing decides who is served by blended recall, never two: with ``split="traffic"`` the mesh's weights, and whoever
reaches the canary is served by it; with ``split="service"`` everybody reaches the dual-memory build, whose
``cohort_sampling_rate`` draws the cohort. Both at once would multiply (5 % of 5 %).

Flags stand in engram.toml and not in the environment: an environment variable overrules the flag API at every
restart, and would undo a rollback by flags.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import UsageError
from harness.scenario.rollout import Phase, Plan

APP = "engram"
STABLE, CANARY = "stable", "canary"
PORT = 7432
SPLITS = ("traffic", "service")
WORKLOADS = ("deployment", "statefulset")
_CONFIG_DIR = "/config"
_DATA_DIR = "/data"
# Rollout runbook 2.2 and 5.1: 3 stable and 1 canary, 0 and 4 at the end; pre-deployment checklist: 64 GB and 16 CPU
# over 4 nodes, 20Gi of volume per instance.
_REQUESTS = {"cpu": "2", "memory": "8Gi"}
_LIMITS = {"memory": "16Gi"}
_VOLUME = "20Gi"


@dataclass(frozen=True)
class Options:
    """What a plan does not say: names, images, and how the canary is drawn."""

    namespace: str = "engram"
    replicas: int = 4
    image_stable: str = "engram:milestone-17-shadow"
    image_canary: str = "engram:milestone-17-canary"
    split: str = ""  # as the plan's cohort says
    workload: str = "deployment"

    def __post_init__(self) -> None:
        if not 2 <= self.replicas <= 1000:
            raise UsageError(f"--replicas {self.replicas} is not a number from 2 to 1000")
        if self.split not in ("", *SPLITS):
            raise UsageError(f"--split {self.split!r} is not known", hint=" or ".join(SPLITS))
        if self.workload not in WORKLOADS:
            raise UsageError(f"--workload {self.workload!r} is not known", hint=" or ".join(WORKLOADS))


def manifests(plan: Plan, phase: Phase, options: Options | None = None) -> dict[str, list[dict[str, Any]]]:
    """The documents of ``phase`` by file name, in the order they are applied.

    Raises :class:`UsageError` for a plan whose cohort is drawn per space, which no mesh can do.
    """
    chosen = options or Options()
    method = str(plan.cohort.get("method", ""))
    if not chosen.split:
        chosen = replace(chosen, split="traffic" if method.startswith("traffic") else "service")
    if method == "per_space" and chosen.split == "traffic" and 0 < phase.cohort_rate < 1:
        raise UsageError(
            f"plan '{plan.name}' draws its cohort per memory space, which traffic weights cannot do",
            where=plan.file,
            hint="--split service",
        )
    share = round(phase.cohort_rate * 100)
    if chosen.split == "traffic" and not math.isclose(share, phase.cohort_rate * 100, abs_tol=1e-9):
        raise UsageError(f"weights are whole percents, and {phase.cohort_rate:%} is none", hint="--split service")
    weight = share if chosen.split == "traffic" else 100 * (phase.cohort_rate > 0)
    counts = replicas_of(weight, chosen.replicas)
    images = {STABLE: chosen.image_stable, CANARY: chosen.image_canary}
    configs = {STABLE: stable_toml(plan, phase), CANARY: canary_toml(plan, phase, chosen.split)}
    notes = {"engram.dev/plan": plan.name, "engram.dev/phase": phase.name}
    build = _Builder(chosen, notes)
    return {
        "configuration.yaml": [build.config_map(variant, configs[variant]) for variant in (STABLE, CANARY)],
        "workloads.yaml": [
            build.workload(variant, counts[variant], images[variant], configs[variant]) for variant in (STABLE, CANARY)
        ],
        "services.yaml": [build.service(None), build.service(STABLE), build.service(CANARY)],
        "traffic.yaml": [build.destination_rule(), build.virtual_service(100 - weight, weight)],
    }


def replicas_of(weight: int, total: int) -> dict[str, int]:
    """How many replicas serve ``weight`` percent: at least one where there is any traffic."""
    if weight in (0, 100):
        return {STABLE: total if weight == 0 else 0, CANARY: 0 if weight == 0 else total}
    canary = min(total - 1, max(1, round(total * weight / 100)))
    return {STABLE: total - canary, CANARY: canary}


def stable_toml(plan: Plan, phase: Phase) -> str:
    """The control arm: the phase itself while it serves no blended recall, else the last phase that served none."""
    before = [other for other in plan.phases[: plan.phases.index(phase) + 1] if other.cohort_rate == 0]
    chosen = before[-1] if before else phase
    flags = {**chosen.flags, **({} if before else {"blended_recall": False, "fan_effect": False})}
    return _toml(chosen.title, chosen.source, flags, {})


def canary_toml(plan: Plan, phase: Phase, split: str) -> str:
    """The phase's flags and cohort (rollout runbook 2.1)."""
    rate = 1.0 if split == "traffic" and phase.cohort_rate else phase.cohort_rate
    recall: dict[str, float | int] = {
        "cohort_sampling_rate": rate,
        "cohort_seed": int(plan.cohort.get("seed", 42)),
    }
    if phase.semantic_weight is not None:
        recall["base_semantic_weight"] = phase.semantic_weight
        recall["base_episodic_weight"] = round(1 - phase.semantic_weight, 6)
    return _toml(phase.title, phase.source, phase.flags, recall)


def _toml(title: str, source: str, flags: Mapping[str, bool], recall: Mapping[str, float | int]) -> str:
    lines = [f"# {title} ({source.partition(' [')[0]})", "", "[features]"]
    lines += [f"{name} = {'true' if on else 'false'}" for name, on in flags.items()]
    if recall:
        lines += ["", "[blended_recall]", *(f"{name} = {value!r}" for name, value in recall.items())]
    return "\n".join(lines) + "\n"


class _Builder:
    def __init__(self, options: Options, notes: Mapping[str, str]) -> None:
        self._options = options
        self._notes = dict(notes)

    def _metadata(self, name: str, variant: str | None = None) -> dict[str, Any]:
        labels = {"app": APP} | ({"variant": variant} if variant else {})
        annotations = dict(self._notes)
        return {"name": name, "namespace": self._options.namespace, "labels": labels, "annotations": annotations}

    def config_map(self, variant: str, text: str) -> dict[str, Any]:
        metadata = self._metadata(f"{APP}-{variant}-config", variant)
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"engram.toml": text}}

    def workload(self, variant: str, replicas: int, image: str, config: str) -> dict[str, Any]:
        labels = {"app": APP, "variant": variant}
        claim: dict[str, Any] = {
            "metadata": {"labels": dict(labels)},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": _VOLUME}}},
        }
        keeps = self._options.workload == "statefulset"
        # The configuration's digest: a changed ConfigMap alone restarts nobody, and the phase would not begin.
        annotations = {"engram.dev/configuration": _digest(config)}
        pod: dict[str, Any] = {
            "metadata": {"labels": dict(labels), "annotations": annotations},
            "spec": self._pod_spec(variant, image, None if keeps else claim),
        }
        spec: dict[str, Any] = {"replicas": replicas, "selector": {"matchLabels": dict(labels)}, "template": pod}
        spec["revisionHistoryLimit"] = 10  # what `rollout undo` goes back to
        if keeps:
            metadata = {"name": "data", **claim["metadata"]}
            claims = [{"metadata": metadata, "spec": claim["spec"]}]
            spec |= {"serviceName": f"{APP}-{variant}", "volumeClaimTemplates": claims}
        kind = "StatefulSet" if keeps else "Deployment"
        return {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": self._metadata(f"{APP}-{variant}", variant),
            "spec": spec,
        }

    def _pod_spec(self, variant: str, image: str, claim: dict[str, Any] | None) -> dict[str, Any]:
        def probe(path: str, period_s: int) -> dict[str, Any]:
            return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": period_s, "timeoutSeconds": 2}

        container = {
            "name": APP,
            "image": image,
            "ports": [{"name": "http", "containerPort": PORT}],
            "readinessProbe": probe("/health", 5),
            "livenessProbe": probe("/health/alive", 10),
            "resources": {"requests": dict(_REQUESTS), "limits": dict(_LIMITS)},
            "volumeMounts": [
                {"name": "config", "mountPath": _CONFIG_DIR, "readOnly": True},
                {"name": "data", "mountPath": _DATA_DIR},
            ],
        }
        volumes: list[dict[str, Any]] = [{"name": "config", "configMap": {"name": f"{APP}-{variant}-config"}}]
        if claim is not None:
            volumes.append({"name": "data", "ephemeral": {"volumeClaimTemplate": claim}})
        return {"terminationGracePeriodSeconds": 30, "containers": [container], "volumes": volumes}

    def service(self, variant: str | None) -> dict[str, Any]:
        selector = {"app": APP} | ({"variant": variant} if variant else {})
        name = f"{APP}-{variant}" if variant else APP
        ports = [{"name": "http", "port": PORT, "targetPort": "http"}]
        spec = {"selector": selector, "ports": ports}
        return {"apiVersion": "v1", "kind": "Service", "metadata": self._metadata(name, variant), "spec": spec}

    def destination_rule(self) -> dict[str, Any]:
        subsets = [{"name": variant, "labels": {"variant": variant}} for variant in (STABLE, CANARY)]
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": self._metadata(APP),
            "spec": {"host": APP, "subsets": subsets},
        }

    def virtual_service(self, stable: int, canary: int) -> dict[str, Any]:
        routes = [
            {"destination": {"host": APP, "subset": subset, "port": {"number": PORT}}, "weight": weight}
            for subset, weight in ((STABLE, stable), (CANARY, canary))
        ]
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": self._metadata(APP),
            "spec": {"hosts": [APP], "http": [{"name": "primary", "route": routes}]},
        }


def _digest(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()[:16]
