"""The memory API: remember, recall, complete, read, delete."""

from __future__ import annotations

import asyncio
import uuid
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import numpy as np

from harness.reference import worse_recall
from harness.reference.blending import Item
from harness.reference.consolidation import Consolidator
from harness.reference.core import Core
from harness.reference.failures import ApiError, StorageError, bad_request
from harness.reference.http import Request, Response
from harness.reference.memory import DIMENSIONS, Memory
from harness.reference.recall import Cue, Recalled, Recaller
from harness.reference.space import Space, unit
from harness.reference.text import tokens
from harness.reference.wire import (
    answer,
    bool_param,
    category,
    count_param,
    embedding_of,
    embedding_param,
    instant_of,
    json_object,
    number_of,
    number_param,
    query_params,
    space_of,
    text_param,
    user_of,
)

_MAX_CONTENT_BYTES = 100_000
_TYPES = ("semantic", "episodic", "procedural")
_WEAK_CUE = 0.1
_FEWEST_KNOWN = DIMENSIONS // 20
_EPISODE_EXTRAS = ("where_location", "who", "why", "how", "emotional_valence", "importance")


class MemoryApi:
    """Handlers of the memory routes."""

    def __init__(self, core: Core, recaller: Recaller, consolidator: Consolidator) -> None:
        self._core = core
        self._recaller = recaller
        self._consolidator = consolidator
        self._later: set[asyncio.Task[None]] = set()
        self._kept = 0

    async def remember(self, request: Request) -> Response:
        """``POST /api/v1/memories/remember``."""
        body = json_object(request)
        kind = body.get("memory_type") or "episodic"
        if kind not in _TYPES:
            raise bad_request(f"memory_type must be one of {', '.join(_TYPES)}")
        return await self._store(
            request, body, content=_content(body, "content"), kind=kind, when=instant_of(body, "timestamp"), extras={}
        )

    async def remember_episode(self, request: Request) -> Response:
        """``POST /api/v1/episodes/remember``."""
        body = json_object(request)
        when = instant_of(body, "when")
        if when is None:
            raise bad_request("when is required")
        number_of(body, "emotional_valence", 0.0, -1.0, 1.0)
        number_of(body, "importance", 0.0, 0.0, 1.0)
        extras = {key: body[key] for key in _EPISODE_EXTRAS if body.get(key) is not None}
        return await self._store(
            request, body, content=_content(body, "what"), kind="episodic", when=when, extras=extras
        )

    async def _store(
        self,
        request: Request,
        body: dict[str, Any],
        *,
        content: str,
        kind: str,
        when: str | None,
        extras: dict[str, Any],
    ) -> Response:
        observed = _now()
        vector = body.get("embedding")
        memory = Memory(
            id=_id_of(body),
            space=space_of(request, query_params(request.query), body),
            content=content,
            confidence=number_of(body, "confidence", 0.7, 0.0, 1.0),
            memory_type=kind,
            tags=_tags(body),
            timestamp=when or observed,
            stored_at=observed,
            extras=extras,
            embedding=None if vector is None else embedding_of(vector),
        )
        writer = self._core.store.writer
        if writer is not None and writer.waiting > self._core.config.storage.max_pending_writes:
            raise ApiError(503, "overloaded", "too many writes are waiting for the disk", retry_after_s=1)
        await self._keep(memory)
        return answer(
            {
                "memory_id": memory.id,
                "storage_confidence": {"value": memory.confidence, "category": category(memory.confidence)},
                "observed_at": observed,
                "stored_at": _now(),
                "memory_space_id": memory.space,
                "memory_type": memory.memory_type,
            },
            201,
        )

    async def _keep(self, memory: Memory) -> None:
        core = self._core
        self._kept += 1
        if core.defects.on("lost_nth") and self._kept % int(core.defects.magnitude("lost_nth")) == 0:
            return
        if core.defects.strikes("lost_ack"):
            return
        if core.defects.strikes("leaked_write"):
            memory = replace(memory, space=next((s for s in core.store.spaces if s != memory.space), "elsewhere"))
        replacing = core.store.peek(memory.space).get(memory.id) is not None
        if replacing and core.defects.strikes("stale_version"):
            return
        if core.defects.on("ack_before_write"):
            task = asyncio.get_running_loop().create_task(self._keep_later(memory))
            self._later.add(task)
            task.add_done_callback(self._later.discard)
            return
        try:
            await core.store.remember(memory)
        except StorageError as error:
            raise ApiError(503, "storage_unavailable", str(error), retry_after_s=1) from error

    async def _keep_later(self, memory: Memory) -> None:
        await asyncio.sleep(self._core.defects.magnitude("ack_before_write"))
        await self._core.store.remember(memory)

    async def recall(self, request: Request) -> Response:
        """``GET /api/v1/memories/recall``."""
        params = query_params(request.query)
        space = space_of(request, params)
        raw = params.get("embedding")
        text = text_param(params, "query")
        if raw is None and (text is None or not text.strip()):
            raise bad_request("query or embedding is required")
        cue = Cue(
            space=space,
            user=user_of(request, space),
            text=None if raw is not None else text,
            vector=None if raw is None else unit(embedding_param(raw)),
            limit=count_param(params, "max_results", 10, 1, 1000),
            threshold=number_param(params, "threshold", 0.5, 0.0, 1.0),
        )
        include_metadata = bool_param(params, "include_metadata", default=True)
        recalled = await self._recaller.recall(cue)
        return answer(self._written(cue, recalled, include_metadata=include_metadata))

    def _written(self, cue: Cue, recalled: Recalled, *, include_metadata: bool) -> dict[str, object]:
        memories: dict[str, list[dict[str, object]]] = {"vivid": [], "associated": [], "reconstructed": []}
        best = 0.0
        too_sure = self._core.defects.strikes("invalid_confidence_served")
        for item in recalled.blend.items:
            memory = recalled.space.at(item.slot)
            if memory is None:
                continue
            best = max(best, item.confidence)
            memories[_vividness(item)].append(
                self._item(memory, item, recalled.space, confidence=item.confidence + 1.0 if too_sure else None)
            )
        self._leak_across_spaces(recalled, memories)
        written: dict[str, object] = {
            "memories": memories,
            **worse_recall.confidence_of(best, recalled.cohort, self._core.defects),
            "query_analysis": {
                "cue_type": "text" if cue.vector is None else "embedding",
                "understood_as": cue.text,
                "threshold": cue.threshold,
            },
        }
        if include_metadata:
            written["metadata"] = {
                "cohort": recalled.cohort,
                "pathway": recalled.pathway,
                "semantic_missing": recalled.semantic_missing,
                "bindings_filtered": recalled.filtered,
                "convergent": recalled.blend.convergent,
                "pattern_completed": recalled.blend.completed,
                "server_ms": round(recalled.server_ms, 3),
            }
        return written

    def _item(self, memory: Memory, item: Item, space: Space, *, confidence: float | None) -> dict[str, object]:
        value = item.confidence if confidence is None else confidence
        bound = item.association
        return {
            "id": memory.id,
            "content": self._read(memory),
            "confidence": {"value": value, "category": category(value)},
            "activation_level": item.activation,
            "similarity_score": item.similarity,
            "retrieval_path": item.path,
            "memory_type": memory.memory_type,
            "timestamp": memory.timestamp,
            "tags": memory.tags,
            "concept_id": None if bound is None else space.concepts.name_of(bound.concept),
            "binding_strength": None if bound is None else bound.strength,
        }

    def _leak_across_spaces(self, recalled: Recalled, memories: dict[str, list[dict[str, object]]]) -> None:
        if not self._core.defects.strikes("wrong_space_leak"):
            return
        for other in self._core.store.spaces.values():
            if other is not recalled.space and (stranger := next(iter(other), None)) is not None:
                item = Item(0, 0.9, 0.9, 0.9, "episodic")
                memories["vivid"].append(self._item(stranger, item, other, confidence=None))
                return

    def _read(self, memory: Memory) -> str:
        if self._core.defects.on("corrupt_content"):
            one_in = max(1, int(self._core.defects.magnitude("corrupt_content")))
            if zlib.crc32(memory.id.encode()) % one_in == 0:
                return memory.content[::-1] + "\N{REPLACEMENT CHARACTER}"
        return memory.content

    async def get(self, request: Request, memory_id: str) -> Response:
        """``GET /api/v1/memories/{id}``."""
        memory = self._core.store.peek(space_of(request, query_params(request.query))).get(unquote(memory_id))
        if memory is None:
            raise ApiError(404, "not_found", "no such memory in this space")
        return answer(
            {
                "id": memory.id,
                "content": self._read(memory),
                "confidence": memory.confidence,
                "timestamp": memory.timestamp,
                "memory_type": memory.memory_type,
                "tags": memory.tags,
                "stored_at": memory.stored_at,
                "memory_space_id": memory.space,
                **memory.extras,
            }
        )

    async def delete(self, request: Request, memory_id: str) -> Response:
        """``DELETE /api/v1/memories/{id}``; deleting what is not there is a 404."""
        name, memory_id = space_of(request, query_params(request.query)), unquote(memory_id)
        if self._core.store.peek(name).get(memory_id) is None:
            raise ApiError(404, "not_found", "no such memory in this space")
        try:
            await self._core.store.forget(memory_id, name)
        except StorageError as error:
            raise ApiError(503, "storage_unavailable", str(error), retry_after_s=1) from error
        return answer({"memory_id": memory_id, "deleted": True})

    async def complete(self, request: Request) -> Response:
        """``POST /api/v1/complete``: the memory that agrees best with what is known of it."""
        body = json_object(request)
        partial = body.get("partial_episode")
        if not isinstance(partial, dict):
            raise bad_request("partial_episode is required")
        fields = partial.get("known_fields") or {}
        if not isinstance(fields, dict):
            raise bad_request("known_fields must be an object")
        strength = number_of(partial, "cue_strength", 1.0, 0.0, 1.0)
        positions, values = _known(partial.get("partial_embedding"))
        words = tokens(" ".join(str(value) for value in fields.values()))
        if strength < _WEAK_CUE or (len(positions) < _FEWEST_KNOWN and not words):
            raise ApiError(422, "weak_cue", "too little is known to complete the episode")
        space = self._core.store.peek(space_of(request, query_params(request.query), body))
        found = _best_completion(space, positions, values, words)
        if found is None:
            raise ApiError(422, "weak_cue", "nothing remembered resembles the cue")
        slot, agreement = found
        memory = space.at(slot)
        if memory is None:
            raise ApiError(409, "conflict", "the memory was deleted meanwhile")
        value = agreement * strength
        return answer(
            {
                "completed_episode": {"id": memory.id, "what": self._read(memory), "when": memory.timestamp},
                "completion_confidence": {"value": value, "category": category(value)},
            }
        )

    async def consolidations(self, request: Request) -> Response:
        """``GET /api/v1/consolidations``."""
        params = query_params(request.query)
        limit = count_param(params, "max_episodes", 20, 0, 10_000)
        return answer(self._consolidator.report(space_of(request, params), limit))


def _vividness(item: Item) -> str:
    if item.path == "pattern_completion":
        return "reconstructed"
    return "vivid" if item.path != "semantic" and item.activation >= 0.7 else "associated"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _content(body: dict[str, Any], key: str) -> str:
    content = body.get(key)
    if not isinstance(content, str) or not content.strip():
        raise bad_request(f"{key} is required and must not be blank")
    try:
        size = len(content) if content.isascii() else len(content.encode())
    except UnicodeEncodeError:
        raise bad_request(f"{key} is not valid Unicode") from None
    if size > _MAX_CONTENT_BYTES:
        raise bad_request(f"{key} must be at most {_MAX_CONTENT_BYTES} bytes")
    return content


def _id_of(body: dict[str, Any]) -> str:
    given = body.get("id")
    if given is None:
        return f"mem_{uuid.uuid4().hex}"
    if not isinstance(given, str) or not 1 <= len(given) <= 256 or not given.isprintable() or "/" in given:
        raise bad_request("id must be 1 to 256 printable characters without a slash")
    return given


def _tags(body: dict[str, Any]) -> tuple[str, ...]:
    tags = body.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise bad_request("tags must be an array of strings")
    return tuple(tags)


def _known(partial: object) -> tuple[list[int], list[float]]:
    if partial is None:
        return [], []
    if not isinstance(partial, list) or len(partial) != DIMENSIONS:
        raise bad_request(f"partial_embedding must have {DIMENSIONS} entries", "invalid_embedding")
    known = {i: value for i, value in enumerate(partial) if value is not None}
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in known.values()):
        raise bad_request("partial_embedding must hold numbers and nulls", "invalid_embedding")
    return list(known), [float(value) for value in known.values()]


def _best_completion(
    space: Space, positions: list[int], values: list[float], words: frozenset[str]
) -> tuple[int, float] | None:
    """The slot agreeing best with the known components (cosine over those alone) and words, and how well."""
    if not len(space):
        return None
    scores = dict(space.lexicon.search(words, 10)) if words else {}
    if positions:
        known = space.units[: len(space.stamps), positions]
        cue = np.asarray(values, dtype=np.float32)
        lengths = np.linalg.norm(known, axis=1) * np.linalg.norm(cue)
        cosines = np.divide(known @ cue, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        for slot in np.argsort(-cosines)[:10].tolist():
            agreement = max(0.0, min(1.0, float(cosines[slot])))
            scores[slot] = max(scores.get(slot, 0.0), agreement)
    slot, agreement = max(scores.items(), key=lambda entry: entry[1], default=(-1, 0.0))
    return None if agreement <= 0.0 else (slot, agreement)
