"""What an error answer says, whatever its wire."""

from __future__ import annotations

import msgspec


class Failure(msgspec.Struct, frozen=True):
    """An error answer: the wire's own code and sentence; *raw* is the body as it came."""

    code: str
    message: str
    param: str | None = None
    raw: bytes = b""
    retry_after: float | None = None
    """Seconds, for wires that say it in the body."""
