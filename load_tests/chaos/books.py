"""What the vendors billed beside what the router booked, and the comparison that must hold.

bill <= posted + held <= limit          always
settled <= bill <= settled + bounds     settled: posted without the bounds of captured attempts
posted = bill                           once `isocost reconcile` has read the bill
"""

import os
import subprocess
import sys
import time
from decimal import Decimal

from msgspec import Struct

from load_tests.chaos.place import Place
from load_tests.chaos.programs import ROOT, ask
from load_tests.chaos.settings import ADMIN, ENV

PICO = 10**12
QUIET = 8.0
"""Seconds in which calls that were left are settled on both sides."""


class Books(Struct, frozen=True):
    """Pico-dollars; `unknown` attempts are captured at `bounds`."""

    bill: int
    posted: int
    held: int
    limit: int
    unknown: int
    bounds: int

    @property
    def settled(self) -> int:
        return self.posted - self.bounds


def read(place: Place) -> Books:
    """Both sides as they stand."""
    bill = ask(f"http://127.0.0.1:{place.vendors.port}/sandbox/bill")["total_pico_usd"]
    budget = ask(f"{place.admin}/budgets", key=ADMIN["CHAOS_ADMIN_KEY"])[0]
    address = f"{place.admin}/reservations?state=captured&most=1000"
    captured = ask(address, key=ADMIN["CHAOS_ADMIN_KEY"])
    return Books(
        bill=bill,
        posted=_pico(budget["posted_usd"]),
        held=_pico(budget["held_usd"]),
        limit=_pico(budget["limit_usd"]),
        unknown=len(captured),
        bounds=sum(_pico(one["bound_usd"]) for one in captured),
    )


def settled(place: Place, *, held: bool = False) -> Books:
    """Both sides once they have come to rest; *held*: what a killed router held may still be."""
    end, last = time.monotonic() + QUIET, None
    while time.monotonic() < end:
        now = read(place)
        if now == last and (held or not now.held):
            return now
        last = now
        time.sleep(0.25)
    return read(place)


def reconcile(place: Place, *more: str) -> Books:
    """Have the router's command read the vendors' bill; what stands in the books then.

    *more*: words for that command.
    """
    command = [sys.executable, "-m", "router", "reconcile"]
    command += [f"http://127.0.0.1:{place.vendors.port}/sandbox/bill", "--vendor", "sandbox"]
    command += ["--config", str(place.config), "--state", str(place.state), "--json", *more]
    done = subprocess.run(  # noqa: S603 - our own program
        command, cwd=ROOT, env=os.environ | ENV, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"isocost reconcile: {done.stdout}{done.stderr}")
    return read(place)


def _pico(usd: str) -> int:
    return int(Decimal(usd) * PICO)
