"""Manifests against the Kubernetes API's own schemas, as the official client carries them (its generated models).

A field no schema knows, a value of the wrong type and a missing required field are found. Istio's resources are
custom ones whose schemas come with Istio and not with the client: they are not checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kubernetes import client
from pydantic import ValidationError

_LIST = re.compile(r"[Ll]ist\[(.*)\]")
_DICT = re.compile(r"[Dd]ict[\[(][^,]*, (.*)[\])]")
_GROUPS = ("v1", "apps/v1", "policy/v1", "autoscaling/v2")


def schema_problems(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the schemas forbid in ``documents``, one line each with its place; custom resources are passed over."""
    found: list[str] = []
    for document in documents:
        kind, version = str(document.get("kind", "")), str(document.get("apiVersion", ""))
        name = f"{kind}/{(document.get('metadata') or {}).get('name', '?')}"
        if "istio.io/" in version:
            continue
        model = getattr(client, f"{version.rpartition('/')[2].title()}{kind}", None)
        if version not in _GROUPS or model is None:
            found.append(f"{name}: no schema for {version} {kind}")
            continue
        found += [f"{name}: {problem}" for problem in _unknown(document, model, "")]
        try:
            model.model_validate(dict(document))
        except ValidationError as error:
            found += [f"{name}: {_place(one['loc'])}: {one['msg']}" for one in error.errors()]
    return found


def _unknown(value: Mapping[str, Any], model: Any, where: str) -> Iterable[str]:
    """Fields that the schema does not know; the client's own spelling of a known one counts as unknown."""
    types = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
    for key, item in value.items():
        place = f"{where}.{key}" if where else str(key)
        if key not in types:
            yield f"{place}: unknown field"
        else:
            yield from _within(item, types[key], place)


def _within(item: Any, kind: str, where: str) -> Iterable[str]:
    if match := _LIST.fullmatch(kind):
        for number, one in enumerate(item if isinstance(item, list) else ()):
            yield from _within(one, match[1], f"{where}[{number}]")
    elif match := _DICT.fullmatch(kind):
        for key, one in (item if isinstance(item, Mapping) else {}).items():
            yield from _within(one, match[1], f"{where}.{key}")
    elif isinstance(item, Mapping) and hasattr(getattr(client, kind, None), "openapi_types"):
        yield from _unknown(item, getattr(client, kind), where)


def _place(location: Iterable[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
