"""Read a client's body into the hub: what routing needs is decoded, the rest is kept as bytes.

A field counts as an extra when it changes the answer and the hub has no place for it; an extra
keeps the call with backends of this wire. A field at its neutral value is no extra.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from router.core.api import Ask
from router.core.errors import BadRequest
from router.core.task import ChatRequest, CompleteRequest, EmbedRequest, Message

from .wire import ChatBody, ChatTurn, CompleteBody, EmbedBody

B = TypeVar("B")

IMAGE_TOKENS = 2_833 + 8 * 5_667
"""Most tokens one image can be billed (gpt-4o-mini: a base and 8 tiles; vendor's vision guide)."""
MESSAGE_TOKENS = 8
"""Tokens that frame one message at most; the vendor's own counting guide says 3 or 4."""

_SAMPLING = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "temperature",
        "top_p",
        "stop",
        "seed",
        "n",
    }
)
_HUB = {
    "chat": _SAMPLING | {"messages", "max_completion_tokens"},
    "complete": _SAMPLING | {"prompt"},
    "embed": frozenset({"model", "input", "dimensions", "encoding_format"}),
}
# They say who asks or how it is kept or billed, not what is answered.
_SILENT = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "parallel_tool_calls",
    }
)
_NEUTRAL = {
    "presence_penalty": (b"0", b"0.0"),
    "frequency_penalty": (b"0", b"0.0"),
    "logprobs": (b"false",),
    "logit_bias": (b"{}",),
    "tools": (b"[]",),
    "tool_choice": (b'"none"', b'"auto"'),
    "response_format": (b'{"type":"text"}', b'{"type": "text"}'),
    "echo": (b"false",),
    "best_of": (b"1",),
    "suffix": (b'""',),
}
raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_chat_body = msgspec.json.Decoder(ChatBody)
_complete_body = msgspec.json.Decoder(CompleteBody)
_embed_body = msgspec.json.Decoder(EmbedBody)


def _extras(task: str, fields: dict[str, msgspec.Raw]) -> frozenset[str]:
    beyond = fields.keys() - _HUB[task] - _SILENT
    if not beyond:
        return frozenset()
    return frozenset(
        name
        for name in beyond
        if bytes(fields[name]) != b"null" and bytes(fields[name]) not in _NEUTRAL.get(name, ())
    )


def decode(decoder: msgspec.json.Decoder[B], body: bytes) -> B:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        where = re.search(r"\$\.([A-Za-z_]+)", str(exc))
        missing = re.search(r"required field `(\w+)`", str(exc))
        param = where.group(1) if where else (missing.group(1) if missing else None)
        raise BadRequest(
            f"The body is not right: {exc}.", param=param, code="invalid_type"
        ) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest(
            f"The body is not valid JSON: {exc}. Send one JSON object.", code="invalid_json"
        ) from exc


def _check(body: ChatBody | CompleteBody) -> None:
    for name, value, low, high in (
        ("temperature", body.temperature, 0, 2),
        ("top_p", body.top_p, 0, 1),
        ("n", body.n, 1, 128),
        ("best_of", getattr(body, "best_of", None), 1, 128),
        ("max_tokens", body.max_tokens, 1, 10_000_000),
        ("max_completion_tokens", getattr(body, "max_completion_tokens", None), 1, 10_000_000),
    ):
        if value is not None and not low <= value <= high:
            raise BadRequest(
                f"`{name}` is {value}, it must be between {low} and {high}.",
                param=name,
                code="invalid_value",
            )


def _stops(body: ChatBody | CompleteBody) -> tuple[str, ...]:
    if body.stop is None:
        return ()
    return (body.stop,) if isinstance(body.stop, str) else tuple(body.stop)


def text_size(text: str) -> int:
    """UTF-8 bytes; most texts are ASCII, whose size is known."""
    return len(text) if text.isascii() else len(text.encode())


def _message(turn: ChatTurn) -> tuple[Message, int]:
    """The hub's message, and how many images it holds."""
    content = turn.content
    plain = bytes(turn.tool_calls) in {b"", b"null"} and turn.role != "tool"
    if isinstance(content, str):
        return Message(role=turn.role, text=content, plain=plain), 0
    parts = content or []
    text = "\n".join(p.text for p in parts if p.type == "text")
    images = sum(p.type == "image_url" for p in parts)
    for part in parts:
        if part.type == "file":  # its pages are billed as images, and nobody here can count them
            raise BadRequest(
                "A message part of type 'file' has no price bound: send its text, or images.",
                param="messages",
                code="unsupported_value",
            )
    plain = plain and content is not None and all(p.type == "text" for p in parts)
    return Message(role=turn.role, text=text, plain=plain), images


def _pictured(turns: list[ChatTurn]) -> int:
    """Bytes of the body that are images."""
    return sum(
        len(bytes(part.image_url))
        for turn in turns
        if isinstance(turn.content, list)
        for part in turn.content
        if part.type == "image_url"
    )


def _chat(raw: bytes) -> Ask:
    fields, body = decode(raw_fields, raw), decode(_chat_body, raw)
    _check(body)
    if not body.messages:
        raise BadRequest(
            "`messages` is empty: send at least one message.", param="messages", code="empty"
        )
    pairs = [_message(turn) for turn in body.messages]
    size = sum([text_size(m.text) for m, _ in pairs])
    images = sum([count for _, count in pairs])
    request = ChatRequest(
        messages=tuple([m for m, _ in pairs]),
        max_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop=_stops(body),
        seed=body.seed,
        n=body.n or 1,
        usage_wanted=bool(body.stream_options and body.stream_options.include_usage),
    )
    # JSON never holds fewer bytes than the text in it; tools and schemas are read by the model too.
    # An image's own bytes are not: the vendor bills it by its size in pixels.
    bound = (
        len(raw) - _pictured(body.messages) + MESSAGE_TOKENS * len(pairs) + IMAGE_TOKENS * images
    )
    return Ask(
        route=body.model,
        task="chat",
        request=request,
        fields=fields,
        extras=_extras("chat", fields),
        stream=bool(body.stream),
        text_bytes=size,
        token_bound=bound,
        outputs=request.n,
    )


def _complete(raw: bytes) -> Ask:
    fields, body = decode(raw_fields, raw), decode(_complete_body, raw)
    _check(body)
    texts, coded = _texts(body.prompt, "prompt")
    request = CompleteRequest(
        prompts=texts,
        best_of=body.best_of or 1,
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop=_stops(body),
        seed=body.seed,
        n=body.n or 1,
        usage_wanted=bool(body.stream_options and body.stream_options.include_usage),
    )
    extras = _extras("complete", fields)
    return Ask(
        route=body.model,
        task="complete",
        request=request,
        fields=fields,
        extras=extras | {"prompt"} if coded else extras,
        stream=bool(body.stream),
        text_bytes=sum(map(text_size, texts)) or len(raw),
        token_bound=len(raw) + MESSAGE_TOKENS * len(texts),
        # All that are made are billed, not only those that are returned.
        outputs=max(request.n, request.best_of) * len(texts),
    )


def _embed(raw: bytes) -> Ask:
    fields, body = decode(raw_fields, raw), decode(_embed_body, raw)
    texts, coded = _texts(body.input, "input")
    if body.dimensions is not None and body.dimensions < 1:
        raise BadRequest("`dimensions` must be at least 1.", param="dimensions")
    extras = _extras("embed", fields)
    return Ask(
        route=body.model,
        task="embed",
        request=EmbedRequest(
            texts=texts, dimensions=body.dimensions, encoding=body.encoding_format or "float"
        ),
        fields=fields,
        extras=extras | {"input"} if coded else extras,
        text_bytes=sum(map(text_size, texts)) or len(raw),
        token_bound=len(raw) + MESSAGE_TOKENS * len(texts),
    )


def _texts(given: str | list[str | int | list[int]], param: str) -> tuple[tuple[str, ...], bool]:
    """Texts, and whether they came as token numbers (which only this wire's backends can read)."""
    texts = [given] if isinstance(given, str) else given
    if not texts or (param == "input" and any(t in ("", []) for t in texts)):
        raise BadRequest(f"`{param}` is empty: send a text.", param=param, code="empty")
    plain = tuple([t for t in texts if isinstance(t, str)])
    if len(plain) == len(texts):
        return plain, False
    if plain:
        raise BadRequest(
            f"`{param}` mixes texts and token numbers: send one kind.",
            param=param,
            code="invalid_type",
        )
    return ("",) * (len(texts) if isinstance(texts[0], list) else 1), True


READERS: dict[str, Callable[[bytes], Ask]] = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _complete,
    "/v1/embeddings": _embed,
}
