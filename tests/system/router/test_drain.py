"""Stopping, restarting and reloading the router while it serves: no call is lost."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager
from typing import Self

import pytest

from router.ledger import books
from router.ledger.database import address, engine

from .harness import CHAT, SANDBOX_ENV, Program, Router, ask, backend, router, sandbox, until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("drain")]
BODY = json.dumps({"model": "chat", "messages": CHAT, "max_tokens": 4})
STREAM = json.dumps({"model": "chat", "messages": CHAT, "max_tokens": 8, "stream": True})


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    with sandbox(tmp_path_factory.mktemp("box")) as made:
        yield made


@pytest.fixture(autouse=True)
def healthy(box):
    box.reset()
    yield
    box.heal()


def config(box, **server) -> dict:
    return {
        "server": server,
        "backends": {"mini": backend(box)},
        "routes": {"chat": {"task": "chat", "backends": ["mini"]}},
    }


def post(connection: http.client.HTTPConnection, body: str = BODY) -> http.client.HTTPResponse:
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    return connection.getresponse()


class Load:
    """Clients that keep their connections, whole answers and streams in turn, and count."""

    def __init__(self, port: int, clients: int = 3) -> None:
        self.port, self.done, self.failed = port, 0, []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self._over.is_set():
            body = STREAM if self.done % 3 == 0 else BODY
            try:
                answer = post(connection, body)
                said = answer.read()
                whole = b"[DONE]" in said if body is STREAM else b'"choices"' in said
                if answer.status != 200 or not whole:
                    self.failed.append((answer.status, said[-300:]))
            except (OSError, http.client.HTTPException) as exc:
                self.failed.append(repr(exc))
                connection.close()
            self.done += 1
            time.sleep(0.03)

    def goes_on(self, count: int = 20) -> None:
        """Wait for so many more calls."""
        wanted = self.done + count
        until(lambda: self.done >= wanted, 20, "calls")


@contextmanager
def streaming(app: Router):
    """A call of which the first event has come, and what is left to read."""
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=20)
    answer = post(connection, STREAM)
    assert answer.readline().startswith(b"data: ")
    yield answer
    connection.close()


def test_readiness_turns_red_before_the_listener_closes(box, tmp_path):
    """For the delay it serves on, each answer being its connection's last; then it takes no more,
    finishes the call under way and ends with 0, its record written."""
    box.faults({"fault": "slow", "seconds": 0.15, "match": {"stream": True}})
    with router(tmp_path, config(box, drain_delay="1s"), **SANDBOX_ENV) as app:
        kept = http.client.HTTPConnection("127.0.0.1", app.port, timeout=20)
        assert post(kept).read()
        with streaming(app) as stream:
            app.program.send(signal.SIGTERM)
            until(lambda: readiness(app) == (503, True), 2, "red")
            assert ask(f"{app.url}/livez") == {"live": True}
            last = post(kept)
            assert (last.status, last.headers["connection"]) == (200, "close")
            assert b'"choices"' in last.read()
            until(lambda: refused(app.port), 3, "closed")
            assert b"[DONE]" in stream.read()
            call = stream.headers["x-isocost-call-id"]
        assert app.program.stop() == 0
        journal = b"".join(p.read_bytes() for p in tmp_path.glob("router-*/*.jsonl"))
        assert call.encode() in journal


def readiness(app: Router) -> tuple[int, bool]:
    """Status, and whether it says that it drains."""
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=5)
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said["draining"]


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_grace_is_kept(box, tmp_path):
    """What outlasts it is told so: a stream in an error event, never by a normal end; a call that
    has no answer yet by a 503. The process ends with 0 soon after, and both are in the journal."""
    box.faults(
        {"fault": "hang_after_headers", "after_events": 3, "match": {"stream": True}},
        {"fault": "hang"},
    )
    with router(tmp_path, config(box, grace="500ms"), **SANDBOX_ENV) as app:
        whole = http.client.HTTPConnection("127.0.0.1", app.port, timeout=20)
        whole.request("POST", "/v1/chat/completions", BODY, {"content-type": "application/json"})
        with streaming(app) as stream:
            began = time.monotonic()
            app.program.send(signal.SIGTERM)
            said = stream.read()
            assert b"shutting_down" in said
            assert b"[DONE]" not in said
            refusal = whole.getresponse()
            assert (refusal.status, refusal.headers["connection"]) == (503, "close")
            assert json.loads(refusal.read())["error"]["code"] == "shutting_down"
            assert 0.3 < time.monotonic() - began < 3
        assert app.program.stop() == 0
        journal = b"".join(p.read_bytes() for p in tmp_path.glob("router-*/*.jsonl"))
        for answer in (stream, refusal):
            assert journal.count(answer.headers["x-isocost-call-id"].encode()) == 1


def test_a_rolling_restart_of_the_workers_loses_no_call(box, tmp_path):
    """SIGUSR2 under load: all workers are new, no client noticed. SIGTERM then: what is under way
    is finished by its worker, and nobody is left waiting at the closed door."""
    with router(tmp_path, config(box), "--workers", "2", **SANDBOX_ENV) as app:
        before = workers(app)
        assert len(before) == 2
        with Load(app.port) as load:
            load.goes_on()
            app.program.send(signal.SIGUSR2)
            until(lambda: len(workers(app)) == 2 and not workers(app) & before, 90, "all new")
            load.goes_on()
        assert not load.failed
        box.faults({"fault": "slow", "seconds": 0.2})
        with streaming(app) as stream:
            app.program.send(signal.SIGTERM)
            until(lambda: refused(app.port), 2, "closed")
            assert b"[DONE]" in stream.read()
        assert app.program.stop() == 0


def workers(app: Router) -> set[int]:
    """Process ids of the running ones."""
    import psutil

    assert app.program.process is not None
    return {child.pid for child in psutil.Process(app.program.process.pid).children()}


def test_another_process_takes_the_socket_over_and_no_call_is_lost(box, tmp_path):
    """The socket outlives the process that serves on it, as systemd's does: under load the next is
    started on it, then the first told to stop."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        port = listener.getsockname()[1]
        first, second = (handed(tmp_path, name, listener, box) for name in ("one", "two"))
        try:
            serves(first.start(), port)
            with Load(port) as load:
                load.goes_on()
                serves(second.start(), port)
                load.goes_on()
                assert first.stop() == 0
                load.goes_on()
            assert not load.failed
        finally:
            first.stop()
            second.stop()


def handed(folder, name: str, listener: socket.socket, box) -> Program:
    """A router that is given the socket by the protocol of sd_listen_fds(3)."""
    made = folder / name
    made.mkdir()
    app = Router(Program([], made / "log"), 0, made / "isocost.yaml")
    app.write(config(box))
    script = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); "
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    )
    number = listener.fileno()
    command = [sys.executable, "-c", script, str(number), "-m", "router", "serve"]
    command += ["--config", str(app.config), "--state", str(made / "state")]
    return Program(command, made / "log", dict(SANDBOX_ENV), (number,))


def serves(program: Program, port: int) -> None:
    until(lambda: "http://" in program.log.read_text(), 30, "started")
    assert ask(f"http://127.0.0.1:{port}/livez")


def test_reload_under_load_keeps_breakers_budgets_and_holds(box, tmp_path):
    """No call is lost; a breaker that was open is open after, money that was held or spent still is."""
    store = f"sqlite:///{tmp_path / 'ledger.db'}"
    dead = {"api": "openai", "model": "gpt-4o-mini", "base": "http://127.0.0.1:9/v1"}
    dead |= {"price": {"input_usd_per_mtok": 0.01}, "breaker": {"in_a_row": 3, "cooldown": "60s"}}
    settings = config(box) | {"ledger": {"url": store}, "budgets": [{"window": "day", "usd": 1}]}
    settings["backends"]["dead"] = dead
    settings["routes"]["over"] = {"task": "chat", "backends": ["dead", "mini"]}
    with router(tmp_path, settings, **SANDBOX_ENV) as app:
        url = f"{app.url}/v1/chat/completions"
        for _ in range(4):
            ask(url, json.loads(BODY) | {"model": "over"})
        assert state(app) > 0
        until(lambda: money(store)[1] == 0, 5, "settled")
        box.faults({"fault": "hang_after_headers", "after_events": 3, "times": 1})
        with streaming(app):
            held = until(lambda: money(store)[1], 5, "held")
            with Load(app.port) as load:
                load.goes_on()
                settings["routes"]["fresh"] = {"task": "chat", "backends": ["mini"]}
                app.write(settings)
                app.program.send(signal.SIGHUP)
                until(lambda: "fresh" in {m.id for m in app.sdk().models.list()}, 5, "reloaded")
                load.goes_on()
            assert not load.failed
            assert state(app) > 0
            record = app.explain(json.loads(BODY) | {"model": "over"})
            assert record["order"] == ["mini"]
            until(lambda: money(store)[1] == held, 5, "only the open stream is held")
        until(lambda: money(store)[1] == 0, 5, "captured")
        posted = money(store)[0]
        assert posted > held
        settings["budgets"][0]["usd"] = posted / 1e12
        app.write(settings)
        app.program.send(signal.SIGHUP)
        until(lambda: spent(app), 5, "no more money")


def spent(app: Router) -> bool:
    """Whether a call is refused for want of a budget."""
    return post(http.client.HTTPConnection("127.0.0.1", app.port, timeout=20)).status == 402


def state(app: Router) -> float:
    """0 for a closed breaker."""
    return app.metrics()["isocost_breaker_state,backend=dead"]


def money(store: str) -> tuple[int, int]:
    """Pico-dollars posted and held in the books."""
    found = books.budgets(engine(address(store)), time.time())
    return sum(b.posted for b in found), sum(b.held for b in found)
