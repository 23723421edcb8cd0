"""The router on a real socket before a scripted vendor on another one, for vendors' own clients."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from router.doors.app import app
from router.runtime import Runtime
from router.server import Server


@dataclass
class Answer:
    """What the vendor says once; *cut* breaks it off after its pieces."""

    body: bytes | list[bytes] = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


def said(body: Any, status: int = 200, **headers: str) -> Answer:
    """An answer in JSON."""
    kind = {"content-type": "application/json"}
    return Answer(json.dumps(body).encode(), status, kind | headers)


@dataclass
class Sent:
    """What the vendor was sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Vendor:
    """Plays its answers in their order, the last one again and again, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.sent: list[Sent] = []

    def says(self, *answers: Answer) -> None:
        self.answers, self.sent = list(answers), []

    @property
    def last(self) -> Sent:
        return self.sent[-1]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode()))
        self.sent.append(Sent(scope["method"], scope["path"], query, headers, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        given = [(n.encode(), v.encode()) for n, v in answer.headers.items()]
        start = {"type": "http.response.start", "status": answer.status, "headers": given}
        await send(start)
        pieces = answer.body if isinstance(answer.body, list) else [answer.body]
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
        if answer.cut:
            raise ConnectionAbortedError("scripted")
        await send({"type": "http.response.body", "body": b""})


def _listener() -> socket.socket:
    made = socket.create_server(("127.0.0.1", 0))
    made.setblocking(False)
    return made


@contextmanager
def served(folder: Path, config: str, vendor: Vendor, env: Mapping[str, str]) -> Iterator[str]:
    """The router's URL. `VENDOR` in *config* stands for the vendor's."""
    inner, outer = _listener(), _listener()
    base = f"http://127.0.0.1:{inner.getsockname()[1]}"
    path = folder / "isocost.yaml"
    path.write_text(config.replace("VENDOR", base))
    ready, stop = threading.Event(), threading.Event()
    broken: list[BaseException] = []

    async def play() -> None:
        api = app(Runtime(path, env=env))
        servers = Server(vendor, grace=0.1), Server(api, grace=0.1)
        async with api.router.lifespan_context(api), asyncio.TaskGroup() as group:
            for server, listener in zip(servers, (inner, outer), strict=True):
                group.create_task(server.serve(listener))
            ready.set()
            await asyncio.to_thread(stop.wait)
            for server in servers:
                server.stop()

    def run() -> None:
        try:
            asyncio.run(play())
        except BaseException as exc:  # noqa: BLE001 - told in the test's own thread
            broken.append(exc)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(20)
    try:
        if broken:
            raise broken[0]
        yield f"http://127.0.0.1:{outer.getsockname()[1]}"
    finally:
        stop.set()
        thread.join(20)
    assert not broken, broken
