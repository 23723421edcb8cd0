"""Google Speech's wire towards a backend, version 1, or 2 where its address says so.

Seconds are billed, rounded up, for each channel; an empty answer too. The answer says how many.
Source: https://cloud.google.com/speech-to-text/pricing, read 2026-11-22.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from router.apis.google_vision.backend import auth
from router.apis.google_vision.status import failure
from router.core.api import Api, Malformed, Reader, Wire
from router.core.call import Call, Usage
from router.core.counts import UNREADABLE as _BAD
from router.core.failure import Failure
from router.core.task import Result, Task, TranscribeRequest

from . import v1, v2
from .answers import Answer, billed, heard, most
from .door import GLOBAL, LOCATION, MODEL, NAME
from .forms import BARE
from .hearing import SECONDS, SIZE

_SECOND = re.compile(r"/v2/projects/[^/]+/locations/([^/]+)/?$")
_READS = BARE | {"wav", "flac", "mp3", "ogg_opus", "webm_opus"}
_PHRASE = 100
"""Characters of one hint at most."""
_PHRASES = 500
_answer = msgspec.json.Decoder(Answer)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SILENCE = Answer()
_encode = msgspec.json.Encoder().encode


class GoogleSpeech:
    """Speaks to the vendor; *location* is set where its second version is spoken."""

    name = NAME
    tasks: frozenset[Task] = frozenset({"transcribe"})
    base = "https://speech.googleapis.com/v1"

    def __init__(self, location: str = "") -> None:
        self._location = location
        self._path = v2.PATH if location else v1.PATH
        reads = _READS | {"mp4"} if location else _READS
        self.encodings: Mapping[Task, frozenset[str]] = {"transcribe": reads}

    def at(self, base: str) -> Api:
        found = _SECOND.search(base)
        return GoogleSpeech(found[1]) if found else self

    def auth(self, secret: str) -> dict[str, str]:
        return auth(secret)

    def unfit(self, call: Call, model: str = "") -> str:
        request = call.request
        if not isinstance(request, TranscribeRequest):
            return f"google_speech has no {call.task}"
        if self._own(call):
            return self._elsewhere(call, model)
        if call.extras:
            return f"parameters of the {call.wire} wire: {', '.join(sorted(call.extras))}"
        return self._too_much(request, model)

    def _own(self, call: Call) -> bool:
        """Whether the client speaks this wire, and the same version of it."""
        return call.wire == NAME and call.path == self._path

    def _elsewhere(self, call: Call, model: str) -> str:
        for extra in call.extras:
            if extra.startswith(LOCATION) and extra != f"{LOCATION}{self._location or GLOBAL}":
                return f"it is to be heard in {extra.removeprefix(LOCATION)}"
            # The price is that of its own model.
            if extra.startswith(MODEL) and extra != f"{MODEL}{model}":
                return f"it asks for the model {extra.removeprefix(MODEL)}"
        return ""

    def _too_much(self, request: TranscribeRequest, model: str) -> str:
        if request.language is None and not (self._location and model.startswith("chirp")):
            return "it must be told the language"
        if request.seconds > SECONDS or len(request.audio) > SIZE:
            return f"it hears {SECONDS:.0f} s and {SIZE} bytes at most"
        if request.channels > 1:
            return "it hears the first of several channels only"
        if request.temperature:
            return "it has no temperature"
        hints = _phrases(request)
        if len(hints) > _PHRASES or any(len(hint) > _PHRASE for hint in hints):
            return f"it takes {_PHRASES} hints of {_PHRASE} characters"
        return ""

    def units(self, call: Call, model: str) -> Usage:
        assert isinstance(call.request, TranscribeRequest)
        return most(call.request)

    def request(self, call: Call, model: str) -> Wire:
        asked = call.request
        assert isinstance(asked, TranscribeRequest)
        form, path = (v2, v2.SENT) if self._location else (v1, "/speech:recognize")
        said: dict[str, Any] = (
            form.passed(dict(call.fields), model)
            if self._own(call)
            else form.body(asked, model, _phrases(asked))
        )
        return Wire(path, _encode(said))

    def reader(self, call: Call, model: str = "") -> Reader:
        return SpeechReader(call, model, raw=self._own(call))

    def failure(self, status: int, body: bytes) -> Failure:
        return failure(body)


def _phrases(request: TranscribeRequest) -> list[str]:
    """The words that are likely to be said, as hints."""
    return [hint for part in re.split(r"[,;.\n]+", request.prompt) if (hint := part.strip())]


class SpeechReader(Reader):
    """Reads one answer."""

    def __init__(self, call: Call, model: str, *, raw: bool) -> None:
        request = call.request
        assert isinstance(request, TranscribeRequest)
        self._request, self._model, self._raw = request, model, raw

    def whole(self, body: bytes) -> Result | bytes:
        try:
            answer = _answer.decode(body)
        except _BAD as exc:
            raise Malformed(f"not an answer of Google Speech's wire: {exc}") from exc
        if answer == _SILENCE and _fields.decode(body):
            # Nothing was said: that is an answer. Something else was said: that is none.
            raise Malformed("the answer holds nothing of Google Speech's wire")
        self.model = self._model
        self.usage = billed(answer, self._request)
        return body if self._raw else heard(answer, self._request)
