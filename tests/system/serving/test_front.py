"""The supervisor's front on real sockets, before a scripted TorchServe."""

import contextlib
import http.client
import socket
import threading
import time

import httptools
import pytest

from serving.supervisor.folder import free_ports
from serving.supervisor.front import Front

pytestmark = pytest.mark.system
TOKEN = "t" * 32


class Asked:
    """Counts requests that have come in full, in however many pieces."""

    def __init__(self):
        self.parser, self.count = httptools.HttpRequestParser(self), 0

    def on_message_complete(self):
        self.count += 1

    def whole(self, data):
        before = self.count
        self.parser.feed_data(data)
        return self.count - before


class Inner:
    """Takes one connection after the other and answers as `script` says."""

    def __init__(self, script):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.script, self.gone = script, threading.Event()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                link, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(link,), daemon=True).start()

    def serve(self, link):
        asked = Asked()
        with contextlib.suppress(OSError):
            while data := link.recv(65536):
                for _ in range(asked.whole(data)):
                    self.script(link)
        self.gone.set()
        link.close()


@pytest.fixture
def made():
    opened = []

    def make(script, key="inner"):
        inner = Inner(script)
        front = Front(("127.0.0.1", 0), inner.port, {TOKEN})
        front.key = key
        front.start()
        opened.append((front, inner))
        return front, inner

    yield make
    for front, inner in opened:
        inner.listener.close()
        if not front.draining:
            front.drain(0)


def ask(front, link=None, token=TOKEN, **more):
    link = link or http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    link.request("POST", "/predictions/m", b"x", {"Authorization": f"Bearer {token}"}, **more)
    return link


def whole(link):
    link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def wait_for(true, seconds=5):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_one_connection_serves_many(made):
    """Answers come back whole, and nothing stays in flight."""
    front, _ = made(whole)
    link = None
    for _ in range(5):
        link = ask(front, link)
        answer = link.getresponse()
        assert (answer.status, answer.read()) == (200, b"ok")
    assert front.in_flight == 0


def test_refusals_are_told_in_torchserves_words(made):
    """401 for a stranger, 503 while TorchServe is not there; the connection ends."""
    front, _ = made(whole)
    answer = ask(front, token="wrong").getresponse()
    assert (answer.status, answer.headers["Connection"]) == (401, "close")
    assert b"InvalidKeyException" in answer.read()
    alone = Front(("127.0.0.1", 0), free_ports(1)[0], {TOKEN})
    alone.key = "inner"
    alone.start()
    answer = ask(alone).getresponse()
    assert (answer.status, answer.headers["Connection"]) == (503, "close")
    assert b"TorchServe is not up" in answer.read()
    alone.drain(0)


def test_a_caller_that_leaves_takes_its_request_along(made):
    """The inner connection ends, so that a generation is not made for nobody."""
    front, inner = made(
        lambda link: link.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
        )
    )
    link = ask(front)
    assert link.getresponse().read(2) == b"ab"
    assert front.in_flight == 1
    link.close()
    assert inner.gone.wait(5)
    assert wait_for(lambda: front.in_flight == 0)


def test_a_broken_answer_looks_broken(made):
    """Half an answer is never shown as a whole one."""

    def script(link):
        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        link.shutdown(socket.SHUT_RDWR)

    front, _ = made(script)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(front).getresponse().read()


def test_an_answer_that_nobody_asked_for_ends_the_connection(made):
    """It is not kept for whoever asks next."""
    two = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * 2
    front, _ = made(lambda link: link.sendall(two))
    link = ask(front)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        link.getresponse().read()
    assert wait_for(lambda: front.in_flight == 0)


def test_a_slow_reader_is_waited_for(made):
    """A large answer arrives byte for byte, though nobody reads it at first."""
    body = bytes(range(256)) * 40_000
    front, _ = made(
        lambda link: link.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
    )
    link = ask(front)
    time.sleep(0.3)
    assert link.getresponse().read() == body


def test_draining_finishes_what_runs_and_takes_nothing_new(made):
    """The call in flight is answered in full and told to close; new connections are refused."""
    go = threading.Event()

    def script(link):
        link.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        go.wait(10)
        link.sendall(b"2\r\ncd\r\n0\r\n\r\n")

    front, _ = made(script)
    running, idle = ask(front), ask(front)
    answer = running.getresponse()
    assert answer.read(2) == b"ab"
    draining = threading.Thread(target=front.drain, args=(20,))
    draining.start()
    assert wait_for(lambda: front.draining)
    time.sleep(0.2)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", front.port), 1)
    go.set()
    assert answer.read() == b"cd"
    assert idle.getresponse().read() == b"abcd"
    draining.join(10)
    assert not draining.is_alive()


def test_a_request_on_an_open_connection_is_served_while_draining(made):
    """With `Connection: close`, so that the caller goes elsewhere next time."""
    front, _ = made(whole)
    link = ask(front)
    link.getresponse().read()
    draining = threading.Thread(target=front.drain, args=(20,))
    draining.start()
    assert wait_for(lambda: front.draining)
    answer = ask(front, link).getresponse()
    assert (answer.read(), answer.headers["Connection"]) == (b"ok", "close")
    draining.join(10)
    assert not draining.is_alive()


def test_draining_has_an_end(made):
    """A call that never ends is cut off when the time is up."""
    front, _ = made(
        lambda link: link.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
        )
    )
    answer = ask(front).getresponse()
    assert answer.read(2) == b"ab"
    begun = time.monotonic()
    front.drain(0.3)
    assert time.monotonic() - begun < 3
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
