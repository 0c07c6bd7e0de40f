"""How to heal, as data: a request, a signal, a command, a directory to remove.

A recipe stands in the ledger before its fault is injected and needs nothing but itself, so that any process can apply
it: the harness, the guardian, or ``harness heal`` a week later. Applying one twice is the same as applying it once.
Standard library only.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.errors import HealFailed, RecordError
from harness.faults.recipe_local import LocalRecipe, local_from_json
from harness.targets.base import ProcessIdentity

_MAX_ANSWER = 4 * 1024 * 1024
SCRATCH_MARKER = ".engram-harness-scratch"


@dataclass(frozen=True)
class ListingCheck:
    """Healed when the JSON at ``url`` no longer lists ``fault`` among its ``active`` ones."""

    url: str
    fault: str


@dataclass(frozen=True)
class CommandRecipe:
    """Heal by a command (never a shell line) that exits with one of ``ok_codes``."""

    argv: tuple[str, ...]
    timeout_s: float = 10.0
    ok_codes: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class HttpRecipe:
    """Heal by a request. ``key_env`` names the variable that holds the bearer key; the key itself is never stored.

    ``dies_with``: the fault lives in that process' memory, so it is healed once the process is gone. ``through``: the
    tunnel's process that ``url`` is one end of; once that is gone, ``otherwise`` is the way.
    """

    method: str
    url: str
    body: str | None = None
    key_env: str | None = None
    dies_with: ProcessIdentity | None = None
    check: ListingCheck | None = None
    through: ProcessIdentity | None = None
    otherwise: CommandRecipe | None = None


@dataclass(frozen=True)
class SignalRecipe:
    """Heal by a signal that lets a process go on (SIGCONT); healed as well when the process is gone."""

    process: ProcessIdentity
    signal: int


@dataclass(frozen=True)
class EndProcessRecipe:
    """End a process we started: SIGTERM, and SIGKILL after ``grace_s``."""

    process: ProcessIdentity
    grace_s: float = 0.5


@dataclass(frozen=True)
class TakeDownRecipe:
    """Take down more than a process that we started (containers and their network) by a command; it exits with 0."""

    argv: tuple[str, ...]
    timeout_s: float = 60.0


@dataclass(frozen=True)
class RemoveTreeRecipe:
    """Remove a directory that we made: one without our marker file holding ``token`` is left alone."""

    path: str
    token: str


Recipe = HttpRecipe | SignalRecipe | EndProcessRecipe | CommandRecipe | TakeDownRecipe | RemoveTreeRecipe | LocalRecipe


def stage(recipe: Recipe) -> int:
    """The order of healing: what wakes a stopped process first, then the rest, then what ends one, then its data."""
    order: dict[type[Any], int] = {SignalRecipe: 0, HttpRecipe: 1, CommandRecipe: 1}
    order |= {EndProcessRecipe: 2, TakeDownRecipe: 2}
    return 1 if isinstance(recipe, LocalRecipe) else order.get(type(recipe), 3)


def to_json(recipe: Recipe) -> dict[str, Any]:
    """A recipe as the ledger holds it; no secrets."""
    match recipe:
        case HttpRecipe():
            return {
                "type": "http",
                "method": recipe.method,
                "url": recipe.url,
                "body": recipe.body,
                "key_env": recipe.key_env,
                "dies_with": recipe.dies_with.as_json() if recipe.dies_with else None,
                "check": {"url": recipe.check.url, "fault": recipe.check.fault} if recipe.check else None,
                "through": recipe.through.as_json() if recipe.through else None,
                "otherwise": to_json(recipe.otherwise) if recipe.otherwise else None,
            }
        case SignalRecipe():
            return {"type": "signal", "process": recipe.process.as_json(), "signal": int(recipe.signal)}
        case EndProcessRecipe():
            return {"type": "end", "process": recipe.process.as_json(), "grace_s": recipe.grace_s}
        case CommandRecipe():
            return {
                "type": "command",
                "argv": list(recipe.argv),
                "timeout_s": recipe.timeout_s,
                "ok_codes": list(recipe.ok_codes),
            }
        case TakeDownRecipe():
            return {"type": "take_down", "argv": list(recipe.argv), "timeout_s": recipe.timeout_s}
        case RemoveTreeRecipe():
            return {"type": "remove", "path": recipe.path, "token": recipe.token}
        case LocalRecipe():
            return recipe.as_json()


def from_json(value: Mapping[str, Any]) -> Recipe:
    """The inverse of :func:`to_json`. Raises :class:`RecordError` for a recipe this version does not know."""
    local = local_from_json(value)
    if local is not None:
        return local
    try:
        match value["type"]:
            case "http":
                check, process = value.get("check"), value.get("dies_with")
                through, otherwise = value.get("through"), value.get("otherwise")
                return HttpRecipe(
                    str(value["method"]),
                    str(value["url"]),
                    value.get("body"),
                    value.get("key_env"),
                    ProcessIdentity.from_json(process) if process else None,
                    ListingCheck(str(check["url"]), str(check["fault"])) if check else None,
                    ProcessIdentity.from_json(through) if through else None,
                    _command(otherwise) if otherwise else None,
                )
            case "signal":
                return SignalRecipe(ProcessIdentity.from_json(value["process"]), int(value["signal"]))
            case "end":
                return EndProcessRecipe(ProcessIdentity.from_json(value["process"]), float(value["grace_s"]))
            case "command":
                return _command(value)
            case "take_down":
                return TakeDownRecipe(tuple(map(str, value["argv"])), float(value["timeout_s"]))
            case "remove":
                return RemoveTreeRecipe(str(value["path"]), str(value["token"]))
            case other:
                raise RecordError(f"unknown kind of recipe: {other!r}", hint="heal with the version that wrote it")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"not a recipe: {error}") from error


def _command(value: Mapping[str, Any]) -> CommandRecipe:
    codes = tuple(int(code) for code in value["ok_codes"])
    return CommandRecipe(tuple(map(str, value["argv"])), float(value["timeout_s"]), codes)


def apply(recipe: Recipe, timeout_s: float = 2.0) -> str:
    """Heal, and see that it healed as far as the recipe can tell; answers what was done.

    Blocks for about ``timeout_s`` at most (a command: its own). Raises :class:`HealFailed`. Idempotent.
    """
    match recipe:
        case HttpRecipe():
            return _apply_http(recipe, timeout_s)
        case SignalRecipe():
            sent = _send(recipe.process, signal.Signals(recipe.signal))
            return f"sent {signal.Signals(recipe.signal).name}" if sent else "the process is gone"
        case EndProcessRecipe():
            return _end(recipe)
        case CommandRecipe():
            return _run(recipe.argv, recipe.timeout_s, recipe.ok_codes)
        case TakeDownRecipe():
            return _run(recipe.argv, recipe.timeout_s, (0,))
        case RemoveTreeRecipe():
            return _remove(recipe)
        case LocalRecipe():
            return recipe.apply()


def still_there(recipe: Recipe, timeout_s: float = 2.0) -> bool | None:
    """Whether the fault is still in force, by looking only; None where the recipe cannot tell."""
    match recipe:
        case HttpRecipe():
            if recipe.dies_with is not None and not recipe.dies_with.alive():
                return False
            if recipe.through is not None and not recipe.through.alive():
                return None
            return None if recipe.check is None else _listed(recipe.check, recipe.key_env, timeout_s)
        case EndProcessRecipe():
            return recipe.process.alive()
        case RemoveTreeRecipe():
            return Path(recipe.path).exists()
        case LocalRecipe():
            return recipe.there()
        case _:
            return None


def _apply_http(recipe: HttpRecipe, timeout_s: float) -> str:
    if recipe.dies_with is not None and not recipe.dies_with.alive():
        return "its process is gone"
    if recipe.otherwise is not None and not (recipe.through and recipe.through.alive()):
        return apply(recipe.otherwise)
    try:
        status, body = _request(recipe.method, recipe.url, recipe.body, recipe.key_env, timeout_s)
    except HealFailed:
        if recipe.dies_with is not None and not recipe.dies_with.alive():
            return "its process is gone"
        raise
    if not 200 <= status < 300:
        shown = body[:160].decode("utf-8", "replace")
        hint = f"set the bearer key in ${recipe.key_env}" if status in (401, 403) and recipe.key_env else ""
        raise HealFailed(f"the healing request answered {status}: {_redacted(shown)!r}", where=recipe.url, hint=hint)
    if recipe.check is not None and _listed(recipe.check, recipe.key_env, timeout_s):
        raise HealFailed(f"{recipe.check.fault} is still listed after its heal", where=recipe.url)
    return f"{recipe.method} answered {status}"


def _listed(check: ListingCheck, key_env: str | None, timeout_s: float) -> bool:
    status, body = _request("GET", check.url, None, key_env, timeout_s)
    try:
        active = json.loads(body)["active"]
        return any(item["fault"] == check.fault for item in active)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HealFailed(f"the list of active faults cannot be read (status {status})", where=check.url) from error


def _request(method: str, url: str, body: str | None, key_env: str | None, timeout_s: float) -> tuple[int, bytes]:
    """Status and body; redirects are not followed. Raises :class:`HealFailed` where nothing answers."""
    parts = urlsplit(url)
    headers = {"connection": "close", "user-agent": "engram-harness-heal"}
    if body is not None:
        headers["content-type"] = "application/json"
    key = os.environ.get(key_env, "").strip() if key_env else ""
    if key:
        headers["authorization"] = f"Bearer {key}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(parts.netloc, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(_MAX_ANSWER)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise HealFailed(f"no answer to the healing request: {_redacted(reason)}", where=url) from None
    finally:
        connection.close()


def _redacted(text: str) -> str:
    key = os.environ.get("ENGRAM_API_KEY", "").strip()
    return text.replace(key, "***") if key else text


def _send(process: ProcessIdentity, number: signal.Signals) -> bool:
    try:
        return process.send(number)
    except PermissionError as error:
        raise HealFailed(f"may not signal process {process.pid}", hint="heal as the user who ran it") from error


def _end(recipe: EndProcessRecipe) -> str:
    for number, patience_s in ((signal.SIGTERM, recipe.grace_s), (signal.SIGKILL, 2.0)):
        _send(recipe.process, signal.SIGCONT)  # a stopped process takes no SIGTERM
        if not _send(recipe.process, number) or _gone(recipe.process, patience_s):
            return "the process is gone"
    raise HealFailed(f"process {recipe.process.pid} outlives SIGKILL")


def _gone(process: ProcessIdentity, patience_s: float) -> bool:
    never = threading.Event()
    deadline = time.monotonic() + patience_s
    while process.alive():
        if time.monotonic() >= deadline:
            return False
        never.wait(0.01)
    return True


def _run(argv: tuple[str, ...], timeout_s: float, ok_codes: tuple[int, ...]) -> str:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise HealFailed(f"{argv[0]} failed: {error}") from error
    if done.returncode not in ok_codes:
        said = done.stderr[-160:].decode("utf-8", "replace").strip()
        raise HealFailed(f"{' '.join(argv)} exited with {done.returncode}: {said}")
    return f"{argv[0]} exited with {done.returncode}"


def mark_scratch(path: Path, token: str) -> RemoveTreeRecipe:
    """Mark a directory as ours to remove. Raises :class:`OSError`."""
    (path / SCRATCH_MARKER).write_text(token, encoding="ascii")
    return RemoveTreeRecipe(str(path), token)


def _remove(recipe: RemoveTreeRecipe) -> str:
    path = Path(recipe.path)
    if not path.exists():
        return "the directory is gone"
    try:
        found = (path / SCRATCH_MARKER).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        found = ""
    if path.is_symlink() or found != recipe.token:
        return "left alone: not the directory we made"
    try:
        for inner in path.iterdir():
            if inner.is_dir() and not inner.is_symlink():
                shutil.rmtree(inner)
            elif inner.name != SCRATCH_MARKER:  # last of all: were we killed here, the next would still know it as ours
                inner.unlink()
        shutil.rmtree(path)
    except OSError as error:
        raise HealFailed(f"cannot remove: {error.strerror}", where=recipe.path) from error
    return "the directory is removed"
