"""The real router process before the sandbox of the paid API, through the official SDK."""

from __future__ import annotations

import json
import signal
import threading
import time
from urllib.error import HTTPError

import openai
import pytest

from .harness import CHAT, KEYS, SANDBOX_ENV, ask, backend, free_port, router, sandbox, until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("paid")]


def config(box) -> dict:
    dead = {"api": "openai", "model": "gpt-4o-mini", "base": f"http://127.0.0.1:{free_port()}/v1"}
    return {
        "backends": {
            "mini": backend(box),
            "four": backend(box, model="gpt-4o-mini"),
            "vectors": backend(box, model="text-embedding-3-small", tasks=["embed"]),
            "instruct": backend(box, model="gpt-3.5-turbo-instruct", tasks=["complete"]),
            "dead": dead | {"price": {"input_usd_per_mtok": 0.01}},
            "dead-too": dead | {"price": {"input_usd_per_mtok": 0.01}},
            "inhouse": dead | {"local": True, "price": {"per_hour_usd": 0.1}},
        },
        "routes": {
            "chat": {"task": "chat", "backends": ["mini"], "promise": {"deadline": "10s"}},
            "two": {"task": "chat", "backends": ["four", "mini"]},
            "over": {"task": "chat", "backends": ["dead", "mini"]},
            "none": {"task": "chat", "backends": ["dead", "dead-too"]},
            "private": {
                "task": "chat",
                "backends": ["inhouse", "mini"],
                "rules": [{"when": '"secret" in request.tags', "require": "local_only"}],
            },
            "cheap": {"task": "chat", "backends": ["mini"], "promise": {"max_cost_usd": 0.000001}},
            "vectors": {"task": "embed", "backends": ["vectors"]},
            "text": {"task": "complete", "backends": ["instruct"]},
        },
    }


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    with sandbox(tmp_path_factory.mktemp("box")) as made:
        yield made


@pytest.fixture(scope="module")
def app(box, tmp_path_factory):
    with router(tmp_path_factory.mktemp("router"), config(box), **SANDBOX_ENV) as made:
        yield made


@pytest.fixture(autouse=True)
def healthy(box):
    box.reset()
    yield
    box.heal()


def test_whole_chat_says_where_it_was_served_and_what_it_cost(app, box):
    """Headers name backend, cost, saving, attempts, reason and call; the cost is the bill's."""
    raw = app.sdk().chat.completions.with_raw_response.create(model="chat", messages=CHAT)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert raw.headers["x-isocost-backend"] == "mini"
    assert raw.headers["x-isocost-attempts"] == "1"
    assert raw.headers["x-isocost-saved-usd"] == "0"
    cost = round(float(raw.headers["x-isocost-cost-usd"]) * 1e12)
    assert cost == box.bill()["total_pico_usd"] > 0
    record = app.decision(raw.headers["x-isocost-call-id"])
    assert record["backend"] == "mini"
    assert record["usage"]["input_tokens"] == answer.usage.prompt_tokens


def test_stream_hides_usage_from_those_who_did_not_ask(app, box):
    """The vendor is always asked for usage; only a client that asked sees it."""
    chunks = list(app.sdk().chat.completions.create(model="chat", messages=CHAT, stream=True))
    assert all(c.usage is None and c.choices for c in chunks)
    wanted = list(
        app.sdk().chat.completions.create(
            model="chat", messages=CHAT, stream=True, stream_options={"include_usage": True}
        )
    )
    assert wanted[-1].usage.completion_tokens > 0
    assert all(e["body"]["stream_options"]["include_usage"] for e in box.journal())
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert len(text) > 20
    assert chunks[-1].choices[0].finish_reason in {"stop", "length"}


def test_unknown_parameters_reach_the_vendor_untouched(app, box):
    """Tools, response_format and fields that nobody knows yet pass through."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    extra = {"brand_new": {"deep": [1, 2.50, "ü"]}}
    app.sdk().chat.completions.create(
        model="chat",
        messages=CHAT,
        tools=tools,
        response_format={"type": "json_object"},
        max_tokens=32,
        extra_body=extra,
    )
    sent = box.journal()[-1]["body"]
    assert sent["tools"] == tools
    assert sent["response_format"] == {"type": "json_object"}
    assert sent["brand_new"] == extra["brand_new"]
    assert sent["model"] == "gpt-5.4-mini"


def test_an_output_maximum_is_always_sent(app, box):
    """Without one from the client the route's own bounds what a call can cost."""
    app.sdk().chat.completions.create(model="chat", messages=CHAT)
    sent = box.journal()[-1]["body"]
    assert sent.get("max_tokens") == 512


def test_embeddings_and_completions(app):
    """Both encodings of vectors agree; completions answer whole and streamed."""
    sdk = app.sdk()
    packed = sdk.embeddings.create(model="vectors", input=["a boat", "a ship"])
    plain = sdk.embeddings.create(
        model="vectors", input=["a boat", "a ship"], encoding_format="float"
    )
    assert plain.data[1].embedding == pytest.approx(packed.data[1].embedding, abs=1e-6)
    assert sdk.completions.create(model="text", prompt="Once", max_tokens=8).choices[0].text
    pieces = sdk.completions.create(model="text", prompt="Once", max_tokens=8, stream=True)
    assert "".join(p.choices[0].text for p in pieces)


def test_models_are_the_routes(app):
    """`/v1/models` lists what clients may put into `model`."""
    assert {m.id for m in app.sdk().models.list()} == set(config_routes(app))
    assert app.sdk().models.retrieve("chat").id == "chat"


def config_routes(app):
    import yaml

    return yaml.safe_load(app.config.read_text())["routes"]


BAD = {
    "bad json": ("/v1/chat/completions", b"{nope", 400, "JSON"),
    "wrong type": (
        "/v1/chat/completions",
        b'{"model":"chat","messages":"hi"}',
        400,
        "messages",
    ),
    "no model": ("/v1/chat/completions", b'{"messages":[]}', 400, "model"),
    "empty messages": ("/v1/chat/completions", b'{"model":"chat","messages":[]}', 400, "empty"),
    "unknown route": (
        "/v1/chat/completions",
        b'{"model":"nope","messages":[{"role":"user","content":"x"}]}',
        404,
        "Routes for chat: chat, cheap",
    ),
    "route of another task": (
        "/v1/embeddings",
        b'{"model":"chat","input":"x"}',
        404,
        "does chat, not embed",
    ),
    "temperature": (
        "/v1/chat/completions",
        b'{"model":"chat","temperature":9,"messages":[{"role":"user","content":"x"}]}',
        400,
        "between 0 and 2",
    ),
    "empty input": ("/v1/embeddings", b'{"model":"vectors","input":""}', 400, "empty"),
    "one label": ("/v1/classify", b'{"model":"chat","input":"x","labels":["a"]}', 400, "two"),
    "too dear": (
        "/v1/chat/completions",
        b'{"model":"cheap","messages":[{"role":"user","content":"x"}]}',
        402,
        "max_cost_usd",
    ),
    "no such path": ("/v1/nope", b"{}", 404, "/v1/chat/completions"),
    "body over the limit": ("/v1/embeddings", b"x" * (17 * 1024 * 1024), 413, "at most"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_the_doors_shape(app, box, case):
    """OpenAI's error shape and status, a sentence that says what to do, nothing called."""
    from urllib.request import Request, urlopen

    path, body, status, words = case
    with pytest.raises(HTTPError) as caught:
        urlopen(Request(app.url + path, body, {"content-type": "application/json"}), timeout=10)
    error = json.loads(caught.value.read())["error"]
    assert caught.value.code == status
    assert words in error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    assert box.journal() == []
    assert box.bill()["total_pico_usd"] == 0


def test_dead_backend_fails_over_and_both_attempts_are_told(app):
    """The next backend answers; the decision names both attempts."""
    raw = app.sdk().chat.completions.with_raw_response.create(model="over", messages=CHAT)
    assert raw.headers["x-isocost-backend"] == "mini"
    record = app.decision(raw.headers["x-isocost-call-id"])
    said = [(a["backend"], a["verdict"]) for a in record["attempts"]]
    # After a few failures the breaker leaves the dead one out of the plan.
    assert said in ([("dead", "fault"), ("mini", "ok")], [("mini", "ok")])


def test_all_dead_is_503_in_the_doors_shape(app):
    """The error names every backend, says when to try again, and costs nothing."""
    with pytest.raises(openai.InternalServerError) as caught:
        app.sdk().chat.completions.create(model="none", messages=CHAT)
    assert caught.value.status_code == 503
    assert "dead" in caught.value.message
    assert int(caught.value.response.headers["retry-after"]) >= 1


def test_local_only_never_leaves(app, box):
    """By tag or by rule: with the house's own backend dead, such a call is refused."""
    for tags in ("local_only", "secret", "x, secret"):
        with pytest.raises(openai.InternalServerError):
            app.sdk(default_headers={"x-isocost-tags": tags}).chat.completions.create(
                model="private", messages=CHAT
            )
    assert box.journal() == []
    app.sdk().chat.completions.create(model="private", messages=CHAT)
    assert len(box.journal()) == 1


@pytest.mark.parametrize("fault", ["cut", "reset", "truncate_json"])
def test_a_stream_cut_by_the_vendor_is_an_error(app, box, fault):
    """What came is passed on, then an error event: never a normal end."""
    box.faults({"fault": fault, "after_events": 4})
    chunks = []
    stream = app.sdk().chat.completions.create(model="chat", messages=CHAT, stream=True)
    with pytest.raises(openai.APIError) as caught:
        chunks.extend(stream)
    assert any(c.choices[0].delta.content for c in chunks)
    assert "not the whole answer" in str(caught.value)


@pytest.mark.parametrize("fault", ["cut", "truncate_json"])
def test_a_whole_answer_cut_by_the_vendor_is_never_success(app, box, fault):
    """A broken whole answer counts as lost: it may be billed, and is not shown."""
    box.faults({"fault": fault})
    with pytest.raises(openai.InternalServerError) as caught:
        app.sdk().chat.completions.create(model="chat", messages=CHAT)
    assert caught.value.status_code == 503
    assert float(caught.value.response.headers["x-isocost-cost-usd"]) > 0


def test_throttled_backend_is_left_until_its_retry_moment(app, box):
    """429 fails over, is no failure for the breaker, and is not asked again before its time."""
    box.faults(
        {"fault": "status", "status": 429, "retry_after": 30, "match": {"model": "gpt-4o-mini"}}
    )
    for _ in range(3):
        raw = app.sdk().chat.completions.with_raw_response.create(model="two", messages=CHAT)
        assert raw.headers["x-isocost-backend"] == "mini"
    asked = [e for e in box.journal() if e["body"]["model"] == "gpt-4o-mini"]
    assert len(asked) == 1
    assert app.metrics()["isocost_breaker_state,backend=four"] == 0


def test_client_gone_closes_the_stream_upstream(app, box):
    """The vendor sees the client leave soon after it does."""
    box.faults({"fault": "slow", "seconds": 0.1})
    with app.sdk().chat.completions.create(model="chat", messages=CHAT, stream=True) as stream:
        next(iter(stream))
    left = until(lambda: box.journal()[-1]["disconnected_after"] is not None, 3, "vendor told")
    assert left


def test_client_gone_closes_a_whole_answer_upstream(app, box):
    """Nobody waits: the vendor's connection closes although no byte came yet."""
    box.faults({"fault": "hang"})
    with pytest.raises(openai.APITimeoutError):
        app.sdk(timeout=0.4).chat.completions.create(model="chat", messages=CHAT)
    entry = until(lambda: [e for e in box.journal() if e["disconnected_after"] is not None], 3)[-1]
    assert entry["disconnected_after"] < 1.0


def test_deadline_of_the_caller_is_kept(app, box):
    """A hanging vendor costs no more time than the caller gave."""
    box.faults({"fault": "hang"})
    started = time.monotonic()
    with pytest.raises(openai.InternalServerError) as caught:
        app.sdk(default_headers={"x-isocost-deadline-ms": "400"}).chat.completions.create(
            model="chat", messages=CHAT
        )
    assert time.monotonic() - started < 1.5
    assert caught.value.status_code == 504


def test_explain_equals_what_then_happens(app, box):
    """The dry run costs nothing and names the backend that then serves."""
    body = {"model": "two", "messages": CHAT, "max_tokens": 20}
    plan = app.explain(body)
    assert box.journal() == []
    raw = app.sdk().chat.completions.with_raw_response.create(**body)
    record = app.decision(raw.headers["x-isocost-call-id"])
    assert raw.headers["x-isocost-backend"] == plan["order"][0]
    assert record["plan"]["order"] == plan["order"]
    quotes = {c["backend"]: float(c["quote_usd"]) for c in plan["candidates"]}
    assert float(record["cost_usd"]) <= quotes[plan["order"][0]]


def test_metrics_add_up_to_the_bill(box, tmp_path):
    """Cost over all backends equals the sandbox's own bill; every call is counted once."""
    with router(tmp_path, config(box), **SANDBOX_ENV) as app:
        sdk = app.sdk()
        for turn in range(8):
            sdk.chat.completions.create(model="two", messages=CHAT, max_tokens=5 + turn)
            list(sdk.chat.completions.create(model="chat", messages=CHAT, stream=True))
            sdk.embeddings.create(model="vectors", input=["one", "two three"])
        with pytest.raises(openai.NotFoundError):
            sdk.chat.completions.create(model="nope", messages=CHAT)
        found = app.metrics()
        spent = sum(v for k, v in found.items() if k.startswith("isocost_cost_usd_total"))
        assert round(spent * 1e12) == box.bill()["total_pico_usd"]
        assert sum(v for k, v in found.items() if k.startswith("isocost_calls_total")) == 24
        assert found["isocost_refused_total,door=openai,status=404"] == 1
        assert found["isocost_in_flight,backend=mini"] == 0


def test_several_processes_add_up(box, tmp_path):
    """Two workers on one socket: any of them shows the metrics of both, and any decision."""
    with router(tmp_path, config(box), "--workers", "2", **SANDBOX_ENV) as app:
        ids = []

        def call() -> None:
            raw = app.sdk().chat.completions.with_raw_response.create(model="chat", messages=CHAT)
            ids.append(raw.headers["x-isocost-call-id"])

        threads = [threading.Thread(target=call) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        total = "isocost_calls_total,backend=mini,route=chat,verdict=ok"
        until(lambda: app.metrics().get(total) == 24, 5, "both workers counted")
        for call_id in ids[:6]:
            until(lambda c=call_id: app.decision(c)["call_id"] == c, 4, "decision of any worker")
        assert app.program.stop() == 0


def test_reload_under_load_loses_no_call(box, tmp_path):
    """New routes serve at once, a bad file changes nothing, and nobody notices either."""
    settings = config(box)
    with router(tmp_path, settings, **SANDBOX_ENV) as app:
        stop, failed, done = threading.Event(), [], []

        def hammer() -> None:
            sdk = app.sdk()
            while not stop.is_set():
                try:
                    sdk.chat.completions.create(model="chat", messages=CHAT, max_tokens=4)
                    done.append(1)
                except openai.APIError as exc:
                    failed.append(exc)

        threads = [threading.Thread(target=hammer) for _ in range(3)]
        for thread in threads:
            thread.start()
        settings["routes"]["fresh"] = {"task": "chat", "backends": ["mini"]}
        app.write(settings)
        app.program.send(signal.SIGHUP)
        until(lambda: "fresh" in {m.id for m in app.sdk().models.list()}, 5, "new route")
        app.config.write_text("backends: {mini: {api: openai, modle: x}}\n")
        until(
            lambda: app.metrics().get("isocost_config_reloads_total,result=refused"), 5, "refused"
        )
        assert "did you mean 'model'" in app.program.log.read_text()
        app.sdk().chat.completions.create(model="fresh", messages=CHAT)
        stop.set()
        for thread in threads:
            thread.join()
        assert not failed
        assert len(done) > 10


def test_a_bad_configuration_never_starts(tmp_path):
    """It ends with status 2 and says path, line and what to write."""
    from .harness import Program

    path = tmp_path / "bad.yaml"
    path.write_text("backends: {a: {api: openai, model: nobody-knows}}\nroutes: {}\n")
    import sys

    program = Program(
        [sys.executable, "-m", "router", "serve", "--config", str(path)], tmp_path / "log"
    ).start()
    assert program.process.wait(20) == 2
    assert "routes (line 2)" in (tmp_path / "log").read_text()


def test_keys(box, tmp_path):
    """Unknown keys are 401, foreign routes 403, decisions are seen by their own key only."""
    settings = config(box) | {
        "keys": [
            {"name": "alice", "key_env": "ALICE", "tags": ["secret"]},
            {"name": "bob", "key_env": "BOB", "routes": ["chat"]},
        ]
    }
    env = SANDBOX_ENV | {"ALICE": KEYS["alice"], "BOB": KEYS["bob"]}
    with router(tmp_path, settings, **env) as app:
        with pytest.raises(openai.AuthenticationError):
            app.sdk("sk-wrong").chat.completions.create(model="chat", messages=CHAT)
        with pytest.raises(openai.PermissionDeniedError):
            app.sdk(KEYS["bob"]).chat.completions.create(model="two", messages=CHAT)
        raw = app.sdk(KEYS["bob"]).chat.completions.with_raw_response.create(
            model="chat", messages=CHAT
        )
        call_id = raw.headers["x-isocost-call-id"]
        assert app.decision(call_id, authorization=f"Bearer {KEYS['bob']}")["key"] == "bob"
        with pytest.raises(HTTPError) as caught:
            app.decision(call_id, authorization=f"Bearer {KEYS['alice']}")
        assert caught.value.code == 404
        with pytest.raises(openai.InternalServerError):
            app.sdk(KEYS["alice"]).chat.completions.create(model="private", messages=CHAT)
        said = app.program.log.read_text() + json.dumps(app.metrics())
        assert not any(secret in said for secret in (*KEYS.values(), "sk-sandbox-test"))
        assert ask(f"{app.url}/livez") == {"live": True}


def test_without_keys_only_loopback_is_served(box, tmp_path):
    """An open router on a public address is refused at start."""
    import sys

    import yaml

    from .harness import Program

    path = tmp_path / "open.yaml"
    path.write_text(yaml.safe_dump(config(box)))
    program = Program(
        [sys.executable, "-m", "router", "serve", "--config", str(path), "--host", "0.0.0.0"],
        tmp_path / "log",
        dict(SANDBOX_ENV),
    ).start()
    assert program.process.wait(20) == 2
    assert "only loopback" in (tmp_path / "log").read_text()


def test_sigterm_finishes_what_is_under_way(box, tmp_path):
    """A call in flight gets its whole answer; the process ends with status 0."""
    box.faults({"fault": "slow", "seconds": 0.15})
    with router(tmp_path, config(box), **SANDBOX_ENV) as app:
        found: list[str] = []

        def call() -> None:
            for chunk in app.sdk().chat.completions.create(
                model="chat", messages=CHAT, stream=True, max_tokens=8
            ):
                found.append(chunk.choices[0].finish_reason)

        thread = threading.Thread(target=call)
        thread.start()
        until(lambda: found, 5, "stream began")
        code = app.program.stop()
        thread.join()
        assert found[-1] in {"stop", "length"}
        assert code == 0


def test_a_streams_deadline_ends_it_as_an_error(app, box):
    """A vendor that falls silent in the middle costs no more time than the caller gave."""
    box.faults({"fault": "hang_after_headers", "after_events": 3})
    sdk = app.sdk(default_headers={"x-isocost-deadline-ms": "700"})
    started = time.monotonic()
    with pytest.raises(openai.APIError) as caught:
        list(sdk.chat.completions.create(model="chat", messages=CHAT, stream=True))
    assert time.monotonic() - started < 2
    assert "deadline" in str(caught.value)
