"""Requests and units a minute: never more than the limit in any 60 seconds, and no less than it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from router.admin.leases import Leases, lease
from router.core import verdict as v
from router.core.call import Call, Outcome, Usage
from router.core.errors import RateLimited
from router.core.task import AnnotateRequest, SpeakRequest, TranscribeRequest, TranslateRequest
from router.gates.key import Caller, Limits
from router.gates.rate import MILLI, WINDOW, Rates, estimate, vendor_headers, word
from router.ledger.database import address, engine, upgrade
from router.ledger.rates import SPAN, Granted, Spent, Want, correct, take
from tests.fakes import FakeClock, a_call, answering

REQUESTS = Caller("r", limits=Limits(requests=5))
UNITS = Caller("u", limits=Limits(units=1000))
STEPS = st.lists(
    st.tuples(st.floats(0, 20), st.integers(0, 400), st.none() | st.integers(0, 600)), max_size=60
)


def tokens(key: Caller, units: int) -> Call:
    return a_call(key=key, input_tokens=units, output_limit=0)


@given(steps=STEPS)
def test_no_60_seconds_hold_more_than_the_limit(steps):
    """Of calls that use what they were estimated at, no more than the limit starts in any minute."""
    now = FakeClock(0.0)
    rates, passed = Rates(now), []
    for wait, units, _ in steps:
        now.pass_(wait)
        try:
            rates.acquire(tokens(UNITS, units))(Outcome(v.OK, 0.1))
        except RateLimited as exc:
            counted = sum(u for at, u in passed if at > now() - WINDOW - 1)
            assert counted + units > 1000, "refused without need"
            now.pass_(exc.retry_after or 0.0)
            continue
        passed.append((now(), units))
        assert sum(u for at, u in passed if at > now() - 60) <= 1000


@given(steps=STEPS)
def test_what_was_used_takes_the_place_of_the_estimate(steps):
    """After every call has ended, exactly what was used in the last minute counts."""
    now = FakeClock(0.0)
    rates, used = Rates(now), []
    for wait, units, really in steps:
        now.pass_(wait)
        try:
            release = rates.acquire(tokens(UNITS, units))
        except RateLimited:
            continue
        release(Outcome(v.OK, 0.1, None if really is None else Usage(really)))
        used.append((int(now()), really or units))
        counts = sum(u for second, u in used if second > now() - WINDOW)
        assert rates.standing(tokens(UNITS, 0))["units"].remaining == max(0, 1000 - counts)


@given(waits=st.lists(st.floats(0, 30), min_size=6, max_size=30))
def test_who_waits_as_told_is_served(waits):
    """`retry_after` is neither too early nor more than a second too late."""
    now = FakeClock(0.0)
    rates = Rates(now)
    for wait in waits:
        now.pass_(wait)
        try:
            rates.acquire(a_call(key=REQUESTS))
        except RateLimited as exc:
            now.pass_(exc.retry_after)
            rates.acquire(a_call(key=REQUESTS))


def test_refused_calls_and_those_of_others_count_nothing():
    """A call that was refused further in, and one of another key, take nothing away."""
    rates = Rates(FakeClock())
    for _ in range(20):
        rates.acquire(a_call(key=REQUESTS))(Outcome(v.REJECTED, 0.0))
        rates.acquire(a_call(key=Caller("other", limits=Limits(requests=10**6))))
    assert rates.standing(a_call(key=REQUESTS))["requests"].remaining == 5


@pytest.mark.parametrize("verdict", v.ALL, ids=lambda x: x.name)
def test_units_follow_the_verdict(verdict):
    """What costs nothing counts no units; what may cost its quote counts its estimate."""
    rates = Rates(FakeClock())
    rates.acquire(tokens(UNITS, 400))(Outcome(verdict, 0.1))
    left = rates.standing(tokens(UNITS, 0))["units"].remaining
    assert left == (1000 if verdict.charge == "nothing" else 600)


def test_one_call_above_the_limit_is_told_that_waiting_is_no_use():
    """It gets no retry-after, and the limit in its message."""
    with pytest.raises(RateLimited, match=r"1000 tokens a minute.*ask for less") as caught:
        Rates(FakeClock()).acquire(tokens(UNITS, 1001))
    assert caught.value.retry_after is None
    assert (b"x-ratelimit-limit-tokens", b"1000") in caught.value.headers
    assert caught.value.status == 429


@pytest.mark.parametrize(
    ("task", "request_", "unit", "amount"),
    [
        ("translate", TranslateRequest(texts=("äb", "c"), target="de"), "characters", 3),
        ("speak", SpeakRequest(text="hello", voice="x"), "characters", 5),
        ("transcribe", TranscribeRequest(audio=b"", encoding="wav", seconds=2.5), "seconds", 2.5),
        ("annotate", AnnotateRequest(images=(b"a", b"b"), features=()), "images", 2),
    ],
)
def test_units_are_those_of_the_task(task, request_, unit, amount):
    """Each task counts in its own unit, and is corrected by the usage in that unit."""
    call = a_call(task=task, request=request_, key=Caller("k", limits=Limits(units=100)))
    assert (word(task), estimate(call)) == (unit, amount * MILLI)
    rates = Rates(FakeClock())
    rates.acquire(call)(Outcome(v.OK, 0.1, Usage(**{unit: 40})))
    assert rates.standing(call)["units"].remaining == 60


def test_openai_is_told_in_openais_headers_and_others_are_not():
    """Limit, remaining and reset of each kind, in OpenAI's form of durations."""
    now = FakeClock(100.0)
    rates, call = Rates(now), a_call(key=Caller("k", limits=Limits(requests=9, units=900)))
    rates.acquire(call)
    now.pass_(0.5)
    assert dict(vendor_headers(call, rates.standing(call))) == {
        b"x-ratelimit-limit-requests": b"9",
        b"x-ratelimit-remaining-requests": b"8",
        b"x-ratelimit-reset-requests": b"1m0.5s",
        b"x-ratelimit-limit-tokens": b"900",
        b"x-ratelimit-remaining-tokens": b"750",
        b"x-ratelimit-reset-tokens": b"1m0.5s",
    }
    now.pass_(59.75)
    shown = dict(vendor_headers(call, rates.standing(call)))
    assert shown[b"x-ratelimit-reset-requests"] == b"750ms"
    other = a_call(wire="deepl", key=call.key)
    assert vendor_headers(other, rates.standing(other)) == ()


# Over several replicas.


@pytest.fixture
def store(tmp_path: Path) -> str:
    where = str(tmp_path / "ledger.db")
    upgrade(address(where))
    return where


def connection(where: str) -> Connection:
    return engine(address(where)).connect()


def test_a_share_is_taken_whole_or_not_at_all(store: str):
    """Both kinds have room or none is taken; what is given back is free again."""
    with connection(store) as c:
        wants = {"requests": Want(1, 2, 4), "units": Want(60, 60, 100)}
        first = take(c, "k", wants)
        assert isinstance(first, Granted)
        assert first.amounts == {"requests": 2, "units": 60}
        second = take(c, "k", wants)
        assert isinstance(second, Spent)
        assert (second.kind, second.left) == ("units", 40)
        assert SPAN - 10 <= second.wait <= SPAN
        assert isinstance(take(c, "other", wants), Granted)
        correct(c, [("k", "units", first.second, -30), ("k", "requests", first.second, -1)])
        again = take(c, "k", {"requests": Want(1, 9, 4), "units": Want(60, 99, 100)})
        assert isinstance(again, Granted)
        assert again.amounts == {"requests": 3, "units": 70}


async def ask(service: Any, key: Caller) -> bool:
    try:
        reply = await service(a_call(key=key))
    except RateLimited:
        return False
    reply.close()
    return True


async def test_replicas_share_one_limit(store: str):
    """Of many calls at three replicas at once exactly the limit passes, whatever shares they hold."""
    key = Caller("k", limits=Limits(requests=40))
    replicas = [Leases(address(store)) for _ in range(3)]
    services = [lease(lambda r=r: r)(answering(v.OK)) for r in replicas]
    passed = 0
    for _ in range(4):
        asked = [ask(service, key) for service in services for _ in range(12)]
        passed += sum(await asyncio.gather(*asked))
        assert passed <= 40
    for replica in replicas:  # what some still held goes back
        replica._shares.update(
            {k: s for k, s in replica._shares.items() if not setattr(s, "until", 0)}
        )
        await replica.flush()
        replica._spent.clear()
    for service in services:
        passed += sum([await ask(service, key) for _ in range(20)])
    assert passed == 40
    for replica in replicas:
        replica.close()


async def test_a_store_that_is_away_stops_nobody(tmp_path: Path):
    """Calls are served, and the next ones do not wait for it again."""
    replica = Leases(address(str(tmp_path / "missing" / "ledger.db")))
    service = lease(lambda: replica)(answering(v.OK))
    assert all([await ask(service, Caller("k", limits=Limits(requests=1))) for _ in range(3)])
    replica.close()
