"""What was saved against the baselines, in sums: the same for the command line and the admin API.

Of every call that was answered and says what it used, the journal holds what the route's baseline
would have cost for the same units. Of other calls (no answer, no usage, no baseline) no saving is
claimed: they are shown apart, and what those cost that have a baseline is taken off the sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, get_args
from zoneinfo import ZoneInfo

import msgspec

from router.journal.record import Record

By = Literal["day", "route", "key", "team", "task", "backend"]
BY: tuple[By, ...] = get_args(By)
"""What savings are shown by; `backend` is the one that answered."""


class Saving(msgspec.Struct):
    """A day of one route against one baseline. Money in pico-dollars."""

    calls: int = 0
    cost: int = 0
    baseline: int = 0
    unstated: int = 0
    """Calls of which nothing can be stated."""
    unstated_cost: int = 0
    lost: int = 0
    """Of `unstated_cost`, what was paid on routes that have a baseline, and brought no answer."""

    @property
    def spent(self) -> int:
        """What stands against the baseline."""
        return self.cost + self.lost

    @property
    def saved(self) -> int:
        return self.baseline - self.spent

    @property
    def share(self) -> float | None:
        """Of the baseline's cost; None where it would have cost nothing."""
        return self.saved / self.baseline if self.baseline else None


Days = dict[tuple[str, str, str], Saving]
"""(day, route or what else, baseline) -> what was saved."""


def summed(found: Iterable[Record], zone: ZoneInfo, by: By = "route") -> Days:
    """Savings by day, *by* and baseline."""
    days: Days = {}
    for record in found:
        day = datetime.fromtimestamp(record.created, zone).date().isoformat()
        name = "" if by == "day" else getattr(record, by) or ""
        place = day, name, record.baseline
        saving = days.setdefault(place, Saving())
        if record.saved is None:
            saving.unstated += 1
            saving.unstated_cost += record.cost
            saving.lost += record.cost if record.baseline else 0
        else:
            saving.calls += 1
            saving.cost += record.cost
            saving.baseline += record.cost + record.saved
    return dict(sorted(days.items()))


def total(savings: Iterable[Saving]) -> Saving:
    whole = Saving()
    for saving in savings:
        for name in whole.__struct_fields__:
            setattr(whole, name, getattr(whole, name) + getattr(saving, name))
    return whole
