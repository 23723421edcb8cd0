"""Audio in memory: seconds as decoded, the same sound in every encoding, bad bytes refused."""

from __future__ import annotations

import itertools
import math
import struct
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import audio
from router.core.task import Encoding

ENCODINGS = get_args(Encoding)
RATE = 24_000
BARE = ("pcm_s16le", "mulaw", "alaw")


def tone(seconds: float, hz: float = 440.0, rate: int = RATE) -> bytes:
    wave = (int(9000 * math.sin(2 * math.pi * hz * i / rate)) for i in range(int(seconds * rate)))
    return b"".join(struct.pack("<h", sample) for sample in wave)


def heard(data: bytes, rate: int = RATE) -> audio.Heard:
    return audio.probe(data, encoding="pcm_s16le", sample_rate_hz=rate)


def pitch(data: bytes, rate: int = RATE) -> float:
    """Crossings of zero in the middle of the sound, as Hz."""
    samples = struct.unpack(f"<{len(data) // 2}h", data[: len(data) // 2 * 2])
    middle = samples[len(samples) // 4 : 3 * len(samples) // 4]
    ups = sum(a < 0 <= b for a, b in itertools.pairwise(middle))
    return ups * rate / len(middle)


@pytest.mark.parametrize("to", ENCODINGS)
def test_every_encoding_keeps_the_sound_and_its_length(to: Encoding) -> None:
    made, rate = audio.recode(tone(2.0), heard(tone(2.0)), to)
    found = audio.probe(made, encoding=to if to in BARE else "", sample_rate_hz=rate)
    assert found.encoding == to
    assert found.seconds == pytest.approx(2.0, abs=0.1)
    assert found.channels == 1
    back, _ = audio.recode(made, found, "pcm_s16le", sample_rate_hz=RATE)
    assert pitch(back) == pytest.approx(440, rel=0.02)


@pytest.mark.parametrize("to", [e for e in ENCODINGS if e != "mp4"])
@pytest.mark.parametrize("piece", [1, 999, 100_000])
def test_a_stream_in_pieces_is_the_same_sound(to: Encoding, piece: int) -> None:
    data = tone(0.5)
    recoder = audio.Recoder(RATE, to)
    made = b"".join(recoder.feed(data[at : at + piece]) for at in range(0, len(data), piece))
    made += recoder.finish()
    found = audio.probe(
        made, encoding=to if to in BARE else "", sample_rate_hz=recoder.sample_rate_hz
    )
    assert found.seconds == pytest.approx(0.5, abs=0.1)
    back, _ = audio.recode(made, found, "pcm_s16le", sample_rate_hz=RATE)
    assert pitch(back) == pytest.approx(440, rel=0.05)


def test_a_stream_gives_bytes_before_its_end() -> None:
    recoder = audio.Recoder(RATE, "mp3")
    assert len(b"".join(recoder.feed(tone(0.2)) for _ in range(5))) > 1000


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
def test_a_rate_is_honoured_where_the_encoding_has_it(rate: int) -> None:
    made, got = audio.recode(tone(1.0), heard(tone(1.0)), "mp3", sample_rate_hz=rate)
    assert got == rate == audio.probe(made).sample_rate_hz


def test_a_rate_that_an_encoding_has_not_is_the_next_one_above() -> None:
    _, got = audio.recode(tone(1.0), heard(tone(1.0)), "ogg_opus", sample_rate_hz=22_050)
    assert got == 24_000


def test_bit_rate_decides_the_size() -> None:
    sizes = [
        len(audio.recode(tone(3.0), heard(tone(3.0)), "mp3", bit_rate=b)[0])
        for b in (32_000, 128_000)
    ]
    assert sizes[1] == pytest.approx(4 * sizes[0], rel=0.1)


@given(st.integers(1, 5), st.sampled_from([8_000, 16_000, 44_100]), st.sampled_from([1, 2]))
def test_whole_seconds_stay_whole(seconds: int, rate: int, channels: int) -> None:
    """A bill rounds up: three seconds must not become a little more than three."""
    bare = bytes(2 * rate * seconds * channels)
    found = audio.probe(bare, encoding="pcm_s16le", sample_rate_hz=rate, channels=channels)
    assert found.seconds == seconds
    for to in ("wav", "flac"):
        again = audio.probe(audio.recode(bare, found, to)[0])
        assert (again.seconds, again.channels) == (seconds, channels)


@given(
    st.binary(max_size=400), st.sampled_from([b"", b"ID3", b"RIFF", b"OggS", b"fLaC", b"\xff\xfb"])
)
def test_any_bytes_are_read_or_refused(data: bytes, start: bytes) -> None:
    try:
        found = audio.probe(start + data)
    except audio.Unreadable as exc:
        assert str(exc).endswith(".")  # noqa: PT017  (either end is right)
    else:
        assert 0 <= found.seconds < 60


def test_a_cut_recording_is_as_long_as_what_is_left() -> None:
    made, _ = audio.recode(tone(4.0), heard(tone(4.0)), "mp3")
    assert audio.probe(made[: len(made) // 2]).seconds == pytest.approx(2.0, abs=0.2)


def test_pictures_are_no_audio() -> None:
    pixel = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    with pytest.raises(audio.Unreadable, match="no sound"):
        audio.probe(pixel)


def test_bare_samples_need_a_rate() -> None:
    with pytest.raises(audio.Unreadable, match="rate"):
        audio.probe(b"1234", encoding="pcm_s16le")


def test_hours_of_silence_are_refused() -> None:
    with pytest.raises(audio.Unreadable, match="longer than"):
        audio.probe(bytes(200_000), encoding="mulaw", sample_rate_hz=10)
