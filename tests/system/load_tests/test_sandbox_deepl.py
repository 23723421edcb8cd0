"""DeepL by its own SDK and against its own document: texts, characters, languages, refusals."""

import json
from urllib.parse import urlencode

import deepl
import pytest

KEY = {"Authorization": "DeepL-Auth-Key sk-sandbox-isocost", "content-type": "application/json"}
FORM = {**KEY, "content-type": "application/x-www-form-urlencoded"}

pytestmark = pytest.mark.system


@pytest.fixture
def translator(box):
    deepl.http_client.max_network_retries = 0
    return deepl.Translator("sk-sandbox-isocost", server_url=box.url)


def test_texts_are_translated_and_billed_by_code_point(translator, box):
    box.tell(texts=[{"text": "left", "to": "de", "says": "links"}])
    texts = ["Hello, world!", "left", "🙂known"]
    answers = translator.translate_text(texts, target_lang="DE")
    assert [one.text for one in answers] == ["Hallo, Welt!", "links", "[de] 🙂known"]
    assert [one.billed_characters for one in answers] == [13, 4, 6]
    (line,) = box.lines()
    assert line["units"] == {"characters": 23}
    assert (line["currency"], line["pico"]) == ("EUR", 23 * 20_000_000)
    assert line["pico_usd"] == 23 * 23_000_000
    assert box.bill()["by_vendor"]["deepl"]["pico"] == {"EUR": line["pico"]}


def test_tags_stay_and_are_not_counted(translator):
    answer = translator.translate_text(
        "<p>Thank you very much.</p>", target_lang="FR", tag_handling="xml"
    )
    assert answer.text == "<p>Merci beaucoup.</p>"
    assert answer.billed_characters == len("Thank you very much.")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Das ist nicht mein Haus", "DE"),
        ("Where is the station?", "EN"),
        ("今日は天気がいい", "JA"),
        ("Où est la gare ?", "FR"),
        ("Привет", "RU"),
    ],
)
def test_the_language_is_told(translator, text, language):
    assert translator.translate_text(text, target_lang="PT-BR").detected_source_lang == language


def test_answers_follow_the_document_in_json_and_as_a_form(box, valid):
    asked = {
        "text": ["Good morning."],
        "target_lang": "ES",
        "source_lang": "EN",
        "show_billed_characters": True,
        "model_type": "prefer_quality_optimized",
        "tag_handling": "html",
    }
    status, _, body = box.ask("POST", "/v2/translate", asked, KEY)
    assert status == 200
    valid("deepl", "TranslateResponse", json.loads(body))
    assert json.loads(body)["translations"][0]["text"] == "Buenos días."
    form = [("text", "Good morning."), ("text", "a&b"), ("target_lang", "ES")]
    status, _, body = box.ask("POST", "/v2/translate", urlencode(form).encode(), FORM)
    assert status == 200
    told = json.loads(body)
    valid("deepl", "TranslateResponse", told)
    assert [one["text"] for one in told["translations"]] == ["Buenos días.", "[es] a&b"]
    assert "billed_characters" not in told["translations"][0]
    for method in ("GET", "POST"):
        status, _, body = box.ask(method, "/v2/usage", None, KEY)
        assert status == 200
        valid("deepl", "UsageAnswer", json.loads(body))
    for kind in ("source", "target"):
        status, _, body = box.ask("GET", f"/v2/languages?type={kind}", None, KEY)
        assert status == 200
        valid("deepl", "LanguagesResponse", json.loads(body))


def test_free_keys_use_their_characters_and_pay_nothing(box):
    free = deepl.Translator("sk-sandbox-isocost:fx", server_url=box.url)
    free.translate_text("Thank you", target_lang="NL")
    (line,) = box.lines()
    assert (line["pico_usd"], line["units"], line["model"]) == (0, {"characters": 9}, "free")
    usage = free.get_usage().character
    assert (usage.count, usage.limit) == (9, 500_000)


def test_languages_by_the_sdk(translator):
    targets = {one.code: one for one in translator.get_target_languages()}
    assert targets["DE"].supports_formality
    assert not targets["EN-GB"].supports_formality
    assert "EN-GB" not in {one.code for one in translator.get_source_languages()}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target_lang": "XX"}, "target_lang"),
        ({"source_lang": "XX"}, "source_lang"),
        ({"target_lang": "EN-GB", "formality": "more"}, "formality"),
        ({"formality": "rude"}, "formality"),
        ({"tag_handling": "rtf"}, "tag_handling"),
        ({"text": []}, "text"),
        ({"text": "a"}, "text"),
        ({"text": ["a"] * 51}, "texts"),
        ({"glossary_id": "x"}, "glossary_id"),
    ],
)
def test_what_is_not_taken_is_told_and_not_billed(box, change, says):
    asked = {"text": ["a"], "target_lang": "DE"} | change
    status, _, body = box.ask("POST", "/v2/translate", asked, KEY)
    assert status == 400
    assert says in json.loads(body)["message"]
    assert box.bill()["calls"] == 0


def test_refusals_as_the_sdk_reads_them(translator, box):
    with pytest.raises(deepl.AuthorizationException):
        deepl.Translator("other", server_url=box.url).translate_text("a", target_lang="DE")
    box.quotas(deepl={"characters": 5})
    with pytest.raises(deepl.QuotaExceededException):
        translator.translate_text("six...", target_lang="DE")
    translator.translate_text("five.", target_lang="DE")
    assert translator.get_usage().character.limit_reached
    box.quotas(deepl={"concurrent": 0})
    with pytest.raises(deepl.TooManyRequestsException):
        translator.translate_text("five.", target_lang="DE")
    assert box.bill()["calls"] == 1


@pytest.mark.parametrize("status", [429, 456, 503, 529])
def test_faults_in_its_words(box, status):
    box.faults({"fault": "status", "status": status, "match": {"vendor": "deepl"}})
    asked = {"text": ["a"], "target_lang": "DE"}
    got, _, body = box.ask("POST", "/v2/translate", asked, KEY)
    assert (got, list(json.loads(body))) == (status, ["message"])


def test_a_large_body_is_413(box):
    asked = {"text": ["a" * 140_000], "target_lang": "DE"}
    assert box.ask("POST", "/v2/translate", asked, KEY)[0] == 413
