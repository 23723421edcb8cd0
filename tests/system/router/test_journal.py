"""Real routers that are killed: every answer is in the journal, and a bill settles what was unknown."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from router.journal.files import records
from router.ledger import books
from router.ledger.database import address, engine
from tests.system.router.harness import (
    CHAT,
    ROOT,
    SANDBOX_ENV,
    Router,
    Sandbox,
    backend,
    router,
    sandbox,
)

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("journal")]
CALLERS = 8
ANSWERS = 60
"""After so many the router is killed, by whoever reads the last byte of that one."""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(tmp_path_factory.mktemp("journal")) as made:
        yield made


def settings(box: Sandbox, **more: Any) -> dict[str, Any]:
    return {
        "ledger": {},
        "budgets": [{"window": "day", "usd": 100}],
        "backends": {"mini": backend(box)},
        "routes": {"chat": {"task": "chat", "backends": ["mini"], "promise": {"deadline": "5s"}}},
    } | more


def chat(port: int, **fields: Any) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = json.dumps({"model": "chat", "messages": CHAT, "max_tokens": 20} | fields)
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    return connection.getresponse()


class Answered:
    """Calls whose last byte was read, and the kill that comes with one of them."""

    def __init__(self, app: Router) -> None:
        self._app, self._lock = app, threading.Lock()
        self.calls: list[str] = []

    def call(self, number: int) -> None:
        """One after the other, whole and streamed, until the router is gone."""
        while len(self.calls) < ANSWERS:
            try:
                answer = chat(self._app.port, stream=bool(number % 2))
                answer.read()
            except (OSError, http.client.HTTPException):
                return  # killed under way: this call was not answered
            assert answer.status == 200
            with self._lock:
                self.calls.append(str(answer.headers["x-isocost-call-id"]))
                if len(self.calls) == ANSWERS:
                    self._app.program.send(signal.SIGKILL)


def state(app: Router) -> Path:
    return app.config.parent / f"router-{app.port}"


@pytest.mark.parametrize("time", range(2))
def test_every_call_that_was_answered_is_in_the_journal(box, tmp_path, time):
    """Killed by whoever reads an answer's last byte: that answer, too, and all that is settled."""
    with router(tmp_path, settings(box), **SANDBOX_ENV) as app:
        answered = Answered(app)
        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(answered.call, range(CALLERS)))
        folder = state(app)
    assert len(answered.calls) >= ANSWERS
    kept = {record.call_id for record in records(folder)}
    assert set(answered.calls) <= kept
    store = engine(address(f"sqlite:///{folder / 'ledger.db'}"))
    settled = {row.call for row in books.attempts(store, ("S",), most=10_000)}
    assert settled
    assert settled <= kept


def isocost(*words: str) -> str:
    command = [sys.executable, "-m", "router", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_bill_settles_what_was_unknown(box, tmp_path):
    """Calls that broke are held at their bounds until the bill says what they cost."""
    box.reset()
    with router(tmp_path, settings(box), **SANDBOX_ENV) as app:
        for fault in (None, "cut", "cut", None, "hang_after_headers"):
            box.heal()
            if fault:
                box.faults({"fault": fault, "times": 1, "seconds": 0.2})
            chat(app.port, stream=fault is not None).read()
        folder, config = state(app), app.config
    store = engine(address(f"sqlite:///{folder / 'ledger.db'}"))

    def booked() -> int:
        rows = books.attempts(store, ("C", "S", "D", "R"))
        return sum(row.bound if row.cost is None else row.cost for row in rows)

    bill = box.bill()["total_pico_usd"]
    assert booked() > bill > 0
    common = ("reconcile", f"{box.base}/sandbox/bill", "--vendor", "sandbox")
    common += ("--config", str(config), "--state", str(folder))
    shown = isocost(*common, "--dry-run")
    assert "3 attempts of unknown cost would be settled" in shown
    assert booked() > bill
    assert "3 attempts of unknown cost settled" in isocost(*common)
    assert booked() == bill
    rows = [json.loads(line) for line in isocost(*common, "--json").splitlines()]
    assert [(row["cause"], row["calls"], row["drift_usd"]) for row in rows] == [("agreed", 5, "0")]


def test_what_the_commands_show_is_what_was_spent(box, tmp_path):
    """`journal` and `savings` add up to the bill, from a running router's files."""
    box.reset()
    with router(tmp_path, settings(box), **SANDBOX_ENV) as app:
        for _ in range(3):
            chat(app.port).read()
        here = ("--state", str(state(app)))
        lines = [
            json.loads(line) for line in isocost("journal", *here, "--format", "json").splitlines()
        ]
        one = json.loads(isocost("journal", lines[0]["call_id"], *here))
        table = isocost("savings", *here, "--plot", str(tmp_path / "days.png"))
    spent = sum(round(float(line["cost_usd"]) * 1e12) for line in lines)
    assert spent == box.bill()["total_pico_usd"] > 0
    assert one == lines[0]
    assert one["attempts"][0]["bound_usd"]
    assert "mini" in table
    assert (tmp_path / "days.png").read_bytes().startswith(b"\x89PNG")
