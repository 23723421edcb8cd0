"""A router and a stand-in of its vendor on real sockets, for the official SDK.

`own-*` backends answer with the hub results that a test says; `paid-*` ones speak OpenAI's wire to
the vendor, which answers with the bytes that a test says and keeps what it was sent.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from openai import OpenAI

from router.apis.openai.form import Part, read_form
from router.core.api import Endpoint
from router.core.call import Call, Usage
from router.core.reply import Reply
from router.core.service import Service
from router.core.task import Event, Result
from router.doors.app import app
from router.runtime import Runtime
from router.server import Server

CONFIG = """
backends:
  own-chat: {{api: torchserve, model: m, base: 'http://own', price: {{per_hour_usd: 0.36}}}}
  own-voice:
    {{api: torchserve, model: m, base: 'http://own', price: {{per_hour_usd: 0.36}}, voices: {{'*': joe}}}}
  own-ear: {{api: torchserve, model: m, base: 'http://own', price: {{per_hour_usd: 0.36}}, languages: {{source: [en, de]}}}}
  paid-chat: {{api: openai, model: gpt-4o-mini, base: '{vendor}/v1', key_env: KEY}}
  paid-voice: {{api: openai, model: tts-1, base: '{vendor}/v1', key_env: KEY, price: {{per_million_characters_usd: 15}}}}
  token-voice:
    {{api: openai, model: gpt-4o-mini-tts, base: '{vendor}/v1', key_env: KEY,
      price: {{input_usd_per_mtok: 0.6, output_usd_per_mtok: 12, audio_output_usd_per_mtok: 12}}}}
  paid-ear: {{api: openai, model: whisper-1, base: '{vendor}/v1', key_env: KEY, price: {{per_minute_usd: 0.006}}}}
  token-ear:
    {{api: openai, model: gpt-4o-mini-transcribe, base: '{vendor}/v1', key_env: KEY,
      price: {{input_usd_per_mtok: 1.25, output_usd_per_mtok: 5, audio_input_usd_per_mtok: 3}}}}
routes:
  chat-own: {{task: chat, backends: [own-chat]}}
  chat-paid: {{task: chat, backends: [paid-chat]}}
  see-paid: {{task: annotate, backends: [paid-chat]}}
  say-own: {{task: speak, backends: [own-voice]}}
  say-paid: {{task: speak, backends: [paid-voice]}}
  say-token: {{task: speak, backends: [token-voice]}}
  hear-own: {{task: transcribe, backends: [own-ear]}}
  hear-paid: {{task: transcribe, backends: [paid-ear]}}
  hear-token: {{task: transcribe, backends: [token-ear]}}
"""
SCHEMAS = json.loads((Path(__file__).parent / "schemas" / "openai.json").read_text())


def valid(name: str, value: Any) -> None:
    """*value* is what the official document says of *name*."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": SCHEMAS["components"]}
    errors = sorted(Draft202012Validator(schema).iter_errors(value), key=lambda e: e.path)
    assert not errors, [f"{'/'.join(map(str, e.path))}: {e.message[:200]}" for e in errors[:5]]


class Sent(msgspec.Struct, frozen=True):
    """One request that the vendor was sent."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def parts(self) -> list[Part]:
        return read_form(self.body, self.headers["content-type"].encode())

    @property
    def form(self) -> dict[str, Any]:
        """Plain fields, lists as lists, numbers as numbers: what the document's schema is of."""
        found: dict[str, Any] = {}
        for part in self.parts:
            name, text = part.name, part.value.decode("latin-1")
            if name.endswith("[]"):
                found.setdefault(name[:-2], []).append(text)
            else:
                found[name] = float(text) if name == "temperature" else text
        return found


class Vendor:
    """Answers every request with `answer`, in the pieces that it is given in."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.status, self.kind = 200, "application/json"
        self.pieces: list[bytes] = []

    def says(self, *pieces: bytes | dict[str, Any], kind: str = "", status: int = 200) -> None:
        self.pieces = [p if isinstance(p, bytes) else json.dumps(p).encode() for p in pieces]
        self.status, self.kind = status, kind or "application/json"
        self.sent.clear()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        headers = {n.decode(): v.decode() for n, v in scope["headers"]}
        self.sent.append(Sent(scope["path"], headers, body))
        head = [(b"content-type", self.kind.encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class House(Runtime):
    """The router. `own` makes the answer of the `own-*` backends; `calls` are what they were asked."""

    own: Callable[[Call], Reply]

    def __init__(self, path: Path, vendor: Vendor) -> None:
        self.vendor = vendor
        self.calls: list[Call] = []
        self.base = ""
        super().__init__(path, env={"KEY": "sk-vendor"})

    def _send(self, endpoint: Endpoint) -> Service:
        if not endpoint.name.startswith("own-"):
            return super()._send(endpoint)

        async def answer(call: Call) -> Reply:
            self.calls.append(call)
            reply = self.own(call)
            reply.backend = endpoint.name
            return reply

        return answer

    def answers(self, result: Result | Callable[[Call], Result], usage: Usage) -> None:
        """With *result*, or what it makes of a call."""
        self.calls.clear()

        def own(call: Call) -> Reply:
            made = result(call) if callable(result) else result
            return Reply(backend="own", result=made, usage=usage)

        self.own = own

    def streams(self, events: list[Event], usage: Usage) -> None:
        """With *events*, usage last."""
        self.calls.clear()

        def own(call: Call) -> Reply:
            reply = Reply(backend="own", first=0.0)

            async def play() -> AsyncIterator[bytes | Event]:
                for event in events:
                    yield event
                reply.usage = usage

            reply.events = play()
            return reply

        self.own = own

    @property
    def sdk(self) -> OpenAI:
        """The official client, unmodified."""
        return OpenAI(base_url=f"{self.base}/v1", api_key="ik-any", max_retries=0, timeout=20)


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """Both, running on a loop of their own."""
    loop = asyncio.new_event_loop()
    vendor = Vendor()
    shop, address = _listener()
    path = folder / "isocost.yaml"
    path.write_text(CONFIG.format(vendor=address))
    made = House(path, vendor)
    front, made.base = _listener()
    api = app(made)
    servers = [Server(vendor), Server(api)]

    async def live() -> None:
        async with api.router.lifespan_context(api):
            await asyncio.gather(servers[0].serve(shop), servers[1].serve(front))

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    try:
        yield made
    finally:
        for server in servers:
            loop.call_soon_threadsafe(server.stop)
        thread.join(30)
        loop.close()


def _listener() -> tuple[socket.socket, str]:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"
