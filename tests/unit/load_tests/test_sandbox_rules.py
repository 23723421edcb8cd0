"""Which calls a fault strikes, and what its header may say."""

import msgspec
import pytest

from load_tests.sandbox.faults import Faults, Match, Rule, from_header

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
        (Match(stream=True), False),
    ],
)
def test_every_given_field_must_match(match, struck):
    faults = Faults(1)
    faults.set([Rule(fault="hang", match=match)])
    assert (faults.strike(**CALL) is not None) is struck


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
