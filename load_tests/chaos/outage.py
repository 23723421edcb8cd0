"""Nobody can serve any more: kept answers are given again past their time, all else is refused.

asked      every question once: the answers are kept (`KEPT` seconds, `STALE` more in an outage)
outage     all three dependencies refuse; past `KEPT`, each is asked again: right, and marked as
           stale. Calls of a route that keeps nothing are refused, quickly and clearly
back       until a backend answers again
"""

import asyncio
import time

from load_tests.chaos import checks
from load_tests.chaos.cell import Pace, Result
from load_tests.chaos.checks import Check
from load_tests.chaos.client import Got, call
from load_tests.chaos.kinds import KEPT as KIND
from load_tests.chaos.kinds import QUESTIONS, WHOLE
from load_tests.chaos.load import Right, said
from load_tests.chaos.place import Place
from load_tests.chaos.proxy import Spoil
from load_tests.chaos.settings import KEPT

QUICK = 0.5
"""Seconds for a refusal, on a busy machine."""


async def run(place: Place, right: Right, pace: Pace) -> Result:
    """Run it, and heal whatever happens."""
    fresh = [await _asked(place, number) for number in range(QUESTIONS)]
    kept = sum(_right(got, right, at) for at, got in enumerate(fresh))
    for proxy in place.proxies.values():
        await proxy.spoil(Spoil("refuse"))
    try:
        await asyncio.sleep(KEPT + 0.1)
        old = [await _asked(place, number) for number in range(QUESTIONS)]
        asked = WHOLE.ask(0, place.deadline, {})
        refusal = await call(place.port, asked, f"outage-{time.time():.3f}", place.deadline + 4)
    finally:
        for proxy in place.proxies.values():
            await proxy.heal()
    stale = [got for at, got in enumerate(old) if _right(got, right, at) and _state(got) == "stale"]
    back = await _back(place, right, pace.back)
    refused = WHOLE.outcome(refusal, right[said(WHOLE, 0)]) == "refused"
    return Result(
        fault="all refuse, answers are kept",
        target="all",
        rate="idle",
        calls=2 * QUESTIONS + 1,
        extra=0,
        owed=QUESTIONS,
        right=len(stale),
        refused=0,
        broken=0,
        back=back,
        checks=[
            Check(
                "kept answers are given in an outage, marked as stale",
                kept == len(stale) == QUESTIONS,
                f"{len(stale)} of {QUESTIONS}, asked {kept}",
            ),
            Check(
                f"others are refused clearly within {QUICK:g} s",
                refused and refusal.seconds <= QUICK,
                f"{refusal.status} after {refusal.seconds:.2f} s",
            ),
            checks.recovered(back, pace.back),
        ],
    )


async def _asked(place: Place, number: int) -> Got:
    asked = KIND.ask(number, place.deadline, {})
    return await call(place.port, asked, f"kept-{number}-{time.time():.3f}", place.deadline + 4)


def _right(got: Got, right: Right, number: int) -> bool:
    return KIND.outcome(got, right[said(KIND, number)]) == "right"


def _state(got: Got) -> str:
    return got.header("x-isocost-cache")


async def _back(place: Place, right: Right, most: float) -> float | str:
    """Seconds until a backend is asked again and answers rightly."""
    healed, got = time.monotonic(), Got()
    while time.monotonic() < healed + most:
        got = await _asked(place, 0)
        if _right(got, right, 0) and _state(got) == "miss":
            return time.monotonic() - healed
        await asyncio.sleep(0.2)
    return f"{got.status} {_state(got)}"
