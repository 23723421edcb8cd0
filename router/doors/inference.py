"""Every wire's door: bytes in, a Call down, a Reply up, bytes out.

A raw ASGI endpoint: a pydantic body would parse and copy every message of every conversation to
read five fields. A client that leaves cancels its call, whole answers included, so that the
backend's connection closes and nobody pays for what nobody reads.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from itertools import count
from secrets import token_hex
from typing import Any

import msgspec

from router.core.api import Ask, Door
from router.core.call import Call, Key
from router.core.errors import (
    BadRequest,
    BrokenStream,
    RouterError,
    TooLarge,
    Unauthorized,
    UnknownRoute,
)
from router.core.money import pico, usd
from router.core.reply import Reply
from router.core.task import Task
from router.core.trail import Trail
from router.core.verdict import CANCELLED, FAULT, LOST
from router.decisions import reason
from router.plan import Plan, Route
from router.runtime import Runtime

log = logging.getLogger("isocost")
Headers = list[tuple[bytes, bytes]]
WATCH_AFTER = 0.02
"""Seconds until a whole answer's client is watched: quick answers need no watcher."""
# Unique by process and count: asking the kernel for random bytes per call costs 30 us.
_PROCESS = token_hex(8)
_count = count()
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


DRAIN = 4
"""A body up to so many times the limit is read to its end and dropped: most clients look for an
answer only after they have sent everything."""


class Gone(Exception):
    """The client left before its body was read."""


class Inference:
    """The endpoint of one path of one wire."""

    def __init__(self, runtime: Runtime, door: Door, path: str, task: Task) -> None:
        self._runtime, self._door, self._path = runtime, door, path
        self.entrance = Entrance(door, path, task)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        runtime = self._runtime
        call_id = name_call(headers)
        if scope["method"] != "POST":
            wrong = BadRequest(f"{self._path} takes POST.", code="method_not_allowed")
            wrong.status = 405
            await self._refuse(send, call_id, wrong)
            return
        watch = _Watch(receive)
        reply: Reply | None = None
        called = False
        try:
            call = await self._arrive(receive, headers, call_id)
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
        except asyncio.CancelledError:
            if not watch.gone:
                raise
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
        finally:
            watch.stop()
            if reply is not None:
                reply.close(CANCELLED)

    async def _arrive(self, receive: Any, headers: Mapping[bytes, bytes], call_id: str) -> Call:
        """The call, once it is known who sends it. Raises BadRequest, Gone."""
        runtime = self._runtime
        key = runtime.pipeline.keys.who(self._door.secret(headers))
        if key is None:
            raise Unauthorized(UNKNOWN_KEY)
        body = await read_body(receive, headers, runtime.body_limit)
        return make_call(runtime, self.entrance, Arrival(headers, body, key, call_id))

    async def _whole(self, send: Any, runtime: Runtime, call: Call, reply: Reply) -> None:
        route = runtime.pipeline.routes.get(call.route)
        body = self._door.whole(call, reply)
        kind = self._door.content_type.encode()
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        headers += told(call, reply, route)
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        reply.close()

    async def _stream(
        self, send: Any, runtime: Runtime, call: Call, reply: Reply, watch: _Watch
    ) -> None:
        door, events = self._door, reply.events
        assert events is not None
        writer = door.events(call, reply)
        kind = door.stream_type.encode()
        headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
        headers += told(call, reply, runtime.pipeline.routes.get(call.route))
        ended = CANCELLED
        try:
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            async for event in events:
                data = writer.event(event)
                if data:
                    await send(_piece(data))
            await send(_piece(writer.end(reply.usage)))
            ended = reply.verdict
        except BrokenStream as exc:
            ended = LOST
            exc.args = (f"{reply.backend}: {exc}. What came so far is not the whole answer.",)
            await send(_piece(door.error_event(exc)))
        except asyncio.CancelledError:
            raise
        except Exception:
            ended = CANCELLED if watch.gone else FAULT
            raise
        finally:
            # First the generator, which notes the usage, then the money.
            await events.aclose()  # type: ignore[attr-defined]
            reply.close(ended)
        last = _summary(call, reply, runtime.pipeline.routes.get(call.route))
        await send({"type": "http.response.body", "body": last})

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
        trail = error.trail
        if isinstance(trail, Trail):
            headers += [
                (b"x-isocost-attempts", b"%d" % trail.sent),
                (b"x-isocost-cost-usd", usd(trail.cost).encode()),
                (b"x-isocost-reason", _latin(reason(trail))),
            ]
        if not called:  # a call is counted by the pipeline, however it ended
            self._runtime.telemetry.refused(self._door.wire, error.status)
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


UNKNOWN_KEY = (
    "This key is not known here. Send a key of this router, not the vendor's, in the header "
    "`Authorization: Bearer <key>`."
)


def name_call(headers: Mapping[bytes, bytes]) -> str:
    """The caller's own request id when it is a plain word, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _ID.fullmatch(said := given.decode("latin-1")):
        return said
    return f"{_PROCESS}{next(_count):010x}"


class Entrance(msgspec.Struct, frozen=True):
    """One path of one wire, and the task it asks for."""

    door: Door
    path: str
    task: Task


class Arrival(msgspec.Struct, frozen=True):
    """One request as it came, and who sent it."""

    headers: Mapping[bytes, bytes]
    body: bytes
    key: Key
    call_id: str


def make_call(runtime: Runtime, entrance: Entrance, arrival: Arrival) -> Call:
    """What the pipeline needs of a request. Raises BadRequest."""
    door, task, headers = entrance.door, entrance.task, arrival.headers
    ask = door.ask(entrance.path, arrival.body)
    routes = runtime.pipeline.routes
    route = routes.get(ask.route)
    if route is None or route.task != task:
        raise UnknownRoute(_unknown(ask, routes, task), param="model")
    now = runtime.now()
    asked = getattr(ask.request, "max_tokens", None)
    makes = task in {"chat", "complete"}
    limit = (asked or route.output_limit) * ask.outputs if makes else 0
    return Call(
        id=arrival.call_id,
        key=arrival.key,
        route=route.name,
        task=task,
        request=ask.request,
        wire=door.wire,
        fields=ask.fields,
        extras=ask.extras,
        created=int(time.time()),
        arrived=now,
        deadline=now + _deadline(headers, route.deadline),
        text_bytes=ask.text_bytes,
        input_tokens=int(ask.text_bytes / route.forecast.bytes_per_token) + 1,
        input_bound=ask.token_bound,
        output_limit=limit,
        stream=ask.stream,
        tags=_tags(headers) | arrival.key.tags,
        max_cost=_max_cost(headers, route),
    )


def _unknown(ask: Ask, routes: Mapping[str, Route], task: Task) -> str:
    fit = sorted(name for name, route in routes.items() if route.task == task)
    known = f"Routes for {task}: {', '.join(fit)}." if fit else f"No route does {task}."
    if ask.route in routes:
        return f"Route {ask.route!r} does {routes[ask.route].task}, not {task}. {known}"
    return f"There is no route {ask.route!r}: put the name of a route in `model`. {known}"


def _tags(headers: Mapping[bytes, bytes]) -> frozenset[str]:
    given = headers.get(b"x-isocost-tags")
    if not given:
        return frozenset()
    return frozenset(t.strip() for t in given.decode("latin-1").split(",") if t.strip())


def _deadline(headers: Mapping[bytes, bytes], default: float) -> float:
    given = headers.get(b"x-isocost-deadline-ms")
    if given is None:
        return default
    try:
        millis = float(given)
    except ValueError:
        millis = 0.0
    if not 0 < millis <= 86_400_000:
        raise BadRequest(
            "The header x-isocost-deadline-ms must be a number of milliseconds above 0.",
            param="x-isocost-deadline-ms",
        )
    return millis / 1000


def _max_cost(headers: Mapping[bytes, bytes], route: Route) -> int | None:
    """The lower of what the caller and the route allow."""
    given, own = headers.get(b"x-isocost-max-cost-usd"), route.promise.max_cost
    if given is None:
        return own
    try:
        asked = pico(given.decode("latin-1"))
    except (ValueError, OverflowError):
        asked = -1
    if asked < 0:
        raise BadRequest(
            "The header x-isocost-max-cost-usd must be an amount in USD, such as 0.01.",
            param="x-isocost-max-cost-usd",
        )
    return asked if own is None else min(asked, own)


def told(call: Call, reply: Reply, route: Route | None) -> Headers:
    """The decision in headers. A stream's cost is not known yet: its expected cost is told."""
    trail = reply.trail
    assert isinstance(trail, Trail)
    headers: Headers = [
        (b"x-isocost-call-id", call.id.encode()),
        (b"x-isocost-backend", reply.backend.encode()),
        (b"x-isocost-attempts", b"%d" % trail.sent),
        (b"x-isocost-reason", _latin(reason(trail))),
    ]
    if reply.cost is None:
        plan: Plan = trail.plan
        expected = next(c.cost for c in plan.candidates if c.backend == reply.backend)
        headers.append((b"x-isocost-expected-cost-usd", usd(expected).encode()))
        return headers
    headers.append((b"x-isocost-cost-usd", usd(trail.cost).encode()))
    saved = _saved(reply, route, trail.cost)
    if saved is not None:
        headers.append((b"x-isocost-saved-usd", usd(saved).encode()))
    return headers


def _saved(reply: Reply, route: Route | None, cost: int) -> int | None:
    if route is None or route.baseline is None or reply.usage is None or reply.failure is not None:
        return None
    return route.baseline.price.of(reply.usage) - cost


def _summary(call: Call, reply: Reply, route: Route | None) -> bytes:
    """A last comment line, which clients of server-sent events skip: what the stream cost."""
    trail = reply.trail
    assert isinstance(trail, Trail)
    saved = _saved(reply, route, trail.cost)
    tail = "" if saved is None else f" saved-usd={usd(saved)}"
    return f": isocost call-id={call.id} cost-usd={usd(trail.cost)}{tail}\n\n".encode()


def _latin(text: str) -> bytes:
    return text.encode("latin-1", "replace").replace(b"\n", b" ")[:1000]


def _piece(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def read_body(receive: Any, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """The whole body, of at most *limit* bytes. Raises TooLarge, Gone."""
    said = headers.get(b"content-length", b"0")
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
        over = size > limit and (size > DRAIN * limit or not message.get("more_body"))
        if over or (said.isdigit() and int(said) > DRAIN * limit):
            raise TooLarge(f"The body is too long: at most {limit} bytes are taken.")
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


class _Watch:
    """Cancels the current task when the client leaves. Started late, it costs a timer only."""

    __slots__ = ("_handle", "_receive", "_watcher", "gone")

    def __init__(self, receive: Any) -> None:
        self._receive = receive
        self._handle: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.gone = False

    def start(self, after: float) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._handle = loop.call_later(after, self._begin, task)

    def _begin(self, task: asyncio.Task[Any]) -> None:
        self._watcher = asyncio.create_task(self._look(task))

    async def _look(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        task.cancel()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
