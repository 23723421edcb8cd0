"""Answers given again: to whom, for how long, by whom they are asked for, and what is never kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from router.cache.memory import Memory
from router.cache.redis import Shared
from router.cache.stores import Stores
from router.core import verdict as v
from router.core.call import Call, Key, Usage
from router.core.errors import (
    BadRequest,
    BrokenStream,
    BudgetSpent,
    DeadlineExceeded,
    NoBackend,
    Overloaded,
)
from router.core.reply import CACHE, Reply
from router.core.service import Service, stack
from router.core.task import (
    Annotated,
    AnnotateRequest,
    AnnotateResult,
    ChatRequest,
    Delta,
    EmbedRequest,
    Finish,
    Message,
    Note,
    TextResult,
)
from router.core.trail import Trail
from router.layers.cache import Policy, cache
from router.layers.dispatch import dispatch
from router.layers.observe import observe
from router.route import Backend, Effect, Route
from tests.fakes import (
    USED,
    FakeClock,
    FakeRedis,
    Recorder,
    a_backend,
    a_call,
    a_route,
    answering,
    drain,
    play,
    settle,
    streaming,
)

TTL, STALE = 60.0, 600.0
ZERO = ChatRequest(messages=(Message(role="user", text="hello"),), temperature=0.0)


def asked(**changes: Any) -> Call:
    return a_call(**({"request": ZERO} | changes))


class Counting:
    """A service that counts who asks it, and how many at once."""

    def __init__(self, inner: Service) -> None:
        self._inner = inner
        self.calls: list[Call] = []
        self.now = self.most = 0

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await self._inner(call)
        finally:
            self.now -= 1


class House:
    """One cached route over scripted backends, on a clock of its own."""

    def __init__(
        self,
        *scripts: Service,
        stale: float = 0.0,
        shared: bool = False,
        redis: FakeRedis | None = None,
        **route: Any,
    ) -> None:
        self.clock, self.wall = FakeClock(), FakeClock(1_790_000_000.0)
        self.backends: list[Backend] = []
        self.counts = [Counting(script) for script in scripts]
        for index, count in enumerate(self.counts):
            made = a_backend(f"b{index}", count, clock=self.clock, local=index > 0, in_flight=99)
            self.backends.append(made)
        self.route: Route = a_route(
            *self.backends, baseline=self.backends[0] if scripts else None, **route
        )
        self.memory = Memory(1_000_000, self.clock)
        self.shared = Shared(redis, 0.05, self.clock) if redis else None
        self.stores = Stores(self.memory, self.shared, self.clock, self.wall)
        self.policy = Policy(self.route, TTL, stale, shared, b"config")
        self.told = Recorder()
        self.service = stack(
            observe(self.told, self.clock),
            cache({"chat": self.policy}, self.stores, self.clock, self.wall),
            service=dispatch({"chat": self.route}, self.clock),
        )

    @property
    def sent(self) -> int:
        """Calls that reached a backend."""
        return sum(len(count.calls) for count in self.counts)

    async def ask(self, **changes: Any) -> Reply:
        """A whole answer, closed as a door does."""
        call = asked(**({"arrived": self.clock(), "deadline": self.clock() + 30.0} | changes))
        reply = await self.service(call)
        if reply.events is None:
            reply.close()
        return reply

    def pass_(self, seconds: float) -> None:
        self.clock.pass_(seconds)
        self.wall.pass_(seconds)


def state(reply: Reply) -> str:
    assert reply.cache is not None
    return reply.cache.state


def test_an_equal_call_gets_the_answer_again_and_costs_nothing() -> None:
    """No backend is asked, nothing is paid, the saving is the whole price at the baseline."""
    house = House(answering())

    async def run() -> None:
        first = await house.ask()
        house.pass_(42.0)
        again = await house.ask(id="c2")
        assert (state(first), state(again), house.sent) == ("miss", "hit", 1)
        assert again.result == first.result == TextResult(texts=("hi",), finish=("stop",))
        assert again.cache is not None
        assert (again.cache.age, again.backend, again.cost) == (42.0, CACHE, 0)
        assert isinstance(again.trail, Trail)
        assert (again.trail.cost, again.trail.sent) == (0, 0)
        assert house.backends[0].price.of(USED) == first.cost

    play(run(), house.clock)
    (_, missed), (_, hit) = house.told.seen
    assert (missed.cache, missed.backend) == ("miss", "fake")
    assert (hit.cache, hit.backend, hit.cost, hit.usage, hit.verdict) == (
        "hit",
        CACHE,
        0,
        USED,
        v.OK,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"key": Key("ann")},
        {"key": Key("anonymous", team="red")},
        {"tags": frozenset({"a"})},
        {"path": "/v1/responses"},
        {"wire": "native"},
        {"text": "x", "request": ChatRequest(messages=ZERO.messages, temperature=0.0, n=2)},
        {"stream": True},
    ],
)
def test_a_call_that_differs_is_asked_for(changes: dict[str, Any]) -> None:
    """Another key, another tag, another form: another answer."""
    changes.pop("text", None)
    house = House(answering())

    async def run() -> None:
        await house.ask()
        reply = await house.ask(**changes)
        assert (state(reply), house.sent) == ("miss", 2)

    play(run(), house.clock)


def test_keys_share_answers_only_where_the_route_says_so() -> None:
    """What one key was told is nobody else's, unless the configuration says it is."""
    for shared, expected in ((False, "miss"), (True, "hit")):
        house = House(answering(), shared=shared)

        async def run(house: House = house, expected: str = expected) -> None:
            await house.ask(key=Key("ann", team="red"))
            assert state(await house.ask(key=Key("bob", team="blue"))) == expected

        play(run(), house.clock)


def test_an_answer_ends_with_its_time() -> None:
    """At `ttl` it is asked for anew, and the new one counts from then."""
    house = House(answering())

    async def run() -> None:
        await house.ask()
        house.pass_(TTL - 0.5)
        assert state(await house.ask()) == "hit"
        house.pass_(0.5)
        assert state(await house.ask()) == "miss"
        house.pass_(TTL - 0.5)
        assert state(await house.ask()) == "hit"
        assert house.sent == 2

    play(run(), house.clock)


def test_what_a_client_says_of_caching_holds() -> None:
    """no-cache asks anew and keeps the new answer; no-store neither takes nor keeps."""
    house = House(answering(Usage(1, 1), Usage(2, 2), Usage(3, 3)))

    async def run() -> None:
        assert state(await house.ask(caching="no-store")) == "bypass"
        assert state(await house.ask()) == "miss"
        fresh = await house.ask(caching="no-cache")
        assert (state(fresh), fresh.usage) == ("miss", Usage(3, 3))
        assert (await house.ask()).usage == Usage(3, 3)
        assert house.sent == 3

    play(run(), house.clock)


def test_a_call_with_chance_in_it_passes_by() -> None:
    """Its answer is not kept, and none is given."""
    house = House(answering())

    async def run() -> None:
        for _ in range(2):
            reply = await house.ask(request=ChatRequest(messages=ZERO.messages, temperature=0.7))
            assert state(reply) == "bypass"
        assert (house.sent, len(house.memory)) == (2, 0)

    play(run(), house.clock)


@pytest.mark.parametrize("ending", [v.INVALID, v.FAULT, v.LOST, v.THROTTLED])
def test_an_error_is_never_kept(ending: v.Verdict) -> None:
    """Not the vendor's refusal of the request, and no failure."""
    house = House(answering(ending, v.OK))

    async def run() -> None:
        try:
            reply = await house.ask()
            assert reply.failure is not None
        except NoBackend:
            pass
        assert len(house.memory) == 0
        house.pass_(30.0)
        reply = await house.ask()
        assert (state(reply), reply.failure) == ("miss", None)

    play(run(), house.clock)


def test_an_answer_that_failed_for_one_image_is_not_kept() -> None:
    """A part that is missing today may be there tomorrow."""

    async def partly(call: Call) -> Reply:
        result = AnnotateResult(images=(Annotated(), Annotated(error="too dark")))
        return Reply(backend="b0", result=result, usage=USED)

    house = House()
    request = AnnotateRequest(images=(b"1", b"2"), features=(("text", 1),))

    async def run() -> None:
        call = asked(task="annotate", request=request)
        service = cache({"chat": house.policy}, house.stores, house.clock, house.wall)(partly)
        assert state(await service(call)) == "miss"
        assert len(house.memory) == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (b'{"textAnnotations":[]}', "hit"),
        (b'{"error":{"code":3}}', "miss"),
        (b'{"textAnnotations":[],"error":{"code":14}}', "miss"),
    ],
)
def test_a_vendors_own_answer_that_failed_in_part_is_not_kept(second: bytes, expected: str) -> None:
    """Its bytes pass as they came, under status 200, with an error for one image in them."""
    house = House()

    async def vendor(call: Call) -> Reply:
        return Reply(backend="b0", body=b'{"responses":[{},%b]}' % second, usage=USED)

    service = cache({"chat": house.policy}, house.stores, house.clock, house.wall)(vendor)
    request = AnnotateRequest(images=(b"1", b"2"), features=(("text", 1),))
    call = asked(task="annotate", wire="google_vision", request=request)

    async def run() -> None:
        await service(call)
        assert state(await service(call)) == expected

    asyncio.run(run())


# --- streams


STREAM = (Delta(text="a"), b"raw", Finish(reason="stop"))


def test_a_stream_is_replayed_as_it_was() -> None:
    """The same events in the same order, with the same usage; nothing is asked or paid."""
    house = House(streaming(*STREAM))

    async def run() -> None:
        first = await house.ask(stream=True)
        assert await drain(first) == list(STREAM)
        again = await house.ask(stream=True)
        assert (state(again), again.usage, again.cost) == ("hit", USED, 0)
        assert await drain(again) == list(STREAM)
        assert house.sent == 1

    play(run(), house.clock)


def test_a_stream_that_broke_or_was_left_is_not_kept() -> None:
    """What is not whole must not pass as an answer later."""
    house = House(streaming(Delta(text="a"), BrokenStream("cut")))

    async def broken() -> None:
        await drain(await house.ask(stream=True))
        assert len(house.memory) == 0

    play(broken(), house.clock)
    house = House(streaming(*STREAM))

    async def left() -> None:
        reply = await house.ask(stream=True)
        assert reply.events is not None
        async for _ in reply.events:
            break
        await reply.events.aclose()  # type: ignore[attr-defined]
        reply.close(v.CANCELLED)
        # Read to its end, and then the client was gone before it heard so.
        reply = await house.ask(stream=True)
        assert reply.events is not None
        async for _ in reply.events:
            pass
        reply.close(v.CANCELLED)
        assert len(house.memory) == 0

    play(left(), house.clock)


def test_a_stream_that_is_too_long_passes_unkept() -> None:
    """Its client gets all of it; no more than the largest answer is ever held for keeping."""
    house = House(streaming(Delta(text="x" * 200_000), Finish(reason="stop")))

    async def run() -> None:
        got = await drain(await house.ask(stream=True))
        assert len(got) == 2
        assert len(house.memory) == 0
        assert state(await house.ask(stream=True)) == "miss"

    play(run(), house.clock)


def test_a_stream_that_another_backend_continued_is_not_kept() -> None:
    """It passes with its note; next time one backend may say all of it."""
    said = (Delta(text="a"), Note(text="b0 broke off; b1 goes on"), Finish(reason="stop"))
    house = House(streaming(*said))

    async def run() -> None:
        assert await drain(await house.ask(stream=True)) == list(said)
        assert len(house.memory) == 0
        assert state(await house.ask(stream=True)) == "miss"

    play(run(), house.clock)


# --- one asks for all


def test_equal_calls_that_come_together_are_asked_for_once() -> None:
    """Fifty at once make one call to a backend; the others share its answer for nothing."""
    house = House(answering(0.5, v.OK))

    async def run() -> None:
        replies = await asyncio.gather(*[house.ask(id=f"c{n}") for n in range(50)])
        assert house.sent == 1
        assert sorted(map(state, replies)) == ["miss"] + ["shared"] * 49
        assert {reply.result.texts for reply in replies} == {("hi",)}  # type: ignore[union-attr]
        assert sum(reply.cost or 0 for reply in replies) == house.backends[0].price.of(USED)

    play(run(), house.clock)


def test_when_the_leaders_client_leaves_one_of_the_others_asks() -> None:
    """Each time a leader leaves one takes over; never two at once, and all who stay are answered."""
    house = House(answering(1.0, 1.0, 1.0, v.OK))

    async def run() -> None:
        calls = [asyncio.create_task(house.ask(id=f"c{n}")) for n in range(10)]
        await asyncio.sleep(0.5)
        calls[0].cancel()
        await asyncio.sleep(0.5)
        calls[1].cancel()
        calls[5].cancel()  # a follower who leaves is missed by nobody
        replies = await asyncio.gather(*calls, return_exceptions=True)
        answered = [r for r in replies if isinstance(r, Reply)]
        assert len(answered) == 7
        assert house.sent == 3
        assert house.counts[0].most == 1

    play(run(), house.clock)


def test_one_who_leaves_at_its_turn_passes_it_on() -> None:
    """Leader and next leave in the same moment: the third asks."""
    house = House(answering(1.0, v.OK))

    async def run() -> None:
        calls = [asyncio.create_task(house.ask(id=f"c{n}")) for n in range(3)]
        await asyncio.sleep(0.5)
        calls[0].cancel()
        await asyncio.sleep(0)  # the turn is given, and not yet taken
        await asyncio.sleep(0)
        calls[1].cancel()
        replies = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(replies[2], Reply)

    play(run(), house.clock)


@pytest.mark.parametrize("own", [BudgetSpent("no money"), BadRequest("no"), DeadlineExceeded("x")])
def test_a_failure_of_the_leaders_own_is_nobody_elses(own: Exception) -> None:
    """Its money or its deadline: the next one asks, and everybody else is answered."""
    house = House(answering(0.2, own, v.OK))

    async def run() -> None:
        replies = await asyncio.gather(
            *[house.ask(id=f"c{n}") for n in range(8)], return_exceptions=True
        )
        failed = [r for r in replies if isinstance(r, BaseException)]
        assert len(failed) == 1
        assert house.sent == 2

    play(run(), house.clock)


def test_a_refusal_of_the_vendor_is_each_ones_own() -> None:
    """It cannot be shared as an answer, so each asks for itself, and none waits for all others."""
    house = House(answering(0.2, v.INVALID))

    async def run() -> None:
        replies = await asyncio.gather(*[house.ask(id=f"c{n}") for n in range(5)])
        assert all(reply.failure is not None for reply in replies)

    play(run(), house.clock)


def test_in_an_outage_two_ask_and_the_others_are_told() -> None:
    """No storm on backends that are down, and nobody waits for a hundred to fail in a row."""
    house = House(answering(0.5, NoBackend("down"), 0.5, NoBackend("down"), v.OK))

    async def run() -> None:
        started = house.clock()
        replies = await asyncio.gather(
            *[house.ask(id=f"c{n}") for n in range(100)], return_exceptions=True
        )
        assert all(isinstance(r, NoBackend) for r in replies)
        assert house.sent == 2
        assert house.clock() - started <= 1.01
        assert state(await house.ask()) == "miss"

    play(run(), house.clock)


def test_a_follower_waits_no_longer_than_its_own_deadline() -> None:
    """The leader's patience is not everybody's."""
    house = House(answering(20.0, v.OK))

    async def run() -> None:
        leader = asyncio.create_task(house.ask())
        await asyncio.sleep(0)
        started = house.clock()
        with pytest.raises(DeadlineExceeded):
            await house.ask(deadline=started + 1.0)
        assert house.clock() - started <= 1.01
        assert state(await leader) == "miss"

    play(run(), house.clock)


# --- stale


@pytest.mark.parametrize(
    "error", [NoBackend("x"), DeadlineExceeded("x"), Overloaded("x"), v.FAULT, v.LOST]
)
def test_an_old_answer_stands_in_when_no_backend_answers(error: Any) -> None:
    """Marked as stale, for as long as the route says, with the attempts that failed."""
    house = House(answering(v.OK, error), stale=STALE)

    async def run() -> None:
        first = await house.ask()
        house.pass_(TTL + 1.0)
        old = await house.ask()
        assert (state(old), old.result, old.backend) == ("stale", first.result, CACHE)
        assert old.cache is not None
        assert old.cache.age == TTL + 1.0
        assert isinstance(old.trail, Trail)
        assert old.trail.sent == (0 if isinstance(error, Overloaded | NoBackend) else 1)
        house.pass_(STALE)
        with pytest.raises(Exception, match=r"."):
            await house.ask()

    play(run(), house.clock)
    assert [ending.cache for _, ending in house.told.seen] == ["miss", "stale", ""]


def test_a_stale_answer_is_given_only_where_it_is_right() -> None:
    """Not on a route without `stale`, not for what is the call's own fault, not against no-cache."""

    async def refused(house: House, **changes: Any) -> None:
        await house.ask()
        house.pass_(TTL + 1.0)
        with pytest.raises((NoBackend, BudgetSpent)):
            await house.ask(**changes)

    for house, changes in (
        (House(answering(v.OK, v.FAULT)), {}),
        (House(answering(v.OK, BudgetSpent("x")), stale=STALE), {}),
        (House(answering(v.OK, v.FAULT), stale=STALE), {"caching": "no-cache"}),
    ):
        play(refused(house, **changes), house.clock)


def test_what_failed_before_a_stale_answer_is_still_paid() -> None:
    """A lost attempt may be billed: its cost stands, though the answer cost nothing."""
    house = House(answering(v.OK, v.LOST), stale=STALE)

    async def run() -> None:
        await house.ask()
        house.pass_(TTL + 1.0)
        old = await house.ask()
        assert isinstance(old.trail, Trail)
        assert old.trail.cost > 0

    play(run(), house.clock)
    assert house.told.seen[-1][1].cost > 0


def test_in_an_outage_everybody_gets_the_old_answer() -> None:
    """Those who lead and those who wait."""
    house = House(answering(v.OK, 0.2, v.FAULT), stale=STALE)

    async def run() -> None:
        await house.ask()
        house.pass_(TTL + 1.0)
        replies = await asyncio.gather(*[house.ask(id=f"c{n}") for n in range(20)])
        assert {state(reply) for reply in replies} == {"stale"}
        assert house.sent == 3

    play(run(), house.clock)


# --- the shared store


def test_replicas_find_each_others_answers() -> None:
    """One asks, the other finds it in the shared store, as old as it is."""
    redis = FakeRedis()
    one, two = House(answering(), redis=redis), House(answering(), redis=redis)

    async def ask(house: House, expected: str) -> None:
        assert state(await house.ask()) == expected
        await settle()

    play(ask(one, "miss"), one.clock)
    two.pass_(10.0)
    play(ask(two, "hit"), two.clock)
    assert (one.sent, two.sent) == (1, 0)
    assert redis.px == [int(TTL * 1000)]


@pytest.mark.parametrize("slow", [0.0, 60.0])
def test_a_shared_store_that_is_gone_changes_nothing(slow: float) -> None:
    """All calls are answered, and one of them waits for the timeout, once."""
    redis = FakeRedis(None if slow else ConnectionError("gone"), slow)
    house = House(answering(), redis=redis)

    async def run() -> None:
        started = house.clock()
        for n in range(50):
            request = ChatRequest(messages=(Message(role="user", text=str(n)),), temperature=0.0)
            assert state(await house.ask(request=request)) == "miss"
        assert house.clock() - started <= 0.051
        await settle()

    play(run(), house.clock)


def _confidential(call: Call) -> tuple[Effect, ...]:
    if "confidential" not in call.tags:
        return ()
    return (Effect("confidential", require=frozenset({"b1", "b2"})),)


def _remote(call: Call) -> tuple[Effect, ...]:
    return (Effect("small", exclude=frozenset({"b1"})),)


@pytest.mark.parametrize(
    ("rules", "tags", "leaves"),
    [
        (_confidential, {"local_only"}, False),
        (_confidential, {"confidential"}, False),
        (_confidential, {"public"}, True),
        (_remote, set(), True),
    ],
)
def test_what_must_stay_in_the_house_never_reaches_the_shared_store(
    rules: Any, tags: set[str], leaves: bool
) -> None:
    """By its tag or by a rule: not its answer, nor the question whether there is one."""
    redis = FakeRedis()
    house = House(answering(), answering(), answering(), redis=redis, rules=rules)

    async def run() -> None:
        for expected in ("miss", "hit"):
            assert state(await house.ask(tags=frozenset(tags))) == expected
            await settle()

    play(run(), house.clock)
    assert bool(redis.held) == bool(redis.asked) == leaves


def test_routes_without_a_cache_are_left_alone() -> None:
    """Their calls pass as they come, and say nothing of caching."""
    house = House(answering())
    passed = Recorder()

    async def inner(call: Call) -> Reply:
        passed(call)
        return Reply(backend="b")

    service = cache({"other": house.policy}, house.stores, house.clock, house.wall)(inner)
    call = asked()
    reply = asyncio.run(service(call))  # type: ignore[arg-type]
    assert reply.cache is None
    assert passed.seen == [(call,)]


def test_the_forecast_learns_from_backends_only() -> None:
    """A popular answer must not pass for what calls usually use."""
    house = House(answering(Usage(10, 40)))

    async def run() -> None:
        await house.ask()
        learned = house.route.forecast.output
        for _ in range(9):
            await house.ask()
        assert learned == house.route.forecast.output == 40.0
        request = ChatRequest(messages=ZERO.messages, temperature=0.0, seed=1)
        await house.ask(request=request)

    play(run(), house.clock)


def test_embeddings_are_kept_as_they_are() -> None:
    """No temperature is needed where there is no chance."""
    house = House(answering())

    async def run() -> None:
        request = EmbedRequest(texts=("a",))
        reply = await house.ask(request=request, extras=frozenset())
        assert state(reply) == "miss"
        assert state(await house.ask(request=request)) == "hit"

    play(run(), house.clock)
