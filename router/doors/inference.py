"""Every wire's door: bytes in, a Call down, a Reply up, bytes out.

A raw ASGI endpoint: a pydantic body would parse and copy every message of every conversation to
read five fields. A client that leaves cancels its call, whole answers included, so that the
backend's connection closes and nobody pays for what nobody reads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from router.core.api import Door, Path, Told
from router.core.call import Call
from router.core.errors import (
    BadRequest,
    BrokenStream,
    RouterError,
    Stopped,
    Unauthorized,
)
from router.core.money import usd
from router.core.reply import Reply
from router.core.task import Task
from router.core.trail import Trail
from router.core.verdict import CANCELLED, FAULT
from router.decisions import reason
from router.doors.arrival import Arrival, Entrance, make_call, name_call, read_query
from router.doors.body import Gone, Held, read_body
from router.doors.paths import NO_PARAMS
from router.doors.told import Headers, latin, summary, told
from router.doors.watch import WATCH_AFTER, Watch
from router.runtime import Runtime
from router.server import STOPPED

log = logging.getLogger("isocost")
UNREAD_SECONDS = 1.0
"""After the deadline, for the last of a stream to be taken. A client that does not read must not
hold a place at the backend any longer."""
MEDIA: frozenset[Task] = frozenset({"transcribe", "annotate"})
"""Tasks whose bodies carry audio or images."""
LARGE = 128 * 1024
"""Bytes of such a body from which it is read in a thread."""


class Inference:
    """The endpoint of one path of one wire."""

    def __init__(self, runtime: Runtime, door: Door, path: Path) -> None:
        self._runtime, self._door, self._path = runtime, door, path
        self._media = path.task in MEDIA
        self.entrance = Entrance(door, path.pattern, path.task)

    async def __call__(
        self, scope: Any, receive: Any, send: Any, params: Mapping[str, str] = NO_PARAMS
    ) -> None:
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        runtime = self._runtime
        call_id = name_call(headers)
        if scope["method"] not in self._path.methods:
            takes = " or ".join(sorted(self._path.methods))
            wrong = BadRequest(f"{self._path.pattern} takes {takes}.", code="method_not_allowed")
            wrong.status = 405
            await self._refuse(send, call_id, wrong)
            return
        watch, held = Watch(receive), Held(runtime.bodies)
        reply: Reply | None = None
        called = False
        try:
            query = scope["query_string"]
            told = Told(
                params, read_query(query) if query else NO_PARAMS, headers, runtime.pipeline.tasks
            )
            call = await self._arrive(receive, told, call_id, held)
            called = True
            service = runtime.pipeline.service
            watch.start(0.0 if call.stream else WATCH_AFTER)
            reply = await service(call)
            if reply.events is None:
                await self._whole(send, runtime, call, reply)
            else:
                await self._stream(send, runtime, call, reply, watch)
        except Gone:
            return
        except RouterError as exc:
            await self._refuse(send, call_id, exc, called=called)
        except Exception:
            log.exception("call %s broke", call_id)
            if reply is not None:
                raise  # its headers are on their way: only a cut connection is honest now
            broken = RouterError(f"Something broke inside the router; its log names {call_id}.")
            await self._refuse(send, call_id, broken, called=called)
        except asyncio.CancelledError as exc:
            if not watch.gone:
                await self._stopped(send, call_id, exc, begun=reply is not None, called=called)
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
        finally:
            watch.stop()
            held.free()
            if reply is not None:
                reply.close(CANCELLED)

    async def _stopped(
        self, send: Any, call_id: str, why: BaseException, *, begun: bool, called: bool
    ) -> None:
        """Say that the process ends. Raises *why* where it does not, or an answer has begun."""
        if begun or STOPPED not in why.args:
            raise why
        await self._refuse(send, call_id, Stopped(), called=called)

    async def turn_away(self, scope: Any, send: Any, error: RouterError) -> None:
        """Refuse a request whose body nobody reads."""
        await self._refuse(send, name_call(dict(scope["headers"])), error)

    async def _arrive(self, receive: Any, told: Told, call_id: str, held: Held) -> Call:
        """The call, once it is known who sends it. Raises BadRequest, Shed, Gone."""
        runtime = self._runtime
        key = runtime.pipeline.keys.who(self._door.secret(told.headers, told.query))
        if key is None:
            raise unknown_key(self._door)
        limit = runtime.media_limit if self._media else runtime.body_limit
        body = await read_body(receive, told.headers, limit, held.take)
        arrival = Arrival(told, body, key, call_id)
        if self._media and len(body) > LARGE:
            # Decoding megabytes of audio or images would hold up everybody else.
            return await asyncio.to_thread(make_call, runtime, self.entrance, arrival)
        return make_call(runtime, self.entrance, arrival)

    async def _whole(self, send: Any, runtime: Runtime, call: Call, reply: Reply) -> None:
        route = runtime.pipeline.routes.get(call.route)
        body = self._door.whole(call, reply)
        head = self._door.head(call, reply)
        kind = head.content_type.encode()
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *head.headers]
        headers += told(call, reply, route)
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        # Closed before its last byte is sent: whoever has an answer finds it in the journal, even
        # if this process is killed the moment after.
        reply.close()
        await send({"type": "http.response.body", "body": body})

    async def _stream(
        self, send: Any, runtime: Runtime, call: Call, reply: Reply, watch: Watch
    ) -> None:
        door, events = self._door, reply.events
        assert events is not None
        writer = door.events(call, reply)
        head = door.head(call, reply)
        headers = [(b"content-type", head.content_type.encode()), *head.headers]
        headers += told(call, reply, runtime.pipeline.routes.get(call.route))
        ended, end = CANCELLED, b""
        unread = watch.limit(call.deadline + UNREAD_SECONDS)
        try:
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            async for event in events:
                data = writer.event(event)
                if data:
                    await send(_piece(data))
            # Sent once it is closed, as whole answers are.
            end = writer.end(reply.usage)
            ended = reply.verdict
        except BrokenStream as exc:
            ended = exc.verdict
            exc.args = (f"{reply.backend}: {exc}. What came so far is not the whole answer.",)
            said = door.error_event(exc)
            if not said:
                raise  # only a cut connection can say it: a normal end would be a lie
            await send(_piece(said))
        except asyncio.CancelledError as exc:
            said = b"" if watch.gone or STOPPED not in exc.args else door.error_event(Stopped())
            if not said:
                raise
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
            await send(_piece(said))
        except Exception:
            ended = CANCELLED if watch.gone else FAULT
            raise
        finally:
            unread.cancel()
            # First the generator, which notes the usage, then the money.
            await events.aclose()  # type: ignore[attr-defined]
            reply.close(ended)
        last = b""
        if head.content_type.startswith("text/event-stream"):
            last = summary(call, reply, runtime.pipeline.routes.get(call.route))
        await send({"type": "http.response.body", "body": end + last})

    async def _refuse(
        self, send: Any, call_id: str, error: RouterError, *, called: bool = False
    ) -> None:
        body = self._door.error(error)
        headers: Headers = [
            (b"content-type", self._door.content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"x-isocost-call-id", call_id.encode()),
        ]
        if error.retry_after is not None:
            headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
        headers += error.headers
        trail = error.trail
        if isinstance(trail, Trail):
            headers += [
                (b"x-isocost-attempts", b"%d" % trail.sent),
                (b"x-isocost-cost-usd", usd(trail.cost).encode()),
                (b"x-isocost-reason", latin(reason(trail))),
            ]
        if not called:  # a call is counted by the pipeline, however it ended
            self._runtime.refused(call_id, self._door.wire, error)
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def unknown_key(door: Door) -> Unauthorized:
    """Says where this wire carries a key."""
    error = Unauthorized(
        "This key is not known here. Send a key of this router, not the vendor's, in the header "
        f"`{door.key_header}`."
    )
    error.status = door.stranger
    return error


def _piece(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}
