"""The sandbox's voice: text as tones that its own ear can read back, through any codec it speaks.

Each byte of the text (UTF-8) is two tones at once, one of 16 low ones and one of 16 high ones, as a
telephone dials, for a fifteenth of a second at normal speed. Before them a rising chirp says where
they begin, and a head of eight bytes at normal speed how many follow, how long each lasts and what
their CRC-32 is, so that nothing else is ever taken for the voice. All of it fits into 300 to
3700 Hz, so that even a telephone line (mu-law, 8 kHz) carries it.
"""

import struct
from functools import lru_cache
from math import pi, sin
from typing import Any
from zlib import crc32

import numpy as np

from load_tests.sandbox.media import HEARD_RATE, RATE

SYMBOL = 67  # milliseconds of one byte at normal speed
CHIRP = 150  # milliseconds
LOWEST, STEP, GAP = 500.0, 90.0, 300.0  # Hz: the first tone, between two, between the groups
HEAD = struct.Struct(">HHI")  # how many bytes, milliseconds of each, their CRC-32
LOUD, FADE = 9000, 3  # amplitude of one tone; milliseconds
MOST = 65535  # bytes of a text that one voice says; a longer one is cut
SHORTEST = 20  # milliseconds of a byte, however fast: Opus blurs shorter ones
Samples = Any  # a numpy array: numpy's types are not checked here

TONES = [LOWEST + STEP * n for n in range(16)]
TONES += [TONES[15] + GAP + STEP * n for n in range(16)]
BINS = 800  # of the Fourier transform: one each 10 Hz, and every tone is a multiple of that
TONE_BINS = [round(tone * BINS / HEARD_RATE) for tone in TONES]


def seconds_of(text: str, speed: float = 1.0) -> float:
    """How long the voice takes."""
    size = min(len(text.encode()), MOST)
    return (CHIRP + HEAD.size * SYMBOL + size * _length(speed)) / 1000


def say(text: str, speed: float = 1.0) -> bytes:
    """The text as sound (mono, 24 kHz, 16 bits)."""
    data = text.encode()[:MOST]
    length = _length(speed)
    head = HEAD.pack(len(data), length, crc32(data))
    parts = [_chirp(RATE).tobytes(), *(_symbol(one, SYMBOL) for one in head)]
    return b"".join([*parts, *(_symbol(one, length) for one in data)])


def listen(samples: bytes) -> str | None:
    """The text of the sandbox's own voice (16 bits at 8 kHz), or None when it is another's."""
    heard = np.frombuffer(samples, "<i2").astype(np.float32)
    start = _start(heard)
    if start is None:
        return None
    head = _read(heard, start, HEAD.size, SYMBOL)
    if head is None:
        return None
    size, length, check = HEAD.unpack(head)
    if length < SHORTEST:
        return None
    data = _read(heard, start + HEAD.size * SYMBOL * HEARD_RATE / 1000, size, length)
    if data is None or crc32(data) != check:
        return None
    return data.decode("utf-8", "replace")


def silent(samples: bytes) -> bool:
    """True when nothing can be heard."""
    heard = np.frombuffer(samples, "<i2")
    return not heard.size or int(np.abs(heard.astype(np.int32)).max()) < 64


def _length(speed: float) -> int:
    return max(round(SYMBOL / speed), SHORTEST)


@lru_cache(maxsize=4096)
def _symbol(byte: int, length: int) -> bytes:
    count = RATE * length // 1000
    fade = RATE * FADE // 1000
    low, high = TONES[byte & 15], TONES[16 + (byte >> 4)]
    out = []
    for at in range(count):
        edge = min(1.0, at / fade, (count - at) / fade)
        both = sin(2 * pi * low * at / RATE) + sin(2 * pi * high * at / RATE)
        out.append(int(LOUD * edge * both))
    return struct.pack(f"<{count}h", *out)


@lru_cache(maxsize=2)
def _chirp(rate: int) -> Samples:
    count = rate * CHIRP // 1000
    t = np.arange(count) / rate
    sweep = np.sin(2 * np.pi * (400 * t + (3300 - 400) / (2 * CHIRP / 1000) * t**2))
    return (LOUD * 2 * sweep * np.hanning(count)).astype("<i2")


def _start(heard: Samples) -> int | None:
    """Where the chirp ends, in samples; it is looked for in the first two seconds."""
    chirp = _chirp(HEARD_RATE).astype(np.float32)
    part = heard[: 2 * HEARD_RATE]
    if len(part) <= len(chirp):
        return None
    size = len(part) + len(chirp)  # correlation by the Fourier transform, without wrapping round
    spectrum = np.fft.rfft(part, size) * np.conj(np.fft.rfft(chirp, size))
    match = np.abs(np.fft.irfft(spectrum, size))[: len(part) - len(chirp) + 1]
    at = int(match.argmax())
    energy = np.sqrt(np.sum(part[at : at + len(chirp)] ** 2) * np.sum(chirp**2))
    return at + len(chirp) if energy and match[at] / energy > 0.5 else None


def _read(heard: Samples, start: float, size: int, length: int) -> bytes | None:
    """That many bytes from there on; None when the sound ends before."""
    step = HEARD_RATE * length / 1000
    window = min(int(step * 0.7), BINS)
    firsts = (start + step * np.arange(size) + step * 0.15).astype(np.int64)
    if size and firsts[-1] + window > len(heard) + step / 2:
        return None
    heard = np.pad(heard, (0, window + int(step)))
    frames = heard[firsts[:, None] + np.arange(window)] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames, BINS)[:, TONE_BINS])
    low, high = power[:, :16].argmax(axis=1), power[:, 16:].argmax(axis=1)
    return bytes((high * 16 + low).astype(np.uint8).tolist())
