"""Several processes on one store: never over the limit, nothing held for ever, also after kill -9."""

from __future__ import annotations

import signal

import pytest

from .conftest import Books

pytestmark = [pytest.mark.system]
POINTS = [
    ("before reserve", 40),
    ("before commit", 2),
    ("before commit", 25),
    ("after commit", 2),
    ("after commit", 25),
    ("after reserve", 20),
    ("before send", 20),
    ("after send", 20),
    ("after settle", 20),
    ("before sweep", 2),
]


async def test_many_processes_spend_one_budget_to_its_end(kept: Books):
    """What they were granted fills the limit, and never goes beyond."""
    replicas = [kept.start(in_flight=32) for _ in range(3)]
    seen = [kept.seen(replica) for replica in replicas]
    assert all(s["granted"] for s in seen)
    assert all(s["refused"] for s in seen)
    held, posted = kept.posted()
    assert posted + held > 0.97 * kept.limit
    await kept.balance()


async def test_many_processes_race_for_hundreds_of_small_budgets(kept: Books):
    """Each has room for a handful of attempts, and costs what it was held for."""
    kept.limit = 10**9
    replicas = [kept.start(attempts=1600, purses=8, in_flight=32) for _ in range(3)]
    seen = [kept.seen(replica) for replica in replicas]
    assert all(s["granted"] and s["refused"] for s in seen)
    await kept.balance()


async def test_kill_9_at_every_point(kept: Books):
    """Two replicas go on spending while one after the other is killed."""
    kept.limit = 40_000_000
    others = [kept.start(in_flight=2, pace=0.02, seconds=90.0) for _ in range(2)]
    for point, passing in POINTS:
        dying = kept.start(in_flight=8, die=point, passing=passing)
        dying.wait(60)
        assert dying.returncode == -signal.SIGKILL, point
    for other in others:
        other.kill()
        other.wait()
    await kept.balance()
