"""Server-sent events out of chunks of any size; memory bounded by one event.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html (section 9.2.6).
"""

from __future__ import annotations

from router.core.api import Malformed

EVENT_LIMIT = 4 * 1024 * 1024
"""Bytes of one event at most."""


class Frames:
    """Feed chunks, get the `data` of each completed event; the rest is dropped."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def held(self) -> bool:
        """Whether a part of an event waits for its rest."""
        return bool(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        buffer = self._rest + chunk if self._rest else chunk
        if b"\r" in buffer:
            # The \n of a last line end is still to come.
            held = b"\r" if buffer.endswith(b"\r") else b""
            buffer = buffer.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            *frames, rest = buffer.split(b"\n\n")
            self._rest = rest + held
        else:
            *frames, self._rest = buffer.split(b"\n\n")
        if len(self._rest) > EVENT_LIMIT:
            raise Malformed(f"an event of the stream is larger than {EVENT_LIMIT} bytes")
        out = []
        for frame in frames:
            data = _data(frame)
            if data:
                out.append(data)
        return out


def _data(frame: bytes) -> bytes:
    if frame.startswith(b"data: ") and b"\n" not in frame:
        return frame[6:]
    lines = [line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line[:5] == b"data:"]
    # JSON reads a line end between two of its words as a space; so the event stays one line.
    return b" ".join(lines)
