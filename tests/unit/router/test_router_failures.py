"""Time kept for the next backend, asking again, hedges, streams that go on elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core import verdict as v
from router.core.call import Call, Outcome, Usage
from router.core.errors import BrokenStream, NoBackend, RouterError
from router.core.reply import Reply
from router.core.service import Service
from router.core.task import ChatRequest, CompleteRequest, Delta, Finish, Message, Note
from router.gates.health import GONE, Health
from router.gates.retries import Retries
from router.gates.silence import Silence
from router.layers.dispatch import dispatch
from router.layers.resume import GO_ON, continued, resumable
from router.route import Effect, Hedge, Promise
from tests.fakes import (
    OWN,
    PAID,
    USED,
    FakeClock,
    a_backend,
    a_call,
    a_route,
    answering,
    drain,
    play,
    streaming,
)

QUOTE = PAID.quote(a_call(), 30.0)


class World:
    """Backends by name in the order of the plan: a letter in *own* is a machine of one's own."""

    def __init__(self, *scripts: Service, own: str = "", **changes: Any) -> None:
        self.clock = FakeClock()
        self.asked: list[tuple[str, float]] = []
        self.calls: list[Call] = []
        self.backends = []
        for i, (name, script) in enumerate(zip("abcdef", scripts, strict=False)):
            paid = msgspec.structs.replace(PAID, output_token=PAID.output_token + i)
            price = OWN if name in own else paid
            service = self._noted(name, script)
            self.backends.append(a_backend(name, service, clock=self.clock, price=price))
        prefer = changes.pop("rules", lambda call: ())
        self.route = a_route(*self.backends, rules=prefer, **changes)

    def _noted(self, name: str, script: Service) -> Service:
        async def service(call: Call) -> Reply:
            self.asked.append((name, self.clock()))
            self.calls.append(call)
            return await script(call)

        return service

    def slow_by(self, **seconds: float) -> None:
        """Teach the meters what each takes, for the size of the test's call."""
        for backend in self.backends:
            for _ in range(20):
                took = seconds.get(backend.name, 0.01)
                backend.gates.meter.acquire(a_call())(Outcome(v.OK, took, first=took))

    def service(self) -> Service:
        return dispatch({"chat": self.route}, self.clock, lambda: 0.5)

    def run(self, **changes: Any) -> Reply:
        async def whole() -> Reply:
            reply = await self.service()(a_call(**changes))
            reply.close()
            return reply

        return play(whole(), self.clock)

    def fail(self, kind: type[RouterError], **changes: Any) -> RouterError:
        with pytest.raises(kind) as caught:
            play(self.service()(a_call(**changes)), self.clock)
        return caught.value

    @property
    def names(self) -> str:
        return "".join(name for name, _ in self.asked)

    def at_rest(self) -> bool:
        return all(b.gates.in_flight.count == b.gates.meter.in_flight == 0 for b in self.backends)


def told(ended: Any) -> list[tuple[str, str, str]]:
    return [(a.backend, a.kind, a.verdict.name) for a in ended.trail.attempts]


# Time for the next one.


@given(st.floats(0.0, 20.0), st.floats(0.0, 20.0))
def test_time_is_kept_for_the_next_backend(own, other):
    """The next has at least a seventh of the time, and up to half of it as it needs; the last has all."""
    world = World(answering(v.FAULT), answering(v.OK))
    world.slow_by(a=own, b=other)
    world.run()
    first, last = world.calls
    takes, needs = (own, other) if [n for n, _ in world.asked] == ["a", "b"] else (other, own)
    assert last.answer_by == float("inf")
    spare = 1030.0 - first.answer_by
    assert 4.5 - 1e-9 <= spare <= 15.0 + 1e-9
    if takes <= 14.0:
        assert spare >= min(15.0, max(9.0, needs)) - 1e-6


def test_an_attempt_that_begins_late_blames_nobody():
    """Who gets what a hanging backend has left over is in a hurry: its timeout is not its fault."""
    world = World(answering(16.0, v.LOST), answering(v.OK))
    world.run()
    assert [call.hurried for call in world.calls] == [False, True]
    world = World(answering(10.0, v.LOST), answering(v.OK))
    world.run()
    assert [call.hurried for call in world.calls] == [False, False]


def test_a_single_backend_has_all_the_time():
    """Nothing is kept back where nobody is next, or no further attempt is allowed."""
    world = World(answering(v.OK))
    world.run()
    assert world.calls[0].answer_by == float("inf")
    world = World(answering(v.OK), answering(v.OK), attempts=1)
    world.run()
    assert world.calls[0].answer_by == float("inf")


# Silence.


def test_a_backend_that_hangs_is_left_before_its_calls_run_out_of_time():
    """Once three calls are overdue the next go elsewhere at once; when they ended it is asked again."""

    async def hang(call: Call) -> Reply:
        await asyncio.sleep(15.0)
        return await answering(v.LOST)(call)

    world = World(hang, answering(v.OK))
    world.slow_by(a=0.1, b=0.1)

    async def one() -> None:
        now = world.clock()
        (await world.service()(a_call(arrived=now, deadline=now + 30))).close()

    async def traffic() -> None:
        tasks = []
        for _ in range(40):
            tasks.append(asyncio.create_task(one()))
            await asyncio.sleep(0.1)
        await asyncio.gather(*tasks)

    play(traffic(), world.clock)
    first = [t - 1000.0 for n, t in world.asked if n == "a"]
    assert 3 <= len(first) <= 7, "those of the first moments, and nobody after them"
    assert max(first) < 1.0
    assert world.backends[0].gates.silence.ready()


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=12))
def test_one_slow_answer_is_no_silence(others):
    """While anything is answered after the oldest call was asked, a backend is not silent."""
    now = FakeClock()
    silence = Silence(now)
    silence.ask(0.1)
    for wait, slow in others:
        number = silence.ask(0.1)
        now.pass_(wait)
        silence.heard(number, answered=True)
        assert silence.ready() or slow
    assert silence.ready()


# Some calls fail.


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.1, 0.25, 0.45, 0.6]), st.integers(5, 30))
def test_a_backend_that_fails_some_calls_costs_nobody_an_answer(seed, share, rate):
    """However many of its calls fail, the other answers them: when that one may take no more extra
    attempts, it is asked first. The allowance of extra attempts is kept meanwhile."""
    draw = Random(seed)

    async def some_fail(call: Call) -> Reply:
        await asyncio.sleep(0.05)
        return await answering(v.FAULT if draw.random() < share else v.OK)(call)

    world = World(some_fail, answering(v.OK))
    answered = []

    async def one() -> None:
        now = world.clock()
        with suppress(NoBackend):
            reply = await world.service()(a_call(arrived=now, deadline=now + 5))
            reply.close()
            answered.append(reply)

    async def traffic() -> None:
        tasks = []
        for _ in range(20 * rate):
            tasks.append(asyncio.create_task(one()))
            await asyncio.sleep(1 / rate)
        await asyncio.gather(*tasks)

    play(traffic(), world.clock)
    assert len(answered) >= 0.997 * 20 * rate
    extra = sum(len(told(reply)) > 1 for reply in answered)
    assert extra <= 0.1 * 20 * rate + 20 + 10


# Asking again.


@pytest.mark.parametrize("verdict", [v.FAULT, v.THROTTLED], ids=lambda x: x.name)
def test_who_failed_is_asked_again_after_all_others(verdict):
    """A failure that cannot be billed is repeated, once nobody else is left, after a jittered pause."""
    world = World(answering(verdict, v.OK), answering(v.FAULT), retries=1)
    reply = world.run()
    assert told(reply) == [
        ("a", "first", verdict.name),
        ("b", "failover", "fault"),
        ("a", "retry", "ok"),
    ]
    assert world.asked[2][1] >= 1000.05, "half of the first pause, which is 0.1 s"
    assert world.at_rest()


def test_a_paid_call_whose_outcome_is_unknown_is_not_repeated():
    """It may be billed, so the same vendor is not asked again; a machine of one's own is."""
    world = World(answering(v.LOST, v.OK), retries=3)
    error = world.fail(NoBackend)
    assert world.names == "a"
    assert error.cost == QUOTE
    mine = World(answering(v.LOST, v.OK), own="a", retries=3)
    assert told(mine.run()) == [("a", "first", "lost"), ("a", "retry", "ok")]


def test_pauses_grow_and_attempts_stay_limited():
    """Each turn may wait twice as long, and no call makes more attempts than its route allows."""
    world = World(answering(v.FAULT), attempts=4, retries=5)
    world.fail(NoBackend)
    times = [t for _, t in world.asked]
    waits = [b - a for a, b in pairwise(times)]
    assert waits == [pytest.approx(0.05), pytest.approx(0.1), pytest.approx(0.2)]


def test_nobody_waits_for_a_long_pause():
    """A vendor that asks for more than a moment is not waited for: the refusal is quick."""
    world = World(answering(throttled(60.0)), retries=1)
    error = world.fail(NoBackend)
    assert world.names == "a"
    assert world.clock() == 1000.0
    assert error.retry_after is not None


def throttled(seconds: float) -> Exception:
    from router.core.errors import AttemptFailed

    return AttemptFailed("a", v.THROTTLED, "429", retry_after=seconds)


def test_no_retry_past_the_deadline():
    """A pause that would end after the deadline is not begun."""
    world = World(answering(v.FAULT), retries=5, attempts=9)
    world.fail(NoBackend, deadline=1000.12)
    assert world.clock() < 1000.12


# Hedges.


def hedge(clock: FakeClock, *, tokens: float = 5.0, **changes: Any) -> Hedge:
    allowance = Retries(clock, share=0.05, per_second=0.0, ceiling=10.0)
    allowance._tokens = tokens
    return Hedge(allowance, **changes)


def hedged(*scripts: Service, own: str = "", promise: Promise | None = None, **how: Any) -> World:
    world = World(*scripts, own=own)
    changes = {"hedge": hedge(world.clock, **how)} | ({"promise": promise} if promise else {})
    world.route = msgspec.structs.replace(world.route, **changes)
    return world


def test_a_slow_attempt_gets_a_second_one_beside_it():
    """After the delay the next one is asked as well; the first answer counts, the loser is cancelled."""
    world = hedged(answering(9.0, v.OK), answering(0.5, v.OK), own="ab", after=1.0)
    reply = world.run()
    assert world.asked == [("a", 1000.0), ("b", 1001.0)]
    assert world.clock() == pytest.approx(1001.5)
    assert told(reply) == [("a", "first", "cancelled"), ("b", "hedge", "ok")]
    assert world.at_rest()


def test_a_quick_answer_is_not_hedged():
    """Who answers before the delay stays alone, and no allowance is used."""
    world = hedged(answering(0.5, v.OK), answering(v.OK), own="ab", after=1.0)
    assert told(world.run()) == [("a", "first", "ok")]
    assert world.route.hedge.allowance._tokens == pytest.approx(5.05)


def test_the_first_may_still_win():
    """A hedge that is slower is the one that is cancelled."""
    world = hedged(answering(1.5, v.OK), answering(9.0, v.OK), own="ab", after=1.0)
    assert told(world.run()) == [("a", "first", "ok"), ("b", "hedge", "cancelled")]
    assert world.at_rest()


def test_the_delay_is_the_backends_own_quantile():
    """Without a delay of its own a hedge waits for the p95 of the first; unknown, it waits for ever."""
    world = hedged(answering(9.0, v.OK), answering(0.1, v.OK), own="ab")
    assert told(world.run()) == [("a", "first", "ok")]
    world = hedged(answering(9.0, v.OK), answering(0.1, v.OK), own="ab")
    world.slow_by(a=2.0, b=2.0)
    world.run()
    assert world.asked[1][1] - 1000.0 == pytest.approx(2.0, rel=0.2)


def test_two_paid_attempts_never_run_beside_each_other():
    """Unless the route says so, a paid attempt is hedged by a free one only."""
    world = hedged(answering(9.0, v.OK), answering(0.1, v.OK), after=1.0)
    assert told(world.run()) == [("a", "first", "ok")]
    world = hedged(answering(9.0, v.OK), answering(0.1, v.OK), after=1.0, paid_twice=True)
    reply = world.run()
    assert told(reply) == [("a", "first", "cancelled"), ("b", "hedge", "ok")]
    assert reply.trail.attempts[0].cost == QUOTE, "the loser may be billed"


def test_a_paid_one_is_started_only_when_the_promise_would_break():
    """Beside a slow local attempt a paid one waits until the last moment that keeps the promise."""
    world = hedged(
        answering(9.0, v.OK), answering(1.0, v.OK),
        own="a", after=0.5, promise=Promise(answer=(0.95, 5.0)),
    )  # fmt: skip
    world.slow_by(a=0.2, b=1.0)
    world.run()
    names = [n for n, _ in world.asked]
    assert names == ["a", "b"]
    assert world.asked[1][1] - 1000.0 == pytest.approx(4.0, abs=0.3)
    quick = hedged(
        answering(3.0, v.OK), answering(1.0, v.OK),
        own="a", after=0.5, promise=Promise(answer=(0.95, 5.0)),
    )  # fmt: skip
    quick.slow_by(a=0.2, b=1.0)
    assert told(quick.run()) == [("a", "first", "ok")], "it kept the promise alone"


def test_hedges_are_a_share_of_the_calls():
    """Of many slow calls at most one in twenty gets a second attempt."""

    async def slow(call: Call) -> Reply:
        await asyncio.sleep(2.0)
        return await answering(v.OK)(call)

    world = hedged(slow, answering(v.OK), own="ab", after=1.0, tokens=0.0)
    first = Effect("always", prefer=frozenset({"a"}))
    world.route = msgspec.structs.replace(world.route, rules=lambda call: (first,))
    seen = [told(world.run(arrived=world.clock(), deadline=world.clock() + 30)) for _ in range(200)]
    count = sum(len(one) == 2 for one in seen)
    assert 0 < count <= 0.05 * len(seen)


def test_a_failed_hedge_leaves_the_first_alone():
    """Whatever the second attempt ends with, the first goes on; when both fail the next is asked."""
    broken = RuntimeError("a bug of the second")
    world = hedged(answering(3.0, v.OK), answering(broken), own="ab", after=1.0)
    assert told(world.run())[0] == ("a", "first", "ok")
    world = hedged(
        answering(3.0, v.FAULT), answering(v.FAULT), answering(v.OK), own="abc", after=1.0
    )
    assert [n for _, _, n in told(world.run())] == ["fault", "fault", "ok"]
    assert world.at_rest()


def test_a_client_who_leaves_ends_both():
    """Cancelling a hedged call cancels both attempts; every permit comes back."""
    world = hedged(answering(9.0, v.OK), answering(9.0, v.OK), own="ab", after=1.0)

    async def leave() -> BaseException:
        task = asyncio.create_task(world.service()(a_call()))
        await asyncio.sleep(2.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    gone = play(leave(), world.clock)
    assert told(gone) == [("a", "first", "cancelled"), ("b", "hedge", "cancelled")]
    assert world.at_rest()


ENDINGS = st.sampled_from([*v.ALL, None, Usage(5, 5), 0.5, 1.5, 4.0])


@given(st.lists(st.lists(ENDINGS, min_size=1, max_size=3), min_size=2, max_size=4), st.text("abcd"))
def test_every_permit_comes_back_from_a_race(scripts, own):
    """However hedged attempts end, no slot stays taken and the costs of all attempts add up."""
    plays = [answering(*[*s, v.OK] if isinstance(s[-1], float) else s) for s in scripts]
    world = hedged(*plays, own=own, after=1.0, paid_twice=True)
    try:
        trail = world.run().trail
    except RouterError as exc:
        trail = exc.trail
    assert world.at_rest()
    assert trail.sent <= world.route.attempts
    assert len({a.backend for a in trail.attempts}) == len(trail.attempts)


# Streams that go on elsewhere.


def resuming(*scripts: Service) -> World:
    return World(*scripts, resume=True)


def test_a_broken_stream_is_continued_and_says_so():
    """The next backend is asked to go on from what was sent; a note in the stream tells it."""
    end = Finish(reason="stop")
    world = resuming(
        streaming(Delta(text="one, "), Delta(text="two, "), BrokenStream("reset"), name="a"),
        streaming(Delta(text="three"), end, name="b"),
    )

    async def whole() -> tuple[Reply, list[Any]]:
        reply = await world.service()(a_call(stream=True))
        return reply, await drain(reply)

    reply, events = play(whole(), world.clock)
    assert events == [
        Delta(text="one, "), Delta(text="two, "), Note(text="a broke off; b goes on"),
        Delta(text="three"), end,
    ]  # fmt: skip
    assert told(reply) == [("a", "first", "lost"), ("b", "resume", "ok")]
    assert (reply.backend, reply.usage) == ("b", USED)
    *_, said, wish = world.calls[1].request.messages
    assert (said.role, said.text, wish.text) == ("assistant", "one, two, ", GO_ON)
    assert reply.trail.attempts[0].cost >= QUOTE, "what broke may be billed"
    assert world.at_rest()


def test_without_anybody_left_it_is_an_error():
    """A stream that nobody can continue is broken, never a normal end."""
    world = resuming(streaming(Delta(text="one"), BrokenStream("reset")), answering(v.FAULT))

    async def whole() -> None:
        reply = await world.service()(a_call(stream=True))
        assert reply.events is not None
        try:
            async for _ in reply.events:
                pass
        finally:
            reply.close(v.LOST)

    with pytest.raises(BrokenStream):
        play(whole(), world.clock)
    assert world.at_rest()


@pytest.mark.parametrize(
    ("changes", "can"),
    [
        ({"stream": True}, True),
        ({}, False),
        ({"stream": True, "extras": frozenset({"tools"})}, False),
        ({"stream": True, "request": ChatRequest(messages=(), n=2)}, False),
        ({"stream": True, "request": ChatRequest(messages=(Message(role="user", text="", plain=False),))}, False),
        ({"stream": True, "request": CompleteRequest(prompts=("a",))}, True),
        ({"stream": True, "request": CompleteRequest(prompts=("a", "b"))}, False),
    ],
)  # fmt: skip
def test_what_can_be_continued(changes, can):
    """Streams of one text without anything that the hub does not hold."""
    assert resumable(a_call(**changes)) is can


@given(st.text(max_size=500))
def test_a_continued_call_is_bounded_by_the_first(said):
    """It never asks for more output than the first did, and its bounds cover what was said."""
    call = a_call(stream=True)
    more = continued(call, said)
    assert 1 <= more.output_limit <= call.output_limit
    assert more.input_bound - call.input_bound >= (len(said.encode()) if said else 0)


# What a refusal says.


def test_the_first_refusal_names_the_vendors_moment():
    """A vendor that has just asked for 20 s is not said to be back in one."""
    world = World(answering(throttled(20.0)))
    assert world.fail(NoBackend).retry_after == pytest.approx(20.0)


def test_a_page_that_is_still_to_be_read_is_no_good_news():
    """A backend with a status page counts as down until it was read, but not for ever."""
    now = FakeClock()
    health = Health(now, awaited=True)
    assert not health.ready()
    health.tell(up=True)
    assert health.ready()
    health.miss("no answer")
    assert health.ready(), "once is no news"
    health.tell(up=True)
    health.miss("no answer")
    health.miss("no answer")
    assert health.ready(), "nor is it for a moment"
    now.pass_(GONE)
    health.miss("no answer")
    assert not health.ready()
    health.tell(up=True)
    assert health.ready()
    first = Health(now, awaited=True)
    first.miss("no answer")
    assert not first.ready()
    assert first.detail == "no answer", "nothing was known: it is told at once"
    waiting = Health(now, awaited=True)
    now.pass_(10.1)
    assert waiting.ready(), "then only calls can show how it is"
