"""Google Speech's wire: the vendor's own clients before the router, and what the vendor is sent."""

from __future__ import annotations

import base64
import json
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import speech, speech_v2
from googleapiclient.discovery import build
from hypothesis import example, given
from hypothesis import strategies as st
from wire_served import Vendor, said, served

from router import apis, audio
from router.apis.google_speech.forms import tidy, with_region
from router.apis.google_vision.status import duration, seconds
from router.core.api import Malformed, Told
from router.core.call import Usage
from router.core.errors import BadRequest
from router.core.reply import Reply
from router.core.task import Segment, TranscribeRequest, TranscribeResult, Word
from router.core.verdict import INVALID, judge
from tests.fakes import a_call

API, DOOR = apis.load("google_speech"), apis.door("google_speech")
SECOND = API.at("https://speech.googleapis.com/v2/projects/p/locations/global")
V1 = "/v1/speech:recognize"
V2 = "/v2/projects/{project}/locations/{location}/recognizers/{recognizer}:recognize"
HERE = Told({"project": "p", "location": "global", "recognizer": "_"})
CONFIG = """
keys: [{name: ann, team: red, key_env: ANN}]
backends:
  first: {api: google_speech, model: default, base: VENDOR/v1, key_env: GOOGLE}
  second: {api: google_speech, model: long, base: VENDOR/v2/projects/mine/locations/global, key_env: GOOGLE}
  own: {api: torchserve, model: whisper, base: VENDOR/own, price: {per_hour_usd: 0.36}}
routes:
  ears: {task: transcribe, backends: [own, first]}
  one: {task: transcribe, backends: [first]}
  two: {task: transcribe, backends: [second]}
doors: {google_speech: {transcribe: one}}
"""
ENV = {"ANN": "ik-ann", "GOOGLE": "AIza-vendor"}
HEARD = {
    "results": [
        {
            "alternatives": [{"transcript": "good morning", "confidence": 0.93}],
            "resultEndTime": "0.900s",
            "languageCode": "en-us",
        },
        {"alternatives": [{"transcript": " everybody", "confidence": 0.8}]},
    ],
    "totalBilledTime": "2s",
    "requestId": "77",
}
OWN = {
    "text": "good morning everybody",
    "language": "en",
    "seconds": 1.2,
    "segments": [{"start": 0.0, "end": 1.2, "text": "good morning everybody"}],
    "words": [
        {"start": 0.0, "end": 0.35, "text": "good"},
        {"start": 0.35, "end": 0.8, "text": "morning"},
        {"start": 0.8, "end": 1.15, "text": "everybody"},
    ],
    "usage": {"seconds": 1.2},
    "model": "whisper",
}
PCM = b"\1\0" * 19_200
"""1.2 seconds at 16 kHz."""


@cache
def recording(
    encoding: str, *, rate: int = 16_000, channels: int = 1, length: float = 1.2
) -> bytes:
    """A recording of (nearly) silence, of *length* seconds."""
    bare = b"\1\0" * channels * int(rate * length)
    heard = audio.Heard("pcm_s16le", length, rate, channels)
    return audio.recode(bare, heard, encoding)[0]


@pytest.fixture(scope="module")
def vendor():
    return Vendor()


@pytest.fixture(scope="module")
def url(vendor, tmp_path_factory):
    with served(tmp_path_factory.mktemp("speech"), CONFIG, vendor, ENV) as found:
        yield found


@pytest.fixture
def sdk(url, vendor):
    vendor.says(said(HEARD))
    options = ClientOptions(api_endpoint=url, api_key="ik-ann")
    return speech.SpeechClient(transport="rest", client_options=options)


@pytest.fixture
def sdk_v2(url, vendor):
    options = ClientOptions(api_endpoint=url, api_key="ik-ann")
    return speech_v2.SpeechClient(transport="rest", client_options=options)


LINEAR16 = {
    "encoding": speech.RecognitionConfig.AudioEncoding.LINEAR16,
    "sample_rate_hertz": 16_000,
    "language_code": "en-US",
}


def route(name: str) -> dict[str, Any]:
    return {"metadata": [("x-isocost-route", name)], "retry": None, "timeout": 10}


# The vendor's own clients.


def test_the_sdk_reaches_the_vendor(sdk, vendor):
    """The vendor gets the body as it came with the router's own key, the client its whole answer."""
    answer = sdk.recognize(config=LINEAR16, audio={"content": PCM}, retry=None, timeout=10)
    assert [r.alternatives[0].transcript for r in answer.results] == ["good morning", " everybody"]
    assert answer.results[0].alternatives[0].confidence == pytest.approx(0.93)
    assert answer.total_billed_time.seconds == 2
    assert answer.request_id == 77
    sent = vendor.last
    assert (sent.method, sent.path) == ("POST", "/v1/speech:recognize")
    assert sent.headers["x-goog-api-key"] == "AIza-vendor"
    assert "ik-ann" not in str(sent)
    assert sent.json["config"] == {
        "encoding": 1,
        "sampleRateHertz": 16_000,
        "languageCode": "en-US",
    }
    assert base64.b64decode(sent.json["audio"]["content"]) == PCM


def test_a_second_client_reaches_the_vendor(url, vendor):
    """Names of enums, the key in the query: the same."""
    vendor.says(said(HEARD))
    client = build(
        "speech",
        "v1",
        developerKey="ik-ann",
        client_options=ClientOptions(api_endpoint=url),
        static_discovery=True,
    )
    body = a_body(recording("flac"), encoding="FLAC", enableAutomaticPunctuation=True)
    assert client.speech().recognize(body=body).execute() == HEARD
    assert vendor.last.json == body


def test_the_sdk_is_served_by_a_local_model(sdk, vendor):
    """Words and their times come in the vendor's shape; a confidence that nobody knows is left out."""
    vendor.says(said(OWN))
    config = LINEAR16 | {"enable_word_time_offsets": True}
    answer = sdk.recognize(config=config, audio={"content": PCM}, **route("ears"))
    assert vendor.last.path == "/own/predictions/whisper"
    asked = vendor.last.json
    assert (asked["timestamps"], asked["language"]) == ("word", "en-US")
    (result,) = answer.results
    assert result.alternatives[0].transcript == "good morning everybody"
    assert result.alternatives[0].confidence == 0
    words = [
        (w.word, w.start_time.total_seconds(), w.end_time.total_seconds())
        for w in result.alternatives[0].words
    ]
    assert words == [("good", 0.0, 0.35), ("morning", 0.35, 0.8), ("everybody", 0.8, 1.15)]
    assert result.language_code == "en"
    assert result.result_end_time.total_seconds() == 1.15


def test_the_second_version_reaches_its_vendor(sdk_v2, vendor):
    """The path is the backend's own project; the model is the backend's where the client names none."""
    vendor.says(said({"results": HEARD["results"][1:], "metadata": {"totalBilledDuration": "2s"}}))
    answer = sdk_v2.recognize(
        request={
            "recognizer": "projects/theirs/locations/global/recognizers/_",
            "config": {"auto_decoding_config": {}, "language_codes": ["en-US"]},
            "content": recording("ogg_opus"),
        },
        **route("two"),
    )
    assert answer.results[0].alternatives[0].transcript == " everybody"
    assert answer.metadata.total_billed_duration.seconds == 2
    assert vendor.last.path == "/v2/projects/mine/locations/global/recognizers/_:recognize"
    assert vendor.last.json["config"] == {
        "autoDecodingConfig": {},
        "languageCodes": ["en-US"],
        "model": "long",
    }


@pytest.mark.parametrize(
    ("name", "answer", "path"),
    [("ears", OWN, "/own/predictions/whisper"), ("one", HEARD, "/v1/speech:recognize")],
)
def test_the_second_version_is_served_by_others(sdk_v2, vendor, name, answer, path):
    """A local model, or the vendor's first version, answers the second in its own shape."""
    vendor.says(said(answer))
    found = sdk_v2.recognize(
        request={
            "recognizer": "projects/theirs/locations/global/recognizers/_",
            "config": {
                "explicit_decoding_config": {
                    "encoding": speech_v2.ExplicitDecodingConfig.AudioEncoding.LINEAR16,
                    "sample_rate_hertz": 16_000,
                    "audio_channel_count": 1,
                },
                "language_codes": ["en-US"],
                "model": "latest_long",
            },
            "content": PCM,
        },
        **route(name),
    )
    assert vendor.last.path == path
    (result,) = found.results
    assert result.alternatives[0].transcript == "good morning everybody"
    assert result.language_code.lower() in {"en", "en-us"}


def test_errors_are_the_clients_own(sdk, vendor):
    """Each ending of a call is the exception that the vendor's clients raise for it."""
    for config, content, why in (
        (LINEAR16, b"", "empty"),
        (LINEAR16 | {"sample_rate_hertz": 0}, PCM, "sampleRateHertz"),
        (LINEAR16 | {"language_code": "?"}, PCM, "BCP 47"),
        (LINEAR16 | {"encoding": 8}, b"no audio at all", "cannot be read as audio"),
        (LINEAR16 | {"encoding": 2}, recording("mp3"), "mp3"),
        (LINEAR16, b"\1\0" * 16_000 * 61, "60 s"),
    ):
        with pytest.raises(exceptions.BadRequest, match=why):
            sdk.recognize(config=config, audio={"content": content}, retry=None)
    with pytest.raises(exceptions.BadRequest, match="send the audio itself"):
        sdk.recognize(config=LINEAR16, audio={"uri": "gs://a/b"}, retry=None)
    vendor.says(said({"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}, 400))
    with pytest.raises(exceptions.BadRequest, match="no"):
        sdk.recognize(config=LINEAR16, audio={"content": PCM}, retry=None)


def test_the_key_may_come_as_metadata(url, vendor):
    """A client without credentials of its own says the key with the call; an unknown one is a 401."""
    vendor.says(said(HEARD))
    client = speech.SpeechClient(
        transport="rest",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=url),
    )
    known = {"metadata": [("x-goog-api-key", "ik-ann")], "retry": None, "timeout": 10}
    assert client.recognize(config=LINEAR16, audio={"content": PCM}, **known).results
    options = ClientOptions(api_endpoint=url, api_key="nope")
    stranger = speech.SpeechClient(transport="rest", client_options=options)
    with pytest.raises(exceptions.Unauthorized, match="x-goog-api-key"):
        stranger.recognize(config=LINEAR16, audio={"content": PCM}, retry=None, timeout=10)


# Requests.


def a_body(data: bytes, **config: Any) -> dict[str, Any]:
    content = base64.b64encode(data).decode()
    return {"config": {"languageCode": "en-US", **config}, "audio": {"content": content}}


def a_second(data: bytes, **config: Any) -> dict[str, Any]:
    auto = {} if "explicitDecodingConfig" in config else {"autoDecodingConfig": {}}
    content = base64.b64encode(data).decode()
    return {"config": {"languageCodes": ["en-US"], **auto, **config}, "content": content}


def ask(body: Any, path: str = V1, told: Told = HERE) -> Any:
    return DOOR.ask(path, json.dumps(body).encode(), told)


def call_of(body: Any, path: str = V1, told: Told = HERE, **changes: Any) -> Any:
    made = ask(body, path, told)
    given = {
        "task": "transcribe",
        "request": made.request,
        "wire": "google_speech",
        "fields": made.fields,
        "extras": made.extras,
        "path": path,
    }
    return a_call(**(given | changes))


ENCODINGS = [
    ("LINEAR16", 1, "pcm_s16le", "pcm_s16le"),
    ("LINEAR16", 1, "wav", "wav"),
    ("FLAC", 2, "flac", "flac"),
    ("MULAW", 3, "mulaw", "mulaw"),
    ("OGG_OPUS", 6, "ogg_opus", "ogg_opus"),
    ("MP3", 8, "mp3", "mp3"),
    ("WEBM_OPUS", 9, "webm_opus", "webm_opus"),
    ("ALAW", 10, "alaw", "alaw"),
    ("ENCODING_UNSPECIFIED", 0, "flac", "flac"),
    ("ENCODING_UNSPECIFIED", 0, "wav", "wav"),
]


@pytest.mark.parametrize(("name", "value", "encoding", "heard"), ENCODINGS)
def test_every_encoding_by_name_and_number(name, value, encoding, heard):
    """What the body says and what the audio is agree; its length is that of its samples."""
    official = speech.RecognitionConfig.AudioEncoding.__members__
    assert name == "ALAW" or official[name] == value
    data = recording(encoding)
    for said_ in (name, value, str(value)):
        made = ask(a_body(data, encoding=said_, sampleRateHertz=16_000))
        assert (made.request.encoding, made.request.language) == (heard, "en-US")
        assert made.request.seconds == pytest.approx(1.2, abs=0.1)
        assert made.extras == frozenset()


@pytest.mark.parametrize("name", ["AMR", "AMR_WB", "SPEEX_WITH_HEADER_BYTE", "nope", 77, -1])
def test_what_cannot_be_heard_says_what_can(name):
    """Other encodings are refused with those that are taken."""
    with pytest.raises(BadRequest, match="LINEAR16"):
        ask(a_body(PCM, encoding=name, sampleRateHertz=16_000))


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({}, "config.encoding"),
        ({"encoding": "MP3"}, "config.sampleRateHertz"),
        ({"encoding": "MP3", "sampleRateHertz": 7999}, "config.sampleRateHertz"),
        ({"encoding": "MP3", "sampleRateHertz": 16000, "audioChannelCount": 9}, "audioChannel"),
        ({"encoding": "MP3", "sampleRateHertz": 16000, "languageCode": ""}, "languageCode"),
        ({"encoding": "MP3", "sampleRateHertz": []}, "sampleRateHertz"),
    ],
)
def test_a_wrong_config_is_named(config, where):
    """What the vendor would refuse is refused here, by its field."""
    with pytest.raises(BadRequest) as failed:
        ask(a_body(recording("mp3"), **config))
    assert where in str(failed.value)


def test_a_header_must_agree_with_the_body():
    """Another rate, or other channels, than the recording's own are the client's mistake."""
    wav = recording("wav", channels=2)
    with pytest.raises(BadRequest, match="2 channels"):
        ask(a_body(wav))
    with pytest.raises(BadRequest, match="8000"):
        ask(a_body(wav, audioChannelCount=2, sampleRateHertz=8000))
    with pytest.raises(BadRequest, match="has 2"):
        ask(a_body(wav, audioChannelCount=1))
    call = call_of(a_body(wav, audioChannelCount=2))
    assert API.units(call, "default") == Usage(seconds=4.0)


@pytest.mark.parametrize(
    ("config", "extra"),
    [
        ({"alternativeLanguageCodes": ["de-DE"]}, "config.alternativeLanguageCodes"),
        ({"maxAlternatives": 2}, "config.maxAlternatives"),
        ({"max_alternatives": "2"}, "config.maxAlternatives"),
        ({"profanityFilter": True}, "config.profanityFilter"),
        ({"speechContexts": [{"phrases": ["x"]}]}, "config.speechContexts"),
        ({"diarizationConfig": {"enableSpeakerDiarization": True}}, "config.diarizationConfig"),
        ({"enableWordConfidence": True}, "config.enableWordConfidence"),
        ({"useEnhanced": True}, "config.useEnhanced"),
        ({"enableSeparateRecognitionPerChannel": True}, "enableSeparateRecognitionPerChannel"),
        ({"newThing": {"a": [1]}}, "config.newThing"),
    ],
)
def test_what_the_hub_does_not_hold_keeps_the_call_with_the_vendor(config, extra):
    """Such a call is unfit for other wires, with the reason, and passes to the vendor as it came."""
    body = a_body(PCM, encoding=1, sampleRateHertz=16_000, **config)
    call = call_of(body)
    assert extra in "".join(call.extras)
    assert API.unfit(call, "default") == ""
    assert extra in apis.load("torchserve").unfit(call)
    assert extra in SECOND.unfit(call, "long")
    assert json.loads(API.request(call, "default").body) == body


def test_neutral_fields_keep_nothing():
    """Defaults, and what only says where a recording comes from, leave the call to everybody."""
    neutral = {
        "maxAlternatives": 1,
        "profanityFilter": False,
        "diarizationConfig": {"enableSpeakerDiarization": False},
        "speechContexts": [],
        "adaptation": {},
        "model": "latest_long",
        "enableAutomaticPunctuation": True,
        "metadata": {"interactionType": "DICTATION"},
        "useEnhanced": None,
    }
    made = ask(a_body(PCM, encoding=1, sampleRateHertz=16_000, **neutral))
    assert made.extras == frozenset()


def test_a_special_model_needs_a_backend_of_that_model():
    """Its price is its own; a model for speech of any kind leaves the choice to the route."""
    body = a_body(PCM, encoding=1, sampleRateHertz=16_000, model="medical_dictation")
    call = call_of(body)
    assert "medical_dictation" in API.unfit(call, "default")
    assert API.unfit(call, "medical_dictation") == ""
    assert json.loads(API.request(call, "medical_dictation").body) == body
    plain = call_of(a_body(PCM, encoding=1, sampleRateHertz=16_000))
    assert API.unfit(plain, "video") == ""
    assert json.loads(API.request(plain, "video").body)["config"]["model"] == "video"


def test_a_location_is_the_backends_own():
    """Where a client says where it is to be heard, a backend that is elsewhere is left."""
    told = Told({"project": "p", "location": "eu", "recognizer": "_"})
    call = call_of(a_second(recording("wav")), V2, told)
    assert "eu" in SECOND.unfit(call, "long")
    assert "eu" in API.unfit(call, "default")
    here = API.at("https://eu-speech.googleapis.com/v2/projects/p/locations/eu")
    assert here.unfit(call, "long") == ""


@pytest.mark.parametrize(
    ("body", "told", "why"),
    [
        (a_second(PCM), Told({"recognizer": "mine"}), "kept at the vendor"),
        ({"config": {"languageCodes": ["en"]}, "content": "YQ=="}, HERE, "autoDecodingConfig"),
        (a_second(PCM, languageCodes=[]), HERE, "languageCodes"),
        (a_second(PCM, explicitDecodingConfig={}), HERE, "encoding"),
        (a_second(PCM, explicitDecodingConfig={"encoding": "LINEAR16"}), HERE, "sampleRateHertz"),
        (a_second(b"") | {"uri": "gs://a/b"}, HERE, "uri"),
    ],
)
def test_the_second_versions_mistakes_are_named(body, told, why):
    """What cannot be served is said by its field, with what to do."""
    with pytest.raises(BadRequest, match=why):
        ask(body, V2, told)


def test_the_second_versions_numbers_are_its_own():
    """It counts its encodings otherwise than the first."""
    official = speech_v2.ExplicitDecodingConfig.AudioEncoding.__members__
    for name, encoding in (("MULAW", "mulaw"), ("ALAW", "alaw"), ("LINEAR16", "pcm_s16le")):
        said_ = {"encoding": int(official[name]), "sampleRateHertz": 16_000}
        made = ask(a_second(recording(encoding), explicitDecodingConfig=said_), V2)
        assert made.request.encoding == encoding
    made = ask(a_second(recording("mp4"), languageCodes=["auto"]), V2)
    assert (made.request.encoding, made.request.language) == ("mp4", None)
    several = ask(a_second(recording("wav"), languageCodes=["en-US", "de-DE"]), V2)
    assert several.extras == {"config.languageCodes"}


HUB = st.builds(
    TranscribeRequest,
    audio=st.binary(min_size=1, max_size=40),
    encoding=st.sampled_from(sorted(API.encodings["transcribe"] - {"alaw"})),
    seconds=st.floats(0.01, 60),
    language=st.sampled_from(["en", "de-CH", "pt", "zh", "xx", "nb"]),
    sample_rate_hz=st.integers(8_000, 48_000),
    timestamps=st.sampled_from(["none", "segment", "word"]),
    prompt=st.lists(st.text("abc -", max_size=20), max_size=3).map(", ".join),
)


@given(HUB, st.sampled_from(["", "default", "latest_long", "video"]))
def test_the_hubs_calls_are_the_vendors_messages(request, model):
    """Every call of another wire becomes a message of the vendor's own types, in both versions."""
    call = a_call(task="transcribe", request=request, wire="openai")
    assert API.unfit(call, model) == SECOND.unfit(call, model) == ""
    first = json.loads(API.request(call, model).body)
    official = speech.RecognizeRequest.from_json(json.dumps(first))
    assert official.audio.content == request.audio
    assert official.config.language_code == with_region(request.language)
    assert official.config.enable_word_time_offsets == (request.timestamps != "none")
    assert official.config.model == ("" if model == "default" else model)
    if request.encoding not in {"wav", "flac"}:
        assert official.config.sample_rate_hertz == request.sample_rate_hz
    second = speech_v2.RecognizeRequest.from_json(SECOND.request(call, model).body)
    assert second.content == request.audio
    assert list(second.config.language_codes) == [with_region(request.language)]
    bare = request.encoding in {"pcm_s16le", "mulaw"}
    assert second.config.explicit_decoding_config.sample_rate_hertz == (
        request.sample_rate_hz if bare else 0
    )
    hints = [
        p.value for s in second.config.adaptation.phrase_sets for p in s.inline_phrase_set.phrases
    ]
    assert [p for c in official.config.speech_contexts for p in c.phrases] == hints
    assert API.units(call, model) == Usage(seconds=float(ceil(request.seconds)))


HUB_ONE = TranscribeRequest(
    audio=b"x", encoding="wav", seconds=1.0, language="en", sample_rate_hz=16_000
)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"language": None}, "language"),
        ({"seconds": 60.1}, "60 s"),
        ({"audio": b"x" * (10 * 1024 * 1024 + 1)}, "bytes"),
        ({"channels": 2}, "channels"),
        ({"temperature": 0.4}, "temperature"),
        ({"prompt": "x" * 101}, "hints"),
    ],
)
def test_what_the_vendor_does_not_take_is_unfit(change, why):
    """A call of another wire that it cannot carry is left, with the reason."""
    request = msgspec.structs.replace(HUB_ONE, **change)
    assert why in API.unfit(a_call(task="transcribe", request=request, wire="openai"), "default")


def test_a_language_that_is_to_be_found_out_needs_a_model_that_can():
    """The second version's newer models do."""
    request = msgspec.structs.replace(HUB_ONE, language=None)
    call = a_call(task="transcribe", request=request, wire="openai")
    assert SECOND.unfit(call, "long")
    assert SECOND.unfit(call, "chirp_2") == ""
    sent = json.loads(SECOND.request(call, "chirp_2").body)
    assert sent["config"]["languageCodes"] == ["auto"]


# Answers.

TIMES = st.integers(0, 59_000).map(lambda ms: ms / 1000)
SCORE = st.none() | st.integers(1, 99).map(lambda n: n / 100)
WORDS = st.lists(
    st.builds(
        lambda a, b, text, score: Word(start=min(a, b), end=max(a, b), text=text, score=score),
        TIMES,
        TIMES,
        st.text("abcäß", min_size=1, max_size=5),
        SCORE,
    ),
    max_size=4,
).map(tuple)
RESULTS = st.builds(
    TranscribeResult,
    text=st.text("abc .ä", max_size=20).map(str.strip),
    language=st.sampled_from([None, "en-US", "de", "zh-Hans-CN"]),
    seconds=st.just(1.0),
    words=WORDS,
    score=SCORE,
)


@given(RESULTS, st.booleans())
def test_what_was_said_survives_the_wire(result, second):
    """Written for a client it is a message of the vendor's own types, and read back the same."""
    path = V2 if second else V1
    reply = Reply(backend="b", result=result, usage=Usage(seconds=2.0))
    body = DOOR.whole(a_call(task="transcribe", request=HUB_ONE, path=path), reply)
    kinds = speech_v2.RecognizeResponse if second else speech.RecognizeResponse
    kinds.from_json(body)
    asked = msgspec.structs.replace(HUB_ONE, timestamps="word")
    reader = API.reader(a_call(task="transcribe", request=asked, wire="openai"), "m")
    back = reader.whole(body)
    assert reader.usage == Usage(seconds=2.0)
    assert isinstance(back, TranscribeResult)
    if not result.text:
        assert (back.text, back.words) == ("", ())
        return
    assert (back.text, back.words) == (result.text, result.words)
    assert (back.language, back.score) == (result.language, result.score)


def test_results_follow_one_another():
    """Transcripts bring their own spaces; each result is a segment, from where the last one ended."""
    asked = msgspec.structs.replace(HUB_ONE, timestamps="segment", seconds=2.5)
    reader = API.reader(a_call(task="transcribe", request=asked, wire="openai"), "m")
    result = reader.whole(json.dumps(HEARD).encode())
    assert result == TranscribeResult(
        text="good morning everybody",
        language="en-US",
        seconds=2.5,
        segments=(
            Segment(start=0.0, end=0.9, text="good morning"),
            Segment(start=0.9, end=0.9, text="everybody"),
        ),
    )
    assert reader.usage == Usage(seconds=2.0)


@pytest.mark.parametrize(
    ("body", "used"),
    [
        ({}, 3.0),
        ({"totalBilledTime": "15s"}, 15.0),
        ({"metadata": {"totalBilledDuration": "4.500s"}}, 4.5),
        ({"totalBilledTime": "soon"}, 3.0),
        ({"results": [{}]}, 3.0),
    ],
)
def test_an_empty_answer_is_billed(body, used):
    """As the vendor says; where it says nothing, the recording's seconds, rounded up."""
    asked = msgspec.structs.replace(HUB_ONE, seconds=2.1)
    reader = API.reader(a_call(task="transcribe", request=asked, wire="openai"), "m")
    result = reader.whole(json.dumps(body).encode())
    assert result.text == ""
    assert reader.usage == Usage(seconds=used)


@pytest.mark.parametrize("body", [b'{"unexpected":{"shape":[1]}}', b'{"error":"no"}'])
def test_an_answer_of_another_shape_is_not_taken_for_silence(body):
    """Only an empty object says that nothing was said."""
    with pytest.raises(Malformed):
        API.reader(a_call(task="transcribe", request=HUB_ONE), "m").whole(body)


@given(st.floats(0, 10**8))
def test_durations_are_read_as_written(length):
    """To the millisecond."""
    assert seconds(duration(length)) == pytest.approx(length, abs=0.0005)


@pytest.mark.parametrize("said_", [None, 5, "", "s", "1", "-1s", "1.s", "1e3s", "1" * 20 + "s", []])
def test_what_is_no_duration_is_none(said_):
    """Never another number, and never an error."""
    assert seconds(said_) is None


def test_tags_are_the_vendors():
    """Languages go with their regions, and come back in the customary case."""
    assert [with_region(tag) for tag in ("en", "de-CH", "zh", "xx")] == [
        "en-US",
        "de-CH",
        "cmn-Hans-CN",
        "xx",
    ]
    assert [tidy(tag) for tag in ("en-us", "cmn-hans-cn", "DE")] == ["en-US", "cmn-Hans-CN", "de"]


# Errors, and nonsense.

ERRORS = yaml.safe_load((Path(__file__).parent / "cases/google_speech/errors.yaml").read_text())


@pytest.mark.parametrize("case", ERRORS, ids=lambda c: c["code"])
def test_a_refusal_of_the_vendor_is_read(case):
    """Code, sentence and wait are those of the body; a client of the wire gets it unchanged."""
    raw = json.dumps(case["body"]).encode()
    failure = API.failure(case["status"], raw)
    assert (failure.code, failure.message) == (case["code"], case["message"])
    assert failure.retry_after == case.get("retry_after")
    assert judge("google_speech", case["status"], failure.code).name == case["verdict"]
    reply = Reply(backend="b", status=case["status"], verdict=INVALID)
    reply.failure = failure
    assert DOOR.whole(a_call(task="transcribe", request=HUB_ONE), reply) == raw


WORDS_OF_THE_WIRE = [
    "config",
    "audio",
    "content",
    "uri",
    "encoding",
    "sampleRateHertz",
    "languageCode",
    "languageCodes",
    "autoDecodingConfig",
    "explicitDecodingConfig",
    "features",
    "model",
    "results",
    "alternatives",
    "transcript",
    "confidence",
    "words",
    "startTime",
    "metadata",
    "totalBilledTime",
    "totalBilledDuration",
]
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS_OF_THE_WIRE), inner, max_size=4)
    ),
    max_leaves=14,
)
BYTES = st.binary(max_size=100) | NONSENSE.map(lambda x: json.dumps(x).encode())
DEEP = b'{"config":' + b"[" * 100_000


@st.composite
def spoiled(draw: Any) -> bytes:
    """A right body of either version with something in its place, or beside it."""
    first = a_body(PCM, encoding="LINEAR16", sampleRateHertz=16_000)
    explicit = {"encoding": "LINEAR16", "sampleRateHertz": 16_000}
    second = a_second(PCM, explicitDecodingConfig=explicit, features={"maxAlternatives": 1})
    body = draw(st.sampled_from([first, second]))
    holders = [body, *(v for v in body.values() if isinstance(v, dict))]
    holders += [v for v in body["config"].values() if isinstance(v, dict)]
    draw(st.sampled_from(holders))[draw(st.sampled_from(WORDS_OF_THE_WIRE))] = draw(NONSENSE)
    return json.dumps(body).encode()


@pytest.mark.parametrize("path", [V1, V2])
@given(body=BYTES | spoiled())
@example(body=DEEP)
@example(body=b"")
@example(body=b'{"config":null}')
@example(body=b'{"config":{"languageCode":"en"},"audio":{"content":"UklGRg=="}}')
def test_any_body_is_a_bad_request_or_a_call(path, body):
    """Whatever a client sends, it is told what is wrong, or the call can be sent and counted."""
    try:
        made = DOOR.ask(path, body, HERE)
    except BadRequest as exc:
        error = json.loads(DOOR.error(exc))["error"]
        assert (error["code"], error["message"]) == (exc.status, str(exc))  # noqa: PT017
        return
    call = a_call(
        task="transcribe",
        request=made.request,
        wire="google_speech",
        fields=made.fields,
        extras=made.extras,
        path=path,
    )
    for api in (API, SECOND):
        if not api.unfit(call, "long"):
            json.loads(api.request(call, "long").body)
        assert api.units(call, "long").seconds >= made.request.seconds


@given(BYTES)
@example(b'{"results":null}')
@example(b'{"results":[{"alternatives":[{"confidence":"NaN"}]}]}')
@example(DEEP)
def test_any_answer_is_malformed_or_whole(body):
    """Whatever the vendor answers, in the same wire and through the hub."""
    for wire in ("google_speech", "openai"):
        call = a_call(task="transcribe", request=HUB_ONE, wire=wire, path=V1)
        reader = API.reader(call)
        try:
            result = reader.whole(body)
        except Malformed:
            assert reader.usage is None
            continue
        assert reader.usage.seconds >= 0
        reply = Reply(backend="b", usage=reader.usage)
        if isinstance(result, bytes):
            reply.body = result
        else:
            reply.result = result
        json.loads(DOOR.whole(call, reply))


def test_the_body_is_bounded():
    """10 MB of audio, as the vendor takes: 413."""
    with pytest.raises(BadRequest) as failed:
        DOOR.ask(V1, b" " * 15_000_000, HERE)
    assert failed.value.status == 413
