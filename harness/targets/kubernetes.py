"""Engram in a pod: spoken to through a tunnel, killed and replaced through the API server, never deployed from here.

A run is about one pod: load, chaos and flags go to it alone, whatever else the selector matches.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.clock import Clock, SystemClock
from harness.engram import Capabilities, EngramClient
from harness.errors import EnvironmentUnusable, FaultError, TargetError
from harness.targets.attached import AttachedTarget
from harness.targets.base import (
    KUBERNETES,
    ProcessIdentity,
    Register,
    Target,
    Tunnel,
    identify,
    package_environment,
    unregistered,
)
from harness.targets.kubernetes_place import Place

if TYPE_CHECKING:  # the client library is imported when a cluster is spoken to, and not before
    from harness.targets.kubernetes_cluster import Cluster, Pod

_POLL_S = 0.25
_TUNNEL_START_S = 60.0  # kubeconfig may name a program that fetches credentials
TUNNEL = ("-m", "harness.targets.kubernetes_tunnel")
HEAL = ("-m", "harness.targets.kubernetes_heal")


class KubernetesTarget(Target):
    """The first ready pod of ``place``. It is ours to harm where ``claimed`` and where the place's allow-list says so.

    ``folder`` takes the tunnel's log and files. ``register`` makes the tunnel's process known to whoever cleans up
    after us. ``replace_s``: how long a replaced pod may take to be ready.
    """

    name = KUBERNETES

    def __init__(
        self,
        folder: Path,
        place: Place,
        *,
        claimed: bool = False,
        register: Register = unregistered,
        prometheus_url: str | None = None,
        grafana_url: str | None = None,
        replace_s: float = 180.0,
        clock: Clock | None = None,
    ) -> None:
        self.place = place
        self.owned = claimed
        self._folder = folder
        self._register = register
        self._beside = prometheus_url, grafana_url
        self._replace_s = replace_s
        self._clock = clock or SystemClock()
        self._cluster: Cluster | None = None
        self._pod: Pod | None = None
        self._matching = 0
        self._known: frozenset[str] = frozenset()
        self._child: subprocess.Popen[bytes] | None = None
        self._process: ProcessIdentity | None = None
        self._released: Callable[[], None] = lambda: None
        self._attached: AttachedTarget | None = None
        self._never = threading.Event()

    # what it is

    @property
    def base_url(self) -> str:
        return self._speaking().base_url

    @property
    def claimed_url(self) -> str:
        return self.place.url

    @property
    def prometheus_url(self) -> str | None:
        return self._beside[0]

    @property
    def grafana_url(self) -> str | None:
        return self._beside[1]

    @property
    def capabilities(self) -> Capabilities:
        found = self._speaking().capabilities
        if self._here().controller:
            return found.plus("restart")
        why = "the pod has no controller that would start it again"
        return Capabilities(found.names, {**found.reasons, "restart": why})

    @property
    def tunnel(self) -> Tunnel | None:
        if self._process is None:
            return None
        pod = self._here()
        command = (sys.executable, *HEAL, "--place", json.dumps(self.place.as_json()), "--server", self.cluster.server)
        return Tunnel(self.base_url, self._process, (*command, "--pod", pod.name, "--uid", pod.uid))

    @property
    def cluster(self) -> Cluster:
        """The cluster, for what is more than this pod. Raises :class:`TargetError` before :meth:`start`."""
        if self._cluster is None:
            raise TargetError("the kubernetes target is not started")
        return self._cluster

    def client(self, timeout_s: float = 5.0) -> EngramClient:
        return EngramClient(self.base_url, timeout_s=timeout_s)

    def describe(self) -> dict[str, Any]:
        pod = self._pod
        return {
            "target": self.name,
            "base_url": self._attached.base_url if self._attached else None,
            "context": self.place.context,
            "namespace": self.place.namespace,
            "selector": self.place.selector,
            "pod": pod.name if pod else None,
            "pod_uid": pod.uid if pod else None,
            "controller": pod.controller if pod else None,
            "matching_pods": self._matching,
            "server": self._cluster.server if self._cluster else None,
            "claimed": self.owned,
            "version": self._attached.describe()["version"] if self._attached else "unknown",
        }

    def alive(self) -> bool:
        return self._attached is not None and self._attached.alive()

    def log_tail(self, lines: int = 40) -> str:
        if self._cluster is None or self._pod is None:
            return ""
        try:
            return self._cluster.log(self._pod, lines)
        except TargetError:
            return ""

    def require_owned(self) -> None:
        super().require_owned()
        self.place.require_allowed()

    def require_same(self) -> None:
        """Raise :class:`FaultError` unless the pod is still the one whose uid was seen when it was chosen."""
        ours = self._here()
        now = self.cluster.pod(ours.name)
        if now is None or now.uid != ours.uid or now.ending:
            how = (
                "is gone" if now is None else "is ending" if now.uid == ours.uid else f"is another one ({now.uid}) now"
            )
            raise FaultError(
                f"pod {ours.name} ({ours.uid}) {how}: a fault would go to what nobody looked at", where=self.place.name
            )

    # up and down

    def start(self) -> None:
        """Find the pod, open the tunnel, see that a healthy Engram answers; changes nothing in the cluster.

        Raises :class:`EnvironmentUnusable` where kubeconfig or context will not do, :class:`TargetNotOwned` where it
        is claimed but not on the allow-list, :class:`TargetError` where no pod is ready.
        """
        from harness.targets.kubernetes_cluster import Cluster

        if self.owned:
            self.place.require_allowed()
        self._cluster = Cluster(self.place)
        pods = self._cluster.pods()
        ready = [pod for pod in pods if pod.ready]
        if not ready:
            seen = ", ".join(pod.name for pod in pods) or "there is none"
            raise TargetError(
                f"no pod of {self.place.selector} is ready ({seen})", where=self.place.name, hint="--kube-selector"
            )
        self._pod, self._matching = ready[0], len(pods)
        self._known = frozenset(pod.uid for pod in pods)
        try:
            self._open_tunnel()
            self._speaking().start()
        except BaseException:  # Ctrl-C included: the tunnel ends here
            self.stop()
            raise

    def stop(self) -> None:
        """Close the tunnel; the cluster is left as it is. Idempotent."""
        child, self._child = self._child, None
        self._process = self._attached = None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(2.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdin is not None:
            child.stdin.close()
        self._released()

    def kill(self) -> None:
        """Delete the pod with no grace; its controller starts another, which :meth:`restart` waits for."""
        self.require_owned()
        self._delete(grace_s=0)

    def restart(self, *, kill: bool = False, cancel: threading.Event | None = None) -> None:
        """Delete the pod unless it is gone, and go on with the one its controller starts instead.

        That one cannot be done without, so ``cancel`` ends nothing. Raises :class:`TargetError` where none is ready in
        time.
        """
        self.require_owned()
        ours = self._here()
        now = self.cluster.pod(ours.name)
        if now is not None and now.uid == ours.uid and not now.ending:
            self._delete(grace_s=0 if kill else None)
        self._follow()

    def rollout_undo(self) -> str:
        """Back to the previous revision of the pod's Deployment; answers it once every replica is ready.

        Raises :class:`TargetError` where there is none, or where it does not settle in time.
        """
        self.require_owned()
        name = self.cluster.deployment_of(self._here())
        before = self.cluster.deployment(name).revision
        revision = self.cluster.undo(name)
        self._until(
            lambda: (now := self.cluster.deployment(name)).settled and now.revision != before,
            f"Deployment {name} has not settled on revision {revision}",
        )
        self._follow()
        return revision

    def _delete(self, grace_s: int | None) -> None:
        pods = self.cluster.pods()
        self._known = frozenset(pod.uid for pod in pods)
        self.cluster.delete_pod(self._here(), grace_s=grace_s)

    def _follow(self) -> None:
        """Go on with a ready pod that was not there before, at the same address."""
        found: list[Pod] = []

        def there() -> bool:
            found[:] = [pod for pod in self.cluster.pods() if pod.ready and pod.uid not in self._known]
            return bool(found)

        self._until(there, f"no new pod of {self.place.selector} is ready")
        self._pod = found[0]
        self._write_route()
        self._until(self.alive, f"pod {found[0].name} is ready, but Engram does not answer in it")

    def _until(self, holds: Callable[[], bool], otherwise: str) -> None:
        deadline = self._clock.now() + self._replace_s
        while not holds():
            if self._clock.now() >= deadline:
                raise TargetError(f"{otherwise} after {self._replace_s:g} s", where=self.place.name)
            self._clock.wait(self._never, _POLL_S)

    # the tunnel

    def _open_tunnel(self) -> None:
        port_file = self._folder / "tunnel.port"
        log_path = self._folder / "tunnel.log"
        command = [sys.executable, *TUNNEL, "--place", json.dumps(self.place.as_json())]
        command += ["--route", str(self._folder / "tunnel.route"), "--port-file", str(port_file)]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            port_file.unlink(missing_ok=True)
            self._write_route()
            with log_path.open("ab") as log:
                self._child = child = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=package_environment(),
                    start_new_session=True,  # Ctrl-C is for the harness, which heals through it first
                )
        except OSError as error:
            raise EnvironmentUnusable(f"the tunnel cannot be started: {error}", where=str(log_path)) from error
        self._process = identify(child.pid)
        if self._process is None:
            raise EnvironmentUnusable("the tunnel died at once", where=str(log_path))
        self._released = self._register(self._process, "tunnel into the cluster", None)
        assert child.stdin is not None
        child.stdin.write(b"\n")  # it waits for this: by now it is known who ends it
        child.stdin.flush()
        deadline = self._clock.now() + _TUNNEL_START_S
        while not port_file.exists():
            if child.poll() is not None or self._clock.now() >= deadline:
                said = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
                raise EnvironmentUnusable(f"the tunnel did not open: {' '.join(said)}", where=str(log_path))
            self._clock.wait(self._never, 0.02)
        port = port_file.read_text(encoding="ascii").strip()
        self._attached = AttachedTarget(f"http://127.0.0.1:{port}", claimed=self.owned)

    def _write_route(self) -> None:
        from harness.targets.kubernetes_tunnel import write_route

        write_route(self._folder / "tunnel.route", self._here().name)

    def _here(self) -> Pod:
        if self._pod is None:
            raise TargetError("the kubernetes target is not started")
        return self._pod

    def _speaking(self) -> AttachedTarget:
        if self._attached is None:
            raise TargetError("the kubernetes target is not started")
        return self._attached
