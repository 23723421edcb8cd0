"""`/v1/responses`, the backend's side: bodies pass through, nothing is stored at the vendor."""

from __future__ import annotations

import msgspec

from router.core.api import Malformed, Reader, Wire
from router.core.call import Call, Usage
from router.core.counts import ABSENT, Count, believed
from router.core.counts import UNREADABLE as _BAD
from router.core.task import Event, Result

from .frames import Frames

_OVER = {"response.completed", "response.incomplete"}
_encode = msgspec.json.Encoder().encode


class _Details(msgspec.Struct):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None


class _Used(msgspec.Struct):
    input_tokens: Count
    output_tokens: Count
    input_tokens_details: _Details | None = None


def _usage(raw: msgspec.Raw) -> Usage | None:
    """Cached and written tokens are subsets of the input's, thinking of the output's."""
    used = believed(_used, raw)
    if used is None or not used.input_tokens:
        return None
    details, total = used.input_tokens_details or _Details(), used.input_tokens
    cached = min(details.cached_tokens or 0, total)
    written = min(details.cache_write_tokens or 0, total - cached)
    return Usage(total, used.output_tokens, cached, written_tokens=written)


class _Fault(msgspec.Struct):
    message: str = ""
    code: str | None = None


class _Answer(msgspec.Struct):
    output: msgspec.Raw
    status: str = ""
    usage: msgspec.Raw = ABSENT
    model: str = ""
    error: _Fault | None = None


class _Frame(msgspec.Struct):
    type: str
    response: msgspec.Raw = msgspec.Raw(b"")
    message: str = ""


_answer = msgspec.json.Decoder(_Answer)
_used = msgspec.json.Decoder(_Used | None)
_frame = msgspec.json.Decoder(_Frame)


def request(call: Call, model: str) -> Wire:
    """The caller's own body, bounded and without storage."""
    fields = dict(call.fields) | {
        "model": msgspec.Raw(_encode(model)),
        "max_output_tokens": msgspec.Raw(_encode(call.output_limit)),
        "store": msgspec.Raw(b"false"),
    }
    return Wire("/responses", _encode(fields))


class ResponsesReader(Reader):
    """Reads one answer for a client of the same form."""

    def __init__(self) -> None:
        self._frames = Frames()
        self._done = False

    def whole(self, body: bytes) -> Result | bytes:
        self._read(body)
        return body

    def feed(self, chunk: bytes) -> list[bytes | Event]:
        events: list[bytes | Event] = []
        for data in self._frames.feed(chunk):
            if self._done:
                break  # what follows the end is no part of the answer
            events.append(self._event(data))
        return events

    def end(self) -> bool:
        return self._done

    def _event(self, data: bytes) -> bytes:
        try:
            frame = _frame.decode(data)
        except _BAD as exc:
            raise Malformed(f"not an event of OpenAI's wire: {exc}") from exc
        if not frame.type.replace(".", "").replace("_", "").isalnum():
            raise Malformed("an event whose type is no word")
        if frame.type == "error":
            raise Malformed(f"error in the stream: {frame.message}")
        if frame.type == "response.failed":
            self._read(bytes(frame.response))
            raise Malformed("the response failed")
        if frame.type in _OVER:
            self._read(bytes(frame.response))
            self._done = True
        return b"event: %b\ndata: %b\n\n" % (frame.type.encode(), data)

    def _read(self, body: bytes) -> None:
        try:
            answer = _answer.decode(body)
        except _BAD as exc:
            raise Malformed(f"not a response of OpenAI's wire: {exc}") from exc
        self.model = answer.model
        if answer.error is not None or answer.status == "failed":
            said = answer.error.message if answer.error else "it says only that it failed"
            raise Malformed(f"the response failed: {said}")
        self.usage = _usage(answer.usage)
