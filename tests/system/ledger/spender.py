"""A replica that spends: `python -m tests.system.ledger.spender <JSON>`; prints what it saw as JSON.

The vendor is a file to which each call that was sent appends a line with its cost: what the vendor
bills, whatever happens to the caller. `die` is a point at whose *n*-th passing the process kills
itself, as kill -9 does.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from typing import Any

import msgspec

from router.ledger.budget import Budget, Scope
from router.ledger.ledger import Ledger
from router.ledger.record import Ask, OverBudget, StoreDown
from router.ledger.writer import Timing

GLOBAL, TEAM = Scope("global"), Scope("team", "a")


class Settings(msgspec.Struct):
    store: str
    bill: str
    limit: int
    seconds: float = 60.0
    attempts: int = 10**9
    in_flight: int = 16
    timeout: float = 1.0
    die: str = ""
    passing: int = 1
    stay: bool = False
    """Go on after the budget is used up."""
    pace: float = 0.0
    """Seconds that a call takes."""
    purses: int = 0
    """Attempts until the next small budget is used: replicas that go along race for each of them."""


class Spender:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bill = os.open(settings.bill, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.left, self.passed = settings.attempts, 0
        self.seen: dict[str, Any] = {"granted": 0, "refused": 0, "down": 0, "longest": 0.0}
        self.seen |= {"recovered": 0, "lost": 0}
        self.ends = time.monotonic() + settings.seconds
        self.full = False

    def at(self, point: str) -> None:
        if point == self.settings.die:
            self.passed += 1
            if self.passed == self.settings.passing:
                os.kill(os.getpid(), signal.SIGKILL)

    async def run(self) -> None:
        limit = self.settings.limit
        self.ledger = await Ledger.open(
            self.settings.store,
            [
                Budget(GLOBAL, "total", limit),
                Budget(TEAM, "24h", limit),
                Budget(Scope("key", "*"), "total", 2500),
                Budget(Scope("route", "*"), "24h", 2500),
            ],
            timeout=self.settings.timeout,
            timing=Timing(poll=0.2, sweep=0.2),
            probe=self.at,
        )
        _say("ready")
        await asyncio.gather(*[self.spend() for _ in range(self.settings.in_flight)])
        await self.ledger.close(grace=20.0)
        _say(json.dumps(self.seen))

    async def spend(self) -> None:
        while self.left > 0 and time.monotonic() < self.ends:
            if self.full and not self.settings.stay:
                return
            self.left -= 1
            started = time.monotonic()
            try:
                await self.attempt(self.left)
            except OverBudget as exc:
                self.seen["refused"] += 1
                # What is held may come back; then there is room again.
                self.full = self.full or (exc.scope is GLOBAL and exc.used + 20 > exc.limit)
                await asyncio.sleep(0.002)
            except StoreDown:
                self.seen["down"] += 1
                await asyncio.sleep(0.01)
            finally:
                self.seen["longest"] = max(self.seen["longest"], time.monotonic() - started)

    async def attempt(self, n: int) -> None:
        bound = random.randint(20, 1000)
        now, at_once = time.time(), random.random() < 0.5
        scopes = [GLOBAL, TEAM]
        if purses := self.settings.purses:
            name = str((self.settings.attempts - n) // purses)
            scopes += [Scope("key", name), Scope("route", name)]
        ask = Ask(f"{os.getpid()}-{n}", "c", 1, "x", bound, now + 2, now + 4, tuple(scopes))
        self.at("before reserve")
        hold = await self.ledger.reserve(ask, dispatched=at_once)
        self.at("after reserve")
        if not at_once and not await self.ledger.dispatch(hold):
            self.seen["lost"] += 1
            return
        self.seen["granted"] += 1
        self.seen["recovered"] += self.seen["down"] > 0
        self.at("before send")
        ending = random.random()
        if ending < 0.1:  # could not connect
            self.ledger.release(hold, unsent=True)
            return
        cost = bound if self.settings.purses else random.randint(0, bound)
        os.write(self.bill, f"{ask.id} {cost}\n".encode())
        self.at("after send")
        if self.settings.pace:
            await asyncio.sleep(self.settings.pace)
        if ending < 0.2:  # the answer was lost
            self.ledger.capture(hold)
        elif ending < 0.3:  # a careless caller
            self.ledger.release(hold)
            self.ledger.settle(hold, cost)
        else:
            self.ledger.settle(hold, cost)
            self.ledger.settle(hold, cost)
        self.at("after settle")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(Spender(msgspec.json.decode(sys.argv[1], type=Settings)).run())
