"""The read-back process: ``python -m harness.load.readback PLAN.json``; reads what was ever acknowledged.

Command: ``{"do": "verify", "deadline_s": S, "sample": N}``; or ``{"do": "recent", "deadline_s": S, "before": T, "most":
N}`` for what was written last before an instant, while the load goes on. Lines go to ``verify.jsonl``, or else
``recovered.jsonl``, as :mod:`harness.load.verify` describes. It judges nothing: what a version seen means is decided
from the samples.
"""

from gevent import monkey

monkey.patch_all()

# ruff: noqa: E402 - everything below must see the patched modules
import os
import sys
import time
from typing import Any

import gevent
import numpy as np
import orjson
from gevent.pool import Pool

from harness.errors import ExchangeFailed, HarnessError
from harness.load.answers import read_answer
from harness.load.exchange import HttpPool, endpoint_of
from harness.load.payload import PayloadBank, parse_origin
from harness.load.pipe import commands, read_plan, say
from harness.load.plan import KEY_VARIABLE, ProcessPlan
from harness.load.verify import RECENT_FILE, VERIFY_FILE, acknowledged_pairs, recent_pairs
from harness.load.wire import Requests
from harness.model import Cue, Found, Op, Outcome
from harness.timeline.jsonl import JsonLines
from harness.timeline.samples import read_all_samples

_CONCURRENCY = 16
_FEW, _FEW_PER_S = 4, 200.0  # beside the load, which has just found the target again
_PAUSE_S = 0.1
_SAMPLE_STREAM = 5
# What may pass when the target is asked again: it is restarting, or was busy for a moment.
_PASSING = frozenset({Outcome.TIMEOUT, Outcome.REFUSED, Outcome.RESET, Outcome.HTTP_5XX, Outcome.OTHER})


class Readback:
    """Reads memories back, each until the target has answered or the time is over."""

    def __init__(self, plan: ProcessPlan, deadline: float, file: str = VERIFY_FILE) -> None:
        endpoint = endpoint_of(plan.base_url)
        bank = PayloadBank(plan.workload, plan.seed)
        self._bank = bank
        self._plan = plan
        self._deadline = deadline
        self._requests = Requests(plan.workload, bank, endpoint, os.environ.get(KEY_VARIABLE))
        self._pool = HttpPool(endpoint)
        self._lines = JsonLines(plan.folder / file)
        self.counts = {"asked": 0, "found": 0, "missing": 0, "unanswered": 0, "other": 0}

    def read(self, op: Op, space: int, item: int) -> None:
        """Ask for one memory, by id or by its embedding, and write the line."""
        request = self._requests.build(op, item, space, item % self._plan.workload.users, Cue.EXACT, 0)
        asked, status, outcome = time.monotonic(), 0, Outcome.TIMEOUT
        reading, body = None, b""
        while (left := self._deadline - time.monotonic()) > 0:
            try:
                status, body, _ = self._pool.exchange(request, min(left, self._plan.workload.request_timeout_s))
            except ExchangeFailed as failed:
                status, outcome = failed.status, Outcome(failed.outcome)
            else:
                reading = read_answer(op, status, body, item, space, 0)
                outcome = Outcome(reading.outcome)
            if outcome not in _PASSING:
                break
            gevent.sleep(_PAUSE_S)
        found = reading is not None and reading.found == Found.YES
        self._count(op, status, outcome, found)
        line: dict[str, Any] = {
            "t": time.monotonic(),
            "asked": asked,
            "by": "id" if op == Op.READ else "embedding",
            "space": space,
            "item": item,
            "status": status,
            "outcome": outcome.name.lower(),
            "seen_item": item if found else None,
            "seen_version": reading.version if reading is not None and found else None,
            "rank": reading.rank if reading is not None else 0,
        }
        if status == 200:
            line |= shown_by_id(body, self._bank) if op == Op.READ else shown_by_recall(body, item, space)
        self._lines.append(line)

    def _count(self, op: Op, status: int, outcome: Outcome, found: bool) -> None:
        self.counts["asked"] += 1
        if found:
            key = "found"
        elif outcome in _PASSING:
            key = "unanswered"
        elif (op == Op.READ and status == 404) or outcome == Outcome.OK:
            key = "missing"
        else:
            key = "other"
        self.counts[key] += 1

    def close(self) -> None:
        """Finish the file."""
        self._lines.close()
        self._pool.close()


def shown_by_id(body: bytes, bank: PayloadBank) -> dict[str, Any]:
    """Whose write the content of a ``GET /memories/{id}`` says it is, and whether it is that to the letter."""
    content = _json(body).get("content")
    origin = parse_origin(content) if isinstance(content, str) else None
    if origin is None:
        return {"seen_item": None, "seen_version": None, "seen_space": None, "whole": False}
    item, version, space = origin
    whole = content == bank.content(item, version, space)
    return {"seen_item": item, "seen_version": version, "seen_space": space, "whole": whole}


def shown_by_recall(body: bytes, item: int, space: int) -> dict[str, Any]:
    """How often the memory is among the results of a recall, and how many of them belong to another space."""
    bands = _json(body).get("memories")
    entries = [e for band in bands.values() if isinstance(band, list) for e in band] if isinstance(bands, dict) else []
    contents = [e.get("content") for e in entries if isinstance(e, dict)]
    origins = [origin for text in contents if isinstance(text, str) and (origin := parse_origin(text))]
    copies = sum(origin[0] == item and origin[2] == space for origin in origins)
    return {"copies": copies, "strangers": sum(origin[2] != space for origin in origins)}


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def verify(plan: ProcessPlan, deadline_s: float, sample: int) -> dict[str, int]:
    """Read every acknowledged memory by id, and a seeded sample of them by embedding."""
    pairs = acknowledged_pairs(read_all_samples(plan.folder))
    order = np.random.Generator(np.random.Philox(key=[plan.seed & (2**64 - 1), _SAMPLE_STREAM])).permutation(len(pairs))
    readback = Readback(plan, time.monotonic() + deadline_s)
    pool = Pool(_CONCURRENCY)
    work = [(Op.READ, *pair) for pair in pairs]
    work += [(Op.EMBEDDING_SEARCH, *pairs[index]) for index in order[:sample].tolist()]
    for op, space, item in work:
        pool.spawn(readback.read, op, space, item)
    pool.join()
    readback.close()
    return {**readback.counts, "expected": len(work)}


def recent(plan: ProcessPlan, deadline_s: float, before: float, most: int) -> dict[str, int]:
    """Read by id what was written last before ``before``: a few at a time, as the load goes on."""
    pairs = recent_pairs(read_all_samples(plan.folder), before, most)
    readback = Readback(plan, time.monotonic() + deadline_s, RECENT_FILE)
    pool = Pool(_FEW)
    for pair in pairs:
        pool.spawn(readback.read, Op.READ, *pair)
        gevent.sleep(1 / _FEW_PER_S)
    pool.join()
    readback.close()
    return {**readback.counts, "expected": len(pairs)}


def main(arguments: list[str]) -> int:
    """Run the read-back; exit code 0 when done, 1 when something broke (said on stdout)."""
    try:
        plan = read_plan(arguments[0])
        queue = commands()
        say({"ready": True})
        command: dict[str, Any] = queue.get()
        if command.get("do") == "verify":
            say({"verified": verify(plan, float(command["deadline_s"]), int(command["sample"]))})
        elif command.get("do") == "recent":
            limits = float(command["deadline_s"]), float(command["before"]), int(command["most"])
            say({"verified": recent(plan, *limits)})
    except HarnessError as error:
        say({"failed": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
