"""An Api knows one wire format, both directions: bytes in, bytes out, no I/O.

Towards a backend:

    api.unfit(call)                   "" or why this wire cannot carry the call
    wire = api.request(call, model)   what to send
    reader = api.reader(call)         one per attempt
    reader.whole(body)                the answer: a hub result, or bytes in the caller's own wire
    reader.feed(chunk), reader.end()  the same for a stream, as pieces arrive
    api.failure(status, body)         what the backend says went wrong

Towards a client, a Door reads calls and writes answers in the same wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from .call import Call, Usage
from .errors import RouterError
from .failure import Failure
from .reply import Reply
from .task import Event, Request, Result, Task


class Wire(msgspec.Struct, frozen=True):
    """One HTTP request, still to be sent."""

    path: str
    body: bytes
    headers: dict[str, str] = {}


class Malformed(ValueError):
    """A backend's answer is not what its wire promises. The message names what is wrong."""


class Reader(Protocol):
    """Reads one answer. After its last byte `usage` holds what was billed, if the backend said."""

    usage: Usage | None
    model: str

    def whole(self, body: bytes) -> Result | bytes:
        """Read a complete body. Raises Malformed."""
        ...

    def feed(self, chunk: bytes) -> list[bytes | Event]:
        """Events completed by *chunk*. Raises Malformed."""
        ...

    def end(self) -> bool:
        """True when the stream had said that it was over."""
        ...


class Api(Protocol):
    """The side towards a backend."""

    name: str
    tasks: frozenset[Task]
    base: str
    """Where the vendor is, when the configuration does not say; "" when it must."""

    def at(self, base: str) -> Api:
        """The wire as it is spoken at *base*: servers other than the vendor's differ a little."""
        ...

    def auth(self, secret: str) -> dict[str, str]:
        """The headers that carry *secret*."""
        ...

    def unfit(self, call: Call) -> str:
        """Why this wire cannot carry *call*; "" when it can."""
        ...

    def request(self, call: Call, model: str) -> Wire: ...

    def reader(self, call: Call) -> Reader: ...

    def failure(self, status: int, body: bytes) -> Failure: ...


class Endpoint(msgspec.Struct, frozen=True):
    """Where and how one backend is reached."""

    name: str
    base: str
    model: str
    api: Api
    secret: Callable[[], str]
    """Read per attempt, for keys that rotate."""
    first_event: float | None = None
    """Seconds of silence before a first event at most."""


class Ask(msgspec.Struct, frozen=True):
    """What a door reads out of a body, before the router adds who, when and how much."""

    route: str
    task: Task
    request: Request
    fields: Mapping[str, msgspec.Raw]
    extras: frozenset[str] = frozenset()
    stream: bool = False
    text_bytes: int = 0
    """UTF-8 bytes of what a model will read, for predicting tokens."""
    token_bound: int = 0
    """No tokenizer makes more of it."""
    outputs: int = 1
    """Texts that are asked for: choices times prompts."""


class Door(Protocol):
    """The side towards a client. `ask` raises BadRequest, everything else never fails."""

    wire: str
    content_type: str
    stream_type: str

    def secret(self, headers: Mapping[bytes, bytes]) -> str:
        """The caller's key as this wire carries it; "" when it carries none."""
        ...

    def ask(self, path: str, body: bytes) -> Ask: ...

    def whole(self, call: Call, reply: Reply) -> bytes:
        """A whole answer's body."""
        ...

    def events(self, call: Call, reply: Reply) -> Writer:
        """Encodes the events of a stream."""
        ...

    def error(self, error: RouterError) -> bytes:
        """An error's body."""
        ...

    def error_event(self, error: RouterError) -> bytes:
        """An error in the middle of a stream."""
        ...


class Writer(Protocol):
    """Encodes one stream; keeps what the wire needs from event to event."""

    def event(self, event: bytes | Event) -> bytes: ...

    def end(self, usage: Usage | None) -> bytes: ...
