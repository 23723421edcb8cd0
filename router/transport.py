"""The one file that opens sockets: send a Wire, return a Reply or raise.

Every wait on a backend happens here, so this is where the call's deadline is enforced. A stream
is returned after its first event: until then another backend may still be tried, after it the
client has seen bytes. Leaving a stream early closes its connection, which is how a vendor learns
that nobody reads on.

    connect failed, nothing sent      FAULT     free to try another
    sent, no whole answer             LOST      may be billed
    a whole answer in no known shape  LOST      it may be billed, and must not pass as success
"""

from __future__ import annotations

from asyncio import timeout, timeout_at
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError, RequestError

from router.core import verdict
from router.core.api import Api, Endpoint, Malformed, Reader, Wire
from router.core.call import Call
from router.core.errors import AttemptFailed, BrokenStream
from router.core.gate import Clock
from router.core.reply import Reply
from router.core.service import Service
from router.core.task import Event


def client(*, connections: int = 1024) -> Client:
    """The pool of connections, shared by all backends. Close it at shutdown."""
    return (
        ClientBuilder()
        .connect_timeout(timedelta(seconds=5))
        .pool_idle_timeout(timedelta(seconds=55))
        .max_connections(connections)
        .follow_redirects(enable=False)
        .tcp_nodelay(enabled=True)
        .http1_only()
        .default_cookie_store(enable=False)
        .no_proxy()
        .build()
    )


def http(endpoint: Endpoint, *, pool: Client, now: Clock) -> Service:
    """The leaf service of one backend."""
    name, api = endpoint.name, endpoint.api

    async def send(call: Call) -> Reply:
        started = now()
        until = call.deadline
        if call.stream and endpoint.first_event is not None:
            until = min(until, started + endpoint.first_event)
        try:
            async with timeout_at(until):
                request = _request(endpoint, pool, api.request(call, endpoint.model))
                if call.stream:
                    return await _Stream(name, api, call, now).open(request.build_streamed())
                return await _whole(name, request.build(), api, api.reader(call))
        except TimeoutError as exc:
            waited = f"no answer within {now() - started:.2f} s"
            raise AttemptFailed(name, verdict.LOST, waited) from exc
        except ConnectError as exc:
            raise AttemptFailed(name, verdict.FAULT, f"cannot connect: {_cause(exc)}") from exc
        except PyreqwestError as exc:
            raise AttemptFailed(name, verdict.LOST, _cause(exc)) from exc
        except (Malformed, BrokenStream) as exc:
            raise AttemptFailed(name, verdict.LOST, str(exc)) from exc

    return send


def _request(endpoint: Endpoint, pool: Client, wire: Wire) -> Any:
    request = pool.post(endpoint.base + wire.path).body_bytes(wire.body)
    request = request.header("content-type", "application/json")
    for key, value in wire.headers.items():
        request = request.header(key, value)
    for key, value in endpoint.api.auth(endpoint.secret()).items():
        request = request.header(key, value, is_sensitive=True)
    return request


async def _whole(name: str, request: Any, api: Api, reader: Reader) -> Reply:
    response = await request.send()
    body = bytes(await response.bytes())
    status: int = response.status
    if status >= 400:
        return _failed(name, api, status, body, response)
    result = reader.whole(body)
    reply = Reply(backend=name, status=status, usage=reader.usage)
    if isinstance(result, bytes):
        reply.body = result
    else:
        reply.result = result
    reply.model = reader.model
    return reply


class _Stream:
    """One streamed answer: open until its last event was read, or until it is left."""

    def __init__(self, name: str, api: Api, call: Call, now: Clock) -> None:
        self._name, self._api, self._now = name, api, now
        self._reader = api.reader(call)
        self._deadline = call.deadline

    async def open(self, request: Any) -> Reply:
        """The reply, after its first event. Raises AttemptFailed, BrokenStream."""
        started = self._now()
        response = await request.__aenter__()
        try:
            status: int = response.status
            if status >= 400:
                body = bytes(await response.body_reader.bytes())
                reply = _failed(self._name, self._api, status, body, response)
                await _leave(request)
                return reply
            pieces = self._pieces(response.body_reader.read_chunk)
            first = await anext(pieces, None)
        except BaseException:
            await _leave(request)
            raise
        if first is None:
            await _leave(request)
            raise BrokenStream("the stream ended before its first event")
        reply = Reply(backend=self._name, status=status, first=self._now() - started)
        reply.model = self._reader.model
        reply.events = self._events(first, pieces, reply, request)
        return reply

    async def _pieces(
        self, read: Callable[[], Awaitable[Any]]
    ) -> AsyncIterator[list[bytes | Event]]:
        """Batches of events, one per chunk that completed any. Raises BrokenStream."""
        try:
            while (chunk := await read()) is not None:
                events = self._reader.feed(bytes(chunk))
                if events:
                    yield events
        except RequestError as exc:
            raise BrokenStream(f"the stream broke: {_cause(exc)}") from exc
        except Malformed as exc:
            raise BrokenStream(str(exc)) from exc
        if not self._reader.end():
            raise BrokenStream("the stream ended before it said that it was over")

    async def _events(
        self,
        first: list[bytes | Event],
        pieces: AsyncIterator[list[bytes | Event]],
        reply: Reply,
        request: Any,
    ) -> AsyncIterator[bytes | Event]:
        batch: list[bytes | Event] | None = first
        try:
            while batch is not None:
                for event in batch:
                    yield event
                # Per read: a timeout that spans a yield would fire in the reader's code.
                async with timeout_at(self._deadline):
                    batch = await anext(pieces, None)
        except TimeoutError as exc:
            raise BrokenStream("the deadline passed before the stream was over") from exc
        finally:
            reply.usage, reply.model = self._reader.usage, self._reader.model
            await _leave(request)


async def _leave(request: Any) -> None:
    """Close a stream's connection; what it still holds is of no interest."""
    with suppress(PyreqwestError):
        await request.__aexit__(None, None, None)


def _failed(name: str, api: Api, status: int, body: bytes, response: Any) -> Reply:
    failure = api.failure(status, body)
    judged = verdict.judge(api.name, status, failure.code)
    if judged.try_next:
        raise AttemptFailed(
            name,
            judged,
            f"{status} {failure.message or failure.code}"[:300],
            retry_after=_retry_after(response),
        )
    reply = Reply(backend=name, status=status, verdict=judged)
    reply.failure = failure
    return reply


def _retry_after(response: Any) -> float | None:
    """Seconds from `retry-after-ms` or `Retry-After` (RFC 9110 10.2.3, seconds form)."""
    for header, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = response.get_header(header)
        if value:
            with suppress(ValueError):
                return max(0.0, float(value) * unit)
    return None


def _cause(exc: PyreqwestError) -> str:
    """The innermost cause, which names no URL and so no secret in it."""
    details = exc.args[1] if len(exc.args) > 1 and isinstance(exc.args[1], dict) else {}
    causes = details.get("causes") or []
    text = str(causes[-1]["message"]) if causes else exc.message
    return text[:200]


async def fetch_json(pool: Client, url: str, *, seconds: float) -> dict[str, Any] | None:
    """The JSON object at *url*; None when there is none within *seconds*."""
    try:
        async with timeout(seconds):
            response = await pool.get(url).build().send()
            found = msgspec.json.decode(bytes(await response.bytes()))
    except (PyreqwestError, TimeoutError, msgspec.DecodeError):
        return None
    return found if isinstance(found, dict) else None
