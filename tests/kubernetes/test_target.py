"""The Kubernetes target against an API server of ours, by the client library's real requests."""

from __future__ import annotations

import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import EnvironmentUnusable, FaultError, TargetError, TargetNotOwned, TargetRefused
from harness.faults.injection import Injection
from harness.faults.ledger import Ledger
from harness.faults.process_crash import ProcessCrash
from harness.faults.recipe import CommandRecipe, HttpRecipe, apply, from_json, to_json
from harness.faults.semantic_latency import SemanticLatency
from harness.targets.kubernetes import KubernetesTarget
from harness.targets.kubernetes_tunnel import given_up
from tests.kubernetes.api_server import PodState
from tests.kubernetes.conftest import World

SLOW = SemanticLatency(latency_ms=50)


def test_memories_go_through_the_tunnel_and_nothing_is_changed(world: World, tmp_path: Path) -> None:
    with world.target(tmp_path / "case", claimed=False) as target, target.client() as client:
        client.remember("through the API server", memory_id="one", embedding=[1.0, *[0.0] * 767])
        assert client.memory("one") is not None
        assert client.recall(embedding=[1.0, *[0.0] * 767]).memories[0]["id"] == "one"
        assert target.alive()
        said = target.describe()
        assert (said["pod"], said["pod_uid"]) == ("engram-canary-7d9-1", "uid-1")
        assert said["controller"] == "ReplicaSet/engram-canary-7d9"
        assert target.log_tail() == "log of engram-canary-7d9-1\n"
        assert "restart" in target.capabilities
        assert "process" not in target.capabilities
        object.__setattr__(target._here(), "controller", "")
        why = {"restart": "the pod has no controller that would start it again"}
        assert target.capabilities.missing(["restart"]) == why
    assert {request.method for request in world.cluster.requests} == {"GET"}
    assert not target.alive()


def test_chaos_goes_in_and_out_by_the_pods_admin_api(world: World, tmp_path: Path) -> None:
    events: list[str] = []

    def record(event: str, /, **fields: object) -> None:
        events.append(event)

    with Ledger(tmp_path / "ledger.jsonl") as ledger, world.target(tmp_path / "case") as target:
        with target.client() as client:
            client.set_features(dual_memory_types=True, blended_recall=True, cohort_sampling_rate=1.0)
        with Injection(SLOW, target, ledger, hold_s=5.0, record=record) as injection:
            assert injection.effective is not None
            with world.engrams[0].client() as direct:
                assert direct.chaos_listing().find(SLOW.slot) is not None
        with world.engrams[0].client() as direct:
            assert direct.chaos_listing().find(SLOW.slot) is None
    assert "healed_observed" in events


def test_the_harness_dies_and_the_guardian_reaches_the_pod_by_the_command_alone(world: World, tmp_path: Path) -> None:
    """The recipe of a run whose tunnel is gone: a command that opens its own."""
    with world.target(tmp_path / "case") as target:
        recipe = SLOW.recipes(target)[0]
        assert isinstance(recipe, HttpRecipe)
        assert from_json(to_json(recipe)) == recipe
        with target.client() as client:
            SLOW.inject(client, None)
        tunnel = target.tunnel
        assert tunnel is not None
        tunnel.process.send(signal.SIGKILL)
        while tunnel.process.alive():
            pass
        assert apply(recipe).startswith(recipe.otherwise.argv[0] if recipe.otherwise else "?")
    with world.engrams[0].client() as direct:
        assert direct.chaos_listing().find(SLOW.slot) is None


def test_a_replaced_pod_took_the_fault_along_but_not_the_flags(world: World, tmp_path: Path) -> None:
    with world.target(tmp_path / "case") as target:
        recipe = SLOW.recipes(target)[0]
        assert isinstance(recipe, HttpRecipe) and isinstance(recipe.otherwise, CommandRecipe)
        tunnel = target.tunnel
        assert tunnel is not None
        target.restart(kill=True)
    gone = apply(replace(recipe.otherwise))
    assert gone.endswith("exited with 0")
    assert not [r for r in world.cluster.requests if r.path.endswith("7d9-2/portforward") and r.method == "POST"]


def test_a_killed_pod_is_followed_to_its_successor_at_the_same_address(world: World, tmp_path: Path) -> None:
    events: list[str] = []

    def record(event: str, /, **fields: object) -> None:
        events.append(event)

    with Ledger(tmp_path / "ledger.jsonl") as ledger, world.target(tmp_path / "case") as target:
        before = target.base_url
        with target.client() as client:
            client.remember("survives", memory_id="kept")
        with Injection(ProcessCrash(), target, ledger, hold_s=1.0, record=record) as injection:
            assert injection.effective is not None
        assert injection.healed is not None
        assert target.base_url == before
        assert target.describe()["pod_uid"] == "uid-2"
        with target.client() as client:
            assert client.memory("kept") is not None
    deleted = [request for request in world.cluster.requests if request.method == "DELETE"]
    assert [request.body["preconditions"]["uid"] for request in deleted] == ["uid-1"]
    assert deleted[0].body["gracePeriodSeconds"] == 0


def test_nothing_is_injected_into_a_pod_that_is_not_the_one_we_chose(world: World, tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger, world.target(tmp_path / "case") as target:
        ours = world.cluster.pods[0]
        for pods in ([replace(ours, uid="uid-of-another")], [replace(ours, ending=True)], []):
            world.cluster.pods[:] = pods
            injection = Injection(SLOW, target, ledger, hold_s=1.0, record=lambda event, /, **fields: None)
            with pytest.raises(FaultError, match="a fault would go to what nobody looked at"):
                injection.prepare()
        world.cluster.pods[:] = [replace(ours, uid="uid-of-another")]
        with pytest.raises(TargetError, match="it is not what it was"):  # said by the API server itself
            target.kill()
        assert len(world.cluster.pods) == 1
    with world.engrams[0].client() as direct:
        assert not direct.chaos_listing().active


def test_undo_goes_back_to_the_previous_template_and_not_over_anothers_rollout(world: World, tmp_path: Path) -> None:
    with world.target(tmp_path / "case", replace_s=2.0) as target:
        world.cluster.pods.append(world.replaced(world.cluster.pods.pop()))  # what the rollout brings
        assert target.rollout_undo() == "1"
        patch = next(request for request in world.cluster.requests if request.method == "PATCH")
        assert patch.headers["content-type"] == "application/json-patch+json"
        assert patch.body[0] == {
            "op": "test",
            "path": "/metadata/annotations/deployment.kubernetes.io~1revision",
            "value": "2",
        }
        template = patch.body[1]["value"]
        assert template["spec"]["containers"][0]["image"] == "engram:milestone-16-stable"
        assert "pod-template-hash" not in template["metadata"]["labels"]
        assert target.alive()


def test_undo_without_an_earlier_revision_is_refused_and_a_split_is_read(world: World, tmp_path: Path) -> None:
    world.cluster.replica_sets.pop(0)
    routes = [{"destination": {"host": "engram", "subset": s}, "weight": w} for s, w in (("stable", 95), ("canary", 5))]
    world.cluster.virtual_service = {"spec": {"http": [{"route": routes}]}}
    with world.target(tmp_path / "case") as target:
        with pytest.raises(TargetError, match="no earlier revision than 2"):
            target.rollout_undo()
        assert target.cluster.weights() == {"stable": 95, "canary": 5}
        world.cluster.virtual_service = {"spec": {}}
        with pytest.raises(TargetError, match="splits no traffic"):
            target.cluster.weights()
    assert "PATCH" not in {request.method for request in world.cluster.requests}


def test_unclaimed_is_spoken_to_and_never_harmed(world: World, tmp_path: Path) -> None:
    with world.target(tmp_path / "case", claimed=False) as target:
        for act in (target.kill, target.restart, target.rollout_undo, target.require_owned):
            with pytest.raises(TargetNotOwned):
                act()
    assert {request.method for request in world.cluster.requests} == {"GET"}


def test_what_is_claimed_but_not_allowed_is_not_even_started(bare: World, tmp_path: Path) -> None:
    place = bare.place(context="other")
    with pytest.raises(TargetNotOwned, match=r"other/staging is not on the list.*on it: staging/staging"):
        KubernetesTarget(tmp_path / "case", place, claimed=True).start()
    assert not bare.cluster.requests


def test_no_pod_is_ready(bare: World, tmp_path: Path) -> None:
    bare.cluster.pods[0].ready = False
    with pytest.raises(TargetError, match=r"no pod of app=engram,variant=canary is ready \(engram-canary-7d9-0\)"):
        bare.target(tmp_path / "case").start()


def test_a_pod_without_an_engram_in_it_says_so_and_leaves_no_tunnel(bare: World, tmp_path: Path) -> None:
    bare.cluster.pods[0] = PodState("engram-canary-7d9-1", "uid-1", port=1)
    target = bare.target(tmp_path / "case")
    with pytest.raises(TargetError, match=r"closed the connection|cannot connect|connection lost"):
        target.start()
    assert target.tunnel is None


def test_a_cluster_that_refuses_says_what_may_not_be_done(bare: World, tmp_path: Path) -> None:
    bare.cluster.refuse["/pods"] = 403
    with pytest.raises(TargetRefused, match="may not list pods: 403"):
        bare.target(tmp_path / "case").start()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no kubeconfig"),
        ("", "cannot be used"),
        ("[not: yaml", "cannot be used"),
        ("42", "cannot be used"),
        ("contexts: []", "knows no context 'staging'.*it knows none"),
        ("apiVersion: v1\nkind: Config\ncontexts: [{name: staging}]\n", "cannot be used"),
    ],
)
def test_kubeconfig_is_missing_or_nonsense(
    bare: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(EnvironmentUnusable, match=said) as raised:
        bare.target(tmp_path / "case").start()
    assert raised.value.exit_code == 3
    assert str(path) in str(raised.value)


def test_an_unknown_context_names_the_known_ones(bare: World, tmp_path: Path) -> None:
    place = bare.place(context="prod", allowed=("prod/staging",))
    with pytest.raises(EnvironmentUnusable, match=r"knows no context 'prod'.*other, staging"):
        KubernetesTarget(tmp_path / "case", place, claimed=True).start()


def test_no_cluster_answers(bare: World, tmp_path: Path) -> None:
    bare.server.__exit__()
    with pytest.raises(TargetError, match="no answer from the API server"):
        bare.target(tmp_path / "case").start()


def test_who_has_hung_up_is_told_from_who_waits() -> None:
    near, user = socket.socketpair()
    with near:
        user.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert not given_up(near)
        user.close()
        assert given_up(near)
