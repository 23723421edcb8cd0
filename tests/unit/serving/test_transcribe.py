"""Transcribing, without a model's weights: decoding, spectrogram, windows, words, wire."""

import base64
import json
import threading
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_makers import (
    RATE,
    FakeVocabulary,
    FakeWhisper,
    as_container,
    at,
    drive,
    encoded,
    said,
    tone,
)

from serving.worker.engine import Watch
from serving.worker.rounds import Job, Rounds
from serving.worker.settings import Settings
from serving.worker.transcribe_audio import decode_audio
from serving.worker.transcribe_handler import TranscribeHandler
from serving.worker.transcribe_windows import Recording, cut, repeats, skip_silence
from serving.worker.whisper import Guess
from serving.worker.whisper_mel import log_mel
from serving.worker.whisper_words import group_tokens, words_of
from serving.worker.wire import Refused, Transcribe

VOCABULARY = FakeVocabulary()
SWEEP = np.sin(np.cumsum(np.linspace(0.05, 0.4, 3 * RATE))).astype(np.float32) * 0.4


@pytest.fixture
def serve():
    made = []

    def start(script, **options):
        handler = TranscribeHandler()
        known = {"max_batch", "max_seconds"}
        own = {key: options.pop(key) for key in list(options) if key in known}
        settings = Settings(name="w", task=("transcribe",), piece_seconds=0.05, **own)
        handler.open(settings, FakeWhisper(script, **options), VOCABULARY)
        made.append(handler)
        return handler

    yield start
    for handler in made:
        handler.rounds.close()


@pytest.mark.parametrize(
    ("form", "codec", "rate"),
    [
        ("wav", "pcm_s16le", 44_100),
        ("flac", "flac", 22_050),
        ("mp3", "libmp3lame", 44_100),
        ("ogg", "libopus", 48_000),
        ("webm", "libopus", 48_000),
        ("adts", "aac", 44_100),
        ("mp4", "aac", 48_000),
    ],
)
def test_each_container_is_heard_alike(form, codec, rate):
    """The sound that comes out is the one that went in, at 16 kHz."""
    time = np.arange(3 * rate) / rate
    phase = 2 * np.pi * (200 * time + 150 * time**2)
    heard = decode_audio(Transcribe(audio=as_container(0.4 * np.sin(phase), rate, form, codec)), 60)
    assert heard.dtype == np.float32
    assert len(heard) / RATE == pytest.approx(3.0, abs=0.15)
    time = np.arange(3 * RATE) / RATE
    expected = 0.4 * np.sin(2 * np.pi * (200 * time + 150 * time**2))
    # Encoders shift by some milliseconds: the best match within 0.1 s.
    best = max(
        np.corrcoef(heard[shift : shift + 2 * RATE], expected[: 2 * RATE])[0, 1]
        for shift in range(1600)
    )
    assert best > 0.97


@given(
    st.integers(1, 8),
    st.sampled_from([8000, 11_025, 16_000, 44_100, 48_000]),
    st.floats(0.05, 0.5),
)
def test_bare_samples_are_heard_at_any_rate(channels, rate, seconds):
    """All channels are mixed; the length stays."""
    mono = (np.sin(np.arange(round(seconds * rate)) / 7) * 9000).astype("<i2")
    raw = np.repeat(mono[:, None], channels, axis=1).tobytes()
    request = Transcribe(audio=raw, encoding="pcm_s16le", sample_rate_hz=rate, channels=channels)
    heard = decode_audio(request, 60)
    assert abs(len(heard) / RATE - len(mono) / rate) < 0.01
    if rate == RATE:
        assert np.allclose(heard, mono / 32768, atol=1e-6)


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        ({"audio": b""}, "invalid_request", "0 bytes"),
        ({"audio": b"abc" * 500}, "invalid_request", "cannot be read"),
        ({"audio": tone(1)[:40]}, "invalid_request", ""),
        ({"audio": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"}, "invalid_request", "cannot"),
        ({"audio": b"ffconcat version 1.0\nfile /etc/passwd\n"}, "invalid_request", "cannot"),
        ({"audio": bytes(10), "encoding": "pcm_s16le"}, "invalid_request", "sample_rate_hz"),
        (
            {"audio": bytes(3), "encoding": "pcm_s16le", "sample_rate_hz": 8000},
            "invalid_request",
            "whole samples",
        ),
        ({"audio": tone(12)}, "context_length_exceeded", "longer than 10 seconds"),
    ],
)
def test_what_cannot_be_heard_is_refused(request_, code, words):
    """With the reason."""
    with pytest.raises(Refused) as caught:
        decode_audio(Transcribe(**request_), 10)
    assert caught.value.code == code
    assert words in caught.value.message


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"ID3\x04", b"\x1aE\xdf\xa3"]),
)
def test_no_bytes_break_the_decoder(raw, head):
    """They are sound or refused, nothing else."""
    try:
        heard = decode_audio(Transcribe(audio=head + raw), 10)
    except Refused:
        return
    assert heard.dtype == np.float32


@pytest.mark.parametrize(("count", "bands"), [(480_000, 80), (100_000, 128), (7, 80)])
def test_the_spectrogram_is_that_of_transformers(count, bands):
    """Number for number."""
    from transformers import WhisperFeatureExtractor

    sound = np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)
    theirs = WhisperFeatureExtractor(feature_size=bands)(sound, sampling_rate=RATE)
    assert np.allclose(log_mel(sound, bands), theirs["input_features"][0], atol=1e-3)


def recording(seconds: float, loud: bool = True) -> bytes:
    return tone(seconds) if loud else bytes(0)


def test_texts_times_and_words(serve):
    """As asked for, and no more; the language is found where it was not named."""
    handler = serve(
        [
            said(" hi, you"),
            [at(0), *said(" hi"), at(1), at(1.5), *said(" you"), at(2)],
            said(" hi, you"),
        ]
    )
    sound = encoded(tone(2))
    bodies = []
    for extra in (
        {},
        {"timestamps": "segment", "language": "pt-BR"},
        {"timestamps": "word", "language": "en"},
    ):
        (body,), status = drive(handler, [{"task": "transcribe", "audio": sound, **extra}])
        assert status == [200]
        bodies.append(json.loads(body))
    plain, segments, words = bodies
    base = {"text": "hi, you", "seconds": 2.0, "usage": {"seconds": 2.0}, "model": "w"}
    assert plain == {**base, "language": "de", "segments": [], "words": []}
    assert segments == {
        **base, "text": "hi you", "language": "pt", "words": [],
        "segments": [{"start": 0.0, "end": 1.0, "text": "hi"}, {"start": 1.5, "end": 2.0, "text": "you"}],
    }  # fmt: skip
    # A token every 0.2 s, by the stand-in.
    assert words["words"] == [
        {"start": 0.0, "end": 0.8, "text": "hi,"}, {"start": 0.8, "end": 1.6, "text": "you"},
    ]  # fmt: skip
    assert [s["text"] for s in words["segments"]] == ["hi, you"]
    v = VOCABULARY
    assert handler._whisper.prompts == [
        [v.start, 100_003, v.transcribe, v.no_times],
        [v.start, 100_004, v.transcribe],
        [v.start, 100_002, v.transcribe, v.no_times],
    ]


def test_long_recordings_go_on_where_a_sentence_ended(serve):
    """The unfinished sentence is heard again in the next window; times count from the start."""
    first = [at(0), *said(" one"), at(20), at(20), *said(" tw")]
    second = [at(0), *said(" two"), at(12), at(14), *said(" three"), at(19)]
    handler = serve([first, second])
    ask = {"task": "transcribe", "audio": encoded(tone(40)), "timestamps": "segment"}
    (body,), _ = drive(handler, [ask])
    answer = json.loads(body)
    assert answer["text"] == "one two three"
    assert [(s["start"], s["end"]) for s in answer["segments"]] == [(0, 20), (20, 32), (34, 39)]
    assert answer["seconds"] == 40.0


def test_silence_is_empty_and_never_shown_to_the_model(serve):
    """Nor is a faint hum; a window that the model doubts is left out."""
    quiet = (np.sin(np.arange(40 * RATE)) * 20).astype("<i2").tobytes()
    bare = {"task": "transcribe", "encoding": "pcm_s16le", "sample_rate_hz": RATE}
    handler = serve([])
    (a, b), status = drive(
        handler,
        [
            {**bare, "audio": encoded(bytes(2 * RATE))},
            {**bare, "audio": encoded(quiet), "timestamps": "segment"},
        ],
    )
    assert status == [200, 200]
    assert handler._whisper.passes == []
    assert (json.loads(a)["text"], json.loads(a)["seconds"]) == ("", 1.0)
    assert json.loads(b)["segments"] == []
    doubtful = serve([Guess(said(" you"), -1.5, 0.9)])
    (c,), _ = drive(doubtful, [{"task": "transcribe", "audio": encoded(tone(1))}])
    assert json.loads(c)["text"] == ""


def test_what_goes_round_in_circles_is_heard_again(serve):
    """With more chance each time; the last try counts."""
    circle = said(" la la" * 30)
    handler = serve([circle, circle, said(" fine")])
    (body,), _ = drive(handler, [{"task": "transcribe", "audio": encoded(tone(1))}])
    assert json.loads(body)["text"] == "fine"
    assert handler._whisper.temperatures == [0.0, 0.4, 0.8]
    assert repeats(" la la" * 30)
    assert not repeats("a text like many others, with words that differ")


def test_recordings_share_passes_and_bad_ones_fail_alone(serve):
    """Four windows in one pass; refusals have their own 400."""
    handler = serve([], max_batch=4)
    gate = threading.Event()
    encode = handler._whisper.encode
    handler._whisper.encode = lambda mels: (gate.wait(10), encode(mels))[1]
    good = {"task": "transcribe", "audio": encoded(tone(1)), "language": "en"}
    asks = [
        good,
        {**good, "audio": "!"},
        {**good, "language": "xx"},
        {**good, "audio": ""},
        good,
        good,
    ]
    threading.Timer(0.2, gate.set).start()
    bodies, status = drive(handler, asks)
    assert status == [200, 400, 400, 400, 200, 200]
    assert [json.loads(b).get("code") for b in bodies[1:4]] == [
        "invalid_request",
        "unsupported",
        "invalid_request",
    ]
    assert sum(handler._whisper.passes) == 3
    assert max(handler._whisper.passes) >= 2


def test_one_that_breaks_the_engine_fails_alone(serve):
    """Its neighbours of the same pass are tried again without it."""
    handler = serve([said(" ok")] * 9, faulty=lambda mel: float(mel.max()) < 1.2, max_batch=4)
    loud = {"task": "transcribe", "audio": encoded(tone(1)), "language": "en"}
    noise = (np.random.default_rng(0).normal(0, 3000, RATE)).astype("<i2").tobytes()
    other = {**loud, "audio": encoded(noise), "encoding": "pcm_s16le", "sample_rate_hz": RATE}
    mel_of_noise = log_mel(np.frombuffer(noise, "<i2") / 32768, 80).max()
    mel_of_tone = log_mel(np.sin(np.arange(RATE) * 2 * np.pi * 440 / RATE) * 9000 / 32768, 80).max()
    middle = (mel_of_noise + mel_of_tone) / 2
    handler._whisper.faulty = lambda mel: float(mel.max()) < middle
    (a, b, c), _ = drive(handler, [loud, other, loud])
    assert json.loads(a)["text"] == json.loads(c)["text"] == "ok"
    assert json.loads(b)["error"]["code"] == "engine_failed"


def test_english_models_know_english_only(serve):
    """They are not told a language, and do not name another."""
    handler = serve([said(" hello")], multilingual=False)
    ask = {"task": "transcribe", "audio": encoded(tone(1))}
    (good, bad), status = drive(handler, [{**ask, "language": "en-GB"}, {**ask, "language": "de"}])
    assert status == [200, 400]
    assert json.loads(good)["language"] == "en"
    assert json.loads(bad)["code"] == "unsupported"
    assert handler._whisper.prompts == [[VOCABULARY.start, VOCABULARY.no_times]]


@pytest.mark.parametrize(
    ("tag", "name"), [("nb-NO", "no"), ("fil", "tl"), ("EN-us", "en"), ("pt-BR", "pt")]
)
def test_languages_are_bcp_47(tag, name):
    """Whisper has other names for some."""
    assert VOCABULARY.language(tag, multilingual=True) == name


pieces = st.lists(
    st.one_of(st.integers(97, 122), st.integers(105_000, 106_500)), min_size=1, max_size=40
)


@given(pieces, st.floats(0.02, 30.0))
def test_windows_always_move_on(tokens, seconds):
    """Whatever the model says: forward, within the window, sentences inside it and in order."""
    parts, moved = cut(tokens, seconds, VOCABULARY)
    assert 0 < moved <= seconds
    assert all(0 <= part.start <= seconds and 0 <= part.end <= seconds for part in parts)
    flat = [token for part in parts for token in part.tokens]
    assert flat == tokens[: len(flat)]


@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 70)), min_size=1, max_size=4))
def test_skipping_silence_loses_no_sound(stretches):
    """It stops before the first window that holds any."""
    sound = np.concatenate(
        [np.full(round(s * RATE), 0.1 if loud else 0.0, np.float32) for loud, s in stretches]
    )
    one = Recording(sound, None, known=True, times="none")
    skip_silence(one)
    assert not np.any(sound[: one.at])
    assert one.heard or np.any(one.window)


def test_words_by_spaces_and_by_characters():
    """Marks stay with their word; a language without spaces is cut at characters."""
    text = VOCABULARY.text
    groups = group_tokens(said(" hi, (you) don't"), text, spaced=True)
    assert ["".join(map(chr, g)) for g in groups] == [" hi,", " (you)", " don't"]
    groups = group_tokens(said("「春です。"), text, spaced=False)
    assert ["".join(map(chr, g)) for g in groups] == ["「春", "で", "す。"]
    assert words_of([], [], text, "en") == []


@given(st.text(alphabet=" abc,.(-日。「", max_size=30), st.booleans())
def test_words_lose_no_token(text, spaced):
    """Their concatenation is what was said."""
    tokens = said(text)
    assert [*chain(*group_tokens(tokens, VOCABULARY.text, spaced=spaced))] == tokens


def test_rounds_forget_who_left():
    """A job that was cancelled takes no further turn; the others go on."""
    watch, turns, paused = Watch(), [], threading.Event()

    def step(turn):
        for job in turn:
            turns.append(job.state["name"])
            job.state["left"] -= 1
            if job.state["name"] == "gone":
                job.cancel()
            if not job.state["left"]:
                job.end()
                paused.set()

    rounds = Rounds(step, most=1)
    gone, stays = (Job({"name": name, "left": 3}, watch) for name in ("gone", "stays"))
    rounds.start([gone, stays])
    assert paused.wait(10)
    rounds.close()
    assert turns == ["gone", "stays", "stays", "stays"]
    assert not gone.over


def test_base64_is_read_by_the_wire():
    """What is not base64 is refused before any decoder sees it."""
    raw = base64.b64encode(tone(0.1)).decode()
    import msgspec

    assert msgspec.convert({"task": "transcribe", "audio": raw}, Transcribe).audio == tone(0.1)
