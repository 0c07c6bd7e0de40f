"""A cluster of ours with one Engram in it, and a target that speaks to it as it would to a real one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from harness.targets.embedded import EmbeddedTarget
from harness.targets.kubernetes import KubernetesTarget
from harness.targets.kubernetes_place import Place
from tests.kubernetes.api_server import ApiServer, Cluster, PodState

CONFIG = "[consolidation]\ninterval_seconds = 0.1\n"


@dataclass
class World:
    """The cluster, its API server, and the Engrams in its pods."""

    cluster: Cluster
    server: ApiServer
    folder: Path
    engrams: list[EmbeddedTarget] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def pod(self) -> PodState:
        """A new pod with a running Engram on the one volume."""
        number = next(self.numbers)
        engram = EmbeddedTarget(self.folder / f"pod{number}", config_text=CONFIG, data_dir=self.folder / "volume")
        engram.start()
        self.engrams.append(engram)
        port = int(engram.base_url.rsplit(":", 1)[1])
        return PodState(f"engram-canary-7d9-{number}", f"uid-{number}", port)

    def replaced(self, gone: PodState) -> PodState:
        """What the ReplicaSet does: the old process dies, the same data are served by a new pod."""
        del gone
        self.engrams[-1].kill()
        self.engrams[-1].stop()
        return self.pod()

    def place(self, **changes: object) -> Place:
        return Place(**{"context": "staging", "namespace": "staging", "allowed": ("staging/staging",), **changes})  # type: ignore[arg-type]

    def target(self, folder: Path, **options: object) -> KubernetesTarget:
        return KubernetesTarget(folder, self.place(), **{"claimed": True, "replace_s": 20.0, **options})  # type: ignore[arg-type]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """One namespace ``staging``, one Deployment ``engram-canary`` of one replica, one pod, nothing in it."""
    cluster = Cluster(pods=[PodState("engram-canary-7d9-0", "uid-0", port=1)])
    with ApiServer(cluster) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig", contexts=("staging", "other"))))
        _workloads(cluster)
        yield World(cluster, server, tmp_path)


@pytest.fixture
def world(bare: World) -> Iterator[World]:
    """The same with an Engram in the pod, and a controller that replaces it."""
    bare.cluster.replace = bare.replaced
    bare.cluster.pods[:] = [bare.pod()]
    yield bare
    for engram in bare.engrams:
        engram.stop()


def _workloads(cluster: Cluster) -> None:
    def template(image: str) -> dict[str, object]:
        labels = {"app": "engram", "variant": "canary"}
        return {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "engram", "image": image}]}}

    def replica_set(name: str, revision: int, image: str) -> dict[str, object]:
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "engram-canary", "uid": "u-d"}
        pods = template(image)
        pods["metadata"]["labels"]["pod-template-hash"] = name[-3:]  # type: ignore[index]
        metadata = {
            "name": name,
            "annotations": {"deployment.kubernetes.io/revision": str(revision)},
            "ownerReferences": [{**owner, "controller": True}],
        }
        spec = {"selector": {"matchLabels": {"app": "engram"}}, "template": pods}
        return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}

    cluster.replica_sets = [
        replica_set("engram-canary-3a1", 1, "engram:milestone-16-stable"),
        replica_set("engram-canary-7d9", 2, "engram:milestone-17-canary"),
    ]
    annotations = {"deployment.kubernetes.io/revision": "2"}
    cluster.deployments["engram-canary"] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "engram-canary", "annotations": annotations},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "engram"}},
            "template": template("engram:milestone-17-canary"),
        },
        "status": {"updatedReplicas": 1, "readyReplicas": 1},
    }
