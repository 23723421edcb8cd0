"""Open loops: the schedule of calls, and what is sent."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_tests.arrivals import moments
from load_tests.asks import KINDS, Words, body, headers, path, shaped
from load_tests.profile import Profile

RATES = st.dictionaries(st.floats(0.01, 50), st.floats(0, 40), max_size=4).map(
    lambda later: {0.0: 5.0, **later}
)
WORDS = Words(
    Profile(users=1, seconds=1, mix={}), {"ISOCOST_ROUTE_VOICE": "mine"}, random.Random(1)
)


@given(RATES, st.floats(0.1, 20), st.one_of(st.none(), st.integers(0, 99).map(random.Random)))
def test_moments_ascend_within_the_run(rate, seconds, chance):
    """Whatever the steps are, no call is due before the one before it, or outside of the run."""
    found = list(moments(rate, seconds, 1.0, chance))
    assert found == sorted(found)
    assert all(0 <= moment <= seconds * (1 + 1e-9) for moment in found)


@given(RATES, st.floats(0.1, 20))
def test_even_moments_are_as_many_as_the_rate_says(rate, seconds):
    """Up to rounding, the number of calls is the integral of the rate."""
    steps = sorted(rate.items())
    ends = [*(at for at, _ in steps[1:]), seconds]
    whole = sum(
        r * max(min(end, seconds) - at, 0) for (at, r), end in zip(steps, ends, strict=True)
    )
    assert abs(len(list(moments(rate, seconds))) - whole) <= 0.5 + 1e-6 * whole


def test_lanes_together_keep_the_rate_by_chance():
    """Four lanes with a quarter each are near the whole rate, in each part of the run."""
    lanes = [list(moments({0: 20, 50: 60}, 100, 0.25, random.Random(n))) for n in range(4)]
    early = sum(moment < 50 for lane in lanes for moment in lane)
    late = sum(map(len, lanes)) - early
    assert early == pytest.approx(1000, rel=0.15)
    assert late == pytest.approx(3000, rel=0.1)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_can_be_sent(name):
    """Each has a body of its wire, a key where the wire's SDK puts it, and names its route once."""
    kind = KINDS[name]
    sent = body(kind, WORDS)
    told = headers(kind, WORDS, "k-1")
    assert any("k-1" in value for value in told.values())
    route = WORDS.route(kind.route)
    places = (path(kind, WORDS) == f"/predictions/{route}", told.get("x-isocost-route") == route)
    in_body = (
        f"\r\n{route}\r\n".encode() in sent if kind.form else json.loads(sent).get("model") == route
    )
    assert sum((*places, in_body)) == 1
    assert kind.form or json.loads(sent)


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        ("openai", {"error": {"message": "no", "type": "t", "param": None, "code": "c"}}),
        ("elevenlabs", {"detail": {"status": "s", "message": "no"}}),
        ("deepl", {"message": "no"}),
        ("google", {"error": {"code": 402, "message": "no", "status": "S"}}),
        ("torchserve", {"code": 402, "type": "t", "message": "no"}),
    ],
)
def test_an_error_must_have_the_shape_of_its_wire(wire, error):
    """A page of HTML, a list, or another wire's error is none."""
    assert shaped(wire, json.dumps(error).encode())
    for other in (b"<html>", b"[]", b'{"error": "no"}', b'{"error": {"message": "no"}}'):
        assert not shaped(wire, other)
