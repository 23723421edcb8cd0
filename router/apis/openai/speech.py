"""Text to speech on OpenAI's wire: `POST /v1/audio/speech`.

A whole answer is the audio itself. A stream is asked for by `stream_format`: "audio" gives pieces
of audio, "sse" events (`speech.audio.delta`, `speech.audio.done` with usage).

Models named `tts-*` are billed by character; the others of the vendor by token, which only events
tell: those are asked for events, whatever the client asked for.
Source: OpenAI's API description, CreateSpeechRequest; read 2026-11-22.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from router.core.api import Ask, Head, Malformed, Reader, Wire, sounds
from router.core.call import Call, Usage
from router.core.counts import ABSENT, Count, believed
from router.core.errors import BadRequest
from router.core.reply import Reply
from router.core.task import Audio, Encoding, Event, Result, SpeakRequest, SpeakResult

from .asks import decode, raw_fields, text_size
from .frames import Frames

PATH = "/v1/audio/speech"
SENDS: dict[str, Encoding] = {
    "mp3": "mp3",
    "opus": "ogg_opus",
    "aac": "aac",
    "flac": "flac",
    "wav": "wav",
    "pcm": "pcm_s16le",
}
"""The wire's names of encodings."""
_NAMES = {encoding: name for name, encoding in SENDS.items()}
_TYPES = {
    "mp3": "audio/mpeg",
    "ogg_opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm_s16le": "audio/pcm",
}
RATE = 24_000
"""Samples a second of what the vendor sends; it cannot be chosen."""
FIRST_VOICE = "alloy"
"""The vendor's first, for clients whose wire lets them leave the choice to the model."""
LONGEST = 4096
"""Characters of one input at most."""
TOKENS_PER_CHARACTER = 16
"""Audio tokens that a character can take at most: at the 20.8 a second that the vendor's price per
minute implies, this is the slowest speech there is, 0.8 s for each character."""
_HUB = {"model", "input", "voice", "response_format", "speed", "stream_format"}
_encode = msgspec.json.Encoder().encode
_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


class _Voice(msgspec.Struct):
    id: str


class _Body(msgspec.Struct):
    model: str
    input: str
    voice: str | _Voice
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] | None = None
    speed: Annotated[float, msgspec.Meta(ge=0.25, le=4)] | None = None
    stream_format: Literal["sse", "audio"] | None = None


class _Used(msgspec.Struct):
    input_tokens: Count
    output_tokens: Count


class _Frame(msgspec.Struct):
    type: str = ""
    audio: str = ""
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


_body = msgspec.json.Decoder(_Body)
_frame = msgspec.json.Decoder(_Frame)
_used = msgspec.json.Decoder(_Used | None)


# The client's side.


def ask(raw: bytes) -> Ask:
    """Read a body. Raises BadRequest."""
    fields, body = decode(raw_fields, raw), decode(_body, raw)
    voice = body.voice if isinstance(body.voice, str) else body.voice.id
    if not voice:
        raise BadRequest("`voice` is empty: name a voice.", param="voice", code="empty")
    if not body.input.strip():
        raise BadRequest("`input` is empty: send a text to speak.", param="input", code="empty")
    if len(body.input) > LONGEST:
        raise BadRequest(
            f"`input` has {len(body.input)} characters; at most {LONGEST} are taken. Split it.",
            param="input",
            code="string_above_max_length",
        )
    return Ask(
        route=body.model,
        task="speak",
        request=SpeakRequest(
            text=body.input,
            voice=voice,
            encoding=SENDS[body.response_format or "mp3"],
            sample_rate_hz=RATE if body.response_format == "pcm" else None,
            speed=1.0 if body.speed is None else body.speed,
        ),
        fields=fields,
        extras=frozenset(n for n in fields.keys() - _HUB if bytes(fields[n]) not in _NEUTRAL),
        stream=body.stream_format is not None,
        text_bytes=text_size(body.input),
        token_bound=len(raw),
    )


_NEUTRAL = (b"null", b'""')


def head(call: Call) -> Head:
    """What precedes the audio, or its events."""
    request = call.request
    assert isinstance(request, SpeakRequest)
    if _events(call):
        return Head("text/event-stream; charset=utf-8", ((b"cache-control", b"no-store"),))
    return Head(_TYPES.get(request.encoding, "application/octet-stream"))


def _events(call: Call) -> bool:
    return call.stream and bytes(call.fields.get("stream_format", b"")) == b'"sse"'


def whole(reply: Reply) -> bytes:
    """The audio."""
    result = reply.result
    return result.audio if isinstance(result, SpeakResult) else reply.body


class SpeechWriter:
    """Pieces of audio, as they are or as events."""

    def __init__(self, call: Call) -> None:
        self._as_events = _events(call)

    def event(self, event: bytes | Event) -> bytes:
        assert isinstance(event, Audio)
        if not self._as_events:
            return event.data
        said = {"type": "speech.audio.delta", "audio": b64encode(event.data).decode()}
        return b"data: %b\n\n" % _encode(said)

    def end(self, usage: Usage | None) -> bytes:
        if not self._as_events:
            return b""
        used = usage or Usage()
        told = {
            "input_tokens": used.input_tokens,
            "output_tokens": used.output_tokens,
            "total_tokens": used.input_tokens + used.output_tokens,
        }
        return b"data: %b\n\n" % _encode({"type": "speech.audio.done", "usage": told})


# The backend's side.


def by_token(call: Call, model: str) -> bool:
    """Whether the vendor bills *model* by token."""
    return model.startswith("gpt-4o")


def unfit(call: Call) -> str:
    """Why the wire cannot carry it."""
    request = call.request
    assert isinstance(request, SpeakRequest)
    if not 0.25 <= request.speed <= 4:
        return f"openai speaks at a speed of 0.25 to 4, not {request.speed:g}"
    if len(request.text) > LONGEST:
        return f"openai takes {LONGEST} characters, the text has {len(request.text)}"
    return ""


def units(call: Call, model: str) -> Usage:
    """Characters, or the most tokens that the text can become."""
    request = call.request
    assert isinstance(request, SpeakRequest)
    if not by_token(call, model):
        return Usage(characters=len(request.text))
    made = TOKENS_PER_CHARACTER * (len(request.text) + 100)
    read = len(request.text.encode()) + len(bytes(call.fields.get("instructions", b""))) + 64
    return Usage(read, made, audio_output_tokens=made)


def request(call: Call, model: str) -> Wire:
    """What to send."""
    asked = call.request
    assert isinstance(asked, SpeakRequest)
    own = call.wire == "openai" and call.path == PATH
    fields: dict[str, Any] = dict(call.fields) if own else {}
    fields |= {"model": model, "input": asked.text, "voice": asked.voice or FIRST_VOICE}
    fields["response_format"] = _NAMES[asked.encoding]
    if asked.speed != 1.0:
        fields["speed"] = asked.speed
    fields.pop("stream_format", None)
    if by_token(call, model):
        fields["stream_format"] = "sse"
    return Wire("/audio/speech", _encode(fields))


class SpeechReader(Reader):
    """Reads audio, or the events that carry it."""

    def __init__(self, call: Call, model: str) -> None:
        asked = call.request
        assert isinstance(asked, SpeakRequest)
        self._request, self._model = asked, model
        self._as_events = by_token(call, model)
        self._frames = Frames()
        self._done = False
        self._any = False

    def head(self, headers: Mapping[bytes, bytes]) -> None:
        if not self._as_events:
            sounds(headers)

    def whole(self, body: bytes) -> Result | bytes:
        audio = body
        if self._as_events:
            pieces = [e.data for e in self.feed(body) if isinstance(e, Audio)]
            if not self._done:
                raise Malformed("the events of the speech ended before they said so")
            audio = b"".join(pieces)
        else:
            self._count()
        if not audio:
            raise Malformed("the answer holds no audio")
        self.model = self._model
        return SpeakResult(audio=audio, encoding=self._request.encoding, sample_rate_hz=RATE)

    def feed(self, chunk: bytes) -> list[bytes | Event]:
        self.model = self._model
        if self._as_events:
            events: list[bytes | Event] = []
            for data in self._frames.feed(chunk):
                if self._done:
                    break  # what follows the end is no part of the answer
                events += self._read(data)
            return events
        if not chunk:
            return []
        self._any = True
        return [self._audio(chunk)]

    def finish(self) -> None:
        if not self._as_events and self._any:
            self._done = True
            self._count()

    def end(self) -> bool:
        return self._done

    def _count(self) -> None:
        self.usage = Usage(characters=len(self._request.text))

    def _audio(self, data: bytes) -> Audio:
        return Audio(data=data, encoding=self._request.encoding, sample_rate_hz=RATE)

    def _read(self, data: bytes) -> list[bytes | Event]:
        try:
            frame = _frame.decode(data)
            if bytes(frame.error) not in {b"", b"null"}:
                raise Malformed("the speech ended in an error")
            if frame.type == "speech.audio.done":
                self._done = True
                used = believed(_used, frame.usage)
                if used is not None and used.output_tokens:
                    made = used.output_tokens
                    self.usage = Usage(used.input_tokens, made, audio_output_tokens=made)
            return [self._audio(b64decode(frame.audio, validate=True))] if frame.audio else []
        except _BAD as exc:
            if isinstance(exc, Malformed):
                raise
            raise Malformed(f"not an event of OpenAI's wire: {exc}") from exc
