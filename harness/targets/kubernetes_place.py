"""Which Engram in which cluster, and whether faults may go there; nothing here needs the Kubernetes client.

The context and the namespace are always named: a kubeconfig's current context changes with one command in another
window, and a drill must not follow it to production.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from harness.errors import RecordError, TargetNotOwned, UsageError

DEFAULT_SELECTOR = "app=engram,variant=canary"  # rollout runbook 2.2: the canary is what drills go to
DEFAULT_PORT = 7432
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TERM = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_./]*(=[A-Za-z0-9]?[-A-Za-z0-9_.]*)?")


@dataclass(frozen=True)
class Place:
    """Pods of ``namespace`` in the cluster of ``context`` that ``selector`` matches; Engram listens on ``port``.

    ``allowed``: the ``CONTEXT/NAMESPACE`` that faults may go to, spelled out; no patterns.
    """

    context: str
    namespace: str
    selector: str = DEFAULT_SELECTOR
    port: int = DEFAULT_PORT
    allowed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``CONTEXT/NAMESPACE``, as an allow-list spells it."""
        return f"{self.context}/{self.namespace}"

    @property
    def url(self) -> str:
        """One spelling for this place, for locks and ledgers; nobody connects to it."""
        host = ".".join(quote(part, safe="") for part in (self.selector, self.namespace, self.context))
        return f"kubernetes://{host}:{self.port}"

    def require_allowed(self) -> None:
        """Raise :class:`TargetNotOwned` unless faults may go into this context and namespace."""
        if self.name not in self.allowed:
            raise TargetNotOwned(
                f"{self.name} is not on the list of contexts and namespaces that faults may go to",
                where="--kube-allow",
                hint=f"on it: {', '.join(self.allowed) or 'nothing'}; name it as CONTEXT/NAMESPACE if it is yours",
            )

    def as_json(self) -> dict[str, Any]:
        """Read back by :func:`place_from_json`; no secrets."""
        return asdict(self)


def place_from_json(value: Mapping[str, Any]) -> Place:
    """The inverse of :meth:`Place.as_json`. Raises :class:`RecordError`."""
    try:
        return Place(
            str(value["context"]),
            str(value["namespace"]),
            str(value["selector"]),
            int(value["port"]),
            tuple(map(str, value["allowed"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"not a place in a cluster: {value!r}") from error


def place_from(
    context: str | None, namespace: str | None, selector: str | None, port: str | None, allowed: Sequence[str]
) -> Place:
    """A checked place from options as they were typed. Raises :class:`UsageError`."""
    for flag, value in (("--kube-context", context), ("--kube-namespace", namespace)):
        if not value:
            raise UsageError(
                f"--target kubernetes needs {flag}",
                hint="named, never taken from kubeconfig's current context, which changes under a running drill",
            )
    assert context is not None and namespace is not None
    if not _NAME.fullmatch(namespace):
        raise UsageError(f"--kube-namespace {namespace!r} is no name of a namespace")
    selector = selector or DEFAULT_SELECTOR
    if not all(_TERM.fullmatch(term.strip()) for term in selector.split(",")):
        raise UsageError(f"--kube-selector {selector!r} is no label selector", hint="KEY=VALUE, separated by commas")
    text = port or str(DEFAULT_PORT)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise UsageError(f"--kube-port {text!r} is not a port")
    for entry in allowed:
        before, slash, after = entry.rpartition("/")  # names of contexts may hold slashes, those of namespaces may not
        if not slash or not before or not _NAME.fullmatch(after):
            raise UsageError(
                f"--kube-allow {entry!r} is not CONTEXT/NAMESPACE", hint="spelled out; there are no patterns"
            )
    return Place(context, namespace, selector, int(text), tuple(allowed))
