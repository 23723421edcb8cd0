"""Walking a plan, and what the attempts cost: fail-over, limits, the last word, permits, money."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from router.core import verdict as v
from router.core.call import Call, Outcome, Usage
from router.core.ending import Ending
from router.core.errors import (
    AttemptFailed,
    BadRequest,
    BrokenStream,
    DeadlineExceeded,
    Forbidden,
    NoBackend,
    Overloaded,
    RouterError,
    TooExpensive,
)
from router.core.reply import Reply
from router.core.service import Service
from router.core.task import ChatRequest, Message
from router.core.trail import Trail
from router.gates.forecast import Forecast
from router.gates.meter import Meter
from router.layers.dispatch import dispatch
from router.layers.observe import observe
from router.layers.spend import spend
from router.route import Backend, Effect, Promise
from tests.fakes import (
    OWN,
    PAID,
    USED,
    FakeClock,
    Recorder,
    a_backend,
    a_call,
    a_route,
    answering,
    drain,
    play,
    streaming,
)

QUOTE = PAID.quote(a_call(), 30.0)
COST = PAID.of(USED)


class World:
    """Paid backends by name, in order of price, each with a script."""

    def __init__(self, *scripts: Service, **changes: Any) -> None:
        self.clock = FakeClock()
        self.asked: list[str] = []
        self.backends = [
            a_backend(
                name,
                self._noted(name, script),
                clock=self.clock,
                price=msgspec.structs.replace(PAID, output_token=PAID.output_token + i),
            )
            for i, (name, script) in enumerate(zip("abcdef", scripts, strict=False))
        ]
        self.route = a_route(*self.backends, **changes)

    def _noted(self, name: str, script: Service) -> Service:
        async def service(call: Call) -> Reply:
            self.asked.append(name)
            return await script(call)

        return service

    async def ask(self, **changes: Any) -> Reply:
        return await dispatch({"chat": self.route}, self.clock)(a_call(**changes))

    def run(self, **changes: Any) -> Reply:
        reply = play(self.ask(**changes), self.clock)
        reply.close()
        return reply

    def fail(self, kind: type[RouterError], **changes: Any) -> RouterError:
        with pytest.raises(kind) as caught:
            play(self.ask(**changes), self.clock)
        assert type(caught.value) is kind
        return caught.value

    def at_rest(self) -> bool:
        return all(b.gates.in_flight.count == b.gates.meter.in_flight == 0 for b in self.backends)


def trail_of(ended: Any) -> Trail:
    assert isinstance(ended.trail, Trail)
    return ended.trail


# Fail over.


def test_the_first_that_answers_is_final():
    """A good first answer is returned and nobody else is asked."""
    world = World(answering(v.OK), answering(v.OK))
    reply = world.run()
    assert world.asked == ["a"]
    assert [x.verdict for x in trail_of(reply).attempts] == [v.OK]
    assert world.at_rest()


@pytest.mark.parametrize(
    "verdict", [x for x in v.ALL if x.try_next and x is not v.REJECTED], ids=lambda x: x.name
)
def test_the_next_is_tried(verdict):
    """After an ending that another backend may do better than, the next in order is asked."""
    world = World(answering(verdict), answering(v.OK))
    reply = world.run()
    assert world.asked == ["a", "b"]
    assert [x.verdict for x in trail_of(reply).attempts] == [verdict, v.OK]
    assert world.at_rest()


def test_what_is_invalid_for_one_is_final():
    """A backend that holds the request itself against the client ends the call, as a reply."""
    world = World(answering(v.INVALID), answering(v.OK))
    reply = world.run()
    assert world.asked == ["a"]
    assert (reply.status, reply.verdict, reply.cost) == (400, v.INVALID, 0)
    assert reply.failure is not None


@pytest.mark.parametrize("bug", [ValueError("a bug"), BadRequest("the client's")])
def test_what_is_no_failure_of_a_backend_is_raised(bug):
    """An error that says nothing about the backend is no reason to ask another one."""
    world = World(answering(bug), answering(v.OK))
    with pytest.raises(type(bug)) as caught:
        play(world.ask(), world.clock)
    assert world.asked == ["a"]
    assert isinstance(caught.value.trail, Trail)
    assert world.at_rest()


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_attempts_are_limited(attempts):
    """No more backends are asked than the route allows; those left are named as not tried."""
    world = World(*[answering(v.FAULT)] * 4, attempts=attempts)
    error = world.fail(NoBackend)
    assert world.asked == list("abcd"[:attempts])
    for name in "abcd"[attempts:]:
        assert f"{name}: not tried" in str(error)
    assert world.at_rest()


def test_a_refusal_of_a_gate_is_no_attempt():
    """A backend whose gate said no in the meantime does not use up an attempt."""
    world = World(answering(Overloaded("full")), answering(v.OK), attempts=1)
    reply = world.run()
    assert world.asked == ["a", "b"]
    assert trail_of(reply).sent == 1


def test_extra_attempts_need_an_allowance():
    """When the next backend's allowance is spent it is passed over, and the one after it is asked."""
    world = World(answering(v.FAULT), answering(v.OK), answering(v.OK))
    retries = world.backends[1].gates.retries
    while retries.ready():
        retries.acquire(a_call())
    reply = world.run()
    assert world.asked == ["a", "c"]
    told = [(x.backend, x.verdict.name) for x in trail_of(reply).attempts]
    assert told == [("a", "fault"), ("b", "rejected"), ("c", "ok")]


def test_only_extra_attempts_take_from_an_allowance():
    """Calls earn each backend of their plan a share; each extra one takes one from whom it is sent to."""
    world = World(answering(v.FAULT), answering(v.OK))
    before = [b.gates.retries._tokens for b in world.backends]
    world.run()
    after = [b.gates.retries._tokens for b in world.backends]
    assert after == [pytest.approx(before[0] + 0.1), pytest.approx(before[1] + 0.1 - 1.0)]


def test_a_call_earns_its_share_once():
    """However many gates refused it before it was sent to somebody."""
    world = World(answering(Overloaded("full")), answering(Overloaded("full")), answering(v.OK))
    before = [b.gates.retries._tokens for b in world.backends]
    world.run()
    after = [b.gates.retries._tokens for b in world.backends]
    assert after == [pytest.approx(tokens + 0.1) for tokens in before]


def test_no_attempt_starts_after_the_deadline():
    """A failure that comes too late is the last one; nobody else is called, nor blamed."""
    world = World(answering(31.0, v.LOST), answering(v.OK))
    error = world.fail(DeadlineExceeded)
    assert world.asked == ["a"]
    assert error.status == 504
    assert "b: not tried, the deadline has passed" in str(error)
    assert world.at_rest()


def test_a_wait_that_ends_at_the_deadline_is_late():
    """On the server's own loop, whose timers may fire before their moment: late, nobody else asked.

    One in twenty fires early, so that 400 calls leave no room for luck.
    """

    async def waits(call: Call) -> Reply:
        try:
            async with asyncio.timeout_at(call.deadline):
                return await asyncio.Future()
        except TimeoutError:
            raise AttemptFailed("a", v.LATE, "no answer") from None

    async def calls() -> list[Reply | BaseException]:
        now = time.monotonic()
        backends = [
            a_backend(name, service, clock=time.monotonic, in_flight=400)
            for name, service in (("a", waits), ("b", answering(v.OK)))
        ]
        service = dispatch({"chat": a_route(*backends)}, time.monotonic)
        each = [a_call(arrived=now, deadline=now + 0.05 + i / 7919) for i in range(400)]
        return await asyncio.gather(*map(service, each), return_exceptions=True)

    ends = uvloop.run(calls())
    assert {type(end) for end in ends} == {DeadlineExceeded}


def test_a_call_that_comes_too_late_asks_nobody():
    """A deadline that has passed before the plan leaves every backend."""
    world = World(answering(v.OK))
    error = world.fail(DeadlineExceeded, deadline=999.0)
    assert world.asked == []
    assert "allow more time" in str(error)


def test_a_cancelled_call_asks_nobody_else():
    """A client who leaves ends the walk; every permit comes back and the trail says so."""
    world = World(answering(5.0, v.OK), answering(v.OK))

    async def leave() -> BaseException:
        task = asyncio.create_task(world.ask())
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    gone = play(leave(), world.clock)
    assert world.asked == ["a"]
    assert world.at_rest()
    (attempt,) = trail_of(gone).attempts
    assert (attempt.verdict, attempt.cost) == (v.CANCELLED, QUOTE)
    assert attempt.seconds == pytest.approx(1.0)


ENDINGS = st.sampled_from([*v.ALL, ValueError("bug"), Overloaded("full"), None, Usage(5, 5)])


@given(st.lists(ENDINGS, min_size=1, max_size=5), st.integers(1, 4))
def test_every_permit_comes_back(endings, attempts):
    """However the attempts end, no slot stays taken and the costs of all attempts add up."""
    world = World(*[answering(e) for e in endings], attempts=attempts)
    try:
        reply = world.run()
    except (RouterError, ValueError) as exc:
        trail = exc.trail
    else:
        trail = reply.trail
        assert reply.cost == trail.attempts[-1].cost
    assert world.at_rest()
    assert trail.sent <= attempts
    assert trail.cost == sum(x.cost for x in trail.attempts)
    for x in trail.attempts:
        wanted = {"nothing": {0}, "quote": {QUOTE + i * 50 for i in range(5)}}
        assert x.verdict.charge == "usage" or x.cost in wanted[x.verdict.charge]


# Nobody could serve: whose fault is it, and what can be done.


def nobody(*backends: Backend, rules: Any = None, **changes: Any) -> RouterError:
    clock = FakeClock()
    route = a_route(*backends, rules=rules or (lambda call: ()))
    with pytest.raises(RouterError) as caught:
        play(dispatch({"chat": route}, clock)(a_call(**changes)), clock)
    for backend in backends:
        assert f"{backend.name}: " in str(caught.value)
    assert "'chat'" in str(caught.value)
    assert trail_of(caught.value).attempts == []
    return caught.value


CLOCK = FakeClock()
UNFIT = a_backend("unfit", clock=CLOCK, unfit="local models do not know: tools")
SMALL = a_backend("small", clock=CLOCK, context=10)
DEAR = a_backend("dear", clock=CLOCK)
FULL = a_backend("full", clock=CLOCK, in_flight=0, price=OWN)


@pytest.mark.parametrize(
    ("backends", "changes", "kind", "code", "advice"),
    [
        ([UNFIT], {}, BadRequest, "unsupported_parameter", "Leave the parameter out"),
        ([SMALL], {}, BadRequest, "context_length_exceeded", "Shorten the prompt"),
        ([UNFIT, SMALL], {}, BadRequest, "context_length_exceeded", "use another route"),
        ([DEAR], {"max_cost": 1}, TooExpensive, "max_cost_exceeded", "Raise max_cost_usd"),
        ([DEAR, UNFIT], {"max_cost": 1}, TooExpensive, "max_cost_exceeded", "fewer tokens"),
        ([DEAR], {"tags": frozenset({"local_only"})}, Forbidden, "forbidden", "rules"),
        ([DEAR], {"deadline": 999.0}, DeadlineExceeded, "deadline_exceeded", "more time"),
        ([FULL], {}, NoBackend, "no_backend_available", "Try again"),
        ([FULL, UNFIT], {}, NoBackend, "no_backend_available", "Try again"),
        ([FULL, DEAR], {"max_cost": 1}, NoBackend, "no_backend_available", "Try again"),
    ],
)
def test_a_refusal_says_whose_fault_it_is(backends, changes, kind, code, advice):
    """With no backend to try, status and code say why, and the message names each and what to do."""
    error = nobody(*backends, **changes)
    assert type(error) is kind
    assert (error.code, error.status) == (code, kind.status)
    assert advice in str(error)


def test_a_rule_that_leaves_nobody_is_named():
    """When the rules leave no backend, the rule stands in the message."""
    effect = Effect("key.team == 'batch'", exclude=frozenset({"dear"}))
    error = nobody(DEAR, rules=lambda call: (effect,))
    assert error.status == 403
    assert "key.team == 'batch'" in str(error)


def test_unfit_for_all_is_the_clients_to_change():
    """When every backend found the call unfit for it, that is a bad request, with what each said."""
    world = World(answering(v.UNFIT), answering(v.UNFIT))
    error = world.fail(BadRequest)
    assert error.status == 400
    assert "a: unfit" in str(error)
    assert "b: unfit" in str(error)


def test_failures_of_all_name_each_and_ask_for_patience():
    """When all failed, the error names each with its verdict and detail, and when to come back."""
    world = World(answering(v.FAULT), answering(v.UNFIT), answering(v.THROTTLED))
    error = world.fail(NoBackend)
    for said in ("a: fault (scripted fault)", "b: unfit", "c: throttled", "Try again"):
        assert said in str(error)
    assert error.retry_after >= 1.0


def test_the_moment_to_come_back_is_that_of_the_first_to_come_back():
    """Retry-After is the least wait among those that a gate keeps out; those left for good do not count."""
    clock = FakeClock()
    slow, quick, unfit = (
        a_backend("slow", clock=clock),
        a_backend("quick", clock=clock),
        a_backend("unfit", clock=clock, unfit="no tools"),
    )
    for backend, seconds in ((slow, 40.0), (quick, 20.0)):
        backend.gates.pause.acquire(a_call())(Outcome(v.THROTTLED, 0.1, retry_after=seconds))
    assert nobody(slow, quick, unfit).retry_after == 20.0
    assert nobody(slow, unfit).retry_after == 40.0


# Money.


@pytest.mark.parametrize(
    ("ending", "cost"),
    [
        (v.OK, COST),
        (Usage(7, 0), PAID.of(Usage(7, 0))),
        (None, QUOTE),
        (v.INVALID, 0),
        (v.UNFIT, 0),
        (v.DENIED, 0),
        (v.THROTTLED, 0),
        (v.FAULT, 0),
        (v.LOST, QUOTE),
        (Overloaded("full"), 0),
        (asyncio.CancelledError(), QUOTE),
    ],
    ids=str,
)
def test_an_attempt_is_charged_by_the_table(ending, cost):
    """Usage, the whole quote or nothing, as the verdict's row says; without usage the quote."""
    clock = FakeClock()
    service = spend(PAID, Meter(clock), clock)(answering(ending))
    try:
        reply = play(service(a_call()), clock)
    except BaseException as exc:  # noqa: BLE001
        assert exc.cost == cost  # type: ignore[attr-defined]  # noqa: PT017
    else:
        assert reply.cost == cost


@pytest.mark.parametrize("price", [OWN, PAID], ids=["machine", "paid"])
@pytest.mark.parametrize("ending", [v.INVALID, v.UNFIT])
def test_a_refused_request_costs_nothing(price, ending):
    """Nobody pays for being told that a request is wrong, however long that took."""
    clock = FakeClock()
    try:
        cost = play(spend(price, Meter(clock), clock)(answering(2.0, ending))(a_call()), clock).cost
    except AttemptFailed as exc:
        cost = exc.cost
    assert cost == 0


@pytest.mark.parametrize("ending", [v.OK, None, v.FAULT, v.LOST, v.THROTTLED])
def test_a_machine_is_charged_by_its_seconds(ending):
    """A machine of one's own costs the seconds it took, however they ended, over its shared calls."""
    clock = FakeClock()
    meter = Meter(clock)
    meter.shared = 4.0
    service = spend(OWN, meter, clock)(answering(2.0, ending))
    try:
        cost = play(service(a_call()), clock).cost
    except AttemptFailed as exc:
        cost = exc.cost
    assert cost == OWN.machine_second * 2 // 4


@pytest.mark.parametrize(
    ("verdict", "usage", "cost"),
    [
        (v.OK, USED, COST),
        (v.OK, None, QUOTE),
        (v.LOST, None, QUOTE),
        (v.LOST, USED, COST),
        (v.CANCELLED, None, QUOTE),
        (v.CANCELLED, USED, COST),
    ],
)
def test_a_stream_is_charged_when_it_is_closed(verdict, usage, cost):
    """A stream's cost is unknown until it is closed, then its usage decides, or the quote."""
    clock = FakeClock()

    async def read() -> Reply:
        reply = await spend(PAID, Meter(clock), clock)(streaming())(a_call())
        assert reply.cost is None
        reply.usage = usage
        reply.close(verdict)
        return reply

    assert play(read(), clock).cost == cost


def test_costs_add_up_over_attempts():
    """A lost attempt may be billed: the call's cost is its quote and the cost of the answer."""
    world = World(answering(v.LOST), answering(v.OK))
    reply = world.run()
    assert reply.cost == PAID.of(USED) + USED.output_tokens
    assert trail_of(reply).cost == QUOTE + reply.cost


def test_a_failed_call_tells_its_cost():
    """What lost attempts may have cost stands on the last error."""
    world = World(answering(v.LOST), answering(v.FAULT))
    error = world.fail(NoBackend)
    assert error.cost == QUOTE == trail_of(error).cost


@pytest.mark.parametrize("by", ["call", "route"])
def test_attempts_together_stay_within_the_limit(by):
    """After a lost attempt nobody is asked who could take the call past its limit."""
    limit = 2 * QUOTE - 1
    promise = Promise(max_cost=limit if by == "route" else None)
    world = World(answering(v.LOST), answering(v.OK), promise=promise)
    error = world.fail(NoBackend, max_cost=limit if by == "call" else None)
    assert world.asked == ["a"]
    assert "b: not tried, it could take the call past" in str(error)


def test_a_free_backend_still_helps_when_the_limit_is_spent():
    """Money that was lost keeps nobody from a backend that owes no vendor anything."""
    clock = FakeClock()
    paid = a_backend("paid", answering(v.LOST), clock=clock)
    other = a_backend("other", answering(v.OK), clock=clock)
    own = a_backend("own", clock=clock, price=OWN, local=True)
    prefer = (Effect("r", prefer=frozenset({"paid", "other"})),)
    route = a_route(own, paid, other, rules=lambda call: prefer)
    service = dispatch({"chat": route}, clock)
    reply = play(service(a_call(max_cost=2 * QUOTE - 1)), clock)
    assert reply.backend == "own"


def test_a_stream_that_breaks_is_lost_and_settled_once():
    """After the first event nobody else is asked; closing as LOST charges and frees everything."""
    world = World(streaming(b"x", 2.0, BrokenStream("cut")), answering(v.OK))

    async def read() -> Reply:
        reply = await world.ask(stream=True)
        assert world.backends[0].gates.in_flight.count == 1
        assert await drain(reply) == [b"x"]
        return reply

    reply = play(read(), world.clock)
    (attempt,) = trail_of(reply).attempts
    assert (attempt.verdict, attempt.cost) == (v.LOST, QUOTE)
    assert attempt.seconds == pytest.approx(2.0)
    assert world.asked == ["a"]
    assert world.at_rest()


# The outermost layer.


def observed(world: World, **changes: Any) -> tuple[Call, Ending]:
    """The one record that a call leaves."""
    record = Recorder()
    service = observe(record, world.clock)(dispatch({"chat": world.route}, world.clock))
    call = a_call(**changes)

    async def run() -> None:
        try:
            reply = await service(call)
        except (RouterError, ValueError, asyncio.CancelledError):
            return
        if reply.events is None:
            reply.close()
        else:
            await drain(reply)

    play(run(), world.clock)
    ((seen, ending),) = record.seen
    assert seen is call
    return ending


def test_an_answer_is_recorded_once():
    """A closed reply leaves one record: verdict, who answered, seconds from arrival, cost, trail."""
    ending = observed(World(answering(2.0, v.OK)), arrived=999.0)
    assert (ending.verdict, ending.status, ending.backend) == (v.OK, 200, "fake")
    assert ending.seconds == pytest.approx(3.0)
    assert (ending.usage, ending.cost, ending.error) == (USED, COST, "")


def test_a_stream_is_recorded_after_its_last_byte():
    """The record of a stream has its whole time, and its cost after it was settled."""
    ending = observed(World(streaming(b"x", 4.0, b"y")), stream=True)
    assert (ending.seconds, ending.cost, ending.usage) == (pytest.approx(4.0), COST, USED)


@pytest.mark.parametrize(
    ("raised", "name", "status", "text"),
    [
        (v.LOST, "lost", 503, "a: lost"),
        (ValueError("secret prompt"), "fault", 500, "ValueError"),
        (asyncio.CancelledError(), "cancelled", 499, "the client left"),
        (BadRequest("no"), "invalid", 400, "no"),
    ],
    ids=str,
)
def test_what_is_raised_is_recorded(raised, name, status, text):
    """A call without an answer leaves one record with its status; a bug's own words stay inside."""
    ending = observed(World(answering(raised)))
    assert (ending.verdict.name, ending.status) == (name, status)
    assert text in ending.error
    assert "prompt" not in ending.error
    assert ending.trail is not None
    assert ending.cost == ending.trail.cost


# Forecasts.


def tell(
    forecast: Forecast, usage: Usage | None, verdict: v.Verdict = v.OK, **changes: Any
) -> None:
    forecast.acquire(a_call(**changes))(Outcome(verdict, 1.0, usage))


def test_unknown_output_is_the_maximum():
    """Before any answer the call's own maximum is predicted; later never more than it."""
    forecast = Forecast()
    assert forecast.output_tokens(a_call(output_limit=50)) == 50.0
    tell(forecast, Usage(100, 400))
    assert forecast.output_tokens(a_call(output_limit=50)) == 50.0
    assert forecast.output_tokens(a_call(output_limit=1000)) == 400.0


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=50))
def test_predicted_output_lies_among_what_was_seen(seen):
    """The slow mean of answers stays between the shortest and the longest."""
    forecast = Forecast()
    for tokens in seen:
        tell(forecast, Usage(100, tokens))
    assert min(seen) - 1e-6 <= forecast.output <= max(seen) + 1e-6


def test_bytes_per_token_are_learned():
    """Long texts teach how many bytes a token takes, within bounds; short ones are mostly frame."""
    forecast = Forecast()
    for _ in range(200):
        tell(forecast, Usage(32, 1), text_bytes=6)
    assert forecast.bytes_per_token == 4.0
    for _ in range(200):
        tell(forecast, Usage(1000, 1), text_bytes=2000)
    assert forecast.bytes_per_token == pytest.approx(2.0, rel=0.05)
    for _ in range(500):
        tell(forecast, Usage(10**9, 1), text_bytes=2000)
    assert forecast.bytes_per_token >= 1.0


@pytest.mark.parametrize("verdict", [x for x in v.ALL if x.charge != "usage"], ids=lambda x: x.name)
def test_only_answers_teach(verdict):
    """An ending without an answer teaches nothing, whatever usage it has."""
    forecast = Forecast()
    tell(forecast, Usage(1000, 1000), verdict)
    tell(forecast, None)
    assert (forecast.output, forecast.bytes_per_token) == (None, 4.0)


def test_a_message_is_no_secret_keeper():
    """Calls hold their texts; nothing in a trail does."""
    world = World(answering(v.FAULT))
    call = a_call(request=ChatRequest(messages=(Message(role="user", text="s3cret"),)))
    with pytest.raises(NoBackend) as caught:
        play(dispatch({"chat": world.route}, world.clock)(call), world.clock)
    assert "s3cret" not in str(caught.value)
