"""Is it alive, can it serve, what has it counted."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from router.doors.admin import answer
from router.runtime import Runtime

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Answered however busy the process is: whoever watches it must not think it dead."""


def health(runtime: Runtime) -> APIRouter:
    """Probes and metrics. No key is asked for: they name routes and backends, nothing of calls."""
    api = APIRouter()

    @api.get("/livez", summary="200 while the process runs")
    async def livez() -> Response:
        return answer({"live": True})

    @api.get("/readyz", summary="200 when at least one route can be served, until it drains")
    async def readyz() -> Response:
        pipeline = runtime.pipeline
        why = {b.name: runtime.unable(b) for b in pipeline.backends.values()}
        able = {
            name: [b.name for b in route.backends if not why[b.name]]
            for name, route in pipeline.routes.items()
        }
        ready = any(able.values()) and not runtime.draining
        degraded = [n for n in able if len(able[n]) < len(pipeline.routes[n].backends)]
        found = {
            "ready": ready,
            "draining": runtime.draining,
            "routes": able,
            "degraded": degraded,
            "unable": {name: said for name, said in why.items() if said},
        }
        if runtime.ledger is not None:
            found["ledger"] = "up" if runtime.ledger.up else "unreachable"
        return answer(found, status=200 if ready else 503)

    @api.get("/metrics", summary="Prometheus metrics")
    async def metrics(request: Request) -> Response:
        pipeline = runtime.pipeline
        runtime.telemetry.refresh(pipeline.backends, pipeline.routes, pipeline.admission)
        page, kind = runtime.telemetry.page(request.headers.get("accept", ""))
        return Response(page, headers={"content-type": kind})

    return api
