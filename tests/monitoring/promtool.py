"""Runs ``promtool``, from the path or from Prometheus's image; rules and cases of many files in one call."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from harness.monitoring.rules import Document, rule_document
from harness.scenario.monitoring import MonitoringSpec
from tests.monitoring.alert_cases import PACES, Case

PROMTOOL = shutil.which("promtool")
_FAILED = re.compile(r"^\s*name: (.+?),?$", re.MULTILINE)


def rules_for(spec: MonitoringSpec, alert: str, *, phase0: bool = True) -> Document:
    """The rules one alert needs: its own, and what its expressions read, as they stand in the rule file.

    Without annotations, whose texts hold values that a case need not repeat.
    """
    groups = rule_document(spec, phase0_bytes=1e8 if phase0 else None)["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    for rule in rules:
        rule.pop("annotations", None)
    wanted = [rule for rule in rules if rule.get("alert") == alert]
    for _ in range(4):  # what reads what reads ...
        text = " ".join(rule["expr"] for rule in wanted)
        wanted = [rule for rule in rules if rule in wanted or ("record" in rule and rule["record"] in text)]
    return {"groups": [{"name": alert, "rules": wanted}]}


def without(document: Document, alert: str) -> Document:
    """The rules but for one alert, which must be there."""
    (group,) = document["groups"]
    rules = [rule for rule in group["rules"] if rule.get("alert") != alert]
    assert len(rules) == len(group["rules"]) - 1
    return {"groups": [{**group, "rules": rules}]}


def write_test(folder: Path, document: Document, case: Case, words: Mapping[str, str]) -> Path:
    """Rule file and test file of one case; answers the test file. ``words``: the alert's own labels."""
    name = re.sub(r"\W+", "-", case.name)
    (folder / f"{name}.rules.yml").write_text(_yaml(document), "utf-8")
    file = folder / f"{name}.test.yml"
    test = {
        "rule_files": [f"{name}.rules.yml"],
        "evaluation_interval": f"{PACES[case.pace]}s",
        "tests": [case.as_promtool(**words)],
    }
    file.write_text(_yaml(test), "utf-8")
    return file


def failed_cases(files: Iterable[Path]) -> set[str]:
    """Run the test files; the names of the cases that fail. Whatever else goes wrong is an assertion."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "test", "rules", *map(str, files)], capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stdout + done.stderr
    failed = set(_FAILED.findall(said))
    assert (done.returncode != 0) == bool(failed), said[-4000:]
    return failed


def _yaml(document: Any) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(document, Dumper=dumper, sort_keys=False, width=1_000_000))
