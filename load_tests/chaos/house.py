"""Faults of the house itself: the router, its disk, its clock, its store of money.

kill -9     of one of two workers of the router; the other serves, the first is started again
disk full   no file of the router can grow (RLIMIT_FSIZE, which needs no rights): the journal
            and the SQLite ledger cannot be written
clock       the router's wall clock jumps, forwards or back; its monotonic clock does not
budget      the limit is reached under load
store       PostgreSQL is killed, or answers nothing; paid calls are refused meanwhile
"""

import os
import resource
import signal

from load_tests.chaos import books
from load_tests.chaos.checks import Check
from load_tests.chaos.faults import Fault, Rescued, Target, reloaded
from load_tests.chaos.place import Place, aside
from load_tests.chaos.postgres import Postgres
from load_tests.chaos.programs import children
from load_tests.chaos.proxy import Proxy, Spoil

HOUR = 3600.0
LEFT_USD = 0.01
"""What the lowered budget leaves: a few seconds of calls."""


def worker_killed(target: Target) -> Fault:
    """The kernel kills one worker of the router."""

    async def strike(place: Place) -> None:
        place.killed = True
        os.kill(children(place.router.pid)[0], signal.SIGKILL)

    async def heal(place: Place) -> None:
        await aside(place.wait, lambda: len(children(place.router.pid)) == place.setup.workers)

    name = "kill -9 of a router's worker"
    return Fault(name, target, strike, heal, trips=False, kills=True, dead=True)


def disk_full(target: Target) -> Fault:
    """Nothing more can be written: own calls are served, paid ones refused."""
    old: dict[int, tuple[int, int]] = {}

    async def strike(place: Place) -> None:
        pid = place.router.pid
        old[pid] = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, old[pid][1]))

    async def heal(place: Place) -> None:
        pid = place.router.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, old.pop(pid))

    owed = _owed(target)
    return Fault("disk full", target, strike, heal, rescued=owed, trips=False, unwritten=True)


def clock_jump(hours: float) -> Fault:
    """The wall clock jumps, and later back."""

    async def strike(place: Place) -> None:
        place.turn_clock(hours * HOUR)

    async def heal(place: Place) -> None:
        place.turn_clock(0.0)

    return Fault(f"clock jumps {hours:+g} h", "a", strike, heal, trips=False)


def store_killed(store: Postgres, target: Target) -> Fault:
    """PostgreSQL is killed, and started again."""

    async def strike(place: Place) -> None:
        await aside(store.kill)

    async def heal(place: Place) -> None:
        await aside(store.start)

    owed, name = _owed(target), "kill -9 of PostgreSQL"
    return Fault(name, target, strike, heal, rescued=owed, trips=False, dead=owed == "all")


def store_hangs(proxy: Proxy, target: Target) -> Fault:
    """PostgreSQL answers nothing, and does not close either."""

    async def strike(place: Place) -> None:
        await proxy.spoil(Spoil("hang"))

    async def heal(place: Place) -> None:
        await proxy.heal()

    owed = _owed(target)
    return Fault("PostgreSQL hangs", target, strike, heal, rescued=owed, trips=False)


def budget_used_up() -> Fault:
    """The limit is lowered to a little above what is spent; a vendor cuts streams meanwhile."""
    limit = [0.0]

    async def strike(place: Place) -> None:
        now = await aside(books.read, place)
        limit[0] = (now.posted + now.held) / books.PICO + LEFT_USD
        await aside(place.vendors.faults, {"fault": "cut", "after_events": 5, "probability": 0.2})
        config = place.settings()
        config["budgets"][0]["usd"] = limit[0]
        await reloaded(place, config)

    async def heal(place: Place) -> None:
        await aside(place.vendors.heal)
        await reloaded(place, place.settings())

    async def watch(place: Place) -> list[Check]:
        now = await aside(books.read, place)
        most = round(limit[0] * books.PICO)
        return [
            Check(
                "bill <= limit, with the budget used up",
                now.bill <= most,
                f"{now.bill / most:.2%} of the limit is billed, "
                f"{(now.posted + now.held) / most:.2%} is booked",
            )
        ]

    return Fault("budget used up", "a", strike, heal, rescued="none", trips=False, watch=watch)


def _owed(target: Target) -> Rescued:
    """Own calls cost nothing, so they need no books."""
    return "all" if target == "own" else "none"
