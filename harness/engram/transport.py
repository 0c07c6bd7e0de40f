"""One bounded HTTP exchange: size, time and redirects are limited, and every way to fail has its own error.

Engram's client is built on it, and the clients of Prometheus and Grafana: there is one way to speak to a service.
"""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import httpx
import orjson

from harness.errors import TargetAnswerInvalid, TargetRefused, TargetUnreachable, UsageError

API_KEY_VARIABLE = "ENGRAM_API_KEY"
_SHOWN_BODY = 160


@dataclass(frozen=True)
class Service:
    """What is spoken to, in the words of an error message: its name, and where its credentials are looked for."""

    name: str
    variable: str
    credentials: str = "the bearer key"


ENGRAM = Service("Engram", f"${API_KEY_VARIABLE}")


class Secret:
    """A bearer key that no ``repr``, ``str``, pickle or message shows."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the Authorization header alone."""
        return self._value

    def redact(self, text: str) -> str:
        """``text`` without the key, should a target echo it."""
        return text.replace(self._value, "***") if self._value else text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a secret is not to be pickled")


def secret_from_environment(variable: str = API_KEY_VARIABLE) -> Secret | None:
    """The bearer key of the environment, or None. Raises :class:`UsageError` where it cannot be a header."""
    value = os.environ.get(variable, "").strip()
    if not value:
        return None
    if not value.isascii() or not value.isprintable():
        raise UsageError("the key holds characters no HTTP header can carry", where=f"${variable}")
    return Secret(value)


def shown_url(url: str) -> str:
    """``url`` without what may be a key in it: user and password, query, fragment. For messages, of any text."""
    bare = re.sub(r"\A(\w+://)?.*@", r"\g<1>…@", url.strip(), flags=re.DOTALL)
    return re.sub(r"[?#].*", lambda found: f"{found[0][0]}…", bare, flags=re.DOTALL)


def check_base_url(url: str, service: Service = ENGRAM) -> str:
    """``url`` without a trailing slash. Raises :class:`UsageError` where it is no plain http(s) address.

    Credentials in the URL are refused: a URL is printed and recorded, a key must not be.
    """
    try:
        parts = urlsplit(url.strip())
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        raise UsageError(f"not a URL: {shown_url(url)!r}", hint="give it as http://host:port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok:
        raise UsageError(f"not an http(s) URL: {shown_url(url)!r}", hint="give it as http://host:port")
    if parts.username is not None or parts.password is not None:
        shown = f"{parts.scheme}://…@{parts.hostname}"
        raise UsageError(
            "credentials in the URL are refused", where=shown, hint=f"put {service.credentials} in {service.variable}"
        )
    if parts.query or parts.fragment:
        raise UsageError(f"a URL of {service.name} has no query or fragment: {shown_url(url)!r}")
    return url.strip().rstrip("/")


@dataclass(frozen=True)
class Answer:
    """A whole answer: status, headers, body, and ``service_s`` from sending to the last byte."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    service_s: float
    secret: Secret | None = field(default=None, repr=False)
    service: Service = ENGRAM

    @property
    def is_json(self) -> bool:
        """Whether the answer claims to be JSON."""
        return "json" in self.headers.get("content-type", "").lower()

    def excerpt(self) -> str:
        """The beginning of the body, printable and without the key."""
        text = self.body[: 4 * _SHOWN_BODY].decode("utf-8", "replace")
        text = self.secret.redact(text) if self.secret else text
        text = "".join(c if c.isprintable() else " " for c in text)
        return text[:_SHOWN_BODY] + ("…" if len(text) > _SHOWN_BODY else "")

    def invalid(self, what: str) -> TargetAnswerInvalid:
        """The error to raise where this answer has the wrong shape."""
        return TargetAnswerInvalid(f"{what}; it answered {self.status}: {self.excerpt()!r}", where=self.url)

    def object(self) -> dict[str, Any]:
        """The body as a JSON object. Raises :class:`TargetAnswerInvalid`."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            start = self.body[:200].lstrip().lower()
            if start.startswith((b"<!doctype", b"<html", b"<?xml")):
                raise TargetAnswerInvalid(
                    f"a page of HTML instead of JSON (status {self.status})",
                    where=self.url,
                    hint=f"is this {self.service.name}'s own port, not a proxy or login page?",
                ) from None
            raise self.invalid("not valid JSON") from None
        if not isinstance(value, dict):
            raise self.invalid("not a JSON object")
        return value

    def refused(self) -> TargetRefused:
        """The error to raise where this status is not a success."""
        if self.status in (401, 403):
            what = "unauthorised" if self.status == 401 else "forbidden"
            service = self.service
            hint = f"set {service.credentials} in {service.variable}"
            if self.secret is not None:
                hint = f"{service.credentials} in {service.variable} is not accepted"
            return TargetRefused(f"{what} (status {self.status})", where=self.url, hint=hint)
        if 300 <= self.status < 400:
            to = self.headers.get("location", "?")
            return TargetRefused(
                f"redirects to {to[:200]!r}, and redirects are not followed",
                where=self.url,
                hint=f"give the final URL of {self.service.name} itself",
            )
        return TargetRefused(f"status {self.status}: {self.excerpt()!r}", where=self.url)


@dataclass(frozen=True)
class _Request:
    method: str
    url: str
    params: Mapping[str, str] | None
    body: bytes | None
    headers: Mapping[str, str] | None
    max_bytes: int


class Transport:
    """A bounded HTTP connection pool to one service; used by several threads at once.

    ``secret`` goes out as ``scheme`` (``Bearer``, or ``Basic`` with the credentials encoded already).
    """

    def __init__(
        self,
        base_url: str,
        secret: Secret | None,
        timeout_s: float,
        max_answer_bytes: int,
        *,
        scheme: str = "Bearer",
        service: Service = ENGRAM,
    ) -> None:
        self.base_url = check_base_url(base_url, service)
        self._service = service
        self._secret = secret
        self._timeout_s = timeout_s
        self._max = max_answer_bytes
        headers = {
            "accept": "application/json, text/plain",
            "accept-encoding": "identity",
            "user-agent": "engram-harness",
        }
        if secret is not None:
            headers["authorization"] = f"{scheme} {secret.reveal()}"
        self._http = httpx.Client(
            headers=headers,
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,  # a proxy from the environment would measure (and break) something else
            verify=self.base_url.startswith("https"),
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=2.0),
        )

    def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        max_bytes: int | None = None,
    ) -> Answer:
        """Send one request and read its whole answer, whatever the status; ``max_bytes`` where it may be a large one.

        Raises :class:`TargetUnreachable` where none came in ``timeout_s``, :class:`TargetAnswerInvalid` where it is
        no HTTP, is encoded, or is larger than allowed.
        """
        request = _Request(method, self.base_url + path, params, body, headers, max_bytes or self._max)
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        found = self._once(request, limit_s)
        if isinstance(found, TargetUnreachable) and method == "GET":
            # The target closed a kept-alive connection as we wrote to it. A GET changes nothing: once more.
            found = self._once(request, limit_s)
        if isinstance(found, TargetUnreachable):
            raise found
        return found

    def _once(self, request: _Request, limit_s: float) -> Answer | TargetUnreachable:
        """One try; answers the error where the connection was lost before any answer, which may be tried again."""
        url = request.url
        started = time.monotonic()
        try:
            with self._http.stream(
                request.method,
                url,
                params=request.params,
                content=request.body,
                headers=request.headers,
                timeout=httpx.Timeout(limit_s),
            ) as response:
                content = _read(response, url, started + limit_s, request.max_bytes)
                taken_s = time.monotonic() - started
                return Answer(
                    url, response.status_code, response.headers, content, taken_s, self._secret, self._service
                )
        except httpx.TimeoutException as error:
            raise TargetUnreachable(f"no answer in {limit_s:g} s", where=url) from error
        except httpx.RemoteProtocolError as error:
            if "disconnected" in str(error):
                return TargetUnreachable("closed the connection without an answer", where=url)
            if "peer closed" in str(error):
                raise TargetUnreachable("closed the connection in the middle of an answer", where=url) from error
            raise TargetAnswerInvalid(
                f"does not speak HTTP: {error}", where=url, hint=f"is this {self._service.name}'s HTTP port?"
            ) from error
        except httpx.ReadError as error:
            return TargetUnreachable(f"connection lost: {_reason(error)}", where=url)
        except httpx.TransportError as error:
            raise TargetUnreachable(
                f"cannot connect: {_reason(error)}", where=url, hint=f"is {self._service.name} running?"
            ) from error
        except httpx.InvalidURL as error:
            raise UsageError(f"not a usable URL: {error}", where=url[:200]) from error

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._http.close()


def _read(response: httpx.Response, url: str, deadline: float, limit: int) -> bytes:
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise TargetAnswerInvalid(f"answered with {encoding[:40]!r} encoding, which was not asked for", where=url)
    parts: list[bytes] = []
    size = 0
    for part in response.iter_raw():
        size += len(part)
        if size > limit:
            raise TargetAnswerInvalid(f"the answer is larger than {limit:,} bytes", where=url)
        if time.monotonic() > deadline:
            raise TargetUnreachable("the answer does not end in time", where=url)
        parts.append(part)
    return b"".join(parts)


def _reason(error: Exception) -> str:
    cause = error.__cause__
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    return str(cause or error) or type(error).__name__


class ServiceClient:
    """A client that owns its :class:`Transport`; every client of a service is one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def base_url(self) -> str:
        """The service's address, without a trailing slash."""
        return self._transport.base_url

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class SignedClient(ServiceClient):
    """A client that may sign in with a bearer token, or with user and password, of two environment variables."""

    service: ClassVar[Service]
    token_variable: ClassVar[str]
    basic_variable: ClassVar[str]
    max_answer_bytes: ClassVar[int]

    def __init__(self, base_url: str, *, timeout_s: float, bearer: str | None, basic: tuple[str, str] | None) -> None:
        scheme, secret = authorisation(bearer, basic)
        super().__init__(
            Transport(base_url, secret, timeout_s, self.max_answer_bytes, scheme=scheme, service=self.service)
        )

    @classmethod
    def from_environment(cls, base_url: str, *, timeout_s: float = 10.0) -> Self:
        """One with the credentials of the environment, where there are any."""
        bearer, basic = credentials(cls.token_variable, cls.basic_variable)
        return cls(base_url, timeout_s=timeout_s, bearer=bearer, basic=basic)


def authorisation(bearer: str | None, basic: Sequence[str] | None) -> tuple[str, Secret | None]:
    """The scheme and secret of an Authorization header. Raises :class:`UsageError` where both ways are asked for."""
    if bearer and basic:
        raise UsageError("a bearer token and a password are two ways to sign in", hint="give one of them")
    if basic:
        return "Basic", Secret(base64.b64encode(":".join(basic).encode()).decode("ascii"))
    return "Bearer", Secret(bearer) if bearer else None


def credentials(token_variable: str, basic_variable: str) -> tuple[str | None, tuple[str, str] | None]:
    """Token, or user and password, of two environment variables. Raises :class:`UsageError` for unusable ones."""

    token = os.environ.get(token_variable, "").strip() or None
    if token is not None and not (token.isascii() and token.isprintable()):
        raise UsageError("the token holds characters no HTTP header can carry", where=f"${token_variable}")
    pair = os.environ.get(basic_variable, "").strip()
    if not pair:
        return token, None
    user, colon, password = pair.partition(":")
    if not colon or not user:
        raise UsageError("must be user:password", where=f"${basic_variable}")
    return token, (user, password)
