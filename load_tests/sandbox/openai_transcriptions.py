"""Speech to text on OpenAI's wire: POST /v1/audio/transcriptions, a form with a file.

whisper-1 is billed by the second, rounded up, as its `usage` says; the others by token, a second of
sound being ten. Only they stream, and only whisper-1 has times (verbose_json, srt, vtt).
"""

from math import ceil
from typing import Any

import msgspec
from msgspec import Struct

from load_tests.sandbox.answers import Answers
from load_tests.sandbox.forms import Form, Malformed, Upload, read_form
from load_tests.sandbox.hearing import LANGUAGES, Heard, transcribe
from load_tests.sandbox.media import Unreadable
from load_tests.sandbox.models import Model
from load_tests.sandbox.subtitles import srt, vtt
from load_tests.sandbox.tokens import count, pieces
from load_tests.sandbox.vendor import Answer, Event, Headers, Refusal, Request

ENCODE = msgspec.json.Encoder().encode
MOST_BYTES = 25 * 1024 * 1024
SHORTEST = 0.1  # seconds
TOKENS_A_SECOND = 10
SUFFIXES = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
JSON, TEXT = b"application/json", b"text/plain; charset=utf-8"
SSE = b"text/event-stream; charset=utf-8"


class Asked(Struct):
    """One request as it was read."""

    model: str
    form: Form
    file: Upload
    format: str
    stream: bool


class Transcriptions:
    """POST /v1/audio/transcriptions."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def read(self, request: Request) -> Asked:
        """Raises Refusal."""
        if len(request.body) > MOST_BYTES + 65536:
            message = f"413: Maximum content size limit ({MOST_BYTES}) exceeded ({len(request.body)} bytes read)"  # noqa: E501
            raise Refusal(413, message)
        try:
            form = read_form(request)
        except Malformed as wrong:
            raise Refusal(400, f"Could not parse multipart form: {wrong}") from wrong
        model, file = form.one("model"), form.files.get("file")
        if model is None or file is None:
            missing = "model" if model is None else "file"
            message = f"Missing required parameter: '{missing}'."
            raise Refusal(400, message, param=missing, code="missing_required_parameter")
        stream = (form.one("stream") or "false").lower() in ("true", "1")
        return Asked(model, form, file, form.one("response_format") or "json", stream)

    def answer(
        self, asked: Asked, model: Model, key: str, request: Request, headers: Headers
    ) -> Answer:
        """What the recording says. Raises Refusal."""
        by_token = "audio_input" in model.price.rates
        _check(asked, model, by_token=by_token)
        try:
            heard = transcribe(asked.file.data, self._answers)
        except Unreadable as wrong:
            message = "Audio file might be corrupted or unsupported"
            raise Refusal(400, message, param="file", code="invalid_value") from wrong
        seconds = heard.sound.seconds
        if seconds < SHORTEST:
            message = f"Audio file is too short. Minimum audio length is {SHORTEST} seconds."
            raise Refusal(400, message, param="file", code="audio_too_short")
        if by_token:
            units = {
                "input": count(asked.form.one("prompt") or ""),
                "audio_input": ceil(seconds * TOKENS_A_SECOND),
                "output": count(heard.text),
            }
        else:
            units = {"seconds": ceil(seconds)}
        streams = asked.stream and by_token
        kind, body = (SSE, b"") if streams else _body(asked, heard, units)
        return Answer(
            id=f"transcription-{request.number:029d}",
            model=model.name,
            endpoint="/v1/audio/transcriptions",
            headers=[(b"content-type", kind), *headers],
            body=body,
            events=_events(heard, units) if streams else None,
            price=model.price,
            key=key,
            units=units,
            work=ceil(seconds),
        )


def _check(asked: Asked, model: Model, *, by_token: bool) -> None:
    if asked.format not in FORMATS:
        message = f"Invalid value: '{asked.format}'. Supported values are: {', '.join(FORMATS)}."
        raise Refusal(400, message, param="response_format", code="invalid_value")
    if by_token and asked.format not in ("json", "text"):
        message = f"response_format '{asked.format}' is not compatible with model '{model.name}'. Use 'json' or 'text' instead."  # noqa: E501
        raise Refusal(400, message, param="response_format", code="unsupported_value")
    if asked.form.all("timestamp_granularities") and asked.format != "verbose_json":
        message = "timestamp_granularities needs response_format 'verbose_json'."
        raise Refusal(400, message, param="timestamp_granularities", code="invalid_value")
    if asked.file.name.rpartition(".")[2].lower() not in SUFFIXES:
        message = f"Unrecognized file format. Supported formats: {list(SUFFIXES)}"
        raise Refusal(400, message, param="file", code="unsupported_format")
    if len(asked.file.data) > MOST_BYTES:
        message = f"413: Maximum content size limit ({MOST_BYTES}) exceeded ({len(asked.file.data)} bytes read)"  # noqa: E501
        raise Refusal(413, message)
    language = asked.form.one("language")
    if language and not (len(language) in (2, 3) and language.isalpha()):
        message = f"Language '{language}' is not supported. Give it as ISO 639-1, like 'en'."
        raise Refusal(400, message, param="language", code="unsupported_language")


def _usage(units: dict[str, int]) -> dict[str, Any]:
    if "seconds" in units:
        return {"type": "duration", "seconds": units["seconds"]}
    read = units["input"] + units["audio_input"]
    return {
        "type": "tokens",
        "total_tokens": read + units["output"],
        "input_tokens": read,
        "input_token_details": {
            "text_tokens": units["input"],
            "audio_tokens": units["audio_input"],
        },
        "output_tokens": units["output"],
    }


def _body(asked: Asked, heard: Heard, units: dict[str, int]) -> tuple[bytes, bytes]:
    match asked.format:
        case "text":
            return TEXT, f"{heard.text}\n".encode()
        case "srt":
            return TEXT, srt(heard.segments()).encode()
        case "vtt":
            return TEXT, vtt(heard.segments()).encode()
        case "verbose_json":
            return JSON, ENCODE(_verbose(asked, heard, units))
    return JSON, ENCODE({"text": heard.text, "usage": _usage(units)})


def _verbose(asked: Asked, heard: Heard, units: dict[str, int]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "task": "transcribe",
        "language": LANGUAGES.get(heard.language, heard.language),
        "duration": heard.sound.seconds,
        "text": heard.text,
    }
    wanted = asked.form.all("timestamp_granularities") or ["segment"]
    if "word" in wanted:
        told["words"] = [
            {"word": one.text, "start": one.start, "end": one.end} for one in heard.words()
        ]
    if "segment" in wanted:
        told["segments"] = [
            {
                "id": at,
                "seek": 0,
                "start": one.start,
                "end": one.end,
                "text": f" {one.text}",
                "tokens": [],
                "temperature": 0.0,
                "avg_logprob": -0.25,
                "compression_ratio": 1.2,
                "no_speech_prob": 0.01,
            }
            for at, one in enumerate(heard.segments())
        ]
    return told | {"usage": _usage(units)}


def _events(heard: Heard, units: dict[str, int]) -> list[Event]:
    events = [
        _event({"type": "transcript.text.delta", "delta": part}, made)
        for made, part in enumerate(pieces(heard.text), 1)
    ]
    done = {"type": "transcript.text.done", "text": heard.text, "usage": _usage(units)}
    return [*events, _event(done, units["output"])]


def _event(said: dict[str, Any], made: int) -> Event:
    return Event(b"data: " + ENCODE(said) + b"\n\n", made)
