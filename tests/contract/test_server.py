"""What doors and clients rely on of the HTTP server, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.server import HEAD_LIMIT, RESERVE, SILENCE_SECONDS, SLOWEST, Server


async def echo(scope, receive, send):
    """Says what it was asked, as JSON."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    said = json.dumps(
        {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            "headers": [[n.decode(), v.decode()] for n, v in scope["headers"]],
            "body": body.decode("latin-1"),
        }
    ).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
    await send({"type": "http.response.body", "body": said})


@asynccontextmanager
async def served(app, **options):
    """A running server, and a function that connects to it."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    server = Server(app, **options)
    task = asyncio.create_task(server.serve(listener))
    writers = []

    async def connect():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        return reader, writer

    try:
        yield server, connect
    finally:
        for writer in writers:
            writer.close()
        server.stop()
        await asyncio.wait_for(task, 5)


async def answer(reader) -> tuple[int, dict[str, str], bytes]:
    """One whole answer."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    status = int(first.split()[1])
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return status, headers, body
    return status, headers, await reader.readexactly(int(headers.get("content-length", 0)))


def run(test, app=echo, **options) -> Any:
    """Play *test(server, connect)*."""

    async def play():
        async with served(app, **options) as (server, connect):
            return await asyncio.wait_for(test(server, connect), 10)

    return asyncio.run(play())


async def ask(connect, *pieces: bytes):
    reader, writer = await connect()
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    return reader, writer


POST = (
    b"POST /a%20b/c?d=e%20f HTTP/1.1\r\nHost: x\r\nX-Name: Value\r\nContent-Length: 5\r\n\r\nhello"
)
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"
)
GET = b"GET /g HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_request_reaches_the_application():
    """Method, decoded path, query, lower-case names, body; the answer has its length."""

    async def test(server, connect):
        reader, _ = await ask(connect, POST)
        return await answer(reader)

    status, headers, body = run(test)
    said = json.loads(body)
    assert (status, headers["x-a"]) == (200, "b")
    assert int(headers["content-length"]) == len(body)
    assert (said["method"], said["path"], said["query"]) == ("POST", "/a b/c", "d=e%20f")
    assert ["x-name", "Value"] in said["headers"]
    assert said["body"] == "hello"


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, len(POST + CHUNKED + GET)), max_size=8))
def test_cuts_change_nothing(cuts):
    """Whatever way the bytes are cut, three pipelined requests are answered in their order."""
    whole = POST + CHUNKED + GET
    places = [0, *sorted(cuts), len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(places)]

    async def test(server, connect):
        reader, _ = await ask(connect, *pieces)
        return [json.loads((await answer(reader))[2]) for _ in range(3)]

    found = run(test)
    assert [f["path"] for f in found] == ["/a b/c", "/c", "/g"]
    assert [f["body"] for f in found] == ["hello", "hello", ""]


def test_connections_are_kept_or_closed_as_asked():
    """1.1 stays open, `Connection: close` and 1.0 end it, 1.0 with keep-alive stays."""

    async def test(server, connect):
        reader, writer = await ask(connect, GET)
        first = await answer(reader)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        second = await answer(reader)
        assert await reader.read() == b""
        old, _ = await ask(connect, b"GET / HTTP/1.0\r\n\r\n")
        third = await answer(old)
        assert await old.read() == b""
        kept, _ = await ask(connect, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        return first, second, third, await answer(kept)

    first, second, third, fourth = run(test)
    assert "connection" not in first[1]
    assert second[1]["connection"] == third[1]["connection"] == "close"
    assert fourth[1]["connection"] == "keep-alive"


def test_expect_continue_is_answered_when_the_body_is_wanted():
    """The client that waits for a word gets it, and then sends."""

    async def test(server, connect):
        head = POST.replace(b"X-Name: Value", b"Expect: 100-continue").removesuffix(b"hello")
        reader, writer = await ask(connect, head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello")
        return await answer(reader)

    assert json.loads(run(test)[2])["body"] == "hello"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhello", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * HEAD_LIMIT + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: xxxxxxxxxx\r\n" * 8000, 431),
        (b"GET /" + b"x" * 2 * HEAD_LIMIT + b" HTTP/1.1\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_is_refused_and_ends_the_connection(raw, status):
    """Malformed, ambiguous in its length, or endless: one answer, then the end."""

    async def test(server, connect):
        reader, _ = await ask(connect, raw)
        found = await answer(reader)
        assert await reader.read() == b""
        return found

    found = run(test)
    assert found[0] == status
    assert found[1]["connection"] == "close"


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=80).map(lambda b: b"GET / HTTP/1.1\r\n" + b))
def test_nonsense_never_kills_it(raw):
    """Any bytes: the next client is served."""

    async def test(server, connect):
        _, writer = await ask(connect, raw)
        writer.close()
        reader, _ = await ask(connect, GET)
        return await answer(reader)

    assert run(test)[0] == 200


def test_head_and_bodiless_answers_have_no_body():
    """HEAD tells the length only; 204 has none."""

    async def empty(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def test(server, connect):
        reader, writer = await ask(connect, GET.replace(b"GET", b"HEAD"))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        writer.write(GET.replace(b"GET", b"OPTIONS"))
        return head, await answer(reader)

    head, after = run(test)
    assert b"content-length: " in head
    assert after[0] == 200

    async def bare(server, connect):
        reader, _ = await ask(connect, GET)
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)

    assert b"content-length" not in run(bare, empty)


def streaming(*pieces: bytes, pause: float = 0.0):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(pause)
        await send({"type": "http.response.body"})

    return app


def test_a_stream_is_chunked_and_comes_piece_by_piece():
    """The first piece is there before the second is made; 1.0 gets bytes and an end."""

    async def test(server, connect):
        reader, _ = await ask(connect, GET)
        head = await reader.readuntil(b"\r\n\r\n")
        first = await reader.readuntil(b"one\r\n")
        rest = await reader.readuntil(b"0\r\n\r\n")
        old, _ = await ask(connect, b"GET / HTTP/1.0\r\n\r\n")
        return head, first, rest, (await old.read()).partition(b"\r\n\r\n")[2]

    head, first, rest, old = run(test, streaming(b"one", b"", b"two", pause=0.01))
    assert b"transfer-encoding: chunked" in head
    assert first == b"3\r\none\r\n"
    assert rest == b"3\r\ntwo\r\n0\r\n\r\n"
    assert old == b"onetwo"


@pytest.mark.parametrize("begun", [False, True])
def test_a_broken_application_never_ends_an_answer(begun):
    """Before the head it is a 500, after it the connection is cut without an end."""

    async def app(scope, receive, send):
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise RuntimeError("broken")

    async def test(server, connect):
        reader, _ = await ask(connect, GET)
        try:
            return await reader.read()
        except ConnectionError:
            return b""

    found = run(test, app)
    assert not found.endswith(b"0\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 500" if not begun else b"HTTP/1.1 200") or begun


def test_an_application_that_says_nothing_is_a_fault():
    """It ends without an answer: 500."""

    async def app(scope, receive, send):
        return

    async def test(server, connect):
        reader, _ = await ask(connect, GET)
        return await answer(reader)

    assert run(test, app)[0] == 500


def test_a_header_with_a_line_break_is_never_sent():
    """Nobody can smuggle a header through a value."""

    async def app(scope, receive, send):
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nc: d")]}
        )
        await send({"type": "http.response.body", "body": b""})

    async def test(server, connect):
        reader, _ = await ask(connect, GET)
        try:
            return await reader.read()
        except ConnectionError:
            return b""

    assert b"c: d" not in run(test, app)


def test_leaving_is_told_at_once():
    """Whoever waits in `receive` gets the disconnect."""
    told = asyncio.Event

    async def test(server, connect):
        seen = told()

        async def app(scope, receive, send):
            await receive()
            assert (await receive())["type"] == "http.disconnect"
            seen.set()

        server.app = app
        _, writer = await ask(connect, GET)
        await asyncio.sleep(0.01)
        writer.close()
        await asyncio.wait_for(seen.wait(), 0.1)

    run(test)


def test_a_client_that_does_not_read_slows_the_application():
    """Bytes that wait to be sent stay bounded."""
    sent = 0

    async def app(scope, receive, send):
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            sent += 65536
        await send({"type": "http.response.body"})

    async def test(server, connect):
        reader, writer = await connect()
        writer.write(GET)
        writer.transport.pause_reading()
        await asyncio.sleep(0.3)
        held = sent
        writer.transport.resume_reading()
        while await reader.read(1 << 20) and sent < 65_536_000:
            pass
        return held

    assert run(test, app) < 16_000_000
    assert sent == 65_536_000


def test_an_application_that_does_not_read_slows_the_client():
    """A large body is not taken into memory before it is wanted."""
    wanted = asyncio.Event

    async def test(server, connect):
        go = wanted()

        async def app(scope, receive, send):
            await go.wait()
            await echo(scope, receive, send)

        server.app = app
        reader, writer = await connect()
        size = 20_000_000
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        writer.write(b"y" * size)
        await asyncio.sleep(0.2)
        waiting = writer.transport.get_write_buffer_size()
        go.set()
        status, _, body = await answer(reader)
        return waiting, status, len(json.loads(body)["body"])

    waiting, status, got = run(test)
    assert waiting > 1_000_000
    assert (status, got) == (200, 20_000_000)


def test_stopping_loses_no_call():
    """What is under way is finished and told to close; idle connections end; nothing new is taken."""

    async def test(server, connect):
        started, go = asyncio.Event(), asyncio.Event()

        async def app(scope, receive, send):
            started.set()
            await go.wait()
            await echo(scope, receive, send)

        idle, _ = await ask(connect, GET)
        await answer(idle)
        server.app = app
        busy, _ = await ask(connect, GET)
        await started.wait()
        server.stop()
        assert await asyncio.wait_for(idle.read(), 1) == b""
        with pytest.raises(OSError, match=r"refused|failed"):
            await connect()
        go.set()
        return await answer(busy)

    status, headers, _ = run(test)
    assert (status, headers["connection"]) == (200, "close")


def test_grace_ends():
    """A call that outlasts it, or a second stop, is cut."""

    async def forever(scope, receive, send):
        await asyncio.Event().wait()

    async def test(server, connect):
        reader, _ = await ask(connect, GET)
        await asyncio.sleep(0.05)
        server.stop()
        try:
            return await asyncio.wait_for(reader.read(), 2)
        except ConnectionError:
            return b""

    assert run(test, forever, grace=0.1) == b""

    async def twice(server, connect):
        reader, _ = await ask(connect, GET)
        await asyncio.sleep(0.05)
        server.stop()
        server.stop()
        try:
            return await asyncio.wait_for(reader.read(), 2)
        except ConnectionError:
            return b""

    assert run(twice, forever) == b""


def test_silence_ends_a_connection_but_never_a_call():
    """A head that does not end, a body that stops, an idle connection; a call may take its time."""

    async def test(server, connect):
        started = asyncio.Event()

        async def app(scope, receive, send):
            started.set()
            await asyncio.sleep(0.2)
            await echo(scope, receive, send)

        half, _ = await ask(connect, b"GET / HTTP/1.1\r\nHost")
        idle, _ = await ask(connect, GET)
        await answer(idle)
        server.app = app
        busy, _ = await ask(connect, GET)
        await started.wait()
        later = asyncio.get_running_loop().time() + 1000
        for connection in list(server.connections):
            connection.sweep(later)
        ends = []
        for reader in (half, idle):
            try:
                ends.append(await asyncio.wait_for(reader.read(), 1))
            except ConnectionError:
                ends.append(b"")
        return ends, (await answer(busy))[0]

    assert run(test) == ([b"", b""], 200)


# Too many connections.


async def crowded(scope, receive, send):
    """Says that there is no room."""
    head = [(b"retry-after", b"1"), (b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 503, "headers": head})
    await send({"type": "http.response.body", "body": b"full"})


def test_connections_beyond_the_limit_are_told_and_ended():
    """One more than the limit gets 503 for a request, its body unread, and probes get their answer."""

    async def run():
        async with served(echo, limit=1, crowded=crowded, spared={"/livez"}) as (_, connect):
            reader, writer = await connect()
            writer.write(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await answer(reader))[0] == 200
            more, other = await connect()
            other.write(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\nhalf")
            status, headers, body = await answer(more)
            assert (status, headers["retry-after"], body) == (503, "1", b"full")
            assert headers["connection"] == "close"
            assert await asyncio.wait_for(more.read(), 5) == b""
            probe, third = await connect()
            third.write(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await answer(probe))[0] == 200
            assert await asyncio.wait_for(probe.read(), 5) == b""
            writer.write(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await answer(reader))[0] == 200, "those within the limit go on"

    asyncio.run(run())


def test_connections_beyond_the_reserve_are_cut():
    """However many come, no more than the limit and the reserve stay open."""

    async def run():
        async with served(echo, limit=2, crowded=crowded) as (server, connect):
            opened = [await connect() for _ in range(RESERVE + 12)]
            cut = 0
            for reader, _ in opened[RESERVE + 2 :]:
                try:
                    cut += await asyncio.wait_for(reader.read(), 5) == b""
                except ConnectionResetError:
                    cut += 1
            assert cut == 10
            assert len(server.connections) == RESERVE + 2

    asyncio.run(run())


def ended(reader) -> Any:
    """Whatever is left to read, b"" when the connection was cut."""

    async def read() -> bytes:
        try:
            return await asyncio.wait_for(reader.read(), 2)
        except ConnectionError:
            return b""

    return read()


@pytest.mark.parametrize(
    "begin", [b"", b"G", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"]
)
def test_a_request_that_comes_byte_by_byte_is_given_up(begin):
    """Never silent, but too slow: its time is bounded, and a quick one beside it is served."""

    async def test(server, connect):
        reader, writer = await ask(connect, begin)
        slow = next(iter(server.connections)) if server.connections else None
        now = asyncio.get_running_loop().time()
        for second in range(0, 200, 5):
            writer.write(b"G" if begin else b"\r\n")
            await asyncio.sleep(0.001)
            slow = slow or next(iter(server.connections))
            slow._seen = now + second
            slow.sweep(now + second + 1)
            if slow.lost or slow.transport.is_closing():
                break
        quick, _ = await ask(connect, POST)
        return second, await ended(reader), (await answer(quick))[0]

    second, rest, status = run(test)
    assert second <= 80
    assert b" 200 " not in rest
    assert status == 200


def test_a_large_body_that_keeps_coming_is_taken():
    """Slow is allowed, as long as it is no slower than the least."""

    async def test(server, connect):
        size = 40 * SLOWEST
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        reader, writer = await ask(connect, head)
        now = asyncio.get_running_loop().time()
        for second in range(40):
            writer.write(bytes(SLOWEST))
            await asyncio.sleep(0.002)
            (connection,) = server.connections
            connection._seen = now + second
            connection.sweep(now + second)
        return await answer(reader)

    status, _, _ = run(test)
    assert status == 200


@pytest.mark.parametrize("pieces", [1, 400])
def test_an_answer_that_nobody_takes_ends_with_its_connection(pieces):
    """In one piece that is larger than all buffers, or in many: a client that reads has its time."""

    async def test(server, connect):
        _, writer = await connect()
        writer.transport.pause_reading()
        writer.write(GET)
        await asyncio.sleep(0.1)
        (connection,) = server.connections
        now = asyncio.get_running_loop().time()
        for second in range(0, int(SILENCE_SECONDS), 5):
            connection.sweep(now + second)
        assert not connection.transport.is_closing()
        writer.transport.resume_reading()
        await asyncio.sleep(0.05)  # it takes some
        writer.transport.pause_reading()
        await asyncio.sleep(0.05)
        assert connection.transport.get_write_buffer_size()
        for second in range(0, 2 * int(SILENCE_SECONDS), 5):
            connection.sweep(now + SILENCE_SECONDS + second)
            await asyncio.sleep(0)
        return connection.transport.is_closing() or connection.lost

    size = 60_000_000 // pieces
    assert run(test, streaming(*[b"x" * size] * pieces))


@pytest.mark.parametrize("ahead", [1, 2])
def test_leaving_is_seen_with_requests_in_line(ahead):
    """The call that is served is told at once, and those behind it are never begun."""
    begun = []

    async def test(server, connect):
        left = asyncio.Event()

        async def app(scope, receive, send):
            begun.append(scope["path"])
            await receive()
            assert (await receive())["type"] == "http.disconnect"
            left.set()

        server.app = app
        _, writer = await ask(connect, POST)
        await asyncio.sleep(0.02)  # its body has been taken
        writer.write(GET * ahead)
        await asyncio.sleep(0.02)
        writer.close()
        await asyncio.wait_for(left.wait(), 0.1)
        await asyncio.sleep(0.02)

    run(test)
    assert begun == ["/a b/c"]


def test_a_busy_connection_gets_its_last_answer_said_so():
    """A client in the middle of its calls is not cut between two of them when the server stops."""

    async def test(server, connect):
        reader, writer = await ask(connect, GET)
        assert "connection" not in (await answer(reader))[1]
        server.stop()
        await asyncio.sleep(0.1)
        writer.write(GET)
        return await answer(reader), await ended(reader)

    (status, headers, _), rest = run(test)
    assert (status, headers["connection"], rest) == (200, "close", b"")


def test_draining_serves_on():
    """New connections are taken, and each answer is its connection's last."""

    async def test(server, connect):
        server.drain()
        reader, _ = await ask(connect, GET)
        return await answer(reader), await ended(reader)

    (status, headers, _), rest = run(test)
    assert (status, headers["connection"], rest) == (200, "close", b"")
