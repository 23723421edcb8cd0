"""Answers of a vendor that no gateway should trust, from its socket to the client's."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from wire_served import Answer, Vendor, said, served

CONFIG = """
backends:
  mini:
    api: openai
    model: gpt-4o-mini
    base: VENDOR/v1
    price: {input_usd_per_mtok: 1, output_usd_per_mtok: 2}
    breaker: {in_a_row: 1000, least: 1000}
  voice:
    api: elevenlabs
    model: eleven_v3
    base: VENDOR
    price: {per_thousand_credits_usd: 1}
    voices: {"*": v}
    breaker: {in_a_row: 1000, least: 1000}
routes:
  chat: {task: chat, backends: [mini], promise: {deadline: 1.5s}}
  speak: {task: speak, backends: [voice]}
"""
ASKED = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}
CHAT = {"choices": [{"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}]}
AUDIO = {"content-type": "audio/mpeg"}


@pytest.fixture(scope="module")
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture(scope="module")
def url(vendor, tmp_path_factory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("answers"), CONFIG, vendor, {}) as made:
        yield made


def post(url: str, path: str, body: object) -> tuple[int, dict[str, str], bytes]:
    link = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    link.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = link.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    link.close()
    return found


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -4, "completion_tokens": 1},
        {"prompt_tokens": 4, "completion_tokens": -1},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 4},
        {"prompt_tokens": 10**12, "completion_tokens": 1},
        {"prompt_tokens": 10**9, "completion_tokens": 10**9},
        {"prompt_tokens": "many"},
        [],
        {},
        None,
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_usage_that_cannot_be_true_is_charged_at_the_bound(url, vendor, usage, stream):
    """The answer reaches the client all the same, and costs what it can cost at most."""
    if stream:
        events = [{"choices": [{"delta": {"content": "yes"}}]}, {"choices": [], "usage": usage}]
        frames = b"".join(b"data: %b\n\n" % json.dumps(e).encode() for e in events)
        vendor.says(Answer(frames + b"data: [DONE]\n\n"))
    else:
        vendor.says(said(CHAT | {"usage": usage}))
    status, headers, raw = post(url, "/v1/chat/completions", ASKED | {"stream": stream})
    assert status == 200
    assert b"yes" in raw
    link = urlopen(f"{url}/v1/decisions/{headers['x-isocost-call-id']}", timeout=10)
    record = json.loads(link.read())
    (candidate,) = record["plan"]["candidates"]
    assert float(record["cost_usd"]) == float(candidate["quote_usd"]) > 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(b"<html>", 302, {"location": "/x"}), "fault"),
        (Answer(b"\x1f\x8b", 200, {"content-encoding": "gzip"}), "packed as gzip"),
        (said([1]), "not an answer"),
        (Answer(b"[" * 200_000), "not an answer"),
        (Answer(b"", 204), "not an answer"),
        (said({"error": {"message": "a\r\nx-evil: 1\r\n\r\n", "code": "c"}}, 500), "fault"),
    ],
)
def test_what_is_no_answer_is_told_as_an_error(url, vendor, answer, words):
    """Redirects, packed bodies, other shapes: a 503 that names the backend, never a 200 or a 500."""
    vendor.says(answer)
    status, headers, raw = post(url, "/v1/chat/completions", ASKED)
    assert status == 503
    assert words in json.loads(raw)["error"]["message"]
    assert "x-evil" not in headers


@pytest.mark.parametrize("path", ["", "/stream"])
@pytest.mark.parametrize(
    ("status", "kind"), [(302, AUDIO), (200, {"content-type": "text/html"})], ids=str
)
def test_a_page_is_no_audio(url, vendor, status, kind, path):
    """Bytes of a captive portal are not played to anybody."""
    vendor.says(Answer(b"<html>log in</html>", status, kind))
    status, _, raw = post(url, f"/v1/text-to-speech/v{path}", {"text": "hi", "model_id": "speak"})
    assert status == 503
    assert b"voice" in json.dumps(json.loads(raw)).encode()


def test_an_endless_error_is_read_in_part(url, vendor):
    """Megabytes of a stream's error are not kept; what it says first is told."""
    vendor.says(Answer([b"no more of this " * 8000] * 60, 500))
    status, _, raw = post(url, "/v1/chat/completions", ASKED | {"stream": True})
    assert (status, b"no more of this" in raw) == (503, True)
    assert len(raw) < 2000


def test_a_client_that_does_not_read_gives_its_place_back_at_the_deadline(url, vendor):
    """Its stream is cut soon after it, and what is held of it meanwhile is bounded."""
    piece = json.dumps({"choices": [{"delta": {"content": "x" * 16_000}}]}).encode()
    vendor.says(Answer([b"data: %b\n\n" % piece] * 4000))
    body = json.dumps(ASKED | {"stream": True}).encode()
    netloc = urlsplit(url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((netloc.hostname, netloc.port))
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        began = time.monotonic()
        while in_flight(url) != 1:
            assert time.monotonic() - began < 5
        while in_flight(url) == 1:
            time.sleep(0.05)
            assert time.monotonic() - began < 8
        assert time.monotonic() - began > 1


def in_flight(url: str) -> float:
    page = urlopen(f"{url}/metrics", timeout=10).read().decode()
    line = next(x for x in page.splitlines() if x.startswith('isocost_in_flight{backend="mini"}'))
    return float(line.rpartition(" ")[2])
