"""The admin and chaos API: flags, faults, and a look into concepts and bindings."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from dataclasses import asdict

from harness.reference.chaos import CORRUPTION, dose
from harness.reference.core import Core
from harness.reference.failures import ApiError, bad_request
from harness.reference.http import Request, Response
from harness.reference.space import Space
from harness.reference.wire import Params, answer, count_param, json_body, query_params, space_of, text_param


class AdminApi:
    """Handlers of the admin routes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._changing_flags = asyncio.Lock()

    async def features(self, request: Request) -> Response:
        """``GET /api/v1/admin/features``."""
        del request
        return answer(asdict(self._core.flags.listed()))

    async def change_features(self, request: Request) -> Response:
        """``POST /api/v1/admin/features``: all of it or nothing, durable before it is in force."""
        flags = self._core.flags
        async with self._changing_flags:
            changed = flags.changed(json_body(request))
            try:
                await asyncio.get_running_loop().run_in_executor(None, flags.persist, changed)
            except OSError as error:
                raise ApiError(503, "storage_unavailable", f"flags cannot be kept: {error.strerror}") from error
            turned_on = changed.dual_memory_types and not flags.in_force.dual_memory_types
            flags.adopt(changed)
            if turned_on:
                self._core.migrated = time.monotonic()
                self._forget_some()
        return answer(asdict(flags.shown))

    def _forget_some(self) -> None:
        """What a bad migration does (a defect)."""
        defects = self._core.defects
        if defects.on("migration_loses"):
            for space in self._core.store.spaces.values():
                for memory_id in [memory.id for memory in space if defects.strikes("migration_loses")]:
                    space.delete(memory_id)

    async def chaos(self, request: Request) -> Response:
        """``GET /api/v1/admin/chaos``."""
        del request
        return answer({"active": self._core.chaos.listing(), "supports": ["ttl_s", "listing"]})

    async def inject(self, request: Request, fault: str, key: str, *, share: bool) -> Response:
        """A chaos POST: ``key`` is the body's dose, a share or milliseconds."""
        value, ttl_s = dose(json_body(request), key, share=share)
        affected = self._core.chaos.set(fault, value, ttl_s)
        reply: dict[str, object] = {"fault": fault, "value": value, "ttl_s": ttl_s, "active": value > 0}
        if fault == CORRUPTION:
            reply |= {"corrupted": affected, "total": self._bindings()}
        return answer(reply)

    async def restore(self, request: Request) -> Response:
        """``POST /api/v1/admin/chaos/binding_index/restore``."""
        if json_body(request, may_be_empty=True):
            raise bad_request("restore takes no arguments")
        return answer({"fault": CORRUPTION, "active": False, "restored": self._core.chaos.heal(CORRUPTION)})

    async def bindings(self, request: Request) -> Response:
        """``GET /api/v1/admin/bindings``: a page of bindings; ``limit=0`` for the counts alone."""
        params = query_params(request.query)
        spaces = self._spaces(request, params)
        page, following = _page(params, ((space.name, row, space) for space in spaces for row in _rows(space, params)))
        rows = [
            {
                "episode_id": memory.id if (memory := space.at(int(space.bindings.episode[row]))) else None,
                "concept_id": space.concepts.name_of(int(space.bindings.concept[row])),
                "strength": value if math.isfinite(value := float(space.bindings.strength[row])) else None,
                "space": space.name,
            }
            for _, row, space in page
        ]
        invalid = sum(len(space.bindings.invalid_rows()) for space in spaces)
        total = sum(len(space.bindings) for space in spaces)
        return answer({"bindings": rows, "next": following, "total": total, "invalid": invalid})

    async def concepts(self, request: Request) -> Response:
        """``GET /api/v1/admin/concepts``: a page of concepts."""
        params = query_params(request.query)
        spaces = self._spaces(request, params)
        entries = (
            (space.name, number, space)
            for space in spaces
            for number in sorted(space.concepts.by_number)
            if _after(params, space.name, number)
        )
        page, following = _page(params, entries)
        rows = []
        for _, number, space in page:
            concept = space.concepts.by_number[number]
            rows.append(
                {"concept_id": concept.id, "coherence": concept.coherence, "size": concept.size, "space": space.name}
            )
        return answer({"concepts": rows, "next": following, "total": sum(len(s.concepts) for s in spaces)})

    def _bindings(self) -> int:
        return sum(len(space.bindings) for space in self._core.store.spaces.values())

    def _spaces(self, request: Request, params: Params) -> list[Space]:
        """The one space asked for, or all of them."""
        if b"x-memory-space" in request.headers or "space" in params:
            return [self._core.store.peek(space_of(request, params))]
        return [self._core.store.spaces[name] for name in sorted(self._core.store.spaces)]


def _cursor(params: Params) -> tuple[str, int]:
    text = text_param(params, "cursor")
    if not text:
        return "", 0
    name, _, number = text.rpartition(":")
    if not number.isdigit():
        raise bad_request("cursor must come from an earlier answer")
    return name, int(number)


def _after(params: Params, space: str, number: int) -> bool:
    return (space, number) >= _cursor(params)


def _rows(space: Space, params: Params) -> Iterator[int]:
    name, number = _cursor(params)
    if space.name < name:
        return iter(())
    return space.bindings.live_rows(number if space.name == name else 0)


def _page(params: Params, entries: Iterator[tuple[str, int, Space]]) -> tuple[list[tuple[str, int, Space]], str | None]:
    """Up to ``limit`` entries and the cursor of the one after them. Entries may change between two pages."""
    limit = count_param(params, "limit", 1000, 0, 100_000)
    page: list[tuple[str, int, Space]] = []
    if limit == 0:
        return page, None
    for entry in entries:
        if len(page) == limit:
            return page, f"{entry[0]}:{entry[1]}"
        page.append(entry)
    return page, None
