"""The FastAPI application: inference doors as raw ASGI, questions as FastAPI routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from router import apis
from router.core.errors import BadRequest, RouterError
from router.doors.admin import PATHS, admin
from router.doors.health import health
from router.doors.inference import Inference
from router.runtime import Runtime


class Front(FastAPI):
    """FastAPI, with the inference doors before its middlewares.

    They are most of the traffic, and have no use for the stack around a route (0.1 ms a call).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inference: dict[str, Inference] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        door = self.inference.get(scope["path"]) if scope["type"] == "http" else None
        if door is None:
            await super().__call__(scope, receive, send)
        else:
            await door(scope, receive, send)


def app(runtime: Runtime) -> FastAPI:
    """Everything that this process answers."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await runtime.start()
        yield
        await runtime.stop()

    api = Front(title="Isocost", version="0.1.0", lifespan=lifespan, redoc_url=None)
    for path, (wire, task) in PATHS.items():
        api.inference[path] = Inference(runtime, apis.door(wire), path, task)
    api.include_router(admin(runtime))
    api.include_router(health(runtime))
    door = apis.door("openai")

    @api.exception_handler(RouterError)
    async def refused(request: Request, exc: RouterError) -> Response:
        return Response(door.error(exc), exc.status, media_type="application/json")

    @api.exception_handler(HTTPException)
    async def unknown(request: Request, exc: HTTPException) -> Response:
        """Paths that do not exist get an error that says which do."""
        error = BadRequest(
            f"{request.method} {request.url.path}: {exc.detail}. Inference paths: "
            f"{', '.join(PATHS)}. All others are listed at /docs.",
            code="not_found" if exc.status_code == 404 else "method_not_allowed",
        )
        return Response(door.error(error), exc.status_code, media_type="application/json")

    return api
