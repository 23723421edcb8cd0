"""OpenAI's sound, responses and images, by its own SDK and against its own document."""

import hashlib
import io
import json
import wave
from base64 import b64decode, b64encode

import openai
import pytest

TEXT = "The quick brown fox jumps. It is not lazy!"
FORMATS = {"mp3": "mp3", "opus": "ogg", "aac": "m4a", "flac": "flac", "wav": "wav"}

pytestmark = pytest.mark.system


def spoken(client, text=TEXT, model="tts-1", **more) -> bytes:
    return client.audio.speech.create(model=model, input=text, voice="alloy", **more).content


def wav_of(pcm: bytes, rate: int = 24000) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm)
    return out.getvalue()


SILENT = wav_of(b"\0\0" * 9000)


def transcribed(client, audio: bytes, name: str = "a.wav", model: str = "whisper-1", **more):
    return client.audio.transcriptions.create(model=model, file=(name, audio), **more)


@pytest.mark.parametrize(("form", "suffix"), FORMATS.items())
def test_the_sandbox_hears_its_own_voice_in_every_format(client, form, suffix):
    audio = spoken(client, response_format=form)
    assert transcribed(client, audio, f"a.{suffix}").text == TEXT


def test_bare_samples_are_24_khz(client):
    audio = spoken(client, response_format="pcm", speed=2.0)
    assert transcribed(client, wav_of(audio)).text == TEXT


def test_characters_are_billed_in_full_and_tokens_of_sound_as_the_stream_went(client, box):
    spoken(client, "ä" * 10)
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", input=TEXT, voice="alloy", stream_format="sse"
    ) as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line]
    by_character, by_token = box.lines()
    assert by_character["units"] == {"characters": 10}
    assert by_character["pico_usd"] == 10 * 15_000_000
    usage = events[-1]["usage"]
    units = {"input": usage["input_tokens"], "audio_output": usage["output_tokens"]}
    assert by_token["units"] == units
    assert by_token["pico_usd"] == units["input"] * 600_000 + units["audio_output"] * 12_000_000
    assert by_token["tokens_out"] == usage["output_tokens"]


def test_streamed_sound_is_the_whole_sound_and_follows_the_document(client, valid):
    asked = {"model": "gpt-4o-mini-tts", "input": TEXT, "voice": "ash"}
    whole = client.audio.speech.create(**asked).content
    with client.audio.speech.with_streaming_response.create(**asked, stream_format="audio") as raw:
        assert b"".join(raw.iter_bytes()) == whole
    with client.audio.speech.with_streaming_response.create(**asked, stream_format="sse") as raw:
        events = [json.loads(line[6:]) for line in raw.iter_lines() if line]
    for event in events[:-1]:
        valid("openai", "SpeechAudioDeltaEvent", event)
    valid("openai", "SpeechAudioDoneEvent", events[-1])
    assert b"".join(b64decode(event["audio"]) for event in events[:-1]) == whole


def test_a_cut_stream_of_sound_is_billed_for_what_was_sent(client, box):
    asked = {"model": "gpt-4o-mini-tts", "input": TEXT, "voice": "ash", "stream_format": "audio"}
    spoken(client, model="gpt-4o-mini-tts", stream_format="audio")
    headers = {"Authorization": "Bearer sk-sandbox-1", "x-sandbox-fault": "cut=2"}
    with pytest.raises(Exception, match="IncompleteRead"):
        box.ask("POST", "/v1/audio/speech", asked, headers)
    whole, cut = box.lines()
    assert 0 < cut["units"]["audio_output"] < whole["units"]["audio_output"]
    assert cut["complete"] is False


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"voice": "nobody"}, "voice"),
        ({"response_format": "midi"}, "response_format"),
        ({"speed": 9}, "speed"),
        ({"input": ""}, "input"),
        ({"input": "a" * 4097}, "input"),
        ({"stream_format": "sse"}, "stream_format"),
    ],
)
def test_speech_that_is_not_taken_is_not_billed(client, box, change, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.speech.create(**{"model": "tts-1", "input": "a", "voice": "alloy"} | change)
    assert refused.value.param == param
    assert box.bill()["calls"] == 0


def test_whisper_is_billed_by_the_second_in_every_form(client, box, valid):
    audio = spoken(client, response_format="wav")
    box.reset()
    raw = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1", file=("a.wav", audio), response_format="json"
    )
    valid("openai", "CreateTranscriptionResponseJson", json.loads(raw.http_response.text))
    raw = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1",
        file=("a.wav", audio),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    verbose = json.loads(raw.http_response.text)
    valid("openai", "CreateTranscriptionResponseVerboseJson", verbose)
    assert [one["word"] for one in verbose["words"]] == TEXT.split()
    assert verbose["words"][-1]["end"] == pytest.approx(verbose["duration"], abs=0.01)
    assert [one["text"].strip() for one in verbose["segments"]] == [
        "The quick brown fox jumps.",
        "It is not lazy!",
    ]
    assert transcribed(client, audio, response_format="text") == f"{TEXT}\n"
    srt = transcribed(client, audio, response_format="srt")
    assert srt.startswith("1\n00:00:00,000 --> 00:00:0")
    vtt = transcribed(client, audio, response_format="vtt")
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:0")
    seconds = verbose["usage"]["seconds"]
    assert 0 <= seconds - verbose["duration"] < 1
    for line in box.lines():
        assert line["units"] == {"seconds": seconds}
        assert line["pico_usd"] == seconds * 100_000_000


def test_other_models_are_billed_by_token_and_stream(client, box, valid):
    audio = spoken(client, response_format="wav")
    box.reset()
    whole = transcribed(client, audio, model="gpt-4o-mini-transcribe", prompt="a fox")
    raw = client.audio.transcriptions.with_raw_response.create(
        model="gpt-4o-mini-transcribe", file=("a.wav", audio), prompt="a fox", stream=True
    )
    events = [json.loads(part[6:]) for part in raw.http_response.read().decode().split("\n\n")[:-1]]
    for event in events[:-1]:
        valid("openai", "TranscriptTextDeltaEvent", event)
    valid("openai", "TranscriptTextDoneEvent", events[-1])
    assert "".join(event["delta"] for event in events[:-1]) == whole.text == TEXT
    used = events[-1]["usage"]
    details = used["input_token_details"]
    for line in box.lines():
        assert line["units"] == {
            "input": details["text_tokens"],
            "audio_input": details["audio_tokens"],
            "output": used["output_tokens"],
        }
        money = 1_250_000 * details["text_tokens"] + 3_000_000 * details["audio_tokens"]
        assert line["pico_usd"] == money + 5_000_000 * used["output_tokens"]
        assert line["tokens_in"] == used["input_tokens"]


def test_silence_says_nothing_and_what_was_told_is_heard(client, box):
    silence = wav_of(b"\0\0" * 24000)
    assert transcribed(client, silence).text == ""
    noise = wav_of(bytes(range(256)) * 200)
    digest = hashlib.sha256(noise).hexdigest()
    box.tell(audio=[{"sha256": digest, "text": "Guten Tag.", "language": "de"}])
    told = transcribed(client, noise, response_format="verbose_json")
    assert (told.text, told.language) == ("Guten Tag.", "german")


@pytest.mark.parametrize(
    ("file", "more", "code"),
    [
        ((b"no sound at all" * 9, "a.wav"), {}, "invalid_value"),
        ((b"x", "a.txt"), {}, "unsupported_format"),
        ((wav_of(b"\0\0" * 1000), "a.wav"), {}, "audio_too_short"),
        ((SILENT, "a.wav"), {"response_format": "midi"}, "invalid_value"),
        ((SILENT, "a.wav"), {"language": "english!"}, "unsupported_language"),
        (
            (SILENT, "a.wav"),
            {"model": "gpt-4o-transcribe", "response_format": "srt"},
            "unsupported_value",
        ),
    ],
)
def test_recordings_that_are_not_taken_are_not_billed(client, box, file, more, code):
    with pytest.raises(openai.BadRequestError) as refused:
        transcribed(client, *file, **more)
    assert refused.value.code == code
    assert box.bill()["calls"] == 0


def test_a_form_without_its_fields_or_over_its_limit_is_told(client, box):
    headers = {"Authorization": "Bearer sk-sandbox-1"}
    status, _, body = box.ask("POST", "/v1/audio/transcriptions", b"model=whisper-1", headers)
    assert (status, json.loads(body)["error"]["param"]) == (400, "file")
    with pytest.raises(openai.APIStatusError) as refused:
        transcribed(client, bytes(26 * 1024 * 1024))
    assert refused.value.status_code == 413


def test_responses_say_what_a_chat_says_and_follow_the_document(client, box, valid):
    question = "Why does tea cool down?"
    chat = client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": question}]
    )
    raw = client.responses.with_raw_response.create(model="gpt-4o-mini", input=question)
    valid("openai", "Response", documented(json.loads(raw.http_response.text)))
    whole = raw.parse()
    assert whole.output_text == chat.choices[0].message.content
    assert whole.usage.input_tokens == chat.usage.prompt_tokens
    raw = client.responses.with_raw_response.create(
        model="gpt-4o-mini", input=question, stream=True, max_output_tokens=16
    )
    blocks = raw.http_response.read().decode().strip().split("\n\n")
    events = [json.loads(block.partition("\ndata: ")[2]) for block in blocks]
    for event, block in zip(events, blocks, strict=True):
        assert block.startswith(f"event: {event['type']}\n")
        if "response" in event:
            event["response"] = documented(event["response"])
        valid("openai", EVENTS[event["type"]], event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    last = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    assert last["usage"]["output_tokens"] == 16
    assert whole.output_text.startswith(last["output"][0]["content"][0]["text"])
    assert box.lines()[-1]["units"]["output"] == 16


def documented(response):
    """Without the fields that recorded answers have as null, which the document does not allow."""
    nulls = ("user", "safety_identifier", "prompt_cache_key", "usage")
    return {k: v for k, v in response.items() if k not in nulls or v is not None}


EVENTS = {
    "response.created": "ResponseCreatedEvent",
    "response.in_progress": "ResponseInProgressEvent",
    "response.output_item.added": "ResponseOutputItemAddedEvent",
    "response.content_part.added": "ResponseContentPartAddedEvent",
    "response.output_text.delta": "ResponseTextDeltaEvent",
    "response.output_text.done": "ResponseTextDoneEvent",
    "response.content_part.done": "ResponseContentPartDoneEvent",
    "response.output_item.done": "ResponseOutputItemDoneEvent",
    "response.completed": "ResponseCompletedEvent",
    "response.incomplete": "ResponseIncompleteEvent",
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_calls_a_required_tool(client, stream):
    tool = {
        "type": "function",
        "name": "look",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    }
    asked = {"model": "gpt-4o-mini", "input": "hi", "tools": [tool], "tool_choice": "required"}
    if stream:
        with client.responses.stream(**asked) as events:
            answer = events.get_final_response()
    else:
        answer = client.responses.create(**asked)
    (call,) = answer.output
    assert (call.type, call.name) == ("function_call", "look")
    assert "place" in json.loads(call.arguments)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_not_found"),
        ({"max_output_tokens": 3}, "integer_below_min_value"),
        ({"input": [{"type": "mystery"}]}, "invalid_value"),
        ({"input": ""}, "missing_required_parameter"),
    ],
)
def test_responses_that_are_not_taken_are_not_billed(client, box, change, code):
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**{"model": "gpt-4o-mini", "input": "hi"} | change)
    assert refused.value.code == code
    assert box.bill()["calls"] == 0


FORM = {
    "type": "json_schema",
    "json_schema": {
        "name": "findings",
        "schema": {
            "type": "object",
            "properties": {
                "labels": {"type": "array", "items": {"type": "string"}},
                "text": {"type": "string"},
                "sure": {"type": "boolean"},
            },
        },
    },
}


def shown(image: bytes):
    url = f"data:image/png;base64,{b64encode(image).decode()}"
    parts = [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    return [{"role": "user", "content": parts}]


def test_an_image_in_a_chat_is_seen_as_it_was_told(client, box, png):
    image = png()
    box.tell(
        images=[
            {
                "sha256": hashlib.sha256(image).hexdigest(),
                "text": "EXIT\nfire door",
                "labels": [{"name": "Sign"}, {"name": "Door"}],
            }
        ]
    )
    asked = {"model": "gpt-4o-mini", "messages": shown(image)}
    plain = client.chat.completions.create(**asked).choices[0].message.content
    assert "sign, door" in plain
    formed = client.chat.completions.create(**asked, response_format=FORM)
    assert json.loads(formed.choices[0].message.content) == {
        "labels": ["Sign", "Door"],
        "text": "EXIT\nfire door",
        "sure": True,
    }
    parts = [
        {"type": "input_text", "text": "?"},
        {"type": "input_image", "image_url": shown(image)[0]["content"][1]["image_url"]["url"]},
    ]
    said = client.responses.create(model="gpt-4o-mini", input=[{"role": "user", "content": parts}])
    assert "sign, door" in said.output_text
    assert formed.usage.prompt_tokens > 85


def test_an_image_that_is_none_is_refused(client, box):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="gpt-4o-mini", messages=shown(b"no picture"))
    assert refused.value.code == "invalid_image_format"
    assert box.bill()["calls"] == 0


def test_a_chat_says_what_it_was_told_to(client, box):
    box.tell(chats=[{"contains": "capital of France", "says": "Paris."}])
    question = [{"role": "user", "content": "What is the capital of France?"}]
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=question)
    assert answer.choices[0].message.content == "Paris."
    assert answer.usage.completion_tokens == 2


@pytest.mark.parametrize(
    ("path", "asked", "name"),
    [
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": "a"}]},
            "CreateChatCompletionResponse",
        ),
        (
            "completions",
            {"model": "gpt-3.5-turbo-instruct", "prompt": "a"},
            "CreateCompletionResponse",
        ),
        (
            "embeddings",
            {"model": "text-embedding-3-small", "input": "a"},
            "CreateEmbeddingResponse",
        ),
    ],
)
def test_texts_follow_the_document(box, valid, path, asked, name):
    headers = {"Authorization": "Bearer sk-sandbox-1"}
    status, _, body = box.ask("POST", f"/v1/{path}", {"model": "gpt-4o-mini", **asked}, headers)
    assert status == 200
    valid("openai", name, json.loads(body))
    status, _, body = box.ask("POST", f"/v1/{path}", asked | {"model": "none"}, headers)
    assert status == 404
    valid("openai", "ErrorResponse", json.loads(body))
