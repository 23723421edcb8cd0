"""What both versions of the wire ask for, and what neither can be given here."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from router.audio import Heard
from router.core.errors import BadRequest

from .forms import HUB

_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}")


class Asked(msgspec.Struct, frozen=True):
    """One body, read."""

    audio: bytes
    heard: Heard
    language: str | None
    extras: set[str]
    model: str
    """A model that is asked for because of what was recorded; "" for speech of any kind."""
    word_times: bool


def refuse_uri(uri: str, at: str) -> None:
    """Raises BadRequest: nobody here can tell how long a file of others is, nor what it costs."""
    if uri:
        raise BadRequest(
            f"`{at}` is not taken: send the audio itself, in base64, as `content`.",
            param=at,
            code="unsupported_value",
        )


def tag(language: str, at: str) -> str:
    """A BCP 47 tag. Raises BadRequest."""
    if not _TAG.fullmatch(language):
        raise BadRequest(
            f"`{at}` is {language!r}; it must be a BCP 47 tag such as en-US.",
            param=at,
            code="invalid_value",
        )
    return language


def heard_encoding(value: int, numbers: Mapping[str, int], at: str) -> str:
    """The hub's name of an encoding, "" for one that the recording says. Raises BadRequest."""
    name = next(name for name, known in numbers.items() if known == value)
    if value and name not in HUB:
        known = ", ".join(n for n in numbers if n in HUB)
        raise BadRequest(
            f"`{at}` is {name}, which is not heard here. Send one of {known}.",
            param=at,
            code="unsupported_value",
        )
    return HUB.get(name, "")
