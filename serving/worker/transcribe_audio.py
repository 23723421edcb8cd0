"""Recordings to what Whisper hears: one channel of float32 samples, 16,000 a second.

Containers are read by FFmpeg's libraries (PyAV), from memory. Only formats of sound are allowed:
others, such as playlists, could name files and addresses that FFmpeg would then open.

Source: `format_whitelist` of https://ffmpeg.org/ffmpeg-formats.html, read 2026-11-23.
"""

import io
from typing import Any

import numpy as np

from serving.worker.extras import need
from serving.worker.wire import Refused, Transcribe

RATE = 16_000
FORMATS = "wav,w64,flac,mp3,ogg,matroska,webm,mov,mp4,aac,aiff,caf,amr"
UNREADABLE = (
    "The audio cannot be read: send a whole wav, flac, mp3, ogg, webm, aac or mp4 file, or bare "
    "samples with `encoding` pcm_s16le."
)


def decode_audio(request: Transcribe, most_seconds: float) -> Any:
    """The recording's samples [n], float32 between -1 and 1.

    Raises: Refused for what is empty, damaged, without sound, or longer than `most_seconds`.
    """
    if not request.audio:
        raise Refused("invalid_request", "The audio has 0 bytes.")
    frames = _bare(request) if request.encoding == "pcm_s16le" else _contained(request.audio)
    parts, count = [], 0
    for samples in frames:
        parts.append(samples)
        count += len(samples)
        if count > most_seconds * RATE:
            message = f"The recording is longer than {most_seconds:g} seconds: send it in parts."
            raise Refused("context_length_exceeded", message)
    if not count:
        raise Refused("invalid_request", "The recording holds no samples.")
    return np.concatenate(parts)


def _contained(audio: bytes) -> Any:
    """Pieces of a file's first stream of sound."""
    av = need("av", "voice")
    options = {"format_whitelist": FORMATS}
    try:
        with av.open(io.BytesIO(audio), container_options=options) as container:
            if not container.streams.audio:
                raise Refused("invalid_request", "The file holds no sound.")
            resampler = _resampler(av)
            for frame in container.decode(container.streams.audio[0]):
                yield from _heard(resampler, frame)
            yield from _heard(resampler, None)
    except (av.FFmpegError, ValueError, OverflowError, IndexError) as error:
        raise Refused("invalid_request", UNREADABLE) from error


def _bare(request: Transcribe) -> Any:
    """Pieces of bare 16-bit samples."""
    av = need("av", "voice")
    if request.sample_rate_hz is None:
        raise Refused("invalid_request", "Bare samples need `sample_rate_hz`.")
    size = 2 * request.channels
    if len(request.audio) % size:
        message = f"{len(request.audio)} bytes are not whole samples of {size} bytes."
        raise Refused("invalid_request", message)
    samples = np.frombuffer(request.audio, "<i2").reshape(-1, request.channels)
    mono = (samples.astype(np.float32).mean(axis=1) / 32768.0)[None]
    frame = av.AudioFrame.from_ndarray(mono, format="flt", layout="mono")
    frame.sample_rate = request.sample_rate_hz
    resampler = _resampler(av)
    try:
        yield from _heard(resampler, frame)
        yield from _heard(resampler, None)
    except (av.FFmpegError, ValueError) as error:
        message = f"Samples at {request.sample_rate_hz} Hz cannot be read."
        raise Refused("invalid_request", message) from error


def _resampler(av: Any) -> Any:
    return av.AudioResampler(format="flt", layout="mono", rate=RATE)


def _heard(resampler: Any, frame: Any) -> Any:
    for made in resampler.resample(frame):
        yield made.to_ndarray().reshape(-1)
