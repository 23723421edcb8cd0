"""What transport relies on of its HTTP client, over real sockets and against a scripted server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from router.http1.connection import BUFFER_LIMIT
from router.http1.origin import Broken, ConnectFailed, Origin
from router.http1.pool import Pool

OK = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Plays *answer* to each request; notes connections, and when a client leaves."""

    def __init__(self, answer) -> None:
        self._answer = answer
        self.connections = self.requests = 0
        self.left, self.asked = asyncio.Event(), asyncio.Event()

    async def __call__(self, reader, writer) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                self.asked.set()
                lines = head.lower().split(b"\r\n")
                size = next((int(x[15:]) for x in lines if x.startswith(b"content-length:")), 0)
                await reader.readexactly(size)
                if await self._answer(reader, writer) is False:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.set()
        finally:
            writer.close()


@asynccontextmanager
async def served(answer):
    server = Server(answer)
    listener = await asyncio.start_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    pool = Pool()
    try:
        yield server, pool, Origin.of(f"http://127.0.0.1:{port}/base")
    finally:
        await pool.close()
        listener.close()


def says(*pieces: bytes, keep: bool = True):
    """A server that writes *pieces*, one at a time, then keeps or closes the connection."""

    async def answer(reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return keep

    return answer


async def everything(response) -> bytes:
    out = b""
    while piece := await response.read():
        out += piece
    return out


CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
LONG = b"x" * 200_000


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("pieces", "keep", "body"),
    [
        ((OK + b"content-length: 5\r\n\r\nhello",), True, b"hello"),
        ((OK, b"content-length: 5\r\n", b"\r\nhe", b"llo"), True, b"hello"),
        ((CHUNKED + b"2\r\nhe\r\n", b"3\r\nllo\r\n", b"0\r\n\r\n"), True, b"hello"),
        ((OK + b"\r\nhel", b"lo"), False, b"hello"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 2\r\n\r\nok",), True, b"ok"),
        ((OK + b"content-length: 0\r\n\r\n",), True, b""),
        ((OK + b"content-length: 200000\r\n\r\n" + LONG,), True, LONG),
    ],
)
async def test_every_framing_gives_the_same_body(pieces, keep, body, whole):
    """Content-Length, chunked and until-the-end, in any number of packets."""
    async with served(says(*pieces, keep=keep)) as (_, pool, origin):
        response = await pool.exchange(origin, "/x", b"{}", whole=whole)
        assert response.status == 200
        assert (response.body if whole else await everything(response)) == body


@pytest.mark.parametrize("whole", [True, False])
async def test_a_connection_is_used_again_after_a_whole_answer(whole):
    """Ten calls one after another need one connection."""
    async with served(says(OK + b"content-length: 2\r\n\r\nok")) as (server, pool, origin):
        for _ in range(10):
            response = await pool.exchange(origin, "/", b"{}", whole=whole)
            assert whole or await everything(response) == b"ok"
        assert (server.connections, server.requests) == (1, 10)


async def test_streams_that_arrive_at_once_do_not_meet_on_one_connection():
    """Many at the same time: each reads its own answer to its end."""
    async with served(says(CHUNKED + b"2\r\nok\r\n0\r\n\r\n")) as (_, pool, origin):

        async def one() -> bytes:
            return await everything(await pool.exchange(origin, "/", b"{}", whole=False))

        for _ in range(20):
            async with asyncio.timeout(5):
                assert set(await asyncio.gather(*[one() for _ in range(16)])) == {b"ok"}


@pytest.mark.parametrize(
    "pieces",
    [
        (OK + b"content-length: 9\r\n\r\nhello",),
        (CHUNKED + b"5\r\nhello\r\n",),
        (CHUNKED + b"9\r\nhello",),
        (OK[:7],),
        (b"",),
        (b"what is this\r\n\r\n",),
        (OK + b"x: " + b"y" * 70_000 + b"\r\n\r\n",),
        (OK + b"x: " + b"y" * 200_000, b"y"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_a_broken_answer_is_broken(pieces, whole):
    """Short bodies, no answer, no HTTP, endless headers: never an end like any other."""
    async with served(says(*pieces, keep=False)) as (_, pool, origin):
        with pytest.raises(Broken):
            await everything(await pool.exchange(origin, "/", b"{}", whole=whole))


async def test_what_came_before_the_break_is_read_first():
    """The client of a stream gets every byte that arrived, then the error."""
    async with served(says(CHUNKED + b"5\r\nhello\r\n", keep=False)) as (_, pool, origin):
        response = await pool.exchange(origin, "/", b"{}", whole=False)
        assert await response.read() == b"hello"
        with pytest.raises(Broken):
            await response.read()


async def hang(reader, writer):
    await reader.read(1)
    raise ConnectionError


@pytest.mark.parametrize("whole", [True, False])
async def test_cancelling_a_call_closes_its_connection(whole):
    """Before any header came: the server sees the client leave at once."""
    async with served(hang) as (server, pool, origin):
        task = asyncio.create_task(pool.exchange(origin, "/", b"{}", whole=whole))
        await server.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.left.wait(), 1)


async def test_leaving_a_stream_closes_its_connection():
    """`close` before the end: the server is told, the connection is not used again."""

    async def drip(reader, writer):
        writer.write(CHUNKED)
        while True:
            writer.write(b"2\r\nok\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with served(drip) as (server, pool, origin):
        response = await pool.exchange(origin, "/", b"{}", whole=False)
        assert await response.read()
        response.close()
        await asyncio.wait_for(server.left.wait(), 1)


async def test_a_slow_reader_slows_the_server():
    """What is buffered of a stream is bounded, however much the server has."""
    sent = 0

    async def flood(reader, writer):
        nonlocal sent
        writer.write(CHUNKED)
        for _ in range(2000):
            writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            await writer.drain()
            sent += 0x4000
        writer.write(b"0\r\n\r\n")

    async with served(flood) as (_, pool, origin):
        response = await pool.exchange(origin, "/", b"{}", whole=False)
        await asyncio.sleep(0.3)
        held = sent
        assert held < 2000 * 0x4000 / 2, "the server could send everything to a sleeping reader"
        assert len(await response.read()) < BUFFER_LIMIT + 512 * 1024
        assert len(await everything(response)) > held - BUFFER_LIMIT


async def test_a_connection_that_the_server_closed_leaves_the_pool():
    """The next call opens a new one instead of failing on the old."""
    async with served(says(OK + b"content-length: 2\r\n\r\nok", keep=False)) as (
        server,
        pool,
        origin,
    ):
        for _ in range(3):
            assert (await pool.exchange(origin, "/", b"{}")).body == b"ok"
            await asyncio.sleep(0.02)
        assert server.connections == 3


async def test_nobody_listens():
    """A refused connection and an unknown name are told apart from a lost call."""
    pool = Pool()
    listener = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    for url in (f"http://127.0.0.1:{port}", "http://no-such-host.invalid"):
        with pytest.raises(ConnectFailed):
            await pool.exchange(Origin.of(url), "/", b"{}")


@pytest.mark.parametrize("url", ["ftp://x", "localhost:80", "http://", "nonsense"])
def test_no_url(url):
    """What cannot be called is refused at load."""
    with pytest.raises(ValueError, match="URL"):
        Origin.of(url)


async def test_a_line_break_cannot_smuggle_a_header():
    """A secret or a path with a line break is refused before anything is sent."""
    async with served(says(OK)) as (server, pool, origin):
        for path, headers in (("/", {"x": "a\r\ny: b"}), ("/a\r\nx: y", {})):
            with pytest.raises(ValueError, match="line break"):
                await pool.exchange(origin, path, b"{}", headers)
        assert server.requests == 0


@pytest.mark.parametrize("whole", [True, False])
async def test_a_long_answer_that_came_at_once_leaves_a_connection_that_reads(whole):
    """A full buffer stops reading; the next call on the connection must be heard all the same."""
    long = OK + b"content-length: %d\r\n\r\n" % (4 * BUFFER_LIMIT) + bytes(4 * BUFFER_LIMIT)
    async with served(says(long)) as (server, pool, origin), asyncio.timeout(10):
        for _ in range(4):
            response = await pool.exchange(origin, "/x", b"{}", whole=whole)
            await asyncio.sleep(0.02)  # all of it is there before anybody reads
            body = response.body if whole else await everything(response)
            assert len(body) == 4 * BUFFER_LIMIT
        assert server.connections == 1


async def test_connections_that_a_burst_left_are_closed():
    """Idle too long: swept, though newer ones are used; those stay."""
    async with served(says(OK, b"Content-Length: 2\r\n\r\nhi")) as (server, pool, origin):
        await asyncio.gather(*[pool.exchange(origin, "/one") for _ in range(3)])
        idle = pool._idle[origin]
        assert len(idle) == server.connections == 3
        pool.sweep()
        assert len(idle) == 3
        for connection in idle[:2]:
            connection.since -= 60.0
        pool.sweep()
        assert len(idle) == 1
        await asyncio.wait_for(server.left.wait(), 5)
        assert (await pool.exchange(origin, "/one")).body == b"hi"
        assert server.connections == 3
        idle[0].since -= 60.0
        pool.sweep()
        assert not pool._idle


async def test_who_asks_alone_takes_and_leaves_no_connection():
    """Each time on a new one, which is closed although the server would keep it."""
    async with served(says(OK, b"Content-Length: 2\r\n\r\nhi")) as (server, pool, origin):
        await pool.exchange(origin, "/kept")
        for count in (2, 3):
            assert (await pool.alone(origin, "/alone")).body == b"hi"
            assert server.connections == count
        await asyncio.wait_for(server.left.wait(), 5)
        (kept,) = pool._idle[origin]
        assert await pool.take(origin) is kept
