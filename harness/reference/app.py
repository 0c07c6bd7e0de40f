"""Routes, authorisation, and the one place where an exception becomes an answer."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from harness.reference.api_admin import AdminApi
from harness.reference.api_backup import BackupApi
from harness.reference.api_memory import MemoryApi
from harness.reference.api_system import SystemApi
from harness.reference.chaos import CORRUPTION, FAIL_RATE, LATENCY, SEMANTIC_LATENCY
from harness.reference.core import Core
from harness.reference.failures import ApiError
from harness.reference.http import Request, Response
from harness.reference.wire import error_response

_Route = Callable[[Request], Awaitable[Response]]
_log = logging.getLogger("engram.reference")
_MEMORIES = "/api/v1/memories/"
_CHAOS = "/api/v1/admin/chaos"


class App:
    """Finds the handler of a request; never raises."""

    def __init__(self, core: Core, memory: MemoryApi, admin: AdminApi, system: SystemApi, backup: BackupApi) -> None:
        self._core = core
        self._memory = memory
        self._key = f"Bearer {core.api_key}".encode() if core.api_key else None
        self._leaked: list[bytes] = []
        self._routes: dict[str, dict[str, _Route]] = {
            "/api/v1/memories/remember": {"POST": memory.remember},
            "/api/v1/episodes/remember": {"POST": memory.remember_episode},
            "/api/v1/memories/recall": {"GET": memory.recall},
            "/api/v1/complete": {"POST": memory.complete},
            "/api/v1/consolidations": {"GET": memory.consolidations},
            "/health": {"GET": system.health},
            "/health/alive": {"GET": system.alive},
            "/api/v1/system/health": {"GET": system.system_health},
            "/api/v1/system/info": {"GET": system.info},
            "/metrics": {"GET": system.metrics},
            "/metrics/prometheus": {"GET": system.metrics},
            "/shutdown": {"POST": system.shutdown},
            "/api/v1/admin/features": {"GET": admin.features, "POST": admin.change_features},
            "/api/v1/admin/bindings": {"GET": admin.bindings},
            "/api/v1/admin/concepts": {"GET": admin.concepts},
            "/api/v1/admin/export": {"GET": backup.export},
            "/api/v1/admin/restore": {"POST": backup.restore},
            "/api/v1/admin/migrate": {"POST": backup.migrate},
            _CHAOS: {"GET": admin.chaos},
            f"{_CHAOS}/consolidation/fail_rate": {
                "POST": partial(admin.inject, fault=FAIL_RATE, key="fail_rate", share=True)
            },
            f"{_CHAOS}/semantic_pathway/latency": {
                "POST": partial(admin.inject, fault=SEMANTIC_LATENCY, key="latency_ms", share=False)
            },
            f"{_CHAOS}/binding_index/corrupt": {
                "POST": partial(admin.inject, fault=CORRUPTION, key="corruption_rate", share=True)
            },
            f"{_CHAOS}/binding_index/restore": {"POST": admin.restore},
            f"{_CHAOS}/latency": {"POST": partial(admin.inject, fault=LATENCY, key="latency_ms", share=False)},
        }

    async def handle(self, request: Request) -> Response:
        """The answer to ``request``."""
        try:
            return await self._dispatch(request)
        except ApiError as error:
            return error_response(error)
        except Exception:  # noqa: BLE001 - logged with its traceback and answered with 500
            _log.exception("%s %s failed", request.method, request.path)
            return error_response(ApiError(500, "internal", "internal error; see the service's output"))

    async def _dispatch(self, request: Request) -> Response:
        if request.problem is not None:
            raise ApiError(400, "invalid_request", request.problem)
        if self._key is not None and not hmac.compare_digest(request.headers.get(b"authorization", b""), self._key):
            raise ApiError(401, "unauthorized", "a valid bearer key is required")
        if self._core.defects.on("leak_bytes"):
            self._leaked.append(b"x" * int(self._core.defects.magnitude("leak_bytes")))
        method = "GET" if request.method == "HEAD" else request.method
        methods = self._routes.get(request.path)
        if methods is None:
            if request.path.startswith(_MEMORIES) and "/" not in (name := request.path[len(_MEMORIES) :]) and name:
                methods = {
                    "GET": partial(self._memory.get, memory_id=name),
                    "DELETE": partial(self._memory.delete, memory_id=name),
                }
            else:
                raise ApiError(404, "not_found", "no such route")
        route = methods.get(method)
        if route is None:
            raise ApiError(405, "method_not_allowed", f"use {', '.join(methods)}")
        return await route(request)
