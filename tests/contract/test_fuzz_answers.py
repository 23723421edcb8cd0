"""Whatever a vendor answers, its reader and the HTTP below it hold their laws (`tests/fuzz`)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router import apis
from router.core.api import Malformed
from tests.fuzz import answers, seeds, wire

TARGETS = answers.targets()
STREAMED = [t for t in TARGETS if t.call.stream]
WHOLE = [t for t in TARGETS if not t.call.stream]
FEW = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
WORDS = st.sampled_from(
    [b"", b"-1", b"null", b"[]", b"{}", b'"', b"1e999", b"9" * 30, b"\xff", b"\\ud800", b"\n", b"}"]
)


@st.composite
def spoiled(draw, good: bytes) -> bytes:
    """A good answer with stretches replaced."""
    made = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(made)))
        made[at : at + draw(st.integers(0, 12))] = draw(WORDS | st.binary(max_size=4))
    return bytes(made)


def test_every_api_is_read():
    """A new wire is fuzzed as soon as a door's call reaches it."""
    assert {t.api.name for t in TARGETS} == set(apis.NAMES) - {"native"}
    streams = {t.api.name for t in STREAMED}
    assert streams == {"openai", "torchserve", "elevenlabs"}


@pytest.mark.parametrize("target", WHOLE, ids=str)
def test_good_answers_pass_and_odd_ones_break_nothing(target):
    """The seeds that are changed below are good, and every odd one is Malformed or an answer."""
    assert answers.read_whole(target, answers.good(target))
    for body in (*seeds.JSON, *seeds.STREAMS):
        answers.read_whole(target, body)
        for status in (302, 400, 429, 500):
            answers.read_failure(target, status, body)


@pytest.mark.parametrize("target", WHOLE, ids=str)
@FEW
@given(data=st.data())
def test_spoiled_answers_are_malformed_or_whole(target, data):
    """With any bytes of a good answer replaced."""
    body = data.draw(spoiled(answers.good(target)))
    answers.read_whole(target, body)
    answers.read_failure(target, 500, body)


@pytest.mark.parametrize("target", STREAMED, ids=str)
@FEW
@given(data=st.data())
def test_spoiled_streams_are_the_same_however_they_are_cut(target, data):
    """Events, end and usage do not depend on packets."""
    known = st.sampled_from(seeds.STREAMS)
    stream = data.draw(spoiled(answers.streamed(target)) | known.filter(lambda s: len(s) < 10_000))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    answers.read_stream(target, stream, cuts)
    answers.read_stream(target, stream, list(range(0, len(stream), 1 + len(stream) // 200)))


@pytest.mark.parametrize("target", STREAMED, ids=str)
def test_a_stream_that_never_ends_its_event_is_given_up(target):
    """Megabytes without an end of line are Malformed, and cost time in proportion only."""
    if target.api.name == "elevenlabs" or "speak-m" in str(target):
        return  # bare audio: each piece is an event, and is passed on
    reader = target.api.reader(target.call, target.model)
    with pytest.raises(Malformed, match="larger"):
        list(map(reader.feed, [b"data:ab" * 8] * 100_000))


@FEW
@given(
    headers=st.dictionaries(
        st.sampled_from([b"content-type", b"character-cost", b"x-trace-id", b"request-id"]),
        st.binary(max_size=20) | st.sampled_from([b"-1", b"9" * 40, b"text/html", b"\xff"]),
    )
)
def test_any_headers_are_read(headers):
    """What a vendor says before its body."""
    for target in TARGETS:
        answers.read_head(target, headers)


@pytest.mark.parametrize("number", range(len(seeds.HTTP)))
def test_odd_http_is_an_answer_or_broken(number):
    """Lying lengths, two answers at once, endless headers, chunks, trailers, interim answers."""
    data = seeds.HTTP[number]
    steps = [list(range(0, len(data), step)) for step in (1, 7, 4096) if len(data) / step < 5000]
    for cuts in steps:
        asyncio.run(wire.read_answer(data, cuts))


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (seeds.HTTP[0], (200, b"ok", True)),
        (seeds.HTTP[1], (200, b"ok", False)),
        (seeds.HTTP[2], (200, b"ok", False)),
        (seeds.HTTP[3], (None, b"", False)),
    ],
)
def test_what_follows_an_answer_is_no_part_of_any(data, read):
    """A second answer that nobody asked for never reaches a caller: its connection is not kept."""
    assert asyncio.run(wire.read_answer(data, [])) == read


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_spoiled_http_is_the_same_however_it_is_cut(data):
    """Status and body do not depend on packets."""
    short = [seed for seed in seeds.HTTP if len(seed) < 1000]
    raw = data.draw(spoiled(data.draw(st.sampled_from(short))))
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=8))
    asyncio.run(wire.read_answer(raw, cuts))
    asyncio.run(wire.read_answer(raw, list(range(len(raw)))))
