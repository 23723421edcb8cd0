"""The words everything is built from: money, verdicts, replies, errors, the guard and the trail."""

from __future__ import annotations

import asyncio
import inspect
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core import errors, verdict
from router.core.call import Call, Usage
from router.core.errors import AttemptFailed, Overloaded, RouterError
from router.core.money import PICO, Price, pico, usd
from router.core.reply import Reply
from router.core.verdict import CANCELLED, FAULT, INVALID, LOST, OK, REJECTED, THROTTLED, judge
from router.layers.guard import guard
from router.prices import listed
from tests.fakes import FakeClock, ScriptedGate, a_call, answering, play, streaming

AMOUNT = st.integers(-2_000 * PICO, 2_000 * PICO)
UNIT = st.integers(0, 10**9)
TOKENS = st.integers(0, 10**6)


# Money.


@given(AMOUNT)
def test_a_dollar_figure_reads_back(amount):
    """Up to 2,000 USD, pico-dollars written as dollars read back as the same pico-dollars."""
    assert pico(usd(amount)) == amount


@given(st.integers(-(10**25), 10**25))
def test_a_dollar_figure_is_exact_and_plain(amount):
    """A figure is an exact decimal without exponent and without needless zeros."""
    figure = usd(amount)
    assert Decimal(figure) * PICO == amount
    assert "e" not in figure.lower()
    assert not (figure.endswith(("0", ".")) and "." in figure)


def _tier(price: Price, raised: Price, start: int) -> Price:
    more = Price(*(a + b for a, b in zip(fields(price), fields(raised), strict=True)))
    return msgspec.structs.replace(price, long_from=start, long=more)


def fields(price: Price) -> list[int]:
    return [price.input_token, price.output_token, price.cached_token, price.written_token]


# Written tokens cost at least what any other input does.
PER_TOKEN = st.builds(
    lambda i, o, c, w: Price(i, o, min(c, i), i + w if w else 0), UNIT, UNIT, UNIT, UNIT
)
PRICES = PER_TOKEN | st.builds(_tier, PER_TOKEN, PER_TOKEN, TOKENS)


@st.composite
def bounded(draw: st.DrawFn) -> tuple[Call, Usage]:
    """A call, and a usage within its bounds."""
    usage_in, usage_out = draw(TOKENS), draw(TOKENS)
    cached = draw(st.integers(0, usage_in))
    written = draw(st.integers(0, usage_in - cached))
    call = a_call(
        input_bound=usage_in + draw(TOKENS),
        output_limit=usage_out + draw(TOKENS),
        input_tokens=usage_in,
    )
    return call, Usage(usage_in, usage_out, cached, written_tokens=written)


@given(PRICES, UNIT, bounded())
def test_no_usage_costs_more_than_its_quote(price, per_call, pair):
    """Quote >= cost for any usage within the call's bounds, with caches and a long tier."""
    call, usage = pair
    price = msgspec.structs.replace(price, call=0 if price.long else per_call)
    assert price.quote(call, 30.0) >= price.of(usage) >= 0


@given(UNIT, st.floats(0, 1000), st.floats(0, 1000), st.floats(1, 64))
def test_no_machine_time_costs_more_than_its_quote(second, seconds, more, concurrency):
    """A machine's cost for its seconds stays below its quote until the deadline."""
    price = Price(machine_second=second)
    assert price.of(Usage(), seconds, concurrency) <= price.quote(a_call(), seconds + more)
    assert price.free


def test_what_a_usage_costs():
    """Each unit is charged by its own price; cached and written tokens instead of the plain one."""
    price = Price(
        input_token=10,
        output_token=100,
        cached_token=1,
        written_token=12,
        call=5,
        character=3,
        second=8,
        image=7,
        machine_second=6,
    )
    used = Usage(1000, 20, 300, characters=2, seconds=1.5, images=4, written_tokens=200)
    wanted = 5 + 500 * 10 + 300 * 1 + 200 * 12 + 20 * 100 + 2 * 3 + 12 + 4 * 7
    assert price.of(used) == wanted
    assert price.of(used, seconds=10.0, concurrency=3.0) == wanted + 20


def test_tokens_written_to_a_cache_cost_as_input_by_default():
    """Without a price of their own they cost what any input does, never nothing."""
    assert Price(10).of(Usage(100, written_tokens=80)) == 1000


def test_the_long_tier_begins_after_its_start():
    """At exactly `long_from` tokens the base price holds, one more and the whole call is long."""
    price = Price(1, 10, long_from=100, long=Price(2, 15))
    assert price.of(Usage(100, 1)) == 110
    assert price.of(Usage(101, 1)) == 217
    assert price.quote(a_call(input_bound=101, output_limit=1), 1.0) == 217
    assert price.predicted(a_call(input_tokens=101), 1, 0.0, 1.0) == 217


def test_a_passed_deadline_quotes_no_negative_time():
    """After the deadline a machine's quote is 0, not below."""
    assert Price(machine_second=100).quote(a_call(), -5.0) == 0


@pytest.mark.parametrize(
    "unit", ["input_token", "output_token", "call", "character", "second", "image"]
)
def test_free_means_that_no_vendor_is_owed(unit):
    """Any price per unit makes a backend paid; machine time alone does not."""
    assert Price(machine_second=5).free
    assert not Price(**{unit: 1}).free


LISTED = ["gpt-4o-mini", "gpt-4.1", "o3", "o3-mini", "gpt-5.4", "gpt-5.5-pro", "gpt-5.6-sol"]
LISTED += ["gpt-6-sol", "gpt-4", "text-embedding-3-small", "gpt-3.5-turbo-instruct"]
USED = [
    Usage(7, 87),  # recorded: o3-mini
    Usage(78, 9),  # recorded: gpt-4o-mini, streamed
    Usage(4020, 4, 4012),  # recorded: gpt-5.6-sol, read from its cache
    Usage(4020, 4, written_tokens=4012),  # recorded: gpt-5.6-sol, written to its cache
    Usage(272_000, 100, 1000),
    Usage(272_001, 100, 1000),
    Usage(300_000, 1000, 250_000, written_tokens=40_000),
    Usage(),
]


@pytest.mark.parametrize("used", USED, ids=lambda u: f"{u.input_tokens}-{u.output_tokens}")
@pytest.mark.parametrize("model", LISTED)
def test_a_listed_price_charges_what_the_list_says(model, used):
    """The compiled integers give the price that genai-prices computes for the same usage."""
    from genai_prices import Usage as Reported
    from genai_prices import calc_price

    price = listed("openai", model)
    assert price is not None
    assert model.split("-")[0] in price.source
    reported = Reported(
        input_tokens=used.input_tokens,
        cache_read_tokens=used.cached_tokens,
        cache_write_tokens=used.written_tokens,
        output_tokens=used.output_tokens,
    )
    wanted = calc_price(reported, model, provider_id="openai").total_price
    assert Decimal(price.of(used)) / PICO == wanted


def test_an_unlisted_price_is_none():
    """What no list knows has no price: neither a model, nor a wire without a list."""
    assert listed("openai", "no-such-model") is None
    assert listed("torchserve", "gpt-4o-mini") is None


# Verdicts.

TABLE = {
    # name: breaker, limiter, try next, charge
    "ok": ("success", "sample", False, "usage"),
    "invalid": ("ignore", "ignore", False, "nothing"),
    "unfit": ("ignore", "ignore", True, "nothing"),
    "denied": ("failure", "ignore", True, "nothing"),
    "throttled": ("ignore", "dropped", True, "nothing"),
    "fault": ("failure", "dropped", True, "nothing"),
    "lost": ("failure", "dropped", True, "quote"),
    "late": ("ignore", "ignore", True, "quote"),
    "cancelled": ("ignore", "ignore", False, "quote"),
    "rejected": ("ignore", "ignore", True, "nothing"),
}


def test_the_table_of_verdicts():
    """Every row is as the plan of the house has it, and there are no others."""
    rows = {x.name: (x.breaker, x.limiter, x.try_next, x.charge) for x in verdict.ALL}
    assert rows == TABLE
    assert set(verdict.ALL) == {x for x in vars(verdict).values() if isinstance(x, verdict.Verdict)}


@pytest.mark.parametrize(
    ("status", "name"),
    [
        *((status, "ok") for status in (200, 204)),
        *((status, "invalid") for status in (400, 404, 418, 422)),
        *((status, "denied") for status in (401, 402, 403)),
        *((status, "lost") for status in (408, 504)),
        (413, "unfit"),
        *((status, "throttled") for status in (429, 456, 529)),
        *((status, "fault") for status in (500, 502, 503, 599)),
    ],
)
def test_a_status_is_judged(status, name):
    """A status without a known code means what the table says."""
    assert judge("any", status).name == name
    assert judge("openai", status, "never heard of").name == name


@given(st.integers(400, 599), st.sampled_from(["openai", "torchserve", "x"]), st.text(max_size=5))
def test_no_error_is_a_success(status, wire, code):
    """Whatever the code says, a status from 400 up is never OK."""
    assert judge(wire, status, code) is not OK


def test_an_empty_wallet_is_no_throttling():
    """A 429 whose code says that the quota is spent will not go away by waiting."""
    assert judge("openai", 429, "insufficient_quota").name == "denied"
    assert judge("other", 429, "insufficient_quota").name == "throttled"


# Replies.


def test_a_reply_closes_once():
    """Closing again, with whatever verdict, tells nobody and changes nothing."""
    told: list[object] = []
    reply = Reply(backend="b")
    reply.on_close(told.append)
    reply.close(LOST)
    reply.close(CANCELLED)
    reply.close()
    assert told == [LOST]
    assert reply.verdict is LOST


def test_listeners_are_told_innermost_first():
    """Listeners hear the end in the order in which layers, from the inside out, joined."""
    told: list[str] = []
    reply = Reply(backend="b")
    for name in ("transport", "spend", "observe"):
        reply.on_close(lambda verdict, name=name: told.append(name))
    reply.close()
    assert told == ["transport", "spend", "observe"]


def test_a_reply_ends_as_it_was_judged():
    """Without a verdict a reply ends with its own."""
    told: list[object] = []
    reply = Reply(backend="b", verdict=INVALID)
    reply.on_close(told.append)
    reply.close()
    assert told == [INVALID]


# Errors.

STATUS = {
    "BadRequest": 400, "Unauthorized": 401, "Forbidden": 403, "UnknownRoute": 404, "TooLarge": 413,
    "TooExpensive": 402, "AttemptFailed": 502, "NoBackend": 503, "DeadlineExceeded": 504, "Stopped": 503,
    "BrokenStream": 502, "Rejected": 503, "BreakerOpen": 503, "Overloaded": 503, "Paused": 503, "Shed": 503,
    "Down": 503, "RetriesSpent": 503, "RouterError": 500, "BudgetSpent": 402, "BooksClosed": 503,
    "RateLimited": 429,
}  # fmt: skip


def test_every_error_has_its_status():
    """The tree of errors is the one of the module's docstring, each with its status."""
    raised = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, RouterError)
    }
    assert {name: kind.status for name, kind in raised.items()} == STATUS
    for name, kind in raised.items():
        # Those that streams raise alone need no place in the tree of whole answers.
        assert name in (errors.__doc__ or "") or kind is errors.BrokenStream
        assert kind.code == kind.code.lower().replace(" ", "_")


def test_a_clients_mistake_tries_nobody_else():
    """Errors of 4xx that are the client's own end the call; refusals of gates do not."""
    assert not errors.BadRequest("x").verdict.try_next
    assert not errors.Unauthorized("x").verdict.try_next
    assert Overloaded("x").verdict.try_next


# The guard.


def guarded(clock: FakeClock, service: object, *gates: ScriptedGate):
    return guard(gates, clock)(service)  # type: ignore[arg-type]


ORDER = [("acquire", "a"), ("acquire", "b")]


def test_permits_come_back_in_reverse_when_the_reply_is_closed():
    """A returned reply keeps its permits until it is closed, then the last gate hears first."""
    clock, log = FakeClock(), []
    service = guarded(clock, answering(OK), ScriptedGate("a", log), ScriptedGate("b", log))

    reply = play(service(a_call()), clock)
    assert log == ORDER
    reply.close()
    reply.close()

    assert log[2:] == [("release", "b", OK), ("release", "a", OK)]


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        (AttemptFailed("x", FAULT, "d"), FAULT),
        (AttemptFailed("x", LOST, "d"), LOST),
        (Overloaded("x"), REJECTED),
        (ValueError("a bug"), FAULT),
        (asyncio.CancelledError(), CANCELLED),
    ],
    ids=lambda x: type(x).__name__,
)
def test_permits_come_back_when_the_service_raises(ending, told):
    """Each gate hears the verdict of what was raised once, and the error goes on."""
    clock, log = FakeClock(), []
    service = guarded(clock, answering(ending), ScriptedGate("a", log), ScriptedGate("b", log))

    with pytest.raises(type(ending)):
        play(service(a_call()), clock)

    assert log == [*ORDER, ("release", "b", told), ("release", "a", told)]


def test_a_refusal_gives_back_what_was_held():
    """When the second gate says no, the first one hears REJECTED and nothing is sent."""
    clock, log = FakeClock(), []
    sent: list[Call] = []
    service = guarded(
        clock,
        sent.append,
        ScriptedGate("a", log),
        ScriptedGate("b", log, refuse=Overloaded("full")),
    )

    with pytest.raises(Overloaded):
        play(service(a_call()), clock)

    assert log == [("acquire", "a"), ("release", "a", REJECTED)]
    assert not sent


def test_a_cancelled_call_gives_its_permits_back():
    """A task that is cancelled while the backend works releases as CANCELLED."""
    clock, log = FakeClock(), []
    service = guarded(clock, answering(5.0, OK), ScriptedGate("a", log))

    async def leave() -> None:
        task = asyncio.create_task(service(a_call()))  # type: ignore[arg-type]
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])

    play(leave(), clock)
    assert log == [("acquire", "a"), ("release", "a", CANCELLED)]


def test_a_stream_holds_its_permit_to_its_last_byte():
    """The outcome of a stream has the seconds to its end, its usage and its first event."""
    clock, told = FakeClock(), []

    class Gate:
        def ready(self) -> bool:
            return True

        def acquire(self, call: Call):
            return told.append

    async def read() -> None:
        reply = await guard((Gate(),), clock)(streaming(b"x", 3.0, b"y"))(a_call())
        assert not told
        assert [e async for e in reply.events] == [b"x", b"y"]
        reply.close()

    play(read(), clock)
    assert len(told) == 1
    assert told[0].seconds == pytest.approx(3.0)
    assert told[0].usage == Usage(100, 10)
    assert told[0].first == 0.0


def test_a_throttled_outcome_names_its_moment():
    """What the backend said about trying again reaches the gates."""
    clock, told = FakeClock(), []

    class Gate:
        def ready(self) -> bool:
            return True

        def acquire(self, call: Call):
            return told.append

    throttled = AttemptFailed("x", THROTTLED, "d", retry_after=7.0)
    with pytest.raises(AttemptFailed):
        play(guard((Gate(),), clock)(answering(throttled))(a_call()), clock)
    assert told[0].retry_after == 7.0
