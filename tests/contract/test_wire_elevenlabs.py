"""ElevenLabs' wire: the vendor's own SDK before the router, and what the router sends the vendor."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import Request, urlopen

import httpx  # noqa: TID251 - what the vendor's SDK raises
import msgspec
import pytest
import yaml
from elevenlabs import ElevenLabs, UnprocessableEntityError, VoiceSettings
from elevenlabs.core.api_error import ApiError
from elevenlabs.text_to_speech.raw_client import RawTextToSpeechClient
from elevenlabs.text_to_speech.types import (
    TextToSpeechConvertRequestOutputFormat,
    TextToSpeechStreamRequestOutputFormat,
)
from hypothesis import assume, example, given
from hypothesis import strategies as st
from wire_served import Answer, Vendor, said, served

from router import apis
from router.apis.elevenlabs.door import STREAM, TIMED
from router.apis.elevenlabs.formats import format_of
from router.core.api import Malformed, Told
from router.core.call import Usage
from router.core.errors import BadRequest
from router.core.reply import Reply
from router.core.task import Audio, SpeakRequest, SpeakResult
from router.core.verdict import INVALID, judge
from tests.fakes import a_call

API, DOOR = apis.load("elevenlabs"), apis.door("elevenlabs")
SPEECH = "/v1/text-to-speech/{voice_id}"
FORMATS = get_args(get_args(TextToSpeechConvertRequestOutputFormat)[0])
STREAMED = get_args(get_args(TextToSpeechStreamRequestOutputFormat)[0])
KNOWN = set(inspect.signature(RawTextToSpeechClient.convert).parameters) - {"self", "voice_id"}
QUERY = {"enable_logging", "optimize_streaming_latency", "output_format"}
CONFIG = """
keys: [{name: ann, team: red, key_env: ANN}]
backends:
  flash: {api: elevenlabs, model: eleven_flash_v2_5, base: VENDOR, key_env: ELEVEN}
  named: {api: elevenlabs, model: eleven_v3, base: VENDOR, key_env: ELEVEN, voices: {rachel: v1, adam: v2, '*': v3}}
routes:
  speech: {task: speak, backends: [flash]}
  fine: {task: speak, backends: [named]}
doors: {elevenlabs: {speak: speech}}
"""
ENV = {"ANN": "ik-ann", "ELEVEN": "xi-vendor"}
MP3 = Answer(
    b"ID3 audio", headers={"content-type": "audio/mpeg", "character-cost": "6", "request-id": "r1"}
)


@pytest.fixture
def vendor():
    return Vendor()


@pytest.fixture
def url(vendor, tmp_path):
    with served(tmp_path, CONFIG, vendor, ENV) as found:
        yield found


@pytest.fixture
def sdk(url, vendor):
    vendor.says(MP3)
    return ElevenLabs(base_url=url, api_key="ik-ann", timeout=10)


# The vendor's own client.


def test_the_sdk_gets_its_audio_and_what_it_cost(sdk, vendor):
    """Voice, text and format reach the vendor with the router's key; the vendor's headers come back."""
    with sdk.text_to_speech.with_raw_response.convert(
        "v9", text="hello world", model_id="eleven_multilingual_v2"
    ) as raw:
        assert b"".join(raw.data) == b"ID3 audio"
        told = raw.headers
    sent = vendor.last
    assert (sent.method, sent.path) == ("POST", "/v1/text-to-speech/v9")
    assert sent.query == {"output_format": "mp3_44100_128"}
    assert sent.headers["xi-api-key"] == "xi-vendor"
    assert sent.json == {"text": "hello world", "model_id": "eleven_flash_v2_5"}
    assert (told["character-cost"], told["request-id"]) == ("6", "r1")
    assert told["content-type"] == "audio/mpeg"
    # 6 credits at 80 USD a million.
    assert told["x-isocost-cost-usd"] == "0.00048"


def test_the_sdk_gets_a_stream(sdk, vendor):
    """Pieces come in their order, from the vendor's stream."""
    vendor.says(Answer([b"one", b"two", b"three"], headers=MP3.headers))
    pieces = sdk.text_to_speech.stream("v9", text="hello", output_format="opus_48000_64")
    assert b"".join(pieces) == b"onetwothree"
    assert vendor.last.path == "/v1/text-to-speech/v9/stream"
    assert vendor.last.query == {"output_format": "opus_48000_64"}


def test_a_broken_stream_is_never_an_end(sdk, vendor):
    """The vendor breaks off after the first pieces: the client's connection is cut."""
    vendor.says(Answer([b"one", b"two"], headers=MP3.headers, cut=True))
    with pytest.raises(httpx.RemoteProtocolError):
        b"".join(sdk.text_to_speech.stream("v9", text="hello"))


def test_everything_that_the_sdk_can_say_reaches_the_vendor(sdk, vendor):
    """Settings, seed, context and the URL's own switches arrive as they were said."""
    said_ = {
        "language_code": "de",
        "seed": 7,
        "previous_text": "Before.",
        "next_text": "After.",
        "apply_text_normalization": "off",
    }
    settings = VoiceSettings(stability=0.4, speed=1.1)
    audio = sdk.text_to_speech.convert(
        "v9",
        text="hello",
        voice_settings=settings,
        enable_logging=False,
        optimize_streaming_latency=2,
        output_format="mp3_22050_32",
        **said_,
    )
    assert b"".join(audio) == b"ID3 audio"
    body = vendor.last.json
    assert body.pop("voice_settings") == {"stability": 0.4, "speed": 1.1}
    assert body == {"text": "hello", "model_id": "eleven_flash_v2_5", **said_}
    assert vendor.last.query == {
        "enable_logging": "false",
        "optimize_streaming_latency": "2",
        "output_format": "mp3_22050_32",
    }


@pytest.mark.parametrize("name", [n for n in FORMATS if not n.startswith("wav_")])
def test_every_format_is_asked_for_by_its_name(sdk, vendor, name):
    """The vendor is asked for exactly what the client asked for, and its bytes pass."""
    assert b"".join(sdk.text_to_speech.convert("v", text="x", output_format=name)) == b"ID3 audio"
    assert vendor.last.query == {"output_format": name}


def test_wav_is_the_vendors_pcm_in_a_file(sdk, vendor):
    """A WAV file of the wanted rate, the same samples."""
    samples = bytes(range(200)) * 100
    vendor.says(Answer(samples, headers=MP3.headers))
    audio = b"".join(sdk.text_to_speech.convert("v", text="x", output_format="wav_16000"))
    assert vendor.last.query == {"output_format": "pcm_16000"}
    assert audio[:4] == b"RIFF"
    assert int.from_bytes(audio[24:28], "little") == 16000
    assert audio.endswith(samples)


def test_the_route_is_the_models_name_or_the_headers(sdk, vendor):
    """A route named by model_id serves; the header counts more; the vendor's own names leave it."""
    for model, header, served_by in (
        ("fine", "", "eleven_v3"),
        ("fine", "speech", "eleven_flash_v2_5"),
        ("eleven_turbo_v2", "", "eleven_flash_v2_5"),
        (None, "", "eleven_flash_v2_5"),
    ):
        options = {"additional_headers": {"x-isocost-route": header}} if header else {}
        more = {"model_id": model} if model else {}
        b"".join(sdk.text_to_speech.convert("rachel", text="x", request_options=options, **more))
        assert vendor.last.json["model_id"] == served_by
    assert vendor.sent[0].path == "/v1/text-to-speech/v1", "the backend's own name of the voice"


def test_a_body_that_is_not_right_is_a_422_that_the_sdk_knows(sdk, vendor):
    """As FastAPI says it: where, what, and which kind."""
    with pytest.raises(UnprocessableEntityError) as caught:
        b"".join(sdk.text_to_speech.convert("v", text="x", voice_settings=VoiceSettings(speed=3)))
    (fault,) = caught.value.body["detail"]
    assert fault["loc"] == ["body", "voice_settings", "speed"]
    assert "1.2" in fault["msg"]
    with pytest.raises(UnprocessableEntityError) as caught:
        b"".join(sdk.text_to_speech.stream("v", text="x", output_format="wav_16000"))
    assert caught.value.body["detail"][0]["loc"] == ["query", "output_format"]
    assert not vendor.sent


def test_refusals_come_in_the_wires_shape(sdk, vendor, url):
    """Unknown keys, timestamps, and a vendor that refuses us."""
    stranger = ElevenLabs(base_url=url, api_key="nobody")
    with pytest.raises(ApiError) as caught:
        b"".join(stranger.text_to_speech.convert("v", text="x"))
    assert (caught.value.status_code, caught.value.body["detail"]["status"]) == (
        401,
        "invalid_api_key",
    )
    assert "xi-api-key" in caught.value.body["detail"]["message"]
    with pytest.raises(ApiError) as caught:
        sdk.text_to_speech.convert_with_timestamps("v", text="x")
    assert caught.value.body["detail"]["status"] == "timestamps_not_supported"
    vendor.says(said({"detail": {"status": "quota_exceeded", "message": "No credits."}}, 401))
    with pytest.raises(ApiError) as caught:
        b"".join(sdk.text_to_speech.convert("v", text="x"))
    assert caught.value.status_code == 503
    assert "xi-vendor" not in json.dumps(caught.value.body)
    detail = {"detail": [{"loc": ["body", "seed"], "msg": "Too large", "type": "less_than"}]}
    vendor.says(said(detail, 422))
    with pytest.raises(UnprocessableEntityError) as caught:
        b"".join(sdk.text_to_speech.convert("v", text="x", seed=2**40))
    assert caught.value.body == detail, "the vendor's own words pass"


def test_the_sdk_reads_models_voices_and_the_account(sdk, vendor):
    """Models are routes, voices those of the configuration, the count what the key has used."""
    models = {m.model_id: m.can_do_text_to_speech for m in sdk.models.list()}
    assert models == {"speech": True, "fine": True}
    assert [v.voice_id for v in sdk.voices.get_all().voices] == ["adam", "rachel"]
    assert sdk.voices.get("rachel").name == "rachel"
    with pytest.raises(ApiError) as caught:
        sdk.voices.get("nobody")
    assert caught.value.status_code == 404
    assert caught.value.body["detail"]["status"] == "voice_not_found"
    page = sdk.voices.search(page_size=1)
    assert ([v.name for v in page.voices], page.has_more, page.total_count) == (["adam"], True, 2)
    rest = sdk.voices.search(page_size=1, next_page_token=page.next_page_token)
    assert ([v.name for v in rest.voices], rest.has_more) == (["rachel"], False)
    assert [v.name for v in sdk.voices.search(search="ACH").voices] == ["rachel"]
    with pytest.raises(ApiError, match="gender"):
        sdk.voices.search(gender="female")
    before = sdk.user.subscription.get().character_count
    b"".join(sdk.text_to_speech.convert("v", text="seven l"))
    found = sdk.user.subscription.get()
    assert found.character_count == before + 7
    assert found.character_limit > found.character_count
    assert found.open_invoices == []
    me = sdk.user.get()
    assert (me.user_id, me.subscription.character_count) == ("ann", found.character_count)
    assert me.xi_api_key_preview is None


def test_a_client_of_another_wire_is_spoken_to_by_it(vendor, url):
    """OpenAI's client: its voice by the backend's name, its encoding made here, no vendor's headers."""
    vendor.says(Answer(bytes(4800), headers=MP3.headers))
    body = {
        "model": "fine",
        "input": "hi",
        "voice": "adam",
        "response_format": "flac",
        "speed": 0.9,
    }
    headers = {"authorization": "Bearer ik-ann", "content-type": "application/json"}
    asked = Request(f"{url}/v1/audio/speech", json.dumps(body).encode(), headers)
    with urlopen(asked, timeout=10) as answer:
        assert answer.read(4) == b"fLaC"
        assert "character-cost" not in answer.headers
        # 6 credits at 80 USD a million.
        assert answer.headers["x-isocost-cost-usd"] == "0.00048"
    assert vendor.last.path == "/v1/text-to-speech/v2"
    assert vendor.last.query == {"output_format": "pcm_24000"}
    settings = {"voice_settings": {"speed": 0.9}}
    assert vendor.last.json == {"text": "hi", "model_id": "eleven_v3"} | settings


def test_models_without_the_vendors_header_are_openais(url):
    """The path is shared: who sends no xi-api-key gets the other wire's list."""
    asked = Request(f"{url}/v1/models", headers={"authorization": "Bearer ik-ann"})
    with urlopen(asked, timeout=10) as answer:
        assert json.loads(answer.read())["object"] == "list"


# Requests.

WORDS = st.text(min_size=1, max_size=30).filter(lambda text: text.strip())
BODIES = st.fixed_dictionaries(
    {"text": WORDS},
    optional={
        "model_id": st.none() | WORDS,
        "language_code": st.sampled_from(["de", "en", "pt-BR"]) | st.none(),
        "voice_settings": st.fixed_dictionaries(
            {}, optional={"speed": st.floats(0.7, 1.2), "stability": st.floats(0, 1) | st.none()}
        )
        | st.none(),
        "seed": st.integers(0, 2**32 - 1) | st.none(),
        "previous_text": st.text(max_size=9),
        "pronunciation_dictionary_locators": st.just([]),
        "apply_text_normalization": st.sampled_from(["auto", "on", "off"]),
    },
)
ASKED = st.fixed_dictionaries(
    {},
    optional={
        "output_format": st.sampled_from(FORMATS),
        "enable_logging": st.sampled_from(["true", "false"]),
        "optimize_streaming_latency": st.sampled_from("01234"),
    },
)
VOICES = st.text(min_size=1, max_size=12).filter(lambda v: v.isprintable()) | st.sampled_from(
    [".", "..", "../../user", "a/b", "v?x=1", "v#1", "%2F"]
)


def spoken(body: Any, told: Told = Told({"voice_id": "v"}), path: str = SPEECH, **changes: Any):  # noqa: B008
    """The call that the door makes of a body."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    ask = DOOR.ask(path, raw, told)
    given = {"fields": ask.fields, "extras": ask.extras, "stream": ask.stream, "path": path}
    return a_call(task="speak", wire="elevenlabs", request=ask.request, **(given | changes))


@given(BODIES, ASKED, VOICES, st.booleans())
def test_what_is_sent_reads_as_what_was_asked(body, asked, voice, stream):
    """Reading the request that a call becomes gives the call again; all of it is the vendor's."""
    path = STREAM if stream else SPEECH
    if stream and asked.get("output_format", "") not in STREAMED:
        asked.pop("output_format", None)
    call = spoken(body, Told({"voice_id": voice}, asked), path)
    assume(call.request.encoding != "wav")  # asked for as PCM, by another layer
    wire = API.request(call, "eleven_flash_v2_5")
    parts = urlsplit(wire.path)
    query = dict(parse_qsl(parts.query))
    assert query.keys() <= QUERY
    assert query["output_format"] in FORMATS
    assert asked.items() <= query.items()
    sent = json.loads(wire.body)
    assert sent.keys() <= KNOWN
    assert parts.path.endswith("/stream") is stream
    found = parts.path.removeprefix("/v1/text-to-speech/").removesuffix("/stream" if stream else "")
    assert not set("/.") & set(found), "no other path can be meant"
    assert unquote(found) == voice
    again = spoken(sent, Told({"voice_id": voice}, query), path)
    assert again.extras == call.extras
    if "output_format" in asked:
        assert again.request == call.request
    else:
        assert (again.request.text, again.request.speed) == (call.request.text, call.request.speed)
        assert again.request.encoding == "mp3"


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["text", "model_id", "voice_settings", "speed", "language_code", "seed"]
                ),
                inner,
                max_size=4,
            )
        ),
    ).map(lambda found: json.dumps(found).encode()),
    st.dictionaries(st.sampled_from(sorted(QUERY)), st.text(max_size=6)),
    st.sampled_from([SPEECH, STREAM, *TIMED]),
)
@example(b'{"text":' + b"[" * 100_000, {}, SPEECH)
@example(b'{"text":"x","seed":' + b"[" * 100_000, {}, SPEECH)
@example(b'{"text":"\\ud800"}', {}, SPEECH)
@example(b'{"text":"x","voice_settings":{"speed":NaN}}', {}, SPEECH)
@example(b'{"text":"x"}', {"optimize_streaming_latency": "\u0661"}, SPEECH)
def test_any_bytes_as_a_request(body, query, path):
    """A call that can be sent, or BadRequest in the wire's shape."""
    try:
        call = spoken(body, Told({"voice_id": "v"}, query), path)
    except BadRequest as exc:
        check_refusal(exc)
        return
    json.loads(
        API.request(
            msgspec.structs.replace(
                call, request=msgspec.structs.replace(call.request, encoding="mp3")
            ),
            "m",
        ).body
    )


def check_refusal(error: BadRequest) -> None:
    detail = json.loads(DOOR.error(error))["detail"]
    listed = isinstance(detail, list)
    assert listed == (error.status == 422)
    assert str(error) in (detail[0]["msg"] if listed else detail["message"])


HUB = st.builds(
    SpeakRequest,
    text=WORDS,
    voice=VOICES,
    encoding=st.sampled_from(sorted(API.encodings["speak"])),
    sample_rate_hz=st.none() | st.integers(4000, 200_000),
    bit_rate=st.none() | st.integers(8000, 512_000),
    speed=st.floats(0.7, 1.2),
    language=st.sampled_from([None, "de", "pt-BR"]),
)


@given(HUB, st.booleans())
def test_calls_of_other_wires_are_the_vendors(request_, stream):
    """Any request of the hub becomes one in the vendor's own terms, whatever rate it wants."""
    call = a_call(task="speak", wire="openai", request=request_, stream=stream)
    assert API.unfit(call, "eleven_flash_v2_5") == ""
    wire = API.request(call, "eleven_flash_v2_5")
    sent = json.loads(wire.body)
    assert sent.keys() <= KNOWN
    VoiceSettings.model_validate(sent.get("voice_settings", {}), strict=True)
    assert sent.get("voice_settings", {"speed": 1.0})["speed"] == request_.speed
    assert dict(parse_qsl(urlsplit(wire.path).query))["output_format"] in (
        STREAMED if stream else FORMATS
    )


RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)


@given(st.none() | st.integers(4000, 200_000))
def test_a_rate_is_never_lowered_where_it_can_be_had(rate):
    """Samples of the next rate above, else of the highest; what nobody asked for is usual."""
    request = SpeakRequest(text="x", voice="v", encoding="pcm_s16le", sample_rate_hz=rate)
    found = format_of(request).sample_rate_hz
    if rate is None:
        assert found == 24_000
    else:
        assert found == min((r for r in RATES if r >= rate), default=48_000)


@pytest.mark.parametrize(
    ("encoding", "rate", "bits", "name"),
    [
        ("mp3", None, None, "mp3_44100_128"),
        ("mp3", 44_100, None, "mp3_44100_128"),
        ("mp3", 22_050, None, "mp3_22050_32"),
        ("mp3", 44_100, 70_000, "mp3_44100_96"),
        ("mp3", 44_100, 999_000, "mp3_44100_192"),
        ("mp3", 48_000, 64_000, "mp3_44100_64"),
        ("ogg_opus", None, None, "opus_48000_128"),
        ("ogg_opus", 48_000, 1, "opus_48000_32"),
        ("mulaw", 16_000, None, "ulaw_8000"),
    ],
)
def test_the_nearest_format_is_asked_for(encoding, rate, bits, name):
    """Enough before too little, then by distance."""
    request = SpeakRequest(
        text="x", voice="v", encoding=encoding, sample_rate_hz=rate, bit_rate=bits
    )
    assert format_of(request).name == name


@pytest.mark.parametrize(
    ("changes", "model", "why"),
    [
        ({"speed": 2.0}, "eleven_v3", "speed"),
        ({"text": "x" * 10_001}, "eleven_multilingual_v2", "10000 characters"),
        ({"text": "x" * 40_001}, "eleven_flash_v2_5", "40000 characters"),
        ({"text": "x" * 30_001}, "eleven_turbo_v2", "30000 characters"),
        ({"language": "de"}, "eleven_multilingual_v2", "language"),
    ],
)
def test_what_it_cannot_honour_it_does_not_take(changes, model, why):
    """A field that matters and that the model has no way to follow leaves the backend."""
    request = SpeakRequest(**({"text": "hi", "voice": "v"} | changes))
    assert why in API.unfit(a_call(task="speak", wire="openai", request=request), model)


def test_extras_stay_with_their_wire():
    """What changes the sound keeps the call; neutral values and the route do not."""
    for body, extras in (
        ({"text": "x", "seed": 1, "next_text": "y"}, {"seed", "next_text"}),
        ({"text": "x", "voice_settings": {"speed": 1.1, "style": None}}, set()),
        ({"text": "x", "voice_settings": {"style": 0.5}}, {"voice_settings"}),
        ({"text": "x", "model_id": "m", "apply_text_normalization": "auto", "seed": None}, set()),
    ):
        call = spoken(body)
        assert call.extras == extras
        openai = apis.load("openai").unfit(call, "tts-1")
        assert bool(openai) == bool(extras)
    kept = spoken({"text": "x"}, Told({"voice_id": "v"}, {"enable_logging": "false"}))
    assert kept.extras == {"enable_logging"}


# Answers.


@given(
    st.text(max_size=200), st.sampled_from(["eleven_flash_v2_5", "eleven_turbo_v2", "eleven_v3"])
)
def test_the_bound_is_the_vendors_own_rule(text, model):
    """One credit per character, or per two, rounded up."""
    call = a_call(task="speak", request=SpeakRequest(text=text, voice="v"))
    half = model != "eleven_v3"
    assert API.units(call, model) == Usage(credits=(len(text) + 1) // 2 if half else len(text))


def reader(**changes: Any):
    request = SpeakRequest(text="hello", voice="v", encoding="pcm_s16le", sample_rate_hz=16000)
    return API.reader(a_call(task="speak", request=request, **changes), "eleven_v3")


@given(st.lists(st.binary(max_size=20), max_size=6), st.booleans())
def test_a_stream_is_read_as_it_came(chunks, whole):
    """Audio is what came; a body that did not end, or that held nothing, is no answer."""
    one = reader(stream=True)
    one.head({b"character-cost": b"5"})
    events = [e for chunk in chunks for e in one.feed(chunk)]
    assert b"".join(e.data for e in events) == b"".join(chunks)
    assert all(isinstance(e, Audio) and e.data and e.sample_rate_hz == 16000 for e in events)
    assert not one.end()
    if whole:
        one.finish()
    assert one.end() == (whole and any(chunks))
    assert one.usage == Usage(characters=5, credits=5)


@pytest.mark.parametrize("cost", [b"", b"-1", b"1.5", b"many", b"9" * 13])
def test_a_cost_that_is_not_told_stays_unknown(cost):
    """Then the quote is held."""
    one = reader()
    one.head({b"character-cost": cost})
    assert isinstance(one.whole(b"sound"), SpeakResult)
    assert one.usage is None


def test_what_is_no_audio_is_malformed():
    """An empty body, and JSON, events or a page of text under status 200."""
    with pytest.raises(Malformed):
        reader().whole(b"")
    for kind in (b"application/json", b"text/event-stream", b"text/html; charset=utf-8"):
        with pytest.raises(Malformed):
            reader().head({b"content-type": kind})


def test_the_vendors_headers_pass_to_its_own_clients_only():
    """Another wire's client sees none of them."""
    headers = {b"character-cost": b"5", b"request-id": b"r", b"server": b"uvicorn"}
    for wire, passed in (("elevenlabs", {b"character-cost", b"request-id"}), ("openai", set())):
        one = reader(wire=wire)
        one.head(headers)
        assert {name for name, _ in one.passed} == passed


ERRORS = yaml.safe_load((Path(__file__).parent / "cases/elevenlabs/errors.yaml").read_text())


@pytest.mark.parametrize("case", ERRORS, ids=lambda c: f"{c['status']}-{c['code']}")
def test_an_error_is_read_and_judged(case):
    """Code, message and verdict are those of the recording, and its body passes to its own clients."""
    raw = json.dumps(case["body"]).encode()
    found = API.failure(case["status"], raw)
    assert (found.code, found.message) == (case["code"], case["message"])
    assert judge("elevenlabs", case["status"], found.code).name == case["verdict"]
    reply = Reply(backend="b", status=case["status"], verdict=INVALID)
    reply.failure = found
    assert json.loads(DOOR.whole(spoken({"text": "x"}), reply)) == case["body"]


@given(st.binary(max_size=80), st.integers(400, 599))
@example(b'{"detail":[]}', 422)
@example(b'{"detail":null}', 500)
@example(b'{"detail":{"status":null}}', 400)
@example(b'{"detail":' + b"[" * 100_000, 500)
@example(b'{"error":{"message":"other wire"}}', 400)
def test_any_bytes_as_an_error(body, status):
    """Whatever a backend answers, the client gets the wire's shape."""
    reply = Reply(backend="b", status=status, verdict=INVALID)
    reply.failure = API.failure(status, body)
    assert "detail" in json.loads(DOOR.whole(spoken({"text": "x"}), reply))
