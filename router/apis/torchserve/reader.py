"""Reads one answer of our handlers: whole, or JSON lines with a last line that says it is over."""

from __future__ import annotations

import struct

import msgspec

from router.core.api import Malformed, Reader
from router.core.call import Call, Usage
from router.core.counts import UNREADABLE as BAD
from router.core.task import Audio, Delta, Event, Finish, Result, SpeakRequest

from .wire import Characters, Rate, Tokens, audio, read, used

LINE_LIMIT = 4 * 1024 * 1024
"""Bytes of one line of a stream at most."""


class _Line(msgspec.Struct):
    text: str | None = None
    finish_reason: str | None = None
    usage: Tokens | None = None
    model: str = ""
    error: dict[str, str] | None = None


class _Piece(msgspec.Struct):
    encoding: str | None = None
    sample_rate_hz: Rate | None = None
    audio: str | None = None
    finish_reason: str | None = None
    usage: Characters | None = None
    model: str = ""
    error: dict[str, str] | None = None


_line = msgspec.json.Decoder(_Line)
_piece = msgspec.json.Decoder(_Piece)


class TorchServeReader(Reader):
    """Reads one answer into the hub."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rest = bytearray()
        self._rate = 0
        self._done = False

    def whole(self, body: bytes) -> Result | bytes:
        result, self.usage, self.model = read(self._call, body)
        return result

    def feed(self, chunk: bytes) -> list[bytes | Event]:
        # A line that comes byte by byte is kept, not read again with each of them.
        self._rest += chunk
        lines: list[bytes] = []
        if b"\n" in chunk:
            *lines, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
        if len(self._rest) > LINE_LIMIT:
            raise Malformed(f"a line of the stream is larger than {LINE_LIMIT} bytes")
        take = self._speech if self._call.task == "speak" else self._text
        events: list[bytes | Event] = []
        for line in lines:
            if self._done:
                break  # what follows the end is no part of the answer
            if line:
                take(line, events)
        return events

    def end(self) -> bool:
        return self._done

    def _text(self, raw: bytes, events: list[bytes | Event]) -> None:
        try:
            line = _line.decode(raw)
        except BAD as exc:
            raise Malformed(f"not a line of our handlers: {exc}") from exc
        _raise(line.error)
        if line.text:
            events.append(Delta(text=line.text))
        if line.finish_reason is not None and line.usage is not None:
            self._over(used(self._call, line.usage), line.model)
            events.append(Finish(reason=line.finish_reason))

    def _speech(self, raw: bytes, events: list[bytes | Event]) -> None:
        try:
            line = _piece.decode(raw)
        except BAD as exc:
            raise Malformed(f"not a line of our handlers: {exc}") from exc
        _raise(line.error)
        if line.encoding is not None:
            self._begin(line, events)
        if line.audio:
            if not self._rate:
                raise Malformed("a piece of audio before the line that says its sample rate")
            self._add(audio(line.audio, "pcm_s16le"), events)
        if line.finish_reason is not None and line.usage is not None:
            self._over(used(self._call, line.usage), line.model)

    def _begin(self, line: _Piece, events: list[bytes | Event]) -> None:
        if line.encoding != "pcm_s16le" or line.sample_rate_hz is None or self._rate:
            raise Malformed("a stream of speech begins with one line: pcm_s16le and its rate")
        self._rate = line.sample_rate_hz
        request = self._call.request
        if isinstance(request, SpeakRequest) and request.encoding == "wav":
            self._add(endless_wav(self._rate), events)

    def _add(self, data: bytes, events: list[bytes | Event]) -> None:
        request = self._call.request
        assert isinstance(request, SpeakRequest)
        events.append(Audio(data=data, encoding=request.encoding, sample_rate_hz=self._rate))

    def _over(self, usage: Usage, model: str) -> None:
        self._done = True
        self.model, self.usage = model, usage


def _raise(error: dict[str, str] | None) -> None:
    if error is not None:
        raise Malformed(f"the model failed: {error.get('message', '')}")


def endless_wav(rate: int) -> bytes:
    """The head of a mono WAV file of 16 bit samples whose length is not known yet.

    Both sizes are the greatest there are, as players and the paid vendors' streams have it.
    Source: RFC 2361 and Microsoft's "Multimedia Programming Interface" 1.0, RIFF WAVE.
    """
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16
    )
    return head + struct.pack("<4sI", b"data", 0xFFFFFFFF)
