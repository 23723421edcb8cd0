"""OpenAI's audio by the official SDK, unmodified: speech and transcriptions.

Served through the hub, and by the vendor's own wire; what the vendor is sent, and what clients get
as JSON, is checked against the official document.
"""

from __future__ import annotations

import io
import json
import wave
from base64 import b64decode, b64encode
from typing import Any

import pytest
from openai import BadRequestError
from openai_house import House, house, valid

from router import audio
from router.core.call import Call, Usage
from router.core.task import Audio, Segment, SpeakResult, TranscribeResult, Word

RATE = 24_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with house(tmp_path_factory.mktemp("house")) as made:
        yield made


def pcm(seconds: float = 0.5, rate: int = RATE) -> bytes:
    """A tone."""
    wave_ = [int(9000 * (i % 40 - 20) / 20) for i in range(int(seconds * rate))]
    return b"".join(x.to_bytes(2, "little", signed=True) for x in wave_)


def wav(seconds: float = 0.5, rate: int = RATE) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm(seconds, rate))
    return out.getvalue()


def spoken(call: Call) -> SpeakResult:
    """Half a second at the voice's own rate, in the encoding that the backend is asked for."""
    encoding = call.request.encoding
    data = {"wav": wav, "pcm_s16le": pcm}[encoding](rate=22_050)
    return SpeakResult(audio=data, encoding=encoding, sample_rate_hz=22_050)


# Speech.


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_speech_of_a_local_voice_comes_in_the_format_asked_for(shop: House, form):
    """Half a second of tone stays half a second in every format; bare samples come at 24 kHz."""
    shop.answers(spoken, Usage(characters=5))
    found = shop.sdk.audio.speech.create(
        model="say-own", voice="alloy", input="hello", response_format=form
    )
    assert found.response.headers["content-type"].startswith("audio/")
    bare = {"encoding": "pcm_s16le", "sample_rate_hz": RATE} if form == "pcm" else {}
    heard = audio.probe(found.content, **bare)
    assert heard.seconds == pytest.approx(0.5, abs=0.1)
    (call,) = shop.calls
    assert call.request.voice == "joe"


@pytest.mark.parametrize("form", ["mp3", "wav", "pcm"])
@pytest.mark.parametrize("events", [False, True])
def test_speech_of_a_local_voice_streams(shop: House, form, events):
    """Pieces come as audio or as events; the last event tells what is used."""
    pieces = [pcm(0.25), pcm(0.25)]
    shop.streams(
        [Audio(data=p, encoding="pcm_s16le", sample_rate_hz=RATE) for p in pieces],
        Usage(characters=5),
    )
    made = b""
    with shop.sdk.audio.speech.with_streaming_response.create(
        model="say-own",
        voice="alloy",
        input="hello",
        response_format=form,
        stream_format="sse" if events else "audio",
    ) as answer:
        if not events:
            made = b"".join(answer.iter_bytes())
        else:
            said = [json.loads(line[6:]) for line in answer.iter_lines() if line[:5] == "data:"]
            for event in said:
                valid("CreateSpeechResponseStreamEvent", event)
            assert [e["type"] for e in said[-1:]] == ["speech.audio.done"]
            made = b"".join(b64decode(e["audio"]) for e in said[:-1])
    if form == "pcm":
        assert made == b"".join(pieces)
    else:
        assert audio.probe(made).seconds == pytest.approx(0.5, abs=0.1)


def test_speech_of_the_vendor_passes(shop: House):
    """The vendor is sent a request of its document, with the model's name; its audio comes back."""
    shop.vendor.says(b"ID3 mp3 ", b"bytes", kind="audio/mpeg")
    found = shop.sdk.audio.speech.create(
        model="say-paid", voice="alloy", input="hello", speed=1.5, instructions="Be calm."
    )
    assert found.content == b"ID3 mp3 bytes"
    (sent,) = shop.vendor.sent
    assert sent.path == "/v1/audio/speech"
    assert sent.headers["authorization"] == "Bearer sk-vendor"
    valid("CreateSpeechRequest", sent.json)
    assert sent.json == {
        "model": "tts-1",
        "voice": "alloy",
        "input": "hello",
        "speed": 1.5,
        "instructions": "Be calm.",
        "response_format": "mp3",
    }
    assert found.response.headers["x-isocost-cost-usd"] == "0.000075"


@pytest.mark.parametrize("client", ["whole", "audio", "sse"])
def test_speech_billed_by_token_is_asked_for_as_events(shop: House, client):
    """Only events tell the tokens; the client gets audio or events, as it asked."""
    events = [
        {"type": "speech.audio.delta", "audio": b64encode(b"one ").decode()},
        {"type": "speech.audio.delta", "audio": b64encode(b"two").decode()},
        {
            "type": "speech.audio.done",
            "usage": {"input_tokens": 4, "output_tokens": 20, "total_tokens": 24},
        },
    ]
    for event in events:
        valid("CreateSpeechResponseStreamEvent", event)
    frames = [b"data: %b\n\n" % json.dumps(e).encode() for e in events]
    shop.vendor.says(*frames, kind="text/event-stream")
    speech = shop.sdk.audio.speech
    asked: dict[str, Any] = {"model": "say-token", "voice": "alloy", "input": "hello"}
    if client == "whole":
        found = speech.create(**asked)
        assert found.content == b"one two"
        # 4 x 0.6 + 20 x 12 dollars a million.
        assert found.response.headers["x-isocost-cost-usd"] == "0.0002424"
    else:
        with speech.with_streaming_response.create(**asked, stream_format=client) as answer:
            lines = [line for line in answer.iter_lines() if line]
        if client == "audio":
            assert "".join(lines) == "one two"
        else:
            said = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
            assert said == events
    (sent,) = shop.vendor.sent
    valid("CreateSpeechRequest", sent.json)
    assert sent.json["stream_format"] == "sse"
    assert sent.json["model"] == "gpt-4o-mini-tts"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"voice": ""}, "voice"),
        ({"speed": 5}, "speed"),
        ({"response_format": "midi"}, "response_format"),
        ({"stream_format": "tape"}, "stream_format"),
    ],
)
def test_a_bad_request_for_speech_is_refused(shop: House, changes, param):
    """With the field that is wrong; nothing is asked of any backend."""
    shop.vendor.sent.clear()
    asked: dict[str, Any] = {"model": "say-paid", "voice": "alloy", "input": "hello"} | changes
    with pytest.raises(BadRequestError) as caught:
        shop.sdk.audio.speech.create(**asked)
    assert caught.value.param == param
    assert not shop.vendor.sent


def test_what_only_the_vendor_reads_stays_with_the_vendor(shop: House):
    """Instructions to a voice have no place in the hub: a local voice is not fit for the call."""
    shop.answers(spoken, Usage(characters=5))
    with pytest.raises(Exception, match="instructions"):
        shop.sdk.audio.speech.create(
            model="say-own", voice="alloy", input="hello", instructions="Be calm."
        )
    assert not shop.calls


# Transcriptions.

HEARD = TranscribeResult(
    text="Hello there. General.",
    language="en",
    seconds=0.5,
    segments=(
        Segment(start=0.0, end=0.25, text="Hello there."),
        Segment(start=0.25, end=0.5, text="General."),
    ),
    words=(Word(start=0.0, end=0.125, text="Hello"), Word(start=0.125, end=0.25, text="there.")),
)


def hear(shop: House, route: str = "hear-own", **asked: Any) -> Any:
    return shop.sdk.audio.transcriptions.create(model=route, file=("speech.wav", wav()), **asked)


@pytest.fixture
def own(shop: House) -> House:
    shop.answers(HEARD, Usage(seconds=0.5))
    return shop


def test_a_transcription_as_json(own: House):
    """Text, and the seconds that it is billed by."""
    found = hear(own, response_format="json")
    assert found.text == HEARD.text
    assert (found.usage.type, found.usage.seconds) == ("duration", 0.5)
    (call,) = own.calls
    request = call.request
    assert (request.encoding, request.seconds, request.timestamps) == ("wav", 0.5, "none")


def test_a_transcription_as_text(own: House):
    """The text and a line end."""
    assert hear(own, response_format="text") == f"{HEARD.text}\n"


def test_a_transcription_as_subtitles(own: House):
    """Both kinds, by the segments' times."""
    assert hear(own, response_format="srt") == (
        "1\n00:00:00,000 --> 00:00:00,250\nHello there.\n\n"
        "2\n00:00:00,250 --> 00:00:00,500\nGeneral.\n\n"
    )
    assert hear(own, response_format="vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.250\nHello there.\n\n"
        "00:00:00.250 --> 00:00:00.500\nGeneral.\n\n"
    )
    assert {c.request.timestamps for c in own.calls} == {"segment"}


def test_a_verbose_transcription(own: House):
    """Language by its name, duration, segments; words where they are asked for."""
    found = hear(own, response_format="verbose_json", language="en")
    assert (found.language, found.duration, found.text) == ("english", 0.5, HEARD.text)
    assert [(s.start, s.end, s.text) for s in found.segments] == [
        (s.start, s.end, s.text) for s in HEARD.segments
    ]
    assert found.words is None
    words = hear(own, response_format="verbose_json", timestamp_granularities=["word"])
    assert [(w.word, w.start, w.end) for w in words.words] == [
        (w.text, w.start, w.end) for w in HEARD.words
    ]
    assert words.segments is None
    assert [c.request.timestamps for c in own.calls] == ["segment", "word"]
    assert own.calls[0].request.language == "en"


def test_a_transcription_streams(own: House):
    """One piece with all of it, then the end; each event is of the document."""
    events = list(hear(own, stream=True))
    assert [e.type for e in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[0].delta == events[1].text == HEARD.text
    for event in events:
        valid("CreateTranscriptionResponseStreamEvent", event.to_dict())


@pytest.mark.parametrize("form", ["json", "text", "srt", "vtt", "verbose_json"])
def test_a_transcription_of_the_vendor(shop: House, form):
    """The vendor is asked for what says the most, by a form of its document; the rest is made of it."""
    answer = {
        "task": "transcribe",
        "language": "english",
        "duration": 0.5,
        "text": "Hi.",
        "segments": [
            {
                "id": 0, "seek": 0, "start": 0.0, "end": 0.5, "text": " Hi.", "tokens": [1],
                "temperature": 0.0, "avg_logprob": -0.3, "compression_ratio": 0.8,
                "no_speech_prob": 0.01,
            }
        ],
        "usage": {"type": "duration", "seconds": 1},
    }  # fmt: skip
    valid("CreateTranscriptionResponseVerboseJson", answer)
    shop.vendor.says(answer)
    found = hear(shop, "hear-paid", response_format=form, prompt="Isocost", temperature=0.2)
    (sent,) = shop.vendor.sent
    assert sent.path == "/v1/audio/transcriptions"
    valid("CreateTranscriptionRequest", sent.form)
    assert sent.form | {"file": ""} == {
        "file": "",
        "model": "whisper-1",
        "prompt": "Isocost",
        "temperature": 0.2,
        "response_format": "verbose_json",
    }
    file = next(p for p in sent.parts if p.name == "file")
    assert (file.value, file.filename) == (wav(), "audio.wav")
    if form in {"json", "verbose_json"}:
        assert found.text == "Hi."
    else:
        said = {"text": "Hi.\n", "srt": "00:00:00,500\nHi.", "vtt": "00:00:00.500\nHi."}
        assert said[form] in found
    if form == "verbose_json":
        assert found.segments[0].avg_logprob == -0.3, "as it came"


@pytest.mark.parametrize("stream", [False, True])
def test_a_transcription_billed_by_token(shop: House, stream):
    """Those models take json only, and tell their tokens; a client sees them in its stream too."""
    usage = {
        "type": "tokens",
        "input_tokens": 14,
        "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
        "output_tokens": 3,
        "total_tokens": 17,
    }
    shop.vendor.says({"text": "Hi.", "usage": usage})
    found = hear(shop, "hear-token", stream=stream)
    if stream:
        events = list(found)
        for event in events:
            valid("CreateTranscriptionResponseStreamEvent", event.to_dict())
        found = events[-1]
    assert found.text == "Hi."
    assert found.usage.to_dict() == usage
    (sent,) = shop.vendor.sent
    valid("CreateTranscriptionRequest", sent.form)
    assert sent.form["response_format"] == "json"
    assert "stream" not in sent.form


def test_times_need_a_model_that_gives_them(shop: House):
    """A model that is billed by token is not fit for subtitles, and is not asked."""
    shop.vendor.sent.clear()
    with pytest.raises(Exception, match="gives no times"):
        hear(shop, "hear-token", response_format="srt")
    assert not shop.vendor.sent


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"file": ("a.wav", b"not audio at all")}, "cannot be read as audio"),
        ({"file": ("a.wav", b"")}, "missing or empty"),
        ({"response_format": "xml"}, "must be one of"),
        ({"temperature": 3}, "from 0 to 1"),
        ({"timestamp_granularities": ["word"]}, "needs response_format verbose_json"),
        (
            {"timestamp_granularities": ["note"], "response_format": "verbose_json"},
            "word or segment",
        ),
    ],
)
def test_a_bad_request_for_a_transcription_is_refused(own: House, changes, said):
    """It says what is wrong; nothing is asked of any backend."""
    asked: dict[str, Any] = {"model": "hear-own", "file": ("speech.wav", wav())} | changes
    with pytest.raises(BadRequestError, match=said):
        own.sdk.audio.transcriptions.create(**asked)
    assert not own.calls
