"""How a whole call ended: what is counted, kept and shown of it."""

from __future__ import annotations

import msgspec

from .call import Usage
from .trail import Trail
from .verdict import Verdict


class Ending(msgspec.Struct, frozen=True):
    """The end of a call. Seconds from its arrival; cost in pico-dollars over all attempts."""

    verdict: Verdict
    status: int
    backend: str
    """Who answered; "" when nobody did."""
    seconds: float
    first: float | None
    usage: Usage | None
    cost: int
    trail: Trail | None
    error: str
    cache: str = ""
    """What the cache had to do with it (`Served.state`)."""
    reason: str = ""
    """The word of the error that the client was told; "" for an answer."""
