"""The FastAPI application: inference doors as raw ASGI, questions as FastAPI routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from router import apis
from router.core.errors import BadRequest, RouterError, Shed
from router.doors.admin import admin
from router.doors.health import health
from router.doors.inference import Inference
from router.doors.paths import Paths, entrances
from router.doors.questions import Asked
from router.runtime import Runtime


class Front(FastAPI):
    """FastAPI, with the inference doors before its middlewares.

    They are most of the traffic, and have no use for the stack around a route (0.1 ms a call).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inference: Paths[Inference] = Paths()
        self.questions: Paths[list[Asked]] = Paths()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        found = self.inference.find(scope["path"])
        if found is not None:
            door, params = found
            await door(scope, receive, send, params)
            return
        asked, params = self.questions.find(scope["path"]) or ([], {})
        names = {name for name, _ in scope["headers"]} if asked else set()
        for one in asked:
            if not one.question.header or one.question.header in names:
                await one(scope, receive, send, params)
                return
        await super().__call__(scope, receive, send)

    async def crowded(self, scope: Any, receive: Any, send: Any) -> None:
        """The answer when too many connections are open: in the shape of the path's own door."""
        error = Shed("Too many connections to this router are open.", retry_after=1.0)
        found = self.inference.find(scope["path"])
        if found is not None:
            await found[0].turn_away(scope, send, error)
            return
        answer = Response(str(error), error.status, {"retry-after": "1"}, "text/plain")
        await answer(scope, receive, send)


def app(runtime: Runtime) -> Front:
    """Everything that this process answers."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await runtime.start()
        yield
        await runtime.stop()

    api = Front(title="Isocost", version="0.1.0", lifespan=lifespan, redoc_url=None)
    asked: dict[str, list[Asked]] = {}
    for door, path in entrances():
        api.inference.add(path.pattern, Inference(runtime, door, path))
    for wire in apis.doors():
        for question in apis.door(wire).questions:
            asked.setdefault(question.pattern, []).append(Asked(runtime, apis.door(wire), question))
    for pattern, those in asked.items():
        api.questions.add(pattern, those)
    api.include_router(admin(runtime))
    api.include_router(health(runtime))
    openai = apis.door("openai")

    @api.exception_handler(RouterError)
    async def refused(request: Request, exc: RouterError) -> Response:
        return Response(openai.error(exc), exc.status, media_type="application/json")

    @api.exception_handler(HTTPException)
    async def unknown(request: Request, exc: HTTPException) -> Response:
        """Paths that do not exist get an error that says which do."""
        known = ", ".join(path.pattern for _, path in entrances())
        error = BadRequest(
            f"{request.method} {request.url.path}: {exc.detail}. Inference paths: {known}. "
            "All others are listed at /docs.",
            code="not_found" if exc.status_code == 404 else "method_not_allowed",
        )
        return Response(openai.error(error), exc.status_code, media_type="application/json")

    return api
