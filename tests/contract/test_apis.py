"""Laws of every wire format. A new module of `router.apis` joins by its recorded cases."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire_cases import CASES, ERRORS, STREAMS, WHOLE, Case, heard, read_result

from router import apis
from router.core import errors, verdict
from router.core.api import Malformed
from router.core.call import Usage
from router.core.errors import BadRequest, RouterError
from router.core.reply import Reply
from router.core.task import TASKS
from router.core.verdict import judge
from router.doors.paths import entrances

PATHS = {path.pattern: (door.wire, path.task) for door, path in entrances()}
CHANGED = {"model", "max_tokens", "max_completion_tokens", "stream", "stream_options"}
"""The fields of a client's body that the router may replace."""


def ids(case: Case) -> str:
    return str(case)


def exported(what: str) -> list[Any]:
    """Every API, or every DOOR, of the package."""
    load = {"API": apis.load, "DOOR": apis.door}[what]
    found = []
    for name in apis.NAMES:
        try:
            found.append(pytest.param(load(name), id=name))
        except ValueError:
            continue
    return found


# Every module takes part.


@pytest.mark.parametrize("name", apis.NAMES)
def test_a_module_has_cases(name):
    """Each module exports an API or a DOOR, and has at least a whole answer and an error recorded."""
    sides = [p.id for p in exported("API") + exported("DOOR")]
    assert name in sides
    mine = [c for c in CASES if c.module == name]
    own = Path(__file__).parent
    if not mine and (own / f"test_wire_{name}.py").exists():
        assert (own / "cases" / name / "errors.yaml").exists(), "its errors are missing"
        return
    assert any(c in WHOLE for c in mine), "a whole answer is missing"
    assert any(c in ERRORS for c in mine), "an error is missing"


@pytest.mark.parametrize("api", exported("API"))
def test_every_task_of_an_api_has_cases(api):
    """For each task of texts that an API does there is a whole answer, and a stream where text is
    made; a wire that does others too has tests of its own."""
    mine = [c for c in CASES if c.api.name == api.name]
    texts = api.tasks & {"chat", "complete", "embed", "classify"}
    assert {PATHS[c.path][1] for c in mine if c in WHOLE} == texts
    if api.tasks != texts:
        assert (Path(__file__).parent / f"test_wire_{api.name}.py").exists()
    text = api.tasks & {"chat", "complete"}
    assert {PATHS[c.path][1] for c in mine if c in STREAMS} == text


@pytest.mark.parametrize("api", exported("API"))
def test_an_api_says_what_it_is(api):
    """An API has its module's name, known tasks, and hides a secret nowhere but in its headers."""
    assert api.name in apis.NAMES
    assert api.tasks <= set(TASKS)
    assert any("s3cret" in value for value in api.auth("s3cret").values())
    assert not any(api.auth("").values())


@pytest.mark.parametrize("name", ["nope", "__init__", "openai.backend", "os", ""])
def test_an_unknown_api_names_the_known(name):
    """A name that is no module of the package is refused with those that are."""
    with pytest.raises(ValueError, match=r"known: .*openai, torchserve"):
        apis.load(name)
    with pytest.raises(ValueError, match="no door"):
        apis.door(name)


def test_a_door_is_no_backend():
    """A wire with one side only is refused for the other."""
    with pytest.raises(ValueError, match="unknown api 'native'"):
        apis.load("native")
    assert "native" in apis.doors()


# Requests.


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_a_request_is_as_recorded(case):
    """The recorded body becomes the recorded request, which names the backend's model."""
    call = case.call()
    assert case.api.unfit(call) == ""
    wire = case.api.request(call, case.model)
    assert wire.path == case.said["request"]["path"]
    assert json.loads(wire.body) == case.said["request"]["body"]
    assert case.model in wire.path or json.loads(wire.body)["model"] == case.model


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_a_request_bounds_its_output(case):
    """Where text is made, the maximum that is sent times the texts that are made is the call's limit."""
    call = case.call(output_limit=840)
    sent = json.loads(case.api.request(call, case.model).body)
    if call.task not in {"chat", "complete"}:
        assert "max_tokens" not in sent
        return
    given = [sent[f] for f in ("max_tokens", "max_completion_tokens") if f in sent]
    made = max(sent.get("n") or 1, sent.get("best_of") or 1)
    if call.task == "complete" and isinstance(sent["prompt"], list):
        made *= len(sent["prompt"])
    assert given == [840 // made]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
SPACE = st.sampled_from(["", " ", "\n", "\t ", "  \r\n"])
RAW = st.builds(json.dumps, JSON, ensure_ascii=st.booleans(), indent=st.none() | st.just(1)) | (
    st.sampled_from(["1.0e0", "1E5", '"\\u0041\\/"', "[ 1 ,2]", "-0", "1.50", '{"a":1,"a":2}'])
)


@pytest.mark.parametrize("case", [c for c in CASES if c.door.wire == c.api.name], ids=ids)
@settings(max_examples=10)
@given(st.dictionaries(st.text(min_size=1, max_size=8), RAW, max_size=5), SPACE)
def test_unknown_fields_pass_byte_for_byte(case, extra, space):
    """Towards the same wire every field that the router does not set keeps its exact bytes."""
    known = {k: json.dumps(x) for k, x in case.said["ask"].items()}
    reserved = known.keys() | CHANGED | set(msgspec.json.decode(case.body))
    reserved |= {"temperature", "top_p", "n", "seed", "stop", "prompt", "messages", "input"}
    reserved |= {"best_of", "dimensions", "encoding_format"}
    fields = known | {k: x for k, x in extra.items() if k not in reserved}
    pairs = [f"{json.dumps(k)}:{space}{x}{space}" for k, x in fields.items()]
    body = ("{" + ",".join(pairs) + "}").encode()
    sent = msgspec.json.decode(
        case.api.request(case.call(body), case.model).body, type=dict[str, msgspec.Raw]
    )
    for name, raw in fields.items():
        if name not in CHANGED:
            assert bytes(sent[name]) == raw.encode()
    assert sent.keys() - CHANGED == fields.keys() - CHANGED


# Answers.


@pytest.mark.parametrize("case", WHOLE, ids=ids)
def test_a_whole_answer_is_read(case):
    """Texts or vectors, usage and the model that answered are those of the recording."""
    call = case.call()
    reader = case.api.reader(call)
    result = reader.whole(case.answer)
    wanted = case.said.get("texts") or case.said.get("vectors") or case.said.get("labels")
    assert read_result(call, result) == wanted
    assert reader.usage == case.usage
    assert reader.model == case.said["answered_by"]
    if case.door.wire == case.api.name:
        assert result == case.answer, "the same wire passes as it came"


@pytest.mark.parametrize("case", WHOLE, ids=ids)
def test_a_whole_answer_is_written(case):
    """The client gets JSON in its door's wire, with the recorded usage."""
    call = case.call()
    reader = case.api.reader(call)
    body = json.loads(case.door.whole(call, reply_of(case, reader.whole(case.answer), reader)))
    assert body["usage"]["prompt_tokens"] == case.usage.input_tokens
    assert body["model"] == case.said["answered_by"]


def reply_of(case: Case, result: Any, reader: Any) -> Reply:
    reply = Reply(backend="b", usage=reader.usage)
    if isinstance(result, bytes):
        reply.body = result
    else:
        reply.result = result
    reply.model = reader.model
    return reply


def other_wire(case: Case) -> dict[str, Any]:
    """Changes to a call so that a backend of its own wire reads into the hub."""
    return {"wire": "another", "extras": frozenset()}


HUB = [c for c in WHOLE if c.api.name == c.door.wire]


@pytest.mark.parametrize("case", HUB, ids=ids)
def test_the_hub_reads_the_same(case):
    """A caller of another wire gets the same texts and usage through the hub."""
    call = case.call(**other_wire(case))
    reader = case.api.reader(call)
    result = reader.whole(case.answer)
    assert not isinstance(result, bytes)
    wanted = case.said.get("texts") or case.said.get("vectors")
    assert read_result(call, result) == wanted
    assert reader.usage == case.usage
    assert json.loads(case.api.request(call, case.model).body)["model"] == case.model


def play(case: Case, chunks: list[bytes], **changes: Any) -> tuple[Any, list[Any], bool]:
    reader = case.api.reader(case.call(**changes))
    events: list[Any] = []
    for chunk in chunks:
        events += reader.feed(chunk)
    return reader, events, reader.end()


def both(case: Case) -> list[dict[str, Any]]:
    """The caller's own wire, and another one."""
    return [{}, other_wire(case)] if case.api.name == case.door.wire else [{}]


@pytest.mark.parametrize("case", STREAMS, ids=ids)
def test_a_stream_is_read(case):
    """Text, usage, model and end are those of the recording, in the same wire and through the hub."""
    for changes in both(case):
        reader, events, ended = play(case, [case.stream], **changes)
        assert heard(case.call(), events) == "".join(case.said["texts"])
        assert reader.usage == case.usage
        assert reader.model == case.said["answered_by"]
        assert ended


@pytest.mark.parametrize("case", STREAMS, ids=ids)
@settings(max_examples=30)
@given(data=st.data())
def test_cuts_change_nothing(case, data):
    """Whatever way the bytes are cut into chunks, events, usage and end are the same."""
    stream = case.stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    for changes in both(case):
        reader, events, ended = play(case, chunks, **changes)
        single, wanted, _ = play(case, [stream], **changes)
        assert joined(events) == joined(wanted)
        assert (reader.usage, reader.model, ended) == (single.usage, single.model, True)


def joined(events: list[Any]) -> list[Any]:
    raw = b"".join(e for e in events if isinstance(e, bytes))
    return [raw, *(e for e in events if not isinstance(e, bytes))]


@pytest.mark.parametrize("case", STREAMS, ids=ids)
def test_byte_by_byte(case):
    """A stream that comes one byte at a time is read as one that comes at once."""
    stream = case.stream
    for changes in both(case):
        reader, events, ended = play(case, [bytes([b]) for b in stream], **changes)
        assert joined(events) == joined(play(case, [stream], **changes)[1])
        assert (reader.usage, ended) == (case.usage, True)


@pytest.mark.parametrize("case", STREAMS, ids=ids)
def test_a_truncated_stream_is_no_answer(case):
    """Cut off at any byte it has not ended, and its usage is unknown or the true one, never less."""
    stream = case.stream
    for changes in both(case):
        whole = joined(play(case, [stream], **changes)[1])
        for at in range(len(stream.rstrip())):
            reader, events, ended = play(case, [stream[:at]], **changes)
            assert not ended, stream[:at][-40:]
            assert reader.usage in {None, case.usage}
            got = joined(events)
            assert whole[0].startswith(got[0])
            assert got[1:] == whole[1 : len(got)]


@pytest.mark.parametrize(
    "case", [c for c in STREAMS if "include_usage" not in c.body.decode()], ids=ids
)
def test_usage_that_was_not_asked_for_is_not_shown(case):
    """The router asks backends for usage; a client who did not, sees none."""
    _, events, _ = play(case, [case.stream])
    assert b'"usage"' not in joined(events)[0]


@pytest.mark.parametrize("case", STREAMS, ids=ids)
def test_a_stream_is_written(case):
    """The door's frames are server-sent events of JSON and end with [DONE], exactly once."""
    call = case.call()
    reader, events, _ = play(case, [case.stream])
    reply = Reply(backend="b", usage=reader.usage)
    writer = case.door.events(call, reply)
    out = b"".join(writer.event(e) for e in events) + writer.end(reader.usage)
    frames = out.split(b"\n\n")
    assert frames[-2:] == [b"data: [DONE]", b""]
    assert heard(call, [out]) == "".join(case.said["texts"])
    shown = [json.loads(f[6:]).get("usage") for f in frames[:-2]]
    if getattr(call.request, "usage_wanted", False):
        assert shown[-1]["prompt_tokens"] == case.usage.input_tokens
        assert shown[-1]["completion_tokens"] == case.usage.output_tokens
    else:
        assert not any(shown)


# Errors.


@pytest.mark.parametrize("case", ERRORS, ids=ids)
def test_an_error_is_read(case):
    """Code and message are those of the recording, and the table judges them as recorded."""
    body = json.dumps(case.said["error"]).encode()
    found = case.api.failure(case.said["status"], body)
    assert (found.code, found.message) == (case.said["code"], case.said["message"])
    assert judge(case.api.name, case.said["status"], found.code).name == case.said["verdict"]


@pytest.mark.parametrize("case", ERRORS, ids=ids)
def test_an_error_is_written_in_openais_shape(case):
    """What a backend holds against the client reaches it as an error of OpenAI's shape."""
    reply = Reply(backend="b", status=case.said["status"], verdict=verdict.INVALID)
    reply.failure = case.api.failure(reply.status, json.dumps(case.said["error"]).encode())
    check_error(case.door.whole(case.call(), reply), case.said["message"])


def check_error(body: bytes, message: str) -> dict[str, Any]:
    error = json.loads(body)["error"]
    assert error.keys() >= {"message", "type", "param", "code"}
    assert error["message"] == message
    assert isinstance(error["type"], str)
    return error


RAISED = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, RouterError)]


@pytest.mark.parametrize("kind", RAISED, ids=lambda k: k.__name__)
@pytest.mark.parametrize("door", exported("DOOR"))
def test_a_doors_errors_have_its_vendors_shape(door, kind):
    """Each error of the router is written with its sentence, also in a stream that can say one."""
    args = ("b", verdict.FAULT, "why") if kind is errors.AttemptFailed else ("what and why",)
    error = kind(*args)
    written = json.loads(door.error(error))
    match door.wire:
        case "openai" | "native":
            check_error(door.error(error), str(error))
            assert written["error"]["code"] == error.code
            server = {"server_error"} if error.status >= 500 else set()
            assert written["error"]["type"] in server or error.status < 500
            event = door.error_event(error)
            assert event.startswith(b"data: ")
            assert event.endswith(b"\n\n")
            check_error(event[6:-2], str(error))
        case "google_vision" | "google_speech":
            assert written["error"]["message"] == str(error)
            assert written["error"]["code"] == error.status
            assert written["error"]["status"].isupper()
        case "elevenlabs":
            assert str(error) in json.dumps(written["detail"])
        case "deepl":
            assert written["message"] == str(error)
        case "torchserve":
            assert written["message"] == str(error)
            assert (written["code"], bool(written["type"])) == (error.status, True)
        case _:
            pytest.fail(f"say here what an error of {door.wire} looks like")


# Nonsense.

KEYS = st.sampled_from(
    [
        "model",
        "messages",
        "role",
        "content",
        "choices",
        "usage",
        "prompt_tokens",
        "error",
        "text",
        "finish_reason",
        "index",
        "delta",
        "data",
        "embedding",
        "input",
        "results",
        "labels",
    ]
)
NONSENSE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
DEEP = b'{"x":' + b"[" * 100_000
BYTES = st.binary(max_size=200) | NONSENSE.map(lambda x: json.dumps(x).encode())


@st.composite
def spoiled(draw: Any, source: Any) -> bytes:
    """A recorded JSON with one of its values replaced, removed or added."""
    found = deepcopy(source)
    nodes = list(_nodes(found))
    holder, key = draw(st.sampled_from(nodes))
    if draw(st.booleans()):
        holder[key] = draw(NONSENSE)
    elif isinstance(holder, dict):
        del holder[key]
    else:
        holder.insert(key, draw(NONSENSE))
    return json.dumps(found).encode()


def _nodes(found: Any) -> Any:
    items = found.items() if isinstance(found, dict) else enumerate(found)
    for key, value in list(items):
        yield found, key
        if isinstance(value, (dict, list)) and value:
            yield from _nodes(value)


def written(case: Case, body: bytes, **changes: Any) -> None:
    """Read a whole answer and write it: Malformed, or a JSON body and a usage that can be charged."""
    call = case.call(**changes)
    reader = case.api.reader(call)
    try:
        result = reader.whole(body)
    except Malformed:
        return
    sound(reader.usage)
    json.loads(case.door.whole(call, reply_of(case, result, reader)))


def sound(usage: Usage | None) -> None:
    assert usage is None or (
        min(usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.written_tokens) >= 0
        and usage.cached_tokens + usage.written_tokens <= usage.input_tokens
    )


@pytest.mark.parametrize("case", WHOLE, ids=ids)
@settings(max_examples=25)
@given(data=st.data())
def test_a_spoiled_answer_is_malformed_or_whole(case, data):
    """With any value replaced or gone, an answer is Malformed or still reaches the client as JSON."""
    body = data.draw(spoiled(case.said["answer"]))
    for changes in both(case):
        written(case, body, **changes)


@pytest.mark.parametrize("case", WHOLE, ids=ids)
def test_a_truncated_answer_is_malformed(case):
    """A whole answer cut off at any byte raises Malformed and leaves no usage."""
    for at in range(len(case.answer)):
        reader = case.api.reader(case.call())
        with pytest.raises(Malformed):
            reader.whole(case.answer[:at])
        assert reader.usage is None


@pytest.mark.parametrize("case", WHOLE, ids=ids)
@settings(max_examples=25)
@given(body=BYTES)
@example(body=DEEP)
@example(body=b"")
@example(body=b'{"choices":[],"usage":{"prompt_tokens":-1}}')
@example(body=b'{"text":"","usage":{"input_tokens":-1}}')
def test_any_bytes_as_an_answer(case, body):
    """Whatever a backend answers, reading it raises Malformed or nothing."""
    for changes in both(case):
        reader = case.api.reader(case.call(**changes))
        try:
            reader.whole(body)
        except Malformed as exc:
            assert str(exc)  # noqa: PT017
        sound(reader.usage)


@pytest.mark.parametrize("case", STREAMS, ids=ids)
@settings(max_examples=25)
@given(
    chunks=st.lists(
        BYTES | st.sampled_from([b"\n", b"\r", b"\n\n", b"data: ", b"data:"]), max_size=8
    )
)
@example(chunks=[b"data: ", DEEP, b"\n\n"])
@example(chunks=[DEEP, b"\n"])
def test_any_bytes_as_a_stream(case, chunks):
    """Whatever a backend streams, feeding it raises Malformed or nothing."""
    for changes in both(case):
        reader = case.api.reader(case.call(**changes))
        try:
            for chunk in chunks:
                assert all(reader.feed(chunk)), "no empty events"
        except Malformed as exc:
            assert str(exc)  # noqa: PT017
        assert isinstance(reader.end(), bool)
        sound(reader.usage)


@pytest.mark.parametrize("case", STREAMS, ids=ids)
def test_memory_is_bounded_by_one_event(case):
    """A stream without a line end is given up as Malformed before it fills the memory."""
    for filler in (b"x" * 1_000_000, b"x" * 999_999 + b"\r"):
        reader = case.api.reader(case.call())
        with pytest.raises(Malformed):
            list(map(reader.feed, [filler] * 10))


@pytest.mark.parametrize("api", exported("API"))
@given(body=BYTES, status=st.integers(400, 599))
@example(body=DEEP, status=500)
@example(body=b'{"error":{"message":null}}', status=400)
@example(body=b'{"error":"text"}', status=400)
@example(body=b'{"detail":"Not Found"}', status=404)
def test_any_bytes_as_an_error(api, body, status):
    """Whatever body an error has, it is read and judged, and the door can write it."""
    found = api.failure(status, body)
    assert isinstance(found.code, str)
    assert isinstance(found.message, str)
    assert judge(api.name, status, found.code) is not verdict.OK
    reply = Reply(backend="b", status=status, verdict=verdict.INVALID)
    # Only a client of the same wire gets the body as it came.
    reply.failure = msgspec.structs.replace(found, raw=b"")
    case = next((c for c in CASES if c.api.name == api.name), CASES[0])
    assert "error" in json.loads(case.door.whole(case.call(), reply))


ASKS = {(c.door.wire, c.path): c for c in CASES}


@pytest.mark.parametrize("case", ASKS.values(), ids=lambda c: c.path)
@given(data=st.data())
def test_any_bytes_as_a_request(case, data):
    """Whatever a client sends, the door raises BadRequest or makes a call that can be sent."""
    body = data.draw(BYTES | spoiled(case.said["ask"]))
    try:
        call = case.call(body)
    except BadRequest as exc:
        check_error(case.door.error(exc), str(exc))
        assert exc.status == 400  # noqa: PT017
        return
    assert isinstance(call.route, str)
    assert call.input_bound >= call.input_tokens >= 0
    for param in exported("API"):
        api = param.values[0]
        if call.task in api.tasks and not api.unfit(call):
            json.loads(api.request(call, "m").body)


@pytest.mark.parametrize("case", ASKS.values(), ids=lambda c: c.path)
@pytest.mark.parametrize(
    "body", [DEEP, b"", b"\xff\xfe", b'{"model":"\xff"}', b"[]", b"1", b"null"]
)
def test_no_json_object_is_a_bad_request(case, body):
    """What is no JSON object is the client's mistake, and the message says so."""
    with pytest.raises(BadRequest) as caught:
        case.door.ask(case.path, body)
    assert caught.value.code in {"invalid_json", "invalid_type"}
    assert "JSON" in str(caught.value) or "body" in str(caught.value)
