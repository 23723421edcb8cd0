"""Speech to text on OpenAI's wire, the client's side: `POST /v1/audio/transcriptions`.

The file may be anything that `router.audio` reads. Answers: json, text, srt, vtt, verbose_json;
a stream (`stream=true`) tells the whole text in one `transcript.text.delta`, then
`transcript.text.done`: whichever backend served it has heard everything by then.
Source: OpenAI's API description, CreateTranscriptionRequest; read 2026-11-22.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from router import audio
from router.core.api import Ask, Head
from router.core.call import Call, Usage
from router.core.errors import BadRequest
from router.core.reply import Reply
from router.core.task import TranscribeRequest, TranscribeResult

from .form import Part, read_form
from .languages import name_of
from .subtitles import srt, vtt

PATH = "/v1/audio/transcriptions"
Form = Literal["json", "text", "srt", "verbose_json", "vtt"]
FORMS: tuple[str, ...] = get_args(Form)
_TYPES = {"json": "application/json", "verbose_json": "application/json", "vtt": "text/vtt"}
_HUB = {
    "file",
    "model",
    "language",
    "prompt",
    "temperature",
    "response_format",
    "timestamp_granularities",
    "stream",
    "chunking_strategy",
}
_LISTS = {
    "timestamp_granularities",
    "include",
    "languages",
    "keywords",
    "known_speaker_names",
    "known_speaker_references",
}
_encode = msgspec.json.Encoder().encode


def ask(raw: bytes, content_type: bytes) -> Ask:
    """Read a form. Raises BadRequest."""
    parts = read_form(raw, content_type)
    file = next((p for p in parts if p.name == "file"), None)
    if file is None or not file.value:
        raise BadRequest("`file` is missing or empty: send the audio.", param="file", code="empty")
    fields = _fields(parts)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("`model` is missing: name a route.", param="model")
    form = fields.get("response_format", "json")
    if form not in FORMS:
        raise BadRequest(
            f"`response_format` is {form!r}; it must be one of {', '.join(FORMS)}.",
            param="response_format",
            code="invalid_value",
        )
    try:
        heard = audio.probe(file.value)
    except audio.Unreadable as exc:
        raise BadRequest(f"`file`: {exc}", param="file", code="invalid_audio") from exc
    raws = {name: msgspec.Raw(_encode(value)) for name, value in fields.items()}
    return Ask(
        route=model,
        task="transcribe",
        request=TranscribeRequest(
            audio=file.value,
            encoding=heard.encoding,
            seconds=heard.seconds,
            language=_text(fields, "language"),
            sample_rate_hz=heard.sample_rate_hz,
            channels=heard.channels,
            timestamps=_timestamps(fields, str(form)),
            prompt=_text(fields, "prompt") or "",
            temperature=_number(fields, "temperature"),
        ),
        fields=raws,
        extras=frozenset(name for name in fields.keys() - _HUB if fields[name] not in ("", [])),
        text_bytes=int(heard.seconds * 50),
        token_bound=len(raw),
    )


def _fields(parts: list[Part]) -> dict[str, Any]:
    """The form's plain fields; `name[]`, and a list's name, collect all of theirs."""
    fields: dict[str, Any] = {}
    for part in parts:
        if part.name == "file":
            continue
        name = part.name.removesuffix("[]")
        value = part.value.decode("utf-8", "replace")
        if name in _LISTS:
            fields.setdefault(name, []).append(value)
        else:
            fields[name] = value
    return fields


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def _number(fields: dict[str, Any], name: str) -> float | None:
    said = _text(fields, name)
    if said is None:
        return None
    try:
        value = float(said)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BadRequest(f"`{name}` is {said!r}; it must be a number from 0 to 1.", param=name)
    return value


def _timestamps(fields: dict[str, Any], form: str) -> Literal["none", "segment", "word"]:
    wanted = set(fields.get("timestamp_granularities", ()))
    if wanted - {"word", "segment"}:
        raise BadRequest(
            "`timestamp_granularities` must be word or segment.", param="timestamp_granularities"
        )
    if wanted and form != "verbose_json":
        raise BadRequest(
            "`timestamp_granularities` needs response_format verbose_json.",
            param="timestamp_granularities",
        )
    if "word" in wanted:
        return "word"
    return "segment" if form in {"srt", "vtt", "verbose_json"} else "none"


# Answers.


def form_of(call: Call) -> Form:
    """How the client wants its answer."""
    raw = bytes(call.fields.get("response_format", b'"json"'))
    form: Form = msgspec.json.decode(raw, type=Form)
    return form


def streamed(call: Call) -> bool:
    """Whether the client asked for events."""
    return bytes(call.fields.get("stream", b"")).lower() in {b'"true"', b'"1"'}


def head(call: Call) -> Head:
    """What precedes the answer."""
    if streamed(call):
        return Head("text/event-stream; charset=utf-8", ((b"cache-control", b"no-store"),))
    return Head(_TYPES.get(form_of(call), "text/plain; charset=utf-8"))


def whole(call: Call, reply: Reply) -> bytes:
    """The answer in the form that was asked for."""
    result = reply.result
    if not isinstance(result, TranscribeResult):
        return reply.body
    if streamed(call):
        return _events(result, reply.usage)
    form = form_of(call)
    if form == "text":
        return f"{result.text}\n".encode()
    if form in {"srt", "vtt"}:
        return (srt if form == "srt" else vtt)(result.segments).encode()
    if form == "json":
        return _encode({"text": result.text, "usage": _usage(reply.usage, result)})
    return _encode(_verbose(call, result, reply.usage))


def _events(result: TranscribeResult, usage: Usage | None) -> bytes:
    done: dict[str, Any] = {"type": "transcript.text.done", "text": result.text}
    used = _usage(usage, result)
    if used["type"] == "tokens":  # an event of this wire has no place for seconds
        done["usage"] = used
    said = [{"type": "transcript.text.delta", "delta": result.text}, done]
    return b"".join(b"data: %b\n\n" % _encode(event) for event in said)


def _usage(usage: Usage | None, result: TranscribeResult) -> dict[str, Any]:
    if usage is not None and usage.input_tokens:
        heard = usage.audio_input_tokens
        return {
            "type": "tokens",
            "input_tokens": usage.input_tokens,
            "input_token_details": {
                "text_tokens": usage.input_tokens - heard,
                "audio_tokens": heard,
            },
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }
    seconds = usage.seconds if usage is not None and usage.seconds else result.seconds
    return {"type": "duration", "seconds": seconds}


def _verbose(call: Call, result: TranscribeResult, usage: Usage | None) -> dict[str, Any]:
    wanted = bytes(call.fields.get("timestamp_granularities", b'["segment"]'))
    said: dict[str, Any] = {
        "task": "transcribe",
        "language": name_of(result.language) or "",
        "duration": result.seconds,
        "text": result.text,
        "usage": _usage(usage, result),
    }
    if b"segment" in wanted:
        # What only the decoder of the model knows (log probabilities, compression) is left out: a
        # made-up figure would pass for confidence.
        said["segments"] = [
            {
                "id": index,
                "seek": 0,
                "start": s.start,
                "end": s.end,
                "text": s.text,
                "tokens": [],
            }
            for index, s in enumerate(result.segments)
        ]
    if b"word" in wanted:
        said["words"] = [{"word": w.text, "start": w.start, "end": w.end} for w in result.words]
    return said
