"""Laws of the sandbox's bill, and the rules that its amounts come from."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import load_tests.sandbox
from load_tests.sandbox.account import Account
from load_tests.sandbox.bill import Bill, Line
from load_tests.sandbox.models import read_models
from load_tests.sandbox.price import Price, flat, read_price

FOLDER = Path(load_tests.sandbox.__file__).parent
MODELS = FOLDER / "openai_models.yaml"
PRICE = flat(10**6, {"input": "0.15", "cached": "0.075", "output": "0.60"})
tokens = st.integers(0, 5000)
calls = st.lists(
    st.tuples(tokens, tokens, tokens, st.sampled_from("ab"), st.booleans(), st.booleans())
)


def line(tokens_in: int = 0, cached: int = 0, out: int = 0, *, model: str = "m") -> Line:
    return Line(
        id="id",
        time=0.0,
        vendor=f"vendor-{model}",
        model=model,
        endpoint="/v1/x",
        key=f"key-{model}",
        units={"input": tokens_in - cached, "cached": cached, "output": out},
        stream=True,
    )


def check(bill: Bill) -> None:
    told = bill.statement()
    lines = sum(one.pico_usd for one in told.lines)
    assert told.total_pico_usd == lines
    for sums in (told.by_model, told.by_key, told.by_vendor):
        assert sum(one.pico_usd for one in sums.values()) == told.total_pico_usd
        assert sum(one.calls for one in sums.values()) == told.calls == len(told.lines)
        assert sum(one.tokens_out for one in sums.values()) == sum(x.tokens_out for x in told.lines)
        for unit in ("input", "cached", "output"):
            assert sum(one.units.get(unit, 0) for one in sums.values()) == sum(
                x.units.get(unit, 0) for x in told.lines
            )


@given(calls)
def test_the_sum_of_lines_is_the_total_after_every_step(steps):
    bill = Bill()
    for tokens_in, cached, out, model, closes, complete in steps:
        kept = bill.accept(line(tokens_in, min(cached, tokens_in), 0, model=model), PRICE)
        assert kept.tokens_in == tokens_in
        check(bill)
        if closes:
            bill.close(kept, PRICE, {**kept.units, "output": out}, complete=complete)
            # Only the first counts.
            bill.close(kept, PRICE, {**kept.units, "output": out + 1}, complete=complete)
        check(bill)
        assert kept.tokens_out == (out if closes else 0)


@given(tokens, tokens, tokens)
def test_cached_tokens_are_a_part_of_the_input(tokens_in, cached, out):
    cached = min(cached, tokens_in)
    whole = PRICE.of(line(tokens_in, 0, out).units)
    assert whole - PRICE.of(line(tokens_in, cached, out).units) == cached * 75_000


def test_a_call_that_outlives_a_reset_is_not_counted():
    bill = Bill()
    kept = bill.accept(line(5), PRICE)
    bill.reset()
    bill.close(kept, PRICE, {**kept.units, "output": 7}, complete=True)
    assert bill.statement().total_pico_usd == 0
    assert bill.statement().calls == 0


def test_totals_remember_more_than_the_kept_lines():
    bill = Bill(keep=3)
    for _ in range(10):
        bill.accept(line(1), PRICE)
    told = bill.statement()
    assert (told.calls, len(told.lines), told.total_pico_usd) == (10, 3, 1_500_000)


def test_list_prices_become_whole_pico_dollars():
    models = read_models(MODELS)
    assert models["gpt-4o-mini"].price == PRICE
    assert models["gpt-4o-mini-2024-07-18"] is models["gpt-4o-mini"]
    expected = flat(10**6, {"input": "0.75", "cached": "0.075", "output": "4.5"})
    assert models["gpt-5.4-mini"].price == expected
    assert models["text-embedding-3-small"].price.of({"input": 1}) == 20_000


def test_a_price_below_one_pico_dollar_is_refused(tmp_path):
    bad = MODELS.read_text().replace('"0.02"', '"0.0000001"')
    (tmp_path / "models.yaml").write_text(bad)
    with pytest.raises(ValueError, match="pico"):
        read_models(tmp_path / "models.yaml")


STEPPED = """
currency: EUR
usd: "1.15"
per: 1000
prices: {page: {amount: "1.50", free: 100, above: {500: "1.00"}}}
"""


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20), st.booleans())
def test_a_month_costs_the_same_however_its_calls_are_cut(tmp_path_factory, parts, free):
    path = tmp_path_factory.getbasetemp() / "stepped.yaml"
    path.write_text(STEPPED)
    price = read_price(path, free_units=free)
    bill = Bill()
    for many in parts:
        one = line()
        one.units = {"page": many}
        bill.accept(one, price)
    total = sum(parts)
    cheap = max(0, total - 500)
    paid = total - cheap - (min(total, 100) if free else 0)
    pico = paid * 1_500_000_000 + cheap * 1_000_000_000
    told = bill.statement()
    assert told.total_pico_usd == pico * 115 // 100
    assert told.by_vendor["vendor-m"].pico == {"EUR": pico}
    check(bill)


@given(st.lists(st.integers(1, 40), max_size=20), st.integers(0, 200))
def test_a_quota_is_never_passed_and_never_refuses_what_fits(parts, most):
    bill = Bill()
    account = Account(bill, {"vendor-m": {"input": most}})
    for many in parts:
        fits = account.used("vendor-m", "input") + many <= most
        assert account.exceeded("vendor-m", {"input": many}, 0) == (None if fits else "input")
        if fits:
            bill.accept(line(many), PRICE)
    assert account.used("vendor-m", "input") <= most


def test_money_and_calls_have_quotas_too():
    bill = Bill()
    account = Account(bill, {"vendor-m": {"calls": 1}, "other": {"pico_usd": 10}})
    assert account.exceeded("vendor-m", {}, 5) is None
    bill.accept(line(1), PRICE)
    assert account.exceeded("vendor-m", {}, 5) == "calls"
    assert account.exceeded("other", {}, 10) is None
    assert account.exceeded("other", {}, 11) == "pico_usd"


def test_a_flat_price_has_no_steps():
    assert isinstance(PRICE, Price)
    assert all(len(rate.steps) == 1 for rate in PRICE.rates.values())
