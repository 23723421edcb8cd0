"""DeepL's wire towards the vendor.

Keys that end in `:fx` belong to the free plan, which has an address of its own: a backend with such
a key says `base: https://api-free.deepl.com` and `model: free`. A backend whose model is one of the
vendor's `model_type`s asks for it; any other name (`pro`, `free`) is only a name.
What was billed is asked for with every call: code points of the texts, context and, with
`tag_handling`, tags not counted.
Sources: https://developers.deepl.com/docs/getting-started/auth, .../docs/resources/usage-limits,
read 2026-11-23; wordings of errors from https://github.com/dotnet/ResXResourceManager/issues/473,
https://github.com/DeepL/deepl-dotnet/issues/77 and
https://github.com/web-vision/deepltranslate-core/issues/30.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from router.core.api import Api, Malformed, Reader, Wire
from router.core.call import Call, Usage
from router.core.counts import ABSENT, Count, believed
from router.core.counts import UNREADABLE as _BAD
from router.core.failure import Failure
from router.core.task import Result, Task, TranslateRequest, TranslateResult

from .asking import SIZE_LIMIT, TEXTS
from .languages import source_code, target_code, to_tag

PATH = "/v2/translate"
FREE = "https://api-free.deepl.com"
MODEL_TYPES = frozenset({"quality_optimized", "latency_optimized", "prefer_quality_optimized"})
_UNSUPPORTED = re.compile(r"'(target_lang|source_lang|formality)' (?:is )?not supported")
_encode = msgspec.json.Encoder().encode


class _Translation(msgspec.Struct):
    text: str
    detected_source_language: str | None = None
    billed_characters: msgspec.Raw = ABSENT


class _Answer(msgspec.Struct):
    translations: list[_Translation]


class _Rows(msgspec.Struct):
    translations: list[dict[str, msgspec.Raw]]


class _Error(msgspec.Struct):
    message: str = ""
    detail: str = ""
    code: str = ""


_answer = msgspec.json.Decoder(_Answer)
_count = msgspec.json.Decoder(Count | None)
_rows = msgspec.json.Decoder(_Rows)
_error = msgspec.json.Decoder(_Error)


class DeepL:
    """Speaks to the vendor."""

    name = "deepl"
    tasks: frozenset[Task] = frozenset({"translate"})
    base = "https://api.deepl.com"
    encodings: Mapping[Task, frozenset[str]] = {}

    def at(self, base: str) -> Api:
        return self

    def auth(self, secret: str) -> dict[str, str]:
        return {"authorization": f"DeepL-Auth-Key {secret}"} if secret else {}

    def unfit(self, call: Call, model: str = "") -> str:
        if call.task not in self.tasks:
            return f"deepl has no {call.task}"
        if call.extras and call.wire != self.name:
            return f"parameters of the {call.wire} wire: {', '.join(sorted(call.extras))}"
        request = call.request
        assert isinstance(request, TranslateRequest)
        if len(request.texts) > TEXTS:
            return f"deepl takes {TEXTS} texts at once, the call has {len(request.texts)}"
        # A byte of text is at most six of JSON, so that short texts need no look.
        if call.text_bytes > SIZE_LIMIT // 8:
            size = len(self.request(call, model).body)
            if size > SIZE_LIMIT:
                return f"deepl takes {SIZE_LIMIT} bytes at once, the call has {size}"
        asked = bytes(call.fields.get("model_type", b"null")) if call.wire == self.name else b"null"
        if model in MODEL_TYPES and asked not in {b"null", _encode(model)}:
            return f"it is asked for {model}, the call wants {asked.decode()}"
        return ""

    def units(self, call: Call, model: str) -> Usage:
        request = call.request
        assert isinstance(request, TranslateRequest)
        return Usage(characters=sum(map(len, request.texts)))

    def request(self, call: Call, model: str) -> Wire:
        asked = call.request
        assert isinstance(asked, TranslateRequest)
        fields: dict[str, Any] = {}
        if call.wire == self.name:
            fields |= {n: raw for n, raw in call.fields.items() if bytes(raw) not in _ABSENT}
        else:
            fields["target_lang"] = target_code(asked.target)
            if asked.source:
                fields["source_lang"] = source_code(asked.source)
            if asked.formality != "default":
                fields["formality"] = asked.formality
        fields |= {"text": asked.texts, "show_billed_characters": True}
        if model in MODEL_TYPES:
            fields["model_type"] = model
        return Wire(PATH, _encode(fields))

    def reader(self, call: Call, model: str = "") -> Reader:
        return TranslationReader(call, model)

    def failure(self, status: int, body: bytes) -> Failure:
        try:
            said = _error.decode(body)
        except _BAD:
            return Failure("", body[:200].decode("utf-8", "replace"))
        message = " ".join(part for part in (said.message, said.detail) if part)
        found = _UNSUPPORTED.search(message)
        if found is not None:
            return Failure(f"{found[1]}_not_supported", message, found[1], body)
        if "Unsupported language pair" in message:
            return Failure("target_lang_not_supported", message, "target_lang", body)
        return Failure(said.code, message, None, body)


_ABSENT = (b"null", b'""')


class TranslationReader(Reader):
    """Reads one answer; for a client of this wire it passes, less what was not asked for."""

    def __init__(self, call: Call, model: str) -> None:
        request = call.request
        assert isinstance(request, TranslateRequest)
        self.model = model
        self._texts = len(request.texts)
        self._own = call.wire == DeepL.name
        self._shown = wants_billed(call)

    def head(self, headers: Mapping[bytes, bytes]) -> None:
        if self._own and b"x-trace-id" in headers:
            self.passed = ((b"x-trace-id", headers[b"x-trace-id"]),)

    def whole(self, body: bytes) -> Result | bytes:
        try:
            rows = _answer.decode(body).translations
            raws = _rows.decode(body).translations if self._own else []
        except _BAD as exc:
            raise Malformed(f"not an answer of DeepL's wire: {exc}") from exc
        if len(rows) != self._texts:
            raise Malformed(f"{len(rows)} translations of {self._texts} texts")
        billed = [believed(_count, row.billed_characters) for row in rows]
        if None not in billed:
            self.usage = Usage(characters=sum(count or 0 for count in billed))
        if not self._own:
            return TranslateResult(
                texts=tuple(row.text for row in rows),
                detected=tuple(to_tag(row.detected_source_language or "") for row in rows),
            )
        if self._shown:
            return body
        for raw in raws:
            raw.pop("billed_characters", None)
        return _encode({"translations": raws})


def wants_billed(call: Call) -> bool:
    """Whether the client asked to see what was billed."""
    return bytes(call.fields.get("show_billed_characters", b"")) == b"true"
