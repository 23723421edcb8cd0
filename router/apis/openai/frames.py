"""Server-sent events out of chunks of any size; memory bounded by one event.

What has come of an event is kept until its end is there and is looked at once, so that a server
that sends byte by byte costs no more than one that does not.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html (section 9.2.6).
"""

from __future__ import annotations

import re

from router.core.api import Malformed

EVENT_LIMIT = 4 * 1024 * 1024
"""Bytes of one event at most."""
_END = re.compile(rb"\n\n|\n\r|\r\r")
"""Two line ends of any kind, one after the other, hold one of these."""


class Frames:
    """Feed chunks, get the `data` of each completed event; the rest is dropped."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def held(self) -> bool:
        """Whether a part of an event waits for its rest."""
        return bool(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        rest = self._rest
        if not rest:
            buffer = chunk
        else:
            seam = len(rest) - 2
            rest += chunk
            if _END.search(rest, max(seam, 0)) is None:
                self._bound()
                return []
            buffer = bytes(rest)
        # The \n of a last line end is still to come.
        held = b"\r" if buffer.endswith(b"\r") else b""
        if b"\r" in buffer:
            buffer = buffer.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *frames, left = buffer.split(b"\n\n")
        self._rest = bytearray(left + held)
        self._bound()
        out = []
        for frame in frames:
            data = _data(frame)
            if data:
                out.append(data)
        return out

    def _bound(self) -> None:
        if len(self._rest) > EVENT_LIMIT:
            raise Malformed(f"an event of the stream is larger than {EVENT_LIMIT} bytes")


def _data(frame: bytes) -> bytes:
    if frame.startswith(b"data: ") and b"\n" not in frame:
        return frame[6:]
    lines = [line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line[:5] == b"data:"]
    # JSON reads a line end between two of its words as a space; so the event stays one line.
    return b" ".join(lines)
