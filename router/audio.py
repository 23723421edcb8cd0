"""Audio in memory: what a recording is, and the same sound in another encoding (FFmpeg by PyAV).

Reads and writes every encoding of `core.task.Encoding`, and reads whatever else FFmpeg knows.
A recording's seconds are the sum of its packets', not what its header says: money goes by them.
"""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import msgspec

from router.core.task import Encoding

LONGEST = 4 * 3600.0
"""Seconds of one recording at most: a small file of silence may hold years."""
_BARE: dict[str, tuple[str, int]] = {
    "pcm_s16le": ("s16le", 2),
    "mulaw": ("mulaw", 1),
    "alaw": ("alaw", 1),
}
"""Samples without a container -> FFmpeg's name, bytes of one sample."""
_WRITTEN: dict[str, tuple[str, str]] = {
    "mp3": ("mp3", "libmp3lame"),
    "wav": ("wav", "pcm_s16le"),
    "flac": ("flac", "flac"),
    "ogg_opus": ("ogg", "libopus"),
    "webm_opus": ("webm", "libopus"),
    "aac": ("adts", "aac"),
    "mp4": ("mp4", "aac"),
    "pcm_s16le": ("s16le", "pcm_s16le"),
    "mulaw": ("mulaw", "pcm_mulaw"),
    "alaw": ("alaw", "pcm_alaw"),
}
"""Encoding -> FFmpeg's container and codec."""
_CONTAINERS: dict[str, Encoding] = {"mp3": "mp3", "wav": "wav", "flac": "flac", "aac": "aac"}
_OPUS_RATE = 48_000


class Unreadable(ValueError):
    """The bytes are no audio that can be decoded; the sentence says what is wrong."""


class Heard(msgspec.Struct, frozen=True):
    """What a recording is. `encoding` is one of `Encoding`, or FFmpeg's own name of another one."""

    encoding: str
    seconds: float
    sample_rate_hz: int
    channels: int


def probe(
    data: bytes, *, encoding: str = "", sample_rate_hz: int | None = None, channels: int = 1
) -> Heard:
    """What *data* is. Bare samples must be named, with their rate. Raises Unreadable."""
    if encoding in _BARE:
        if not sample_rate_hz:
            raise Unreadable(f"{encoding} has no header: its sample rate must be said.")
        size = _BARE[encoding][1] * channels
        if len(data) < size:
            raise Unreadable("the audio is empty.")
        return Heard(
            encoding, _bounded(len(data) / size / sample_rate_hz), sample_rate_hz, channels
        )
    with _opened(data) as source:
        stream = source.streams.audio[0]
        ticks, last, base, decoded = 0, 0, stream.time_base, False
        try:
            for packet in source.demux(stream):
                if not decoded and packet.size:
                    decoded = _decodes(packet)
                ticks += packet.duration or 0
                last = max(last, packet.pts or 0)
        except (av.FFmpegError, ValueError) as exc:
            raise Unreadable(_sentence(exc)) from exc
        if not decoded or not stream.rate:
            raise Unreadable("no sound in it can be decoded.")
        # Some containers do not say how long a packet is, only when it begins.
        seconds = _bounded(float((ticks or last) * base))
        return Heard(_named(source, stream), seconds, stream.rate, stream.channels)


def recode(
    data: bytes,
    heard: Heard,
    to: Encoding,
    *,
    sample_rate_hz: int | None = None,
    bit_rate: int | None = None,
) -> tuple[bytes, int]:
    """The same sound as *to*, and its sample rate: as asked, or as near to it as *to* can be.

    Raises Unreadable.
    """
    with _opened(data, heard) as source:
        stream = source.streams.audio[0]
        rate = sample_rate_hz or heard.sample_rate_hz
        encoder = Encoder(to, rate, channels=heard.channels, bit_rate=bit_rate, seeks=True)
        try:
            for frame in source.decode(stream):
                encoder.write(frame)
        except av.FFmpegError as exc:
            raise Unreadable(_sentence(exc)) from exc
        return encoder.finish(), encoder.sample_rate_hz


class Recoder:
    """Turns a stream of bare 16-bit mono samples into another encoding, piece by piece."""

    def __init__(
        self,
        rate: int,
        to: Encoding,
        *,
        sample_rate_hz: int | None = None,
        bit_rate: int | None = None,
    ) -> None:
        self._rate, self._rest, self._samples = rate, b"", 0
        self._encoder = Encoder(to, sample_rate_hz or rate, channels=1, bit_rate=bit_rate)
        self.sample_rate_hz = self._encoder.sample_rate_hz

    def feed(self, samples: bytes) -> bytes:
        """What can be sent now; may be nothing."""
        data = self._rest + samples
        count = len(data) // 2
        self._rest = data[2 * count :]
        if count:
            frame = av.AudioFrame(format="s16", layout="mono", samples=count, align=1)
            frame.planes[0].update(data[: 2 * count])
            frame.sample_rate = self._rate
            frame.time_base = Fraction(1, self._rate)
            frame.pts = self._samples
            self._samples += count
            self._encoder.write(frame)
        return self._encoder.taken()

    def finish(self) -> bytes:
        """The last bytes."""
        return self._encoder.finish()


class Encoder:
    """Writes frames of sound as one recording."""

    def __init__(
        self,
        to: Encoding,
        rate: int,
        *,
        channels: int,
        bit_rate: int | None = None,
        seeks: bool = False,
    ) -> None:
        container, codec = _WRITTEN[to]
        self.sample_rate_hz = _near(codec, rate)
        self._pipe: Any = BytesIO() if seeks else _Pipe()
        self._out = av.open(self._pipe, "w", format=container)
        stream: Any = self._out.add_stream(codec, rate=self.sample_rate_hz)
        stream.layout = "mono" if channels == 1 else "stereo"
        if bit_rate:
            stream.bit_rate = bit_rate
        self._stream = stream

    def write(self, frame: Any) -> None:
        """Encode one frame."""
        for packet in self._stream.encode(frame):
            self._out.mux(packet)

    def taken(self) -> bytes:
        """What has been written since the last time; only of one that does not seek."""
        found: bytes = self._pipe.taken()
        return found

    def finish(self) -> bytes:
        """Close it; the bytes that were not taken yet."""
        for packet in self._stream.encode(None):
            self._out.mux(packet)
        self._out.close()
        rest: bytes = self._pipe.taken() if isinstance(self._pipe, _Pipe) else self._pipe.getvalue()
        return rest


class _Pipe:
    """A file that is written once, from front to end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _opened(data: bytes, heard: Heard | None = None) -> Any:
    if not data:
        raise Unreadable("the audio is empty.")
    options: dict[str, Any] = {}
    if heard is not None and heard.encoding in _BARE:
        layout = "mono" if heard.channels == 1 else "stereo"
        options = {
            "format": _BARE[heard.encoding][0],
            "options": {"sample_rate": str(heard.sample_rate_hz), "ch_layout": layout},
        }
    try:
        source = av.open(BytesIO(data), "r", **options)
    except (av.FFmpegError, ValueError) as exc:
        raise Unreadable(_sentence(exc)) from exc
    if not source.streams.audio:
        source.close()
        raise Unreadable("there is no sound in it.")
    return source


def _decodes(packet: Any) -> bool:
    try:
        return bool(packet.decode())
    except av.FFmpegError:
        return False


def _named(source: Any, stream: Any) -> str:
    kinds, codec = source.format.name.split(","), stream.codec_context.name
    if codec in {"opus", "libopus"}:
        return "ogg_opus" if "ogg" in kinds else "webm_opus"
    if "mp4" in kinds and codec == "aac":
        return "mp4"
    return next((_CONTAINERS[kind] for kind in kinds if kind in _CONTAINERS), f"{kinds[0]}/{codec}")


def _near(codec: str, rate: int) -> int:
    allowed = av.Codec(codec, "w").audio_rates
    if not allowed or rate in allowed:
        return rate
    return min((r for r in allowed if r >= rate), default=max(allowed))


def _bounded(seconds: float) -> float:
    if seconds > LONGEST:
        raise Unreadable(f"it is longer than {LONGEST / 3600:.0f} hours: split it.")
    return seconds


def _sentence(exc: Exception) -> str:
    said = getattr(exc, "strerror", "") or "not audio"
    return (
        f"it cannot be read as audio ({said.lower()}); send mp3, wav, flac, ogg, webm, aac or mp4."
    )
