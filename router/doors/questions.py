"""What vendors' clients ask beside their calls (voices, languages, what is used up), from facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Response

from router.core.api import Door, Facts, Question, RouteFacts, Told
from router.core.errors import BadRequest, RouterError
from router.doors.arrival import name_call, read_query
from router.doors.body import Gone, read_body
from router.doors.inference import unknown_key
from router.runtime import Runtime

FORM = b"application/x-www-form-urlencoded"
FORM_LIMIT = 64 * 1024


class Asked:
    """The endpoint of one question of one wire."""

    def __init__(self, runtime: Runtime, door: Door, question: Question) -> None:
        self._runtime, self._door, self.question = runtime, door, question

    async def __call__(
        self, scope: Any, receive: Any, send: Any, params: Mapping[str, str]
    ) -> None:
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        query = read_query(scope["query_string"])
        status = 200
        try:
            if headers.get(b"content-type", b"").startswith(FORM):
                # Some clients say in the body of a GET what others say in its URL.
                query |= read_query(await read_body(receive, headers, FORM_LIMIT))
            told = Told(params, query, headers)
            if scope["method"] not in self.question.methods:
                wrong = BadRequest(
                    f"{scope['path']} takes {' or '.join(sorted(self.question.methods))}.",
                    code="method_not_allowed",
                )
                wrong.status = 405
                raise wrong
            body = self.question.answer(self._facts(told), told)
        except Gone:
            return
        except RouterError as exc:
            status, body = exc.status, self._door.error(exc)
            self._runtime.refused(name_call(headers), self._door.wire, exc)
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
