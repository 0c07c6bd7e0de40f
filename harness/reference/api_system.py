"""Health, information, metrics, shutdown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from harness.reference.chaos import SEMANTIC_LATENCY
from harness.reference.consolidation import Consolidator
from harness.reference.core import Core
from harness.reference.http import Request, Response
from harness.reference.metrics import CONTENT_TYPE
from harness.reference.recall import Recaller
from harness.reference.wire import answer

VERSION = "0.1.0"
_FAILING = 0.5
_RECENT_S = 5.0
_STALE_INTERVALS = 3.0


class SystemApi:
    """Handlers of the system routes."""

    def __init__(self, core: Core, recaller: Recaller, consolidator: Consolidator, stop: Callable[[], None]) -> None:
        self._core = core
        self._recaller = recaller
        self._consolidator = consolidator
        self._stop = stop

    async def health(self, request: Request) -> Response:
        """``GET /health``: 503 when the service cannot do its work."""
        del request
        checks = self._checks()
        healthy = all(check["status"] != "unhealthy" for check in checks)
        defects, chaos = self._core.defects, self._core.chaos
        if defects.on("health_lies"):
            healthy = True
        if defects.on("health_down_on_fault") and chaos.value(SEMANTIC_LATENCY) > 0:
            healthy = False
        return answer({"status": "healthy" if healthy else "unhealthy"}, 200 if healthy else 503)

    async def alive(self, request: Request) -> Response:
        """``GET /health/alive``: the process answers."""
        del request
        return Response()

    async def system_health(self, request: Request) -> Response:
        """``GET /api/v1/system/health``."""
        del request
        core, checks = self._core, self._checks()
        worst = {check["status"] for check in checks}
        status = "unhealthy" if "unhealthy" in worst else "degraded" if "degraded" in worst else "healthy"
        recent, stats = self._recaller.recent, self._consolidator.stats
        runs = stats.succeeded + stats.failed
        slo = {
            "recall_within_15ms": round(1.0 - recent.slow_share, 6),
            "recall_success": round(1.0 - recent.error_share, 6),
            "consolidation_success": round(stats.succeeded / runs, 6) if runs else 1.0,
        }
        return answer(
            {
                "status": status,
                "checks": checks,
                "spaces": [
                    {"name": s.name, "memories": len(s), "concepts": len(s.concepts), "bindings": len(s.bindings)}
                    for s in core.store.spaces.values()
                ],
                "uptime_seconds": round(time.monotonic() - core.started, 3),
                "slo_compliance": min(slo.values()),
                "slo": slo,
            }
        )

    async def info(self, request: Request) -> Response:
        """``GET /api/v1/system/info``."""
        del request
        core = self._core
        return answer(
            {
                "name": "engram-reference",
                "version": VERSION,
                "milestone": core.milestone,
                "defects": core.defects.names(),
                "semantic_timeout_ms": core.config.blended_recall.semantic_timeout_ms,
                "consolidation_interval_s": core.config.consolidation.interval_s,
            }
        )

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics``: the gauges are set now, the rest as it happened."""
        del request
        core, spaces = self._core, self._core.store.spaces.values()
        metrics = core.metrics
        metrics.episodes.set(sum(len(space) for space in spaces))
        metrics.bindings.set(sum(len(space.bindings) for space in spaces))
        coherence = [c.coherence for space in spaces for c in space.concepts.by_number.values()]
        metrics.coherence.set(sum(coherence) / len(coherence) if coherence else 0.0)
        metrics.breaker_state.set(1.0 if core.breaker.open else 0.0)
        metrics.freshness.set(self._consolidator.freshness_s())
        text = metrics.render(monitoring=core.flags.in_force.monitoring)
        return Response(text, content_type=CONTENT_TYPE.encode())

    async def shutdown(self, request: Request) -> Response:
        """``POST /shutdown``: answers, then drains as on SIGTERM."""
        del request
        asyncio.get_running_loop().call_soon(self._stop)
        return answer({"status": "shutting_down"})

    def _checks(self) -> list[dict[str, str]]:
        core = self._core
        broken = core.store.writer.broken if core.store.writer is not None else "not open"
        recent = self._recaller.recent
        failing = recent.error_share > _FAILING and time.monotonic() - recent.last_error < _RECENT_S
        overdue_s = self._consolidator.freshness_s() - _STALE_INTERVALS * core.config.consolidation.interval_s
        forming = core.config.consolidation.enable_concept_formation and core.flags.in_force.dual_memory_types
        return [
            {"name": "storage", "status": "unhealthy" if broken else "healthy", "message": broken or "writable"},
            {
                "name": "recall",
                "status": "unhealthy" if failing else "healthy",
                "message": f"error share {recent.error_share:.4f}",
            },
            {
                "name": "consolidation",
                "status": "degraded" if forming and overdue_s > 1.0 else "healthy",
                "message": f"last success {self._consolidator.freshness_s():.1f} s ago",
            },
            {
                "name": "semantic_pathway",
                "status": "degraded" if core.breaker.open else "healthy",
                "message": "breaker open" if core.breaker.open else "breaker closed",
            },
        ]
