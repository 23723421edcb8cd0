"""Google Speech's wire towards a client, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router.apis.google_vision import status
from router.apis.google_vision.door import JSON, check_query, secret
from router.apis.google_vision.protojson import read
from router.core.api import Ask, Head, Path, Question, Told, Writer
from router.core.call import Call
from router.core.errors import RouterError, TooLarge
from router.core.reply import Reply
from router.core.task import TranscribeRequest, TranscribeResult

from . import v1, v2
from .answers import written
from .hearing import SIZE

NAME = "google_speech"
LOCATION, MODEL = "location ", "model "
"""Begin the extras that say where it is to be heard, and by a model of what."""
GLOBAL = "global"
LARGEST = SIZE * 4 // 3 + 64 * 1024
"""Bytes of a body at most: a recording in base64, and what is said of it."""
NO_QUERY: Mapping[str, str] = {}
NOTHING_TOLD = Told()
_encode = msgspec.json.Encoder().encode


class SpeechDoor:
    """Reads calls and writes answers as Google Speech does."""

    wire = NAME
    paths: tuple[Path, ...] = (Path(v1.PATH, "transcribe"), Path(v2.PATH, "transcribe"))
    questions: tuple[Question, ...] = ()
    named = False
    content_type = JSON.content_type
    key_header = "x-goog-api-key: <key>"
    stranger = 401

    def secret(self, headers: Mapping[bytes, bytes], query: Mapping[str, str] = NO_QUERY) -> str:
        return secret(headers, query)

    def ask(self, path: str, body: bytes, told: Told = NOTHING_TOLD) -> Ask:
        check_query(told.query)
        if len(body) > LARGEST:
            raise TooLarge(f"Request payload size exceeds the limit: {SIZE} bytes of audio.")
        fields, values = read(body)
        asked = v2.ask(values, told.params) if path == v2.PATH else v1.ask(values)
        extras = set(asked.extras)
        location = told.params.get("location", GLOBAL)
        if location != GLOBAL:
            extras.add(f"{LOCATION}{location}")
        if asked.model:
            extras.add(f"{MODEL}{asked.model}")
        heard = asked.heard
        return Ask(
            route="",
            task="transcribe",
            request=TranscribeRequest(
                audio=asked.audio,
                encoding=heard.encoding,
                seconds=heard.seconds,
                language=asked.language,
                sample_rate_hz=heard.sample_rate_hz,
                channels=heard.channels,
                timestamps="word" if asked.word_times else "none",
            ),
            fields=fields,
            extras=frozenset(extras),
            text_bytes=int(heard.seconds * 50),
            token_bound=len(body),
        )

    def head(self, call: Call, reply: Reply) -> Head:
        return JSON

    def whole(self, call: Call, reply: Reply) -> bytes:
        if reply.failure is not None:
            return status.passed(reply)
        if reply.body:
            return reply.body
        assert isinstance(reply.result, TranscribeResult)
        return _encode(written(reply.result, reply.usage, second=call.path == v2.PATH))

    def events(self, call: Call, reply: Reply) -> Writer:
        raise NotImplementedError("answers of this wire are never streamed")

    def error(self, error: RouterError) -> bytes:
        return status.written(error)

    def error_event(self, error: RouterError) -> bytes:
        return b""
