"""Runs of a study, spread over processes and kept, so that a long calibration can be cut off and go on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Bench:
    """Runs studies over a pool of processes; what is done already is read from a folder."""

    def __init__(
        self, pool: Any, cache: Path | None = None, until: float = float("inf"), *, partial: bool = False
    ) -> None:
        self._pool, self._cache, self._until, self._partial = pool, cache, until, partial

    def run(self, one: Callable[..., Row], arguments: Sequence[Any], runs: int) -> list[Row]:
        """``runs`` runs of one study. Raises TimeoutError where the time is over."""
        rows = self._known(one, arguments)[:runs]
        while len(rows) < runs:
            if time.monotonic() > self._until:
                if self._partial:
                    break  # every row of the page says how many runs it is of
                raise TimeoutError(f"{one.__name__} {arguments}: {len(rows)} of {runs} runs")
            seeds = range(len(rows), min(runs, len(rows) + 60))
            rows += self._pool.starmap(one, [(*arguments, seed) for seed in seeds], chunksize=5)
            self._keep(one, arguments, rows)
        return rows

    def _path(self, one: Callable[..., Row], arguments: Sequence[Any]) -> Path | None:
        if self._cache is None:
            return None
        return self._cache / (
            sha256(f"{one.__name__} {arguments!r} {_code(one.__name__)}".encode()).hexdigest()[:24] + ".json"
        )

    def _known(self, one: Callable[..., Row], arguments: Sequence[Any]) -> list[Row]:
        path = self._path(one, arguments)
        return json.loads(path.read_text()) if path is not None and path.is_file() else []

    def _keep(self, one: Callable[..., Row], arguments: Sequence[Any], rows: list[Row]) -> None:
        path = self._path(one, arguments)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".new").write_text(json.dumps(rows, default=bool))
            path.with_suffix(".new").replace(path)


_JUDGES = {"watch_errors": ("arms", "error_evidence")}
_EVERY = ("arms", "sides", "compare", "sequential", "runbook", "intervals")


@cache
def _code(study: str) -> str:
    """What the answers of a study depend on."""
    folder = Path(__file__).resolve().parents[2]
    sources = [folder / "harness" / "judge" / f"{name}.py" for name in _JUDGES.get(study, _EVERY)]
    sources.append(folder / "tests" / "calibration" / "worlds.py")
    return sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
