"""ElevenLabs by its own SDK: sound in every format, credits, lists, and how it refuses."""

import io
import json
import wave

import pytest
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.types import AllowedOutputFormats  # noqa: F401  the SDK still has the type
from elevenlabs.types.voice_settings import VoiceSettings

from load_tests.sandbox.elevenlabs_sound import FORMATS
from load_tests.sandbox.media import hear
from load_tests.sandbox.tones import listen

VOICE = "JBFqnCBsd6RMkjVDRZzb"
KEY = {"xi-api-key": "sk-sandbox-1", "content-type": "application/json"}
TEXT = "Hello from the eleventh floor."
SPEAK = f"/v1/text-to-speech/{VOICE}"

pytestmark = pytest.mark.system


@pytest.fixture
def eleven(box):
    return ElevenLabs(api_key="sk-sandbox-1", base_url=box.url)


def heard(audio: bytes, form) -> str | None:
    bare = form.container if form.container in ("s16le", "mulaw", "alaw") else ""
    return listen(hear(audio, bare, form.rate).samples)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_real_sound_of_its_rate(box, name):
    form = FORMATS[name]
    status, headers, audio = box.ask("POST", f"{SPEAK}?output_format={name}", {"text": TEXT}, KEY)
    assert (status, headers["content-type"]) == (200, form.content_type)
    assert heard(audio, form) == TEXT
    if name.startswith("wav"):
        with wave.open(io.BytesIO(audio)) as file:
            assert file.getframerate() == int(name[4:])
    if name.startswith("mp3"):
        assert hear(audio).rate == int(name.split("_")[1])


def test_whole_and_streamed_are_the_same_sound_and_cost_credits(eleven, box):
    whole = b"".join(eleven.text_to_speech.convert(VOICE, text=TEXT))
    assert b"".join(eleven.text_to_speech.stream(VOICE, text=TEXT)) == whole
    b"".join(eleven.text_to_speech.convert(VOICE, text="odd", model_id="eleven_flash_v2_5"))
    first, second, half = box.lines()
    assert first["units"] == second["units"] == {"credits": len(TEXT)}
    assert first["pico_usd"] == len(TEXT) * 80_000_000
    assert half["units"] == {"credits": 2}
    assert (first["stream"], second["stream"]) == (False, True)


def test_the_cost_is_told_before_the_body_and_billed_even_when_it_is_cut(box):
    status, headers, _ = box.ask("POST", SPEAK, {"text": TEXT}, KEY)
    assert status == 200
    assert headers["character-cost"] == str(len(TEXT))
    assert headers["request-id"]
    with pytest.raises(Exception, match="IncompleteRead"):
        box.ask("POST", f"{SPEAK}/stream", {"text": TEXT}, {**KEY, "x-sandbox-fault": "cut=1"})
    whole, cut = box.lines()
    assert cut["units"] == whole["units"]
    assert cut["complete"] is False


def test_speed_shortens_the_sound(eleven):
    settings = VoiceSettings(speed=1.2)
    audio = b"".join(eleven.text_to_speech.convert(VOICE, text=TEXT, voice_settings=settings))
    normal = b"".join(eleven.text_to_speech.convert(VOICE, text=TEXT))
    assert hear(audio).seconds < hear(normal).seconds * 0.95
    assert listen(hear(audio).samples) == TEXT


def test_lists_are_read_by_the_sdk(eleven, box):
    assert {model.model_id for model in eleven.models.list()} >= {"eleven_multilingual_v2"}
    assert VOICE in {voice.voice_id for voice in eleven.voices.get_all().voices}
    assert VOICE in {voice.voice_id for voice in eleven.voices.search().voices}
    assert eleven.voices.get(VOICE).name == "George"
    b"".join(eleven.text_to_speech.convert(VOICE, text=TEXT))
    box.quotas(elevenlabs={"credits": 5000})
    plan = eleven.user.subscription.get()
    assert (plan.character_count, plan.character_limit) == (len(TEXT), 5000)
    assert eleven.user.get().subscription.character_count == len(TEXT)
    assert box.bill()["calls"] == 1


def test_the_key_header_tells_whose_models_are_listed(box):
    ours = json.loads(box.ask("GET", "/v1/models", None, KEY)[2])
    theirs = box.ask("GET", "/v1/models", None, {"Authorization": "Bearer sk-sandbox-1"})[2]
    assert ours[0]["model_id"]
    assert json.loads(theirs)["object"] == "list"


@pytest.mark.parametrize(
    ("body", "query", "status", "told"),
    [
        ({"text": ""}, "", 400, "input_text_empty"),
        ({"text": "a", "model_id": "none"}, "", 400, "model_not_found"),
        ({"text": "a" * 10_001}, "", 400, "max_character_limit_exceeded"),
        ({"text": "a", "voice_settings": {"speed": 3}}, "", 400, "invalid_voice_settings"),
        ({"text": "a", "language_code": "xx"}, "", 400, "unsupported_language"),
        ({"text": "a"}, "?output_format=midi", 400, "invalid_output_format"),
    ],
)
def test_what_is_not_taken_is_told_and_not_billed(box, body, query, status, told):
    got, _, answer = box.ask("POST", SPEAK + query, body, KEY)
    assert (got, json.loads(answer)["detail"]["status"]) == (status, told)
    assert json.loads(answer)["detail"]["message"]
    assert box.bill()["calls"] == 0


@pytest.mark.parametrize("body", [{}, {"text": 3}, b"{", {"text": "a", "voice_settings": 3}])
def test_a_malformed_body_gets_422_with_a_list(box, body):
    status, _, answer = box.ask("POST", SPEAK, body, KEY)
    assert status == 422
    (wrong,) = json.loads(answer)["detail"]
    assert wrong["loc"][0] == "body"
    assert wrong["msg"]
    assert wrong["type"]


def test_refusals_in_its_words(eleven, box):
    with pytest.raises(ApiError) as refused:
        b"".join(eleven.text_to_speech.convert("nobody", text=TEXT))
    assert (refused.value.status_code, refused.value.body["detail"]["status"]) == (
        404,
        "voice_not_found",
    )
    other = ElevenLabs(api_key="sk-other", base_url=box.url)
    with pytest.raises(ApiError) as refused:
        b"".join(other.text_to_speech.convert(VOICE, text=TEXT))
    assert refused.value.body["detail"]["status"] == "invalid_api_key"
    box.quotas(elevenlabs={"credits": 40})
    b"".join(eleven.text_to_speech.convert(VOICE, text=TEXT))
    with pytest.raises(ApiError) as refused:
        b"".join(eleven.text_to_speech.convert(VOICE, text=TEXT))
    assert refused.value.status_code == 401
    assert refused.value.body["detail"]["status"] == "quota_exceeded"
    assert box.bill()["calls"] == 1


@pytest.mark.parametrize("code", [None, "system_busy"])
def test_its_two_kinds_of_429(box, code):
    rule = {"fault": "status", "status": 429, "match": {"vendor": "elevenlabs"}}
    box.faults({**rule, "code": code} if code else rule)
    status, _, answer = box.ask("POST", SPEAK, {"text": TEXT}, KEY)
    assert status == 429
    assert json.loads(answer)["detail"]["status"] == (code or "too_many_concurrent_requests")


def test_calls_at_once_have_a_quota(box):
    box.quotas(elevenlabs={"concurrent": 0})
    status, _, answer = box.ask("POST", SPEAK, {"text": TEXT}, KEY)
    assert status == 429
    assert json.loads(answer)["detail"]["status"] == "too_many_concurrent_requests"
