"""Sound as Whisper sees it: the logarithm of its energy in bands of pitch, 100 times a second.

The numbers are those of Transformers' WhisperFeatureExtractor (a test compares them), made without
loading Transformers, which takes seconds.

Source: section 2.2 of https://arxiv.org/abs/2212.04356; filters as librosa's `mel(htk=False,
norm="slaney")`.
"""

from functools import lru_cache
from typing import Any

import numpy as np

RATE = 16_000
WINDOW_SECONDS = 30
SAMPLES = WINDOW_SECONDS * RATE
FFT, HOP = 400, 160
FRAMES = SAMPLES // HOP


@lru_cache
def filters(bands: int) -> Any:
    """Weights [frequencies, bands] of Slaney's mel scale: even below 1 kHz, logarithmic above."""
    edges = _hertz(np.linspace(_mel(0.0), _mel(RATE / 2), bands + 2))
    frequencies = np.linspace(0, RATE / 2, FFT // 2 + 1)
    widths = np.diff(edges)
    slopes = edges[None, :] - frequencies[:, None]
    rising, falling = -slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]
    weights = np.maximum(0.0, np.minimum(rising, falling))
    return weights * (2.0 / (edges[2:] - edges[:-2]))


def _mel(hertz: float) -> float:
    return 3 * hertz / 200 if hertz < 1000 else float(15 + 27 * np.log(hertz / 1000) / np.log(6.4))


def _hertz(mels: Any) -> Any:
    return np.where(mels < 15, 200 * mels / 3, 1000 * np.exp(np.log(6.4) * (mels - 15) / 27))


def log_mel(sound: Any, bands: int) -> Any:
    """[bands, 3000] float32 of up to 30 seconds of sound [n]; what is missing is silence."""
    padded: Any = np.zeros(SAMPLES + FFT, dtype=np.float64)
    half = FFT // 2
    padded[half : half + len(sound)] = sound
    padded[:half] = padded[half + 1 : FFT + 1][::-1]
    padded[-half:] = padded[-FFT - 1 : -half - 1][::-1]
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP][:FRAMES]
    window = np.hanning(FFT + 1)[:-1]
    energy = np.abs(np.fft.rfft(frames * window)) ** 2
    log = np.log10(np.maximum(energy @ filters(bands), 1e-10))
    return ((np.maximum(log, log.max() - 8.0) + 4.0) / 4.0).T.astype(np.float32)
