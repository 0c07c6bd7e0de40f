"""The pages' templates and styles, as package data; what a record says is always escaped."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def environment() -> Environment:
    """The one template environment: escaping on, an unknown name is an error."""
    return Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def source(name: str) -> str:
    """The text of a template or style sheet as it stands."""
    loader = environment().loader
    assert loader is not None
    return loader.get_source(environment(), name)[0]
