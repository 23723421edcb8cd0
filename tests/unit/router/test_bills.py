"""Bills beside books: sums that are right, and exports that are read or refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.bills import deepl, elevenlabs, google, openai, sandbox
from router.bills.books import Entry, from_journal, same_model, spread
from router.bills.match import compare
from router.bills.statement import Charge, Statement, Unreadable

DAY = 86400.0
START = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
END = START + 3 * DAY
MODELS = ("m-one", "m-two")


def unpriced(charge: Charge) -> int:
    raise AssertionError("every row has its cost")


def an_entry(
    n: int, state: str, bound: int, cost: int, at: float, *, model: str = "m-one"
) -> Entry:
    booked = cost if state == "settled" else bound
    return Entry(f"r{n}", f"c{n}", "openai", model, "b", state, bound, booked, at, at + 60)  # type: ignore[arg-type]


@st.composite
def calls(draw):
    """Calls as they really were: (entry, what the vendor charged, None for nothing)."""
    found = []
    for n in range(draw(st.integers(0, 25))):
        state = draw(st.sampled_from(["settled", "settled", "unknown"]))
        bound = draw(st.integers(1, 1000)) * 10**7
        cost = draw(st.integers(1, bound // 10**6)) * 10**6
        at = START + draw(st.integers(10, int(3 * DAY) - 200))
        entry = an_entry(n, state, bound, cost, at, model=draw(st.sampled_from(MODELS)))
        charged = cost if state == "settled" or draw(st.booleans()) else None
        found.append((entry, charged))
    return found


def by_call(found) -> Statement:
    charges = [
        Charge(start=e.made + 1, end=e.made + 1, model=e.model, cost=cost, calls=1)
        for e, cost in found
        if cost is not None
    ]
    return Statement(
        vendors=("openai",), charges=charges, since=START, until=END, by_call=True, step=0
    )


def by_day(found, step: int = 0) -> Statement:
    charges = []
    for day in range(3):
        for model in MODELS:
            start = START + day * DAY
            of_day = [
                cost or 0 for e, cost in found if e.model == model and start <= e.made < start + DAY
            ]
            charges.append(Charge(start=start, end=start + DAY, model=model, cost=sum(of_day)))
    return Statement(vendors=("openai",), charges=charges, since=START, until=END, step=step)


def after(found, result) -> int:
    """The books once the bills are applied."""
    told = {bill.id: bill.cost or 0 for bill in result.bills}
    return sum(told.get(e.id, e.cost) for e, _ in found)


@settings(max_examples=200, deadline=None)
@given(calls())
def test_once_reconciled_by_call_the_books_are_the_bill(found):
    """Each row of a call is taken once: the sums are equal, nothing is unknown any more."""
    statement = by_call(found)
    result = compare(statement, [e for e, _ in found], unpriced)
    assert after(found, result) == sum(c.cost or 0 for c in statement.charges)
    assert {b.id for b in result.bills} == {e.id for e, _ in found if e.state == "unknown"}
    assert {d.cause for d in result.drifts} <= {"agreed", "settled now", "never charged"}


@st.composite
def rush(draw):
    """Many calls in little time that cost one of two amounts. (entry, charged, moment of its row)"""
    found = []
    for n in range(draw(st.integers(1, 30))):
        state = draw(st.sampled_from(["settled", "settled", "unknown"]))
        at = START + 1000 + draw(st.integers(0, 300))
        entry = an_entry(n, state, 9, draw(st.integers(1, 2)), at)
        charged = entry.cost if state == "settled" else draw(st.sampled_from([1, 2, None]))
        found.append((entry, charged, at + draw(st.integers(0, 60))))
    return found


def its_rows(found, since: float = START) -> Statement:
    charges = [
        Charge(start=row, end=row, model=e.model, cost=cost)
        for e, cost, row in found
        if cost is not None and row >= since
    ]
    return Statement(
        vendors=("openai",), charges=charges, since=since, until=END, by_call=True, step=0
    )


@settings(max_examples=200, deadline=None)
@given(rush())
def test_calls_that_look_alike_are_not_mixed_up_in_sum(found):
    """However many calls of one cost there were at once, no row is left over: nothing is found
    uncharged that was charged, and the books are the bill."""
    statement = its_rows(found)
    result = compare(statement, [e for e, *_ in found], unpriced)
    causes = {d.cause for d in result.drifts}
    assert causes <= {"agreed", "settled now", "never charged"}
    assert after([f[:2] for f in found], result) == sum(c.cost or 0 for c in statement.charges)


@settings(max_examples=200, deadline=None)
@given(rush(), st.integers(1000, 1300))
def test_a_bill_that_begins_late_leaves_the_books_above_it(found, late):
    """Rows of attempts from before a bill's first moment are not taken for those of others."""
    result = compare(its_rows(found, START + late), [e for e, *_ in found], unpriced)
    charged = sum(cost or 0 for _, cost, _ in found)
    assert after([f[:2] for f in found], result) >= charged


@settings(max_examples=100, deadline=None)
@given(rush(), st.floats(-7200.0, 7200.0))
def test_a_clock_that_was_wrong_is_allowed_for(found, wrong):
    """Told by how much a router's clock was wrong at most, sums are exact all the same."""
    entries = [
        spread(msgspec.structs.replace(e, made=e.made + wrong, due=e.due + wrong), 7200.0)
        for e, *_ in found
    ]
    bill = msgspec.structs.replace(its_rows(found), since=0.0)
    result = compare(bill, entries, unpriced)
    assert after([f[:2] for f in found], result) == sum(c.cost or 0 for c in bill.charges)


def test_while_a_call_is_going_on_rows_of_its_time_settle_nothing():
    """A row may be that of the open attempt; an attempt that was over before is settled."""
    lost = an_entry(1, "unknown", 100, 0, START + 100)
    row = Charge(start=START + 101, end=START + 101, model="m-one", cost=40)
    statement = Statement(
        vendors=("openai",), charges=[row], since=START, until=END, by_call=True, step=0
    )
    for made, settled in ((START + 110, False), (START + 1000, True)):
        result = compare(statement, [lost, an_entry(2, "open", 100, 0, made)], unpriced)
        assert bool(result.bills) is settled


@settings(max_examples=200, deadline=None)
@given(calls(), st.booleans())
def test_what_days_tell_is_settled_and_no_more(found, share):
    """By sums no attempt is settled above its bound, and when all are the books are the bill."""
    statement = by_day(found)
    result = compare(statement, [e for e, _ in found], unpriced, share=share)
    bounds = {e.id: e.bound for e, _ in found}
    assert all((b.cost or 0) <= bounds[b.id] for b in result.bills)
    unknown = {e.id for e, _ in found if e.state == "unknown"}
    told = {b.id for b in result.bills}
    assert told <= unknown
    if share:
        assert told == unknown
    if told == unknown and "another day" not in {d.cause for d in result.drifts}:
        assert after(found, result) == sum(c.cost or 0 for c in statement.charges)
    # What is not told stays at its bound: the books are never below the bill.
    assert after(found, result) >= sum(c.cost or 0 for c in statement.charges)


@settings(max_examples=100, deadline=None)
@given(calls(), st.booleans(), st.booleans())
def test_the_drifts_add_up(found, daily, share):
    """Billed and booked of all causes are the whole bill and all of the books."""
    statement = by_day(found) if daily else by_call(found)
    result = compare(statement, [e for e, _ in found], unpriced, share=share)
    assert sum(d.billed for d in result.drifts) == sum(c.cost or 0 for c in statement.charges)
    assert sum(d.booked for d in result.drifts) == sum(e.cost for e, _ in found)


@pytest.mark.parametrize("make", [by_call, by_day])
def test_nothing_is_let_go_before_it_must_be_on_the_bill(make):
    """An attempt that could still be charged after the bill's end stays at its bound."""
    import msgspec

    found = [(an_entry(1, "unknown", 100, 0, END - 100), None)]
    statement = make(found)
    for until, settled in ((END, True), (END - 50, False)):
        covering = msgspec.structs.replace(statement, until=until)
        result = compare(covering, [found[0][0]], unpriced)
        assert bool(result.bills) is settled


def test_causes():
    """Another price, strangers on the bill, calls that are not on it, each by its name."""
    booked = [an_entry(n, "settled", 100, 50, START + 10 + 1000 * n) for n in range(3)]
    lines = [
        Charge(start=START + 11, end=START + 11, model="m-one-2026-01-31", cost=50),
        Charge(start=START + 1011, end=START + 1011, model="m-one", cost=60),
        Charge(start=START + DAY, end=START + DAY, model="m-one", cost=7),
    ]
    statement = Statement(vendors=("openai",), charges=lines, since=START, until=END, by_call=True)
    result = compare(statement, booked, unpriced)
    said = {d.cause: (d.calls, d.drift) for d in result.drifts}
    assert said == {
        "agreed": (1, 0),
        "price": (1, 10),
        "not on the bill": (1, -50),
        "not in the books": (1, 7),
    }


def test_rounding_is_told_from_drift():
    """A sum that is off by less than its rows are exact is rounding; more is unexplained."""
    entry = an_entry(1, "settled", 10**9, 10**9, START)
    for off, cause in ((10**6, "rounding"), (10**6 + 1, "unexplained"), (0, "agreed")):
        charge = Charge(start=START, end=START + DAY, cost=10**9 + off)
        statement = Statement(vendors=("openai",), charges=[charge], since=START, until=END)
        (drift,) = compare(statement, [entry], unpriced).drifts
        assert drift.cause == cause


def test_models_of_bills():
    """A bill's dated model is the alias that was booked; another model is not."""
    assert same_model("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert same_model("eleven_v3", "eleven_v3")
    assert same_model("x", "")
    assert not same_model("gpt-4o", "gpt-4o-mini-2024-07-18")
    assert not same_model("gpt-4o-mini", "gpt-4o")


# Exports.


def test_openai_csv():
    """Rows by day and line item; the model stands before the comma; columns may be renamed."""
    head = "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item"
    rows = [
        f'{START:.0f},{START + DAY:.0f},x,x,0.0123,usd,"gpt-4o-mini-2024-07-18, input"',
        f'{START:.0f},{START + DAY:.0f},x,x,1e-06,usd,"gpt-4o-mini-2024-07-18, output"',
    ]
    for renamed, columns in (
        (head, {}),
        (head.replace("amount_value", "Cost"), {"amount_value": "cost"}),
    ):
        found = openai.read("\n".join(["\ufeff" + renamed, *rows]).encode(), columns)
        assert [c.cost for c in found.charges] == [12_300_000_000, 1_000_000]
        assert {c.model for c in found.charges} == {"gpt-4o-mini-2024-07-18"}
        assert (found.since, found.until) == (START, START + DAY)


def test_openai_pages():
    """Pages of the Costs API, one or a list; one that says that there is more is refused."""
    result = {"amount": {"value": 0.06, "currency": "usd"}, "line_item": "gpt-4o, input"}
    bucket = {"start_time": int(START), "end_time": int(START + DAY), "results": [result]}
    page = {"object": "page", "data": [bucket], "has_more": False}
    for whole in (page, [page | {"has_more": True}, page]):
        charge = openai.read(json.dumps(whole).encode(), {}).charges[-1]
        assert (charge.model, charge.cost) == ("gpt-4o", 60_000_000_000)
    with pytest.raises(Unreadable, match="all pages"):
        openai.read(json.dumps(page | {"has_more": True}).encode(), {})
    result["amount"]["currency"] = "eur"
    with pytest.raises(Unreadable, match="only USD"):
        openai.read(json.dumps(page).encode(), {})


def test_elevenlabs():
    """The history is by call, the statistics by day and model; both count credits."""
    item = {
        "history_item_id": "h", "date_unix": int(START), "model_id": "eleven_v3",
        "character_count_change_from": 100, "character_count_change_to": 142,
    }  # fmt: skip
    found = elevenlabs.read(json.dumps({"history": [item], "has_more": False}).encode(), {})
    assert found.by_call
    assert found.charges[0].units == {"credits": 42}
    stats = {"time": [START * 1000, (START + DAY) * 1000], "usage": {"eleven_v3": [42, 0]}}
    found = elevenlabs.read(json.dumps(stats).encode(), {})
    assert [(c.model, c.units["credits"], c.end - c.start) for c in found.charges] == [
        ("eleven_v3", 42, DAY), ("eleven_v3", 0, DAY),
    ]  # fmt: skip
    lines = [",".join(item), ",".join(str(v) for v in item.values())]
    assert elevenlabs.read("\n".join(lines).encode(), {}).charges[0].units == {"credits": 42}


def test_deepl():
    """Characters by day, of the report by key and day or of a CSV."""
    day = {"usage_date": "2026-11-20T00:00:00Z", "usage": {"total_characters": 315}}
    report = {"usage_report": {"key_and_day_usages": [day]}}
    for data in (json.dumps(report), "Usage date,Total characters\n2026-11-20,315\n"):
        (charge,) = deepl.read(data.encode(), {}).charges
        assert (charge.start, charge.end) == (START, START + DAY)
        assert charge.units == {"characters": 315}
    with pytest.raises(Unreadable, match="group_by=key_and_day"):
        deepl.read(b'{"usage_report": {}}', {})


def test_google():
    """The cost table after its preamble, in Pacific days; rows of BigQuery in UTC; one service each."""
    table = (
        "Invoice number,123\nCurrency,USD\n\n"
        "Project name,Service description,SKU description,Usage start date,Usage end date,"
        "Usage amount,Usage unit,Unrounded Cost ($),Cost ($)\n"
        'p,Cloud Vision API,Label Detection Operations,2026-11-20,2026-11-20,"1,000",count,"1,001.5",1001.50\n'
        "p,Cloud Speech API,Speech Recognition,2026-11-20,2026-11-20,60,seconds,0.024,0.02\n"
    )
    found = google.reader("google_vision")(table.encode(), {})
    assert [c.cost for c in found.charges] == [1_001_500_000_000_000]
    assert found.charges[0].start == START + 8 * 3600
    row = {
        "service": {"description": "Cloud Speech-to-Text API"},
        "usage_start_time": "2026-11-20 00:00:00 UTC",
        "usage_end_time": "2026-11-20 01:00:00 UTC",
        "cost": 0.024,
        "currency": "USD",
    }
    for data in (
        json.dumps([row]),
        (
            "service.description,usage_start_time,usage_end_time,cost,currency\n"
            "Cloud Speech API,2026-11-20 00:00:00 UTC,2026-11-20 01:00:00 UTC,0.024,USD\n"
        ),
    ):
        (charge,) = google.reader("google_speech")(data.encode(), {}).charges
        assert (charge.start, charge.end, charge.cost) == (START, START + 3600, 24_000_000_000)
    with pytest.raises(Unreadable, match="no rows"):
        google.reader("google_vision")(json.dumps([row]).encode(), {})
    with pytest.raises(Unreadable, match="USD"):
        google.reader("google_speech")(table.replace("$", "€").encode(), {})


def test_the_sandbox_covers_what_it_still_has():
    """All time while every call has its line, else from the oldest line on."""
    line = {"id": "x", "time": START, "vendor": "openai", "model": "m", "pico_usd": 7}
    for calls_made, since in ((1, 0.0), (2, START)):
        bill = {"calls": calls_made, "lines": [line]}
        found = sandbox.read(json.dumps(bill).encode(), {}, now=END)
        assert (found.since, found.until, found.by_call) == (since, END, True)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@pytest.mark.parametrize(
    "read",
    [openai.read, elevenlabs.read, deepl.read, google.reader("google_vision"), sandbox.read],
)
def test_what_is_no_export_is_refused_in_words(read, data):
    """Whatever the file holds, it is refused with a reason, never by a crash."""
    with pytest.raises(Unreadable, match=r"."):
        read(data, {})


def test_a_wrong_cell_is_named():
    """The row and the column are said."""
    text = "start_time,end_time,amount_value,line_item\n1,2,abc,x\n"
    with pytest.raises(Unreadable, match="row 2: amount_value is no number: 'abc'"):
        openai.read(text.encode(), {})
    with pytest.raises(Unreadable, match=r"missing: line_item.*--column line_item="):
        openai.read(b"start_time,end_time,amount_value\n", {})


def test_the_journal_is_a_book_where_there_is_no_ledger(tmp_path):
    """Paid attempts of the named backends; what was lost is unknown."""
    from router.bills.books import Place
    from router.core import verdict as v
    from router.journal import Journal
    from tests.unit.router.test_journal import PLAN, a_decision, a_trail, an_attempt

    tries = [
        an_attempt("a", v.LOST, "", 9),
        an_attempt("b", v.OK, "", 4),
        an_attempt("a", v.OK, "", 0),
    ]
    Journal(tmp_path).write(a_decision("c", ending={"trail": a_trail(PLAN, tries), "cost": 13}))
    places = {"a": Place("openai", "m"), "b": Place("deepl", "")}
    found = from_journal(tmp_path, places, 0, float("inf"))
    assert [(e.id, e.state, e.cost) for e in found] == [
        ("c/0", "unknown", 9),
        ("c/1", "settled", 4),
    ]


CONFIG = """
exchange: {EUR: 1.15}
backends:
  one: {api: deepl, model: pro, key_env: NOT_SET_HERE}
  two: {api: deepl, model: other, key_env: NOT_SET_HERE, price: {per_million_characters_usd: 1}}
routes:
  words: {task: translate, backends: [one, two]}
"""


def test_units_are_priced_by_the_configuration(tmp_path, capsys):
    """Characters cost what the backend's price says; with several prices one must be named."""
    from router.cli import reconcile
    from router.core import verdict as v
    from router.journal import Journal
    from tests.unit.router.test_journal import PLAN, a_decision, a_trail, an_attempt

    cost = 315 * 23_000_000
    trail = a_trail(PLAN, [an_attempt("one", v.OK, "", cost)])
    Journal(tmp_path / "state").write(a_decision("c", ending={"trail": trail, "cost": cost}))
    day = datetime.now(UTC).date().isoformat()
    (tmp_path / "bill.csv").write_text(f"usage_date,total_characters\n{day},315\n")
    (tmp_path / "isocost.yaml").write_text(CONFIG)
    words = [str(tmp_path / "bill.csv"), "--vendor", "deepl", "--state", str(tmp_path / "state")]
    words += ["--config", str(tmp_path / "isocost.yaml")]
    assert reconcile.main(words) == 1
    assert "different prices" in capsys.readouterr().err
    assert reconcile.main([*words, "--backend", "one", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["cause"], row["billed_usd"], row["drift_usd"]) == ("agreed", "0.007245", "0")
    assert reconcile.main([*words, "--backend", "three"]) == 1
    assert "is called three" in capsys.readouterr().err
    assert reconcile.main(["http://127.0.0.1:1/", *words[1:]]) == 1
    assert "give a file" in capsys.readouterr().err


TWO = """
backends:
  one: {api: openai, model: gpt-4o-mini, key_env: KEY_OF_ONE}
  two: {api: openai, model: gpt-4o-mini, key_env: KEY_OF_TWO}
routes:
  words: {task: chat, backends: [one, two]}
"""


def test_a_bill_of_one_account_settles_nothing_of_another(tmp_path, capsys):
    """With several accounts it has to be said whose bill it is."""
    from router.cli import reconcile

    (tmp_path / "state").mkdir()
    day = f"{START:.0f},{START + DAY:.0f}"
    rows = f'start_time,end_time,amount_value,line_item\n{day},1,"gpt-4o-mini, input"\n'
    (tmp_path / "bill.csv").write_text(rows)
    (tmp_path / "isocost.yaml").write_text(TWO)
    words = [str(tmp_path / "bill.csv"), "--vendor", "openai", "--state", str(tmp_path / "state")]
    words += ["--config", str(tmp_path / "isocost.yaml")]
    assert reconcile.main(words) == 1
    said = capsys.readouterr().err
    assert "2 accounts" in said
    assert "KEY_OF_ONE" in said
    for more in (["--backend", "one"], ["--all-accounts"]):
        assert reconcile.main([*words, *more]) == 0


def test_a_day_that_is_not_over_is_not_judged():
    """Rows of a day whose calls may still be added to it: what is missing is not billed yet."""
    entry = an_entry(1, "settled", 10**9, 10**9, START)
    charge = Charge(start=START, end=START + DAY, cost=0)
    statement = Statement(vendors=("openai",), charges=[charge], since=START, until=START - DAY)
    (drift,) = compare(statement, [entry], unpriced).drifts
    assert (drift.cause, drift.drift) == ("not billed yet", -(10**9))


def test_days_that_are_cut_by_a_beginning_are_left_out():
    """`--since` in the middle of a day: its sum is of more than the calls since then, so these are
    not compared with nothing."""
    from argparse import Namespace

    from router.cli.reconcile import _covering

    entry = an_entry(1, "unknown", 9, 0, START + 15 * 3600)
    whole = by_day([(entry, 9)])
    given = Namespace(since="2026-11-20T14:00", until="2026-11-23", lag=None, vendor="openai")
    statement = _covering(whole, given)
    assert (statement.since, len(statement.charges)) == (START + DAY, len(whole.charges) - 2)
    assert not compare(statement, [entry], unpriced).bills
