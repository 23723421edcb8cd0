"""A client's recording: what it is, within the vendor's limits, as the body says it is.

Source: https://cloud.google.com/speech-to-text/quotas (a request holds one minute, 10 MB),
https://cloud.google.com/speech-to-text/docs/encoding; read 2026-11-23.
"""

from __future__ import annotations

import msgspec

from router import audio
from router.core.errors import BadRequest

from .forms import BARE

SECONDS = 60.0
"""Length of one recording at most."""
SIZE = 10 * 1024 * 1024
"""Bytes of one recording at most."""
CHANNELS = 8
_RATES = range(8_000, 48_001)


class Said(msgspec.Struct, frozen=True):
    """What a body says of its recording; "", 0: nothing."""

    encoding: str
    """The hub's name."""
    rate: int
    channels: int
    at: str
    """Where the body says it."""


def hear(data: bytes, said: Said) -> audio.Heard:
    """What *data* is. Raises BadRequest, also when it is not what was *said*."""
    if not data:
        raise _wrong(said, "is empty: send the audio in base64", "audio.content", "empty")
    if len(data) > SIZE:
        raise _wrong(said, f"is over {SIZE} bytes: split it", "audio.content", "audio_too_long")
    if said.rate and said.rate not in _RATES:
        raise _wrong(said, f"is {said.rate}; it must be 8000 to 48000", "sampleRateHertz")
    if not 0 <= said.channels <= CHANNELS:
        raise _wrong(said, f"is {said.channels}; it must be 1 to {CHANNELS}", "audioChannelCount")
    bare = said.encoding in BARE and not data.startswith(b"RIFF")
    if bare and not said.rate:
        raise _wrong(said, "is missing: bare samples do not say it", "sampleRateHertz")
    try:
        heard = audio.probe(
            data,
            encoding=said.encoding if bare else "",
            sample_rate_hz=said.rate or None,
            channels=said.channels or 1,
        )
    except audio.Unreadable as exc:
        raise BadRequest(f"The audio: {exc}", param="audio.content", code="invalid_audio") from exc
    if heard.seconds > SECONDS:
        raise _wrong(
            said, f"is {heard.seconds:.1f} s long; at most {SECONDS:.0f} s are taken: split it",
            "audio.content", "audio_too_long",
        )  # fmt: skip
    if not bare:
        _agree(heard, said)
    return heard


def _agree(heard: audio.Heard, said: Said) -> None:
    """A container says itself what it holds. Raises BadRequest when the body says otherwise."""
    if said.encoding not in BARE | {""} and heard.encoding != said.encoding:
        raise _wrong(said, f"says {said.encoding}, the audio is {heard.encoding}", "encoding")
    if heard.encoding not in {"wav", "flac"}:
        return
    if said.rate and said.rate != heard.sample_rate_hz:
        raise _wrong(
            said,
            f"is {said.rate}, the audio says {heard.sample_rate_hz}: leave it out, or say the same",
            "sampleRateHertz",
        )
    if said.channels and said.channels != heard.channels:
        raise _wrong(
            said, f"is {said.channels}, the audio has {heard.channels}", "audioChannelCount"
        )


def _wrong(said: Said, what: str, field: str, code: str = "invalid_value") -> BadRequest:
    where = f"{said.at}.{field}" if "." not in field else field
    return BadRequest(f"`{where}` {what}.", param=where, code=code)
