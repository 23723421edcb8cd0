"""The fields of OpenAI's bodies that the router reads; all others are skipped unparsed."""

from __future__ import annotations

from typing import Literal

import msgspec

from router.core.call import Usage
from router.core.counts import ABSENT, Count, believed


class Part(msgspec.Struct):
    type: str
    text: str = ""
    image_url: msgspec.Raw = ABSENT


class ChatTurn(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None
    tool_calls: msgspec.Raw = ABSENT


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Sampling(msgspec.Struct):
    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None


class ChatBody(_Sampling, kw_only=True):
    messages: list[ChatTurn]
    max_completion_tokens: int | None = None


class CompleteBody(_Sampling, kw_only=True):
    prompt: str | list[str | int | list[int]]
    best_of: int | None = None


class EmbedBody(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None


class Details(msgspec.Struct):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None


class Billed(msgspec.Struct):
    prompt_tokens: Count
    completion_tokens: Count | None = None
    prompt_tokens_details: Details | None = None


_billed = msgspec.json.Decoder(Billed | None)


def usage_of(raw: msgspec.Raw, *, writes: bool = True) -> Usage | None:
    """The usage as it is billed; None when it is not told, or is none that can be true.

    Cached and written tokens are subsets of the prompt's: never added to them. No prompt has no
    tokens, and what *writes* says how many: some servers put zeros where they do not count.
    """
    billed = believed(_billed, raw)
    if billed is None or not billed.prompt_tokens:
        return None
    if writes and billed.completion_tokens is None:
        return None
    total, made = billed.prompt_tokens, billed.completion_tokens or 0
    details = billed.prompt_tokens_details
    if details is None:
        return Usage(total, made)
    cached = min(details.cached_tokens or 0, total)
    written = min(details.cache_write_tokens or 0, total - cached)
    return Usage(total, made, cached, written_tokens=written)


class Answer(msgspec.Struct):
    """A whole answer: what it must have, and who was asked to pay for how much."""

    choices: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    model: str = ""


class Said(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    index: int = 0
    message: Said | None = None
    delta: Said | None = None
    text: str | None = None
    finish_reason: str | None = None


class Vector(msgspec.Struct):
    embedding: str | list[float]
    index: int = 0


class Chunk(msgspec.Struct):
    choices: list[Choice] | None = None
    usage: msgspec.Raw = ABSENT
    model: str = ""
    error: msgspec.Raw = ABSENT


class ErrorDetail(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None
    param: str | None = None


class ErrorBody(msgspec.Struct):
    error: ErrorDetail | str
