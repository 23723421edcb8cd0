"""Whatever is odd about a bill, reconciling leaves the books above it, or at it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from router.bills.match import compare
from router.bills.statement import Charge, Statement
from tests.unit.router.test_bills import DAY, END, START, after, an_entry, its_rows, rush, unpriced


def charged(found) -> int:
    return sum(cost or 0 for _, cost, *_ in found)


def books(found, statement: Statement, *, share: bool = False) -> int:
    """What is booked for the attempts of *found* once they are reconciled, and what is told to be
    missing because a price differs: settled attempts stay as they are."""
    result = compare(statement, [e for e, *_ in found], unpriced, share=share)
    assert sum(d.billed for d in result.drifts) == sum(c.cost or 0 for c in statement.charges)
    told = sum(d.drift for d in result.drifts if d.cause == "price")
    return after([f[:2] for f in found], result) + max(0, told)


def plus(statement: Statement, rows) -> Statement:
    more = [Charge(start=at, end=at, model="m-one", cost=cost) for at, cost in rows]
    return Statement(
        vendors=("openai",),
        charges=[*statement.charges, *more],
        since=statement.since,
        until=statement.until,
        by_call=True,
        step=0,
    )


@settings(max_examples=150, deadline=None)
@given(rush(), st.integers(1000, 1400))
def test_a_bill_that_ends_early(found, last):
    """Rows of calls that were going on at its end, and are not on it yet, are not others'."""
    whole = its_rows(found)
    rows = [c for c in whole.charges if c.start < START + last]
    statement = Statement(
        vendors=("openai",), charges=rows, since=START, until=START + last, by_call=True, step=0
    )
    assert books(found, statement) >= charged(found)


@settings(max_examples=150, deadline=None)
@given(rush(), st.sets(st.integers(0, 29)))
def test_settled_calls_that_were_not_charged(found, free):
    """A row of an unknown attempt is not taken by a settled one that cost something else."""
    really = [
        (e, None if n in free and e.state == "settled" else cost, row)
        for n, (e, cost, row) in enumerate(found)
    ]
    assert books(really, its_rows(really)) >= charged(really)


strangers = st.lists(st.tuples(st.integers(900, 1500), st.integers(1, 2)), max_size=5)


@settings(max_examples=150, deadline=None)
@given(rush(), strangers)
def test_others_who_use_the_key(found, others):
    """Of rows that an attempt may be of, it takes the dearest, and none is found uncharged."""
    statement = plus(its_rows(found), [(START + at, cost) for at, cost in others])
    assert books(found, statement) >= charged(found)


@settings(max_examples=150, deadline=None)
@given(rush(), st.integers(-7200, 7200))
def test_a_vendor_whose_clock_differs(found, off):
    """By seconds or hours: what no attempt can be of may still be of one."""
    moved = [(e, cost, row + off) for e, cost, row in found]
    assert books(moved, its_rows(moved, START - DAY)) >= charged(moved)


@st.composite
def midnights(draw):
    """Calls around the ends of days, with the moment at which each was billed."""
    found = []
    for n in range(draw(st.integers(1, 8))):
        state = draw(st.sampled_from(["settled", "unknown"]))
        at = START + draw(st.integers(0, 2)) * DAY + draw(st.integers(-90, 90))
        entry = an_entry(n, state, 9, draw(st.integers(1, 9)), max(at, START))
        cost = entry.cost if state == "settled" else draw(st.sampled_from([3, 9, None]))
        found.append((entry, cost, entry.made + draw(st.integers(0, 60))))
    return found


def its_days(found, models=("m-one",), *, empty: bool = True) -> Statement:
    charges = []
    for day in range(3):
        start = START + day * DAY
        for model in models:
            costs = [
                c or 0
                for e, c, at, *of in found
                if start <= at < start + DAY and (of or [model]) == [model]
            ]
            if empty or any(costs):
                charges.append(Charge(start=start, end=start + DAY, model=model, cost=sum(costs)))
    return Statement(vendors=("openai",), charges=charges, since=START, until=END, step=0)


@settings(max_examples=150, deadline=None)
@given(midnights(), st.booleans(), st.booleans())
def test_days_that_count_calls_when_they_ended(found, share, empty):
    """A call that was going on at midnight is on the sum of either day, or of a day that has none."""
    assert books(found, its_days(found, empty=empty), share=share) >= charged(found)


@settings(max_examples=150, deadline=None)
@given(midnights(), st.data(), st.booleans())
def test_days_on_which_an_alias_stood_for_two_models(found, data, share):
    """Sums of both are one sum: which of them an attempt is in is not known."""
    names = ("m-one-2026-01-01", "m-one-2026-06-01")
    dated = [(*f, data.draw(st.sampled_from(names))) for f in found]
    assert books(dated, its_days(dated, names), share=share) >= charged(dated)
