"""Control groups, versions 1 and 2: a group of our own below the target's, so that no limit above it is escaped."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from harness.errors import TargetError
from harness.faults.recipe_local import GROUP_PREFIX, GroupRecipe
from harness.targets.base import ProcessIdentity

_CONTAINER = re.compile(r"[0-9a-f]{64}")
_MOUNTS = Path("/proc/self/mounts")
# The files of a limit: version 1 and version 2.
FILES: dict[str, tuple[str, str]] = {
    "cpu": ("cpu.cfs_quota_us", "cpu.max"),
    "memory": ("memory.limit_in_bytes", "memory.max"),
    "pids": ("pids.max", "pids.max"),
}


def controller_home(controller: str, pid: int) -> Path | None:
    """The directory of the control group ``pid`` is in for ``controller``; None where there is none.

    Version 1 first: where it is mounted, it holds the controller. Under version 2 a group with members takes no
    children that limit, so ours stands beside the process' own and is not below it.
    """
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines()
        mounts = [line.split() for line in _MOUNTS.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            for _, where, kind, options, *_ in mounts:
                if kind == "cgroup" and controller in options.split(","):
                    return _existing(Path(where) / path.lstrip("/"))
    unified = next((Path(m[1]) for m in mounts if m[2] == "cgroup2"), None)
    inside = next((line.split(":", 2)[2] for line in lines if line.startswith("0::")), None)
    if unified is None or inside is None:
        return None
    home = _existing(unified / inside.lstrip("/"))
    if home is None or controller not in _text(home / "cgroup.controllers").split():
        return None
    return home


def _existing(path: Path) -> Path | None:
    return path if path.is_dir() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _is_unified(home: Path) -> bool:
    return (home / "cgroup.controllers").exists()


def try_group(home: Path, controller: str) -> str:
    """Make and remove a group without members; answers why that does not work, empty where it does."""
    group = _probe_path(home)
    try:
        group.mkdir()
        try:
            wanted = group / FILES[controller][1 if _is_unified(home) else 0]
            return "" if os.access(wanted, os.W_OK) else f"{wanted.name} is not there to be set"
        finally:
            group.rmdir()
    except OSError as error:
        return f"no control group can be made below {home}: {error.strerror}"


def _probe_path(home: Path) -> Path:
    """A name no group has."""
    parent = home.parent if _is_unified(home) else home
    return parent / f"{GROUP_PREFIX}probe-{secrets.token_hex(6)}"


def group_of(fault: object, controller: str, process: ProcessIdentity) -> GroupRecipe:
    """The group a fault makes for ``process``: recipe, injection and observer of one fault name the same one.

    Its name follows from the process and the fault, so that nothing has to be kept between them. Raises
    :class:`TargetError` where the process is in no such control group.
    """
    home = controller_home(controller, process.pid)
    if home is None:
        raise TargetError(f"process {process.pid} is in no {controller} control group")
    if home.name.startswith(GROUP_PREFIX):  # it is in ours already
        home = home.parent
    # A container's group is removed with whatever is below it when its process dies: the count of a kill as well.
    parent = home.parent if _is_unified(home) or _CONTAINER.search(home.name) else home
    kind = getattr(fault, "kind", "fault")
    return GroupRecipe(str(parent / f"{GROUP_PREFIX}{kind}-{process.pid}-{process.start_time}"), str(home))


def confine(recipe: GroupRecipe, process: ProcessIdentity, limits: Mapping[str, str]) -> None:
    """Make the recipe's group, set its limits (file -> text) and move ``process`` in. Raises :class:`TargetError`."""
    group = Path(recipe.group)
    try:
        group.mkdir()
        for name, text in limits.items():
            (group / name).write_text(text, encoding="ascii")
        if not process.alive():
            raise TargetError("the target's process is gone")
        (group / "cgroup.procs").write_text(str(process.pid), encoding="ascii")
    except OSError as error:
        raise TargetError(f"the control group cannot be set up: {error.strerror}", where=recipe.group) from error


def set_otherwise(recipe: GroupRecipe, limits: Mapping[str, str]) -> str:
    """How the limits of the recipe's group (file -> text) differ from ``limits``; empty where they do not."""
    found = {name: _text(Path(recipe.group) / name).strip() for name in limits}
    other = [f"{name} is {text or 'not there'}, not {limits[name]}" for name, text in found.items()]
    return "; ".join(said for said, name in zip(other, limits, strict=True) if found[name] != limits[name])


def members(recipe: GroupRecipe) -> set[int]:
    """The pids in the recipe's group."""
    return {int(pid) for pid in _text(Path(recipe.group) / "cgroup.procs").split()}


def counters(recipe: GroupRecipe, name: str) -> dict[str, int]:
    """A flat-keyed file (``cpu.stat``, ``memory.events``) of the recipe's group; empty where it is not there."""
    rows = (line.split() for line in _text(Path(recipe.group) / name).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].lstrip("-").isdigit()}


def unified(recipe: GroupRecipe) -> bool:
    """Whether the recipe's group is of version 2."""
    return _is_unified(Path(recipe.home))
