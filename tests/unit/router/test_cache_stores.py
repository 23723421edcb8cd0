"""What is kept of answers: under which name, how much of it, for how long, and what Redis may do."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from router.cache.entry import pack, packed, unpack
from router.cache.key import UNNAMED, digest, settled
from router.cache.memory import OVERHEAD, PART, Memory
from router.cache.redis import FIRST, LARGEST, LONGEST, PENDING, Shared, connect
from router.cache.stores import Stores
from router.core.call import Call, Key, Usage
from router.core.reply import Reply
from router.core.task import (
    TASKS,
    Annotated,
    AnnotateResult,
    Annotation,
    Audio,
    ChatRequest,
    ClassifyResult,
    CompleteRequest,
    Delta,
    EmbedResult,
    Finish,
    Message,
    Ranking,
    Segment,
    SpeakResult,
    TextResult,
    TranscribeRequest,
    TranscribeResult,
    TranslateResult,
    Word,
)
from tests.fakes import FakeClock, FakeRedis, a_call, play, settle

CONFIG = b"config"
CHAT = ChatRequest(messages=(Message(role="user", text="hello"),), temperature=0.0)


def name(call: Call, config: bytes = CONFIG, *, shared: bool = False) -> bytes:
    found = digest(call, config, shared=shared)
    assert found is not None
    return found


# --- the name


OTHER: dict[str, Any] = {
    "route": "other",
    "task": "complete",
    "request": msgspec.structs.replace(CHAT, temperature=0.5),
    "wire": "torchserve",
    "fields": {"user": msgspec.Raw(b'"ann"')},
    "extras": frozenset({"tools"}),
    "output_limit": 51,
    "stream": True,
    "path": "/v1/responses",
    "tags": frozenset({"confidential"}),
    "criticality": "sheddable",
}
"""Another value for every part of a call that may change its answer."""


def test_every_part_of_a_call_is_named_or_left_out_by_name() -> None:
    """A new part of a call asks whether it can change the answer."""
    assert set(OTHER) | UNNAMED == set(Call.__struct_fields__)
    assert not set(OTHER) & UNNAMED


@pytest.mark.parametrize("part", OTHER)
def test_a_call_that_differs_in_one_part_has_another_name(part: str) -> None:
    """Whatever may change the answer makes another name, also where keys share theirs."""
    call = a_call(request=CHAT)
    other = msgspec.structs.replace(call, **{part: OTHER[part]})
    for shared in (False, True):
        assert name(call, shared=shared) != name(other, shared=shared)


def test_who_when_and_how_much_make_no_other_name() -> None:
    """The same request at another time, for less money, has the same name."""
    call = a_call(request=CHAT)
    again = msgspec.structs.replace(
        call, id="c2", created=1, arrived=1.0, deadline=2.0, max_cost=5, input_tokens=1
    )
    assert name(call) == name(again)


KEYS = st.builds(Key, name=st.text(max_size=4), team=st.text(max_size=4))


@given(KEYS | st.none(), KEYS | st.none())
def test_two_keys_never_have_one_name_unless_they_share(one: Key | None, two: Key | None) -> None:
    """An answer for one key is never found by another; a shared route finds it for both."""
    mine, yours = a_call(request=CHAT, key=one), a_call(request=CHAT, key=two)
    same = (one and (one.name, one.team)) == (two and (two.name, two.team))
    if one is not None and two is not None:
        assert (name(mine) == name(yours)) == same
    assert name(mine, shared=True) == name(yours, shared=True)


def test_another_configuration_has_other_names() -> None:
    """What another model answered is never given for the one configured now."""
    assert name(a_call(request=CHAT)) != name(a_call(request=CHAT), b"other")


@given(
    st.dictionaries(st.text(max_size=3), st.binary(max_size=4), max_size=3),
    st.dictionaries(st.text(max_size=3), st.binary(max_size=4), max_size=3),
)
def test_fields_never_run_into_each_other(one: dict[str, bytes], two: dict[str, bytes]) -> None:
    """Names are equal exactly when all fields are, in whatever order they came."""

    def named(fields: dict[str, bytes]) -> bytes:
        return name(a_call(fields={n: msgspec.Raw(raw) for n, raw in fields.items()}))

    assert (named(one) == named(two)) == (one == two)
    assert named(one) == named(dict(reversed(one.items())))


def test_a_text_that_utf8_cannot_say_has_no_name() -> None:
    """JSON can hold half of a character pair; such a call is served, and not kept."""
    request = ChatRequest(messages=(Message(role="user", text="\ud800"),), temperature=0.0)
    assert digest(a_call(request=request), CONFIG, shared=False) is None


def _raw(**fields: bytes) -> dict[str, msgspec.Raw]:
    return {n: msgspec.Raw(raw) for n, raw in fields.items()}


PICTURE = b'[{"role":"user","content":[{"type":"image_url","image_url":{"url":"%b"}}]}]'
SEEN = ChatRequest(messages=(Message(role="user", text="", plain=False),), temperature=0.0)
HEARD = TranscribeRequest(audio=b"", encoding="wav", seconds=1.0)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (a_call(request=CHAT), True),
        (a_call(), False),
        (a_call(request=msgspec.structs.replace(CHAT, temperature=0.1)), False),
        (a_call(request=msgspec.structs.replace(CHAT, temperature=1.0, seed=7)), True),
        (a_call(request=CompleteRequest(prompts=("a",)), task="complete"), False),
        (a_call(request=CompleteRequest(prompts=("a",), temperature=0), task="complete"), True),
        (a_call(request=HEARD, task="transcribe"), True),
        (a_call(request=msgspec.structs.replace(HEARD, temperature=0.0), task="transcribe"), True),
        (a_call(request=msgspec.structs.replace(HEARD, temperature=0.4), task="transcribe"), False),
        (a_call(request=CHAT, fields=_raw(store=b"true")), False),
        (a_call(request=CHAT, fields=_raw(store=b"false")), True),
        (
            a_call(
                request=CHAT,
                fields=_raw(tools=b'[{"type":"function"}]'),
                extras=frozenset({"tools"}),
            ),
            True,
        ),
        (
            a_call(
                request=CHAT,
                fields=_raw(tools=b'[{"type":"function"},{"type":"web_search"}]'),
                extras=frozenset({"tools"}),
            ),
            False,
        ),
        (
            a_call(request=CHAT, fields=_raw(tools=b"7"), extras=frozenset({"tools"})),
            False,
        ),
        (a_call(request=SEEN, fields=_raw(messages=PICTURE % b"https://a/b.png")), False),
        (a_call(request=SEEN, fields=_raw(messages=PICTURE % b"data:image/png;base64,AA")), True),
    ],
)
def test_only_what_a_request_determines_is_given_again(call: Call, expected: bool) -> None:
    """Text without randomness; nothing that is stored, searched or fetched elsewhere."""
    assert settled(call) is expected


# --- the entry


RESULTS: dict[str, Any] = {
    "chat": TextResult(texts=("hi",), finish=("stop",)),
    "complete": TextResult(texts=("a", "b"), finish=("stop", "length")),
    "embed": EmbedResult(vectors=("AAAA",), dimensions=1),
    "classify": ClassifyResult(rankings=(Ranking(labels=("a",), scores=(1.0,)),)),
    "translate": TranslateResult(texts=("ja",), detected=("en",)),
    "speak": SpeakResult(audio=b"\x00\xff", encoding="mp3", sample_rate_hz=22050),
    "transcribe": TranscribeResult(
        text="yes",
        language=None,
        seconds=1.0,
        segments=(Segment(start=0.0, end=1.0, text="yes"),),
        words=(Word(start=0.0, end=1.0, text="yes"),),
    ),
    "annotate": AnnotateResult(
        images=(
            Annotated(annotations=(Annotation(feature="labels", text="cat", box=(1, 2, 3, 4)),)),
        )
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_result_comes_back_as_it_was(task: Any) -> None:
    """Of every task, with who made it, its usage and what the baseline would have cost."""
    reply = Reply(backend="paid", result=RESULTS[task], usage=Usage(3, 4, features=(("text", 1),)))
    reply.model = "m"
    entry = unpack(pack(b"n", reply, 12.5, 99), b"n", task)
    assert entry is not None
    assert entry.result == RESULTS[task]
    assert (entry.backend, entry.model, entry.usage) == ("paid", "m", reply.usage)
    assert (entry.made, entry.baseline, entry.events, entry.body) == (12.5, 99, None, b"")


def test_a_stream_comes_back_event_by_event() -> None:
    """Raw frames and hub events alike."""
    said = [
        b"data: 1\n\n",
        Delta(text="a"),
        Finish(reason="stop"),
        Audio(data=b"\x01", encoding="mp3", sample_rate_hz=8000),
    ]
    blob = pack(
        b"n",
        Reply(backend="paid"),
        0.0,
        None,
        [piece for event in said if (piece := packed(event))],
    )
    entry = unpack(blob, b"n", "chat")
    assert entry is not None
    assert list(entry.events or ()) == said


BLOB = pack(b"n", Reply(backend="paid", result=RESULTS["chat"]), 0.0, None)


def test_an_answer_of_another_name_is_not_taken() -> None:
    """A store that mixes up its answers gives nobody another's."""
    assert unpack(BLOB, b"n", "chat") is not None
    assert unpack(BLOB, b"m", "chat") is None


@given(st.binary(max_size=60) | st.integers(0, len(BLOB) - 1).map(lambda n: BLOB[:n]))
def test_whatever_else_lies_in_a_store_is_no_answer(blob: bytes) -> None:
    """Cut or foreign bytes are a miss, never an error."""
    assert unpack(blob, b"n", "chat") is None


# --- the memory


LIMIT = 16_384


class MemoryLaws(RuleBasedStateMachine):
    """Against a plain table: never over the limit, never too old, never another's."""

    names = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.limit = LIMIT
        self.memory = Memory(LIMIT, self.clock)
        self.truth: dict[bytes, tuple[bytes, float]] = {}

    @rule(target=names, name=st.binary(min_size=1, max_size=2))
    def named(self, name: bytes) -> bytes:
        return name

    @rule(
        name=names,
        size=st.integers(0, LIMIT // 4),
        seconds=st.integers(1, 50),
        age=st.integers(0, 20),
    )
    def put(self, name: bytes, size: int, seconds: int, age: int) -> None:
        blob = name * size
        taken = self.memory.put(name, blob, seconds, age)
        self.truth.pop(name, None)
        if taken:
            self.truth[name] = (blob, self.clock() - age + seconds)
        fits = len(blob) <= self.limit // PART and len(name) + len(blob) + OVERHEAD <= self.limit
        assert taken == (fits and age < seconds)

    @rule(name=names)
    def take(self, name: bytes) -> None:
        kept = self.memory.get(name)
        if kept is not None:
            blob, ends = self.truth[name]
            assert kept.blob == blob
            assert self.clock() < ends

    @rule(seconds=st.integers(0, 30))
    def wait(self, seconds: int) -> None:
        self.clock.pass_(seconds)

    @rule(limit=st.integers(0, LIMIT))
    def resize(self, limit: int) -> None:
        self.limit = limit
        self.memory.resize(limit)

    @rule()
    def sweep(self) -> None:
        self.memory.sweep()
        over = [n for n, (_, ends) in self.truth.items() if ends <= self.clock()]
        assert not any(n in self.memory._kept for n in over)

    @invariant()
    def bounded(self) -> None:
        held = sum(len(n) + len(k.blob) + OVERHEAD for n, k in self.memory._kept.items())
        assert held == self.memory.bytes <= self.limit
        assert len(self.memory._ends) <= 2 * len(self.memory._kept) + 65 + 1 or held == 0


TestMemoryLaws = MemoryLaws.TestCase


def test_what_was_used_last_stays() -> None:
    """Room is made by what nobody asked for."""
    size = LIMIT // PART
    memory = Memory(LIMIT, FakeClock())
    kept = [bytes([n]) for n in range(6)]
    for n in kept:
        memory.put(n, n * size, 60.0)
    assert memory.get(kept[0]) is not None
    memory.put(b"new", b"x" * size, 60.0)
    assert memory.get(kept[0]) is not None
    assert memory.get(kept[1]) is None


# --- the shared store


def test_what_is_put_is_there_and_ends() -> None:
    """An answer is written beside the call, with the time after which the store forgets it."""
    clock, redis = FakeClock(), FakeRedis()
    shared = Shared(redis, 0.05, clock)

    async def run() -> None:
        shared.put(b"n", b"answer", 1.5)
        await settle()
        assert redis.px == [1500]
        assert await shared.get(b"n") == b"answer"
        assert await shared.get(b"m") is None
        assert shared.up
        assert not shared.told()

    play(run(), clock)


@pytest.mark.parametrize("fault", [ConnectionError("gone"), ValueError("a bug"), None])
def test_a_store_that_is_away_costs_one_timeout_and_then_nothing(fault: Exception | None) -> None:
    """Refused, broken or silent: nothing is found, and nobody asks again for a while."""
    clock, redis = FakeClock(), FakeRedis(fault, 0.0 if fault else 60.0)
    shared = Shared(redis, 0.05, clock)

    async def run() -> None:
        assert await shared.get(b"n") is None
        assert clock() - 1000.0 <= 0.051
        for _ in range(100):
            assert await shared.get(b"n") is None
            shared.put(b"n", b"x", 1.0)
        await settle()
        assert redis.asked == 1
        assert clock() - 1000.0 <= 0.051
        assert not shared.up
        assert shared.told() == {"get": 1}

    play(run(), clock)


def test_it_is_tried_by_one_call_at_a_time_ever_less_often() -> None:
    """The others do not wait for the one that tries; after a minute it is tried twice a minute."""
    clock, redis = FakeClock(), FakeRedis(slow=60.0)
    shared = Shared(redis, 0.05, clock)

    async def run() -> None:
        for _ in range(600):
            await asyncio.gather(*[shared.get(b"n") for _ in range(3)])
            clock.pass_(1.0)
        # Three asked together at first; then one each time it was due.
        assert redis.asked <= 3 + 5 + 600 / (LONGEST / 2)
        assert redis.asked >= 600 / (LONGEST + 1)
        redis.slow = 0.0
        clock.pass_(LONGEST)
        await shared.get(b"n")
        assert shared.up
        before = redis.asked
        await asyncio.gather(*[shared.get(b"n") for _ in range(3)])
        assert redis.asked == before + 3

    play(run(), clock)


def test_a_caller_who_leaves_while_trying_does_not_end_the_trying() -> None:
    """The next call tries in its place."""
    clock, redis = FakeClock(), FakeRedis(ConnectionError("gone"))
    shared = Shared(redis, 0.05, clock)

    async def run() -> None:
        await shared.get(b"n")
        redis.error, redis.slow = None, 0.04
        clock.pass_(FIRST)
        leaving = asyncio.create_task(shared.get(b"n"))
        await asyncio.sleep(0)
        leaving.cancel()
        await settle()
        redis.slow = 0.0
        await shared.get(b"n")
        assert shared.up

    play(run(), clock)


def test_writes_that_wait_are_bounded() -> None:
    """Beyond so many at once answers are dropped, and counted; long ones are never sent."""
    clock, redis = FakeClock(), FakeRedis(slow=0.01)
    shared = Shared(redis, 0.05, clock)

    async def run() -> None:
        shared.put(b"n", b"x" * (LARGEST + 1), 1.0)
        for _ in range(PENDING + 7):
            shared.put(b"n", b"x", 1.0)
        await shared.close()
        assert redis.asked == PENDING
        assert shared.told() == {"dropped": 7}
        assert not shared.told()

    play(run(), clock)


@pytest.mark.parametrize("url", ["http://u:hush@h/", "redis://u:hush@h:x/0", "redis", ""])
def test_an_address_that_is_none_is_refused_without_being_shown(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(ValueError) as refused:
        connect(url, 0.05)
    assert "hush" not in str(refused.value)
    assert refused.value.__context__ is None or refused.value.__suppress_context__


def test_what_the_shared_store_gave_is_kept_here_as_old_as_it_is() -> None:
    """The second call finds it in memory; its age is that of the answer, not of the copy."""
    clock, redis = FakeClock(), FakeRedis()
    wall = FakeClock(1_790_000_000.0)
    shared = Shared(redis, 0.05, clock)
    stores = Stores(Memory(LIMIT, clock), shared, clock, wall)

    async def run() -> None:
        blob = pack(b"n", Reply(backend="paid", result=RESULTS["chat"]), wall() - 40.0, None)
        shared.put(b"n", blob, 60.0)
        await settle()
        assert await stores.far(b"n", "chat", 40.0) is None
        far = await stores.far(b"n", "chat", 60.0)
        near = stores.near(b"n", "chat")
        assert far is not None
        assert near is not None
        assert far.age == near.age == 40.0
        clock.pass_(20.0)
        assert stores.near(b"n", "chat") is None

    play(run(), clock)
