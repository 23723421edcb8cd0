"""Which calls a fault strikes, and what its header may say."""

import asyncio

import msgspec
import pytest

from load_tests.sandbox.faults import Faults, Match, Rule, from_header
from load_tests.sandbox.journal import key_name

CALL = {"path": "/v1/x", "model": "m", "key": "k", "stream": False}


def test_no_rule_strikes_nothing():
    assert Faults(1).strike(**CALL) is None


@pytest.mark.parametrize(
    ("match", "struck"),
    [
        (Match(), True),
        (Match(path="/v1/x", model="m", key="k", stream=False), True),
        (Match(path="/v1/y"), False),
        (Match(model="n"), False),
        (Match(key="l"), False),
        (Match(key="sk-sandbox-first"), False),
        (Match(stream=True), False),
    ],
)
def test_every_given_field_must_match(match, struck):
    faults = Faults(1)
    faults.set([Rule(fault="hang", match=match)])
    assert (faults.strike(**CALL) is not None) is struck


def test_a_rule_may_name_a_key_by_its_secret():
    """A call carries the key's name only; the rule may say either."""
    faults = Faults(1)
    faults.set([Rule(fault="hang", match=Match(key="sk-sandbox-first"))])
    assert faults.strike(**CALL | {"key": key_name("sk-sandbox-first")})
    assert not faults.strike(**CALL | {"key": key_name("sk-sandbox-second")})


async def test_a_machine_serves_so_many_together_and_the_others_in_turn():
    """Of three calls at a machine for two, the third begins when one has ended."""
    faults = Faults(1)
    rule = Rule(fault="machine", concurrent=2)
    faults.set([rule])
    begun, ends = [], [asyncio.Event() for _ in range(3)]

    async def call(number):
        async with faults.turn(rule):
            begun.append(number)
            await ends[number].wait()

    calls = [asyncio.create_task(call(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert begun == [0, 1]
    ends[1].set()
    await calls[1]
    await asyncio.sleep(0)
    assert begun == [0, 1, 2]
    ends[0].set()
    ends[2].set()
    await asyncio.gather(*calls)
    async with faults.turn(Rule(fault="cut")):
        pass  # only machines have turns


def test_the_first_rule_that_is_left_strikes():
    faults = Faults(1)
    faults.set([Rule(fault="cut", times=1), Rule(fault="hang")])
    assert [faults.strike(**CALL).fault for _ in range(3)] == ["cut", "hang", "hang"]


def test_probability_zero_never_strikes():
    faults = Faults(1)
    faults.set([Rule(fault="cut", probability=0.0)])
    assert all(faults.strike(**CALL) is None for _ in range(100))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("status=503", Rule(fault="status", status=503)),
        (
            "status=429; retry_after=2; code=insufficient_quota",
            Rule(fault="status", status=429, retry_after=2.0, code="insufficient_quota"),
        ),
        ("cut=3", Rule(fault="cut", after_events=3)),
        ("hang", Rule(fault="hang")),
        ("slow=0.5", Rule(fault="slow", seconds=0.5)),
    ],
)
def test_the_header_names_one_fault(text, rule):
    assert from_header(text) == rule


@pytest.mark.parametrize("text", ["", "flood", "status=many", "hang; loud=1"])
def test_a_header_that_names_no_fault_is_refused(text):
    with pytest.raises(msgspec.ValidationError):
        from_header(text)
