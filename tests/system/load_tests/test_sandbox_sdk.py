"""The official SDK against the sandbox: every call it may make, and how it reads refusals."""

import json
import math

import openai
import pytest

CHAT = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Why does tea cool down?"}],
}
# What recorded answers of the real API carry.
ANSWER_FIELDS = {
    "id",
    "object",
    "created",
    "model",
    "choices",
    "usage",
    "service_tier",
    "system_fingerprint",
}
CHUNK_FIELDS = {
    "id",
    "object",
    "created",
    "model",
    "service_tier",
    "system_fingerprint",
    "choices",
    "usage",
    "obfuscation",
}

pytestmark = pytest.mark.system


def test_a_chat_answer_has_text_usage_and_a_cost_on_the_bill(client, box):
    answer = client.chat.completions.create(**CHAT)
    assert "cool" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens == 0
    assert usage.completion_tokens_details.reasoning_tokens == 0
    line = box.bill()["lines"][0]
    assert line["id"] == answer.id
    assert line["pico_usd"] == usage.prompt_tokens * 150_000 + usage.completion_tokens * 600_000
    assert line["complete"] is True


def test_the_whole_answer_has_the_fields_of_recorded_traffic(client):
    raw = client.chat.completions.with_raw_response.create(**CHAT)
    assert set(json.loads(raw.http_response.text)) == ANSWER_FIELDS
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["x-ratelimit-remaining-requests"].isdigit()


def test_equal_questions_get_equal_answers_and_choices_differ(client):
    first, second = (client.chat.completions.create(**CHAT, n=2) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in second.choices]
    assert texts[0] != texts[1]


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_a_limit_ends_the_answer_with_length(client, limit):
    answer = client.chat.completions.create(**CHAT, **{limit: 5})
    assert answer.usage.completion_tokens == 5
    assert answer.choices[0].finish_reason == "length"


def test_a_stop_text_is_not_part_of_the_answer(client):
    whole = client.chat.completions.create(**CHAT).choices[0].message.content
    answer = client.chat.completions.create(**CHAT, stop=["."])
    assert answer.choices[0].message.content == whole.partition(".")[0]
    assert answer.choices[0].finish_reason == "stop"


def test_a_stream_says_what_the_whole_answer_says(client, box):
    whole = client.chat.completions.create(**CHAT)
    chunks = list(client.chat.completions.create(**CHAT, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert all(chunk.usage is None for chunk in chunks)
    costs = [line["pico_usd"] for line in box.bill()["lines"]]
    assert costs[0] == costs[1]


def test_include_usage_adds_one_chunk_and_nulls_to_all_others(client):
    options = {"include_usage": True}
    raw = client.chat.completions.with_raw_response.create(
        **CHAT, stream=True, stream_options=options
    )
    text = raw.http_response.read().decode()
    events = [line[6:] for line in text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(event) for event in events]
    assert all(set(chunk) == CHUNK_FIELDS for chunk in chunks)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == len(chunks) - 3
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_a_wanted_form_gives_valid_json(client):
    answer = client.chat.completions.create(**CHAT, response_format={"type": "json_object"})
    assert "answer" in json.loads(answer.choices[0].message.content)
    schema = {
        "type": "object",
        "properties": {
            "grade": {"enum": ["good", "bad"]},
            "points": {"type": "integer", "minimum": 3},
        },
        "required": ["grade", "points"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "grade", "schema": schema}}
    answer = client.chat.completions.create(**CHAT, response_format=form)
    assert json.loads(answer.choices[0].message.content) == {"grade": "good", "points": 3}


@pytest.mark.parametrize("stream", [False, True])
def test_a_required_tool_is_called_with_arguments(client, stream):
    function = {
        "name": "look",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    }
    asked = {
        **CHAT,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
    }
    if stream:
        with client.chat.completions.stream(**asked) as events:
            choice = events.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.name == "look"
    assert "place" in json.loads(choice.message.tool_calls[0].function.arguments)


def test_a_long_prompt_seen_before_is_cached_and_cheaper(client, box):
    long = {**CHAT, "messages": [{"role": "user", "content": "every word counts here " * 400}]}
    first, second = (client.chat.completions.create(**long).usage for _ in range(2))
    assert first.prompt_tokens_details.cached_tokens == 0
    assert second.prompt_tokens_details.cached_tokens == 1536
    lines = box.bill()["lines"]
    assert lines[0]["pico_usd"] - lines[1]["pico_usd"] == 1536 * 75_000


def test_completions_whole_and_streamed_agree(client):
    asked = {"model": "gpt-3.5-turbo-instruct", "prompt": ["Once upon", "a time"], "max_tokens": 12}
    whole = client.completions.create(**asked)
    assert len(whole.choices) == 2
    assert whole.usage.completion_tokens == 24
    texts = ["", ""]
    for chunk in client.completions.create(**asked, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in whole.choices]


def test_embeddings_are_unit_vectors_and_near_for_near_texts(client, box):
    texts = ["a cup of green tea", "a cup of black tea", "quarterly tax report"]
    answer = client.embeddings.create(model="text-embedding-3-small", input=texts)
    one, two, three = (item.embedding for item in answer.data)
    assert len(one) == 1536
    assert math.isclose(_dot(one, one), 1.0, abs_tol=1e-4)
    assert _dot(one, two) > 0.5 > _dot(one, three)
    plain = client.embeddings.create(
        model="text-embedding-3-small", input=texts[0], encoding_format="float"
    )
    assert _dot(plain.data[0].embedding, one) > 0.9999
    assert box.bill()["lines"][1]["pico_usd"] == plain.usage.prompt_tokens * 20_000


def test_embeddings_of_fewer_dimensions(client):
    answer = client.embeddings.create(model="text-embedding-3-small", input="tea", dimensions=64)
    assert len(answer.data[0].embedding) == 64


def test_models_are_listed_and_shown(client, box):
    assert {model.id for model in client.models.list()} >= {"gpt-4o-mini", "text-embedding-3-small"}
    assert client.models.retrieve("gpt-4o-mini").owned_by == "system"
    assert box.bill()["calls"] == 0


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"model": "gpt-unknown"}, openai.NotFoundError, "model_not_found"),
        ({"model": "text-embedding-3-small"}, openai.NotFoundError, None),
        ({"messages": []}, openai.BadRequestError, "empty_array"),
        ({"messages": "hello"}, openai.BadRequestError, "invalid_type"),
        ({"max_tokens": 0}, openai.BadRequestError, "invalid_value"),
        ({"max_tokens": 99_999}, openai.BadRequestError, "invalid_value"),
        ({"n": 1000}, openai.BadRequestError, "invalid_value"),
        (
            {"messages": [{"role": "user", "content": "so " * 128_000}]},
            openai.BadRequestError,
            "context_length_exceeded",
        ),
    ],
)
def test_what_the_vendor_refuses_is_not_billed(client, box, change, kind, code):
    with pytest.raises(kind) as refused:
        client.chat.completions.create(**{**CHAT, **change})
    assert refused.value.code == code
    assert refused.value.type == "invalid_request_error"
    assert box.bill()["calls"] == 0


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer sk-other"}])
def test_without_a_good_key_it_is_401(box, headers):
    status, _, body = box.ask("POST", "/v1/chat/completions", CHAT, headers)
    assert status == 401
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_a_body_that_is_no_json_is_400(box):
    headers = {"Authorization": "Bearer sk-sandbox-1"}
    assert box.ask("POST", "/v1/chat/completions", b"{", headers)[0] == 400


def test_only_named_keys_when_they_are_given(started):
    with started("--keys", "sk-a,sk-b") as named:
        ask = [
            named.ask("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})[0]
            for key in ("sk-a", "sk-b", "sk-sandbox-1")
        ]
    assert ask == [200, 200, 401]


def _dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))
