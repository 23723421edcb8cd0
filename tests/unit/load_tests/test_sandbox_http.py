"""The sandbox's HTTP: requests in any pieces, one after the other, and what it does not take."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_tests.sandbox.http1 import CONTINUE, Connection, Incoming
from load_tests.sandbox.wire import Wire

ONE = b"POST /a?b=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
TWO = b"POST /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
LAST = b"GET /c HTTP/1.1\r\nconnection: close\r\n\r\n"


class Transport:
    """Notes what is written and whether it was closed."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close


async def talk(parts: list[bytes]) -> tuple[list[Incoming], Transport]:
    """Send the parts and collect the requests that came of them."""
    seen: list[Incoming] = []

    async def app(incoming: Incoming, connection: Connection) -> None:
        seen.append(incoming)
        wire = Wire(connection)
        wire.start(200, [], 2)
        await asyncio.sleep(0)
        wire.write(b"ok")

    transport = Transport()
    connection = Connection(app, set())
    connection.connection_made(transport)
    for part in parts:
        connection.data_received(part)
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    return seen, transport


@given(st.lists(st.integers(0, len(ONE + TWO + LAST)), max_size=8))
def test_requests_arrive_whole_however_they_are_cut(cuts):
    data, edges = ONE + TWO + LAST, [0, *sorted(cuts), len(ONE + TWO + LAST)]
    parts = [data[a:b] for a, b in itertools.pairwise(edges)]
    seen, transport = asyncio.run(talk(parts))
    assert [(one.method, one.path, one.body) for one in seen] == [
        ("POST", "/a", b"hello"),
        ("POST", "/b", b"abcde"),
        ("GET", "/c", b""),
    ]
    assert transport.written.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert transport.closed


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"x" * 70_000, 431),
    ],
)
async def test_what_is_not_taken_is_refused_and_closed(data, status):
    seen, transport = await talk([data])
    assert seen == []
    assert transport.written.startswith(b"HTTP/1.1 %d " % status)
    assert transport.closed


async def test_a_waiting_client_is_told_to_go_on():
    head = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    seen, transport = await talk([head, b"hi"])
    assert transport.written.startswith(CONTINUE)
    assert seen[0].body == b"hi"
