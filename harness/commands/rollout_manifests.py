"""``harness rollout manifests``: what Kubernetes needs for a phase, checked before it is written."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from harness.errors import EXIT_OK, RecordError, UsageError


def register(subcommands: Any) -> None:
    """Add the command's parser."""
    found = subcommands.add_parser("manifests", help="write a phase's Kubernetes manifests (stable, canary, traffic)")
    found.add_argument("phase", metavar="PHASE", help="shadow, 5, 25, ... as the plan names it")
    found.add_argument("--plan", default="runbook", metavar="NAME|FILE", help="runbook, task015, or a plan's file")
    found.add_argument("--output", metavar="DIR", help="write one file for each kind of thing; default: print them all")
    found.add_argument("--namespace", default="engram")
    found.add_argument("--replicas", type=int, default=4, help="stable and canary together (default 4, runbook 5.1)")
    found.add_argument("--image-stable", default="engram:milestone-17-shadow", metavar="IMAGE")
    found.add_argument("--image-canary", default="engram:milestone-17-canary", metavar="IMAGE")
    found.add_argument(
        "--split",
        default="",
        metavar="traffic|service",
        help="who draws the cohort: the mesh's weights, or the service's cohort_sampling_rate; never both "
        "(default: as the plan says)",
    )
    found.add_argument(
        "--workload",
        default="deployment",
        metavar="deployment|statefulset",
        help="a Deployment's pod loses its volume with itself; a StatefulSet's keeps it",
    )
    found.add_argument("--json", action="store_true", help="print the documents as JSON")
    found.set_defaults(run=_manifests)


def _manifests(arguments: argparse.Namespace) -> int:
    from harness.rollout.manifest_checks import structure_problems
    from harness.rollout.manifests import Options, manifests
    from harness.rollout.plan import load_plan
    from harness.targets.kubernetes_schema import schema_problems

    plan = load_plan(arguments.plan)
    options = Options(
        arguments.namespace,
        arguments.replicas,
        arguments.image_stable,
        arguments.image_canary,
        arguments.split,
        arguments.workload,
    )
    files = manifests(plan, plan.phase(arguments.phase), options)
    documents = [document for group in files.values() for document in group]
    problems = schema_problems(documents) + structure_problems(documents)
    if problems:
        raise UsageError(f"these would not do: {'; '.join(problems)}", where=f"phase {arguments.phase}")
    if arguments.output is not None:
        written = _write(Path(arguments.output), files)
        print(json.dumps({"files": written}) if arguments.json else "\n".join(written))
    elif arguments.json:
        print(json.dumps(documents, indent=2))
    else:
        print(_yaml(documents), end="")
    if options.workload == "deployment":
        sys.stderr.write(
            "harness: a Deployment's pod loses its data with itself; where memories must outlive a pod, "
            "use --workload statefulset\n"
        )
    return EXIT_OK


def _write(folder: Path, files: dict[str, list[dict[str, Any]]]) -> list[str]:
    """All of the files or an error that says which is missing. Raises :class:`RecordError`."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, documents in files.items():
            draft = folder / f".{name}.new"
            draft.write_text(_yaml(documents), encoding="utf-8")
            draft.rename(folder / name)
            written.append(str(folder / name))
    except OSError as error:
        raise RecordError(f"cannot be written: {error.strerror}", where=str(error.filename or folder)) from error
    return written


def _yaml(documents: list[dict[str, Any]]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Texts of several lines as blocks, nothing by reference: for people, and for a diff."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, explicit_start=True, default_flow_style=False)
