"""An Api knows one wire format, both directions: bytes in, bytes out, no I/O.

Towards a backend:

    api.unfit(call)                   "" or why this wire cannot carry the call
    wire = api.request(call, model)   what to send
    usage = api.units(call, model)    the most it may bill, for tasks not billed by a text's tokens
    reader = api.reader(call)         one per attempt
    reader.head(headers)              the answer's headers, before its body
    reader.whole(body)                the answer: a hub result, or bytes in the caller's own wire
    reader.feed(chunk), reader.end()  the same for a stream, as pieces arrive
    api.failure(status, body)         what the backend says went wrong

Towards a client, a Door reads calls and writes answers in the same wire, at its `paths`, and
answers its clients' questions from facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from .ability import Abilities
from .call import Call, Key, Usage
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


def sounds(headers: Mapping[bytes, bytes]) -> None:
    """Audio is bytes of any kind, so that only its header tells a page or an error from it.

    Raises Malformed.
    """
    kind = headers.get(b"content-type", b"").lower()
    if kind.startswith((b"text/", b"application/json")):
        raise Malformed(f"the answer is {kind.decode('latin-1')[:40]}, not audio")


class Reader(Protocol):
    """Reads one answer. After its last byte `usage` holds what was billed, if the backend said.

    Subclass it for its defaults.
    """

    usage: Usage | None = None
    model: str = ""
    passed: tuple[tuple[bytes, bytes], ...] = ()
    """Headers for a client of the same wire, such as what the vendor says it billed."""
    failed: tuple[int, Failure] | None = None
    """Set by `whole` when an answer says under status 200 that it failed: the status it means."""

    def head(self, headers: Mapping[bytes, bytes]) -> None:
        """Take what the wire says in headers; names are lower case."""
        return

    def whole(self, body: bytes) -> Result | bytes:
        """Read a complete body. Raises Malformed."""
        ...

    def feed(self, chunk: bytes) -> list[bytes | Event]:
        """Events completed by *chunk*; none in wires that are never streamed. Raises Malformed."""
        return []

    def finish(self) -> None:
        """The stream's body came whole: the only end of wires without a last word, as audio is."""
        return

    def end(self) -> bool:
        """True when the stream had said that it was over."""
        return False


class Api(Protocol):
    """The side towards a backend."""

    name: str
    tasks: frozenset[Task]
    base: str
    """Where the vendor is, when the configuration does not say; "" when it must."""
    encodings: Mapping[Task, frozenset[str]]
    """Of audio, by task: what it can send back (speak), and what it reads (transcribe)."""

    def at(self, base: str) -> Api:
        """The wire as it is spoken at *base*: servers other than the vendor's differ a little."""
        ...

    def auth(self, secret: str) -> dict[str, str]:
        """The headers that carry *secret*."""
        ...

    def unfit(self, call: Call, model: str = "") -> str:
        """Why this wire cannot carry *call* to *model*; "" when it can."""
        ...

    def units(self, call: Call, model: str) -> Usage:
        """The most it may bill, for translate, speak, transcribe and annotate."""
        ...

    def request(self, call: Call, model: str) -> Wire: ...

    def reader(self, call: Call, model: str = "") -> Reader:
        """Reads one answer of *model*."""
        ...

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
    connect: float = 5.0
    """Seconds for a connection at most."""
    idle: float | None = None
    """Seconds between two pieces of a stream at most."""
    voices: Callable[[str], str] = str
    """A client's name of a voice -> the backend's own."""
    trace: bool = False
    """Its requests carry the trace of the call."""


class Path(msgspec.Struct, frozen=True):
    """Where a door takes calls of one task: `/v1/text-to-speech/{voice_id}`."""

    pattern: str
    task: Task
    methods: frozenset[str] = frozenset({"POST"})


class Told(msgspec.Struct, frozen=True):
    """What a request says beside its path and body; names of headers are lower case."""

    params: Mapping[str, str] = {}
    """The parts of the path that its pattern names."""
    query: Mapping[str, str] = {}
    headers: Mapping[bytes, bytes] = {}
    tasks: Mapping[str, Task] = {}
    """Route -> what it does, for bodies that do not say what they ask for."""


class RouteFacts(msgspec.Struct, frozen=True):
    """A route as a door may show it to its clients."""

    name: str
    task: Task
    backends: tuple[str, ...]
    abilities: tuple[Abilities, ...]
    """Of its backends, in the same order."""


class Facts(msgspec.Struct, frozen=True):
    """What a door may answer questions from: nothing that another key owns."""

    key: Key
    routes: tuple[RouteFacts, ...]
    """Those that the key may use."""
    used: Mapping[Task, Usage]
    """What this key has used since the process began, by task; of tasks billed by unit."""


class Question(msgspec.Struct, frozen=True):
    """A question that a vendor's client asks beside its calls, such as which voices there are."""

    pattern: str
    answer: Callable[[Facts, Told], bytes]
    """Raises BadRequest."""
    header: bytes = b""
    """Asked on a path that several wires share, it is this wire's when this header is there."""
    methods: frozenset[str] = frozenset({"GET"})


class Head(msgspec.Struct, frozen=True):
    """What precedes an answer's body."""

    content_type: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Ask(msgspec.Struct, frozen=True):
    """What a door reads out of a body, before the router adds who, when and how much."""

    route: str
    """The route as the body names it; "" when this wire has no place for it."""
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
    paths: tuple[Path, ...]
    questions: tuple[Question, ...]
    named: bool
    """Every body names its route. If not, the route is the header's, or the door's own."""
    content_type: str
    """Of errors, and of questions' answers."""
    key_header: str
    """Where a client puts its key, for an error to say it."""
    stranger: int
    """The status that this wire has for a key that nobody knows."""

    def secret(self, headers: Mapping[bytes, bytes], query: Mapping[str, str] = ...) -> str:
        """The caller's key as this wire carries it; "" when it carries none."""
        ...

    def ask(self, path: str, body: bytes, told: Told = ...) -> Ask:
        """Read the body that came to the path of pattern *path*. Raises BadRequest."""
        ...

    def head(self, call: Call, reply: Reply) -> Head:
        """The content type of this answer or stream, and the wire's own headers."""
        ...

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
        """An error in the middle of a stream; b"" when only a cut connection can say it."""
        ...


class Writer(Protocol):
    """Encodes one stream; keeps what the wire needs from event to event."""

    def event(self, event: bytes | Event) -> bytes: ...

    def end(self, usage: Usage | None) -> bytes: ...
