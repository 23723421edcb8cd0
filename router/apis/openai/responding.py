"""`/v1/responses`, the backend's side: bodies pass through, nothing is stored at the vendor."""

from __future__ import annotations

from typing import Annotated

import msgspec

from router.core.api import Malformed, Reader, Wire
from router.core.call import Call, Usage
from router.core.task import Event, Result

from .frames import Frames

_Count = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_OVER = {"response.completed", "response.incomplete"}
_encode = msgspec.json.Encoder().encode


class _Details(msgspec.Struct):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None


class _Used(msgspec.Struct):
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    input_tokens_details: _Details | None = None

    def usage(self) -> Usage:
        """Cached and written tokens are subsets of the input's, thinking of the output's."""
        details, total = self.input_tokens_details or _Details(), self.input_tokens
        cached = min(details.cached_tokens or 0, total)
        written = min(details.cache_write_tokens or 0, total - cached)
        return Usage(total, self.output_tokens, cached, written_tokens=written)


class _Fault(msgspec.Struct):
    message: str = ""
    code: str | None = None


class _Answer(msgspec.Struct):
    output: msgspec.Raw
    status: str = ""
    usage: _Used | None = None
    model: str = ""
    error: _Fault | None = None


class _Frame(msgspec.Struct):
    type: str
    response: msgspec.Raw = msgspec.Raw(b"")
    message: str = ""


_answer = msgspec.json.Decoder(_Answer)
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
        return [self._event(data) for data in self._frames.feed(chunk)]

    def end(self) -> bool:
        return self._done

    def _event(self, data: bytes) -> bytes:
        try:
            frame = _frame.decode(data)
        except _BAD as exc:
            raise Malformed(f"not an event of OpenAI's wire: {exc}") from exc
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
        self.usage = answer.usage.usage() if answer.usage else None
