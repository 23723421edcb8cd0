"""Laws of the sandbox's bill, and the rules that its amounts come from."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import load_tests.sandbox
from load_tests.sandbox.bill import Bill, Line, Price
from load_tests.sandbox.models import read_models

MODELS = Path(load_tests.sandbox.__file__).with_name("openai_models.yaml")
PRICE = Price(150_000, 75_000, 600_000)
tokens = st.integers(0, 5000)
calls = st.lists(
    st.tuples(tokens, tokens, tokens, st.sampled_from("ab"), st.booleans(), st.booleans())
)


def line(tokens_in: int = 0, cached: int = 0, out: int = 0, *, model: str = "m") -> Line:
    return Line("id", 0.0, model, "/v1/x", f"key-{model}", tokens_in, cached, out, 0, stream=True)


def check(bill: Bill) -> None:
    told = bill.statement()
    lines = sum(one.pico_usd for one in told.lines)
    assert told.total_pico_usd == lines
    for sums in (told.by_model, told.by_key):
        assert sum(one.pico_usd for one in sums.values()) == told.total_pico_usd
        assert sum(one.calls for one in sums.values()) == told.calls == len(told.lines)
        assert sum(one.tokens_out for one in sums.values()) == sum(x.tokens_out for x in told.lines)


@given(calls)
def test_the_sum_of_lines_is_the_total_after_every_step(steps):
    bill = Bill()
    for tokens_in, cached, out, model, closes, complete in steps:
        kept = bill.accept(line(tokens_in, min(cached, tokens_in), 0, model=model), PRICE)
        check(bill)
        if closes:
            bill.close(kept, PRICE, tokens_out=out, complete=complete)
            bill.close(kept, PRICE, tokens_out=out + 1, complete=complete)  # only the first counts
        check(bill)
        assert kept.tokens_out == (out if closes else 0)


@given(tokens, tokens, tokens)
def test_cached_tokens_are_a_part_of_the_input(tokens_in, cached, out):
    cached = min(cached, tokens_in)
    assert PRICE.of(tokens_in, 0, out) - PRICE.of(tokens_in, cached, out) == cached * 75_000


def test_a_call_that_outlives_a_reset_is_not_counted():
    bill = Bill()
    kept = bill.accept(line(5), PRICE)
    bill.reset()
    bill.close(kept, PRICE, tokens_out=7, complete=True)
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
    assert models["gpt-5.4-mini"].price == Price(750_000, 75_000, 4_500_000)
    assert models["text-embedding-3-small"].price.input == 20_000


def test_a_price_below_one_pico_dollar_is_refused(tmp_path):
    bad = MODELS.read_text().replace('"0.02"', '"0.0000001"')
    (tmp_path / "models.yaml").write_text(bad)
    with pytest.raises(ValueError, match="pico"):
        read_models(tmp_path / "models.yaml")
