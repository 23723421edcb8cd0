"""The trace that a call belongs to: W3C Trace Context, in and out.

    traceparent = 00-<trace id: 32 hex>-<parent's span id: 16 hex>-<flags: 2 hex>
    span id of an attempt = BLAKE2b-64(span id of the call, name of the backend)

An attempt's id is worked out, not kept: the wire can put it into its request, and whoever writes
the spans when the call is over finds the same one. Source: W3C Recommendation "Trace Context",
2021-11-23.
"""

from __future__ import annotations

import re
from hashlib import blake2b

import msgspec

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(r"[\x20-\x7e]{1,512}")
SAMPLED = 1


class Parent(msgspec.Struct, frozen=True):
    """A span that others are under: the caller's, or (not *remote*) one of our own."""

    trace_id: int
    span_id: int
    sampled: bool
    state: str = ""
    """`tracestate` as it came; "" without one."""
    remote: bool = True


class Trace(msgspec.Struct, frozen=True):
    """A call in its trace."""

    trace_id: int
    span_id: int
    """The call's own span."""
    sampled: bool
    parent: Parent | None = None
    state: str = ""

    @property
    def name(self) -> str:
        """The trace's id as all tools show it."""
        return f"{self.trace_id:032x}"

    def attempt(self, backend: str) -> int:
        """The span id of the attempt at *backend*."""
        said = self.span_id.to_bytes(8, "big") + backend.encode()
        return int.from_bytes(blake2b(said, digest_size=8).digest(), "big") or 1

    def headers(self, backend: str) -> dict[str, str]:
        """What the request to *backend* carries."""
        flags = SAMPLED if self.sampled else 0
        told = f"00-{self.name}-{self.attempt(backend):016x}-{flags:02x}"
        return (
            {"traceparent": told, "tracestate": self.state} if self.state else {"traceparent": told}
        )


def parent(traceparent: bytes | None, tracestate: bytes | None = None) -> Parent | None:
    """The caller's span; None when it sent none, or nothing that can be understood."""
    if traceparent is None:
        return None
    found = _PARENT.fullmatch(traceparent.decode("latin-1").strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    # Version ff is forbidden; of later ones only what we know is read, ours has no further part.
    if version == "ff" or (version == "00" and more):
        return None
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    state = (tracestate or b"").decode("latin-1").strip()
    return Parent(
        int(trace_id, 16),
        int(span_id, 16),
        bool(int(flags, 16) & SAMPLED),
        state if _STATE.fullmatch(state) else "",
    )
