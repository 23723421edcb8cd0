"""Windows: calendars without gaps, rolling ones that count long enough, budgets by scope."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ledger.budget import Budget, Budgets, Scope, calendar, place, span, zone

ZONES = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Beirut", "Australia/Lord_Howe"]
ZONES += ["America/Havana", "Pacific/Apia", "Asia/Kolkata"]
MOMENTS = st.floats(946_684_800, 2_208_988_800) | st.integers(0, 1_300).map(
    lambda week: 1_000_000_000.0 + week * 604_800
)
A, B = Scope("team", "a"), Scope("team", "b")


@given(st.sampled_from(["day", "week", "month"]), st.sampled_from(ZONES), MOMENTS)
def test_calendar_windows_follow_each_other(window: str, name: str, now: float):
    where = zone(name)
    start, end = calendar(window, where, now)
    assert start <= now < end
    assert calendar(window, where, start) == (start, end)
    assert calendar(window, where, end - 1) == (start, end)
    assert calendar(window, where, end)[0] == end
    assert calendar(window, where, start - 1)[1] == start


@given(st.sampled_from(ZONES), MOMENTS)
def test_calendar_windows_are_those_of_the_zone(name: str, now: float):
    where = zone(name)
    here = datetime.fromtimestamp(now, where)
    first = datetime.fromtimestamp(calendar("month", where, now)[0], where)
    assert (first.year, first.month, first.day) == (here.year, here.month, 1)
    monday = datetime.fromtimestamp(calendar("week", where, now)[0], where)
    assert monday.isocalendar()[:2] == here.isocalendar()[:2]


def test_days_around_a_change_of_clocks():
    """The day on which Berlin's clocks go forward has 23 hours, that of going back 25."""
    for month, day, hours in ((3, 29, 23), (10, 25, 25)):
        noon = datetime(2026, month, day, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
        start, end = calendar("day", zone("Europe/Berlin"), noon)
        assert end - start == hours * 3600


@given(
    st.sampled_from(["1m", "7m", "30m", "24h", "7d"]),
    MOMENTS,
    st.floats(0, 1) | st.sampled_from([0.0, 1.0]),
)
def test_a_rolling_window_counts_long_enough_and_not_much_longer(
    window: str, now: float, share: float
):
    """What was spent at *now* counts for the whole window, and not after another 20th of it."""
    budget, length = Budget(A, window, 1), span(window)
    spent = place(budget, A, now)
    within = place(budget, A, now + length * share * 0.999999)
    assert spent.key == within.key or spent.start > within.since
    after = place(budget, A, now + length + length // 20)
    assert spent.start <= after.since
    assert place(budget, A, spent.ends).since >= spent.start
    assert place(budget, A, spent.ends - 1).since < spent.start


@given(st.sampled_from(["day", "month", "total", "24h"]), MOMENTS, st.floats(0, 4_000_000))
def test_places_are_remembered_only_as_long_as_they_last(window: str, now: float, later: float):
    """The memory says what a fresh look says."""
    budget = Budget(A, window, 5, zone="Europe/Berlin")
    budgets = Budgets([budget])
    budgets.places([A], now)
    for moment in (now + later, now, now - later):
        found = budgets.places([A], moment)
        assert [p.key for p in found] == [
            place(Budget(A, window, 5, zone="Europe/Berlin"), A, moment).key
        ]


def test_a_star_is_a_budget_of_each_and_a_name_takes_its_place():
    each, own = Budget(Scope("team", "*"), "day", 5), Budget(A, "day", 9)
    budgets = Budgets([each, own, Budget(A, "month", 50)])
    assert [(p.budget.limit, p.scope) for p in budgets.places([B], 0.0)] == [(5, B)]
    assert sorted(p.budget.limit for p in budgets.places([A], 0.0)) == [9, 50]
    assert budgets.concern([A, B, Scope("key", "k"), Scope("global")]) == (A, B)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"window": "fortnight"}, "24h"),
        ({"window": "0h"}, "24h"),
        ({"limit": -1}, "0 to 9000000 USD"),
        ({"limit": 10**19}, "0 to 9000000 USD"),
        ({"zone": "Mars/Olympus"}, "Europe/Berlin"),
        ({"zone": "../etc/passwd"}, "Europe/Berlin"),
        ({"alerts": (1.5,)}, "shares"),
    ],
)
def test_a_wrong_budget_says_what_to_write(wrong: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says):
        Budget(**({"scope": A, "window": "day", "limit": 1} | wrong))


def test_two_budgets_of_one_window_are_refused():
    with pytest.raises(ValueError, match="two budgets"):
        Budgets([Budget(A, "day", 1), Budget(A, "day", 2)])
    Budgets([Budget(A, "day", 1), Budget(A, "day", 2, zone="Asia/Kolkata")])
