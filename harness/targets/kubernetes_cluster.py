"""The cluster behind a place, through the official client: pods, workloads, traffic, tunnels.

Nothing is done to a pod by its name alone: a name may be another pod's by now, so deletions carry the uid as a
precondition, which the API server checks.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3.exceptions
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from kubernetes.stream import portforward

from harness.errors import EnvironmentUnusable, TargetError, TargetRefused, TargetUnreachable
from harness.targets.kubernetes_place import Place

_TIMEOUT = (3.0, 10.0)  # seconds to connect, and between bytes of an answer
_REVISION = "deployment.kubernetes.io/revision"
_HASH = "pod-template-hash"
_REFUSED = object()


@dataclass(frozen=True)
class Pod:
    """One pod, as it was when looked at."""

    name: str
    uid: str
    ready: bool
    ending: bool
    controller: str  # KIND/NAME of what would start it again, empty where nothing would


@dataclass(frozen=True)
class Workload:
    """A Deployment: replicas asked for, updated, ready; and the revision of its template."""

    name: str
    wanted: int
    updated: int
    ready: int
    revision: str

    @property
    def settled(self) -> bool:
        """Whether the rollout is complete."""
        return self.ready == self.updated == self.wanted


class Cluster:
    """The pods of one place. Threads may share it.

    Every call raises :class:`TargetUnreachable` (no answer), :class:`TargetRefused` (401, 403), or
    :class:`TargetError` (anything else the API server refuses). Making one raises :class:`EnvironmentUnusable` where
    kubeconfig is missing, cannot be read or does not know the context.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._api = _api_client(place.context)
        self._core = client.CoreV1Api(self._api)
        self._apps = client.AppsV1Api(self._api)
        self._custom = client.CustomObjectsApi(self._api)

    @property
    def server(self) -> str:
        """The API server the context names."""
        return str(self._api.configuration.host)

    # pods

    def pods(self) -> list[Pod]:
        """The pods that match, by name; those that are ending included."""
        found = self._call(
            lambda: self._core.list_namespaced_pod(
                self.place.namespace, label_selector=self.place.selector, _request_timeout=_TIMEOUT
            ),
            "list pods",
        )
        return sorted((_pod(item) for item in found.items), key=lambda pod: pod.name)

    def pod(self, name: str) -> Pod | None:
        """The pod that has this name now, if any."""
        found = self._call(
            lambda: self._core.read_namespaced_pod(name, self.place.namespace, _request_timeout=_TIMEOUT),
            f"read pod {name}",
            absent=None,
        )
        return None if found is None else _pod(found)

    def delete_pod(self, pod: Pod, *, grace_s: int | None) -> None:
        """Delete this very pod (0: at once, without a word to it). Raises :class:`TargetError` where it is not it."""
        body = client.V1DeleteOptions(
            grace_period_seconds=grace_s, preconditions=client.V1Preconditions(uid=pod.uid), propagation_policy=None
        )
        self._call(
            lambda: self._core.delete_namespaced_pod(
                pod.name, self.place.namespace, body=body, _request_timeout=_TIMEOUT
            ),
            f"delete pod {pod.name}",
        )

    def log(self, pod: Pod, lines: int) -> str:
        """The end of a pod's log."""
        text = self._call(
            lambda: self._core.read_namespaced_pod_log(
                pod.name, self.place.namespace, tail_lines=lines, _request_timeout=_TIMEOUT
            ),
            f"read the log of pod {pod.name}",
        )
        return str(text or "")

    def tunnel(self, pod_name: str) -> socket.socket:
        """A connection to Engram's port in the pod, through the API server (as kubectl port-forward makes)."""
        # The client's stream functions replace a method of the client for the time of the call, hence one of its own.
        core = client.CoreV1Api(client.ApiClient(self._api.configuration))
        forward = self._call(
            lambda: portforward(
                core.connect_get_namespaced_pod_portforward,
                pod_name,
                self.place.namespace,
                ports=str(self.place.port),
            ),
            f"forward port {self.place.port} of pod {pod_name}",
        )
        found: socket.socket = forward.socket(self.place.port)
        return found

    # workloads

    def deployment_of(self, pod: Pod) -> str:
        """The Deployment that keeps this pod. Raises :class:`TargetError` where it is no Deployment's."""
        kind, _, name = pod.controller.partition("/")
        if kind == "ReplicaSet":
            found = self._call(
                lambda: self._apps.read_namespaced_replica_set(name, self.place.namespace, _request_timeout=_TIMEOUT),
                f"read ReplicaSet {name}",
            )
            owner = _controller(found.metadata)
            if owner.startswith("Deployment/"):
                return owner.partition("/")[2]
        raise TargetError(
            f"pod {pod.name} is kept by {pod.controller or 'nothing'}, not by a Deployment", where=self.place.name
        )

    def deployment(self, name: str) -> Workload:
        """How far a Deployment is."""
        found = self._deployment(name)
        status = found.status
        return Workload(
            name,
            int(found.spec.replicas if found.spec.replicas is not None else 1),
            int((status and status.updated_replicas) or 0),
            int((status and status.ready_replicas) or 0),
            str((found.metadata.annotations or {}).get(_REVISION, "")),
        )

    def undo(self, name: str) -> str:
        """Go back to a Deployment's previous template, as ``kubectl rollout undo`` does; answers its revision.

        Raises :class:`TargetError` where there is none to go back to.
        """
        current = self._deployment(name)
        sets = self._call(
            lambda: self._apps.list_namespaced_replica_set(self.place.namespace, _request_timeout=_TIMEOUT),
            "list ReplicaSets",
        )
        ours = [item for item in sets.items if _controller(item.metadata) == f"Deployment/{name}"]
        here = _revision(current.metadata)
        earlier = [item for item in ours if 0 < _revision(item.metadata) < here]
        if not earlier:
            raise TargetError(f"Deployment {name} has no earlier revision than {here}", where=self.place.name)
        previous = max(earlier, key=lambda item: _revision(item.metadata))
        template = self._api.sanitize_for_serialization(previous.spec.template)
        template.get("metadata", {}).get("labels", {}).pop(_HASH, None)
        # Replaced and not merged: what the newer template added must go. The test fails where somebody else rolled
        # out meanwhile.
        patch = [
            {"op": "test", "path": f"/metadata/annotations/{_REVISION.replace('/', '~1')}", "value": str(here)},
            {"op": "replace", "path": "/spec/template", "value": template},
        ]
        self._patch(name, patch)
        return str(_revision(previous.metadata))

    def _deployment(self, name: str) -> Any:
        return self._call(
            lambda: self._apps.read_namespaced_deployment(name, self.place.namespace, _request_timeout=_TIMEOUT),
            f"read Deployment {name}",
        )

    def _patch(self, name: str, body: object) -> None:
        self._call(
            lambda: self._apps.patch_namespaced_deployment(name, self.place.namespace, body, _request_timeout=_TIMEOUT),
            f"change Deployment {name}",
        )

    # traffic

    def weights(self, name: str = "engram") -> dict[str, int]:
        """The share in percent each subset gets, by Istio's VirtualService ``name``."""
        found = self._virtual_service(name)
        try:
            routes = found["spec"]["http"][0]["route"]
            return {str(r["destination"]["subset"]): int(r.get("weight", 100)) for r in routes}
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise TargetError(f"VirtualService {name} splits no traffic: {error!r}", where=self.place.name) from error

    def _virtual_service(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._call(
            lambda: self._custom.get_namespaced_custom_object(
                "networking.istio.io", "v1", self.place.namespace, "virtualservices", name, _request_timeout=_TIMEOUT
            ),
            f"read VirtualService {name}",
        )
        return found

    def _call(self, do: Callable[[], Any], what: str, absent: Any = _REFUSED) -> Any:
        """What ``do`` answers; ``absent``, where given, for what is not there."""
        try:
            return do()
        except ApiException as error:
            if error.status == 404 and absent is not _REFUSED:
                return absent
            raise _refusal(error, what, self.server) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TargetUnreachable(
                f"cannot {what}: no answer from the API server ({_said(error)})", where=self.server
            ) from error


def _refusal(error: ApiException, what: str, server: str) -> TargetError:
    reason = str(error.reason or "").strip()
    if error.status in (401, 403):
        return TargetRefused(f"may not {what}: {error.status} {reason}", where=server, hint="kubectl auth can-i --list")
    if error.status == 404:
        return TargetError(f"cannot {what}: there is none", where=server)
    if error.status == 409:
        return TargetError(f"cannot {what}: it is not what it was (409 {reason})", where=server)
    if not error.status:  # how the client reports a websocket that could not be made
        return TargetUnreachable(f"cannot {what}: {reason[:200]}", where=server)
    return TargetError(f"cannot {what}: {error.status} {reason}", where=server)


def kubeconfig() -> str:
    """The kubeconfig that is read: ``$KUBECONFIG`` (which may name several), else the usual one."""
    return os.pathsep.join(
        str(Path(part).expanduser())
        for part in (os.environ.get("KUBECONFIG") or "~/.kube/config").split(os.pathsep)
        if part
    )


def _api_client(context: str) -> Any:
    where = kubeconfig()
    paths = [path for path in map(Path, where.split(os.pathsep)) if path.is_file()]
    if not paths:
        raise EnvironmentUnusable("there is no kubeconfig", where=where, hint="$KUBECONFIG names one")
    try:
        known = sorted(
            {
                str(entry["name"])
                for path in paths
                for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["contexts"]
            }
        )
        if context not in known:
            hint = f"it knows {', '.join(known) or 'none'}"
            raise EnvironmentUnusable(f"kubeconfig knows no context {context!r}", where=where, hint=hint)
        made = config.new_client_from_config(where, context=context, persist_config=False)
    except (ConfigException, yaml.YAMLError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise EnvironmentUnusable(f"kubeconfig cannot be used: {_said(error)}", where=where) from error
    made.configuration.retries = False  # what the API server does not answer is seen at once, not retried in silence
    return client.ApiClient(made.configuration)


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def _pod(item: Any) -> Pod:
    status = item.status
    conditions = (status and status.conditions) or []
    ready = any(one.type == "Ready" and one.status == "True" for one in conditions)
    ending = item.metadata.deletion_timestamp is not None
    return Pod(item.metadata.name, item.metadata.uid, ready and not ending, ending, _controller(item.metadata))


def _controller(metadata: Any) -> str:
    owners = [owner for owner in metadata.owner_references or [] if owner.controller]
    return f"{owners[0].kind}/{owners[0].name}" if owners else ""


def _revision(metadata: Any) -> int:
    text = (metadata.annotations or {}).get(_REVISION, "")
    return int(text) if str(text).isdigit() else 0
