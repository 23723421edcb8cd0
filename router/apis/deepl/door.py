"""DeepL's wire towards a client: the vendor's SDK works by its `server_url`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from router.core.api import Ask, Head, Path, Question, Told, Writer
from router.core.call import Call
from router.core.errors import RouterError
from router.core.reply import Reply
from router.core.task import TranslateRequest, TranslateResult

from .asking import ask
from .backend import PATH, wants_billed
from .languages import source_code
from .questions import QUESTIONS

_encode = msgspec.json.Encoder().encode
JSON = Head("application/json")
NO_QUERY: Mapping[str, str] = {}
NOTHING_TOLD = Told()
SCHEME = "deepl-auth-key"


class DeepLDoor:
    """Reads calls and writes answers as DeepL does."""

    wire = "deepl"
    paths: tuple[Path, ...] = (Path(PATH, "translate"),)
    questions: tuple[Question, ...] = QUESTIONS
    named = False
    content_type = "application/json"
    key_header = "Authorization: DeepL-Auth-Key <key>"
    stranger = 403

    def secret(self, headers: Mapping[bytes, bytes], query: Mapping[str, str] = NO_QUERY) -> str:
        # Keys in the query or the body are what the vendor has ended in January 2026.
        value = headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, secret = value.partition(" ")
        return secret.strip() if scheme.lower() == SCHEME else ""

    def ask(self, path: str, body: bytes, told: Told = NOTHING_TOLD) -> Ask:
        return ask(body, told.headers.get(b"content-type", b""))

    def head(self, call: Call, reply: Reply) -> Head:
        return JSON

    def whole(self, call: Call, reply: Reply) -> bytes:
        failure = reply.failure
        if failure is not None:
            own = failure.raw.lstrip().startswith(b'{"message"')
            return failure.raw if own else _message(failure.message or failure.code)
        result = reply.result
        if not isinstance(result, TranslateResult):
            return reply.body
        request = call.request
        assert isinstance(request, TranslateRequest)
        shown = wants_billed(call)
        rows: list[dict[str, Any]] = []
        for text, translated, detected in zip(
            request.texts, result.texts, result.detected, strict=True
        ):
            row: dict[str, Any] = {}
            # Where neither the backend nor the client says what it was, nobody knows: left out.
            if source := detected or request.source:
                row["detected_source_language"] = source_code(source)
            row["text"] = translated
            if shown:
                row["billed_characters"] = len(text)
            rows.append(row)
        return _encode({"translations": rows})

    def events(self, call: Call, reply: Reply) -> Writer:
        raise TypeError("translation is not streamed")

    def error(self, error: RouterError) -> bytes:
        return _encode({"message": str(error), "code": error.code})

    def error_event(self, error: RouterError) -> bytes:
        return b""


def _message(text: str) -> bytes:
    return _encode({"message": text})
