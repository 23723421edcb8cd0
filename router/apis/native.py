"""The router's own door, for what OpenAI's wire has no place for: `POST /v1/classify`.

    {"model": "classifier", "input": "text" | ["texts"], "labels": ["a", "b"], "multi_label": false}
    {"object": "list", "model": "...", "results": [{"label", "score", "scores": {"a": 0.9, ...}}],
     "usage": {"prompt_tokens": 12, "total_tokens": 12}}

Errors have OpenAI's shape, so that one client library reads both.
"""

from __future__ import annotations

import msgspec

from router.core.api import Ask, Door, Path, Question, Told, Writer
from router.core.call import Call, Usage
from router.core.errors import BadRequest
from router.core.reply import Reply
from router.core.task import ClassifyRequest, ClassifyResult

from .openai.asks import MESSAGE_TOKENS, decode, raw_fields, text_size
from .openai.door import NOTHING_TOLD, OpenAIDoor

_encode = msgspec.json.Encoder().encode


class _Body(msgspec.Struct):
    model: str
    input: str | list[str]
    labels: list[str] | None = None
    multi_label: bool = False


_body = msgspec.json.Decoder(_Body)
_known = frozenset(_Body.__struct_fields__)


class NativeDoor(OpenAIDoor):
    """Keys and errors as OpenAI's door, bodies of our own."""

    wire = "native"
    paths: tuple[Path, ...] = (Path("/v1/classify", "classify"),)
    questions: tuple[Question, ...] = ()

    def ask(self, path: str, body: bytes, told: Told = NOTHING_TOLD) -> Ask:
        fields = decode(raw_fields, body)
        for name in fields:
            if name not in _known:
                known = ", ".join(f"`{field}`" for field in _Body.__struct_fields__)
                raise BadRequest(
                    f"There is no field `{name[:64]}` here; the fields are {known}.",
                    param=name[:64],
                    code="invalid_request",
                )
        asked = decode(_body, body)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        if not texts or not all(texts):
            raise BadRequest("`input` is empty: send a text.", param="input", code="empty")
        labels = asked.labels
        if labels is not None and (len(labels) < 2 or len(set(labels)) != len(labels)):
            raise BadRequest(
                "`labels` needs at least two different labels; leave it out to use the model's.",
                param="labels",
                code="invalid_value",
            )
        return Ask(
            route=asked.model,
            task="classify",
            request=ClassifyRequest(
                texts=tuple(texts),
                labels=tuple(labels) if labels else None,
                multi_label=asked.multi_label,
            ),
            fields=fields,
            text_bytes=sum(map(text_size, (*texts, *(labels or ())))),
            token_bound=len(body) + MESSAGE_TOKENS * (len(texts) + len(labels or ())),
        )

    def whole(self, call: Call, reply: Reply) -> bytes:
        if reply.failure is not None:
            return super().whole(call, reply)
        result = reply.result
        assert isinstance(result, ClassifyResult)
        used = (reply.usage or Usage()).input_tokens
        rows = [
            {
                "label": r.labels[0],
                "score": r.scores[0],
                "scores": dict(zip(r.labels, r.scores, strict=True)),
            }
            for r in result.rankings
        ]
        return _encode(
            {
                "object": "list",
                "model": reply.model or call.route,
                "results": rows,
                "usage": {"prompt_tokens": used, "total_tokens": used},
            }
        )

    def events(self, call: Call, reply: Reply) -> Writer:
        raise TypeError("classification is not streamed")


DOOR: Door = NativeDoor()
