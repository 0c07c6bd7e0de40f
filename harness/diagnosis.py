"""One bundle for a report: all a target says of itself and all we know of it, without secrets.

Every part is tried by itself: what a half-dead target does not answer is named in ``missing.json`` with the reason.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.engram import EngramClient, probe_capabilities
from harness.errors import HarnessError, RecordError
from harness.faults.state import journals, state_dir
from harness.timeline.jsonl import plain

_TAIL_BYTES = 256 * 1024
_LEDGERS = 10
_SECRET_NAME = re.compile(r"key|token|secret|passw|credential|webhook|authorization|bearer|cookie", re.I)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}")
_IN_URL = re.compile(r"(?<=://)[^/@\s\"']+@")
_ASSIGNED = re.compile(
    r"(?i)([\"']?[\w.-]*(?:key|token|secret|passw(?:or)?d|webhook(?:_url)?)[\"']?\s*[:=]\s*)([\"'][^\"']*[\"']|[^\s,;}]+)"
)
_LEAST = 6  # shorter values of the environment are words, not secrets, and would blacken every text

Part = Callable[[], Any]


class Redactor:
    """Takes secrets out of texts: by value (of the environment), and by how they look."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        values = {v.strip() for name, v in variables.items() if _SECRET_NAME.search(name) and len(v.strip()) >= _LEAST}
        forms: set[str] = set()
        for value in values:
            raw = value.encode()
            forms |= {value, quote(value, safe=""), json.dumps(value)[1:-1], raw.hex()}
            # Within base64 a text looks one of three ways, by where it begins; its edges depend on its neighbours.
            for shift in range(3):
                encoded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
                inner = encoded[-(-shift * 8 // 6) + (1 if shift else 0) : -1]
                forms |= {inner} if len(inner) >= _LEAST else set()
        self._forms = sorted(forms, key=len, reverse=True)

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        for form in self._forms:
            text = text.replace(form, "***")
        text = _BEARER.sub(r"\1 ***", text)
        text = _IN_URL.sub("***@", text)
        return _ASSIGNED.sub(lambda m: f'{m[1]}"***"' if m[2][:1] in "\"'" else f"{m[1]}***", text)

    def value(self, value: Any) -> Any:
        """A JSON value without secrets: neither in its texts nor under keys that are named like one."""
        if isinstance(value, Mapping):
            return {
                self.text(str(k)): "***" if _SECRET_NAME.search(str(k)) and isinstance(v, str) else self.value(v)
                for k, v in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return self.text(value) if isinstance(value, str) else value


def collect(
    client: EngramClient, *, facts: Mapping[str, Any], logs: Sequence[Path], results_dir: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """Every part by its file's name, and why the missing ones are missing; secrets still in."""
    parts: dict[str, Part] = {
        "alive.json": lambda: {"alive": _true(client.alive())},
        "health.json": lambda: {"healthy": client.health()},
        "system_health.json": client.system_health,
        "system_info.json": client.system_info,
        "flags.json": client.features,
        "chaos.json": lambda: _chaos(client),
        "consolidation.json": lambda: vars(client.consolidations()),
        "bindings.json": lambda: _counts(client),
        "metrics.txt": lambda: _metrics(client),
        "capabilities.json": lambda: probe_capabilities(client).as_json(),
        "open_faults.jsonl": _open_ledgers,
        "recent_ledgers.jsonl": lambda: _recent_ledgers(results_dir),
        **{f"log_{number}_{path.name}": _tail_of(path) for number, path in enumerate(logs)},
    }
    found: dict[str, Any] = {"versions.json": dict(facts)}
    missing: dict[str, str] = {} if logs else {"logs": "no log was named (--log FILE)"}
    for name, part in parts.items():
        try:
            found[name] = part()
        except HarnessError as error:
            missing[name] = str(error)
        except OSError as error:
            missing[name] = f"{error.filename or name}: {error.strerror or error}"
    return found, missing


def write_bundle(path: Path, found: Mapping[str, Any], missing: Mapping[str, str], redactor: Redactor) -> None:
    """Write the bundle, whole or not at all, with every part redacted. Raises :class:`RecordError`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    every = {**found, "missing.json": dict(missing)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(draft, "w:gz") as bundle:
            for name, value in sorted(every.items()):
                text = redactor.text(value) if isinstance(value, str) else _json(redactor.value(value))
                raw = text.encode("utf-8", "replace")
                entry = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{redactor.text(name)}")
                entry.size = len(raw)
                bundle.addfile(entry, io.BytesIO(raw))
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise RecordError(f"cannot write the bundle: {error.strerror}", where=str(path)) from error


def _json(value: Any) -> str:
    return json.dumps(plain(value), indent=2, sort_keys=True, default=str) + "\n"


def _true(alive: bool) -> bool:
    if not alive:
        raise RecordError("nobody answers /health/alive")
    return alive


def _chaos(client: EngramClient) -> dict[str, Any]:
    listing = client.chaos_listing()
    return {"active": [vars(fault) for fault in listing.active], "supports": sorted(listing.supports)}


def _counts(client: EngramClient) -> dict[str, Any]:
    page = client.binding_counts()
    return {"total": page.total, "invalid": page.invalid}


def _metrics(client: EngramClient) -> str:
    answer = client.request("GET", "/metrics")
    if answer.status != 200:
        raise answer.refused()
    return answer.body.decode("utf-8", "replace")


def _open_ledgers() -> str:
    return _joined(journals(state_dir()))


def _recent_ledgers(results_dir: Path) -> str:
    found = results_dir.glob("*/*/ledger.jsonl") if results_dir.is_dir() else iter(())
    return _joined(sorted(found, key=lambda path: path.stat().st_mtime)[-_LEDGERS:])


def _joined(paths: Iterable[Path]) -> str:
    return "".join(f"# {path.parent.name}/{path.name}\n{_tail_of(path)()}\n" for path in paths)


def _tail_of(path: Path) -> Callable[[], str]:
    def read() -> str:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")

    return read
