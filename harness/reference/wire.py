"""From bytes to checked values, and back: query strings, JSON bodies, embeddings, the error envelope."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus, unquote_to_bytes

import numpy as np
import orjson

from harness.reference.failures import ApiError, bad_request
from harness.reference.http import Request, Response
from harness.reference.memory import DIMENSIONS, Vector

DEFAULT_SPACE = "default"
_SPACE = re.compile(r"[a-z0-9_-]{3,64}\Z")
Params = dict[str, bytes]


def answer(data: object, status: int = 200) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(data), status)


def error_response(error: ApiError) -> Response:
    """The error envelope."""
    response = answer({"error": {"code": error.code, "message": error.message}}, error.status)
    if error.retry_after_s is not None:
        response.headers = ((b"retry-after", str(error.retry_after_s).encode()),)
    return response


def query_params(raw: bytes) -> Params:
    """Query parameters by name, values still encoded; the last one of a name counts."""
    found: Params = {}
    for pair in raw.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name:
            found[unquote_plus(name.decode("latin-1"))] = value
    return found


def text_param(params: Params, name: str) -> str | None:
    """A parameter as text."""
    value = params.get(name)
    if value is None:
        return None
    try:
        return unquote_plus(value.decode("latin-1"), errors="strict")
    except UnicodeDecodeError:
        raise bad_request(f"{name} is not UTF-8 text") from None


def number_param(params: Params, name: str, default: float, low: float, high: float) -> float:
    """A parameter as a number within bounds."""
    text = text_param(params, name)
    if text is None or text == "":
        return default
    try:
        value = float(text)
    except ValueError:
        raise bad_request(f"{name} must be a number, not {text[:40]!r}") from None
    if not low <= value <= high:
        raise bad_request(f"{name} must be from {low:g} to {high:g}")
    return value


def count_param(params: Params, name: str, default: int, low: int, high: int) -> int:
    """A parameter as a whole number within bounds."""
    value = number_param(params, name, default, low, high)
    if value != int(value):
        raise bad_request(f"{name} must be a whole number")
    return int(value)


def bool_param(params: Params, name: str, *, default: bool) -> bool:
    """A parameter as a truth value."""
    text = text_param(params, name)
    if text is None or text == "":
        return default
    if text.lower() not in ("true", "false", "1", "0"):
        raise bad_request(f"{name} must be true or false")
    return text.lower() in ("true", "1")


def json_body(request: Request, *, may_be_empty: bool = False) -> Any:
    """The body as JSON, whatever its content type says: the runbook's curl calls send none of ours."""
    if not request.body.strip() and may_be_empty:
        return {}
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is not JSON: {error}", "invalid_json") from None


def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object."""
    body = json_body(request)
    if not isinstance(body, dict):
        raise bad_request("the body must be a JSON object")
    return body


def embedding_param(raw: bytes) -> Vector:
    """An embedding from a query string. Its thousand escapes are undone in bulk; a general unquote takes ten times."""
    if b"%" in raw:
        for escaped, plain in ((b"%2C", b","), (b"%2c", b","), (b"%5B", b"["), (b"%5D", b"]")):
            raw = raw.replace(escaped, plain)
        if b"%" in raw:
            raw = unquote_to_bytes(raw)
    # A plus may be an encoded space after a comma, or the sign of an exponent.
    raw = raw.replace(b",+", b",")
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise bad_request("embedding must be a JSON array of numbers", "invalid_embedding") from None
    return embedding_of(values)


def embedding_of(values: object) -> Vector:
    """A checked embedding."""
    if not isinstance(values, list):
        raise bad_request("embedding must be an array of numbers", "invalid_embedding")
    if len(values) != DIMENSIONS:
        raise bad_request(f"embedding must have {DIMENSIONS} numbers, not {len(values)}", "invalid_embedding")
    try:
        array = np.array(values)
    except ValueError:
        raise bad_request("embedding must be an array of numbers", "invalid_embedding") from None
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise bad_request("embedding must be an array of numbers", "invalid_embedding")
    vector = array.astype(np.float32)
    if not np.isfinite(vector).all():
        raise bad_request("embedding must be finite", "invalid_embedding")
    return vector


def space_of(request: Request, params: Params, body: dict[str, Any] | None = None) -> str:
    """The memory space a request is about: header, else query, else body, else the default."""
    header = request.headers.get(b"x-memory-space")
    if header is not None:
        name: object = header.decode("latin-1")
    elif "space" in params:
        name = text_param(params, "space")
    elif body is not None and body.get("memory_space_id") is not None:
        name = body["memory_space_id"]
    else:
        return DEFAULT_SPACE
    if not isinstance(name, str) or not _SPACE.match(name):
        raise bad_request("a memory space is 3 to 64 of a-z, 0-9, _ and -", "invalid_space")
    return name


def user_of(request: Request, space: str) -> str:
    """Who asks, for the cohort: the user header, else the space."""
    header = request.headers.get(b"x-user-id")
    return header.decode("latin-1") if header else space


def number_of(body: dict[str, Any], key: str, default: float, low: float, high: float) -> float:
    """An optional number in a body."""
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise bad_request(f"{key} must be a number from {low:g} to {high:g}")
    return float(value)


def instant_of(body: dict[str, Any], key: str) -> str | None:
    """An optional RFC 3339 instant in a body, as it was given."""
    value = body.get(key)
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise bad_request(f"{key} must be an RFC 3339 time") from None
    if instant.tzinfo is None:
        raise bad_request(f"{key} must be an RFC 3339 time with an offset")
    return str(value)


def category(confidence: float) -> str:
    """A confidence in words."""
    return "high" if confidence >= 0.7 else "medium" if confidence >= 0.4 else "low"
