"""What the sandbox was sent: the last 1000 requests, and how each of them ended.

An entry holds the bytes as they came; they are decoded only when somebody asks, because writing
the journal is on the way of every call and reading it is not.
"""

import hashlib
from collections import deque
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from load_tests.sandbox.vendor import Request

BODY_LIMIT = 65536  # bytes of a body that the journal keeps; longer ones are named by their size
SECRETS = frozenset({b"authorization", b"x-api-key", b"xi-api-key", b"x-goog-api-key"})


@lru_cache(maxsize=4096)
def key_name(secret: str) -> str:
    """A short name of a secret that does not reveal it: 12 hex digits of its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12]


class Entry(Struct):
    """One request and how it ended.

    Seconds of `disconnected_after` count from the first event, or from the request's arrival when
    no event was sent yet.
    """

    request: Request
    status: int | None = None
    fault: str | None = None
    events: int = 0
    started: float = 0.0
    first_event: float | None = None
    disconnected_at_event: int | None = None
    disconnected_after: float | None = None
    finished: bool = False

    def left(self, now: float) -> None:
        """The client went away before its answer was whole; `now` on the clock of `started`."""
        since = self.started if self.first_event is None else self.first_event
        self.disconnected_at_event = self.events
        self.disconnected_after = now - since

    def shown(self) -> dict[str, Any]:
        """The entry as the journal's JSON has it."""
        request = self.request
        return {
            "number": request.number,
            "time": request.seconds,
            "method": request.method,
            "path": request.path,
            "query": {k: _hidden(v) if k == "key" else v for k, v in request.asked().items()},
            "headers": {k.decode("latin-1"): _value(k, v) for k, v in request.headers.items()},
            "body": _body(request.body),
            "body_bytes": len(request.body),
            "status": self.status,
            "fault": self.fault,
            "events": self.events,
            "disconnected_at_event": self.disconnected_at_event,
            "disconnected_after": self.disconnected_after,
            "finished": self.finished,
        }


class Journal:
    """The last requests, oldest first."""

    def __init__(self, keep: int = 1000) -> None:
        self._entries: deque[Entry] = deque(maxlen=keep)
        self._seen = 0

    def add(self, entry: Entry) -> Entry:
        """Write one request down and give its entry back, to be completed as the call goes on."""
        self._seen += 1
        if len(entry.request.body) > BODY_LIMIT:
            entry.request = msgspec.structs.replace(entry.request, body=b"")
        self._entries.append(entry)
        return entry

    def reset(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._seen = 0

    def shown(self) -> dict[str, Any]:
        """The journal as JSON: how many came since the reset, and the last of them."""
        return {"seen": self._seen, "requests": [entry.shown() for entry in self._entries]}


def _value(name: bytes, value: bytes) -> str:
    text = value.decode("latin-1")
    return _hidden(text) if name in SECRETS else text


def _hidden(text: str) -> str:
    return f"sha256:{key_name(text.rpartition(' ')[2])}"  # without `Bearer ` or its like


def _body(body: bytes) -> Any:
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode("latin-1")
