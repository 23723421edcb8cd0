"""The admin API on its own port: keys, money and journal of a real router, for its own key only."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError

import openai
import pytest

from router.ledger.budget import Budget, Scope
from router.ledger.ledger import Ledger
from router.ledger.record import Ask
from tests.system.router.harness import (
    CHAT,
    SANDBOX_ENV,
    Router,
    Sandbox,
    ask,
    backend,
    free_port,
    router,
    sandbox,
    until,
)

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("admin")]
ADMIN = "admin-canary-5f1d"


class Operator(NamedTuple):
    """The router, its admin API, its sandbox and its store."""

    app: Router
    url: str
    box: Sandbox
    store: str

    def __call__(self, path: str, body: Any = None, method: str | None = None) -> Any:
        said = {"authorization": f"Bearer {ADMIN}"}
        return ask(f"{self.url}/admin/{path}", body, method, **said)

    def chat(self, secret: str, **more: Any) -> Any:
        return self.app.sdk(secret).chat.completions.with_raw_response.create(
            model="chat", messages=CHAT, max_tokens=8, **more
        )


@pytest.fixture(scope="module", params=["1", "2"])
def it(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """With one process, and with two workers on the same ports."""
    folder = tmp_path_factory.mktemp("admin")
    port, store = free_port(), f"sqlite:///{folder / 'ledger.db'}"
    with sandbox(folder) as box:
        config = {
            "server": {"admin": {"key_env": "ADMIN_KEY", "port": port}},
            "ledger": {"url": store},
            "budgets": [{"team": "*", "window": "total", "usd": 1}],
            "backends": {"gpt": backend(box, tasks=["chat"]), "big": backend(box, model="gpt-4o")},
            "routes": {"chat": {"task": "chat", "backends": ["gpt"], "baseline": "big"}},
        }
        options = ("--workers", request.param)
        env = SANDBOX_ENV | {"ADMIN_KEY": ADMIN}
        with router(folder, config, *options, **env) as app:
            made = Operator(app, f"http://127.0.0.1:{port}", box, store)
            until(lambda: made("keys") is not None, what="admin API")
            yield made


def test_a_key_lives_and_dies_by_the_api(it: Operator):
    """Created, it is served, listed without its secret, rotated, and refused once it is revoked."""
    made = it("keys", {"name": "ada", "team": "red", "budgets": ["month=1"]})
    secret = made["secret"]
    until(lambda: works(it, secret), 10)
    listed = it("keys?valid=true")
    assert [k["name"] for k in listed if k["team"] == "red"] == ["ada"]
    assert secret not in json.dumps(listed)
    with pytest.raises(HTTPError) as caught:
        it("keys", {"name": "ada"})
    assert caught.value.code == 409
    fresh = it("keys/ada/rotate", {})["secret"]
    until(lambda: works(it, fresh) and not works(it, secret), 10)
    assert it("keys/ada", method="DELETE")[0]["standing"] == "revoked"
    # A second is promised; the test's machine may be busy with others. Each call asks a worker.
    until(lambda: not any(works(it, fresh) for _ in range(6)), 2.5, "revoked")
    with pytest.raises(HTTPError) as caught:
        it("keys/ada", method="DELETE")
    assert caught.value.code == 404


def works(it: Operator, secret: str) -> bool:
    try:
        it.chat(secret)
    except openai.AuthenticationError:
        return False
    return True


def known(it: Operator, secret: str) -> None:
    """Wait until every worker knows the key: within a second of the first."""
    # A worker that has not read the first key there is serves everybody.
    until(lambda: works(it, secret) and not works(it, "nobody"), 10)
    time.sleep(1.0)


def test_calls_budgets_and_savings_agree(it: Operator):
    """The journal's cost, the budget's posted sum and the vendor's bill of one key are the same."""
    secret = it("keys", {"name": "bea", "team": "blue", "budgets": ["day=1"]})["secret"]
    known(it, secret)
    raw = it.chat(secret)
    [call] = it(f"calls?call={raw.headers['x-isocost-call-id']}")
    assert (call["key"], call["team"], call["route"]) == ("bea", "blue", "chat")
    assert call["verdict"] == "ok"

    def posted() -> Any:
        found = [b for b in it("budgets") if b["scope"] == "key" and b["name"] == "bea"]
        return found[0] if found and float(found[0]["posted_usd"]) else None

    day = datetime.now(UTC).date().isoformat()
    rows = it(f"calls?key=bea&day={day}")
    cost = sum(float(row["cost_usd"]) for row in rows)
    until(lambda: abs(float(posted()["posted_usd"]) - cost) < 1e-13, 10, "settled")
    [saved] = it("savings?key=bea&by=key")
    assert saved["calls"] == len(rows)
    assert float(saved["cost_usd"]) == pytest.approx(cost)
    assert float(saved["saved_usd"]) > 0
    assert [s["day"] for s in it("savings")] == [day]
    assert it("calls?key=nobody") == []


async def test_what_is_held_is_shown(it: Operator):
    """An attempt that holds money is among the live reservations until it is let go."""
    ledger = await Ledger.open(it.store, [Budget(Scope("global"), "total", 10**12)])
    now = time.time()
    held = await ledger.reserve(
        Ask("held-1", "call-1", 0, "gpt", 5 * 10**9, now + 60, now + 60, (Scope("global"),))
    )
    [row] = [r for r in it("reservations") if r["id"] == "held-1"]
    assert (row["state"], row["bound_usd"], row["call"]) == ("reserved", "0.005", "call-1")
    ledger.release(held)
    await ledger.written()
    assert not [r for r in it("reservations") if r["id"] == "held-1"]
    assert [r for r in it("reservations?state=let+go") if r["id"] == "held-1"]
    await ledger.close()


@pytest.mark.parametrize("said", ["", "Bearer ", f"Bearer {ADMIN}x", f"Basic {ADMIN}", "Bearer ü"])
def test_strangers_get_nothing(it: Operator, said: str):
    """Without the admin key every path is 401, and a caller's key is no admin key."""
    described = ask(f"{it.url}/admin/openapi.json")
    assert {"/admin/keys", "/admin/budgets", "/admin/calls"} <= set(described["paths"])
    for path, methods in described["paths"].items():
        for method in methods:
            with pytest.raises(HTTPError) as caught:
                ask(it.url + path, {}, method.upper(), authorization=said)
            assert caught.value.code == 401, path
    for path in ("/v1/chat/completions", "/metrics", "/livez"):
        with pytest.raises(HTTPError) as caught:
            ask(it.url + path)
        assert caught.value.code == 404
    with pytest.raises(HTTPError) as caught:
        ask(f"{it.app.url}/admin/keys", authorization=f"Bearer {ADMIN}")
    assert caught.value.code == 404


def test_a_wrong_question_is_told(it: Operator):
    """Bad fields are 422 with what is wrong; none of them breaks anything."""
    wrong = [
        ("keys", {"name": "x", "tasks": ["paint"]}),
        ("keys", {"name": "x", "secret": "mine"}),
        ("keys", {"name": "x", "budgets": ["month=lots"]}),
        ("calls?day=tomorrow", None),
        ("reservations?most=0", None),
        ("savings?by=colour", None),
    ]
    for path, body in wrong:
        with pytest.raises(HTTPError) as caught:
            it(path, body)
        assert caught.value.code == 422, path


def test_no_secret_of_the_api_is_written_down(it: Operator):
    """Neither the admin key nor one that it made is in a log or a file of the router."""
    secret = it("keys", {"name": f"eve{time.time_ns()}"})["secret"]
    until(lambda: works(it, secret), 10)
    folder: Path = it.app.config.parent
    pages = [f.read_bytes().decode("latin-1") for f in folder.rglob("*") if f.is_file()]
    assert any(secret[:10] in page for page in pages), "its prefix is in the store"
    assert not [page for page in pages if secret[10:] in page or ADMIN in page]


def test_the_api_does_not_start_without_a_key(tmp_path: Path):
    """`--admin-port` without a key of its own ends the start, and says what to write."""
    config = {
        "backends": {"b": {"api": "openai", "model": "gpt-4o", "base": "http://127.0.0.1:9/v1"}},
        "routes": {"chat": {"task": "chat", "backends": ["b"]}},
    }
    with (
        pytest.raises((AssertionError, HTTPError)),
        router(tmp_path, config, "--admin-port", "0") as _,
    ):
        pass
    log = next(tmp_path.glob("*.log")).read_text()
    assert "key_env" in log
