"""Images on OpenAI's wire: a chat model that sees is asked for what is in one image.

It answers by a JSON schema; it gives no boxes and no scores, so none are made up. Faces and objects
with places in the image, and all that needs a list of its own, stay with backends that have it.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec

from router.core.api import Malformed, Reader, Wire
from router.core.call import Call, Usage
from router.core.counts import UNREADABLE as _BAD
from router.core.task import (
    Annotated,
    AnnotateRequest,
    AnnotateResult,
    Annotation,
    Result,
)

from .asks import IMAGE_TOKENS
from .wire import Answer, Choice, usage_of

FEATURES = frozenset({"labels", "text", "document"})
OUTPUT_LIMIT = 2_000
_PROMPT = (
    "Look at the image. Give `labels`: what it shows, in one or two English words each, the surest "
    "first, at most {labels}; and `text`: all text that can be read in it, letter by letter, lines "
    "in reading order; nothing where there is none."
)
_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "findings",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "labels": {"type": "array", "items": {"type": "string"}},
                "text": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["labels", "text"],
            "additionalProperties": False,
        },
    },
}
_MAGIC = (
    (0, b"\x89PNG", "image/png"),
    (0, b"\xff\xd8", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
)
"""Where a kind of image says what it is."""
_answer = msgspec.json.Decoder(Answer)
_choices = msgspec.json.Decoder(list[Choice])
_encode = msgspec.json.Encoder().encode


class _Found(msgspec.Struct):
    labels: list[str]
    text: list[str]


_found = msgspec.json.Decoder(_Found)


def unfit(call: Call) -> str:
    """Why a chat model cannot serve it."""
    request = call.request
    assert isinstance(request, AnnotateRequest)
    missing = {name for name, _ in request.features} - FEATURES
    if missing:
        return f"a chat model gives no {', '.join(sorted(missing))} with their places"
    if len(request.images) != 1:
        return "a chat model is asked for one image at a time"
    if not _kind(request.images[0]):
        return "a chat model sees PNG, JPEG, GIF and WebP"
    return ""


def _kind(image: bytes) -> str:
    return next((kind for at, magic, kind in _MAGIC if image.startswith(magic, at)), "")


def units(call: Call, model: str) -> Usage:
    """The most tokens that prompt, image and answer can be."""
    return Usage(IMAGE_TOKENS + 2 * len(_PROMPT), OUTPUT_LIMIT)


def request(call: Call, model: str, limit_field: str) -> Wire:
    """The question as a chat."""
    asked = call.request
    assert isinstance(asked, AnnotateRequest)
    most = next((count for name, count in asked.features if name == "labels"), 0) or 10
    image = asked.images[0]
    url = f"data:{_kind(image)};base64,{b64encode(image).decode()}"
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": _PROMPT.format(labels=most)},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": parts}],
        "response_format": _SCHEMA,
        limit_field: OUTPUT_LIMIT,
    }
    return Wire("/chat/completions", _encode(body))


class PictureReader(Reader):
    """Reads the answer of a chat into findings."""

    def __init__(self, call: Call) -> None:
        request = call.request
        assert isinstance(request, AnnotateRequest)
        self._features = dict(request.features)

    def whole(self, body: bytes) -> Result | bytes:
        try:
            answer = _answer.decode(body)
            self.model = answer.model
            self.usage = usage_of(answer.usage)
            said = _choices.decode(answer.choices)[0].message
            found = _found.decode((said.content if said else None) or "")
        except (*_BAD, IndexError) as exc:
            raise Malformed(f"no findings in the form that was asked for: {exc}") from exc
        rows: list[Annotation] = []
        for feature, lines in (
            ("labels", found.labels),
            ("text", found.text),
            ("document", found.text),
        ):
            if feature in self._features:
                kept = lines[: self._features[feature] or None]
                rows += [Annotation(feature=feature, text=line) for line in kept]
        return AnnotateResult(images=(Annotated(annotations=tuple(rows)),))
