"""The one file that opens sockets: send a Wire, return a Reply or raise.

Every wait on a backend happens here, so this is where the call's deadline is enforced. A stream
is returned after its first event: until then another backend may still be tried, after it the
client has seen bytes. Leaving a stream early closes its connection, which is how a vendor learns
that nobody reads on.

    connect failed, nothing sent      FAULT     free to try another
    sent, no whole answer             LOST      may be billed
    whole answer that is not its wire's     LOST      it may be billed, and must not pass as success
"""

from __future__ import annotations

from asyncio import timeout_at
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError, RequestError

from router.core import verdict
from router.core.api import Api, Malformed, Reader, Wire
from router.core.call import Call
from router.core.errors import AttemptFailed, BrokenStream
from router.core.gate import Clock
from router.core.reply import Reply
from router.core.service import Service
from router.core.task import Event

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of a backend's answer that are held at most."""


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


def http(
    name: str,
    *,
    base: str,
    model: str,
    api: Api,
    secret: Callable[[], str],
    pool: Client,
    now: Clock,
    first_event: float | None = None,
) -> Service:
    """The leaf service of one backend. *secret* is read per attempt, for keys that rotate."""

    def prepare(call: Call, wire: Wire) -> Any:
        request = pool.post(base + wire.path).body_bytes(wire.body)
        request = request.header("content-type", "application/json")
        for key, value in wire.headers.items():
            request = request.header(key, value)
        for key, value in api.auth(secret()).items():
            request = request.header(key, value, is_sensitive=True)
        return request

    async def send(call: Call) -> Reply:
        wire, reader = api.request(call, model), api.reader(call)
        started = now()
        until = call.deadline
        if call.stream and first_event is not None:
            until = min(until, started + first_event)
        request = prepare(call, wire)
        try:
            async with timeout_at(until):
                if call.stream:
                    return await _stream(name, request.build_streamed(), api, reader, call, now)
                return await _whole(name, request.build(), api, reader)
        except TimeoutError as exc:
            waited = f"no answer within {now() - started:.2f} s"
            raise AttemptFailed(name, verdict.LOST, waited) from exc
        except ConnectError as exc:
            raise AttemptFailed(name, verdict.FAULT, f"cannot connect: {_cause(exc)}") from exc
        except PyreqwestError as exc:
            raise AttemptFailed(name, verdict.LOST, _cause(exc)) from exc
        except Malformed as exc:
            raise AttemptFailed(name, verdict.LOST, str(exc)) from exc

    return send


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


async def _stream(
    name: str, request: Any, api: Api, reader: Reader, call: Call, now: Clock
) -> Reply:
    started = now()
    response = await request.__aenter__()
    try:
        status: int = response.status
        if status >= 400:
            body = bytes(await response.body_reader.bytes())
            reply = _failed(name, api, status, body, response)
            await request.__aexit__(None, None, None)
            return reply
        pieces = _pieces(response.body_reader.read_chunk, reader)
        first: list[bytes | Event] = []
        while not first:
            first = await anext(pieces)
    except StopAsyncIteration:
        await request.__aexit__(None, None, None)
        raise AttemptFailed(name, verdict.LOST, "the stream ended before its first event") from None
    except BrokenStream as exc:
        await request.__aexit__(None, None, None)
        raise AttemptFailed(name, verdict.LOST, str(exc)) from exc
    except BaseException:
        await request.__aexit__(None, None, None)
        raise
    reply = Reply(backend=name, status=status, first=now() - started)
    reply.model = reader.model
    reply.events = _events(first, pieces, reply, reader, call, request)
    return reply


async def _pieces(
    read: Callable[[], Awaitable[Any]], reader: Reader
) -> AsyncIterator[list[bytes | Event]]:
    """Batches of events, one per chunk that completed any. Raises BrokenStream."""
    try:
        while (chunk := await read()) is not None:
            events = reader.feed(bytes(chunk))
            if events:
                yield events
    except RequestError as exc:
        raise BrokenStream(f"the stream broke: {_cause(exc)}") from exc
    except Malformed as exc:
        raise BrokenStream(str(exc)) from exc
    if not reader.end():
        raise BrokenStream("the stream ended before it said that it was over")


async def _events(
    first: list[bytes | Event],
    pieces: AsyncIterator[list[bytes | Event]],
    reply: Reply,
    reader: Reader,
    call: Call,
    request: Any,
) -> AsyncIterator[bytes | Event]:
    try:
        for event in first:
            yield event
        while True:
            try:
                # Per read: a timeout that spans a yield would fire in the reader's code.
                async with timeout_at(call.deadline):
                    batch = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError as exc:
                raise BrokenStream("the deadline passed before the stream was over") from exc
            for event in batch:
                yield event
    finally:
        reply.usage, reply.model = reader.usage, reader.model
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
