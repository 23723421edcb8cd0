"""OpenAI's chats beyond texts by the official SDK: responses, images, tools, schemas, the models.

What needs the vendor goes to the vendor as it came; what the hub holds is served by any backend.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any
from urllib.request import Request, urlopen

import pydantic
import pytest
from openai import BadRequestError, NotFoundError
from openai_house import House, house, valid

from router.core.call import Usage
from router.core.task import Delta, Finish, TextResult

PIXEL = b64encode(b"\x89PNG\r\n\x1a\n pretends").decode()
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with house(tmp_path_factory.mktemp("house")) as made:
        yield made


def completion(**message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": None, "refusal": None} | message
    finish = "tool_calls" if "tool_calls" in message else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": finish}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    }


def chat(shop: House, route: str = "chat-paid", **asked: Any) -> Any:
    asked = {"messages": [{"role": "user", "content": "hi"}]} | asked
    return shop.sdk.chat.completions.create(model=route, **asked)


def sent_chat(shop: House) -> dict[str, Any]:
    """What the vendor was asked: a request of its document, with every field as the client set it."""
    (sent,) = shop.vendor.sent
    assert sent.path == "/v1/chat/completions"
    valid("CreateChatCompletionRequest", sent.json)
    assert sent.json["model"] == "gpt-4o-mini"
    return dict(sent.json)


# Images, tools, schemas.


def test_an_image_reaches_a_vendor_that_sees(shop: House):
    """Its part is sent as it came."""
    shop.vendor.says(completion(content="A cat."))
    turn = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, IMAGE]}
    found = chat(shop, messages=[turn])
    assert found.choices[0].message.content == "A cat."
    assert sent_chat(shop)["messages"] == [turn]


def test_an_image_is_not_read_as_text(shop: House):
    """A backend that reads text only is not fit for the call, and is not asked."""
    shop.answers(TextResult(texts=("No.",), finish=("stop",)), Usage(1, 1))
    with pytest.raises(Exception, match="text only"):
        chat(shop, "chat-own", messages=[{"role": "user", "content": [IMAGE]}])
    assert not shop.calls


TOOL = {
    "type": "function",
    "function": {
        "name": "capital",
        "parameters": {
            "type": "object",
            "properties": {"of": {"type": "string"}},
            "required": ["of"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
USED = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "capital", "arguments": '{"of":"UK"}'},
}


def test_tools_go_both_ways(shop: House):
    """Tools, the model's wish to use one, and its result pass untouched."""
    answer = completion(tool_calls=[USED])
    valid("CreateChatCompletionResponse", answer)
    shop.vendor.says(answer)
    found = chat(shop, tools=[TOOL], tool_choice="required")
    assert found.choices[0].finish_reason == "tool_calls"
    assert found.choices[0].message.tool_calls[0].to_dict() == USED
    assert sent_chat(shop)["tools"] == [TOOL]
    shop.vendor.says(completion(content="London."))
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [USED]},
        {"role": "tool", "tool_call_id": "call_1", "content": "London"},
    ]
    assert chat(shop, messages=turns, tools=[TOOL]).choices[0].message.content == "London."
    assert sent_chat(shop)["messages"] == turns


def test_tools_keep_a_call_with_its_wire(shop: House):
    """A backend without tools is not fit."""
    shop.answers(TextResult(texts=("No.",), finish=("stop",)), Usage(1, 1))
    with pytest.raises(Exception, match="tools"):
        chat(shop, "chat-own", tools=[TOOL])
    assert not shop.calls


class City(pydantic.BaseModel):
    name: str
    people: int


def test_structured_outputs(shop: House):
    """The SDK's own schema goes to the vendor, and its answer is read into the client's class."""
    shop.vendor.says(completion(content='{"name":"London","people":9}'))
    found = shop.sdk.chat.completions.parse(
        model="chat-paid", messages=[{"role": "user", "content": "hi"}], response_format=City
    )
    assert found.choices[0].message.parsed == City(name="London", people=9)
    form = sent_chat(shop)["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["strict"] is True


def test_a_chat_model_says_what_is_in_an_image(shop: House):
    """An image to annotate becomes a chat of the document, and its answer the findings."""
    shop.vendor.says(completion(content='{"labels":["cat","sofa"],"text":["EXIT","1 <2"]}'))
    features = [["labels", 1], ["text", 0]]
    body = json.dumps({"task": "annotate", "images": [PIXEL], "features": features}).encode()
    with urlopen(Request(f"{shop.base}/predictions/see-paid", body), timeout=20) as answer:
        said = json.loads(answer.read())
        cost = answer.headers["x-isocost-cost-usd"]
    (image,) = said["images"]
    assert [(a["feature"], a["text"]) for a in image["annotations"]] == [
        ("labels", "cat"),
        ("text", "EXIT"),
        ("text", "1 <2"),
    ]
    assert {(a["score"], a["box"]) for a in image["annotations"]} == {(None, None)}, "none made up"
    assert cost == "0.000006", "20 x 0.15 + 5 x 0.60 dollars a million"
    sent = sent_chat(shop)
    assert sent["messages"][0]["content"][1] == IMAGE
    assert sent["response_format"]["json_schema"]["strict"] is True


# Responses.

TEXT = TextResult(texts=("Good day.",), finish=("stop",))


def response(**changes: Any) -> dict[str, Any]:
    """A recorded answer, its identifiers shortened.

    Source: pydantic-ai (MIT, Copyright (c) Pydantic Services Inc. 2024 to present),
    cassettes/test_openai_responses_prompt_cache_e2e.yaml at 4fda3898.
    """
    return {
        "background": False,
        "billing": {"payer": "developer"},
        "completed_at": 1784092259,
        "created_at": 1784092257,
        "error": None,
        "frequency_penalty": 0.0,
        "id": "resp_1",
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "model": "gpt-5.6-sol",
        "moderation": None,
        "object": "response",
        "output": [
            {
                "content": [
                    {"annotations": [], "logprobs": [], "text": "OK", "type": "output_text"}
                ],
                "id": "msg_1",
                "phase": "final_answer",
                "role": "assistant",
                "status": "completed",
                "type": "message",
            }
        ],
        "parallel_tool_calls": True,
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "service_tier": "default",
        "status": "completed",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 0.98,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 4020,
            "input_tokens_details": {"cache_write_tokens": 4012, "cached_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 4025,
        },
    } | changes


def sent_response(shop: House) -> dict[str, Any]:
    (sent,) = shop.vendor.sent
    assert sent.path == "/v1/responses"
    valid("CreateResponse", sent.json)
    assert sent.json["store"] is False, "nothing is stored at the vendor"
    assert sent.json["model"] == "gpt-4o-mini"
    return dict(sent.json)


def test_a_response_of_the_hub(shop: House):
    """Any chat backend answers it; the client gets a response of the document."""
    shop.answers(TEXT, Usage(20, 5, 8))
    found = shop.sdk.responses.create(
        model="chat-own",
        instructions="Be brief.",
        input=[
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]},
            {"role": "user", "content": [{"type": "input_text", "text": "And now?"}]},
        ],
        temperature=0.5,
        max_output_tokens=50,
    )
    assert found.output_text == "Good day."
    assert (found.status, found.instructions) == ("completed", "Be brief.")
    used = found.usage
    assert (used.input_tokens, used.output_tokens, used.total_tokens) == (20, 5, 25)
    assert used.input_tokens_details.cached_tokens == 8
    (call,) = shop.calls
    said = [(m.role, m.text) for m in call.request.messages]
    assert said == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Hi."),
        ("user", "And now?"),
    ]
    assert (call.request.temperature, call.request.max_tokens) == (0.5, 50)


def test_a_response_of_the_hub_is_of_the_document(shop: House):
    """Whole, and when its text was cut off at the maximum."""
    for finish, status in (("stop", "completed"), ("length", "incomplete")):
        shop.answers(TextResult(texts=("Good",), finish=(finish,)), Usage(20, 5))
        raw = shop.sdk.responses.with_raw_response.create(
            model="chat-own", input="Hello", temperature=1, top_p=1
        )
        said = json.loads(raw.text)
        assert said["status"] == status
        valid("Response", said)


def test_a_response_of_the_hub_streams(shop: House):
    """Each event is of the document; the last one holds the whole response."""
    shop.streams([Delta(text="Good "), Delta(text="day."), Finish(reason="stop")], Usage(20, 5))
    events = list(
        shop.sdk.responses.create(
            model="chat-own", input="Hello", stream=True, temperature=1, top_p=1
        )
    )
    for event in events:
        said = event.to_dict()
        # The vendor's own streams say `"usage": null` until the end; its document has no null there.
        if "response" in said and said["response"]["usage"] is None:
            del said["response"]["usage"]
        valid("ResponseStreamEvent", said)
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    deltas = [e.delta for e in events if e.type == "response.output_text.delta"]
    assert "".join(deltas) == "Good day."
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "Good day."
    assert events[-1].response.usage.total_tokens == 25


def test_a_response_of_the_vendor_passes(shop: House):
    """What came is what the client gets; tokens written to the cache are counted once."""
    answer = response()
    shop.vendor.says(answer)
    raw = shop.sdk.responses.with_raw_response.create(
        model="chat-paid", input="Reply with exactly: OK", text={"verbosity": "low"}
    )
    assert json.loads(raw.text) == answer
    assert raw.parse().output_text == "OK"
    sent = sent_response(shop)
    assert sent["input"] == "Reply with exactly: OK"
    assert sent["text"] == {"verbosity": "low"}
    # 4020 x 0.15 + 5 x 0.60 dollars a million: no price is known for writing that model's cache.
    assert raw.headers["x-isocost-cost-usd"] == "0.000606"


def test_a_response_of_the_vendor_streams(shop: House):
    """Events pass as they came, those that no schema knows yet too; the last tells the usage."""
    events = [
        {"type": "response.created", "sequence_number": 0, "response": response(output=[])},
        {"type": "response.something_new", "sequence_number": 1, "obfuscation": None},
        {
            "type": "response.output_text.delta",
            "sequence_number": 2,
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "delta": "OK",
            "logprobs": [],
            "obfuscation": "x1",
        },
        {"type": "response.completed", "sequence_number": 3, "response": response()},
    ]
    frames = [
        b"event: %b\ndata: %b\n\n" % (str(e["type"]).encode(), json.dumps(e).encode())
        for e in events
    ]
    shop.vendor.says(*frames, kind="text/event-stream")
    found = list(shop.sdk.responses.create(model="chat-paid", input="hi", stream=True))
    assert [e.type for e in found] == [e["type"] for e in events]
    assert found[2].delta == "OK"
    assert found[-1].response.usage.input_tokens == 4020
    assert sent_response(shop)["stream"] is True


def test_a_response_that_failed_is_none(shop: House):
    """A failure under status 200 never passes for an answer."""
    fault = {"code": "server_error", "message": "The model is tired."}
    shop.vendor.says(response(status="failed", error=fault, output=[]))
    with pytest.raises(Exception, match="tired"):
        shop.sdk.responses.create(model="chat-paid", input="hi")


def test_function_tools_of_responses_go_to_the_vendor(shop: House):
    """A call of a tool and its output stay with the wire that knows them."""
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "capital",
        "arguments": "{}",
        "status": "completed",
    }
    shop.vendor.says(response(output=[call]))
    tool = {
        "type": "function",
        "name": "capital",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
    }
    found = shop.sdk.responses.create(
        model="chat-paid",
        input=[
            {"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "call_0", "name": "capital", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_0", "output": "London"},
        ],
        tools=[tool],
    )
    assert found.output[0].name == "capital"
    assert sent_response(shop)["tools"] == [tool]
    shop.answers(TEXT, Usage(1, 1))
    with pytest.raises(Exception, match="tools"):
        shop.sdk.responses.create(model="chat-own", input="hi", tools=[tool])
    assert not shop.calls


def test_tools_that_the_vendor_bills_by_the_use_have_no_price(shop: House):
    """Their use is not in the tokens: the call is refused instead of being charged too little."""
    shop.vendor.says(response())
    with pytest.raises(Exception, match="no price is known for the tool web_search"):
        shop.sdk.responses.create(model="chat-paid", input="hi", tools=[{"type": "web_search"}])
    assert not shop.vendor.sent


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input",
        ),
    ],
)
def test_a_bad_response_is_refused(shop: House, changes, param):
    """Stored state is refused by the field's name, with what to send instead."""
    shop.vendor.sent.clear()
    asked: dict[str, Any] = {"model": "chat-paid", "input": "hi"} | changes
    with pytest.raises(BadRequestError) as caught:
        shop.sdk.responses.create(**asked)
    assert caught.value.param == param
    if param in {"previous_response_id", "conversation", "prompt"}:
        assert "send the whole conversation" in str(caught.value)
    assert not shop.vendor.sent


# Models.


def test_the_models_say_what_they_can_do(shop: House):
    """Task, paths, backends, voices and languages stand beside the four fields of the document."""
    found = {m.id: m for m in shop.sdk.models.list()}
    assert found.keys() == shop.pipeline.routes.keys()
    for model in found.values():
        valid("Model", model.to_dict())
        assert model.owned_by == "isocost"
    say = found["say-own"].to_dict()
    assert (say["task"], say["voices"], say["paths"]) == ("speak", ["*"], ["/v1/audio/speech"])
    hear = found["hear-own"].to_dict()
    assert (hear["languages"], hear["backends"]) == ({"source": ["de", "en"]}, ["own-ear"])
    assert "voices" not in found["say-paid"].to_dict(), "not limited: left out"
    chats = found["chat-paid"].to_dict()
    assert chats["paths"] == ["/v1/chat/completions", "/v1/responses"]


def test_one_model(shop: House):
    """By its name; one that does not exist is a 404 that names those that do."""
    assert shop.sdk.models.retrieve("hear-own").id == "hear-own"
    with pytest.raises(NotFoundError, match="say-token"):
        shop.sdk.models.retrieve("nope")
