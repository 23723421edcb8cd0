"""What a vendor's file must offer, and what it says about one call.

A vendor is a pure function from a request to an `Answer`: it never waits, never writes and never
bills; what it may read besides is what a test set (`answers`, `account`). `app` plays the answer
(`play`), with the profile's latency and the fault of the moment, and writes what was generated on
the `bill`. So a new vendor is one file with one class.
"""

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import parse_qsl

from msgspec import Struct, field

from load_tests.sandbox.price import Price

Headers = list[tuple[bytes, bytes]]


class Request(Struct, frozen=True):
    """One request as it came: lower-case header names, `seconds` since the epoch."""

    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes
    seconds: float
    number: int
    query: str = ""

    def asked(self) -> dict[str, str]:
        """The query's fields; of one that comes twice, the last."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def header(self, name: bytes) -> str:
        """A header's text, or nothing."""
        return self.headers.get(name, b"").decode("latin-1")


class Event(Struct, frozen=True):
    """One streamed event; `output` is what was generated up to and with it, in the growing unit."""

    data: bytes
    output: int


class Answer(Struct, frozen=True):
    """What the vendor would say, and what it would bill when all of it is generated.

    `id` is what the bill calls it. Either `body` (whole) or `events` (stream). A `price` of None
    means that the call is free. `units` is all that it comes to; of a stream, the unit that `grows`
    is billed for the events that were sent. `work` is what takes the vendor time: tokens, or tenths
    of a second of audio.
    """

    id: str
    model: str
    endpoint: str
    headers: Headers
    body: bytes = b""
    events: Sequence[Event] | None = None
    price: Price | None = None
    key: str = ""
    units: dict[str, int] = field(default_factory=dict)
    grows: str = "output"
    work: int = 0


class Refusal(Exception):
    """The vendor refuses the call: nothing is generated and nothing is billed."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        kind: str = "invalid_request_error",
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.kind, self.param, self.retry_after = kind, param, retry_after


class Vendor(Protocol):
    """One paid API."""

    name: str

    def serves(self, request: Request) -> bool:
        """True when this request belongs to this vendor's wire."""
        ...

    def heavy(self, request: Request) -> bool:
        """True when its answer may take many milliseconds of CPU: it is made in a thread."""
        ...

    def answer(self, request: Request) -> Answer:
        """What it says. Raises Refusal."""
        ...

    def fault(self, status: int, code: str | None, retry_after: float | None) -> Refusal:
        """The refusal that this vendor sends with this status."""
        ...

    def exhausted(self, unit: str) -> Refusal:
        """The refusal of a call that goes over the quota of this unit."""
        ...

    def error(self, refusal: Refusal, request: Request) -> tuple[Headers, bytes]:
        """A refusal in this vendor's words."""
        ...
