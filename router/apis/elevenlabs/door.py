"""ElevenLabs' wire towards a client: the vendor's SDK works by its base URL."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router.core.api import Ask, Head, Path, Question, Told, Writer
from router.core.call import Call, Usage
from router.core.errors import BadRequest, RouterError
from router.core.reply import Reply
from router.core.task import Audio, Event, SpeakRequest, SpeakResult

from .asking import ask
from .questions import QUESTIONS

SPEECH = "/v1/text-to-speech/{voice_id}"
STREAM = f"{SPEECH}/stream"
TIMED = (f"{SPEECH}/with-timestamps", f"{STREAM}/with-timestamps")
"""Forms that are known, and refused: no other wire tells when each letter is said."""
_TYPES = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "ogg_opus": "audio/ogg",
    "pcm_s16le": "audio/pcm",
    "mulaw": "audio/basic",
    "alaw": "audio/x-alaw-basic",
}
_encode = msgspec.json.Encoder().encode
JSON = Head("application/json")
NO_QUERY: Mapping[str, str] = {}
NOTHING_TOLD = Told()


class ElevenLabsDoor:
    """Reads calls and writes answers as ElevenLabs does."""

    wire = "elevenlabs"
    paths: tuple[Path, ...] = tuple(Path(pattern, "speak") for pattern in (SPEECH, STREAM, *TIMED))
    questions: tuple[Question, ...] = QUESTIONS
    named = False
    content_type = "application/json"
    key_header = "xi-api-key: <key>"
    stranger = 401

    def secret(self, headers: Mapping[bytes, bytes], query: Mapping[str, str] = NO_QUERY) -> str:
        return headers.get(b"xi-api-key", b"").decode("latin-1").strip()

    def ask(self, path: str, body: bytes, told: Told = NOTHING_TOLD) -> Ask:
        if path in TIMED:
            raise BadRequest(
                "Timestamps are not served here: call the path without /with-timestamps.",
                code="timestamps_not_supported",
            )
        return ask(body, told, stream=path == STREAM)

    def head(self, call: Call, reply: Reply) -> Head:
        if reply.failure is not None:
            return JSON
        request = call.request
        assert isinstance(request, SpeakRequest)
        return Head(_TYPES.get(request.encoding, "application/octet-stream"))

    def whole(self, call: Call, reply: Reply) -> bytes:
        failure = reply.failure
        if failure is not None:
            own = failure.raw.lstrip().startswith(b'{"detail"')
            return failure.raw if own else _detail(failure.code, failure.message)
        result = reply.result
        return result.audio if isinstance(result, SpeakResult) else reply.body

    def events(self, call: Call, reply: Reply) -> Writer:
        return AudioWriter()

    def error(self, error: RouterError) -> bytes:
        if error.status != 422:
            return _detail(error.code, str(error))
        where = (error.param or "body").split(".")
        return _encode({"detail": [{"loc": where, "msg": str(error), "type": error.code}]})

    def error_event(self, error: RouterError) -> bytes:
        return b""  # between two pieces of audio nothing can be said


def _detail(code: str, message: str) -> bytes:
    return _encode({"detail": {"status": code or "error", "message": message}})


class AudioWriter:
    """Pieces of audio, as they are."""

    def event(self, event: bytes | Event) -> bytes:
        return event.data if isinstance(event, Audio) else b""

    def end(self, usage: Usage | None) -> bytes:
        return b""
