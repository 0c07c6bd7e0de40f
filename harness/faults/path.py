"""Trips: single requests on connections of their own, told apart by how they end, that show what the network does."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from harness.engram.transport import secret_from_environment

ALIVE = "/health/alive"
_RECEIVE = 256 * 1024
_MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Trip:
    """One request. ``end``: answered, timeout, reset, refused or closed (no answer, yet no reset); times in s."""

    end: str
    answer_s: float
    close_s: float
    answer: bytes = b""


@dataclass(frozen=True)
class Round:
    """A few trips."""

    trips: tuple[Trip, ...] = ()

    def share(self, *ends: str) -> float:
        """The share of trips that ended in one of these ways."""
        return sum(trip.end in ends for trip in self.trips) / max(1, len(self.trips))

    @property
    def median_ms(self) -> float:
        """The median time to the answer, trips without one included with the time they took."""
        return median(trip.answer_s for trip in self.trips) * 1e3 if self.trips else 0.0

    @property
    def fastest_ms(self) -> float:
        """The least time to the answer: a fault slows every trip, a busy machine some of them."""
        return min((trip.answer_s for trip in self.trips), default=0.0) * 1e3

    @property
    def slowest_ms(self) -> float:
        """The longest time to the answer."""
        return max((trip.answer_s for trip in self.trips), default=0.0) * 1e3

    @property
    def spread_ms(self) -> float:
        """Between the fastest and the slowest trip."""
        return self.slowest_ms - self.fastest_ms

    @property
    def close_ms(self) -> float:
        """The median time from the answer to the end of the connection."""
        return median(trip.close_s for trip in self.trips) * 1e3 if self.trips else 0.0

    @property
    def answers(self) -> frozenset[bytes]:
        """The different answers."""
        return frozenset(trip.answer for trip in self.trips if trip.end == "answered")

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return {"trips": dict(Counter(t.end for t in self.trips)), "median_ms": round(self.median_ms, 3)}


def travel(
    base_url: str,
    path: str = ALIVE,
    *,
    trips: int = 5,
    timeout_s: float = 0.6,
    until: Callable[[Trip], bool] = lambda trip: False,
) -> Round:
    """Make a few trips, one after the other, up to one that shows what is looked for (``until``).

    Never raises for how they end.
    """
    found: list[Trip] = []
    while len(found) < trips and not (found and until(found[-1])):
        found.append(_trip(base_url, path, timeout_s))
    return Round(tuple(found))


def crowd(
    base_url: str,
    path: str,
    *,
    travellers: int,
    trips: int,
    timeout_s: float,
    until: Callable[[Trip], bool] = lambda trip: False,
) -> Round:
    """That many travel at once, each as :func:`travel` does: work that lies ready, however late we get to ask for more.

    Never raises for how the trips end.
    """

    def one(_: int) -> Round:
        return travel(base_url, path, trips=trips, timeout_s=timeout_s, until=until)

    with ThreadPoolExecutor(max_workers=travellers, thread_name_prefix="trip") as pool:
        return Round(tuple(trip for found in pool.map(one, range(travellers)) for trip in found.trips))


def _trip(base_url: str, path: str, timeout_s: float) -> Trip:
    parts = urlsplit(base_url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    secret = secret_from_environment()
    key = f"authorization: Bearer {secret.reveal()}\r\n" if secret else ""
    request = f"GET {parts.path}{path} HTTP/1.1\r\nhost: {host}:{port}\r\n{key}connection: close\r\n\r\n"
    started, answer = time.monotonic(), b""
    answered = started
    end = "closed"
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as sock:
            sock.sendall(request.encode("latin-1"))
            while len(answer) < _MOST_BYTES:
                sock.settimeout(max(0.001, started + timeout_s - time.monotonic()))
                data = sock.recv(_RECEIVE)
                if not data:
                    break
                answer += data
                answered = time.monotonic()
                end = "answered"
    except TimeoutError:
        end = "answered" if end == "answered" and _whole(answer) else "timeout"
    except ConnectionRefusedError:
        end = "refused"
    except ConnectionError:
        end = "reset"
    except OSError:
        end = "refused"
    now = time.monotonic()
    if end != "answered":
        return Trip(end, now - started, 0.0)
    return Trip(end, answered - started, now - answered, answer)


def _whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return bool(found) and len(body) >= int(line.split(b":")[1] or b"0")
    return False
