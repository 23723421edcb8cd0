"""Is it alive, can it serve, what has it counted."""

from __future__ import annotations

from fastapi import APIRouter, Response

from router.doors.admin import answer
from router.plan import Backend
from router.runtime import Runtime
from router.telemetry import CONTENT_TYPE

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Answered however busy the process is: whoever watches it must not think it dead."""


def health(runtime: Runtime) -> APIRouter:
    """Probes and metrics. No key is asked for: they name routes and backends, nothing of calls."""
    api = APIRouter()

    @api.get("/livez", summary="200 while the process runs")
    async def livez() -> Response:
        return answer({"live": True})

    @api.get("/readyz", summary="200 when at least one route can be served")
    async def readyz() -> Response:
        pipeline = runtime.pipeline
        able = {
            name: [b.name for b in route.backends if _able(b)]
            for name, route in pipeline.routes.items()
        }
        ready = any(able.values())
        degraded = [n for n in able if len(able[n]) < len(pipeline.routes[n].backends)]
        found = {"ready": ready, "routes": able, "degraded": degraded}
        if runtime.ledger is not None:
            found["ledger"] = "up" if runtime.ledger.up else "unreachable"
        return answer(found, status=200 if ready else 503)

    @api.get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response:
        runtime.telemetry.refresh(runtime.pipeline.backends, runtime.pipeline.admission)
        return Response(runtime.telemetry.page(), media_type=CONTENT_TYPE)

    return api


def _able(backend: Backend) -> bool:
    return backend.gates.breaker.ready() and backend.gates.health.ready()
