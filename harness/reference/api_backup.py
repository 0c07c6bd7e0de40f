"""Export, restore and migrate while the service runs: all of a backup or nothing of it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from harness.reference import backup
from harness.reference.core import Core
from harness.reference.failures import ApiError, BackupRefusedError, StorageError, bad_request
from harness.reference.flags import SINGLE_MEMORY
from harness.reference.http import Request, Response
from harness.reference.memory import Memory
from harness.reference.wire import answer, query_params, text_param


class BackupApi:
    """Handlers of the routes about backups."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def export(self, request: Request) -> Response:
        """``GET /api/v1/admin/export?format=dual_memory|single_memory``."""
        kind = _kind(request, "format")
        return Response(backup.document(self._core.store.spaces.values(), kind, self._core.milestone))

    async def restore(self, request: Request) -> Response:
        """``POST /api/v1/admin/restore``: the body is a backup; what is remembered becomes exactly that."""
        return answer({"restored": await self._restore(request)})

    async def migrate(self, request: Request) -> Response:
        """``POST /api/v1/admin/migrate?to=single_memory``: restore, and dual memory off from then on."""
        if _kind(request, "to") != backup.SINGLE:
            raise bad_request(f"the way back leads to {backup.SINGLE}; dual memory is turned on by its flags")
        restored = await self._restore(request)
        flags = self._core.flags
        changed = flags.changed(SINGLE_MEMORY)
        try:
            await asyncio.get_running_loop().run_in_executor(None, flags.persist, changed)
        except OSError as error:
            what = f"{restored} memories are restored, but the flags cannot be kept: {error.strerror}"
            raise ApiError(503, "storage_unavailable", what) from error
        flags.adopt(changed)
        return answer({"restored": restored, "features": asdict(flags.shown)})

    async def _restore(self, request: Request) -> int:
        loop = asyncio.get_running_loop()
        try:
            memories = await loop.run_in_executor(None, backup.read_document, request.body)
        except BackupRefusedError as refused:
            raise bad_request(str(refused), "invalid_backup") from None
        try:
            await self._core.store.restore(self._kept(memories))
        except StorageError as error:
            raise ApiError(503, "storage_unavailable", str(error), retry_after_s=1) from error
        return len(memories)

    def _kept(self, memories: list[Memory]) -> list[Memory]:
        defects = self._core.defects
        if not defects.on("restore_loses_memory"):
            return memories
        every = int(defects.magnitude("restore_loses_memory"))
        return [memory for number, memory in enumerate(memories, start=1) if number % every]


def _kind(request: Request, name: str) -> str:
    found = text_param(query_params(request.query), name) or ""
    if found not in backup.KINDS:
        raise bad_request(f"{name} must be one of {', '.join(backup.KINDS)}, not {found[:40]!r}")
    return found
