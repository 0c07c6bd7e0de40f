"""What a fault needs of this machine and of how the target was started, asked before anything is done.

Names beginning with ``host.`` are this machine's; each is found out by doing the thing on something of our own (a
control group without members, a process that only tells the time), never by version or by being root.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from harness.engram import Capabilities
from harness.errors import HostCapabilityMissing
from harness.faults.cgroup import controller_home, try_group
from harness.targets.base import Target

HOST_PREFIX = "host."
_FAKETIME_NAMES = ("libfaketimeMT.so.1", "libfaketime.so.1", "libfaketime.dylib")
_LIBRARY_DIRS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib")


def missing(names: Iterable[str], target: Target | None) -> dict[str, str]:
    """The required names that are not there, each with its reason; without a target, this machine's alone."""
    found: dict[str, str] = {}
    for name in sorted(set(names)):
        if name.startswith(HOST_PREFIX):
            why = _host(name)
            if why:
                found[name] = why
        elif target is not None and name == "prometheus":
            if target.prometheus_url is None:
                found[name] = NEEDED[name]
        elif target is not None and name not in target.capabilities:
            found[name] = target.capabilities.reasons.get(name, NEEDED.get(name, "unknown capability"))
    return found


def require(names: Iterable[str], target: Target) -> None:
    """Raise :class:`CapabilityMissing` naming what is not there and why."""
    wanted = list(names)
    require_host(wanted)
    lacking = missing((name for name in wanted if not name.startswith(HOST_PREFIX)), target)
    Capabilities(frozenset(), lacking).require(lacking, where=target.base_url)


def require_host(names: Iterable[str]) -> None:
    """Raise :class:`HostCapabilityMissing` where this machine lacks something of ``names``."""
    lacking = missing(names, None)
    if lacking:
        what = "; ".join(f"{name} ({why})" for name, why in lacking.items())
        raise HostCapabilityMissing(f"this machine lacks {what}", where="capabilities")


# What a target offers by the way it was started, and why one may not.
NEEDED = {
    "restart": "only a target started here can be started again",
    "process": "only a target on this machine, started here, has a process to act on",
    "data_dir": "only a target started here has its data where they can be reached",
    "proxy": "the target was not started behind the fault proxy",
    "prometheus_through_proxy": "its Prometheus reads it past the fault proxy and sees nothing of what is cut there",
    "disk_shim": "the target was not started with the disk shim",
    "prometheus": "no Prometheus watches the target: give --prometheus-url",
}


@lru_cache(maxsize=32)
def _host(name: str) -> str:
    probe = _PROBES.get(name)
    return probe() if probe is not None else "unknown capability"


def _limits() -> str:
    try:
        found = resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE)
        resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE, found)
    except (OSError, AttributeError, ValueError) as error:
        return f"prlimit does not work: {error}"
    return ""


def _group(controller: str) -> Callable[[], str]:
    def probe() -> str:
        home = controller_home(controller, os.getpid())
        return f"no {controller} control group here" if home is None else try_group(home, controller)

    return probe


def faketime_library() -> Path | None:
    """Where libfaketime lies, or None."""
    for folder in _LIBRARY_DIRS:
        for name in _FAKETIME_NAMES:
            for path in (Path(folder) / name, Path(folder) / "faketime" / name):
                if path.exists():
                    return path
        for path in sorted(Path(folder).glob("*/faketime/libfaketimeMT.so.1")):
            return path
    return None


def faketime_environment(offset_s: float) -> dict[str, str]:
    """The environment under which a process' wall clock is ``offset_s`` off and its monotonic clock is not."""
    return {
        "LD_PRELOAD": str(faketime_library()),
        "FAKETIME": f"{offset_s:+.3f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "0",
    }


def _faketime() -> str:
    if faketime_library() is None:
        return "libfaketime is not installed"
    code = "import time; print(time.time())"
    try:
        plain, faked = (
            float(
                subprocess.run(
                    [sys.executable, "-I", "-S", "-c", code],
                    capture_output=True,
                    timeout=10,
                    check=True,
                    env={**os.environ, **environment},
                ).stdout
            )
            for environment in ({}, faketime_environment(7200.0))
        )
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return f"libfaketime does not work here: {error}"
    return "" if 7000 < faked - plain < 7400 else "libfaketime leaves the clock as it is"


def _packet_filter() -> str:
    program = shutil.which("iptables")
    if program is None:
        return "iptables is not installed"
    rule = "-i lo -p tcp --dport 1 -m statistic --mode random --probability 0.5 -m comment --comment x -j DROP"
    command = [program, "-w", "2", "-C", "INPUT", *rule.split()]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"iptables does not work: {error}"
    said = done.stderr.decode("utf-8", "replace")
    # Such a rule is not there, so the check must fail for that reason and no other.
    unfit = any(word in said for word in ("denied", "not permitted", "Couldn't load", "No chain", "unknown option"))
    return f"iptables does not work: {said.strip()[:120]}" if done.returncode not in (0, 1) or unfit else ""


def _prometheus() -> str:
    return "" if shutil.which("prometheus") else "prometheus is not installed (Debian: apt-get install prometheus)"


_PROBES: dict[str, Callable[[], str]] = {
    "host.prometheus": _prometheus,
    "host.prlimit": _limits,
    "host.cgroup_cpu": _group("cpu"),
    "host.cgroup_memory": _group("memory"),
    "host.cgroup_pids": _group("pids"),
    "host.faketime": _faketime,
    "host.packet_filter": _packet_filter,
}
HOST_NAMES = tuple(_PROBES)
