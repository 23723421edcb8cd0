"""The cache in the file, over a reload, and at a door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from router import apis
from router.cli import check
from router.config import ConfigError, parse
from router.core import verdict as v
from router.core.api import Endpoint
from router.core.api import Path as Entry
from router.core.service import Service
from router.core.task import Delta, Finish
from router.doors.inference import Inference
from router.pipeline import Pipeline, World, build
from router.runtime import Runtime
from tests.fakes import USED, Client, FakeClock, Recorder, a_call, answering, play, streaming

CONFIG: dict[str, Any] = {
    "backends": {
        "paid": {"api": "openai", "model": "gpt-4o-mini", "key_env": "KEY"},
        "other": {"api": "openai", "model": "gpt-4o", "key_env": "KEY"},
    },
    "routes": {
        "chat": {"task": "chat", "backends": ["paid"], "cache": {"ttl": "10m"}},
        "plain": {"task": "chat", "backends": ["paid"]},
    },
}
ENV = {"KEY": "sk-vendor", "URL": "redis://:hush@127.0.0.1:1/0", "EMPTY": ""}


def changed(**changes: Any) -> dict[str, Any]:
    """The configuration with other values at dotted paths."""
    config = json.loads(json.dumps(CONFIG))
    for path, value in changes.items():
        at, *rest = path.split("__")
        inner = config
        for part in rest:
            inner, at = inner.setdefault(at, {}), part
        inner[at] = value
    return dict(config)


def built(
    config: dict[str, Any], clock: FakeClock, old: Pipeline | None = None, **changes: Any
) -> Pipeline:
    def send(endpoint: Endpoint) -> Service:
        return answering(name=endpoint.name)

    given = {"env": ENV, "now": clock, "send": send, "record": Recorder()} | changes
    world = World(folder=Path("/nowhere"), **given)
    return build(parse(yaml.safe_dump(config)), world, old)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (changed(cache={"url": "redis://a", "url_env": "URL"}), "cache: give url or url_env"),
        (changed(cache={"url_env": "NONE"}), "NONE is not set"),
        (changed(cache={"url_env": "EMPTY"}), "EMPTY is not set"),
        (changed(cache={"url": "http://:hush@a"}), "cache: the address must be redis://"),
        (changed(cache={"url": "redis://:hush@a:b/0"}), "cache: the address cannot be read"),
        (changed(cache={"max_mb": 0}), "cache.max_mb"),
        (changed(cache={"timeout": "0s"}), "cache.timeout"),
        (changed(routes__chat__cache={}), "routes.chat.cache.ttl"),
        (changed(routes__chat__cache={"ttl": "1s", "scope": "all"}), "routes.chat.cache.scope"),
        (changed(routes__chat__cache={"ttl": "1s", "stale": 0}), "routes.chat.cache.stale"),
        (changed(backends__cache=CONFIG["backends"]["paid"]), "a backend is named 'cache'"),
    ],
)
def test_a_fault_is_named_without_any_secret(config: dict[str, Any], said: str) -> None:
    """With its path; the address of a store may hold a password."""
    with pytest.raises(ConfigError) as refused:
        built(config, FakeClock())
    assert said in str(refused.value)
    assert "hush" not in str(refused.value)


def asked(text: str = "hi", **changes: Any) -> Any:
    call = a_call(text=text, **changes)
    request = type(call.request)(messages=call.request.messages, temperature=0.0)  # type: ignore[union-attr]
    return a_call(**({"request": request} | changes))


def state(pipeline: Pipeline, clock: FakeClock) -> str:
    """What the cache does with the same call as ever."""

    async def run() -> str:
        reply = await pipeline.service(asked(arrived=clock(), deadline=clock() + 30))
        reply.close()
        assert reply.cache is not None
        return reply.cache.state

    return play(run(), clock)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "hit"),
        ({"backends__paid__limits": {"in_flight": 3}}, "hit"),
        ({"backends__paid__breaker": {"least": 3}}, "hit"),
        ({"routes__chat__promise": {"deadline": "5s"}}, "hit"),
        ({"routes__chat__cache": {"ttl": "20m", "stale": "1h"}}, "hit"),
        ({"cache": {"max_mb": 1}}, "hit"),
        ({"backends__paid__model": "gpt-4o"}, "miss"),
        ({"backends__paid__base": "http://127.0.0.1:1/v1"}, "miss"),
        ({"routes__chat__backends": ["other"]}, "miss"),
        ({"routes__chat__backends": ["paid", "other"]}, "miss"),
        ({"routes__chat__max_output_tokens": 7}, "miss"),
        ({"routes__chat__rules": [{"when": "true", "prefer": "paid"}]}, "miss"),
        ({"cache": {"max_mb": 0.0001}}, "miss"),
    ],
)
def test_answers_outlive_a_reload_unless_others_could_be_given(
    change: dict[str, Any], expected: str
) -> None:
    """What could have changed the answer makes it another call; the rest keeps what there is."""
    clock = FakeClock()
    old = built(CONFIG, clock)
    assert state(old, clock) == "miss"
    assert state(built(changed(**change), clock, old), clock) == expected


def test_the_shared_store_outlives_a_reload_while_its_address_does() -> None:
    """One connection pool for one address; another address, or none, is another store."""
    clock = FakeClock()
    old = built(changed(cache={"url_env": "URL"}), clock)
    assert old.stores.shared is not None
    again = built(changed(cache={"url_env": "URL", "max_mb": 1}), clock, old)
    assert again.stores.shared is old.stores.shared
    slower = built(changed(cache={"url_env": "URL", "timeout": "1s"}), clock, old)
    assert slower.stores.shared not in {None, old.stores.shared}
    assert built(CONFIG, clock, old).stores.shared is None


def test_a_sandbox_answers_under_names_of_its_own() -> None:
    """What a stand-in said while the key was missing is never given as the vendor's."""
    clock = FakeClock()
    config = changed(backends__paid__sandbox={"base": "http://127.0.0.1:1"})
    config["backends"].pop("other")
    stand_in = built(config, clock, env={}, sandbox=True)
    assert state(stand_in, clock) == "miss"
    assert state(built(config, clock, stand_in, env={}, sandbox=True), clock) == "hit"
    assert state(built(config, clock, stand_in, sandbox=True), clock) == "miss"


def test_check_says_what_is_given_again(tmp_path, capsys, monkeypatch) -> None:
    """For how long, to whom, and which calls at most."""
    monkeypatch.setenv("KEY", "sk")
    file = tmp_path / "isocost.yaml"
    file.write_text(yaml.safe_dump(changed(routes__plain__cache={"ttl": 5, "scope": "shared"})))
    assert check.main([str(file)]) == 0
    out = capsys.readouterr().out
    only = "only with temperature 0 or a seed"
    assert f"  answers are given again for 600 s, each key has its own; {only}\n" in out
    assert f"  answers are given again for 5 s, all keys share them; {only}\n" in out


# --- at a door


class Scripted(Runtime):
    """A process whose backends are scripts."""

    def __init__(self, path: Path, clock: FakeClock, script: Service) -> None:
        self.script = script
        super().__init__(path, env=ENV, now=clock)

    def _send(self, endpoint: Endpoint) -> Service:
        return self.script


class House:
    def __init__(self, folder: Path, script: Service) -> None:
        self.clock = FakeClock()
        file = folder / "isocost.yaml"
        file.write_text(yaml.safe_dump(CONFIG))
        self.runtime = Scripted(file, self.clock, script)

    def chat(self, headers: dict[str, str] | None = None, **changes: Any) -> Client:
        body = {"model": "chat", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}
        client = Client(json.dumps(body | changes).encode(), headers=headers)
        entry = Entry("/v1/chat/completions", "chat")
        return play(client.ask(Inference(self.runtime, apis.door("openai"), entry)), self.clock)

    def metrics(self) -> str:
        pipeline = self.runtime.pipeline
        self.runtime.telemetry.refresh(pipeline.backends, pipeline.routes, pipeline.admission)
        self.runtime.telemetry.cached(pipeline.stores)
        return self.runtime.telemetry.page()[0].decode()


def test_a_client_sees_that_it_was_given_again(tmp_path) -> None:
    """The same answer; headers, decision and metrics say from where, how old, at what cost."""
    house = House(tmp_path, answering(name="paid"))
    first = house.chat()
    house.clock.pass_(7.9)
    again = house.chat()
    told, body = again.headers, json.loads(again.body)
    assert first.headers["x-isocost-cache"] == "miss"
    assert "age" not in first.headers
    assert body["choices"] == json.loads(first.body)["choices"]
    assert body["usage"]["prompt_tokens"] == USED.input_tokens
    assert (told["x-isocost-cache"], told["age"], told["x-isocost-backend"]) == (
        "hit",
        "7",
        "cache",
    )
    assert (told["x-isocost-cost-usd"], told["x-isocost-attempts"]) == ("0", "0")
    assert told["x-isocost-saved-usd"] == first.headers["x-isocost-cost-usd"] != "0"
    assert told["x-isocost-reason"] == "cached, from paid"
    decision = list(house.runtime.decisions._kept.values())[-1].json()
    assert (decision["cache"], decision["backend"], decision["cost_usd"]) == ("hit", "cache", "0")
    assert decision["saved_usd"] == told["x-isocost-saved-usd"]
    assert decision["attempts"] == []
    page = house.metrics()
    assert 'isocost_calls_total{backend="cache",route="chat",verdict="ok"} 1.0' in page
    assert 'isocost_cache_answers_total{route="chat",state="hit"} 1.0' in page
    assert 'isocost_attempts_total{backend="paid",verdict="ok"} 1.0' in page
    assert "isocost_cache_entries 1.0" in page


def test_a_stream_given_again_reads_like_any(tmp_path) -> None:
    """Chunks, the end and the summary; its cost is known at once."""
    house = House(
        tmp_path, streaming(Delta(text="a"), Delta(text="b"), Finish(reason="stop"), name="paid")
    )
    first, again = house.chat(stream=True), house.chat(stream=True)
    assert again.headers["x-isocost-cache"] == "hit"
    assert again.headers["x-isocost-cost-usd"] == "0"

    def said(client: Client) -> list[Any]:
        frames = [f.removeprefix("data: ") for f in client.body.decode().split("\n\n")]
        return [json.loads(f)["choices"] for f in frames if f.startswith("{")]

    assert said(again) == said(first)
    assert b"data: [DONE]" in again.body
    assert b"cost-usd=0 " in again.body
    assert again.complete


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("no-cache", "miss"),
        ("max-age=0, No-Cache", "miss"),
        ("no-store", "bypass"),
        ("no-cache, no-store", "bypass"),
        ("private", "hit"),
    ],
)
def test_a_client_may_ask_for_a_new_answer(tmp_path, header: str, expected: str) -> None:
    """By the words of HTTP."""
    house = House(tmp_path, answering(name="paid"))
    house.chat()
    assert house.chat({"cache-control": header}).headers["x-isocost-cache"] == expected


def test_routes_without_a_cache_say_nothing_of_it(tmp_path) -> None:
    """No header, nothing kept."""
    house = House(tmp_path, answering(name="paid"))
    assert "x-isocost-cache" not in house.chat(model="plain").headers
    assert len(house.runtime.pipeline.stores.memory) == 0


def test_an_error_is_told_as_ever(tmp_path) -> None:
    """Nothing to stand in for it: the vendor's fault is a 503."""
    house = House(tmp_path, answering(v.FAULT))
    client = house.chat()
    assert client.status == 503
    assert "x-isocost-cache" not in client.headers
