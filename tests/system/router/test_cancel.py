"""A client that leaves stops what it asked for: the vendor's connection closes within 100 ms."""

from __future__ import annotations

import json
import socket
import time
from urllib.error import HTTPError

import pytest

from .harness import CHAT, SANDBOX_ENV, ask, backend, router, sandbox, until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("drain")]
SOON = 0.1
TRIES = 3
"""Of which the best counts: the machine may be busy with others."""
SILENT = {"fault": "hang"}
BEGUN = {"fault": "hang_after_headers", "after_events": 0}
MIDDLE = {"fault": "hang_after_headers", "after_events": 3}


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    with sandbox(tmp_path_factory.mktemp("box")) as made:
        yield made


@pytest.fixture(scope="module")
def app(box, tmp_path_factory):
    config = {
        "ledger": {},
        "backends": {"mini": backend(box)},
        "routes": {"chat": {"task": "chat", "backends": ["mini"]}},
    }
    with router(tmp_path_factory.mktemp("router"), config, **SANDBOX_ENV) as made:
        yield made


@pytest.fixture(autouse=True)
def healthy(box):
    box.reset()
    yield
    box.heal()


def request(name: str, *, stream: bool) -> bytes:
    body = json.dumps({"model": "chat", "messages": CHAT, "stream": stream, "max_tokens": 20})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-request-id: {name}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()


def open_to(app) -> socket.socket:
    return socket.create_connection(("127.0.0.1", app.port), timeout=10)


def warmed(app, box) -> socket.socket:
    """A connection that has had an answer already."""
    client = open_to(app)
    box.heal()
    client.sendall(request("first", stream=False))
    said = b""
    while b'"usage"' not in said:
        said += client.recv(65536)
    return client


def left(app, box, fault: dict, *, stream: bool, kept: bool, ahead: bool) -> tuple[float, dict]:
    """Seconds until the vendor saw that the client had left, and the record of its call."""
    name = f"c{time.monotonic_ns()}"
    client = warmed(app, box) if kept else open_to(app)
    box.reset()
    box.faults(fault)
    began = time.monotonic()
    client.sendall(request(name, stream=stream))
    if ahead:
        client.sendall(request(f"{name}-next", stream=stream))
    until(box.journal, 5, "asked")
    if fault is MIDDLE:
        assert b"data: {" in client.recv(65536)
    # The vendor counts from its first event on, or from the request.
    since = time.monotonic() if fault is MIDDLE else began
    time.sleep(0.1)
    client.close()
    stayed = time.monotonic() - since
    gone = lambda: [e for e in box.journal() if e["disconnected_after"] is not None]  # noqa: E731
    (entry,) = until(gone, 5, "the vendor was told")
    assert len(box.journal()) == 1, "the next in line was never asked for"
    return entry["disconnected_after"] - stayed, until(lambda: told(app, name), 5, "record")


def told(app, name: str) -> dict | None:
    try:
        return app.decision(name)
    except HTTPError:
        return None


@pytest.mark.parametrize("way", ["direct", "kept", "pipelined"])
@pytest.mark.parametrize(
    ("fault", "stream"),
    [(SILENT, False), (SILENT, True), (BEGUN, True), (MIDDLE, True)],
    ids=["whole", "stream-silent", "stream-begun", "stream-middle"],
)
def test_the_vendor_is_left_as_soon_as_the_client_has_left(app, box, fault, stream, way):
    """Whole answers and streams, on a fresh, a kept and a pipelined connection; what nobody can know
    the cost of is charged at its bound."""
    found = []
    for _ in range(TRIES):
        seconds, record = left(
            app, box, fault, stream=stream, kept=way == "kept", ahead=way == "pipelined"
        )
        found.append(seconds)
        assert record["verdict"] == "cancelled"
        quote = next(c["quote_usd"] for c in record["plan"]["candidates"])
        assert float(record["cost_usd"]) == float(quote) > 0
        if seconds < SOON:
            break
    assert min(found) < SOON, found
    assert app.metrics()["isocost_in_flight,backend=mini"] == 0


def test_an_upload_that_is_not_finished_is_no_call(app, box):
    """The vendor hears nothing, nobody is charged, and the next client is served."""
    before = calls(app)
    client = open_to(app)
    client.sendall(request("half", stream=False)[:-20])
    time.sleep(0.1)
    client.close()
    assert ask(f"{app.url}/v1/chat/completions", {"model": "chat", "messages": CHAT})
    assert len(box.journal()) == 1
    assert calls(app) == before + 1
    assert told(app, "half") is None


def calls(app) -> float:
    return sum(v for k, v in app.metrics().items() if k.startswith("isocost_calls_total"))
