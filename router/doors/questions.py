"""What vendors' clients ask beside their calls (voices, languages, what is used up), from facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Response

from router.core.api import Door, Facts, Question, RouteFacts, Told
from router.core.errors import BadRequest, RouterError
from router.doors.inference import read_query, unknown_key
from router.runtime import Runtime


class Asked:
    """The endpoint of one question of one wire."""

    def __init__(self, runtime: Runtime, door: Door, question: Question) -> None:
        self._runtime, self._door, self.question = runtime, door, question

    async def __call__(
        self, scope: Any, receive: Any, send: Any, params: Mapping[str, str]
    ) -> None:
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        told = Told(params, read_query(scope["query_string"]), headers)
        status = 200
        try:
            if scope["method"] not in self.question.methods:
                wrong = BadRequest(
                    f"{scope['path']} takes {' or '.join(sorted(self.question.methods))}.",
                    code="method_not_allowed",
                )
                wrong.status = 405
                raise wrong
            body = self.question.answer(self._facts(told), told)
        except RouterError as exc:
            status, body = exc.status, self._door.error(exc)
            self._runtime.telemetry.refused(self._door.wire, status)
        answer = Response(body, status, media_type=self._door.content_type)
        await answer(scope, receive, send)

    def _facts(self, told: Told) -> Facts:
        pipeline = self._runtime.pipeline
        key = pipeline.keys.who(self._door.secret(told.headers, told.query))
        if key is None:
            raise unknown_key(self._door)
        routes = tuple(
            RouteFacts(
                route.name,
                route.task,
                tuple(b.name for b in route.backends),
                tuple(b.abilities for b in route.backends),
            )
            for route in pipeline.routes.values()
            if key.routes is None or route.name in key.routes
        )
        return Facts(key, routes, self._runtime.used(key.name))
