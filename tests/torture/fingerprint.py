"""What a target looks like from outside, read without any code of the harness: state that a fault may have left.

Standard library only, and none of the paths by which faults are injected, observed or healed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Collection
from pathlib import Path
from typing import Any

_KERNEL = (("tc", "qdisc", "show", "dev", "lo"), ("iptables", "-S"), ("ip6tables", "-S"))


def service(url: str) -> dict[str, Any]:
    """Active faults, invalid bindings and flags, as the service itself shows them."""
    shown = _get(f"{url}/api/v1/admin/chaos")
    bindings = _get(f"{url}/api/v1/admin/bindings?limit=0")
    return {
        "active": sorted(one["fault"] for one in shown["active"]) if isinstance(shown, dict) else shown,
        "invalid_bindings": bindings["invalid"] if isinstance(bindings, dict) else bindings,
        "flags": _get(f"{url}/api/v1/admin/features"),
        "health": _get(f"{url}/health/alive") is not None,
    }


def process(pid: int) -> dict[str, Any]:
    """Whether it is stopped, its limits, its place among the cgroups, the cores it may use, its niceness."""
    root = Path(f"/proc/{pid}")
    try:
        stat = (root / "stat").read_bytes()
        fields = stat[stat.rfind(b")") + 2 :].split()
        return {
            "stopped": fields[0] in (b"T", b"t"),
            "nice": int(fields[16]),
            "limits": (root / "limits").read_text(),
            "cgroup": (root / "cgroup").read_text(),
            "oom_score_adj": (root / "oom_score_adj").read_text().strip(),
            "cores": sorted(os.sched_getaffinity(pid)),
        }
    except OSError as error:
        return {"gone": type(error).__name__}


def kernel(ours: Collection[str]) -> dict[str, list[str]]:
    """Lines of queueing and packet filter rules, and control groups, that name any of ``ours`` (a port, a pid).

    Others work on this machine too, and their rules come and go.
    """
    wanted = re.compile(r"(?<!\d)(" + "|".join(map(re.escape, sorted(ours))) + r")(?!\d)")
    found = {}
    for command in _KERNEL:
        if shutil.which(command[0]):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
            found[" ".join(command)] = [line for line in done.stdout.splitlines() if wanted.search(line)]
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob("**/*engram*") if path.is_dir()]
    return {**found, "cgroups": sorted(path for path in groups if wanted.search(path))}


def files(folder: Path) -> dict[str, str]:
    """Hash and permission bits of every file the service keeps."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "LOCK":
            try:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            except OSError as error:
                digest = type(error).__name__
            found[path.name] = f"{digest} {path.lstat().st_mode & 0o7777:o}"
    return found


def processes_naming(text: str) -> list[int]:
    """Living processes whose command line or environment names ``text``, ourselves left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_bytes()
        except OSError:
            continue
        if text.encode() in words and state[state.rfind(b")") + 2 :][:1] not in (b"Z", b"X"):
            found.append(int(entry.name))
    return found


def _get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            raw = answer.read()
    except (OSError, urllib.error.URLError) as error:
        return f"{type(error).__name__}"
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")
