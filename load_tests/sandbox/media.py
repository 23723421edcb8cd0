"""Sound and pictures as files: what a vendor sends, and what is in what it was sent.

Everything goes through PyAV (FFmpeg). Sound inside the sandbox is mono, 24 kHz, 16 bits.
"""

import io
from functools import lru_cache
from typing import Any

import av
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from msgspec import Struct

RATE = 24000  # samples a second of the sandbox's own sound
HEARD_RATE = 8000  # samples a second that `Sound.samples` has
LONGEST = 4 * 3600  # seconds of audio that are decoded
QUICK = {"libmp3lame": {"compression_level": "9"}, "libopus": {"compression_level": "0"}}
BARE = {"s16le": 2, "s16be": 2, "mulaw": 1, "alaw": 1}  # bytes a sample


class Unreadable(ValueError):
    """No audio or no image that can be decoded."""


class Form(Struct, frozen=True):
    """How a sound is written: FFmpeg's container and codec (a bare one has no container)."""

    container: str
    codec: str
    rate: int = RATE
    bit_rate: int = 0
    content_type: str = "application/octet-stream"


class Sound(Struct, frozen=True):
    """A decoded recording; `samples` are its channels mixed, 16 bits at 8 kHz."""

    seconds: float
    channels: int
    rate: int
    codec: str
    samples: bytes


class Size(Struct, frozen=True):
    """An image's width and height in pixels, and its mean colour (red, green, blue)."""

    width: int
    height: int
    colour: tuple[int, int, int] = (0, 0, 0)


@lru_cache(maxsize=64)
def write(pcm: bytes, form: Form) -> bytes:
    """The sound (mono, 24 kHz, 16 bits) in that form."""
    if form.codec == "pcm_s16le" and form.container == "s16le" and form.rate == RATE:
        return pcm
    out = io.BytesIO()
    with av.open(out, "w", format=form.container) as file:
        options = QUICK.get(form.codec, {})
        stream: Any = file.add_stream(form.codec, rate=form.rate, options=options)
        stream.layout = "mono"
        if form.bit_rate:
            stream.bit_rate = form.bit_rate
        context = stream.codec_context
        formats = context.codec.audio_formats or ()
        resampler = AudioResampler(
            format=formats[0].name if formats else "s16", layout="mono", rate=form.rate
        )
        frames = [*resampler.resample(_frame(pcm)), *resampler.resample(None)]
        for frame in frames:
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def hear(data: bytes, bare: str = "", rate: int = 0, channels: int = 1) -> Sound:
    """Decode a recording; `bare` (FFmpeg's name, `s16le`) when it is samples without a container.

    Raises Unreadable.
    """
    if not data:
        raise Unreadable("The audio is empty.")
    options = {"ar": str(rate), "ch_layout": f"{channels}c"} if bare else {}
    if bare:
        data = data[: len(data) // (BARE[bare] * channels) * BARE[bare] * channels]
    try:
        with av.open(io.BytesIO(data), "r", format=bare or None, options=options) as file:
            return _decoded(file)
    except (FFmpegError, IndexError, ValueError, EOFError) as wrong:
        raise Unreadable("The audio could not be decoded.") from wrong


def look(data: bytes) -> Size:
    """How large an image is, and of which colour. Raises Unreadable."""
    try:
        with av.open(io.BytesIO(data), "r") as file:
            stream = file.streams.video[0]
            frame = next(file.decode(stream))
            return Size(frame.width, frame.height, _colour(frame))
    except (FFmpegError, IndexError, ValueError, StopIteration) as wrong:
        raise Unreadable("The image could not be decoded.") from wrong


def _colour(frame: av.VideoFrame) -> tuple[int, int, int]:
    small = frame.reformat(8, 8, "rgb24", interpolation="AREA").planes[0]
    rows = [bytes(small)[at * small.line_size :][:24] for at in range(8)]
    red, green, blue = (sum(sum(row[at::3]) for row in rows) // 64 for at in range(3))
    return red, green, blue


def _frame(pcm: bytes) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="mono", samples=max(len(pcm) // 2, 1))
    frame.sample_rate = RATE
    plane = frame.planes[0]
    plane.update(pcm.ljust(plane.buffer_size, b"\0"))
    return frame


def _decoded(file: Any) -> Sound:
    stream = file.streams.audio[0]
    context = stream.codec_context
    resampler = AudioResampler(format="s16", layout="mono", rate=HEARD_RATE)
    parts: list[bytes] = []
    count = 0
    rate = channels = 0
    for frame in file.decode(stream):
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        count += frame.samples
        if count > LONGEST * rate:
            raise Unreadable("The audio is too long.")
        frame.pts = None  # what the container says of time does not matter here
        parts += [_bytes(one) for one in resampler.resample(frame)]
    if not count:
        raise Unreadable("The audio holds no sound.")
    parts += [_bytes(one) for one in resampler.resample(None)]
    return Sound(count / rate, channels, rate, context.name, b"".join(parts))


def _bytes(frame: av.AudioFrame) -> bytes:
    return bytes(frame.planes[0])[: frame.samples * 2]
