"""Budgets through real routers: nobody spends a cent more than the limit.

`make race` runs the race longer: ISOCOST_RACE_CALLS.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, OpenAI

from router.ledger import books
from router.ledger.database import address, engine
from tests.system.ledger.postgres import postgres
from tests.system.router.clients import Clients
from tests.system.router.harness import ROOT, SANDBOX_ENV, Sandbox, ask, router, sandbox, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
CALLS = int(os.environ.get("ISOCOST_RACE_CALLS", "500"))
CALLERS, IN_FLIGHT = 200, 64
LIMIT = 0.05
"""USD: less than what all callers together would spend."""
PICO = 10**12


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(tmp_path_factory.mktemp("budgets")) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    with postgres() as server:
        yield server.create("ledger")


def settings(box: Sandbox, store: str, *budgets: dict[str, Any], **more: Any) -> dict[str, Any]:
    def one(api: str, model: str, **changes: Any) -> dict[str, Any]:
        base = f"{box.base}/v1" if api == "openai" else box.base
        rest = {"breaker": {"in_a_row": 10**6, "least": 10**6}}
        return {"api": api, "model": model, "base": base, "key_env": "SANDBOX_KEY"} | rest | changes

    backends = {
        "gpt": one("openai", "gpt-5.4-mini", tasks=["chat"]),
        "mini": one("openai", "gpt-4o-mini", tasks=["chat"]),
        "eleven": one("elevenlabs", "eleven_flash_v2_5", voices={"*": "JBFqnCBsd6RMkjVDRZzb"}),
        "tts": one("openai", "tts-1", tasks=["speak"], voices={"*": "alloy"}),
        "deepl": one("deepl", "pro"),
        "own": {
            "api": "openai",
            "model": "gpt-4o-mini",
            "base": f"{box.base}/v1",
            "key_env": "SANDBOX_KEY",
            "tasks": ["chat"],
            "local": True,
            "price": {"per_hour_usd": 3600},
        },
    }
    routes = {
        "chat": {"task": "chat", "backends": ["gpt", "mini"], "promise": {"deadline": "20s"}},
        "speak": {"task": "speak", "backends": ["eleven", "tts"], "promise": {"deadline": "20s"}},
        "translate": {"task": "translate", "backends": ["deepl"], "promise": {"deadline": "20s"}},
        "either": {"task": "chat", "backends": ["gpt", "own"], "promise": {"deadline": "20s"}},
    }
    return {
        "exchange": {"EUR": 1.15},
        "ledger": {"url": store},
        "budgets": list(budgets),
        "backends": backends,
        "routes": routes,
    } | more


def spent(store: str) -> dict[str, int]:
    """Pico-dollars that the books of the global budget say are spent and held."""
    found = books.budgets(engine(address(store)), time.time())
    return {"posted": sum(b.posted for b in found), "held": sum(b.held for b in found)}


class Caller:
    """Somebody who sends all kinds of calls, and leaves some of them."""

    def __init__(self, clients: Clients, seed: int) -> None:
        self.clients, self.port = clients, int(clients.url.rpartition(":")[2])
        self.dice = random.Random(seed)
        self.seen: Counter[str] = Counter()

    def call(self) -> None:
        kinds = (self.chat, self.stream, self.leave, self.speak, self.translate)
        try:
            self.seen[self.dice.choice(kinds)()] += 1
        except Exception as exc:  # noqa: BLE001 - every client has its own
            said = str(exc)
            words = ("budget", "503", "no_backend", "not the whole answer", "Try again in a moment")
            known = any(word in said for word in words)
            self.seen["refused" if known else f"{type(exc).__name__}: {said[:200]}"] += 1

    def chat(self) -> str:
        self.clients.chat("chat", "why " * self.dice.randrange(1, 40), max_tokens=60)
        return "chat"

    def stream(self) -> str:
        self.clients.chat_stream("chat", "tell " * self.dice.randrange(1, 40))
        return "stream"

    def leave(self) -> str:
        """Reads a piece of a stream and goes."""
        body = {"model": "chat", "messages": [{"role": "user", "content": "tell me"}]}
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            whole = self.dice.random() < 0.3
            raw = json.dumps(body | {"stream": not whole, "max_tokens": 60})
            link.request("POST", "/v1/chat/completions", raw, {"content-type": "application/json"})
            if not whole:
                answer = link.getresponse()
                if answer.status != 200:
                    return "refused"
                answer.read(self.dice.randrange(1, 400))
        finally:
            link.close()
        return "left"

    def speak(self) -> str:
        self.clients.speak("Hallo " * self.dice.randrange(1, 8), "pcm_16000")
        return "speak"

    def translate(self) -> str:
        self.clients.translate("Good morning. " * self.dice.randrange(1, 5))
        return "translate"


def test_a_race_for_a_few_cents(
    box: Sandbox, store: str, tmp_path: Path, record_property: Any
) -> None:
    """200 callers in three processes, vendors that fail and streams that are left: the bill stays
    below the limit, nothing is held for ever, and once the bill is reconciled the books equal it."""
    box.reset()
    box.faults(
        {"fault": "status", "status": 503, "probability": 0.1},
        {"fault": "cut", "after_events": 2, "probability": 0.05, "match": {"stream": True}},
        {"fault": "reset", "probability": 0.03},
        {"fault": "slow", "seconds": 0.1, "probability": 0.2},
    )
    config = settings(box, store, {"window": "total", "usd": LIMIT})
    for name in ("chat", "speak"):
        hedge = {"after": "30ms", "percent": 50, "paid_twice": True}
        config["routes"][name]["failure"] = {"hedge": hedge}
    with ExitStack() as running:
        replicas = [
            running.enter_context(router(_made(tmp_path / name), config, *words, **SANDBOX_ENV))
            for name, *words in (("a", "--workers", "2"), ("b",))
        ]
        clients = [Clients(replica.url) for replica in replicas]
        callers = [Caller(clients[n % 2], n) for n in range(CALLERS)]
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            list(pool.map(lambda n: callers[n % CALLERS].call(), range(CALLS)))
        until(lambda: spent(store)["held"] == 0, 40, "nothing is held")
        file = replicas[1].config
    seen = sum((caller.seen for caller in callers), Counter())
    odd = [what for what in seen if ":" in what and "Connection" not in what]
    assert not odd, odd
    bill, ours, limit = box.bill(), spent(store)["posted"], round(LIMIT * PICO)
    # Whose outcome nobody knows stands at its bound, so the books are never below the bill.
    assert bill["total_pico_usd"] <= ours <= limit
    assert seen["refused"] > 0, seen
    assert not books.audit(engine(address(store)))
    _bounded(box, store)
    billed = f"{bill['total_pico_usd'] / limit:.1%} of the limit in {bill['calls']} calls"
    record_property("billed", billed)
    # Shown by `make race`.
    print(f"billed: {billed}; with what nobody knew: {ours / limit:.1%}; {dict(seen)}")  # noqa: T201
    reconciled(box, store, file)


def reconciled(box: Sandbox, store: str, config: Path) -> None:
    """The vendors' bill settles what nobody knew: then the books are the bill."""
    command = [sys.executable, "-m", "router", "reconcile", f"{box.base}/sandbox/bill"]
    # Nobody calls any more, so the bill says everything that there is to say.
    command += ["--vendor", "sandbox", "--until", "2999-01-01", "--config", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not books.attempts(engine(address(store)), ("C",)), done.stdout
    assert spent(store) == {"posted": box.bill()["total_pico_usd"], "held": 0}, done.stdout
    assert not books.audit(engine(address(store)))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _bounded(box: Sandbox, store: str) -> None:
    """What the bill has beyond the settled attempts is within the bounds of the captured ones."""
    captured = books.attempts(engine(address(store)), ("C",), most=10_000)
    settled = books.attempts(engine(address(store)), ("S",), most=10_000)
    known = sum(a.cost or 0 for a in settled)
    left = box.bill()["total_pico_usd"] - known
    assert 0 <= left <= sum(a.bound for a in captured)


def test_at_the_limit_a_call_is_refused_in_its_doors_shape(box: Sandbox, tmp_path: Path) -> None:
    """402, what the budget is, and when its window ends."""
    box.reset()
    budget = {"window": "day", "usd": 0.00001, "route": "translate"}
    store = f"sqlite:///{tmp_path / 'ledger.db'}"
    with router(tmp_path, settings(box, store, budget), **SANDBOX_ENV) as running:
        clients = Clients(running.url)
        with pytest.raises(Exception, match="budget of route translate") as caught:
            clients.translate("Good morning. " * 9)
        assert "0.00001" in str(caught.value)
        # Another route is not concerned.
        assert clients.chat("chat", "Why does tea cool down?")
        assert box.bill()["by_vendor"].keys() == {"openai"}


@pytest.mark.parametrize("at_limit", ["refuse", "local_only", "warn"])
def test_what_happens_at_the_limit_is_the_operators_choice(
    box: Sandbox, tmp_path: Path, at_limit: str
) -> None:
    """Refused; served by the machine of the house; or only told."""
    box.reset()
    budget = {"window": "day", "usd": 0.0000001, "backend": "gpt", "at_limit": at_limit}
    store = f"sqlite:///{tmp_path / 'ledger.db'}"
    config = settings(box, store, budget)
    config["routes"]["either"]["rules"] = [{"when": "true", "prefer": ["gpt"]}]
    with router(tmp_path, config, **SANDBOX_ENV) as running:
        create = running.sdk().chat.completions.with_raw_response.create
        said: Any = [{"role": "user", "content": "Why does tea cool down?"}]
        if at_limit == "refuse":
            with pytest.raises(APIStatusError) as caught:
                create(model="either", messages=said)
            assert (caught.value.status_code, caught.value.code) == (402, "budget_exceeded")
            assert float(caught.value.response.headers["retry-after"]) > 1
        else:
            raw = create(model="either", messages=said)
            served = {"local_only": "own", "warn": "gpt"}[at_limit]
            assert raw.headers["x-isocost-backend"] == served
        if at_limit == "warn":
            until(lambda: "budget" in running.program.log.read_text(), 5, "an alert in the log")


def test_a_store_that_goes_away_is_as_configured(box: Sandbox, tmp_path: Path) -> None:
    """Paid calls are refused at once, local ones served, readiness says so; then all is well again."""
    box.reset()
    with postgres() as server:
        store = server.create("ledger")
        config = settings(box, store, {"window": "day", "usd": 1})
        with router(tmp_path, config, **SANDBOX_ENV) as running:
            create = running.sdk().chat.completions.create
            said: Any = [{"role": "user", "content": "Why does tea cool down?"}]
            assert create(model="chat", messages=said)
            server.stop("immediate")
            began = time.monotonic()
            with pytest.raises(APIStatusError) as caught:
                create(model="chat", messages=said)
            assert time.monotonic() - began < 5
            assert (caught.value.status_code, caught.value.code) == (503, "ledger_unreachable")
            assert ask(f"{running.url}/livez")
            until(
                lambda: ask(f"{running.url}/readyz")["ledger"] == "unreachable", 5, "told as away"
            )
            before = box.bill()["calls"]
            assert before == 1
            server.start()
            until(lambda: ask(f"{running.url}/readyz")["ledger"] == "up", 20, "back")
            assert create(model="chat", messages=said)


def test_free_calls_do_no_transaction(box: Sandbox, tmp_path: Path) -> None:
    """A machine paid by the hour owes nobody."""
    box.reset()
    store = f"sqlite:///{tmp_path / 'ledger.db'}"
    config = settings(box, store, {"window": "day", "usd": 0.000001})
    config["routes"]["either"]["rules"] = [{"when": "true", "require": ["own"]}]
    with router(tmp_path, config, **SANDBOX_ENV) as running:
        client: OpenAI = running.sdk()
        threads = [
            threading.Thread(
                target=client.chat.completions.create,
                kwargs={"model": "either", "messages": [{"role": "user", "content": "hi"}]},
            )
            for _ in range(4)
        ]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert box.bill()["calls"] == 4
    assert not books.attempts(engine(address(store)), ("R", "D", "S", "X", "C"))
