"""Details of the wires beyond their contract: what a door reads, what it refuses, what it writes."""

from __future__ import annotations

import json
from base64 import b64encode
from struct import pack
from typing import Any

import msgspec
import pytest

from router import apis
from router.apis.openai import OpenAIDoor
from router.apis.openai.backend import OpenAI
from router.apis.openai.frames import Frames
from router.core.api import Ask, Malformed
from router.core.call import Call, Usage
from router.core.errors import BadRequest
from router.core.failure import Failure
from router.core.reply import Reply
from router.core.task import (
    ClassifyRequest,
    ClassifyResult,
    CompleteRequest,
    Delta,
    EmbedRequest,
    EmbedResult,
    Finish,
    Ranking,
    TextResult,
    TranslateRequest,
)
from router.core.verdict import INVALID
from tests.fakes import a_call

DOOR = apis.door("openai")
NATIVE = apis.door("native")
OPENAI = apis.load("openai")
TORCHSERVE = apis.load("torchserve")
CHAT, COMPLETE, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
HI = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
BASE = {CHAT: HI, COMPLETE: {"model": "m", "prompt": "hi"}, EMBED: {"model": "m", "input": "hi"}}


def ask(path: str = CHAT, **changes: Any) -> Ask:
    """A sound body with *changes*; a field whose change is ... is left out."""
    body = {k: x for k, x in (BASE[path] | changes).items() if x is not ...}
    return DOOR.ask(path, json.dumps(body).encode())


def refused(path: str = CHAT, **changes: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        ask(path, **changes)
    assert caught.value.status == 400
    return caught.value


# What is refused.


@pytest.mark.parametrize(
    ("path", "changes", "param", "code", "said"),
    [
        (CHAT, {"model": ...}, "model", "invalid_type", "model"),
        (CHAT, {"model": 1}, "model", "invalid_type", "Expected `str`"),
        (CHAT, {"messages": ...}, "messages", "invalid_type", "messages"),
        (CHAT, {"messages": []}, "messages", "empty", "at least one message"),
        (CHAT, {"messages": "hi"}, "messages", "invalid_type", "Expected `array`"),
        (CHAT, {"messages": [{"content": "hi"}]}, "messages", "invalid_type", "role"),
        (CHAT, {"messages": [{"role": "user", "content": 5}]}, "messages", "invalid_type", "content"),
        (CHAT, {"temperature": 2.1}, "temperature", "invalid_value", "between 0 and 2"),
        (CHAT, {"temperature": -0.1}, "temperature", "invalid_value", "between 0 and 2"),
        (CHAT, {"temperature": "warm"}, "temperature", "invalid_type", "Expected"),
        (CHAT, {"top_p": 1.5}, "top_p", "invalid_value", "between 0 and 1"),
        (CHAT, {"n": 0}, "n", "invalid_value", "between 1 and 128"),
        (CHAT, {"n": 129}, "n", "invalid_value", "between 1 and 128"),
        (CHAT, {"n": 1.5}, "n", "invalid_type", "Expected `int"),
        (CHAT, {"max_tokens": 0}, "max_tokens", "invalid_value", "between 1 and"),
        (CHAT, {"max_completion_tokens": -1}, "max_completion_tokens", "invalid_value", "between 1"),
        (CHAT, {"max_tokens": 10**8}, "max_tokens", "invalid_value", "between 1 and"),
        (CHAT, {"stream": "yes"}, "stream", "invalid_type", "Expected `bool"),
        (CHAT, {"stop": [1]}, "stop", "invalid_type", "Expected `str`"),
        (COMPLETE, {"prompt": []}, "prompt", "empty", "send a text"),
        (COMPLETE, {"prompt": ["a", 1]}, "prompt", "invalid_type", "mixes"),
        (COMPLETE, {"best_of": 0}, "best_of", "invalid_value", "between 1 and 128"),
        (EMBED, {"input": ""}, "input", "empty", "send a text"),
        (EMBED, {"input": []}, "input", "empty", "send a text"),
        (EMBED, {"input": ["a", ""]}, "input", "empty", "send a text"),
        (EMBED, {"input": [[1], []]}, "input", "empty", "send a text"),
        (EMBED, {"input": ["a", [1]]}, "input", "invalid_type", "mixes"),
        (EMBED, {"input": [1.5]}, "input", "invalid_type", "Expected"),
        (EMBED, {"dimensions": 0}, "dimensions", "invalid_request", "at least 1"),
        (EMBED, {"encoding_format": "hex"}, "encoding_format", "invalid_type", "hex"),
    ],
)  # fmt: skip
def test_a_bad_body_is_refused(path, changes, param, code, said):
    """What is wrong is named by field, code and a sentence that says what would be right."""
    error = refused(path, **changes)
    assert (error.param, error.code) == (param, code)
    assert said in str(error)


# What is read.


def test_a_chat_is_read_into_the_hub():
    """Messages, sampling and limits have their places in the hub; nothing of it is an extra."""
    found = ask(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ],
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        stop="x",
        seed=7,
        n=2,
        stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    request = found.request
    assert [(m.role, m.text, m.plain) for m in request.messages] == [
        ("system", "Be brief.", True),
        ("user", "a\nb", True),
    ]
    assert (request.max_tokens, request.temperature, request.top_p) == (5, 0.5, 0.9)
    assert (request.stop, request.seed, request.n, request.usage_wanted) == (("x",), 7, 2, True)
    assert (found.route, found.task, found.stream, found.outputs) == ("m", "chat", True, 2)
    assert found.extras == frozenset()


def test_the_newer_name_of_the_limit_counts():
    """Of the two names of the output maximum, max_completion_tokens wins."""
    assert ask(max_tokens=5, max_completion_tokens=9).request.max_tokens == 9


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, ""),
        ({"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}, "x"),
        ({"role": "tool", "content": "4", "tool_call_id": "1"}, "4"),
        ({"role": "user"}, ""),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, ""),
        ({"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url"}]}, "see"),
    ],
)  # fmt: skip
def test_what_is_more_than_text_is_not_plain(message, text):
    """Images, sound and tools make a message that text-only models must not get."""
    (found,) = ask(messages=[message]).request.messages
    assert (found.plain, found.text) == (False, text)
    call = call_of(ask(messages=[message]))
    assert TORCHSERVE.unfit(call) == "local chat models read text only"
    assert OPENAI.unfit(call) == ""


def test_no_calls_of_tools_are_plain():
    """A message whose tool_calls are null or absent is plain text."""
    assert (
        ask(messages=[{"role": "assistant", "content": "x", "tool_calls": None}])
        .request.messages[0]
        .plain
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", []),
        ("tools", None),
        ("tool_choice", "auto"),
        ("tool_choice", "none"),
        ("response_format", {"type": "text"}),
        ("presence_penalty", 0),
        ("frequency_penalty", 0.0),
        ("logit_bias", {}),
        ("logprobs", False),
        ("user", "u1"),
        ("metadata", {"a": "b"}),
        ("store", True),
        ("anything", None),
    ],
)
def test_a_neutral_value_is_no_extra(field, value):
    """A field that changes nothing of the answer keeps no backend out."""
    assert ask(**{field: value}).extras == frozenset()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_object"}),
        ("presence_penalty", 0.1),
        ("logprobs", True),
        ("reasoning_effort", "low"),
        ("never_heard_of", 0),
    ],
)
def test_what_changes_the_answer_is_an_extra(field, value):
    """A field that the hub does not hold keeps the call with backends of its own wire."""
    found = ask(**{field: value})
    assert found.extras == {field}
    call = call_of(found)
    assert OPENAI.unfit(call) == ""
    assert field in TORCHSERVE.unfit(call)
    assert field in OPENAI.unfit(msgspec.structs.replace(call, wire="another"))


def test_texts_and_token_numbers():
    """One text, several, one list of token numbers or several of them: all are read, the latter as extras."""
    assert ask(EMBED, input="a").request.texts == ("a",)
    assert ask(EMBED, input=["a", "b"]).request.texts == ("a", "b")
    for tokens, count in (([1, 2, 3], 1), ([[1, 2], [3]], 2)):
        found = ask(EMBED, input=tokens)
        assert len(found.request.texts) == count
        assert found.extras == {"input"}
        assert found.text_bytes > 0
        assert "input" in TORCHSERVE.unfit(call_of(found))
        sent = json.loads(OPENAI.request(call_of(found), "x").body)
        assert sent["input"] == tokens
    assert ask(COMPLETE, prompt=[1, 2]).extras == {"prompt"}
    assert ask(COMPLETE, prompt="").request.prompts == ("",)


def test_what_is_made_is_what_is_billed():
    """Outputs are the texts that a model writes: choices, or the best of more, times the prompts."""
    assert ask(n=3).outputs == 3
    assert ask(COMPLETE, prompt=["a", "b"], n=2).outputs == 4
    assert ask(COMPLETE, prompt=["a", "b"], n=2, best_of=5).outputs == 10
    assert ask(EMBED, input=["a", "b"]).outputs == 1


@pytest.mark.parametrize(
    "text", ["plain", "\u00e9t\u00e9", "\u4f60\u597d", "\U0001f600", '"\\\n', "x" * 1000]
)
def test_no_tokenizer_makes_more_of_it(text):
    """The bound is at least a token per byte of what the model reads; the prediction counts UTF-8 bytes."""
    for ascii_only in (True, False):
        body = json.dumps(
            HI | {"messages": [{"role": "user", "content": text}]}, ensure_ascii=ascii_only
        )
        found = DOOR.ask(CHAT, body.encode())
        assert found.text_bytes == len(text.encode())
        assert found.token_bound >= len(text.encode()) + 8


def test_an_image_has_a_bound():
    """Each image adds what the vendor bills for one at most."""
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    one = ask(messages=[{"role": "user", "content": [image]}])
    two = ask(messages=[{"role": "user", "content": [image, image]}])
    assert one.token_bound > 2_833 + 8 * 5_667
    assert two.token_bound - one.token_bound > 2_833 + 8 * 5_667


def test_the_fields_are_kept_as_bytes():
    """Every top-level field is kept undecoded."""
    found = DOOR.ask(
        CHAT, b'{"model":"m","messages":[{"role":"user","content":"\\u0041"}],"x": 1.0e0}'
    )
    assert bytes(found.fields["x"]) == b"1.0e0"
    assert found.fields.keys() == {"model", "messages", "x"}


def call_of(found: Ask, **changes: Any) -> Call:
    return a_call(
        request=found.request, task=found.task, fields=found.fields, extras=found.extras, **changes
    )


# The key.


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({b"authorization": b"Bearer abc"}, "abc"),
        ({b"authorization": b"bearer  abc "}, "abc"),
        ({b"authorization": b"Basic abc"}, ""),
        ({b"authorization": b"abc"}, ""),
        ({b"authorization": b"Bearer \xff"}, "\xff"),
        ({}, ""),
    ],
)
def test_a_key_is_a_bearer(headers, secret):
    """The caller's key is the bearer's; anything else is none."""
    assert DOOR.secret(headers) == secret
    assert NATIVE.secret(headers) == secret


# Towards a backend.


def test_servers_other_than_the_vendors_know_the_older_limit():
    """The vendor is sent max_completion_tokens, others max_tokens."""
    call = call_of(ask(max_tokens=7))
    assert "max_completion_tokens" in json.loads(OPENAI.request(call, "x").body)
    own = OPENAI.at("http://127.0.0.1:8000/v1")
    sent = json.loads(own.request(call, "x").body)
    assert sent["max_tokens"] == 50
    assert "max_completion_tokens" not in sent
    assert OPENAI.at("https://api.openai.com/v1") is OPENAI


def test_a_limit_is_always_sent():
    """Also where the client gave none: money is bounded by it."""
    assert json.loads(OPENAI.request(call_of(ask()), "x").body)["max_completion_tokens"] == 50


def test_embeddings_have_no_limit():
    """Nothing about output is sent where none is made."""
    sent = json.loads(OPENAI.request(call_of(ask(EMBED)), "x").body)
    assert sent == {"model": "x", "input": "hi"}


def test_a_task_that_a_wire_cannot_carry_is_unfit():
    """A wire says what it has no words for."""
    call = a_call(task="translate", request=TranslateRequest(texts=("a",), target="de"))
    assert "translate" in OPENAI.unfit(call)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (CompleteRequest(prompts=("a",), n=2), "one choice"),
        (CompleteRequest(prompts=("a", "b")), "one prompt"),
        (EmbedRequest(texts=("a",), dimensions=5), "fixed number of dimensions"),
    ],
)
def test_what_local_models_cannot_do(request_, said):
    """A local model refuses what it would otherwise have to drop silently."""
    assert said in TORCHSERVE.unfit(a_call(request=request_))


@pytest.mark.parametrize(
    "answer",
    [
        {"text": "x"},
        {"usage": {"input_tokens": 1}},
        {"text": None, "usage": {"input_tokens": 1}},
        {"text": "x", "usage": {"input_tokens": -1}},
        {"embeddings": ["AACAPw=="], "dimensions": 1, "usage": {"input_tokens": 1}},
        [],
    ],
)
def test_a_local_answer_without_its_result_is_malformed(answer):
    """An answer without usage, or without what the task asks for, is no answer."""
    reader = TORCHSERVE.reader(a_call())
    with pytest.raises(Malformed):
        reader.whole(json.dumps(answer).encode())
    assert reader.usage is None


@pytest.mark.parametrize(
    ("vectors", "dimensions"),
    [(["AACAPw=="], 1), (["AACAPw==", "AACAPw=="], 2), (["AACAPw==", "AAAAAAAAAAA="], 1)],
)
def test_local_vectors_must_fit(vectors, dimensions):
    """One vector per text, each of the size that is said: anything else is malformed."""
    reader = TORCHSERVE.reader(a_call(task="embed", request=EmbedRequest(texts=("a", "b"))))
    body = {"embeddings": vectors, "dimensions": dimensions, "usage": {"input_tokens": 1}}
    with pytest.raises(Malformed, match="results for 2 texts"):
        reader.whole(json.dumps(body).encode())


@pytest.mark.parametrize(
    "results",
    [[], [{"labels": [], "scores": []}], [{"labels": ["a"], "scores": [0.5, 0.5]}]],
)
def test_local_labels_must_fit(results):
    """One ranking per text, with a score for each label: anything else is malformed."""
    reader = TORCHSERVE.reader(a_call(task="classify", request=ClassifyRequest(texts=("a",))))
    with pytest.raises(Malformed, match="results for 1 texts"):
        reader.whole(json.dumps({"results": results, "usage": {"input_tokens": 1}}).encode())


def test_a_models_own_failure_in_a_stream_is_told():
    """An error line in the middle of a stream is malformed, with the model's own words."""
    reader = TORCHSERVE.reader(a_call(stream=True))
    assert reader.feed(b'{"text":"a"}\n') == [Delta(text="a")]
    with pytest.raises(Malformed, match="out of memory"):
        reader.feed(b'{"error":{"code":"fault","message":"out of memory"}}\n')
    assert not reader.end()


def test_a_vendors_failure_in_a_stream_is_told():
    """An error event in the middle of a stream is malformed, with the vendor's own words."""
    reader = OPENAI.reader(a_call(stream=True))
    with pytest.raises(Malformed, match="overloaded"):
        reader.feed(b'data: {"error":{"message":"overloaded"}}\n\n')


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (502, b"<html>Bad Gateway</html>", "", "<html>Bad Gateway</html>"),
        (500, b"\xff" * 300, "", "\ufffd" * 200),
        (400, b'{"error":"plain words"}', "", "plain words"),
        (400, b'{"error":{"message":"m","type":"t","code":7}}', "7", "m"),
    ],
)
def test_an_error_of_no_known_shape_is_quoted(status, body, code, message):
    """What is not in the wire's shape is quoted, at most 200 bytes of it."""
    found = OpenAI().failure(status, body)
    assert (found.code, found.message) == (code, message)


# Towards a client.


def test_a_hub_answer_is_written_as_openai_does():
    """Chat and completion have the vendor's objects, with the call's id, time and usage."""
    reply = Reply(
        backend="b",
        result=TextResult(texts=("a", "b"), finish=("stop", "length")),
        usage=Usage(3, 4),
    )
    chat = json.loads(DOOR.whole(a_call(), reply))
    assert (chat["id"], chat["object"], chat["created"]) == (
        "chatcmpl-c1",
        "chat.completion",
        1_790_000_000,
    )
    assert chat["model"] == "chat"
    assert [c["message"]["content"] for c in chat["choices"]] == ["a", "b"]
    assert [c["finish_reason"] for c in chat["choices"]] == ["stop", "length"]
    assert chat["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    reply.model = "smollm2"
    text = json.loads(DOOR.whole(a_call(task="complete"), reply))
    assert (text["id"], text["object"], text["model"]) == ("cmpl-c1", "text_completion", "smollm2")
    assert [c["text"] for c in text["choices"]] == ["a", "b"]


def test_vectors_are_written_as_asked():
    """Numbers by default, base64 when the client asked for it."""
    vector = b64encode(pack("<2f", 1.0, -2.5)).decode()
    reply = Reply(backend="b", result=EmbedResult(vectors=(vector,), dimensions=2), usage=Usage(3))
    as_numbers = a_call(task="embed", request=EmbedRequest(texts=("a",)))
    found = json.loads(DOOR.whole(as_numbers, reply))
    assert found["data"] == [{"object": "embedding", "index": 0, "embedding": [1.0, -2.5]}]
    assert found["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    as_text = a_call(task="embed", request=EmbedRequest(texts=("a",), encoding="base64"))
    assert json.loads(DOOR.whole(as_text, reply))["data"][0]["embedding"] == vector


def test_a_backends_refusal_passes_as_it_came():
    """Bytes in OpenAI's shape pass untouched; what came in another shape is put into it."""
    reply = Reply(backend="b", status=400, verdict=INVALID)
    reply.failure = Failure("c", "m", None, b'{"error": {"message":"m"}}')
    assert DOOR.whole(a_call(), reply) == b'{"error": {"message":"m"}}'
    reply.failure = Failure("c", "m")
    assert json.loads(DOOR.whole(a_call(), reply))["error"] == {
        "message": "m", "type": "invalid_request_error", "param": None, "code": "c",
    }  # fmt: skip


def frames(out: bytes) -> list[Any]:
    return [f if f == b"data: [DONE]" else json.loads(f[6:]) for f in out.split(b"\n\n")[:-1]]


@pytest.mark.parametrize("task", ["chat", "complete"])
def test_hub_events_become_chunks(task):
    """A role first (chat), then pieces, the reason of the end, usage when wanted, and [DONE]."""
    asked = DOOR.ask(
        CHAT if task == "chat" else COMPLETE,
        json.dumps(
            BASE[CHAT if task == "chat" else COMPLETE] | {"stream_options": {"include_usage": True}}
        ).encode(),
    )
    call = a_call(task=task, request=asked.request, stream=True)
    writer = OpenAIDoor().events(call, Reply(backend="b"))
    out = b"".join(
        writer.event(e) for e in (Delta(text="h\u00e9"), Delta(text="y"), Finish(reason="stop"))
    )
    *chunks, usage, done = frames(out + writer.end(Usage(3, 4)))
    assert done == b"data: [DONE]"
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    said = [c["choices"][0] for c in chunks]
    if task == "chat":
        assert said.pop(0)["delta"] == {"role": "assistant", "content": ""}
        assert [c["delta"] for c in said] == [{"content": "h\u00e9"}, {"content": "y"}, {}]
    else:
        assert [c["text"] for c in said] == ["h\u00e9", "y", ""]
    assert [c["finish_reason"] for c in said] == [None, None, "stop"]
    assert len({c["id"] for c in [*chunks, usage]}) == 1


def test_raw_frames_pass_untouched():
    """Frames of the caller's own wire are not written anew, nor is a second [DONE] added."""
    writer = DOOR.events(a_call(stream=True), Reply(backend="b"))
    assert writer.event(b"data: 1\n\n") == b"data: 1\n\n"
    assert writer.end(Usage(1, 1)) == b""


def test_usage_that_was_wanted_passes():
    """A client who asked for usage gets the vendor's own event."""
    wanted = ask(stream=True, stream_options={"include_usage": True})
    event = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    for found, passed in ((wanted, [event]), (ask(stream=True), [])):
        reader = OPENAI.reader(call_of(found, stream=True))
        assert reader.feed(event) == passed
        assert reader.usage == Usage(1, 2)


def test_an_empty_usage_is_cut_out_for_who_did_not_ask():
    """The `usage: null` that only the router asked for is not shown."""
    reader = OPENAI.reader(call_of(ask(stream=True), stream=True))
    assert reader.feed(b'data: {"id":"1","choices":[],"usage":null,"x":1}\n\n') == [
        b'data: {"id":"1","choices":[],"x":1}\n\n'
    ]


@pytest.mark.parametrize(
    "stream",
    [
        b'data: {"unexpected":{"shape":[1,"two",null]}}\n\n',
        b"data: [DONE]\n\n",
        b'data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\ndata: [DONE]\n\n',
    ],
)
@pytest.mark.parametrize("wire", ["openai", "torchserve"])
def test_a_stream_without_choices_is_no_answer(stream, wire):
    """JSON of another shape, or an end before any text, is a failure and not an empty success."""
    call = a_call(stream=True, wire=wire)
    with pytest.raises(Malformed):
        OPENAI.reader(call).feed(stream)


# Frames.


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\r\n\r\ndata: b\r\r", [b"a"]),
        (b"data:a\r\n\r\ndata: b\r\r:", [b"a", b"b"]),
        (b": ping\n\nevent: x\nid: 1\ndata: a\nretry: 5\n\n", [b"a"]),
        (b"data: {\ndata: }\n\n", [b"{ }"]),
        (b"\n\n\ndata: a\n\n\n\n", [b"a"]),
        (b"data: a\n", []),
        (b"data\n\n", []),
        (b"database: a\n\n", []),
    ],
)
def test_frames_are_server_sent_events(stream, events):
    """Line ends of all kinds, comments and other fields are understood; half an event is none."""
    found = Frames()
    assert found.feed(stream) == events
    one_by_one = Frames()
    assert [e for b in stream for e in one_by_one.feed(bytes([b]))] == events


# The native door.


def classify(**changes: Any) -> Ask:
    body = {"model": "c", "input": "good"} | changes
    return NATIVE.ask("/v1/classify", json.dumps(body).encode())


def test_a_classification_is_read():
    """One text or several, the model's labels or the caller's own."""
    assert classify().request == ClassifyRequest(texts=("good",))
    found = classify(input=["a", "\u00e9"], labels=["x", "y"], multi_label=True)
    assert found.request == ClassifyRequest(
        texts=("a", "\u00e9"), labels=("x", "y"), multi_label=True
    )
    assert (found.task, found.route, found.text_bytes) == ("classify", "c", 5)
    assert found.token_bound > found.text_bytes


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1]}, "input"),
        ({"labels": ["one"]}, "labels"),
        ({"labels": []}, "labels"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"multi_label": "yes"}, "multi_label"),
    ],
)
def test_a_bad_classification_is_refused(changes, param):
    """What is wrong is named by its field."""
    with pytest.raises(BadRequest) as caught:
        classify(**changes)
    assert caught.value.param == param


def test_an_unknown_field_is_refused_where_the_wire_is_ours():
    """Our own wire has no extras: a misspelled field is named, and so are those that there are."""
    with pytest.raises(BadRequest, match=r"`lables` here.*`input`, `labels`") as caught:
        classify(lables=["a", "b"])
    assert caught.value.param == "lables"


def test_a_classification_is_written():
    """Best label, its score, and all of them by name."""
    ranking = Ranking(labels=("pos", "neg"), scores=(0.75, 0.25))
    reply = Reply(backend="b", result=ClassifyResult(rankings=(ranking,)), usage=Usage(5))
    assert json.loads(NATIVE.whole(a_call(route="c"), reply)) == {
        "object": "list",
        "model": "c",
        "results": [{"label": "pos", "score": 0.75, "scores": {"pos": 0.75, "neg": 0.25}}],
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
    with pytest.raises(TypeError):
        NATIVE.events(a_call(), reply)


@pytest.mark.parametrize(
    ("field", "value", "refused"),
    [
        ("service_tier", "priority", True),
        ("service_tier", "auto", False),
        ("service_tier", None, False),
        ("web_search_options", {}, True),
        ("audio", {"voice": "alloy", "format": "mp3"}, True),
        ("modalities", ["text", "audio"], True),
        ("modalities", ["text"], False),
    ],
)
def test_what_has_no_list_price_is_refused(field, value, refused):
    """A wish that is billed beside tokens at list price gets no quote, so no call."""
    body = {"model": "r", "messages": [{"role": "user", "content": "x"}], field: value}
    ask = apis.door("openai").ask("/v1/chat/completions", msgspec.json.encode(body))
    call = a_call(request=ask.request, fields=ask.fields, extras=ask.extras, wire="openai")
    assert bool(apis.load("openai").unfit(call)) is refused


def test_a_file_part_is_refused_at_the_door():
    """Its pages are billed as images, and nobody here can count them."""
    parts = [{"type": "file", "file": {"file_id": "f"}}]
    body = {"model": "r", "messages": [{"role": "user", "content": parts}]}
    with pytest.raises(BadRequest, match="file"):
        apis.door("openai").ask("/v1/chat/completions", msgspec.json.encode(body))
