"""DeepL's wire: the vendor's own SDK before the router, and what the router sends the vendor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import deepl
import jsonschema
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from wire_served import Vendor, said, served

from router import apis
from router.apis.deepl.languages import SOURCES, TARGETS, source_code, target_code, to_tag
from router.core.api import Malformed, Told
from router.core.call import Usage
from router.core.errors import BadRequest, TooLarge
from router.core.reply import Reply
from router.core.task import TranslateRequest, TranslateResult
from router.core.verdict import INVALID, judge
from tests.fakes import a_call

API, DOOR = apis.load("deepl"), apis.door("deepl")
PATH = "/v2/translate"
HERE = Path(__file__).parent
SCHEMAS = json.loads((HERE / "schemas/deepl.json").read_text())
JSON = {b"content-type": b"application/json"}
FORM = {b"content-type": b"application/x-www-form-urlencoded"}
CONFIG = """
keys: [{name: ann, key_env: ANN}]
exchange: {EUR: 1.1}
backends:
  pro: {api: deepl, model: pro, base: VENDOR, key_env: DEEPL}
  own: {api: torchserve, model: opus, base: VENDOR, price: {per_hour_usd: 0.36}, languages: {source: [de], target: [en, fr]}}
routes:
  text: {task: translate, backends: [pro]}
  local: {task: translate, backends: [own]}
doors: {deepl: {translate: text}}
"""
ENV = {"ANN": "ik-ann", "DEEPL": "dk-vendor"}


def checked(name: str, found: Any) -> Any:
    """What fits the vendor's own description."""
    jsonschema.validate(found, SCHEMAS[name])
    return found


def answer(*texts: str, source: str = "EN", billed: int | None = 5, **more: Any) -> Any:
    """A vendor's answer to as many texts."""
    row = {"detected_source_language": source, **more}
    if billed is not None:
        row["billed_characters"] = billed
    return checked("answer", {"translations": [row | {"text": text} for text in texts]})


@pytest.fixture
def vendor():
    return Vendor()


@pytest.fixture
def url(vendor, tmp_path):
    with served(tmp_path, CONFIG, vendor, ENV) as found:
        yield found


@pytest.fixture
def sdk(url, vendor, monkeypatch):
    monkeypatch.setattr(deepl.http_client, "max_network_retries", 0)
    vendor.says(said(answer("Hallo"), **{"x-trace-id": "t1"}))
    client = deepl.DeepLClient("ik-ann", server_url=url)
    yield client
    client.close()


def fetch(url: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, Any]:
    given_ = {"authorization": "DeepL-Auth-Key ik-ann"}
    given_ |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urlopen(Request(url, body, given_), timeout=10) as found:
            return found.status, json.loads(found.read()), found.headers
    except HTTPError as exc:
        return exc.code, json.loads(exc.read()), exc.headers


# The vendor's own client.


def test_the_sdk_gets_its_translation_and_what_was_billed(sdk, vendor):
    """The request is the vendor's own kind, with the router's key; the answer passes."""
    found = sdk.translate_text("Hello", target_lang="DE")
    assert (found.text, found.detected_source_lang, found.billed_characters) == ("Hallo", "EN", 5)
    sent = vendor.last
    assert (sent.method, sent.path) == ("POST", PATH)
    assert sent.headers["authorization"] == "DeepL-Auth-Key dk-vendor"
    assert sent.headers["content-type"] == "application/json"
    wanted = {"text": ["Hello"], "target_lang": "DE", "show_billed_characters": True}
    assert checked("request", sent.json) == wanted


def test_several_texts_come_in_their_order(sdk, vendor):
    """One answer for each text."""
    vendor.says(said(answer("Eins", "Zwei")))
    found = sdk.translate_text(["One", "Two"], target_lang="DE", source_lang="EN")
    assert [one.text for one in found] == ["Eins", "Zwei"]
    assert vendor.last.json["text"] == ["One", "Two"]


def test_everything_that_the_sdk_can_say_reaches_the_vendor(sdk, vendor):
    """Formality, context, tags, glossary, model and instructions arrive as they were said."""
    vendor.says(said(answer("Hallo", model_type_used="quality_optimized")))
    found = sdk.translate_text(
        "Hello",
        source_lang="EN",
        target_lang="DE",
        formality=deepl.Formality.PREFER_MORE,
        context="A letter.",
        split_sentences=deepl.SplitSentences.NO_NEWLINES,
        preserve_formatting=True,
        tag_handling="xml",
        outline_detection=False,
        non_splitting_tags=["a", "b"],
        ignore_tags="x,y",
        glossary="def3a26b",
        model_type=deepl.ModelType.QUALITY_OPTIMIZED,
        custom_instructions=["Be brief."],
    )
    assert found.model_type_used == "quality_optimized"
    assert checked("request", vendor.last.json) == {
        "text": ["Hello"],
        "source_lang": "EN",
        "target_lang": "DE",
        "formality": "prefer_more",
        "context": "A letter.",
        "split_sentences": "nonewlines",
        "preserve_formatting": True,
        "tag_handling": "xml",
        "outline_detection": False,
        "non_splitting_tags": ["a", "b"],
        "ignore_tags": ["x", "y"],
        "glossary_id": "def3a26b",
        "model_type": "quality_optimized",
        "custom_instructions": ["Be brief."],
        "show_billed_characters": True,
    }


def test_what_was_billed_is_hidden_from_who_did_not_ask(sdk, vendor, url):
    """It is asked for always, for the cost; a form's answer is the same."""
    body = urlencode([("text", "Hello"), ("target_lang", "DE"), ("preserve_formatting", "1")])
    status, found, headers = fetch(url + PATH, body.encode())
    assert status == 200
    row = {"detected_source_language": "EN", "text": "Hallo"}
    assert checked("answer", found) == {"translations": [row]}
    sent = checked("request", vendor.last.json)
    assert sent["show_billed_characters"] is sent["preserve_formatting"] is True
    # 5 characters at 20 EUR a million, 1.1 USD each.
    assert headers["x-isocost-cost-usd"] == "0.00011"
    assert headers["x-trace-id"] == "t1"


def test_a_local_model_answers_the_same_client(sdk, vendor, url):
    """From the hub: the source as detected or given, the characters counted here."""
    local = {"translations": [{"text": "Hi", "detected_source": None}], "model": "opus"}
    vendor.says(said(local | {"usage": {"characters": 5}}))
    status, found, headers = fetch(
        url + PATH,
        json.dumps(
            {
                "text": ["Gr\u00fc\u00df"],
                "target_lang": "EN-GB",
                "source_lang": "DE",
                "show_billed_characters": True,
            }
        ).encode(),
        content_type="application/json",
        x_isocost_route="local",
    )
    assert status == 200, found
    row = {"detected_source_language": "DE", "text": "Hi", "billed_characters": 4}
    assert checked("answer", found) == {"translations": [row]}
    assert headers["x-isocost-backend"] == "own"
    assert vendor.last.json["target"] == "en-GB"


def test_refusals_come_in_the_wires_shape(sdk, vendor, url):
    """A sentence in `message`; sizes, quotas, strangers, and nothing of the vendor's key."""
    with pytest.raises(deepl.DeepLException, match="at most 50"):
        sdk.translate_text(["x"] * 51, target_lang="DE")
    with pytest.raises(deepl.DeepLException, match="413"):
        sdk.translate_text("x" * 131_072, target_lang="DE")
    with pytest.raises(deepl.DeepLException, match="code of a language"):
        sdk.translate_text("x", target_lang="german")
    assert not vendor.sent
    vendor.says(said({"message": "Parameter 'glossary_id' is wrong"}, 400))
    with pytest.raises(deepl.DeepLException, match="'glossary_id' is wrong"):
        sdk.translate_text("x", target_lang="DE", source_lang="EN", glossary="nope")
    stranger = deepl.DeepLClient("nobody", server_url=url)
    with pytest.raises(deepl.DeepLException, match="DeepL-Auth-Key"):
        stranger.translate_text("x", target_lang="DE")
    stranger.close()
    status, found, _ = fetch(url + PATH, b"[]", content_type="application/json")
    assert status == 400
    checked("error", found)
    vendor.says(said({"message": "Quota Exceeded"}, 456))
    with pytest.raises(deepl.DeepLException, match="Service unavailable") as caught:
        sdk.translate_text("x", target_lang="DE")
    assert "dk-vendor" not in str(caught.value)


def test_the_sdk_reads_usage_and_languages(sdk, vendor, url):
    """The count is what the key has used; the languages those of the routes' backends."""
    before = sdk.get_usage().character.count
    sdk.translate_text("Hello", target_lang="DE")
    usage = sdk.get_usage()
    assert usage.character.count == before + 5
    assert not usage.any_limit_reached
    assert checked("usage", fetch(f"{url}/v2/usage", b"")[1])["character_count"] == before + 5
    sources = {one.code: one.name for one in sdk.get_source_languages()}
    assert sources["EN"] == "English"
    assert sources.keys() == {code.upper() for code in SOURCES}
    found = checked("languages", fetch(f"{url}/v2/languages?type=target")[1])
    assert {one["language"] for one in found} == {code.upper() for code in TARGETS}
    status, refused, _ = fetch(f"{url}/v2/languages?type=both")
    assert (status, "source or target" in refused["message"]) == (400, True)


def test_the_sdk_reads_target_languages(sdk):
    """It says which in the form of a GET."""
    codes = {one.code for one in sdk.get_target_languages()}
    assert {"EN-GB", "EN-US", "DE"} <= codes
    assert "EN" not in codes


# Requests.

TEXTS = st.lists(st.text(max_size=20), min_size=1, max_size=5)
CODES = st.sampled_from(["DE", "en-GB", "EN-us", "zh-hans", "ES-419", "pt-br", "NB", "ja"])
BODIES = st.fixed_dictionaries(
    {"text": TEXTS, "target_lang": CODES},
    optional={
        "source_lang": CODES,
        "formality": st.sampled_from(["default", "more", "less", "prefer_more", "prefer_less"]),
        "context": st.text(max_size=9),
        "split_sentences": st.sampled_from(["0", "1", "nonewlines"]),
        "preserve_formatting": st.booleans(),
        "outline_detection": st.booleans(),
        "show_billed_characters": st.booleans(),
        "tag_handling": st.sampled_from(["xml", "html"]),
        "ignore_tags": st.lists(st.sampled_from("abc"), min_size=1, max_size=3),
        "custom_instructions": st.lists(st.text(max_size=9), max_size=3),
        "translation_memory_threshold": st.integers(0, 100),
    },
)


def asked(body: Any, headers: Any = JSON, **changes: Any) -> Any:
    """The call that the door makes of a body."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    ask = DOOR.ask(PATH, raw, Told(headers=headers))
    given_ = {"fields": ask.fields, "extras": ask.extras, "text_bytes": ask.text_bytes}
    return a_call(
        task="translate", request=ask.request, path=PATH, **(given_ | {"wire": "deepl"} | changes)
    )


@given(BODIES)
def test_what_is_sent_reads_as_what_was_asked(body):
    """Reading the request that a call becomes gives the call again; it is the vendor's own kind."""
    call = asked(body)
    sent = checked("request", json.loads(API.request(call, "pro").body))
    again = asked(sent)
    assert (again.request, again.extras) == (call.request, call.extras)
    empty = {name for name, value in body.items() if value == ""}
    assert sent == {n: x for n, x in body.items() if n not in empty} | {
        "show_billed_characters": True
    }


def _form(body: dict[str, Any]) -> bytes:
    pairs: list[tuple[str, str]] = []
    for name, value in body.items():
        if name in {"text", "custom_instructions"}:
            pairs += [(name, one) for one in value]
        elif isinstance(value, bool):
            pairs.append((name, "1" if value else "0"))
        else:
            pairs.append((name, ",".join(value) if isinstance(value, list) else str(value)))
    return urlencode(pairs).encode()


@given(BODIES)
def test_a_form_says_the_same_as_json(body):
    """The hub, the extras and the request to the vendor are those of the JSON."""
    if not body.get("custom_instructions", True):
        del body["custom_instructions"]  # a form has no empty list
    form, plain = asked(_form(body), FORM), asked(body)
    assert (form.request, form.extras) == (plain.request, plain.extras)
    sent = [json.loads(API.request(call, "pro").body) for call in (form, plain)]
    assert sent[0] == sent[1]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (b"text=%C3%A4+%2B&target_lang=DE", "\u00e4 +"),
        ("text=\u00e4&target_lang=DE".encode(), "\u00e4"),
        (b"text=&target_lang=DE", ""),
        (b"text=%FF&target_lang=DE", None),
        (b"text=\xff&target_lang=DE", None),
        (b"text=x&target_lang=DE" + b"&a=" * 1001, None),
    ],
)
def test_a_form_is_utf8(form, text):
    """Escaped or not; nothing is replaced, and fields without end are refused."""
    if text is not None:
        assert asked(form, FORM).request.texts == (text,)
        return
    with pytest.raises(BadRequest) as caught:
        asked(form, FORM)
    assert caught.value.code == "invalid_form"


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["text", "target_lang", "source_lang", "formality", "context"]),
                inner,
                max_size=4,
            )
        ),
    ).map(lambda found: json.dumps(found).encode()),
    st.sampled_from([JSON, FORM, {}, {b"content-type": b"\xff;;="}]),
)
@example(b'{"text":' + b"[" * 100_000, JSON)
@example(b'{"text":["x"],"target_lang":"DE","context":' + b"[" * 100_000, JSON)
@example(b'{"text":["\\ud800"],"target_lang":"DE"}', JSON)
@example(b"text=%ff&target_lang=DE", FORM)
@example(b"text=\xff&target_lang=DE", FORM)
@example(b"text=%ed%a0%80&target_lang=DE", FORM)
@example(b"a=1&" * 2000, FORM)
@example(b"text=x&target_lang=DE&translation_memory_threshold=\xd9\xa1", FORM)
@example(b"x" * 131_073, JSON)
def test_any_bytes_as_a_request(body, headers):
    """A call that can be sent, or BadRequest in the wire's shape."""
    try:
        call = asked(body, headers)
    except BadRequest as exc:
        check_refusal(exc, body)
        return
    json.loads(API.request(call, "pro").body)


def check_refusal(error: BadRequest, body: bytes) -> None:
    assert checked("error", json.loads(DOOR.error(error)))["message"] == str(error)
    assert (error.status == 413) == isinstance(error, TooLarge) == (len(body) > 131_072)


def test_a_key_in_the_body_goes_no_further():
    """The vendor's old way of saying it: neither read nor passed on."""
    call = asked(b"text=x&target_lang=DE&auth_key=s3cret", FORM)
    assert "auth_key" not in call.fields.keys() | call.extras
    assert b"s3cret" not in API.request(call, "pro").body
    assert DOOR.secret({}, {"auth_key": "s3cret"}) == ""


def test_extras_stay_with_their_wire():
    """What changes the translation keeps the call; neutral values and billing do not."""
    base = {"text": ["x"], "target_lang": "DE"}
    for more, extras in (
        ({"context": "y", "glossary_id": "g"}, {"context", "glossary_id"}),
        ({"context": "", "ignore_tags": [], "split_sentences": "1"}, set()),
        ({"formality": "prefer_more", "show_billed_characters": True}, set()),
        ({"formality": "more", "preserve_formatting": False, "outline_detection": True}, set()),
        ({"model_type": "quality_optimized"}, {"model_type"}),
    ):
        call = asked(base | more)
        assert call.extras == extras
        assert bool(apis.load("torchserve").unfit(call)) == bool(extras)
    assert asked(base | {"formality": "more"}).request.formality == "more"
    assert asked(base | {"formality": "prefer_less"}).request.formality == "default"


def test_a_models_type_is_asked_for():
    """A backend that stands for one of the vendor's models asks for it, and leaves other calls."""
    plain = asked({"text": ["x"], "target_lang": "DE"})
    kind = "latency_optimized"
    assert json.loads(API.request(plain, kind).body)["model_type"] == kind
    assert "model_type" not in json.loads(API.request(plain, "pro").body)
    other = asked({"text": ["x"], "target_lang": "DE", "model_type": "quality_optimized"})
    assert kind in API.unfit(other, kind)
    assert API.unfit(other, "pro") == API.unfit(other, "quality_optimized") == ""


HUB = st.builds(
    TranslateRequest,
    texts=TEXTS.map(tuple),
    target=st.sampled_from([*TARGETS, "en", "pt", "de-AT", "es-MX", "zh-TW", "en-AU"]),
    source=st.none() | st.sampled_from([*SOURCES, "en-GB", "zh-Hant"]),
    formality=st.sampled_from(["default", "more", "less"]),
)


@given(HUB)
def test_calls_of_other_wires_are_the_vendors(request_):
    """Any request of the hub becomes one in the vendor's own words."""
    call = a_call(task="translate", wire="other", request=request_)
    assert API.unfit(call, "pro") == ""
    sent = checked("request", json.loads(API.request(call, "pro").body))
    assert sent["text"] == list(request_.texts)
    assert sent["target_lang"] in {code.upper() for code in TARGETS}
    assert sent.get("source_lang") in {None, *(code.upper() for code in SOURCES)}
    assert ("source_lang" in sent) == (request_.source is not None)
    assert sent.get("formality", "default") == request_.formality
    assert API.units(call, "pro") == Usage(characters=sum(map(len, request_.texts)))


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "EN-US"), ("en-GB", "EN-GB"), ("en-AU", "EN-GB"), ("en-CA", "EN-US"),
        ("pt", "PT-BR"), ("pt-AO", "PT-PT"), ("es", "ES"), ("es-ES", "ES"), ("es-MX", "ES-419"),
        ("zh", "ZH"), ("zh-TW", "ZH-HANT"), ("zh-CN", "ZH-HANS"), ("zh-Hant-HK", "ZH-HANT"),
        ("de-AT", "DE"), ("no", "NB"), ("fr-CA", "FR"),
    ],
)  # fmt: skip
def test_variants_go_to_the_closest(tag, code):
    """By CLDR's parents and likely regions."""
    assert target_code(tag) == code


@given(st.sampled_from([*SOURCES, *TARGETS]))
def test_the_vendors_codes_are_their_own_tags(tag):
    """Each listed code becomes its tag and the code again, whatever its case."""
    assert to_tag(tag.upper()) == to_tag(tag.lower()) == tag
    if tag in TARGETS:
        assert target_code(tag) == tag.upper()
    else:
        assert source_code(tag) == tag.upper()


@pytest.mark.parametrize(
    "code", ["", "D", "GERM", "EN-", "EN-GBR1", "-DE", "EN GB", "\u00e4\u00f6"]
)
def test_what_is_no_code_is_refused(code):
    """It names the field."""
    assert to_tag(code) is None
    with pytest.raises(BadRequest) as caught:
        asked({"text": ["x"], "target_lang": code})
    assert caught.value.param == "target_lang"


@pytest.mark.parametrize(
    ("texts", "why"), [(("x",) * 51, "50 texts"), (("\n" * 70_000,), "131072 bytes")]
)
def test_what_is_too_much_it_does_not_take(texts, why):
    """Texts, and bytes as they are sent."""
    request = TranslateRequest(texts=texts, target="de")
    size = sum(map(len, texts))
    call = a_call(task="translate", wire="other", request=request, text_bytes=size)
    assert why in API.unfit(call, "pro")


# Answers.


def read(body: Any, *texts: str, **changes: Any) -> Any:
    call = asked({"text": list(texts), "target_lang": "DE"}, **changes)
    reader = API.reader(call, "pro")
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return reader, reader.whole(raw)


def test_other_wires_read_the_hub():
    """Texts, tags of the sources, and what was billed."""
    reader, found = read(answer("Eins", "Zwei", source="ZH"), "a", "b", wire="other")
    assert found == TranslateResult(texts=("Eins", "Zwei"), detected=("zh", "zh"))
    assert reader.usage == Usage(characters=10)


def test_what_was_not_told_stays_unknown():
    """Without what was billed the quote is held."""
    reader, _ = read(answer("Eins", billed=None), "a")
    assert reader.usage is None


def test_nobody_invents_a_source():
    """Neither backend nor client says it: it is left out, which the wire allows."""
    reply = Reply(backend="b", result=TranslateResult(texts=("Hi",), detected=(None,)))
    for source, row in ((None, {}), ("de-AT", {"detected_source_language": "DE"})):
        body = {"text": ["x"], "target_lang": "EN"} | ({"source_lang": source} if source else {})
        found = json.loads(DOOR.whole(asked(body), reply))
        assert checked("answer", found) == {"translations": [row | {"text": "Hi"}]}


ANSWER = answer("Eins", "Zwei")


@pytest.mark.parametrize("wire", ["deepl", "other"])
def test_a_truncated_answer_is_malformed(wire):
    """Cut off at any byte it raises and leaves no usage."""
    raw = json.dumps(ANSWER).encode()
    for at in range(len(raw)):
        with pytest.raises(Malformed):
            read(raw[:at], "a", "b", wire=wire)


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["translations", "text", "detected_source_language", "billed_characters"]
                ),
                inner,
                max_size=4,
            )
        ),
    ).map(lambda found: json.dumps(found).encode()),
    st.sampled_from(["deepl", "other"]),
)
@example(json.dumps(answer("Eins")).encode(), "deepl")
@example(b'{"translations":[{"text":"x","billed_characters":-1},{"text":"y"}]}', "deepl")
@example(b'{"translations":' + b"[" * 100_000, "deepl")
@example(b'{"translations":[{"text":"x","y":' + b"[" * 100_000, "deepl")
def test_any_bytes_as_an_answer(body, wire):
    """Malformed, or an answer for each text that the client can read."""
    try:
        reader, found = read(body, "a", "b", wire=wire)
    except Malformed:
        return
    assert reader.usage is None or reader.usage.characters >= 0
    rows = json.loads(found)["translations"] if isinstance(found, bytes) else found.texts
    assert len(rows) == 2


ERRORS = yaml.safe_load((HERE / "cases/deepl/errors.yaml").read_text())


@pytest.mark.parametrize("case", ERRORS, ids=lambda c: f"{c['status']}-{c['code']}")
def test_an_error_is_read_and_judged(case):
    """Code, message and verdict are those of the recording, and its body passes to its own clients."""
    raw = json.dumps(checked("error", case["body"])).encode()
    found = API.failure(case["status"], raw)
    assert (found.code, found.message) == (case["code"], case["message"])
    assert judge("deepl", case["status"], found.code).name == case["verdict"]
    reply = Reply(backend="b", status=case["status"], verdict=INVALID)
    reply.failure = found
    assert (
        json.loads(DOOR.whole(asked({"text": ["x"], "target_lang": "DE"}), reply)) == case["body"]
    )


@given(st.binary(max_size=80), st.integers(400, 599))
@example(b'{"message":null}', 400)
@example(b'{"message":' + b"[" * 100_000, 500)
@example(b'{"error":{"message":"other wire"}}', 400)
def test_any_bytes_as_an_error(body, status):
    """Whatever a backend answers, the client gets the wire's shape."""
    reply = Reply(backend="b", status=status, verdict=INVALID)
    reply.failure = API.failure(status, body)
    call = asked({"text": ["x"], "target_lang": "DE"})
    checked("error", json.loads(DOOR.whole(call, reply)))
