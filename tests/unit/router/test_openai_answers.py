"""OpenAI's wire, what a backend sends: usage that can be charged, and subtitles that can be read."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router import apis
from router.apis.openai import responses, speech, transcription
from router.apis.openai.languages import NAMES, code_of, name_of
from router.apis.openai.subtitles import srt, vtt
from router.core.api import Malformed
from router.core.call import Call, Usage
from router.core.reply import Reply
from router.core.task import (
    Audio,
    ChatRequest,
    Message,
    Segment,
    SpeakRequest,
    SpeakResult,
    TranscribeRequest,
    TranscribeResult,
)
from tests.fakes import a_call

API = apis.load("openai")
DOOR = apis.door("openai")

# Usage.

COUNT = st.integers(-5, 200) | st.integers(0, 10**13) | st.none()
DETAILS = st.none() | st.fixed_dictionaries(
    {}, optional={"cached_tokens": COUNT, "cache_write_tokens": COUNT, "audio_tokens": COUNT}
)
USED = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "input_tokens": COUNT,
        "output_tokens": COUNT,
        "seconds": st.none() | st.floats(-1, 1e10) | st.integers(-1, 10),
        "prompt_tokens_details": DETAILS,
        "input_tokens_details": DETAILS,
        "input_token_details": DETAILS,
    },
)
SAY = SpeakRequest(text="hello", voice="alloy", encoding="wav")
HEAR = TranscribeRequest(audio=b"x", encoding="wav", seconds=1.25)
TALK = ChatRequest(messages=(Message(role="user", text="hi"),))


def calling(task: str, request: Any, path: str, **changes: Any) -> Call:
    return a_call(task=task, request=request, path=path, **changes)


def readers(used: Any) -> list[tuple[Any, bytes]]:
    """Each reader of the wire, and an answer with that usage."""
    choice = {"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    chat = {"choices": [choice], "usage": used, "model": "m"}
    done = {"output": [], "status": "completed", "usage": used, "model": "m"}
    heard = {"text": "hi", "usage": used}
    events = [
        {"type": "speech.audio.delta", "audio": b64encode(b"x").decode()},
        {"type": "speech.audio.done", "usage": used},
    ]
    frames = b"".join(b"data: %b\n\n" % json.dumps(e).encode() for e in events)
    hear = calling("transcribe", HEAR, transcription.PATH)
    return [
        (API.reader(calling("chat", TALK, "/v1/chat/completions"), "m"), json.dumps(chat).encode()),
        (API.reader(calling("chat", TALK, responses.PATH), "m"), json.dumps(done).encode()),
        (API.reader(hear, "gpt-4o-transcribe"), json.dumps(heard).encode()),
        (API.reader(hear, "whisper-1"), json.dumps(heard).encode()),
        (API.reader(calling("speak", SAY, speech.PATH), "gpt-4o-mini-tts"), frames),
    ]


def sound(usage: Usage | None) -> None:
    """Nothing below zero; no subset above its total."""
    if usage is None:
        return
    assert all(n >= 0 for n in msgspec.structs.astuple(usage)[:-1])
    assert usage.cached_tokens + usage.written_tokens <= usage.input_tokens
    assert usage.audio_input_tokens <= usage.input_tokens
    assert usage.audio_output_tokens <= usage.output_tokens


@settings(max_examples=150)
@given(USED)
@example(
    {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9, "cache_write_tokens": 9}}
)
@example({"input_tokens": 5, "input_token_details": {"audio_tokens": 9}})
def test_no_part_of_a_usage_is_above_its_total(used):
    """Whatever a server says that it used, it can be charged, or the answer is Malformed."""
    for reader, body in readers(used):
        try:
            reader.whole(body)
        except Malformed:
            assert reader.usage is None
        sound(reader.usage)


def test_a_transcription_is_charged_as_its_model_is():
    """Seconds rounded up for one, tokens for the other; what is not said is unknown."""
    hear = calling("transcribe", HEAR, transcription.PATH)

    def used(model: str, **answer: Any) -> Usage | None:
        reader = API.reader(hear, model)
        reader.whole(json.dumps({"text": "hi"} | answer).encode())
        return reader.usage

    assert used("whisper-1") == Usage(seconds=2.0)
    assert used("whisper-1", duration=7.1) == Usage(seconds=8.0)
    assert used("whisper-1", duration="7.1") == Usage(seconds=8.0)
    assert used("whisper-1", usage={"type": "duration", "seconds": 3}) == Usage(seconds=3.0)
    assert used("gpt-4o-transcribe") is None, "held at its bound"
    tokens = {"input_tokens": 14, "output_tokens": 3, "input_token_details": {"audio_tokens": 10}}
    assert used("gpt-4o-transcribe", usage=tokens) == Usage(14, 3, audio_input_tokens=10)


@pytest.mark.parametrize("duration", ["x", "nan", "inf", "-1", -1, 1e300])
def test_a_duration_that_is_none_is_malformed(duration):
    """It would be charged."""
    hear = calling("transcribe", HEAR, transcription.PATH)
    reader = API.reader(hear, "whisper-1")
    with pytest.raises(Malformed):
        reader.whole(json.dumps({"text": "hi", "duration": duration}).encode())
    assert reader.usage is None


# Speech.


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5), st.data())
def test_speech_in_events_is_read_however_it_is_cut(pieces, data):
    """Audio, usage and end are the same; a cut stream has no end and no usage."""
    usage = {"input_tokens": 3, "output_tokens": 9, "total_tokens": 12}
    events: list[dict[str, Any]] = [
        {"type": "speech.audio.delta", "audio": b64encode(p).decode()} for p in pieces
    ]
    events.append({"type": "speech.audio.done", "usage": usage})
    stream = b"".join(b"data: %b\n\n" % json.dumps(e).encode() for e in events)
    call = calling("speak", SAY, speech.PATH, stream=True)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader = API.reader(call, "gpt-4o-mini-tts")
    found: list[Any] = []
    for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[a:b])
    assert b"".join(e.data for e in found) == b"".join(pieces)
    assert (reader.end(), reader.usage) == (True, Usage(3, 9, audio_output_tokens=9))
    cut = API.reader(call, "gpt-4o-mini-tts")
    cut.feed(stream[: data.draw(st.integers(0, len(stream) - 2))])
    cut.finish()
    assert (cut.end(), cut.usage) == (False, None)


def test_speech_without_events_ends_with_its_body():
    """Characters are counted once it has come whole; a body without a byte is no speech."""
    reader = API.reader(calling("speak", SAY, speech.PATH, stream=True), "tts-1")
    assert reader.feed(b"") == []
    reader.finish()
    assert not reader.end()
    (event,) = reader.feed(b"abc")
    assert event == Audio(data=b"abc", encoding="wav", sample_rate_hz=speech.RATE)
    assert (reader.end(), reader.usage) == (False, None)
    reader.finish()
    assert (reader.end(), reader.usage) == (True, Usage(characters=5))


def test_the_bounds_of_speech_and_hearing():
    """What the vendor may bill is known before."""
    say = calling("speak", SAY, speech.PATH)
    assert API.units(say, "tts-1") == Usage(characters=5)
    made = API.units(say, "gpt-4o-mini-tts")
    assert made.output_tokens == made.audio_output_tokens > 0
    sound(made)
    hear = calling("transcribe", HEAR, transcription.PATH)
    assert API.units(hear, "whisper-1") == Usage(seconds=2.0)
    heard = API.units(hear, "gpt-4o-transcribe")
    assert heard.input_tokens > heard.audio_input_tokens >= 13
    sound(heard)


def test_a_voice_that_nobody_named_is_the_vendors_first():
    """The vendor needs one; a client of another wire may leave the choice to the model."""
    say = msgspec.structs.replace(SAY, voice="")
    call = calling("speak", say, "/predictions/{model}", wire="torchserve")
    assert json.loads(API.request(call, "tts-1").body)["voice"] == "alloy"


def test_audio_reaches_the_client_as_it_is():
    """The body of speech is the sound alone."""
    reply = Reply(backend="b", result=SpeakResult(audio=b"RIFF", encoding="wav", sample_rate_hz=1))
    call = calling("speak", SAY, speech.PATH)
    assert DOOR.whole(call, reply) == b"RIFF"
    assert DOOR.head(call, reply).content_type == "audio/wav"


def test_speech_that_is_text_is_malformed():
    """A proxy's page or an error under status 200 is no sound, and is not paid as one."""
    reader = API.reader(calling("speak", SAY, speech.PATH), "tts-1")
    reader.head({b"content-type": b"audio/mpeg"})
    for kind in (b"application/json", b"text/html; charset=utf-8"):
        with pytest.raises(Malformed, match="not audio"):
            reader.head({b"content-type": kind})


# Subtitles.

TIME = st.floats(0, 400_000)
LINE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=20)
SEGMENTS = st.lists(
    st.tuples(TIME, TIME, st.lists(LINE, min_size=1, max_size=3).map("\n".join)).map(
        lambda t: Segment(start=min(t[:2]), end=max(t[:2]), text=t[2])
    ),
    max_size=5,
)
CUE = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)[.,](\d{3})")


def cues(text: str) -> list[tuple[float, float, str]]:
    """A plain reader of both kinds: blocks between empty lines, the times' line, then the text."""
    found = []
    for block in re.split(r"\n\n+", text.strip("\n")):
        lines = block.split("\n")
        at = next((i for i, line in enumerate(lines) if len(CUE.findall(line)) == 2), None)
        if at is None:
            continue
        start, end = (
            int(h) * 3600 + int(m) * 60 + int(s) + int(ms) / 1000
            for h, m, s, ms in CUE.findall(lines[at])
        )
        found.append((start, end, "\n".join(lines[at + 1 :])))
    return found


@given(SEGMENTS)
@example([Segment(start=0, end=1, text="one\n\ntwo --> three\n")])
@example([Segment(start=0.9999, end=59.9996, text="")])
def test_subtitles_are_read_as_they_were_written(segments):
    """Each segment is one cue, with its times to the millisecond and its text on whole lines."""
    for made in (srt(segments), vtt(segments)):
        read = cues(made)
        assert len(read) == len(segments)
        for (start, end, text), segment in zip(read, segments, strict=True):
            assert start == pytest.approx(segment.start, abs=0.0006)
            assert end == pytest.approx(segment.end, abs=0.0006)
            lines = [line.strip() for line in segment.text.split("\n") if line.strip()]
            assert len([line for line in text.split("\n") if line]) == len(lines)
        assert made.count(" --> ") == len(segments)
    assert vtt(segments).startswith("WEBVTT\n")
    assert [int(n) for n in re.findall(r"(?m)^(\d+)\n\d\d+:", srt(segments))] == list(
        range(1, len(segments) + 1)
    )


def test_markup_in_a_text_is_text():
    """WebVTT reads tags and arrows: they are written so that they show."""
    made = vtt([Segment(start=0, end=1, text="a <b> & --> c")])
    assert made.splitlines()[3] == "a &lt;b> &amp; --&gt; c"


# Languages, and times that were asked for.


def test_languages_have_a_name_and_a_code():
    """Both ways, and what is not listed is shown as it is."""
    assert all(code_of(name_of(code)) == code for code in NAMES)
    assert (name_of("en-GB"), code_of("English"), code_of("de")) == ("english", "en", "de")
    assert (name_of("xx"), name_of(None), code_of("")) == ("xx", None, None)


def test_only_what_was_asked_for_is_shown():
    """Segments are the default; words alone come without segments."""
    result = TranscribeResult(text="hi", language=None, seconds=1.0)
    for wanted, shown in ((b'["word"]', {"words"}), (b'["word","segment"]', {"words", "segments"})):
        fields = {
            "response_format": msgspec.Raw(b'"verbose_json"'),
            "timestamp_granularities": msgspec.Raw(wanted),
        }
        call = calling("transcribe", HEAR, transcription.PATH, fields=fields)
        said = json.loads(DOOR.whole(call, Reply(backend="b", result=result)))
        assert said.keys() & {"words", "segments"} == shown
        assert said["language"] == ""
