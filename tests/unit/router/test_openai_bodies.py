"""OpenAI's wire, what clients send: whatever comes, it is read or refused as the client's mistake."""

from __future__ import annotations

import io
import json
import wave
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router import apis
from router.apis.openai import responses, speech, transcription
from router.apis.openai.form import PARTS, Part, read_form, write_form
from router.core.api import Told
from router.core.errors import BadRequest
from router.core.task import TASKS
from tests.fakes import a_call

DOOR = apis.door("openai")
API = apis.load("openai")


def wav() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x00\x10" * 400)
    return out.getvalue()


WAV = wav()

# Forms.

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\\r\n\0'), min_size=1, max_size=12
)
FIELDS = st.lists(
    st.builds(
        Part,
        NAMES,
        st.binary(max_size=60) | st.sampled_from([b"--", b"\r\n", b"\r\n--", b"--x--\r\n"]),
        st.just("") | NAMES,
        st.sampled_from(["", "text/plain", "application/octet-stream"]),
    ),
    min_size=1,
    max_size=6,
)


@given(FIELDS)
def test_a_form_that_is_written_is_read(parts):
    """Names in any script, values of any bytes, boundaries inside values: all come back."""
    kind, body = write_form(parts)
    assert read_form(body, kind.encode()) == parts


@given(FIELDS, st.data())
def test_a_form_that_is_cut_off_is_refused(parts, data):
    """No part of it passes for the whole."""
    kind, body = write_form(parts)
    at = data.draw(st.integers(0, len(body) - 5))
    with pytest.raises(BadRequest):
        read_form(body[:at], kind.encode())


@given(st.binary(max_size=200), st.binary(max_size=60))
@example(b"--x\r\n\r\n\r\n--x--", b"multipart/form-data; boundary=x")
@example(
    b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--", b"multipart/form-data; boundary=x"
)
@example(b"", b"multipart/form-data; boundary=")
@example(b"", b"multipart/form-data; boundary=" + b"x" * 5000)
@example(b"x", b'multipart/form-data; boundary="')
def test_any_bytes_as_a_form(body, kind):
    """They are read, or refused as the client's mistake."""
    for said in (kind, b"multipart/form-data; boundary=x"):
        try:
            assert read_form(body, said)
        except BadRequest as exc:
            assert str(exc)  # noqa: PT017


def test_a_form_of_too_many_parts_is_refused():
    """Before all of them are kept."""
    kind, body = write_form([Part("a", b"")] * (PARTS + 1))
    with pytest.raises(BadRequest, match="more than"):
        read_form(body, kind.encode())


# Bodies.

NONSENSE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(-9, 9)
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
SPEECH = {
    "model": "m",
    "input": "hello",
    "voice": "alloy",
    "response_format": "wav",
    "speed": 1.5,
    "stream_format": "sse",
    "instructions": "Be calm.",
}
RESPONSE = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": "Hello"},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]},
        {"type": "function_call_output", "call_id": "c", "output": "London"},
    ],
    "temperature": 0.5,
    "top_p": 0.5,
    "max_output_tokens": 50,
    "stream": True,
    "store": False,
    "tools": [{"type": "function", "name": "f"}],
    "service_tier": "auto",
    "metadata": {"a": "b"},
}
BODIES = {speech.PATH: SPEECH, responses.PATH: RESPONSE}


def spoil(source: Any, data: Any) -> Any:
    """A copy with one value replaced or gone."""
    found = deepcopy(source)
    places: list[tuple[Any, Any]] = []

    def walk(holder: Any) -> None:
        items = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, inner in list(items):
            places.append((holder, key))
            if isinstance(inner, dict | list):
                walk(inner)

    walk(found)
    holder, key = data.draw(st.sampled_from(places))
    if data.draw(st.booleans()):
        holder[key] = data.draw(NONSENSE)
    else:
        del holder[key]
    return found


def sendable(path: str, body: bytes, told: Told) -> None:
    """Refused as the client's mistake, or a call that every fit backend can be sent."""
    try:
        ask = DOOR.ask(path, body, told)
    except BadRequest as exc:
        assert (exc.status, json.loads(DOOR.error(exc))["error"]["message"]) == (400, str(exc))  # noqa: PT017
        return
    call = a_call(
        task=ask.task,
        request=ask.request,
        path=path,
        wire="openai",
        fields=ask.fields,
        extras=ask.extras,
        stream=ask.stream,
        input_bound=ask.token_bound,
        output_limit=50,
    )
    assert ask.task in TASKS
    assert ask.token_bound >= 0
    for name in ("openai", "torchserve"):
        api = apis.load(name)
        if not api.unfit(call):
            assert api.request(call, "m").body


@pytest.mark.parametrize("path", BODIES)
@settings(max_examples=100)
@given(data=st.data())
def test_any_body_is_read_or_refused(path, data):
    """Any bytes, any JSON, and sound bodies with one value replaced or gone."""
    spoiled = json.dumps(spoil(BODIES[path], data)).encode()
    nonsense = json.dumps(data.draw(NONSENSE)).encode()
    for body in (spoiled, nonsense, data.draw(st.binary(max_size=50))):
        sendable(path, body, Told())


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("body", [b'{"model":' + b"[" * 100_000, b"", b"\xff", b"[]", b"null"])
def test_no_object_is_a_bad_request(path, body):
    """What is no JSON object is told as that."""
    with pytest.raises(BadRequest):
        DOOR.ask(path, body, Told())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metadata", b'{"a":"\xff"}'),
        ("metadata", b'{"a":' + b"[" * 100_000),
        ("metadata", b'{"a":1}'),
        ("instructions", b"[]"),
        ("instructions", b'"\xff"'),
        ("parallel_tool_calls", b'"yes"'),
    ],
)
def test_what_an_answer_shows_again_is_read_before(field, value):
    """A response repeats these: what cannot be read is refused before anything is paid."""
    with pytest.raises(BadRequest):
        DOOR.ask(responses.PATH, b'{"model":"m","input":"hi","%b":%b}' % (field.encode(), value))


VALUES = st.text(max_size=12) | st.sampled_from(
    ["json", "verbose_json", "srt", "word", "segment", "true", "0", "0.5", "nan", "1e999", "en"]
)
FORM_NAMES = st.sampled_from(
    [
        "model", "response_format", "temperature", "timestamp_granularities[]", "language",
        "timestamp_granularities", "stream", "prompt", "include[]", "chunking_strategy", "x", "file",
    ]
)  # fmt: skip


@settings(max_examples=150)
@given(
    st.lists(st.tuples(FORM_NAMES, VALUES), max_size=6),
    st.sampled_from([WAV, WAV[:50], b"", b"RIFF", b"\x00" * 99]),
)
def test_any_form_for_a_transcription_is_read_or_refused(pairs, file):
    """Any fields beside any file."""
    parts = [Part("model", b"m"), Part("file", file, "a.wav")]
    parts += [Part(name, value.encode()) for name, value in pairs]
    kind, body = write_form(parts)
    sendable(transcription.PATH, body, Told(headers={b"content-type": kind.encode()}))
