"""One kept answer, as bytes: what a reply was made of, and under which name it is kept.

The name is inside: an answer that a store gives back for another name is not taken, whatever went
wrong there (a client library once handed one caller's answer to the next one when a call was
cancelled: openai.com/blog/march-20-chatgpt-outage).
"""

from __future__ import annotations

from typing import Any

import msgspec

from router.core.call import Usage
from router.core.reply import Reply
from router.core.task import (
    AnnotateResult,
    Audio,
    ClassifyResult,
    Delta,
    EmbedResult,
    Event,
    Finish,
    Result,
    SpeakResult,
    Task,
    TextResult,
    TranscribeResult,
    TranslateResult,
)

_RESULTS: dict[Task, Any] = {
    "chat": TextResult,
    "complete": TextResult,
    "embed": EmbedResult,
    "classify": ClassifyResult,
    "translate": TranslateResult,
    "speak": SpeakResult,
    "transcribe": TranscribeResult,
    "annotate": AnnotateResult,
}
_EVENTS: tuple[Any, ...] = (bytes, Delta, Finish, Audio)
"""Kinds of events by their number."""
_KINDS: dict[type, int] = {kind: number for number, kind in enumerate(_EVENTS)}


class Entry(msgspec.Struct, frozen=True):
    """What is kept of one answer. Exactly one of result, body and events is there."""

    made: float
    """Unix time."""
    backend: str
    """Who made it."""
    model: str
    status: int
    usage: Usage | None
    baseline: int | None
    """Pico-dollars that it would have cost at the baseline; None: not known."""
    body: bytes
    result: Result | None
    events: tuple[bytes | Event, ...] | None


class _Lying(msgspec.Struct, frozen=True, array_like=True):
    """An entry as bytes hold it: what only the task tells apart is still encoded."""

    name: bytes
    made: float
    backend: str
    model: str
    status: int
    usage: Usage | None
    baseline: int | None
    body: bytes
    result: msgspec.Raw
    events: tuple[tuple[int, msgspec.Raw], ...] | None
    """(number of its kind, event encoded)."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Lying).decode


def pack(
    name: bytes,
    reply: Reply,
    made: float,
    baseline: int | None,
    events: list[tuple[int, bytes]] | None = None,
) -> bytes:
    """*reply* as it is kept; of a stream *events*, as `packed` made them."""
    return _encode(
        _Lying(
            name,
            made,
            reply.backend,
            reply.model,
            reply.status,
            reply.usage,
            baseline,
            reply.body,
            msgspec.Raw(_encode(reply.result)),
            None if events is None else tuple([(kind, msgspec.Raw(raw)) for kind, raw in events]),
        )
    )


def packed(event: bytes | Event) -> tuple[int, bytes] | None:
    """One event of a stream as it is kept; None of one that is no part of an answer, as a note."""
    kind = _KINDS.get(type(event))
    return None if kind is None else (kind, _encode(event))


def unpack(blob: bytes, name: bytes, task: Task) -> Entry | None:
    """The answer to a call of *task* in *blob*; None when it is none of this name."""
    try:
        lying = _decode(blob)
        if lying.name != name:
            return None
        found: Any = msgspec.msgpack.decode(lying.result, type=_RESULTS[task] | None)
        events = None if lying.events is None else tuple([_event(*e) for e in lying.events])
    except (msgspec.DecodeError, UnicodeError, LookupError):
        return None
    return Entry(
        lying.made,
        lying.backend,
        lying.model,
        lying.status,
        lying.usage,
        lying.baseline,
        lying.body,
        found,
        events,
    )


def _event(kind: int, raw: msgspec.Raw) -> bytes | Event:
    found: bytes | Event = msgspec.msgpack.decode(raw, type=_EVENTS[kind])
    return found
