"""The two stores, and replicas that spend from them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from router.ledger import books
from router.ledger.database import address, engine, upgrade
from router.ledger.ledger import Ledger
from router.ledger.record import Bill
from tests.system.router.harness import ROOT

from .postgres import Postgres, postgres


@dataclass
class Books:
    """A store, the vendor's bill, and the replicas of one test."""

    store: str
    bill: Path
    limit: int
    replicas: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, **settings: Any) -> subprocess.Popen[str]:
        given = {"store": self.store, "bill": str(self.bill), "limit": self.limit} | settings
        command = [sys.executable, "-m", "tests.system.ledger.spender", json.dumps(given)]
        replica = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.replicas.append(replica)
        return replica

    def ready(self, replica: subprocess.Popen[str]) -> None:
        assert replica.stdout is not None
        assert replica.stdout.readline() == "ready\n"

    def seen(self, replica: subprocess.Popen[str]) -> dict[str, Any]:
        """What a replica that ended well saw."""
        out, _ = replica.communicate(timeout=120)
        assert replica.returncode == 0
        return json.loads(out.splitlines()[-1])  # type: ignore[no-any-return]

    def billed(self) -> dict[str, int]:
        lines = self.bill.read_text().splitlines() if self.bill.exists() else []
        return {id_: int(cost) for id_, cost in (line.split() for line in lines)}

    def posted(self) -> tuple[int, int]:
        """Held and posted in the global budget."""
        rows = books.budgets(engine(address(self.store)), time.time())
        [row] = [r for r in rows if r.kind == "global"]
        return row.held, row.posted

    async def balance(self) -> None:
        """After a sweep and the vendor's bill nothing is held, and the books are the bill."""
        url = address(self.store)
        bill = self.billed()
        held, posted = self.posted()
        assert sum(bill.values()) <= posted + held <= self.limit
        for row in books.budgets(engine(url), time.time()):
            assert row.held + row.posted <= row.limit, row
        assert not books.audit(engine(url))
        ledger = await Ledger.open(self.store)
        try:
            await ledger.sweep(time.time() + 1000)
            held, posted = self.posted()
            assert held == 0, "held for ever"
            assert sum(bill.values()) <= posted <= self.limit
            captured = books.attempts(engine(url), ["C"], most=10**6)
            # Of what was not billed, the vendor's record shows that there was no call.
            await ledger.reconcile([Bill(c.id, bill.get(c.id)) for c in captured])
        finally:
            await ledger.close()
        assert self.posted() == (0, sum(bill.values()))
        assert not books.audit(engine(url))


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Books]:
    """An empty store of each kind, with the vendor's bill beside it."""
    if request.param == "sqlite":
        store = str(tmp_path / "ledger.db")
    else:
        server: Postgres = request.getfixturevalue("server")
        store = server.create(f"t{abs(hash(str(tmp_path)))}")
    upgrade(address(store))
    made = Books(store, tmp_path / "bill", 400_000)
    yield made
    for replica in made.replicas:
        if replica.poll() is None:
            replica.kill()
        replica.wait()
        if replica.stdout is not None:
            replica.stdout.close()
