"""What holds a set of manifests together, and no schema says: names that must exist, labels that must match, weights.

Istio's schemas are not in the package registries, so its two resources are checked here by their structure alone, as
its documentation of VirtualService and DestinationRule describes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_WORKLOADS = ("Deployment", "StatefulSet")
_ISTIO = {
    "VirtualService": {"hosts", "gateways", "http", "tls", "tcp", "exportTo"},
    "DestinationRule": {"host", "trafficPolicy", "subsets", "exportTo", "workloadSelector"},
}


def structure_problems(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """What contradicts itself in ``documents``, one line each; the schemas are another matter."""
    found = list(documents)
    named = {(doc["kind"], doc["metadata"]["name"]): doc for doc in found}
    problems = [f"{kind}/{name}: is there twice" for kind, name in _twice(found)]
    pods = {name: doc["spec"]["template"] for (kind, name), doc in named.items() if kind in _WORKLOADS}
    for (kind, name), doc in named.items():
        where, spec = f"{kind}/{name}", doc.get("spec", {})
        if kind in _WORKLOADS:
            problems += [f"{where}: {problem}" for problem in _workload(spec, named)]
        elif kind == "Service" and not any(_selects(spec["selector"], pod) for pod in pods.values()):
            problems.append(f"{where}: selects no pod of these manifests")
        elif kind in _ISTIO:
            problems += [f"{where}: spec.{key}: unknown field" for key in sorted(spec.keys() - _ISTIO[kind])]
    return problems + _mesh(named, list(pods.values()))


def _twice(documents: list[Mapping[str, Any]]) -> set[tuple[str, str]]:
    names = [(doc["kind"], doc["metadata"]["name"]) for doc in documents]
    return {name for name in names if names.count(name) > 1}


def _workload(spec: Mapping[str, Any], named: Mapping[tuple[str, str], Any]) -> Iterable[str]:
    template = spec["template"]
    if not _selects(spec["selector"]["matchLabels"], template):
        yield "its selector does not match its own pods"
    volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", ())}
    claimed = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", ())}
    for container in template["spec"]["containers"]:
        for mount in container.get("volumeMounts", ()):
            if mount["name"] not in volumes.keys() | claimed:
                yield f"{container['name']} mounts '{mount['name']}', which is no volume"
        ports = {port.get("name") for port in container.get("ports", ())}
        for probe in ("readinessProbe", "livenessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if isinstance(port, str) and port not in ports:
                yield f"{probe} asks port '{port}', which is not declared"
    for volume in volumes.values():
        name = volume.get("configMap", {}).get("name")
        if name is not None and ("ConfigMap", name) not in named:
            yield f"there is no ConfigMap '{name}'"


def _mesh(named: Mapping[tuple[str, str], Any], pods: list[Mapping[str, Any]]) -> list[str]:
    problems: list[str] = []
    subsets: dict[str, set[str]] = {}
    for (kind, name), doc in named.items():
        if kind == "DestinationRule":
            spec = doc["spec"]
            subsets[spec["host"]] = {subset["name"] for subset in spec["subsets"]}
            for subset in spec["subsets"]:
                if not any(_selects(subset["labels"], pod) for pod in pods):
                    problems.append(f"{kind}/{name}: subset '{subset['name']}' matches no pod")
    for (kind, name), doc in named.items():
        if kind != "VirtualService":
            continue
        for route in doc["spec"]["http"]:
            weights = [one.get("weight") for one in route["route"]]
            if not all(isinstance(w, int) and not isinstance(w, bool) and 0 <= w <= 100 for w in weights):
                problems.append(f"{kind}/{name}: weights {weights} are not whole percents")
            elif sum(weights) != 100:
                problems.append(f"{kind}/{name}: weights {weights} do not add up to 100")
            for one in route["route"]:
                host, subset = one["destination"]["host"], one["destination"]["subset"]
                if ("Service", host) not in named:
                    problems.append(f"{kind}/{name}: there is no Service '{host}'")
                if subset not in subsets.get(host, set()):
                    problems.append(f"{kind}/{name}: no DestinationRule has subset '{subset}' of '{host}'")
    return problems


def _selects(selector: Mapping[str, str], template: Mapping[str, Any]) -> bool:
    labels = template["metadata"].get("labels", {})
    return all(labels.get(key) == value for key, value in selector.items())
