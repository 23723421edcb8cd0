"""The sandbox's voice and ear, through every codec; what is not its voice is never taken for it."""

import math
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from load_tests.sandbox.answers import Answers, Audio
from load_tests.sandbox.hearing import UNTOLD, transcribe
from load_tests.sandbox.media import RATE, Form, Unreadable, hear, look, write
from load_tests.sandbox.tones import listen, say, seconds_of, silent

FORMS = [
    Form("mp3", "libmp3lame", 22050, 32000),
    Form("mp3", "libmp3lame", 44100, 128000),
    Form("adts", "aac", RATE, 64000),
    Form("ogg", "libopus", 48000, 32000),
    Form("webm", "libopus", 48000, 24000),
    Form("flac", "flac", RATE),
    Form("wav", "pcm_s16le", 8000),
    Form("mulaw", "pcm_mulaw", 8000),
    Form("s16le", "pcm_s16le", 44100),
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def bare(form: Form) -> str:
    return form.container if form.container in ("mulaw", "s16le") else ""


@settings(max_examples=6, deadline=None)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.container}-{form.rate}")
@given(text=TEXTS, speed=st.sampled_from([0.5, 1.0, 2.0, 4.0]))
def test_every_text_is_heard_as_it_was_said(form, text, speed):
    sound = hear(write(say(text, speed), form), bare(form), form.rate)
    assert listen(sound.samples) == text
    assert sound.seconds == pytest.approx(seconds_of(text, speed), abs=0.1)


def test_normal_speed_is_about_fifteen_characters_a_second():
    assert 14 < 1000 / (seconds_of("a" * 1000) - seconds_of("")) < 16


def test_a_voice_that_starts_late_is_heard():
    quiet = b"\0\0" * RATE
    sound = hear(write(quiet + say("late") + quiet, FORMS[0]))
    assert listen(sound.samples) == "late"


def test_a_voice_that_is_cut_or_changed_is_not_heard():
    pcm = say("a sentence of some length")
    changed = pcm[: len(pcm) // 2] + say("x")[: RATE // 4] + pcm[len(pcm) // 2 + RATE // 4 :]
    for other in (pcm[: len(pcm) * 2 // 3], changed):
        assert listen(hear(write(other, FORMS[5])).samples) is None


@given(st.integers(0, 9))
@settings(max_examples=5, deadline=None)
def test_noise_and_tones_of_others_are_not_heard(seed):
    chance = random.Random(seed)
    tone = chance.uniform(200, 3000)
    for sample in (
        lambda at: chance.randint(-20000, 20000),
        lambda at: int(9000 * math.sin(at * tone / 4000)),
    ):
        samples = struct.pack("<16000h", *(sample(at) for at in range(16000)))
        assert listen(samples) is None
        assert not silent(samples)


def test_silence_is_silent_and_says_nothing():
    quiet = write(b"\0\0" * RATE, FORMS[5])
    assert transcribe(quiet, Answers()).text == ""
    assert silent(b"")


def test_what_was_told_comes_before_what_is_heard():
    audio = write(say("own voice"), FORMS[5])
    assert transcribe(audio, Answers()).text == "own voice"
    told = Answers(audio=[Audio("*", "anything"), Audio("0" * 64, "nothing")])
    assert transcribe(audio, told).text == "anything"
    noise = struct.pack("<24000h", *((at * 7919) % 20000 - 10000 for at in range(24000)))
    assert transcribe(write(noise, FORMS[5]), Answers()).text == UNTOLD


@given(st.text(max_size=60))
@settings(max_examples=20, deadline=None)
def test_words_and_segments_cover_the_recording_in_order(text):
    sound = hear(write(b"\0\0" * RATE * 2, FORMS[5]))
    heard = transcribe(write(b"\0\0" * RATE * 2, FORMS[5]), Answers(audio=[Audio("*", text)]))
    for spans in (heard.words(), heard.segments()):
        assert "".join("".join(one.text for one in spans).split()) == "".join(text.split())
        times = [time for one in spans for time in (one.start, one.end)]
        assert times == sorted(times)
        assert not times or (times[0], times[-1]) == (0, pytest.approx(sound.seconds))


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_bytes_that_are_no_media_are_unreadable_or_read(data):
    for read in (hear, look):
        try:
            read(data)
        except Unreadable:
            continue
