"""Send a Wire, return a Reply or raise: the one user of `http1`, which opens the sockets.

Every wait on a backend happens here, so this is where the call's deadline is enforced. A stream
is returned after its first event: until then another backend may still be tried, after it the
client has seen bytes. Leaving a stream early closes its connection, which is how a vendor learns
that nobody reads on.

    connect failed, nothing sent      FAULT     free to try another
    sent, no whole answer             LOST      may be billed
    the same, the caller in a hurry   LATE      no fault of the backend's
    a whole answer in no known shape  LOST      it may be billed, and must not pass as success
"""

from __future__ import annotations

from asyncio import TimerHandle, get_running_loop, timeout, timeout_at
from collections.abc import AsyncIterator
from contextlib import suppress
from math import inf
from time import time
from typing import TypeVar

import msgspec

from router.core import verdict
from router.core.api import Endpoint, Malformed
from router.core.call import Call
from router.core.counts import UNREADABLE
from router.core.errors import AttemptFailed, BrokenStream
from router.core.failure import Failure
from router.core.gate import Clock
from router.core.redact import without_asked, without_key, without_key_bytes
from router.core.reply import Reply
from router.core.retry_after import retry_after
from router.core.service import Service
from router.core.task import Event
from router.http1.origin import Broken, ConnectFailed, Origin
from router.http1.pool import Pool, Response

T = TypeVar("T")
TAIL_SECONDS = 0.05
"""How long a stream that has said its end may take to end."""
REFUSAL_LIMIT = 256 * 1024
"""Bytes of a refusal that are read where a stream was asked for."""


def http(endpoint: Endpoint, *, pool: Pool, now: Clock) -> Service:
    """The leaf service of one backend. Raises ValueError for a base that is no URL."""
    name, api, origin = endpoint.name, endpoint.api, Origin.of(endpoint.base)
    traced = endpoint.trace

    async def send(call: Call) -> Reply:
        started = now()
        until = min(call.deadline, call.answer_by)
        lost = verdict.LATE if call.hurried else verdict.LOST
        if call.stream and endpoint.first_event is not None:
            limit = started + endpoint.first_event
            if limit < until:
                until, lost = limit, verdict.LOST
        ends = call.deadline if call.stream else until
        wire = api.request(call, endpoint.model)
        headers = {
            "content-type": "application/json",
            **wire.headers,
            **api.auth(endpoint.secret()),
            # Another router stops then by itself; a worker does when the connection ends.
            "x-isocost-deadline-ms": f"{max(1.0, 1e3 * (ends - started)):.0f}",
        }
        if traced and call.trace is not None:
            headers |= call.trace.headers(name)
        connection = None
        try:
            async with timeout_at(until):
                connection = await pool.take(origin, endpoint.connect)
                response = await pool.ask(
                    connection, wire.path, wire.body, headers, whole=not call.stream
                )
                if call.stream:
                    return await _Stream(endpoint, call, now, response).open(started)
                return _whole(endpoint, call, response)
        except TimeoutError as exc:
            if connection is None:  # nothing was sent, and a hurried caller proves nothing
                failed = verdict.REJECTED if call.hurried else verdict.FAULT
                why = f"cannot connect: no connection within {now() - started:.3g} s"
                raise AttemptFailed(name, failed, why) from exc
            waited = f"no answer within {now() - started:.2f} s"
            raise AttemptFailed(name, lost, waited) from exc
        except ConnectFailed as exc:
            raise AttemptFailed(name, verdict.FAULT, f"cannot connect: {exc}") from exc
        except (Broken, Malformed, BrokenStream) as exc:
            raise AttemptFailed(name, verdict.LOST, _told(endpoint, call, str(exc))) from None

    return send


def _whole(endpoint: Endpoint, call: Call, response: Response) -> Reply:
    if response.status >= 300:
        return _failed(endpoint, call, response)
    reader = endpoint.api.reader(call, endpoint.model)
    _plain(response)
    reader.head(response.headers)
    result = reader.whole(response.body)
    if reader.failed is not None:
        status, failure = reader.failed
        return _judged(endpoint, call, status, failure, None)
    reply = Reply(backend=endpoint.name, status=response.status, usage=reader.usage)
    reply.passed = reader.passed
    if isinstance(result, bytes):
        reply.body = result
    else:
        reply.result = result
    reply.model = reader.model
    return reply


class _Stream:
    """One streamed answer: open until its last event was read, or until it is left."""

    def __init__(self, endpoint: Endpoint, call: Call, now: Clock, response: Response) -> None:
        self._endpoint, self._call, self._now = endpoint, call, now
        self._response = response
        self._reader = endpoint.api.reader(call, endpoint.model)
        self._loop = get_running_loop()
        self._timer: TimerHandle | None = None
        self._waiting_since = inf
        self._late = False

    async def open(self, started: float) -> Reply:
        """The reply, after its first event. Raises AttemptFailed, Broken, BrokenStream."""
        response = self._response
        try:
            if response.status >= 300:
                pieces, size = [], 0
                while size < REFUSAL_LIMIT and (piece := await response.read()):
                    pieces.append(piece)
                    size += len(piece)
                response.close()
                response.body = b"".join(pieces)
                return _failed(self._endpoint, self._call, response)
            _plain(response)
            self._reader.head(response.headers)
            first = await self._next()
        except BaseException:
            response.close()
            raise
        if not first:
            raise BrokenStream("the stream ended before its first event")
        reply = Reply(
            backend=self._endpoint.name, status=response.status, first=self._now() - started
        )
        reply.model = self._reader.model or self._endpoint.model
        reply.passed = self._reader.passed
        reply.events = self._events(first, reply)
        # A generator that was never begun runs no `finally`: its reader may leave before that.
        reply.on_close(lambda ended: response.close())
        return reply

    async def _next(self) -> list[bytes | Event]:
        """The next batch of events; [] when the stream is over. Raises BrokenStream."""
        try:
            while not self._reader.end() and (piece := await self._response.read()):
                if events := self._reader.feed(piece):
                    return events
        except (Broken, Malformed) as exc:
            broken = BrokenStream(without_key(str(exc), self._endpoint.secret()))
            broken.verdict = verdict.LATE if self._late else verdict.LOST
            raise broken from None
        if not self._reader.end():
            self._reader.finish()
        if not self._reader.end():
            raise BrokenStream("the stream ended before it said that it was over")
        # It said that it was over: the connection is worth a moment's wait, an answer is not.
        with suppress(TimeoutError, Broken):
            async with timeout(TAIL_SECONDS):
                await self._response.read()
        return []

    def _watch(self) -> None:
        """End the stream at its deadline, or once its backend is silent too long; or look again."""
        now, deadline, idle = self._loop.time(), self._call.deadline, self._endpoint.idle
        silent = deadline if idle is None else min(self._waiting_since, now) + idle
        if now >= deadline:
            self._late = self._call.hurried
            self._response.expire("the deadline passed before the stream was over")
        elif now >= silent:
            self._response.expire(f"nothing came for {idle:g} s")
        else:
            self._timer = self._loop.call_at(min(silent, deadline), self._watch)

    async def _events(
        self, batch: list[bytes | Event], reply: Reply
    ) -> AsyncIterator[bytes | Event]:
        # One timer for the stream: a timeout around each read costs more than the read.
        clock = self._loop.time
        self._watch()
        try:
            while batch:
                # While the client takes its time, the backend is not the one who is silent.
                self._waiting_since = inf
                for event in batch:
                    yield event
                self._waiting_since = clock()
                batch = await self._next()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            reply.usage = self._reader.usage
            reply.model = self._reader.model or self._endpoint.model
            self._response.close()


def _plain(response: Response) -> None:
    """Raises Malformed when the body is compressed: nobody asked for it, and nobody unpacks it."""
    coding = response.headers.get(b"content-encoding", b"")
    if coding and coding.lower() != b"identity":
        raise Malformed(f"it is packed as {coding.decode('latin-1')[:20]}, which nobody asked for")


def _failed(endpoint: Endpoint, call: Call, response: Response) -> Reply:
    """The reply to a client's own mistake; raises AttemptFailed for all others."""
    failure = endpoint.api.failure(response.status, response.body)
    wait = retry_after(response.headers, time())
    return _judged(endpoint, call, response.status, failure, wait)


def _judged(
    endpoint: Endpoint, call: Call, status: int, failure: Failure, wait: float | None
) -> Reply:
    judged = verdict.judge(endpoint.api.name, status, failure.code)
    if judged.try_next:
        detail = f"{status} {_told(endpoint, call, failure.message or failure.code)}"[:300]
        told = failure.retry_after if wait is None else wait
        raise AttemptFailed(endpoint.name, judged, detail, retry_after=told)
    reply = Reply(backend=endpoint.name, status=status, verdict=judged)
    # As it came it is only for a client of the same wire; the others' doors write it anew.
    own, key = call.wire == endpoint.api.name, endpoint.secret()
    reply.failure = msgspec.structs.replace(
        failure,
        message=without_key(failure.message, key),
        raw=without_key_bytes(failure.raw, key) if own else b"",
    )
    return reply


def _told(endpoint: Endpoint, call: Call, text: str) -> str:
    """What a vendor said, as it may be kept."""
    return without_asked(
        without_key(text[:1000], endpoint.secret()), map(bytes, call.fields.values())
    )


async def fetch(pool: Pool, url: str, shape: type[T], *, seconds: float) -> T | None:
    """The JSON at *url* in its *shape*; None when there is none within *seconds*.

    Each time on a new connection: behind a load balancer one that is kept stays with a server that
    is taken out of service, and tells of that one only.
    """
    try:
        async with timeout(seconds):
            response = await pool.alone(Origin.of(url), "")
            return msgspec.json.decode(response.body, type=shape)
    except (ConnectFailed, Broken, TimeoutError, *UNREADABLE):
        return None
