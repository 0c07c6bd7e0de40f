"""What is asked before every injection: is it still the target that was claimed, and is there room for another fault.

A target is what it was when it was claimed: the same addresses behind its name, no redirect to elsewhere, the same
process behind its pid. A name that moved, a load balancer that now points at production, or a pid that somebody else
got, all end here.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from harness.errors import FaultError, TargetNotOwned
from harness.targets.base import Target

_REDIRECTS = range(300, 400)
_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Limits:
    """``max_concurrent`` faults in force at once; ``max_total_s`` of fault time, all faults of a ledger added up.

    ``allowed``: URLs (scheme, host, port) faults may go to; None where ownership alone decides.
    """

    max_concurrent: int = 8
    max_total_s: float = 6 * 3600.0
    allowed: frozenset[str] | None = None


@dataclass
class Guard:
    """The guard of one ledger. Not thread-safe by itself; the ledger holds its lock around :meth:`admit`."""

    limits: Limits = field(default_factory=Limits)
    _pinned: dict[str, frozenset[str]] = field(default_factory=dict)
    _spent_s: float = 0.0

    def check(self, target: Target) -> None:
        """Raise :class:`TargetNotOwned` or :class:`FaultError` unless ``target`` is what it was when first seen here.

        Asked again before every injection; the first time pins the addresses of its name.
        """
        target.require_owned()
        target.require_same()
        url = target.base_url
        if self.limits.allowed is not None and _origin(url) not in {_origin(one) for one in self.limits.allowed}:
            raise TargetNotOwned("is not on the list of targets that faults may go to", where=url)
        process = target.process
        if process is not None and not process.alive() and target.alive():  # down by our own doing is another matter
            raise FaultError(
                f"the target's process {process.pid} is gone, and its pid may be another's by now", where=url
            )
        addresses = resolve(url)
        pinned = self._pinned.setdefault(_origin(url), addresses)
        if addresses != pinned:
            raise FaultError(
                f"its name led to {_shown(pinned)} when it was claimed and leads to {_shown(addresses)} now",
                where=url,
                hint="claim the target again, if that is still the one you mean",
            )
        elsewhere = redirect(url)
        if elsewhere:
            raise FaultError(f"it redirects to {elsewhere}: a fault would go to another target", where=url)
        if elsewhere is not None and process is not None and not process.alive():
            raise FaultError(
                f"the target's process {process.pid} is gone, yet something answers at its address: another service",
                where=url,
                hint="see who listens there, and start again",
            )

    def admit(self, in_force: int, what: str, span_s: float) -> None:
        """Raise :class:`FaultError` unless one more fault of at most ``span_s`` seconds is within the limits."""
        if in_force >= self.limits.max_concurrent:
            raise FaultError(f"{what}: {in_force} faults are in force, and no more than that may be at once")
        if self._spent_s + span_s > self.limits.max_total_s:
            raise FaultError(
                f"{what}: with {span_s:.0f} s more, faults would be in force for {self._spent_s + span_s:.0f} s in all",
                hint=f"the limit is {self.limits.max_total_s:.0f} s",
            )

    def spent(self, seconds: float) -> None:
        """A fault was in force for so long."""
        self._spent_s += max(0.0, seconds)


def resolve(url: str) -> frozenset[str]:
    """The addresses behind a URL's host. Raises :class:`FaultError` where it has none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        return frozenset({str(ipaddress.ip_address(host))})
    except ValueError:
        pass  # a name
    try:
        found = socket.getaddrinfo(host, parts.port or None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise FaultError(f"its name cannot be resolved any more: {error.strerror or error}", where=url) from error
    return frozenset(str(entry[4][0]) for entry in found)


def redirect(url: str) -> str | None:
    """Where ``/health/alive`` redirects to, empty where it does not; None where nothing answers."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/health/alive")
        answer = connection.getresponse()
        return answer.getheader("location", "another place") if answer.status in _REDIRECTS else ""
    except (OSError, http.client.HTTPException, ssl.SSLError):
        return None
    finally:
        connection.close()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def _shown(addresses: Collection[str]) -> str:
    return ", ".join(sorted(addresses)) or "nowhere"
