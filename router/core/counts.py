"""What a backend says that it used: believed only when it can be true.

A count that is negative, no number or beyond all reason is no count. The answer beside it may be
right all the same, so it is passed on, and its usage is unknown: the attempt is charged at its
bound, never less (docs/ledger.md).
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

T = TypeVar("T")
MOST = 10**9
"""Of any unit in one call: no model reads a thousandth of it."""
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=MOST)]
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises on bytes that are not the JSON it looks for."""
ABSENT = msgspec.Raw(b"")


def believed(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    """What *raw* says; None when it says nothing, or nothing that can be true."""
    if not bytes(raw):
        return None
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        return None
