"""Manifests of every phase: valid by the client's schemas and in themselves, and what is wrong is found."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli import main
from harness.errors import UsageError
from harness.rollout.manifest_checks import structure_problems
from harness.rollout.manifests import Options, manifests, replicas_of
from harness.rollout.plan import load_plan
from harness.targets.kubernetes_schema import schema_problems

Documents = list[dict[str, Any]]


def documents(phase: str, plan: str = "runbook", **options: Any) -> Documents:
    found = load_plan(plan)
    return [doc for group in manifests(found, found.phase(phase), Options(**options)).values() for doc in group]


def named(found: Documents, kind: str, name: str) -> dict[str, Any]:
    return next(doc for doc in found if doc["kind"] == kind and doc["metadata"]["name"] == name)


def config(found: Documents, variant: str) -> dict[str, Any]:
    return tomllib.loads(named(found, "ConfigMap", f"engram-{variant}-config")["data"]["engram.toml"])


@pytest.mark.parametrize("plan", ["runbook", "task015"])
@pytest.mark.parametrize("workload", ["deployment", "statefulset"])
def test_every_phase_of_every_plan_is_valid(plan: str, workload: str) -> None:
    for phase in load_plan(plan).phases:
        found = documents(phase.name, plan, workload=workload)
        assert schema_problems(found) == []
        assert structure_problems(found) == []
        assert config(found, "stable")["features"]["blended_recall"] is False
        assert config(found, "canary")["features"] == phase.flags


def test_one_thing_draws_the_cohort_and_never_two() -> None:
    for phase in load_plan("runbook").phases:
        if not phase.cohort_rate:
            continue
        for split in ("traffic", "service"):
            found = documents(phase.name, split=split)
            routes = named(found, "VirtualService", "engram")["spec"]["http"][0]["route"]
            mesh = {route["destination"]["subset"]: route["weight"] for route in routes}["canary"] / 100
            service = config(found, "canary")["blended_recall"]["cohort_sampling_rate"]
            assert mesh * service == pytest.approx(phase.cohort_rate)
            assert 1.0 in (mesh, service)


def test_the_runbooks_own_numbers() -> None:
    """§2.2: 3 stable and 1 canary at 95/5; §5.1: 0 and 4."""
    assert [replicas_of(w, 4) for w in (0, 5, 25, 50, 75, 100)] == [
        {"stable": 4, "canary": 0},
        {"stable": 3, "canary": 1},
        {"stable": 3, "canary": 1},
        {"stable": 2, "canary": 2},
        {"stable": 1, "canary": 3},
        {"stable": 0, "canary": 4},
    ]


def test_a_phase_changes_only_whose_configuration_it_changes() -> None:
    """The stable pods are not restarted by a ramp; the canary's are where its configuration changed."""

    def digest(phase: str, variant: str) -> str:
        found = named(documents(phase, split="service"), "Deployment", f"engram-{variant}")
        return str(found["spec"]["template"]["metadata"]["annotations"]["engram.dev/configuration"])

    assert digest("5", "stable") == digest("25", "stable") == digest("shadow", "stable")
    assert digest("5", "canary") != digest("25", "canary")


def test_a_low_semantic_weight_is_configured() -> None:
    recall = config(documents("internal", "task015"), "canary")["blended_recall"]
    assert (recall["base_semantic_weight"], recall["base_episodic_weight"]) == (0.1, 0.9)


def test_flags_are_in_the_file_and_not_in_the_environment() -> None:
    """An environment variable would overrule the flag API at the next restart."""
    for doc in documents("5"):
        if doc["kind"] == "Deployment":
            assert "env" not in doc["spec"]["template"]["spec"]["containers"][0]


def broken(change: Callable[[Documents], object]) -> Documents:
    found = copy.deepcopy(documents("5", split="traffic"))
    change(found)
    return found


def pod(found: Documents) -> dict[str, Any]:
    spec: dict[str, Any] = named(found, "Deployment", "engram-canary")["spec"]["template"]["spec"]
    return spec


SCHEMA: dict[str, Callable[[Documents], object]] = {
    "spec.replica: unknown field": lambda d: named(d, "Deployment", "engram-canary")["spec"].update(replica=3),
    "spec.replicas: Input should be a valid integer": lambda d: named(d, "Deployment", "engram-canary")["spec"].update(
        replicas="3"
    ),
    "spec.template: Field required": lambda d: named(d, "Deployment", "engram-canary")["spec"].pop("template"),
    "containers[0].imagePullpolicy: unknown field": lambda d: pod(d)["containers"][0].update(imagePullpolicy="Always"),
    "containers[0].read_only: unknown field": lambda d: pod(d)["containers"][0].update(read_only=True),
    "volumes[0].configmap: unknown field": lambda d: pod(d)["volumes"][0].update(configmap={"name": "x"}),
    "no schema for apps/v1beta1 Deployment": lambda d: named(d, "Deployment", "engram-canary").update(
        apiVersion="apps/v1beta1"
    ),
}


@pytest.mark.parametrize("said", SCHEMA)
def test_what_the_schemas_forbid_is_found(said: str) -> None:
    problems = schema_problems(broken(SCHEMA[said]))
    assert any(said in problem for problem in problems), problems


def subset(found: Documents, place: int) -> dict[str, Any]:
    route: dict[str, Any] = named(found, "VirtualService", "engram")["spec"]["http"][0]["route"][place]
    return route


STRUCTURE: dict[str, Callable[[Documents], object]] = {
    "weights [95, 6] do not add up to 100": lambda d: subset(d, 1).update(weight=6),
    "weights [95, 5.0] are not whole percents": lambda d: subset(d, 1).update(weight=5.0),
    "no DestinationRule has subset 'blue'": lambda d: subset(d, 1)["destination"].update(subset="blue"),
    "there is no Service 'elsewhere'": lambda d: subset(d, 1)["destination"].update(host="elsewhere"),
    "spec.route: unknown field": lambda d: named(d, "VirtualService", "engram")["spec"].update(route=[]),
    "its selector does not match its own pods": lambda d: named(d, "Deployment", "engram-canary")["spec"]["template"][
        "metadata"
    ].update(labels={"app": "engram"}),
    "there is no ConfigMap 'engram-canary-config'": lambda d: d.remove(named(d, "ConfigMap", "engram-canary-config")),
    "mounts 'data', which is no volume": lambda d: pod(d)["volumes"].pop(),
    "selects no pod": lambda d: named(d, "Service", "engram")["spec"].update(selector={"app": "engramm"}),
    "asks port 'web', which is not declared": lambda d: pod(d)["containers"][0]["readinessProbe"]["httpGet"].update(
        port="web"
    ),
    "subset 'canary' matches no pod": lambda d: named(d, "DestinationRule", "engram")["spec"]["subsets"][1].update(
        labels={"variant": "blue"}
    ),
    "is there twice": lambda d: d.append(named(d, "Service", "engram")),
}


@pytest.mark.parametrize("said", STRUCTURE)
def test_what_contradicts_itself_is_found(said: str) -> None:
    problems = structure_problems(broken(STRUCTURE[said]))
    assert any(said in problem for problem in problems), problems


def test_the_command_writes_files_that_read_back_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "manifests"
    assert main(["rollout", "manifests", "25", "--output", str(folder)]) == 0
    said = capsys.readouterr()
    assert sorted(path.name for path in folder.iterdir()) == [
        "configuration.yaml",
        "services.yaml",
        "traffic.yaml",
        "workloads.yaml",
    ]
    assert "loses its data with itself" in said.err
    back = [doc for path in sorted(folder.iterdir()) for doc in yaml.safe_load_all(path.read_text())]
    assert sorted(map(str, back)) == sorted(map(str, documents("25")))
    assert main(["rollout", "manifests", "25", "--workload", "statefulset"]) == 0
    printed = capsys.readouterr()
    assert list(yaml.safe_load_all(printed.out)) == documents("25", workload="statefulset")
    assert not printed.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["33"], "no phase '33'"),
        (["5", "--split", "both"], "--split 'both' is not known"),
        (["5", "--workload", "cronjob"], "--workload 'cronjob' is not known"),
        (["5", "--replicas", "1"], "--replicas 1"),
        (["canary", "--plan", "task015", "--split", "traffic"], "per memory space"),
        (["5", "--plan", "elsewhere"], "there is no plan 'elsewhere'"),
        (["5", "--output", "/dev/null/there"], "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "manifests", *words]) == 3
    assert said in capsys.readouterr().err


def test_a_share_that_is_no_whole_percent_needs_the_service() -> None:
    plan = load_plan("runbook")
    phase = plan.phase("5")
    object.__setattr__(phase, "cohort_rate", 0.005)
    with pytest.raises(UsageError, match="weights are whole percents"):
        manifests(plan, phase, Options(split="traffic"))
    assert manifests(plan, phase, Options(split="service"))
