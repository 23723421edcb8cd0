"""The doors as ASGI callables: what a client sends, gets, and what happens when it leaves."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from router import apis
from router.core import verdict as v
from router.core.api import Endpoint
from router.core.api import Path as Entry
from router.core.call import Outcome, Usage
from router.core.errors import BrokenStream
from router.core.money import usd
from router.core.reply import Reply
from router.core.service import Service
from router.core.task import ClassifyResult, Delta, Finish, Ranking
from router.doors.app import app
from router.doors.body import DRAIN
from router.doors.inference import Inference
from router.doors.watch import WATCH_AFTER
from router.runtime import Runtime
from router.transport import http
from tests.fakes import PAID, USED, Client, FakeClock, a_call, answering, play, streaming

CONFIG = """
server: {body_limit_mb: 0.001}
keys:
  - {name: ann, team: red, key_env: ANN}
  - {name: bob, routes: [], key_env: BOB}
backends:
  own: {api: torchserve, model: small, base: 'http://own', price: {per_hour_usd: 0.36}}
  paid: {api: openai, model: gpt-4o-mini, key_env: OPENAI_API_KEY}
routes:
  chat: {task: chat, backends: [paid], promise: {max_cost_usd: 0.01}}
  local: {task: chat, backends: [own, paid]}
  labels: {task: classify, backends: [own]}
"""
ENV = {"OPENAI_API_KEY": "sk-vendor", "ANN": "pst", "BOB": "hush"}
ANN = {"authorization": "Bearer pst"}
CHAT = "/v1/chat/completions"


class Scripted(Runtime):
    """A process whose backends are scripts."""

    def __init__(self, path: Path, clock: FakeClock, **scripts: Service) -> None:
        self.scripts = scripts
        super().__init__(path, env=ENV, now=clock)

    def _send(self, endpoint: Endpoint) -> Service:
        return self.scripts.get(endpoint.name) or answering(name=endpoint.name)


class House:
    """One runtime on a fake clock, asked through its doors."""

    def __init__(self, folder: Path, config: str = CONFIG, **scripts: Service) -> None:
        self.clock = FakeClock()
        self.file = folder / "isocost.yaml"
        self.file.write_text(config)
        self.runtime = Scripted(self.file, self.clock, **scripts)

    def door(self, path: str = CHAT) -> Inference:
        wire, task = ("native", "classify") if path.endswith("classify") else ("openai", "chat")
        return Inference(self.runtime, apis.door(wire), Entry(path, task))

    def ask(self, client: Client, path: str = CHAT) -> Client:
        return play(client.ask(self.door(path)), self.clock)

    def chat(self, *, headers: dict[str, str] | None = None, **body: Any) -> Client:
        return self.ask(Client(a_body(**body), headers=ANN | (headers or {})))

    def last(self) -> dict[str, Any]:
        """The newest decision."""
        return list(self.runtime.decisions._kept.values())[-1].json()

    @property
    def at_rest(self) -> bool:
        return all(
            b.gates.in_flight.count == b.gates.meter.in_flight == 0
            for b in self.runtime.pipeline.backends.values()
        )


def a_body(**changes: Any) -> bytes:
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]} | changes
    return json.dumps(body).encode()


@pytest.fixture
def house(tmp_path):
    def make(config: str = CONFIG, **scripts: Service) -> House:
        return House(tmp_path, config, **scripts)

    return make


def error_of(client: Client) -> dict[str, Any]:
    error = json.loads(client.body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert client.headers["content-length"] == str(len(client.body))
    assert client.complete
    return error


# Whole answers.


def test_an_answer_comes_with_its_decision(house):
    """Body in the door's wire; headers tell who answered, why, after how many attempts, at what cost."""
    h = house()
    client = h.chat()
    body = json.loads(client.body)
    assert client.status == 200
    assert body["choices"][0]["message"]["content"] == "hi"
    assert body["usage"]["prompt_tokens"] == USED.input_tokens
    told = client.headers
    assert told["content-type"] == "application/json"
    assert told["content-length"] == str(len(client.body))
    assert (told["x-isocost-backend"], told["x-isocost-attempts"]) == ("paid", "1")
    assert told["x-isocost-cost-usd"] == usd(PAID.of(USED))
    assert told["x-isocost-saved-usd"] == "0"
    assert told["x-isocost-reason"] == "cheapest"
    assert h.at_rest
    assert h.last()["call_id"] == told["x-isocost-call-id"]


def test_a_fail_over_is_told(house):
    """The reason names who failed, and the attempts are counted."""
    h = house(own=answering(v.FAULT))
    told = h.chat(model="local").headers
    assert (told["x-isocost-backend"], told["x-isocost-attempts"]) == ("paid", "2")
    assert told["x-isocost-reason"] == "cheapest; own fault"


def test_a_backends_refusal_reaches_the_client(house):
    """What the backend holds against the request comes with its status, and costs nothing."""
    client = house(paid=answering(v.INVALID)).chat()
    assert client.status == 400
    assert client.body == b'{"error":{}}'
    assert client.headers["x-isocost-cost-usd"] == "0"
    assert "x-isocost-saved-usd" not in client.headers


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1.2:3_X", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("", False), ("\u00e9", False)],
)  # fmt: skip
def test_a_plain_request_id_is_kept(house, given, kept):
    """The caller's own id names the call when it is a plain word, else it gets a new one."""
    found = house().chat(headers={"x-request-id": given}).headers["x-isocost-call-id"]
    assert (found == given) == kept
    assert re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", found)


def test_ids_are_unique(house):
    """Two calls never share an id."""
    h = house()
    assert len({h.chat().headers["x-isocost-call-id"] for _ in range(20)}) == 20


def test_headers_set_tags_deadline_and_limit(house):
    """Tags, deadline and the most it may cost are the caller's to say; the lower limit holds."""
    h = house()
    h.chat(headers={"x-isocost-tags": " a, b ,,a"})
    assert h.last()["tags"] == ["a", "b"]
    late = house(paid=answering(2.0, v.LOST)).chat(headers={"x-isocost-deadline-ms": "1500"})
    assert late.status == 504
    dear = house().chat(headers={"x-isocost-max-cost-usd": "0.000000001"})
    assert dear.status == 402
    assert "Raise max_cost_usd" in error_of(dear)["message"]
    # The route's own limit of 0.01 USD is not raised by a higher one.
    h = house(CONFIG.replace("0.01}", "0.0000001}"))
    assert h.chat(headers={"x-isocost-max-cost-usd": "5"}).status == 402


@pytest.mark.parametrize(
    ("header", "value"),
    [
        *(("x-isocost-deadline-ms", x) for x in ("0", "-5", "soon", "nan", "inf", "1e12", "")),
        *(("x-isocost-max-cost-usd", x) for x in ("-1", "much", "nan", "inf", "")),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(house, header, value):
    """A figure that is none is the client's mistake, named by its header."""
    client = house().chat(headers={header: value})
    assert client.status == 400
    assert error_of(client)["param"] == header


# What is refused at the door.


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer nope"}, {"authorization": "Basic pst"}]
)
def test_a_stranger_is_refused_before_its_body_is_read(house, headers):
    """Without a known key it is 401 with what to send, and no byte of the body is taken."""
    client = Client(a_body(), headers=headers)
    house().ask(client)
    assert client.status == 401
    assert error_of(client)["code"] == "invalid_api_key"
    assert "Authorization: Bearer" in error_of(client)["message"]
    assert client.taken == 0


def test_a_key_stays_within_its_routes(house):
    """A route that the key may not use is 403, with those it may."""
    client = house().ask(Client(a_body(), headers={"authorization": "Bearer hush"}))
    assert client.status == 403
    assert "may not use route 'chat'" in error_of(client)["message"]


@pytest.mark.parametrize(
    ("model", "said"),
    [("nope", "Routes for chat: chat, local"), ("labels", "does classify, not chat")],
)
def test_an_unknown_route_names_the_known(house, model, said):
    """A route that is none, or does another task, is 404 with those that would do."""
    client = house().chat(model=model)
    assert client.status == 404
    error = error_of(client)
    assert said in error["message"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_only_posts_are_taken(house):
    """Another method is refused in the door's wire."""
    client = house().ask(Client(method="GET", headers=ANN))
    assert client.status == 405
    assert "POST" in error_of(client)["message"]


def test_a_bad_body_is_refused(house):
    """What is wrong with a body is told with its field."""
    client = house().chat(temperature=9)
    assert client.status == 400
    assert error_of(client)["param"] == "temperature"
    assert house().ask(Client(b"{", headers=ANN)).status == 400


@pytest.mark.parametrize("pieces", [1, 5])
def test_a_body_may_come_in_pieces(house, pieces):
    """However it arrives, a body up to the limit is read whole."""
    limit = house().runtime.body_limit
    body = a_body(user="x" * (limit - len(a_body(user=""))))
    assert len(body) == limit
    assert house().ask(Client(body, headers=ANN, pieces=pieces)).status == 200


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("times", [1.01, DRAIN + 1])
def test_a_body_over_the_limit_is_refused(house, times, declared):
    """It is 413, whether its length is declared or only found; never is much more than it held."""
    h = house()
    size = int(h.runtime.body_limit * times)
    headers = ANN | ({"content-length": str(size)} if declared else {})
    client = h.ask(Client(b"x" * size, headers=headers, pieces=20))
    assert client.status == 413
    assert error_of(client)["code"] == "request_too_large"
    assert client.taken <= (DRAIN + 1) * h.runtime.body_limit


def test_a_full_house_says_when_to_come_back(house):
    """With every backend out, Retry-After is told and the cost of what was tried."""
    h = house(paid=answering(v.LOST))
    client = h.chat()
    assert client.status == 503
    assert int(client.headers["retry-after"]) >= 1
    assert client.headers["x-isocost-attempts"] == "1"
    assert float(client.headers["x-isocost-cost-usd"]) > 0
    assert client.headers["x-isocost-reason"] == "cheapest; paid lost"
    assert h.at_rest


# Streams.


def stream_of(client: Client) -> list[bytes]:
    return [f for f in client.body.split(b"\n\n") if f]


def test_a_stream_is_passed_on_event_by_event(house):
    """Each event is sent as it comes; at the end [DONE], then a comment with id and cost."""
    h = house(
        paid=streaming(Delta(text="a"), 1.0, Delta(text="b"), Finish(reason="stop"), name="paid")
    )
    client = h.chat(stream=True)
    *chunks, done, summary = stream_of(client)
    texts = [json.loads(c[6:])["choices"][0]["delta"].get("content") for c in chunks]
    assert texts == ["", "a", "b", None]
    assert done == b"data: [DONE]"
    told = client.headers
    assert told["content-type"] == "text/event-stream; charset=utf-8"
    assert told["cache-control"] == "no-store"
    assert "content-length" not in told
    assert float(told["x-isocost-expected-cost-usd"]) > 0
    assert "x-isocost-cost-usd" not in told
    cost = usd(PAID.of(USED))
    assert summary.startswith(
        b": isocost call-id=%b cost-usd=%b" % (told["x-isocost-call-id"].encode(), cost.encode())
    )
    assert client.complete
    assert len(client.sent) >= 5
    assert h.at_rest
    assert h.last()["cost_usd"] == cost
    assert h.last()["verdict"] == "ok"


def test_a_stream_that_breaks_ends_with_an_error(house):
    """After the first event an error event is sent, never a normal end; the quote is charged."""
    h = house(paid=streaming(Delta(text="a"), BrokenStream("the line went dead"), name="paid"))
    client = h.chat(stream=True)
    *_, broken, summary = stream_of(client)
    error = json.loads(broken[6:])["error"]
    assert error["code"] == "stream_broken"
    assert "paid: the line went dead" in error["message"]
    assert "not the whole answer" in error["message"]
    assert b"[DONE]" not in client.body
    assert summary.startswith(b": isocost")
    assert client.complete
    assert (h.last()["verdict"], h.at_rest) == ("lost", True)
    assert float(h.last()["cost_usd"]) > float(usd(PAID.of(USED)))


def test_a_bug_in_a_stream_is_closed_too(house):
    """What nobody expected goes up, but not before permits and money are settled."""
    h = house(paid=streaming(Delta(text="a"), ValueError("a bug"), name="paid"))
    with pytest.raises(ValueError, match="a bug"):
        h.chat(stream=True)
    assert (h.last()["verdict"], h.at_rest) == ("fault", True)


# Clients who leave.


def test_leaving_cancels_a_whole_answer(house):
    """A client that goes away ends the call at its backend; nothing is sent, the quote is charged."""
    finished = []

    async def slow(call: Any) -> Reply:
        await asyncio.sleep(10.0)
        finished.append(True)
        return Reply(backend="paid", usage=USED)

    h = house(paid=slow)
    client = h.ask(Client(a_body(), headers=ANN, leave_after=1.0))
    assert client.sent == []
    assert finished == []
    assert (h.last()["verdict"], h.last()["status"]) == ("cancelled", 499)
    assert float(h.last()["cost_usd"]) > 0
    assert h.clock() == pytest.approx(1001.0 + WATCH_AFTER)
    assert h.at_rest


def test_leaving_ends_a_stream(house):
    """A client that goes away in the middle closes the stream; its reader hears the end."""
    closed = []

    async def endless(call: Any) -> Reply:
        async def events() -> Any:
            try:
                while True:
                    yield Delta(text="x")
                    await asyncio.sleep(1.0)
            finally:
                closed.append(True)

        return Reply(backend="paid", events=events(), first=0.0)

    h = house(paid=endless)
    client = h.ask(Client(a_body(stream=True), headers=ANN, leave_after=3.5))
    assert closed == [True]
    assert b"[DONE]" not in client.body
    assert not client.complete
    assert (h.last()["verdict"], h.at_rest) == ("cancelled", True)


def test_leaving_before_the_body_is_no_call(house):
    """A client that leaves while it sends is forgotten: nothing is answered or recorded."""
    h = house()
    client = h.ask(Client(a_body(), headers=ANN, leave_before_body=True))
    assert client.sent == []
    assert not h.runtime.decisions._kept


def test_leaving_after_the_answer_changes_nothing(house):
    """A client that leaves once it has its answer has had an ordinary call."""
    h = house(paid=answering(1.0, v.OK))
    client = h.ask(Client(a_body(), headers=ANN, leave_after=1.1))
    assert client.complete
    assert h.last()["verdict"] == "ok"


def test_a_cancelled_server_goes_down(house):
    """A task that is cancelled from outside, not by its client, stays cancelled."""
    h = house(paid=answering(10.0, v.OK))

    async def shut_down() -> None:
        task = asyncio.create_task(Client(a_body(), headers=ANN).ask(h.door()))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    play(shut_down(), h.clock)
    assert h.at_rest


def test_a_stream_that_nobody_began_to_read_is_closed(house):
    """A client that is gone before the first byte leaves no stream of a backend open."""
    closed = []

    class Response:
        status, headers, body = 200, {}, b""

        def __init__(self) -> None:
            self.pieces = [b'data: {"choices":[]}\n\n']

        async def read(self) -> bytes:
            return self.pieces.pop() if self.pieces else b""

        def close(self) -> None:
            closed.append(True)

    class Pool:
        async def take(self, *args: Any) -> None:
            return None

        async def ask(self, *args: Any, **given: Any) -> Response:
            return Response()

    h = house()
    endpoint = Endpoint("paid", "http://vendor/v1", "m", apis.load("openai"), lambda: "")
    send = http(endpoint, pool=Pool(), now=h.clock)  # type: ignore[arg-type]

    async def leave() -> None:
        reply = await send(a_call(stream=True))
        await reply.events.aclose()
        reply.close(v.CANCELLED)

    play(leave(), h.clock)
    assert closed


# Reloads while calls are under way.


def test_a_route_may_go_while_it_serves(house):
    """A call whose route a reload removed is answered and recorded."""
    h = house(paid=answering(5.0, v.OK))

    async def both() -> Client:
        client = Client(a_body(), headers=ANN)
        task = asyncio.create_task(client.ask(h.door()))
        await asyncio.sleep(1.0)
        h.file.write_text(CONFIG.replace("  chat: {", "  other: {"))
        assert h.runtime.reload() == ""
        await task
        return client

    client = play(both(), h.clock)
    assert client.status == 200
    assert h.last()["verdict"] == "ok"
    assert h.chat().status == 404


@pytest.mark.parametrize(
    "text", ["routes: [", "a: \xff", CONFIG.replace("gpt-4o-mini", "gpt-99"), ""]
)
def test_a_bad_file_leaves_the_old_pipeline(house, text):
    """A file that cannot be used is refused with its faults, and what runs goes on."""
    h = house()
    h.file.write_bytes(text.encode("latin-1"))
    assert h.runtime.reload()
    assert h.chat().status == 200


def test_what_only_a_start_takes_up_is_said(house, caplog):
    """The rest of the file is in force at once; a field that waits for a start is named."""
    h = house()
    h.file.write_text(CONFIG.replace("body_limit_mb: 0.001", "grace: 7s, admission: {lag: 1s}"))
    with caplog.at_level("WARNING", "isocost"):
        assert h.runtime.reload() == ""
    assert "only a start takes it up: server.body_limit_mb, server.grace" in caplog.text
    assert "admission" not in caplog.text


def test_first_budgets_wait_for_a_start(house):
    """Without a ledger nothing could keep them, so the file is refused rather than overspent."""
    h = house()
    h.file.write_text(CONFIG + "budgets: [{window: day, usd: 1}]\n")
    assert "need a ledger" in h.runtime.reload()
    assert h.chat().status == 200


# The native door, and the others.


def test_labels_come_through_the_native_door(house):
    """A classification is asked and answered in the router's own wire."""
    ranking = Ranking(labels=("pos", "neg"), scores=(0.75, 0.25))

    async def own(call: Any) -> Reply:
        return Reply(backend="own", result=ClassifyResult(rankings=(ranking,)), usage=Usage(3))

    h = house(own=own)
    body = json.dumps({"model": "labels", "input": "good"}).encode()
    client = h.ask(Client(body, headers=ANN), "/v1/classify")
    assert client.status == 200
    assert json.loads(client.body)["results"][0]["label"] == "pos"


def got(h: House, path: str, *, method: str = "GET", body: bytes = b"", **headers: str) -> Client:
    """Ask the whole application, without its lifespan."""
    client = Client(body, headers=headers, method=method)
    scope = client.scope | {
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    play(app(h.runtime)(scope, client.receive, client.send), h.clock)
    return client


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/chat", "/v1/decisions/x"])
def test_questions_need_a_key(house, path):
    """What is known of routes and calls is told to callers only."""
    client = got(house(), path)
    assert client.status == 401
    assert json.loads(client.body)["error"]["code"] == "invalid_api_key"


def test_a_key_sees_its_own_routes(house):
    """The list of models is that of the routes which the key may use."""
    h = house()
    rows = json.loads(got(h, "/v1/models", **ANN).body)["data"]
    assert [r["id"] for r in rows] == ["chat", "local", "labels"]
    assert json.loads(got(h, "/v1/models", authorization="Bearer hush").body)["data"] == []
    assert got(h, "/v1/models/chat", authorization="Bearer hush").status == 404
    assert json.loads(got(h, "/v1/models/chat", **ANN).body)["task"] == "chat"


def test_a_key_sees_its_own_decisions(house):
    """A decision is told to the key whose call it was, and to no other."""
    h = house()
    name = h.chat().headers["x-isocost-call-id"]
    assert json.loads(got(h, f"/v1/decisions/{name}", **ANN).body)["key"] == "ann"
    assert got(h, f"/v1/decisions/{name}", authorization="Bearer hush").status == 404


def test_a_plan_is_explained_without_a_call(house):
    """A dry run tells order and reasons, asks no backend and spends nothing."""
    sent = []

    async def never(call: Any) -> Reply:
        sent.append(call)
        raise AssertionError

    h = house(own=never, paid=never)
    found = json.loads(got(h, "/v1/explain", method="POST", body=a_body(model="local"), **ANN).body)
    assert found["order"] == ["own", "paid"]
    assert [c["why"] for c in found["candidates"]] == ["fits", "fits"]
    assert found["input_tokens_bound"] > found["input_tokens_predicted"]
    assert not sent
    assert not h.runtime.decisions._kept
    assert got(h, "/v1/explain", method="POST", body=b"{", **ANN).status == 400


def test_a_question_has_a_bounded_body(house):
    """A dry run takes no body of a stranger, and none over the limit from anybody."""
    h = house()
    assert got(h, "/v1/explain", method="POST", body=a_body()).status == 401
    size = h.runtime.body_limit * (DRAIN + 1)
    assert got(h, "/v1/explain", method="POST", body=b"x" * size, **ANN).status == 413


def test_probes_ask_no_key(house):
    """It lives, it is ready while a route can be served, and its metrics are a page."""
    h = house()
    assert got(h, "/livez").status == 200
    ready = json.loads(got(h, "/readyz").body)
    assert ready == {
        "ready": True,
        "draining": False,
        "routes": {"chat": ["paid"], "local": ["own", "paid"], "labels": ["own"]},
        "degraded": [],
        "unable": {},
    }
    h.runtime.pipeline.backends["own"].gates.health.tell(up=False, detail="not ready")
    degraded = json.loads(got(h, "/readyz").body)
    assert degraded["degraded"] == ["local", "labels"]
    assert degraded["unable"] == {"own": "down: not ready"}
    h.runtime.draining = True
    assert got(h, "/readyz").status == 503
    assert b"isocost_in_flight" in got(h, "/metrics").body


def test_an_unknown_path_says_which_there_are(house):
    """A path or method that does not exist is told in OpenAI's shape with those that do."""
    for client, status in (
        (got(house(), "/v2/chat"), 404),
        (got(house(), "/livez", method="PUT"), 405),
    ):
        assert client.status == status
        assert CHAT in json.loads(client.body)["error"]["message"]


# Admission.


@pytest.mark.parametrize("said", ["", "high", "CRITICAL", "critical plus"])
def test_a_criticality_that_does_not_exist_is_a_clear_400(house, said):
    """The answer names the header and the four words, in the door's shape; nothing is sent."""
    h = house()
    client = h.chat(headers={"x-isocost-criticality": said})
    assert client.status == 400
    error = error_of(client)
    assert error["param"] == "x-isocost-criticality"
    assert "critical_plus, critical, sheddable_plus, sheddable" in error["message"]


@pytest.mark.parametrize(
    ("most", "said", "expected"),
    [
        (None, None, "critical"),
        (None, "critical_plus", "critical_plus"),
        ("sheddable_plus", None, "sheddable_plus"),
        ("sheddable_plus", "critical_plus", "sheddable_plus"),
        ("sheddable_plus", "sheddable", "sheddable"),
        ("critical_plus", None, "critical"),
    ],
)
def test_a_key_bounds_the_criticality_of_its_calls(house, most, said, expected):
    """The lower of what is said and what the key allows holds, and the decision shows it."""
    own = "" if most is None else f"criticality: {most}, "
    h = house(CONFIG.replace("team: red, ", f"team: red, {own}"))
    client = h.chat(headers={} if said is None else {"x-isocost-criticality": said})
    assert client.status == 200
    assert h.last()["criticality"] == expected


def test_a_full_process_refuses_the_least_critical_in_the_doors_shape(house):
    """503 with a moment to retry; nothing is planned or charged; metrics and decision say why."""
    h = house("server: {admission: {in_flight: 4}}\n" + CONFIG.replace("server:", "#"))
    process = h.runtime.pipeline.admission
    held = [process.acquire(a_call()) for _ in range(2)]
    low = {"x-isocost-criticality": "sheddable"}
    client = h.chat(headers=low)
    assert client.status == 503
    assert int(client.headers["retry-after"]) >= 1
    assert error_of(client)["code"] == "overloaded"
    assert "criticality sheddable are let in below 2" in error_of(client)["message"]
    found = h.last()
    assert (found["status"], found["verdict"], found["plan"]) == (503, "rejected", None)
    assert "too many calls are in progress" in found["error"]
    assert found["cost_usd"] == "0"
    assert h.chat().status == 200
    held += [process.acquire(a_call()) for _ in range(2)]
    assert h.chat().status == 503
    for release in held:
        release(Outcome(v.OK, 1.0))
    assert h.chat(headers=low).status == 200
    page = got(h, "/metrics").body.decode()
    for level in ("sheddable", "critical"):
        assert f'isocost_shed_total{{criticality="{level}",route="chat"}} 1.0' in page
    assert "isocost_process_limit 4.0" in page
    assert process.count == 0


def test_a_stream_is_in_progress_until_its_end(house):
    """The place of a stream is held until its last byte, and then free."""
    h = house(paid=streaming(name="paid"))
    seen: list[int] = []
    gate = h.runtime.pipeline.admission

    class Watching(Client):
        async def send(self, message: dict[str, Any]) -> None:
            seen.append(gate.count)
            await super().send(message)

    client = h.ask(Watching(a_body(stream=True), headers=ANN))
    assert client.status == 200
    assert seen[0] == 1
    assert gate.count == 0


def test_bodies_together_are_bounded(house):
    """A body that does not fit beside those under way gets 503, and its bytes are given back."""
    h = house("server: {bodies_mb: 0.001}\n" + CONFIG.replace("server:", "#"))
    text = "x" * 2000
    client = h.chat(messages=[{"role": "user", "content": text}])
    assert (client.status, client.headers["retry-after"]) == (503, "1")
    assert "fill the memory" in error_of(client)["message"]
    assert h.chat().status == 200
    assert h.runtime.bodies.held == 0


def test_too_many_connections_are_told_in_the_doors_shape(house):
    """The answer of a crowded server is an error of the wire whose path was asked."""
    h = house()
    front = app(h.runtime)
    for path, shape in ((CHAT, "error"), ("/v2/translate", "message")):
        client = Client(headers=ANN)
        scope = client.scope | {"path": path}
        play(front.crowded(scope, client.receive, client.send), h.clock)
        assert (client.status, client.headers["retry-after"]) == (503, "1")
        assert shape in json.loads(client.body)
    client = Client()
    play(front.crowded(client.scope, client.receive, client.send), h.clock)
    assert (client.status, client.headers["retry-after"]) == (503, "1")
