"""ElevenLabs' wire towards the vendor.

The vendor sells credits: one per character, one per two characters for its Flash and Turbo models.
Voices of its library may have a rate of their own on top, which only the answer tells; what the
header `character-cost` says is what was billed, and it comes before the first byte of audio.
Sources: https://help.elevenlabs.io articles 21811236079505 (credits of each model),
19572237925521 (errors 400 and 401, longest texts) and 19571824571921 (429);
https://github.com/elevenlabs/elevenlabs-js/issues/407 (the header); all read 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from router.core.api import Api, Malformed, Reader, Wire, sounds
from router.core.call import Call, Usage
from router.core.counts import UNREADABLE as _BAD
from router.core.failure import Failure
from router.core.task import Audio, Event, Result, SpeakRequest, SpeakResult, Task

from .asking import QUERY, SPEED
from .formats import ENCODINGS, format_of

PASSED = (b"character-cost", b"request-id", b"history-item-id")
LONGEST = (
    ("eleven_flash_v2_5", 40_000),
    ("eleven_turbo_v2_5", 40_000),
    ("eleven_flash_v2", 30_000),
    ("eleven_turbo_v2", 30_000),
    ("eleven_multilingual_v", 10_000),
    ("eleven_monolingual_v", 10_000),
)
"""Models by the beginning of their names, and the most characters that they take."""
_encode = msgspec.json.Encoder().encode


class _Fault(msgspec.Struct):
    loc: list[str | int] = []
    msg: str = ""
    type: str = ""


class _Detail(msgspec.Struct):
    status: str = ""
    code: str = ""
    message: str = ""
    param: str | None = None


class _Error(msgspec.Struct):
    detail: _Detail | list[_Fault] | str


_error = msgspec.json.Decoder(_Error)


class ElevenLabs:
    """Speaks to the vendor."""

    name = "elevenlabs"
    tasks: frozenset[Task] = frozenset({"speak"})
    base = "https://api.elevenlabs.io"
    encodings: Mapping[Task, frozenset[str]] = {"speak": ENCODINGS}

    def at(self, base: str) -> Api:
        return self

    def auth(self, secret: str) -> dict[str, str]:
        return {"xi-api-key": secret} if secret else {}

    def unfit(self, call: Call, model: str = "") -> str:
        if call.task not in self.tasks:
            return f"elevenlabs has no {call.task}"
        if call.extras and call.wire != self.name:
            return f"parameters of the {call.wire} wire: {', '.join(sorted(call.extras))}"
        request = call.request
        assert isinstance(request, SpeakRequest)
        slowest, fastest = SPEED
        if not slowest <= request.speed <= fastest:
            return f"elevenlabs speaks at a speed of {slowest} to {fastest}, not {request.speed:g}"
        most = next((most for name, most in LONGEST if model.startswith(name)), None)
        if most is not None and len(request.text) > most:
            return f"{model} takes {most} characters, the text has {len(request.text)}"
        if request.language and model.startswith("eleven_multilingual_v2"):
            return f"{model} cannot be told the language of a text"
        return ""

    def units(self, call: Call, model: str) -> Usage:
        """Credits, for a voice without a rate of its own."""
        request = call.request
        assert isinstance(request, SpeakRequest)
        half = "flash" in model or "turbo" in model
        return Usage(credits=-(-len(request.text) // 2) if half else len(request.text))

    def request(self, call: Call, model: str) -> Wire:
        asked = call.request
        assert isinstance(asked, SpeakRequest)
        own = call.wire == self.name
        fields: dict[str, Any] = dict(call.fields) if own else {}
        query = {name: fields.pop(name) for name in QUERY if name in fields}
        fields |= {"text": asked.text, "model_id": model}
        if not own and asked.speed != 1.0:
            fields["voice_settings"] = {"speed": asked.speed}
        if not own and asked.language:
            fields["language_code"] = asked.language.partition("-")[0].lower()
        said = {name: bytes(raw).decode() for name, raw in query.items()}
        said["output_format"] = format_of(asked).name
        # A voice is a client's own text: no dot or slash of it may lead to another path.
        voice = quote(asked.voice, safe="").replace(".", "%2E")
        path = f"/v1/text-to-speech/{voice}{'/stream' if call.stream else ''}"
        return Wire(f"{path}?{urlencode(said)}", _encode(fields), {"accept": "*/*"})

    def reader(self, call: Call, model: str = "") -> Reader:
        return SpeechReader(call, model)

    def failure(self, status: int, body: bytes) -> Failure:
        try:
            detail = _error.decode(body).detail
        except _BAD:
            return Failure("", body[:200].decode("utf-8", "replace"))
        if isinstance(detail, str):
            return Failure("", detail, None, body)
        if isinstance(detail, _Detail):
            return Failure(detail.status or detail.code, detail.message, detail.param, body)
        if not detail:
            return Failure("", "", None, body)
        where = ".".join(str(part) for part in detail[0].loc)
        message = f"{where}: {detail[0].msg}" if where else detail[0].msg
        return Failure(detail[0].type, message, where or None, body)


class SpeechReader(Reader):
    """Reads audio. The last byte of a stream is the end of its body: the wire has no last word."""

    def __init__(self, call: Call, model: str) -> None:
        asked = call.request
        assert isinstance(asked, SpeakRequest)
        self.model = model
        self._asked, self._own = asked, call.wire == ElevenLabs.name
        self._rate = format_of(asked).sample_rate_hz
        self._any = self._done = False

    def head(self, headers: Mapping[bytes, bytes]) -> None:
        sounds(headers)
        cost = headers.get(b"character-cost", b"")
        if cost.isdigit() and len(cost) < 10:
            self.usage = Usage(characters=len(self._asked.text), credits=int(cost))
        if self._own:
            self.passed = tuple((name, headers[name]) for name in PASSED if name in headers)

    def whole(self, body: bytes) -> Result | bytes:
        if not body:
            raise Malformed("the answer holds no audio")
        return SpeakResult(audio=body, encoding=self._asked.encoding, sample_rate_hz=self._rate)

    def feed(self, chunk: bytes) -> list[bytes | Event]:
        if not chunk:
            return []
        self._any = True
        return [Audio(data=chunk, encoding=self._asked.encoding, sample_rate_hz=self._rate)]

    def finish(self) -> None:
        self._done = self._any

    def end(self) -> bool:
        return self._done
