"""`output_format` of this wire: codec, samples a second and, where it has one, kilobits a second.

Source: TextToSpeechConvertRequestOutputFormat of the vendor's Python SDK 2.78, read 2026-11-23.
"""

from __future__ import annotations

import msgspec

from router.core.task import Encoding, SpeakRequest

_CODECS: dict[str, Encoding] = {
    "mp3": "mp3",
    "pcm": "pcm_s16le",
    "wav": "wav",
    "opus": "ogg_opus",
    "ulaw": "mulaw",
    "alaw": "alaw",
}
_NAMES = (
    *("mp3_22050_32", "mp3_24000_48"),
    *(f"mp3_44100_{kilobits}" for kilobits in (32, 64, 96, 128, 192)),
    *(f"pcm_{rate}" for rate in (8000, 16000, 22050, 24000, 32000, 44100, 48000)),
    *(f"wav_{rate}" for rate in (8000, 16000, 22050, 24000, 32000, 44100, 48000)),
    *(f"opus_48000_{kilobits}" for kilobits in (32, 64, 96, 128, 192)),
    *("ulaw_8000", "alaw_8000"),
)


class Format(msgspec.Struct, frozen=True):
    """One output format."""

    name: str
    encoding: Encoding
    sample_rate_hz: int
    bit_rate: int | None


def _read(name: str) -> Format:
    codec, rate, *kilobits = name.split("_")
    return Format(name, _CODECS[codec], int(rate), int(kilobits[0]) * 1000 if kilobits else None)


FORMATS: dict[str, Format] = {name: _read(name) for name in _NAMES}
_USUAL: dict[str, str] = {
    "mp3": "mp3_44100_128",
    "ogg_opus": "opus_48000_128",
    # Every plan has it; 44.1 kHz needs one of the dearer ones.
    "pcm_s16le": "pcm_24000",
    "mulaw": "ulaw_8000",
    "alaw": "alaw_8000",
}
ENCODINGS = frozenset(_USUAL)
"""What is asked for. WAV is not among them: streams have none, and PCM is the same sound."""


def format_of(request: SpeakRequest) -> Format:
    """The format of its encoding that is nearest to what *request* wants, never below where it can.

    Its encoding is one of ENCODINGS.
    """
    usual = FORMATS[_USUAL[request.encoding]]
    if request.sample_rate_hz is None and request.bit_rate is None:
        return usual
    rate, bits = request.sample_rate_hz or usual.sample_rate_hz, request.bit_rate or 0
    mine = [f for f in FORMATS.values() if f.encoding == request.encoding]
    if request.bit_rate is None:
        # Of several bit rates the usual one, where it exists.
        bits = usual.bit_rate or 0
    return min(mine, key=lambda f: (_short(f.sample_rate_hz, rate), _short(f.bit_rate or 0, bits)))


def _short(offered: int, wanted: int) -> tuple[bool, int]:
    """Sorts what is enough before what is not, each by its distance."""
    return offered < wanted, abs(offered - wanted)
