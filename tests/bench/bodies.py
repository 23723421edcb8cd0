"""The bodies that are sent."""

from __future__ import annotations

from itertools import count

import msgspec

from .client import Body, Target, calls, client
from .contenders import ROUTE

_encode = msgspec.json.Encoder().encode
SUBJECTS = ("the harbour", "a garden wall", "the night train", "an old map", "the long winter")
FILLER = (
    "Describe {} in plain words, for a reader who has never seen it, and say what it costs to "
    "keep, who looks after it and what they would do if they were asked to begin again today. "
)


def chat(text: str, **fields: object) -> bytes:
    """A chat body of one message."""
    return _encode({"model": ROUTE, "messages": [{"role": "user", "content": text}], **fields})


def kilobyte(number: int) -> bytes:
    """A chat call of about 1 KB; five different ones."""
    text = FILLER.format(SUBJECTS[number % len(SUBJECTS)]) * 6
    return chat(text[:930], temperature=0.7, max_tokens=48)


async def long_winded(target: Target, tokens: int) -> Body:
    """Streamed chat calls whose answers have just *tokens* tokens when they may have so many."""
    async with client() as pool:
        for number in count():
            text = FILLER.format(SUBJECTS[0]) * 5 + f"Number {number}, please."

            def whole(_: int, text: str = text) -> bytes:
                return chat(text, max_tokens=tokens)

            load = await calls(pool, target, whole, total=1, in_flight=1)
            if msgspec.json.decode(load.answers[0])["usage"]["completion_tokens"] == tokens:
                break
    return lambda _: chat(text, max_tokens=tokens, stream=True)
