"""The fault matrix's own judgement: what its checks let pass, and what they do not."""

from __future__ import annotations

import json
from math import inf
from typing import Any

import pytest

from load_tests.chaos import page
from load_tests.chaos.checks import Attempt, Check, attempts, opened, reached, resumed, thrifty
from load_tests.chaos.client import Got
from load_tests.chaos.kinds import GOES_ON, RESUMED
from load_tests.chaos.load import Seen
from load_tests.chaos.programs import Use
from load_tests.chaos.soak import grown


def a_record(number: int, began: float, *tried: tuple[str, str, str], left: str = "") -> Any:
    """A call of 0.1 s: (backend, verdict, kind) of each attempt; `left` of a is why it was left."""
    candidates = [{"backend": "a", "left": left}, {"backend": "b", "left": ""}]
    each = [
        {"backend": name, "verdict": verdict, "kind": kind, "seconds": 0.1 / len(tried)}
        for name, verdict, kind in tried
    ]
    return {
        "call_id": f"c{number}",
        "ended": began + 0.1,
        "seconds": 0.1,
        "attempts": each,
        "candidates": candidates,
    }


FAILED_OVER = (("a", "fault", "first"), ("b", "ok", "failover"))


def test_who_was_refused_before_it_was_sent_makes_no_extra_attempt():
    """The first that was sent is the call's first, whatever a gate said before."""
    record = a_record(1, 0.0, ("a", "rejected", "first"), ("b", "ok", "failover"))
    assert [a.kind for a in attempts([record])] == ["first"]


@pytest.mark.parametrize(("extra", "held"), [(21, True), (22, False)])
def test_the_allowance_is_that_of_each_backend(extra, held):
    """Ten, one a second, and a tenth of the calls of its own and of the minute before."""
    old = [a_record(i, -59.0, ("a", "ok", "first")) for i in range(70)]
    old += [a_record(i, -61.0, ("a", "ok", "first")) for i in range(1000)]
    mine = [a_record(i, 0.0, *FAILED_OVER) for i in range(extra - 1)]
    mine += [a_record(extra, 0.9, *FAILED_OVER)] + [a_record(0, 0.5, ("b", "ok", "first"))] * 10
    assert thrifty([*old, *mine], attempts(mine)).held is held
    assert thrifty([*old, *mine], attempts(mine), processes=2).held


def tried(ends: str, gap: float = 0.1) -> list[Attempt]:
    """One after the other from second 100 on: o well, x failed."""
    verdicts = {"o": "ok", "x": "lost"}
    return [
        Attempt("c", "a", verdicts[end], "first", 100 + gap * i, 100 + gap * i)
        for i, end in enumerate(ends)
    ]


@pytest.mark.parametrize(
    ("ends", "gap", "at"),
    [
        ("oooxxxxx", 0.1, 7),
        ("xxxxoxxxxoxxxxo", 0.1, None),
        ("xo" * 10, 0.1, 19),
        ("oooo" + "xo" * 40, 0.1, None),
        ("o" * 20 + "xxo" * 15, 0.1, None),
        ("o" * 20 + "xxo" * 15, 1.0, 35),
    ],
)
def test_when_a_breaker_reaches_its_limit(ends, gap, at):
    """Five in a row, or half of at least 20 in 20 s: what came before counts, what is old does not."""
    found = reached(tried(ends, gap), 100.0)
    assert found == (inf if at is None else pytest.approx(100 + gap * at))


def test_a_breaker_has_to_open_once_its_limit_is_reached():
    """Not before; and at most 20 calls may fail after it."""
    bad = [a_record(i, i / 10, ("a", "fault", "first")) for i in range(40)]

    def shut(at: float) -> Any:
        return a_record(99, at, ("b", "ok", "first"), left="breaker open")

    assert opened([*bad[:20], shut(2.5)], "a", 0.0, 10.0).held
    assert not opened([*bad, shut(5.0)], "a", 0.0, 10.0).held
    assert not opened(bad, "a", 0.0, 10.0).held
    third = ["ok", "fault", "ok"] * 13
    half = [a_record(i, i / 10, ("a", verdict, "first")) for i, verdict in enumerate(third)]
    assert opened(half, "a", 0.0, 10.0).held, "a third failed: it may stay closed"


def sse(*texts: str, note: str = "") -> Got:
    parts = [{"choices": [{"delta": {"content": text}, "finish_reason": None}]} for text in texts]
    chunks = [json.dumps(part) for part in parts]
    chunks += ['{"choices":[{"delta":{},"finish_reason":"stop"}]}', "[DONE]"]
    body = note + "".join(f"data: {chunk}\n\n" for chunk in chunks)
    return Got(status=200, body=body.encode(), end="whole")


def test_a_stream_that_goes_on_is_right_only_when_marked():
    """The right text whole, or its beginning, the other's words and the note; nothing else."""
    right, note = ("one two three", "stop"), ": a broke off; b goes on\n\n"
    assert RESUMED.outcome(sse("one two ", "three"), right) == "right"
    assert RESUMED.outcome(sse("one ", GOES_ON, note=note), right) == "right"
    assert RESUMED.outcome(sse("one ", GOES_ON), right) == "wrong"
    assert RESUMED.outcome(sse("ono ", GOES_ON, note=note), right) == "wrong"
    assert RESUMED.outcome(sse("one ", note=note), right) == "wrong"


def test_continued_streams_have_to_be_there():
    """A cell in which none went on has shown nothing."""
    seen = [
        Seen(id="c1", kind="chat", stream=True, began=0, ended=1, deadline=2, outcome="right",
             status=200, backend="b", noise=0.0)
    ]  # fmt: skip
    went_on = [("a", "lost", "first"), ("b", "ok", "resume")]
    assert not resumed(seen, attempts([a_record(1, 0.0, *FAILED_OVER)])).held
    assert resumed(seen, attempts([a_record(1, 0.0, *went_on)])).held
    seen[0].outcome = "broken"
    assert not resumed(seen, attempts([a_record(1, 0.0, *went_on)])).held


@pytest.mark.parametrize("leaks", ["", "memory", "sockets", "files", "threads", "tasks"])
def test_a_soak_finds_what_never_shrinks_again(leaks):
    """A burst now and then is none; a little more after each fault is."""

    def at(turn: int, name: str, least: int, burst: int) -> int:
        more = turn * burst // 10 if name == leaks else 0
        return least + more + (burst if turn % 4 == 3 else 0)

    found = [
        (
            Use(
                at(turn, "memory", 10**8, 10**8),
                at(turn, "sockets", 20, 200),
                at(turn, "files", 40, 200),
                at(turn, "threads", 4, 20),
            ),
            at(turn, "tasks", 11, 50),
        )
        for turn in range(24)
    ]
    assert [c.name for c in grown(found) if not c.held] == (
        [f"no growth of {leaks}"] if leaks else []
    )


def test_a_soak_writes_its_table_anew_and_leaves_the_rest(tmp_path):
    """What a run before wrote is gone; a page without a place for it is not touched."""
    docs = tmp_path / "faults.md"
    docs.write_text("before <!-- soak -->old<!-- /soak --> after")
    checks = [Check("no growth of memory", True, "1"), Check("no growth of tasks", False, "2")]
    for _ in range(2):
        page.write_soak("2000-01-01", 10.0, checks, docs)
    written = docs.read_text()
    assert written.startswith("before <!-- soak -->\n2000-01-01, 10 minutes.\n")
    assert written.endswith("| no growth of tasks | 2 | **no** |\n<!-- /soak --> after")
    assert "| no growth of memory | 1 | yes |" in written
    assert "old" not in written
    docs.write_text("no place")
    with pytest.raises(ValueError, match="no place <!-- soak -->"):
        page.write_soak("2000-01-01", 10.0, checks, docs)
    assert docs.read_text() == "no place"
