# ruff: noqa: RUF001 - phonemes look like letters
"""Speaking, without a voice's weights: sentences, phonemes, turns, wire."""

import base64
import io
import json
import sys
import wave
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_makers import drive

from serving.worker.onnx_session import providers
from serving.worker.settings import Settings
from serving.worker.speak_answer import wav
from serving.worker.speak_espeak import MISSING
from serving.worker.speak_handler import PHONEMES, SpeakHandler, mostly_foreign, open_voices
from serving.worker.speak_phonemes import Espeak, ids, phonemes
from serving.worker.speak_sentences import sentences
from serving.worker.speak_voice import Voice, VoiceFile, read_voice

KNOWN = {mark: [at] for at, mark in enumerate("_^$ ,.!?:;abcdefgh")}
# As eSpeak NG 1.51 says `en-us`: phonemes and the text that they stand for.
RECORDED = {
    "Dr. Smith went home, at 3.14 p.m.": [
        ("dˈɑːktɚ", "Dr. "),
        ("smˈɪθ wɛnt hˈoʊm", "Smith went home, "),
        ("æt θɹˈiː pɔɪnt wˈʌn fˈoːɹ pˌiːˈɛm", "at 3.14 p.m."),
    ],
    "“Is it so?”": [("ɪz ɪt sˈoʊ", "“Is it so?”")],
    "…": [("", "…")],
    "déjà vu!": [("deɪʒˌɑː(fr)vˈuː(en-us)", "déjà vu!")],
}


class FakeClauses:
    """Each word is its own letters; `boom` breaks the program."""

    def clauses(self, texts):
        if any("boom" in text for text in texts):
            raise RuntimeError("The program for phonemes ended while it read this text.")
        return [[(text.strip(".!?… ").lower(), text)] for text in texts]


class FakeSession:
    """A sample for each id, louder and louder; keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def run(self, outputs, inputs):
        assert inputs["input"].shape == (1, int(inputs["input_lengths"][0]))
        self.asked.append(inputs)
        length = round(inputs["input"].size * float(inputs["scales"][1]) * 10)
        return [np.linspace(-0.2, 0.1, length, dtype=np.float32)[None, None, None]]


def about(**changes):
    base = {"audio": {"sample_rate": 1000}, "espeak": {"voice": "en-us"}, "phoneme_id_map": KNOWN}
    return base | changes


@pytest.fixture
def spoken():
    import msgspec

    session = FakeSession()
    voice = Voice(session, msgspec.convert(about(), VoiceFile))
    handler = SpeakHandler()
    settings = Settings(name="joe", task=("speak",), context=200, piece_seconds=0.05)
    handler.open(settings, {"a": (voice, FakeClauses()), "b": (voice, FakeClauses())})
    yield handler, session
    handler.rounds.close()


@given(st.text(max_size=300), st.integers(min_value=5, max_value=60))
def test_sentences_lose_nothing(text, longest):
    """Joined they are the text without white space; none is longer than asked or empty."""
    found = sentences(text, longest)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(0 < len(part) <= longest for part in found)


def test_sentences_end_where_a_reader_breathes():
    """Not after a title or an initial, nor inside a number."""
    text = "Dr. Smith paid 3.50 to J. Doe. Why? “Because!” he said. 春です。夏です。\n\nThe end"
    assert sentences(text) == [
        "Dr. Smith paid 3.50 to J. Doe.",
        "Why?",
        "“Because!” he said.",
        "春です。",
        "夏です。",
        "The end",
    ]
    assert sentences("one, two, three four", 11) == ["one, two,", "three four"]


def test_clauses_become_phonemes_with_their_marks():
    """An abbreviation's full stop is no mark, notes of other languages are left out."""
    found = {text: phonemes(clauses) for text, clauses in RECORDED.items()}
    assert found["Dr. Smith went home, at 3.14 p.m."] == (
        "dˈɑːktɚ smˈɪθ wɛnt hˈoʊm, æt θɹˈiː pɔɪnt wˈʌn fˈoːɹ pˌiːˈɛm."
    )
    assert found["“Is it so?”"] == "ɪz ɪt sˈoʊ?"
    assert found["…"] == ""
    assert found["déjà vu!"] == "deɪʒˌɑːvˈuː!"


def test_ids_are_those_of_piper():
    """Start, a blank after each phoneme, end; unknown phonemes are left out."""
    assert ids("ab☃!", KNOWN) == [1, 0, 10, 0, 11, 0, 6, 0, 2]


def test_whole_and_streamed_say_the_same(spoken):
    """Beside requests that are refused, and one whose text breaks the program."""
    handler, _ = spoken
    text = "Abc def. Bad egg! A?"
    asks = [
        {"task": "speak", "text": text},
        {"task": "speak", "text": text, "encoding": "pcm_s16le"},
        {"task": "speak", "text": text, "stream": True},
        {"task": "speak", "text": "…"},
        {"task": "speak", "text": "a", "voice": "c"},
        {"task": "speak", "text": "a", "speed": 9},
        {"task": "speak", "text": "a" * 201},
        {"task": "speak", "text": "привет"},
        {"task": "speak", "text": "a", "pitch": 1},
        {"task": "speak", "text": "boom"},
    ]
    bodies, status = drive(handler, asks)
    assert status == [200, 200, 200, 400, 400, 400, 400, 400, 400, 200]
    whole, bare = json.loads(bodies[0]), json.loads(bodies[1])
    with wave.open(io.BytesIO(base64.b64decode(whole["audio"]))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (1000, 1, 2)
        samples = file.readframes(file.getnframes())
    assert base64.b64decode(bare["audio"]) == samples
    head, *pieces, last = [json.loads(line) for line in bodies[2].splitlines()]
    assert head == {"encoding": "pcm_s16le", "sample_rate_hz": 1000}
    assert len(pieces) == 3
    assert b"".join(base64.b64decode(piece["audio"]) for piece in pieces) == samples
    seconds = len(samples) / 2000
    ending = {"seconds": round(seconds, 3), "usage": {"characters": len(text)}, "model": "joe"}
    assert last == {"finish_reason": "stop", **ending}
    expected = {"encoding": "wav", "sample_rate_hz": 1000, **ending}
    assert {k: v for k, v in whole.items() if k != "audio"} == expected
    codes = [json.loads(body)["code"] for body in bodies[3:9]]
    assert codes == [
        "invalid_request", "unsupported", "unsupported",
        "context_length_exceeded", "unsupported", "invalid_request",
    ]  # fmt: skip
    assert "a, b" in json.loads(bodies[4])["message"]
    assert json.loads(bodies[9])["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_speed_shortens_the_sound(spoken, speed):
    """Twice the speed is half the length; the voice's own scale is kept."""
    handler, session = spoken
    (slow, quick), _ = drive(
        handler,
        [{"task": "speak", "text": "abc"}, {"task": "speak", "text": "abc", "speed": speed}],
    )
    assert session.asked[1]["scales"] == pytest.approx([0.667, 1 / speed, 0.8])
    ratio = json.loads(slow)["seconds"] / json.loads(quick)["seconds"]
    assert ratio == pytest.approx(speed, rel=0.05)


def test_digits_are_spoken_in_several_breaths(spoken):
    """No pass of the net is longer than bounded, however long a sentence sounds."""
    handler, session = spoken
    handler._voices = {"a": (handler._voices["a"][0], SimpleNamespace(
        clauses=lambda texts: [[("abcdefgh " * 30 * len(t), t)] for t in texts]
    ))}  # fmt: skip
    _, status = drive(handler, [{"task": "speak", "text": "123456"}])
    assert status == [200]
    assert len(session.asked) > 1
    assert all(asked["input"].size <= 2 * PHONEMES + 3 for asked in session.asked)


def test_a_long_text_does_not_keep_a_short_one_waiting(spoken):
    """The second to come is over after its own sentence, not after the first one's last."""
    handler, session = spoken
    drive(handler, [{"task": "speak", "text": "Abc. " * 30}, {"task": "speak", "text": "hgf"}])
    lengths = [asked["input"].size for asked in session.asked]
    assert lengths.index(len(ids("hgf", KNOWN))) <= 2


def test_sound_is_lifted_to_full_volume_and_silence_is_not():
    """As piper does it."""
    import msgspec

    voice = Voice(FakeSession(), msgspec.convert(about(), VoiceFile))
    samples = np.frombuffer(voice.speak([1, 2, 3], 1.0), "<i2")
    assert np.abs(samples).max() == 32767

    class Mute:
        def run(self, outputs, inputs):
            return [np.full((1, 1, 1, 9), 1e-5, np.float32)]

    quiet = np.frombuffer(Voice(Mute(), voice.about).speak([1], 1.0), "<i2")
    assert np.abs(quiet).max() < 40


@given(st.binary(max_size=64).map(lambda raw: raw[: len(raw) // 2 * 2]), st.integers(1, 96_000))
def test_wav_files_are_whole(samples, rate):
    """Read back by the standard library."""
    with wave.open(io.BytesIO(wav(samples, rate))) as file:
        assert file.getframerate() == rate
        assert file.readframes(file.getnframes()) == samples


@pytest.mark.parametrize(
    ("text", "foreign"),
    [("hello", False), ("3.14 €", False), ("naïve Ærø", False), ("привет", True), ("日本 a", True)],
)
def test_other_scripts_are_known(text, foreign):
    """What is read by names of letters is refused."""
    assert mostly_foreign(text) is foreign


def test_voices_that_cannot_be_used_are_refused_at_load(tmp_path):
    """A file that is none of Piper's, and a voice that the archive does not hold."""
    file = tmp_path / "x.onnx.json"
    file.write_text(json.dumps(about(phoneme_id_map={"a": [1]})))
    with pytest.raises(ValueError, match="marks _ \\^ \\$"):
        read_voice(file)
    file.write_text("{}")
    with pytest.raises(ValueError, match="does not describe a voice"):
        read_voice(file)
    with pytest.raises(ValueError, match="the voices joe are not all in the archive"):
        open_voices(Settings(voices=("joe",)), tmp_path, "cpu", 1)


def test_a_machine_without_espeak_refuses_with_one_sentence(tmp_path):
    """The worker's load fails with what the program says."""
    program = tmp_path / "program.py"
    program.write_text(f"import json; print(json.dumps({{'error': {MISSING!r}}}))")
    with pytest.raises(RuntimeError, match=r"apt-get install espeak-ng"):
        Espeak("en-us", (sys.executable, str(program)))
    program.write_text("raise SystemExit(3)")
    with pytest.raises(RuntimeError, match="ended at once"):
        Espeak("en-us", (sys.executable, str(program)))


def test_the_program_is_started_again_when_it_ended(tmp_path):
    """Once per question; a text that ends it each time is a fault of that request."""
    program = tmp_path / "program.py"
    program.write_text(
        "import json, sys\nprint(json.dumps({'ready': '1'}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    texts = json.loads(line)\n"
        "    if 'die' in texts: sys.exit(1)\n"
        "    print(json.dumps([[[t, t]] for t in texts]), flush=True)\n"
        "    if 'last' in texts: sys.exit(0)\n"
    )
    espeak = Espeak("en-us", (sys.executable, str(program)))
    assert espeak.clauses(["a"]) == [[("a", "a")]]
    espeak.clauses(["last"])
    assert espeak.clauses(["b"]) == [[("b", "b")]]
    with pytest.raises(RuntimeError, match="ended while it read"):
        espeak.clauses(["die"])
    assert espeak.clauses(["c"]) == [[("c", "c")]]
    espeak.close()


def test_providers_by_device():
    """CUDA where the worker has a GPU and the build can, else the CPU."""
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert providers("cpu", both) == ["CPUExecutionProvider"]
    assert providers("cuda:1", both)[0] == ("CUDAExecutionProvider", {"device_id": 1})
    assert providers("cuda:0", ["CPUExecutionProvider"]) == ["CPUExecutionProvider"]
