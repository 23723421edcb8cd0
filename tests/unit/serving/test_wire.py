"""Strict requests, clear refusals."""

import base64
import json

import numpy as np
import pytest

from serving.worker.wire import Chat, Embed, Refused, decode, encode_vector

ALL = ["chat", "complete", "embed", "classify"]


def body(**fields):
    return {"body": bytearray(json.dumps(fields).encode())}


def test_a_chat_is_read_with_its_defaults_open():
    """Left-out fields are not guessed here."""
    request = decode(
        body(task="chat", messages=[{"role": "user", "content": "x"}], temperature=0), ALL
    )
    assert isinstance(request, Chat)
    assert (request.max_tokens, request.temperature, request.stream) == (None, 0, False)


@pytest.mark.parametrize(
    "fields",
    [
        {"task": "chat", "messages": []},
        {"task": "chat", "messages": [{"role": "user", "content": "x", "name": "y"}]},
        {"task": "chat", "messages": [{"role": "user", "content": "x"}], "n": 2},
        {"task": "complete", "prompt": "x", "top_p": 0},
        {"task": "complete", "prompt": "x", "stop": [""]},
        {"task": "complete", "prompt": "x", "max_tokens": 0},
        {"task": "complete", "prompt": "x", "temperature": -1},
        {"task": "embed", "texts": []},
        {"task": "sing"},
        {"prompt": "x"},
    ],
)
def test_what_the_contract_does_not_know_is_refused(fields):
    """Unknown or impossible fields never pass silently."""
    with pytest.raises(Refused) as refused:
        decode(body(**fields), ALL)
    assert refused.value.code == "invalid_request"


@pytest.mark.parametrize(
    "item", [{}, {"body": b""}, {"body": b"\xff{"}, {"body": b"[1]"}, {"data": b"nope"}]
)
def test_a_body_that_is_no_request_is_refused(item):
    """Rubbish is the caller's fault, not the batch's."""
    with pytest.raises(Refused):
        decode(item, ALL)


def test_a_task_that_the_model_lacks_is_unsupported():
    """The code says that another model may do it."""
    with pytest.raises(Refused) as refused:
        decode(body(task="embed", texts=["a"]), ["chat"])
    assert refused.value.code == "unsupported"
    assert isinstance(decode(body(task="embed", texts=["a"]), ["embed"]), Embed)


def test_vectors_are_little_endian_float32():
    """As the contract says."""
    raw = base64.b64decode(encode_vector(np.asarray([1.0, -2.5])))
    assert np.frombuffer(raw, "<f4").tolist() == [1.0, -2.5]
