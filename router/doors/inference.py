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
from collections.abc import Callable, Mapping
from itertools import count
from secrets import token_hex
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec

from router.core.api import Ask, Door, Path, Told
from router.core.call import CRITICALITIES, Call, Criticality, Key
from router.core.errors import (
    BadRequest,
    BrokenStream,
    RouterError,
    Shed,
    TooLarge,
    Unauthorized,
    UnknownRoute,
)
from router.core.money import pico, usd
from router.core.reply import Reply
from router.core.task import Task
from router.core.trail import Trail
from router.core.verdict import CANCELLED, FAULT
from router.decisions import reason
from router.doors.paths import NO_PARAMS
from router.plan import Plan, Route, baseline_cost
from router.runtime import Bodies, Runtime

log = logging.getLogger("isocost")
Headers = list[tuple[bytes, bytes]]
WATCH_AFTER = 0.02
"""Seconds until a whole answer's client is watched: quick answers need no watcher."""
UNREAD_SECONDS = 1.0
"""After the deadline, for the last of a stream to be taken. A client that does not read must not
hold a place at the backend any longer."""
# Unique by process and count: asking the kernel for random bytes per call costs 30 us.
_PROCESS = token_hex(8)
_count = count()
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
"""A vendor's words may hold them; a header may not."""


MEDIA: frozenset[Task] = frozenset({"transcribe", "annotate"})
"""Tasks whose bodies carry audio or images."""
LARGE = 128 * 1024
"""Bytes of such a body from which it is read in a thread."""
DRAIN = 4
"""A body up to so many times the limit is read to its end and dropped: most clients look for an
answer only after they have sent everything."""


class Gone(Exception):
    """The client left before its body was read."""


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
        watch, held = _Watch(receive), Held(runtime.bodies)
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
        except asyncio.CancelledError:
            if not watch.gone:
                raise
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
        finally:
            watch.stop()
            held.free()
            if reply is not None:
                reply.close(CANCELLED)

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
        self, send: Any, runtime: Runtime, call: Call, reply: Reply, watch: _Watch
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
        except asyncio.CancelledError:
            raise
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
            last = _summary(call, reply, runtime.pipeline.routes.get(call.route))
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
                (b"x-isocost-reason", _latin(reason(trail))),
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


def read_query(raw: bytes) -> dict[str, str]:
    """The query's fields; of a field that stands there twice, the last."""
    return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True))


def name_call(headers: Mapping[bytes, bytes]) -> str:
    """The caller's own request id when it is a plain word, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _ID.fullmatch(said := given.decode("latin-1")):
        return said
    return f"{_PROCESS}{next(_count):010x}"


_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


class Entrance(msgspec.Struct, frozen=True):
    """One path of one wire, and the task it asks for."""

    door: Door
    path: str
    task: Task


class Arrival(msgspec.Struct, frozen=True):
    """One request as it came, and who sent it."""

    told: Told
    body: bytes
    key: Key
    call_id: str


def make_call(runtime: Runtime, entrance: Entrance, arrival: Arrival) -> Call:
    """What the pipeline needs of a request. Raises BadRequest."""
    door, headers = entrance.door, arrival.told.headers
    try:
        ask = door.ask(entrance.path, arrival.body, arrival.told)
    except _UNREADABLE as exc:
        # Parts of a body are decoded late, each with its own way to be wrong.
        raise BadRequest(f"The body cannot be read: {exc}.", code="invalid_json") from exc
    task = ask.task
    route = _route(runtime, door, ask, headers)
    now, seconds = runtime.now(), _deadline(headers, route.deadline)
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
        deadline=now + seconds,
        hurried=seconds < route.deadline,
        text_bytes=ask.text_bytes,
        input_tokens=int(ask.text_bytes / route.forecast.bytes_per_token) + 1,
        input_bound=ask.token_bound,
        output_limit=limit,
        stream=ask.stream,
        path=entrance.path,
        tags=_tags(headers) | arrival.key.tags,
        max_cost=_max_cost(headers, route),
        caching=_caching(headers),
        criticality=_criticality(headers, arrival.key),
        trace=runtime.trace(headers),
    )


def _route(runtime: Runtime, door: Door, ask: Ask, headers: Mapping[bytes, bytes]) -> Route:
    """The header's route, the body's, or the door's own. Raises UnknownRoute."""
    pipeline = runtime.pipeline
    said = headers.get(b"x-isocost-route", b"").decode("latin-1")
    name = said or ask.route
    route = pipeline.routes.get(name)
    if route is not None and route.task == ask.task:
        return route
    if not said and not door.named:
        own = pipeline.doors.get((door.wire, ask.task))
        if own is not None:
            return pipeline.routes[own]
        raise UnknownRoute(_unnamed(door.wire, pipeline.routes, ask.task), param="x-isocost-route")
    where = "x-isocost-route" if said else "model"
    raise UnknownRoute(_unknown(name, where, pipeline.routes, ask.task), param=where)


def _unnamed(wire: str, routes: Mapping[str, Route], task: Task) -> str:
    fit = sorted(name for name, route in routes.items() if route.task == task)
    if not fit:
        return f"No route does {task}: add one to the configuration."
    return (
        f"Several routes do {task}: {', '.join(fit)}. Name one in the header x-isocost-route, or "
        f"in the configuration: `doors: {{{wire}: {{{task}: {fit[0]}}}}}`."
    )


def _unknown(name: str, where: str, routes: Mapping[str, Route], task: Task) -> str:
    fit = sorted(name for name, route in routes.items() if route.task == task)
    known = f"Routes for {task}: {', '.join(fit)}." if fit else f"No route does {task}."
    if name in routes:
        return f"Route {name!r} does {routes[name].task}, not {task}. {known}"
    return f"There is no route {name!r}: put the name of a route in `{where}`. {known}"


def _tags(headers: Mapping[bytes, bytes]) -> frozenset[str]:
    given = headers.get(b"x-isocost-tags")
    if not given:
        return frozenset()
    return frozenset(t.strip() for t in given.decode("latin-1").split(",") if t.strip())


def _caching(headers: Mapping[bytes, bytes]) -> Literal["", "no-cache", "no-store"]:
    """What the client wants of a cache (RFC 9111 5.2.1); other directives are not heard."""
    given = headers.get(b"cache-control")
    if not given:
        return ""
    said = {word.strip() for word in given.lower().split(b",")}
    return "no-store" if b"no-store" in said else "no-cache" if b"no-cache" in said else ""


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


def _criticality(headers: Mapping[bytes, bytes], key: Key) -> Criticality:
    """The lower of what the caller says and what its key allows."""
    given, most = headers.get(b"x-isocost-criticality"), key.criticality
    if given is None:
        level: Criticality = "critical"
    else:
        said = given.decode("latin-1")
        if said not in CRITICALITIES:
            raise BadRequest(
                "The header x-isocost-criticality must be one of "
                f"{', '.join(CRITICALITIES)}; it is {said[:40]!r}.",
                param="x-isocost-criticality",
            )
        level = CRITICALITIES[CRITICALITIES.index(said)]
    return level if most is None else max(level, most, key=CRITICALITIES.index)


def told(call: Call, reply: Reply, route: Route | None) -> Headers:
    """The decision in headers. A stream's cost is not known yet: its expected cost is told."""
    trail = reply.trail
    assert isinstance(trail, Trail)
    headers: Headers = [
        *reply.passed,
        (b"x-isocost-call-id", call.id.encode()),
        (b"x-isocost-backend", reply.backend.encode()),
        (b"x-isocost-attempts", b"%d" % trail.sent),
        (b"x-isocost-reason", _latin(reason(trail))),
    ]
    cache = reply.cache
    if cache is not None:
        headers.append((b"x-isocost-cache", cache.state.encode()))
        if cache.age is not None:
            headers.append((b"age", b"%d" % cache.age))
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
    trail = reply.trail
    assert isinstance(trail, Trail)
    baseline = baseline_cost(route, trail, reply.usage)
    return None if baseline is None else baseline - cost


def _summary(call: Call, reply: Reply, route: Route | None) -> bytes:
    """A last comment line, which clients of server-sent events skip: what the stream cost."""
    trail = reply.trail
    assert isinstance(trail, Trail)
    saved = _saved(reply, route, trail.cost)
    tail = "" if saved is None else f" saved-usd={usd(saved)}"
    return f": isocost call-id={call.id} cost-usd={usd(trail.cost)}{tail}\n\n".encode()


def _latin(text: str) -> bytes:
    return _CONTROL.sub(b" ", text.encode("latin-1", "replace")[:1000])


def _piece(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


class Held:
    """The bytes of one call's body among those of all calls under way."""

    __slots__ = ("_bodies", "_size")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies, self._size = bodies, 0

    def take(self, size: int) -> None:
        """Hold *size* bytes more. Raises Shed when that is more than this process may hold."""
        bodies = self._bodies
        if bodies.held + size > bodies.limit:
            raise Shed(
                "The bodies of the calls under way fill the memory that this router has for them "
                f"({bodies.limit} bytes).",
                retry_after=1.0,
            )
        bodies.held += size
        self._size += size

    def free(self) -> None:
        self._bodies.held -= self._size
        self._size = 0


def _uncounted(size: int) -> None:
    pass


async def read_body(
    receive: Any,
    headers: Mapping[bytes, bytes],
    limit: int,
    take: Callable[[int], None] = _uncounted,
) -> bytes:
    """The whole body, of at most *limit* bytes, each part told to *take*. Raises TooLarge, Gone."""
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
            take(len(part))
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

    def limit(self, until: float) -> asyncio.TimerHandle:
        """Cancels the current task at *until*: its connection is then cut."""
        task = asyncio.current_task()
        assert task is not None
        return asyncio.get_running_loop().call_at(until, task.cancel)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
