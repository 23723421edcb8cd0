"""Every vendor as the pure function that it is: whatever it is sent, it answers or refuses."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import load_tests.sandbox
from load_tests.sandbox.account import Account
from load_tests.sandbox.answers import Answers, Phrase
from load_tests.sandbox.bill import Bill
from load_tests.sandbox.deepl import DeepL
from load_tests.sandbox.elevenlabs import ElevenLabs
from load_tests.sandbox.forms import Malformed, read_form
from load_tests.sandbox.google_speech import GoogleSpeech
from load_tests.sandbox.google_tokens import Tokens
from load_tests.sandbox.google_vision import GoogleVision
from load_tests.sandbox.keys import Keys
from load_tests.sandbox.models import read_models
from load_tests.sandbox.openai import OpenAI
from load_tests.sandbox.price import read_price
from load_tests.sandbox.translating import Translator
from load_tests.sandbox.vendor import Refusal, Request

FOLDER = Path(load_tests.sandbox.__file__).parent
KEYS, ANSWERS, TOKENS, ACCOUNT = Keys(), Answers(), Tokens(), Account(Bill())
VENDORS = [
    ElevenLabs(KEYS, ACCOUNT, free_units=False),
    DeepL(KEYS, ACCOUNT, ANSWERS, free_units=False),
    GoogleVision(KEYS, TOKENS, ANSWERS, free_units=False),
    GoogleSpeech(KEYS, TOKENS, ANSWERS, free_units=False),
    OpenAI(read_models(FOLDER / "openai_models.yaml"), KEYS, ANSWERS),
]
VOICE = "JBFqnCBsd6RMkjVDRZzb"
CALLS = {  # path -> vendor, and a body that is taken
    f"/v1/text-to-speech/{VOICE}": ("elevenlabs", {"text": "a"}),
    "/v2/translate": ("deepl", {"text": ["a"], "target_lang": "DE"}),
    "/v1/images:annotate": (
        "google_vision",
        {"requests": [{"image": {"content": ""}, "features": [{"type": 4}]}]},
    ),
    "/v1/speech:recognize": (
        "google_speech",
        {"config": {"languageCode": "en", "encoding": 1, "sampleRateHertz": 8000}, "audio": {"content": "AAAA"}},
    ),
    "/v2/projects/p/locations/l/recognizers/_:recognize": (
        "google_speech",
        {"config": {"languageCodes": ["en"], "explicitDecodingConfig": {"encoding": 1, "sampleRateHertz": 8000}}, "content": "AAAA"},
    ),
    "/v1/audio/speech": ("openai", {"model": "tts-1", "input": "a", "voice": "alloy"}),
    "/v1/responses": ("openai", {"model": "gpt-4o-mini", "input": [{"role": "user", "content": "a"}]}),
    "/v1/chat/completions": (
        "openai",
        {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
    ),
}  # fmt: skip
HEADERS = {
    "elevenlabs": {b"xi-api-key": b"sk-sandbox-1"},
    "deepl": {
        b"authorization": b"DeepL-Auth-Key sk-sandbox-1",
        b"content-type": b"application/json",
    },
    "google_vision": {b"x-goog-api-key": b"sk-sandbox-1"},
    "google_speech": {b"authorization": b"Bearer sandbox-token"},
    "openai": {b"authorization": b"Bearer sk-sandbox-1"},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**6) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def asked(path: str, body: bytes, **more) -> Request:
    headers = HEADERS[CALLS[path][0]] if path in CALLS else {}
    return Request(**{
        "method": "POST", "path": path, "headers": headers, "body": body, "seconds": 1e9, "number": 1
    } | more)  # fmt: skip


def vendor_of(request: Request):
    return next(vendor for vendor in VENDORS if vendor.serves(request))


def places(value, path=()):
    """Every place in a body, as the keys that lead to it."""
    yield path
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in inner:
        yield from places(part, (*path, key))


def changed(value, path, to):
    if not path:
        return to
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], to)
    return copy


def says(vendor, request: Request) -> bytes:
    """The answer's body, or the refusal's; anything else that is raised fails the test."""
    try:
        answer = vendor.answer(request)
    except Refusal as caught:
        refusal = caught
    else:
        assert answer.price is None or answer.price.of(answer.units) >= 0
        assert all(many >= 0 for many in answer.units.values())
        return answer.body
    assert 400 <= refusal.status < 500
    return vendor.error(refusal, request)[1]


@pytest.mark.parametrize("path", CALLS)
def test_the_path_names_the_vendor_and_its_own_body_is_taken(path):
    name, body = CALLS[path]
    request = asked(path, msgspec.json.encode(body))
    vendor = vendor_of(request)
    assert vendor.name == name
    assert vendor.answer(request).body


@pytest.mark.parametrize("path", CALLS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_body_with_anything_anywhere_is_answered_or_refused(path, data):
    body = CALLS[path][1]
    place = data.draw(st.sampled_from(list(places(body))))
    odd = changed(body, place, data.draw(JSON))
    request = asked(path, msgspec.json.encode(odd))
    says(vendor_of(request), request)


@pytest.mark.parametrize("path", [*CALLS, "/v1/audio/transcriptions"])
@settings(max_examples=30, deadline=None)
@given(body=st.binary(max_size=200), kind=st.sampled_from(["application/json", "multipart/form-data; boundary=x", "multipart/form-data", ""]))  # fmt: skip
def test_bytes_of_any_kind_are_answered_or_refused(path, body, kind):
    headers = {**HEADERS[CALLS.get(path, ("openai",))[0]], b"content-type": kind.encode()}
    for data in (body, b"--x\r\n" + body):
        request = asked(path, data, headers=headers)
        assert says(vendor_of(request), request)


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 456, 500, 503, 529])
def test_every_vendor_has_words_for_every_status(vendor, status):
    refusal = vendor.fault(status, None, 2.0)
    assert refusal.status == status
    headers, body = vendor.error(refusal, asked("/", b""))
    assert msgspec.json.decode(body)
    assert (b"retry-after", b"2") in headers or b'"2s"' in body


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_an_exhausted_quota_is_no_success_and_calls_at_once_are_429(vendor):
    assert vendor.exhausted("concurrent").status == 429
    assert vendor.exhausted("characters").status in (401, 429, 456)


@pytest.mark.parametrize("name", ["elevenlabs", "deepl", "google_vision", "google_speech"])
@pytest.mark.parametrize("free", [False, True])
def test_price_lists_are_whole_pico_amounts(name, free):
    price = read_price(FOLDER / f"{name}.yaml", free_units=free)
    assert all(rate.of(10**6, 1) > 0 for rate in price.rates.values())


def test_named_keys_shut_all_others_out():
    assert Keys(frozenset({"sk-a"})).good("sk-a")
    assert not Keys(frozenset({"sk-a"})).good("sk-sandbox-1")
    assert Keys().good("sk-sandbox-1")
    assert not Keys().good("sk-live")


@given(st.text(max_size=40), st.sampled_from(["DE", "PT-BR", "JA"]))
def test_tags_survive_and_texts_of_the_same_language_stay(text, target):
    translator = Translator(Answers())
    assert translator.translate(text, target[:2], target, tags=False) == text
    tagged = f"<b>{text}</b><br/>"
    said = translator.translate(tagged, "EN", target, tags=True)
    assert "<b>" in said
    assert said.endswith("</b><br/>")


def test_a_told_translation_comes_first_with_and_without_a_region():
    translator = Translator(Answers(texts=[Phrase("a", "pt", "b"), Phrase("a", "ZH-HANT", "c")]))
    assert translator.translate("a", "EN", "PT-BR", tags=False) == "b"
    assert translator.translate("a", "EN", "ZH-HANT", tags=False) == "c"
    assert translator.translate("a", "EN", "ZH-HANS", tags=False) == "[zh] a"


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(max_size=9), max_size=4), st.binary(max_size=99))  # fmt: skip
def test_forms_are_read_as_they_were_written(fields, data):
    parts = [
        f'--x\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    file = (
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.b"\r\n\r\n%b\r\n' % data
    )
    body = b"".join([*parts, file, b"--x--\r\n"])
    headers = {b"content-type": b"multipart/form-data; boundary=x"}
    try:
        form = read_form(asked("/", body, headers=headers))
    except Malformed:
        assert b"--x" in data or any("--x" in value for value in fields.values())
        return
    if b"--x" not in body[len(body) - 8 :] + data and not any("--x" in v for v in fields.values()):
        assert {name: form.one(name) for name in fields} == fields
    if b"\r\n--x" not in data:
        assert form.files["file"].data == data
