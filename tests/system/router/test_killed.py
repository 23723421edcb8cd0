"""Whole routers under kill -9 at every point of a call: the others go on, and the money is right."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from select import select
from typing import Any

import pytest

from router.journal.files import records
from router.ledger import books
from router.ledger.database import address, engine
from tests.system.ledger.postgres import postgres
from tests.system.router.harness import (
    CHAT,
    ROOT,
    SANDBOX_ENV,
    Router,
    Sandbox,
    backend,
    free_port,
    router,
    sandbox,
    until,
)
from tests.system.router.test_budgets import reconciled

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
PICO = 10**12
POINTS = [
    "before reserve",
    # One transaction reserves and passes the fence: these are before and after dispatch as well.
    "before commit of reserve",
    "after commit of reserve",
    "after reserve",
    "before send",
    "after send",
    "before first byte",
    "after first byte",
    "before usage",
    "after usage",
    "before settle",
    "after settle",
    "before commit of settle",
    "after commit of settle",
    # The sweep, on what the routers before left behind.
    "before commit of lapse",
    "after commit of lapse",
    # Once more, to be swept by the others.
    "after send",
]
CALLERS = 6


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    with postgres() as server:
        yield server.create("ledger")


def settings(box: Sandbox, store: str, usd: float) -> dict[str, Any]:
    return {
        "ledger": {"url": store},
        "budgets": [{"window": "total", "usd": usd}],
        "backends": {"mini": backend(box)},
        "routes": {"chat": {"task": "chat", "backends": ["mini"], "promise": {"deadline": "3s"}}},
    }


class Mortal:
    """The third replica: the same router, started again and again, each time to die elsewhere."""

    def __init__(self, config: Path, folder: Path) -> None:
        self.state, self.port = folder / "mortal", free_port()
        self._log = folder / "mortal.log"
        self._words = ["--config", str(config), "--port", str(self.port), "--state"]
        command = [sys.executable, "-m", "tests.system.router.dying"]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | SANDBOX_ENV,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, point: str, *, last: bool) -> None:
        words = [*self._words, str(self.state)]
        said = {"point": point, "passing": 3, "words": words, "log": str(self._log)}
        # What it holds is swept by those that look ahead, except of the last, which is in time.
        said |= {"grace": 1.0 if last else 60.0, "ahead": 0.0}
        if "lapse" in point:
            said |= {"passing": 1, "ahead": 90.0}
        self.process.stdin.write(json.dumps(said) + "\n")
        self.process.stdin.flush()

    def ended(self) -> int:
        """How it ended; -1 when it lives on."""
        ready, _, _ = select([self.process.stdout], [], [], 40.0)
        return int(self.process.stdout.readline()) if ready else -1


@pytest.fixture
def three(store: str, tmp_path: Path) -> Iterator[tuple[Sandbox, list[Router], Mortal]]:
    """Two routers that live, and the place of one that dies."""
    with ExitStack() as stack:
        box = stack.enter_context(sandbox(tmp_path))
        config = settings(box, store, 1.0)
        living = [
            stack.enter_context(router(_made(tmp_path / name), config, **SANDBOX_ENV))
            for name in ("a", "b")
        ]
        mortal = Mortal(living[0].config, tmp_path)
        assert mortal.process.stdout.readline() == "ready\n"
        try:
            yield box, living, mortal
        finally:
            mortal.process.kill()
            mortal.process.communicate()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def chat(port: int, *, stream: bool) -> int:
    """The status of a call that was answered to its last byte; else raises."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        body = {"model": "chat", "messages": CHAT, "max_tokens": 20, "stream": stream}
        kind = {"content-type": "application/json"}
        link.request("POST", "/v1/chat/completions", json.dumps(body), kind)
        answer = link.getresponse()
        answer.read()
        return answer.status
    finally:
        link.close()


def until_it_dies(mortal: Mortal, dead: list[int]) -> None:
    """One caller: whole answers and streams in turn."""
    stream = False
    while not dead:
        stream = not stream
        with suppress(OSError, http.client.HTTPException):
            chat(mortal.port, stream=stream)
        time.sleep(0.02)


def test_kill_9_of_a_router_at_every_point(three, store):
    """The others serve on; after the sweep nothing is held, and books, bill and limit agree."""
    box, living, mortal = three
    with ThreadPoolExecutor(CALLERS) as pool:
        for number, point in enumerate(POINTS, 1):
            dead: list[int] = []
            mortal.start(point, last=number == len(POINTS))
            # The sweep has enough to do.
            count = 0 if "lapse" in point else CALLERS
            calling = [pool.submit(until_it_dies, mortal, dead) for _ in range(count)]
            try:
                dead.append(mortal.ended())
            finally:
                dead.append(0)
            assert dead[0] == -signal.SIGKILL, (point, mortal._log.read_text()[-2000:])
            for replica in living:
                assert chat(replica.port, stream=False) == 200, point
            [caller.result() for caller in calling]
    until(lambda: not held(store), 30, "nothing is held for ever")
    audited(store)
    assert box.bill()["total_pico_usd"] <= posted(store)
    spend_the_rest(box, living, store)
    folders = [mortal.state, *(_state(replica) for replica in living)]
    kept = {record.call_id for folder in folders for record in records(folder)}
    settled = {row.call for row in attempts(store, "S") if row.cost}
    assert settled
    assert settled <= kept, "a settled call is not in the journal"
    reconciled(box, store, living[0].config)


def spend_the_rest(box: Sandbox, living: list[Router], store: str) -> None:
    """With the limit just above what is spent, both replicas run into it, and never over it."""
    limit = posted(store) + PICO // 1000
    for replica in living:
        replica.write(settings(box, store, limit / PICO))
        replica.program.send(signal.SIGHUP)

    def spend(n: int) -> set[int]:
        seen: set[int] = set()
        while 402 not in seen:
            seen.add(chat(living[n % 2].port, stream=n % 4 > 1))
        return seen

    with ThreadPoolExecutor(CALLERS) as pool:
        assert set.union(*pool.map(spend, range(CALLERS))) <= {200, 402}
    until(lambda: not held(store), 10, "nothing is held")
    assert box.bill()["total_pico_usd"] <= posted(store) <= limit


def _state(replica: Router) -> Path:
    return replica.config.parent / f"router-{replica.port}"


def attempts(store: str, states: str) -> list[books.AttemptRow]:
    return books.attempts(engine(address(store)), tuple(states), most=100_000)


def _budget(store: str) -> books.BudgetRow:
    [row] = books.budgets(engine(address(store)), time.time())
    return row


def held(store: str) -> int:
    return _budget(store).held


def posted(store: str) -> int:
    return _budget(store).posted


def audited(store: str) -> None:
    assert not books.audit(engine(address(store)))
