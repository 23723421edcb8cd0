"""What all vendors share: one bill, quotas, answers that a test sets, free units, hidden keys."""

import base64
import http.client
import json

import openai
import pytest

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why does tea cool?"}]}
OPENAI = {"Authorization": "Bearer sk-sandbox-1"}
ELEVEN = {"xi-api-key": "sk-sandbox-2"}
DEEPL = {"Authorization": "DeepL-Auth-Key sk-sandbox-3", "content-type": "application/json"}
GOOGLE = {"x-goog-api-key": "sk-sandbox-4"}
SPEAK = "/v1/text-to-speech/JBFqnCBsd6RMkjVDRZzb"

pytestmark = pytest.mark.system


def call_all(box, png) -> None:
    image = {"content": base64.b64encode(png()).decode()}
    speech = box.ask("POST", f"{SPEAK}?output_format=wav_8000", {"text": "hi"}, ELEVEN)[2]
    audio = {"content": base64.b64encode(speech).decode()}
    calls = [
        ("/v1/chat/completions", CHAT, OPENAI),
        ("/v2/translate", {"text": ["abc"], "target_lang": "DE"}, DEEPL),
        (
            "/v1/images:annotate",
            {"requests": [{"image": image, "features": [{"type": 4}]}]},
            GOOGLE,
        ),
        ("/v1/speech:recognize", {"config": {"languageCode": "en"}, "audio": audio}, GOOGLE),
    ]
    for path, body, headers in calls:
        status, _, answer = box.ask("POST", path, body, headers)
        assert status == 200, answer


def test_one_bill_keeps_all_vendors_apart(box, png):
    call_all(box, png)
    bill = box.bill()
    assert set(bill["by_vendor"]) == {
        "openai",
        "elevenlabs",
        "deepl",
        "google_vision",
        "google_speech",
    }
    assert sum(one["pico_usd"] for one in bill["by_vendor"].values()) == bill["total_pico_usd"]
    assert bill["total_pico_usd"] == sum(line["pico_usd"] for line in bill["lines"]) > 0
    assert bill["by_vendor"]["google_speech"]["units"] == {"seconds": 1}
    assert len(bill["by_key"]) == 4  # one key for both of Google's


def test_the_journal_hides_every_vendors_key(box, png):
    call_all(box, png)
    box.ask("POST", "/v1/images:annotate?key=sk-sandbox-5", {})
    journal = box.journal()
    assert "sk-sandbox" not in json.dumps(journal)
    keys = box.bill()["by_key"]
    for entry in journal[1:2]:
        assert entry["headers"]["authorization"].removeprefix("sha256:") in keys
    assert journal[0]["query"] == {"output_format": "wav_8000"}


def test_openai_tells_an_empty_account_from_too_many_calls(client, box):
    box.quotas(openai={"pico_usd": 1})
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(**CHAT)
    assert refused.value.code == "insufficient_quota"
    assert "retry-after" not in refused.value.response.headers
    box.quotas(openai={"concurrent": 0})
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(**CHAT)
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.response.headers["retry-after"] == "1"
    box.quotas(openai={"calls": 1})
    client.chat.completions.create(**CHAT)
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(**CHAT)
    assert box.bill()["calls"] == 1


def test_calls_at_once_are_counted_while_they_run(box):
    box.quotas(openai={"concurrent": 1})
    first = http.client.HTTPConnection("127.0.0.1", box.port, timeout=5)
    first.request(
        "POST", "/v1/chat/completions", json.dumps(CHAT), OPENAI | {"x-sandbox-fault": "hang"}
    )
    box.eventually(lambda: box.bill()["calls"])
    assert box.ask("POST", "/v1/chat/completions", CHAT, OPENAI)[0] == 429
    first.close()
    box.eventually(lambda: box.ask("POST", "/v1/chat/completions", CHAT, OPENAI)[0] == 200)


def test_answers_are_set_added_shown_and_forgotten(box):
    box.tell(chats=[{"contains": "a", "says": "first"}])
    more = {"chats": [{"contains": "a", "says": "second"}]}
    assert box.ask("POST", "/sandbox/answers", more)[0] == 200
    shown = json.loads(box.ask("GET", "/sandbox/answers")[2])
    assert [one["says"] for one in shown["chats"]] == ["second", "first"]
    box.ask("DELETE", "/sandbox/answers")
    assert json.loads(box.ask("GET", "/sandbox/answers")[2])["chats"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/sandbox/answers", b"{", 400),
        ("PUT", "/sandbox/answers", {"music": []}, 400),
        ("PUT", "/sandbox/quotas", {"deepl": 5}, 400),
        ("GET", "/sandbox/weather", None, 404),
        ("DELETE", "/sandbox/health", None, 404),
        ("PATCH", "/sandbox/bill", None, 404),
    ],
)
def test_what_the_sandbox_itself_does_not_know_is_told(box, method, path, body, status):
    got, _, answer = box.ask(method, path, body)
    assert got == status
    assert json.loads(answer)["error"]


def test_free_units_are_an_option(started):
    with started("--free-units") as box:
        bare = f"{SPEAK}?output_format=pcm_24000"  # the quickest to make
        box.ask("POST", bare, {"text": "a" * 9_990}, ELEVEN)
        assert box.bill()["total_pico_usd"] == 0
        box.ask("POST", bare, {"text": "b" * 30}, ELEVEN)
        assert box.bill()["total_pico_usd"] == 20 * 80_000_000
