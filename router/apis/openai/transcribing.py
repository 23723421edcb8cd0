"""Speech to text on OpenAI's wire, the backend's side.

`whisper-*` is billed by the second of audio, and any model of another server as its price says; the
vendor's others by token. Those give no times, and json only.

A client of the same wire gets a json or verbose_json answer as it came; srt, vtt and text are made
from the vendor's json here, because only that says what was billed.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import msgspec

from router.core.api import Malformed, Reader, Wire
from router.core.call import Call, Usage
from router.core.counts import ABSENT, Count, Seconds, believed
from router.core.counts import UNREADABLE as _BAD
from router.core.task import Result, Segment, TranscribeRequest, TranscribeResult, Word

from .form import Part, write_form
from .languages import code_of
from .transcription import PATH, form_of, streamed

READS = frozenset({"wav", "flac", "mp3", "ogg_opus", "webm_opus", "mp4"})
"""Encodings that the vendor takes."""
TOKENS_PER_SECOND = 20
"""Audio tokens a second at most: the vendor counts 10 (one per 100 ms), twice that is held."""
TEXT_LIMIT = 2_000
"""Output tokens of the vendor's models that are billed by token, from their model pages."""
SIZE_LIMIT = 25 * 1024 * 1024
_SUFFIXES = {"ogg_opus": "ogg", "webm_opus": "webm", "mp4": "m4a"}
_encode = msgspec.json.Encoder().encode


class _Details(msgspec.Struct, frozen=True):
    audio_tokens: Count = 0


class _Used(msgspec.Struct):
    seconds: Seconds | None = None
    input_tokens: Count | None = None
    output_tokens: Count = 0
    input_token_details: _Details = _Details()


class _Segment(msgspec.Struct):
    start: Seconds
    end: Seconds
    text: str


class _Word(msgspec.Struct):
    start: Seconds
    end: Seconds
    word: str


class _Answer(msgspec.Struct):
    text: str
    language: str | None = None
    duration: float | str | None = None
    segments: list[_Segment] | None = None
    words: list[_Word] | None = None
    usage: msgspec.Raw = ABSENT


_answer = msgspec.json.Decoder(_Answer)
_used = msgspec.json.Decoder(_Used | None)


def by_token(model: str) -> bool:
    """Whether the vendor bills *model* by token."""
    return model.startswith("gpt-4o")


def unfit(call: Call, model: str) -> str:
    """Why *model* cannot serve it."""
    request = call.request
    assert isinstance(request, TranscribeRequest)
    if request.timestamps != "none" and by_token(model):
        return f"{model} gives no times"
    if len(request.audio) > SIZE_LIMIT:
        return "openai takes audio of 25 MB at most"
    return ""


def units(call: Call, model: str) -> Usage:
    """The audio's seconds, or the most tokens that it can be counted as."""
    request = call.request
    assert isinstance(request, TranscribeRequest)
    if not by_token(model):
        return Usage(seconds=float(ceil(request.seconds)))
    heard = TOKENS_PER_SECOND * ceil(request.seconds)
    return Usage(heard + len(request.prompt.encode()) + 64, TEXT_LIMIT, audio_input_tokens=heard)


def request(call: Call, model: str) -> Wire:
    """The form to send."""
    asked = call.request
    assert isinstance(asked, TranscribeRequest)
    fields: dict[str, Any] = {}
    if call.wire == "openai" and call.path == PATH:
        fields = {name: msgspec.json.decode(raw) for name, raw in call.fields.items()}
        fields.pop("stream", None)
    else:
        fields = _from_hub(asked)
    fields["model"] = model
    fields["response_format"] = _form(call, model)
    suffix = _SUFFIXES.get(asked.encoding, asked.encoding)
    parts = [Part("file", asked.audio, f"audio.{suffix}", "application/octet-stream")]
    for name, value in fields.items():
        if isinstance(value, list):
            parts += [Part(f"{name}[]", str(item).encode()) for item in value]
        else:
            parts.append(Part(name, str(value).encode()))
    kind, body = write_form(parts)
    return Wire("/audio/transcriptions", body, {"content-type": kind})


def _from_hub(asked: TranscribeRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if asked.language:
        fields["language"] = asked.language.partition("-")[0]
    if asked.prompt:
        fields["prompt"] = asked.prompt
    if asked.temperature is not None:
        fields["temperature"] = asked.temperature
    if asked.timestamps != "none":
        wanted = ["word"] if asked.timestamps == "word" else []
        fields["timestamp_granularities"] = ["segment", *wanted]
    return fields


def _form(call: Call, model: str) -> str:
    """`verbose_json` where times are wanted, and the language is worth knowing; else json."""
    return "json" if model.startswith("gpt-") else "verbose_json"


class TranscriptionReader(Reader):
    """Reads one answer."""

    def __init__(self, call: Call, model: str) -> None:
        request = call.request
        assert isinstance(request, TranscribeRequest)
        self._seconds, self._model = request.seconds, model
        own = call.wire == "openai" and call.path == PATH and not streamed(call)
        self._raw = own and form_of(call) == _form(call, model)

    def whole(self, body: bytes) -> Result | bytes:
        try:
            answer = _answer.decode(body)
            said = answer.duration
            seconds = (
                self._seconds if said is None else msgspec.convert(said, Seconds, strict=False)
            )
        except (*_BAD, ValueError) as exc:
            raise Malformed(f"not an answer of OpenAI's wire: {exc}") from exc
        self.model = self._model
        self.usage = self._used(answer.usage, seconds)
        if self._raw:
            return body
        return TranscribeResult(
            text=answer.text,
            language=code_of(answer.language),
            seconds=seconds,
            segments=tuple(
                Segment(start=s.start, end=s.end, text=s.text) for s in answer.segments or ()
            ),
            words=tuple(Word(start=w.start, end=w.end, text=w.word) for w in answer.words or ()),
        )

    def _used(self, raw: msgspec.Raw, seconds: float) -> Usage | None:
        used = believed(_used, raw)
        if used is None and bytes(raw) not in {b"", b"null"}:
            return None
        if used is not None and used.input_tokens:
            heard = min(used.input_token_details.audio_tokens, used.input_tokens)
            return Usage(used.input_tokens, used.output_tokens, audio_input_tokens=heard)
        if by_token(self._model):
            return None
        said = used.seconds if used is not None and used.seconds is not None else seconds
        return Usage(seconds=float(ceil(said)))
