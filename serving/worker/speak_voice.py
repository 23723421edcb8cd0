"""A voice of Piper (VITS in ONNX): phoneme ids in, samples out.

Source: piper's own inference (src/python_run/piper/voice.py of rhasspy/piper, read 2026-11-23): the
scales, and each sentence lifted to full volume.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

PEAK = 32767
QUIETEST = 0.01  # a sentence of silence is not lifted to noise


class _Audio(msgspec.Struct):
    sample_rate: int


class _Espeak(msgspec.Struct):
    voice: str


class _Scales(msgspec.Struct):
    noise_scale: float = 0.667
    length_scale: float = 1.0
    noise_w: float = 0.8


class _Language(msgspec.Struct):
    code: str


class VoiceFile(msgspec.Struct):
    """`<voice>.onnx.json`, as Piper writes it beside the model."""

    audio: _Audio
    espeak: _Espeak
    phoneme_id_map: dict[str, list[int]]
    inference: _Scales = msgspec.field(default_factory=_Scales)
    language: _Language | None = None
    num_speakers: int = 1


def read_voice(file: Path) -> VoiceFile:
    """A voice's description. Raises: ValueError naming the file and what is wrong with it."""
    try:
        found = msgspec.json.decode(file.read_bytes(), type=VoiceFile)
    except (OSError, msgspec.DecodeError) as error:
        message = f"{file.name} does not describe a voice of Piper: {error}"
        raise ValueError(message) from error
    lacking = [mark for mark in "_^$" if mark not in found.phoneme_id_map]
    if lacking or found.num_speakers != 1:
        message = f"{file.name}: voices need one speaker and the marks _ ^ $ among their phonemes"
        raise ValueError(message)
    return found


class Voice:
    """One voice, loaded."""

    def __init__(self, session: Any, about: VoiceFile) -> None:
        """`session` is ONNX Runtime's."""
        self._session, self.about = session, about
        self.rate = about.audio.sample_rate

    def speak(self, ids: list[int], speed: float) -> bytes:
        """Samples of one sentence: 16 bit, little endian, mono, at `rate`."""
        scales = self.about.inference
        (out,) = self._session.run(
            None,
            {
                "input": np.array([ids], dtype=np.int64),
                "input_lengths": np.array([len(ids)], dtype=np.int64),
                "scales": np.array(
                    [scales.noise_scale, scales.length_scale / speed, scales.noise_w],
                    dtype=np.float32,
                ),
            },
        )
        sound = np.asarray(out, dtype=np.float32).reshape(-1)
        lifted = sound * (PEAK / max(QUIETEST, float(np.abs(sound).max(initial=0.0))))
        return np.clip(lifted, -PEAK, PEAK).astype("<i2").tobytes()

    def silence(self, seconds: float) -> bytes:
        """That much of nothing."""
        return bytes(2 * round(seconds * self.rate))
