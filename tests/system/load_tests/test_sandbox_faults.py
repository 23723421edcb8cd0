"""Each fault as a client sees it, and what the bill and the journal say about it."""

import http.client
import json
import socket
import time

import openai
import pytest

PATH = "/v1/chat/completions"
KEY = {"Authorization": "Bearer sk-sandbox-1"}
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why does tea cool?"}]}
STREAM = {**CHAT, "stream": True}

pytestmark = pytest.mark.system


def struck(fault: str) -> dict[str, str]:
    return {**KEY, "x-sandbox-fault": fault}


def stream(box, fault: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", box.port, timeout=5)
    connection.request("POST", PATH, json.dumps(STREAM), struck(fault))
    return connection.getresponse()


@pytest.mark.parametrize(
    ("rule", "kind", "code"),
    [
        ({"status": 429, "retry_after": 2}, openai.RateLimitError, "rate_limit_exceeded"),
        (
            {"status": 429, "code": "insufficient_quota"},
            openai.RateLimitError,
            "insufficient_quota",
        ),
        ({"status": 401}, openai.AuthenticationError, "invalid_api_key"),
        ({"status": 404}, openai.NotFoundError, "model_not_found"),
        ({"status": 500}, openai.InternalServerError, None),
        ({"status": 503}, openai.InternalServerError, None),
    ],
)
def test_a_status_is_sent_in_the_vendors_words_and_not_billed(client, box, rule, kind, code):
    box.faults({"fault": "status", **rule})
    with pytest.raises(kind) as refused:
        client.chat.completions.create(**CHAT)
    assert refused.value.code == code
    wanted = rule.get("retry_after")
    assert refused.value.response.headers.get("retry-after") == (wanted and str(wanted))
    assert box.bill()["calls"] == 0
    assert box.journal()[0]["fault"] == "status"


def test_a_rule_strikes_what_it_matches_and_as_often_as_it_says(box):
    box.faults({"fault": "status", "match": {"path": PATH, "model": "gpt-4o-mini"}, "times": 2})
    seen = [box.ask("POST", PATH, CHAT, KEY)[0] for _ in range(3)]
    assert seen == [500, 500, 200]
    box.faults({"fault": "status", "match": {"model": "gpt-5.4-mini"}})
    assert box.ask("POST", PATH, CHAT, KEY)[0] == 200
    box.ask("DELETE", "/sandbox/faults")
    assert json.loads(box.ask("GET", "/sandbox/faults")[2]) == {"rules": []}


def test_an_unknown_fault_is_told(box):
    assert box.ask("PUT", "/sandbox/faults", {"rules": [{"fault": "flood"}]})[0] == 400
    assert box.ask("POST", PATH, CHAT, struck("flood"))[0] == 400


def test_probability_strikes_about_that_share(box):
    box.faults({"fault": "status", "probability": 0.5})
    seen = [box.ask("POST", PATH, CHAT, KEY)[0] for _ in range(60)]
    assert 10 < seen.count(500) < 50


def test_hang_ends_when_the_client_leaves_and_is_billed(box):
    with (
        pytest.raises(openai.APITimeoutError),
        openai.OpenAI(
            api_key="sk-sandbox-1", base_url=f"{box.url}/v1", max_retries=0, timeout=0.3
        ) as impatient,
    ):
        impatient.chat.completions.create(**CHAT, extra_headers={"x-sandbox-fault": "hang"})
    entry = box.eventually(lambda: [e for e in box.journal() if e["disconnected_after"]])[0]
    assert 0.2 < entry["disconnected_after"] < 1.5
    assert entry["disconnected_at_event"] == 0
    assert entry["finished"] is False
    line = box.bill()["lines"][0]
    assert line["tokens_out"] > 0
    assert line["complete"] is False


def test_hang_for_some_seconds_ends_with_a_closed_connection(box):
    began = time.monotonic()
    with pytest.raises(http.client.RemoteDisconnected):
        box.ask("POST", PATH, CHAT, struck("hang=0.2"))
    assert 0.19 < time.monotonic() - began < 1.5


@pytest.mark.parametrize("asked", [CHAT, STREAM])
def test_hang_after_headers_sends_them_and_nothing_more(box, asked):
    connection = http.client.HTTPConnection("127.0.0.1", box.port, timeout=0.3)
    connection.request("POST", PATH, json.dumps(asked), struck("hang_after_headers"))
    answer = connection.getresponse()
    assert answer.status == 200
    with pytest.raises(TimeoutError):
        answer.read()
    answer.close()
    connection.close()
    box.eventually(lambda: box.journal()[0]["disconnected_after"])


def test_a_cut_stream_is_billed_for_what_was_sent(box):
    answer = stream(box, "cut=4")
    with pytest.raises(http.client.IncompleteRead) as broken:
        answer.read()
    assert broken.value.partial.count(b"data: ") == 4
    assert b"[DONE]" not in broken.value.partial
    line = box.bill()["lines"][0]
    assert (line["tokens_out"], line["complete"]) == (3, False)  # the first event has no text
    assert line["pico_usd"] == line["tokens_in"] * 150_000 + 3 * 600_000


def test_a_cut_whole_answer_ends_early_and_is_billed_in_full(box):
    with pytest.raises(http.client.IncompleteRead):
        box.ask("POST", PATH, CHAT, struck("cut"))
    line = box.bill()["lines"][0]
    assert line["tokens_out"] > 5
    assert line["complete"] is False


@pytest.mark.parametrize("fault", ["reset", "reset=2"])
def test_reset_is_seen_as_a_reset(box, fault):
    with pytest.raises(ConnectionResetError):
        stream(box, fault).read()
    assert box.bill()["calls"] == 1


def test_slow_delays_headers_and_every_event(box):
    began = time.monotonic()
    answer = stream(box, "slow=0.1")
    assert time.monotonic() - began > 0.09
    gaps = []
    for _ in range(3):
        asked = time.monotonic()
        assert answer.readline().startswith(b"data: ")
        answer.readline()
        gaps.append(time.monotonic() - asked)
    assert min(gaps) > 0.05
    answer.close()
    entry = box.eventually(lambda: [e for e in box.journal() if e["disconnected_after"]])[0]
    assert entry["disconnected_at_event"] >= 3
    assert 0.1 < entry["disconnected_after"] < 2


def test_a_stream_that_the_client_leaves_is_billed_for_what_was_sent(box):
    answer = stream(box, "slow=0.03")
    for _ in range(10):
        answer.readline()
    answer.close()
    line = box.eventually(lambda: _settled(box))
    entry = box.journal()[0]
    assert line["tokens_out"] == entry["disconnected_at_event"] - 1
    assert line["complete"] is False


@pytest.mark.parametrize("asked", [CHAT, STREAM])
def test_truncated_json_is_well_framed(box, asked):
    status, _, body = box.ask("POST", PATH, asked, struck("truncate_json"))
    assert status == 200
    last = body.split(b"data: ")[-1]
    with pytest.raises(json.JSONDecodeError):
        json.loads(last)
    assert b"[DONE]" not in body


def test_refuse_closes_the_listener_for_a_while_and_keeps_the_bill(box):
    box.ask("POST", PATH, CHAT, KEY)
    idle = socket.create_connection(("127.0.0.1", box.port))
    box.faults({"fault": "refuse", "seconds": 0.5})
    box.eventually(lambda: _refused(box))
    idle.settimeout(2)
    with pytest.raises(ConnectionError):
        _expect_open(idle)
    box.eventually(lambda: not _refused(box))
    assert box.bill()["calls"] == 1


def test_realistic_latency_takes_time_and_is_seen_by_the_client(started):
    with started("--profile", "realistic", "--seed", "7") as slow:
        began = time.monotonic()
        assert slow.ask("POST", PATH, {**STREAM, "max_tokens": 10}, KEY)[0] == 200
        assert 0.15 < time.monotonic() - began < 4


def test_state_names_pid_and_url_and_sigterm_cleans_up(started, tmp_path):
    with started("--state", str(tmp_path / "state")) as named:
        told = json.loads((tmp_path / "state" / "sandbox.json").read_bytes())
        assert told == {"pid": named.process.pid, "url": named.url}
        with pytest.raises(http.client.RemoteDisconnected):
            named.ask("POST", PATH, CHAT, struck("hang=0.2"))
    assert not (tmp_path / "state" / "sandbox.json").exists()


def test_the_journal_hides_the_key_and_keeps_the_body(box):
    box.ask("POST", PATH, CHAT, KEY)
    entry = box.journal()[0]
    assert entry["body"] == CHAT
    assert entry["headers"]["authorization"].startswith("sha256:")
    assert "sk-sandbox" not in json.dumps(entry)
    assert entry["finished"] is True


def test_chunked_bodies_are_read(box):
    connection = http.client.HTTPConnection("127.0.0.1", box.port, timeout=5)
    body = json.dumps(CHAT).encode()
    parts = iter([body[:20], body[20:]])
    connection.request("POST", PATH, parts, KEY, encode_chunked=True)
    assert connection.getresponse().status == 200


def _settled(box):
    return next((line for line in box.bill()["lines"] if line["tokens_out"]), None)


def _refused(box) -> bool:
    try:
        socket.create_connection(("127.0.0.1", box.port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def _expect_open(connection: socket.socket) -> None:
    if not connection.recv(1):
        raise ConnectionResetError
