"""One spoken answer under way: sentences of samples in, wire text out."""

import base64
import struct

from serving.worker.rounds import Job
from serving.worker.wire import Speak, encode

WIDTH = 2  # bytes of a sample


def wav(samples: bytes, rate: int) -> bytes:
    """A WAV file of 16-bit mono samples."""
    size = len(samples)
    head = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt "
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * WIDTH, WIDTH, 8 * WIDTH)
    return head + form + b"data" + struct.pack("<I", size) + samples


class SpokenAnswer:
    """Turns the samples of one job into the body of one response."""

    def __init__(self, run: Job, request: Speak, rate: int, model: str) -> None:
        """`rate` in samples per second."""
        self.run = run
        self._request, self._rate, self._model = request, rate, model
        self._parts: list[bytes] = []
        self._samples = 0
        self._begun = False
        self.over = False

    @property
    def eager(self) -> bool:
        """Whether there is something to send."""
        return self.run.over or (self._request.stream and self.run.waiting)

    def advance(self) -> str:
        """The next part of the body; empty while there is nothing to send."""
        finished = self.run.over  # read before the pieces, so that none is left behind
        pieces = self.run.take()
        self._samples += sum(map(len, pieces)) // WIDTH
        if not self._request.stream:
            self._parts += pieces
            return self._whole() if finished else ""
        lines = [] if self._begun else [{"encoding": "pcm_s16le", "sample_rate_hz": self._rate}]
        self._begun = True
        text = "".join(encode(line) + "\n" for line in lines)
        text += "".join(encode({"audio": _base64(piece)}) + "\n" for piece in pieces)
        return text + (self._last() if finished else "")

    def _last(self) -> str:
        self.over = True
        if self.run.fault:
            return self._fault()
        return encode({"finish_reason": "stop", **self._ending()}) + "\n"

    def _whole(self) -> str:
        self.over = True
        if self.run.fault:
            return self._fault()
        samples = b"".join(self._parts)
        form = self._request.encoding
        audio = wav(samples, self._rate) if form == "wav" else samples
        about = {"encoding": form, "sample_rate_hz": self._rate}
        return encode({"audio": _base64(audio), **about, **self._ending()})

    def _fault(self) -> str:
        return encode({"error": {"code": "engine_failed", "message": self.run.fault}}) + "\n"

    def _ending(self) -> dict[str, object]:
        return {
            "seconds": round(self._samples / self._rate, 3),
            "usage": {"characters": len(self._request.text)},
            "model": self._model,
        }


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
