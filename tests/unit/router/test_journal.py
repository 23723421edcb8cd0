"""The journal: what a line holds, what stays, what is forgotten, what is found."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.core import verdict as v
from router.core.call import Key, Usage
from router.core.ending import Ending
from router.core.task import (
    ChatRequest,
    CompleteRequest,
    EmbedRequest,
    Message,
    SpeakRequest,
    TranscribeRequest,
)
from router.core.trail import Attempt, Trail
from router.decisions import Decision
from router.journal import Journal, Keep
from router.journal.files import begun, forget, found, records
from router.journal.query import COLUMNS, Wanted, moment, pick, row
from router.journal.record import decode, encode, made, prompt_hash, shown
from router.journal.writer import TAIL
from router.plan import Candidate, Plan
from tests.fakes import FakeClock, a_backend

WORDS = st.text(max_size=12)
MONEY = st.integers(0, 10**15)
SECONDS = st.floats(0, 1e4)
BACKENDS = [a_backend(name, clock=FakeClock()) for name in "abc"]
USAGES = st.builds(
    Usage,
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    features=st.lists(st.tuples(WORDS, st.integers(1, 9)), max_size=2).map(tuple),
)
CANDIDATES = st.builds(
    Candidate,
    st.sampled_from("abc"),
    MONEY,
    MONEY,
    SECONDS,
    SECONDS,
    st.booleans(),
    st.sampled_from(["", "cost", "unfit"]),
    WORDS,
)
PLANS = st.builds(
    Plan,
    st.lists(st.sampled_from(BACKENDS), max_size=3).map(tuple),
    st.lists(CANDIDATES, max_size=3).map(tuple),
    WORDS,
    st.lists(WORDS, max_size=2).map(tuple),
)


def an_attempt(name: str, verdict: v.Verdict | None, detail: str, cost: int) -> Attempt:
    attempt = Attempt(name)
    attempt.verdict, attempt.detail, attempt.cost = verdict, detail, cost
    return attempt


ATTEMPTS = st.builds(
    an_attempt, st.sampled_from("abc"), st.sampled_from([None, *v.ALL]), WORDS, MONEY
)


def a_trail(plan: Plan, attempts: list[Attempt]) -> Trail:
    trail = Trail(plan)
    trail.attempts = attempts
    return trail


ENDINGS = st.builds(
    Ending,
    st.sampled_from(v.ALL),
    st.integers(200, 599),
    st.sampled_from(["", "a"]),
    SECONDS,
    st.none() | SECONDS,
    st.none() | USAGES,
    MONEY,
    st.none() | st.builds(a_trail, PLANS, st.lists(ATTEMPTS, max_size=3)),
    WORDS,
)
DECISIONS = st.builds(
    Decision,
    call_id=st.text(min_size=1, max_size=20),
    created=st.integers(1_700_000_000, 1_800_000_000),
    key=st.none() | st.builds(Key, WORDS, WORDS),
    route=WORDS,
    task=st.just("chat"),
    stream=st.booleans(),
    tags=st.frozensets(WORDS, max_size=3),
    input_tokens=st.integers(0, 10**6),
    output_limit=st.integers(0, 10**6),
    ending=ENDINGS,
    saved=st.none() | st.integers(-(10**15), 10**15),
    baseline=WORDS,
)


def a_decision(call_id: str = "c1", created: int | None = None, **changes: Any) -> Decision:
    given = {
        "verdict": v.OK,
        "status": 200,
        "backend": "a",
        "seconds": 0.5,
        "first": None,
        "usage": Usage(100, 10),
        "cost": 5,
        "trail": a_trail(PLAN, [an_attempt("a", v.OK, "", 5)]),
        "error": "",
    }
    ending = Ending(**(given | changes.pop("ending", {})))
    made_at = int(time.time()) if created is None else created
    fields = {"key": Key("ann", "red"), "route": "chat", "saved": 7} | changes
    return Decision(
        call_id=call_id,
        created=made_at,
        task="chat",
        stream=False,
        tags=frozenset(),
        input_tokens=90,
        output_limit=50,
        ending=ending,
        **fields,
    )


PLAN = Plan(
    tuple(BACKENDS[:1]), (Candidate("a", 9, 4, 0.1, 0.2, False, "", ""),), "cheapest", ("r",)
)


# What a line holds.


@settings(max_examples=200, deadline=None)
@given(DECISIONS)
def test_a_line_says_what_the_decision_said(decision):
    """Through the file and back a record shows all that the decision shows, and bounds beside it."""
    record = decode(encode(made(decision)))
    back = shown(record)
    for attempt in back["attempts"]:
        del attempt["bound_usd"]
    said = json.loads(json.dumps(decision.json()))
    assert json.loads(json.dumps({name: back[name] for name in said})) == said
    assert set(back) == set(said)


@given(DECISIONS)
@settings(deadline=None)
def test_a_line_is_one_line(decision):
    """Whatever texts are in it, and it begins with the call's id, which a search relies on."""
    line = encode(made(decision))
    assert b"\n" not in line
    assert line.startswith(b'{"call_id":' + encode(decision.call_id) + b",")


def test_an_attempt_has_its_bound():
    """The quote of its candidate: what it could cost at most."""
    assert shown(made(a_decision()))["attempts"][0]["bound_usd"] == "0.000000000009"


@given(DECISIONS)
@settings(deadline=None)
def test_a_row_has_every_column(decision):
    """The columns of tables are those of every record, in one order."""
    assert tuple(row(made(decision))) == COLUMNS


def chat(*texts: str, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=tuple(Message(role="user", text=t) for t in texts), **fields)


def test_a_prompt_is_kept_as_its_hash_and_only_when_asked(tmp_path):
    """The same texts have one hash whatever else is asked; the text itself is nowhere."""
    secret = chat("canary in the prompt")
    for hashed in (False, True):
        journal = Journal(tmp_path / str(hashed), hashed=hashed)
        journal.write(a_decision(), secret)
        raw = journal.path.read_bytes()
        assert b"canary" not in raw
        assert ("prompt_sha256" in journal.find("c1")) is hashed
        journal.close()
    assert prompt_hash(secret) == prompt_hash(chat("canary in the prompt", temperature=0.1))
    assert prompt_hash(secret) != prompt_hash(chat("another"))
    said = [
        CompleteRequest(prompts=("x",)),
        EmbedRequest(texts=("x",)),
        SpeakRequest(text="x", voice="v"),
    ]
    assert len({prompt_hash(request) for request in [*said, chat("x")]}) == 1
    assert prompt_hash(chat("\ud800"))
    assert prompt_hash(TranscribeRequest(audio=b"x", encoding="wav", seconds=1.0)) is None


# What stays.


def test_what_was_written_is_in_the_file_at_once(tmp_path):
    """Without a flush, without a close: the line is there for every other process."""
    journal = Journal(tmp_path)
    for n in range(3):
        journal.write(a_decision(f"c{n}"))
        assert journal.path.read_bytes().count(b"\n") == n + 1
    assert oct(journal.path.stat().st_mode)[-3:] == "600"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device to write to")
def test_a_full_disk_fails_no_call(tmp_path, caplog):
    """Records are lost, which is said once and counted when there is room again."""
    journal = Journal(tmp_path)
    room, journal._fd = journal._fd, os.open("/dev/full", os.O_WRONLY)
    with caplog.at_level(logging.ERROR):
        journal.write(a_decision("lost"))
        journal.write(a_decision("lost too"))
        os.close(journal._fd)
        journal._fd = room
        journal.write(a_decision("kept"))
    assert [r.message.rsplit(": ", 1)[-1] for r in caplog.records] == [
        "No space left on device",
        "2 records were lost",
    ]
    assert [r.call_id for r in records(tmp_path)] == ["kept"]


def test_files_are_of_bounded_size(tmp_path):
    """A file that is full is followed by another, and no record is lost on the way."""
    journal = Journal(tmp_path, Keep(bytes=64 * 1024))
    for n in range(100):
        journal.write(a_decision(f"c{n}"))
    sizes = [size for _, size, _ in found(tmp_path)]
    assert len(sizes) > 3
    line = len(encode(made(a_decision("c99")))) + 1
    assert max(sizes) <= Keep(bytes=64 * 1024).file_bytes + line
    ids = [r.call_id for r in records(tmp_path)]
    assert ids[-1] == "c99"
    assert ids == [f"c{n}" for n in range(100 - len(ids), 100)]


@given(st.integers(16, 200), st.integers(1, 400))
@settings(max_examples=20, deadline=None)
def test_the_folder_does_not_grow_without_bound(tmp_path_factory, kilobytes, calls):
    """All files together hold what may be kept and one file more, and the newest is always there."""
    folder = tmp_path_factory.mktemp("journal")
    keep = Keep(bytes=kilobytes * 1024)
    journal = Journal(folder, keep)
    for n in range(calls):
        journal.write(a_decision(f"c{n}"))
    line = len(journal.path.read_bytes().splitlines()[-1]) if journal._size else 1000
    assert sum(size for _, size, _ in found(folder)) <= keep.bytes + keep.file_bytes + line
    assert journal.find(f"c{calls - 1}") is not None
    journal.close()


def test_old_files_are_forgotten_but_not_those_in_use(tmp_path):
    """Age counts from the last write; a file that somebody writes stays, whatever its age."""
    live, dead = Journal(tmp_path), Journal(tmp_path)
    for journal in (live, dead):
        journal.write(a_decision())
        os.utime(journal.path, (0, 0))
    dead.close()
    fresh = Journal(tmp_path, Keep(days=1))
    assert {path for _, _, path in found(tmp_path)} == {live.path, fresh.path}
    live.close()
    assert forget(tmp_path, Keep(days=1)) == 1


def test_a_quiet_process_begins_a_file_each_day(tmp_path):
    """So that what it wrote can be forgotten in time; looking costs nothing in between."""
    clock = [time.time()]
    journal = Journal(tmp_path, now=lambda: clock[0])
    journal.write(a_decision())
    first = journal.path
    journal.flush()
    assert journal.path == first
    clock[0] += 86_401
    journal.flush()
    assert journal.path != first
    journal.flush()
    assert len(found(tmp_path)) == 2


def test_tidying_is_repeated(tmp_path):
    """`flush` forgets what became too old since the process began."""
    clock = [time.time()]
    journal = Journal(tmp_path, Keep(days=1), now=lambda: clock[0])
    old = tmp_path / "calls-1-1.jsonl"
    old.write_bytes(b"")
    os.utime(old, (0, 0))
    journal.flush()
    assert old.exists()
    clock[0] += 61
    journal.flush()
    assert not old.exists()


# What is found.


def test_a_record_is_found_wherever_it_was_written(tmp_path):
    """By its whole id, in the files of every process, after a close, as it is shown."""
    theirs, journal = Journal(tmp_path / "new" / "folder"), Journal(tmp_path / "new" / "folder")
    theirs.write(a_decision("theirs"))
    theirs.close()
    journal.write(a_decision("c1"))
    assert journal.find("theirs")["call_id"] == "theirs"
    assert journal.find("c1")["saved_usd"] == "0.000000000007"
    assert journal.find("c") is None
    assert journal.find('c1"') is None


def test_half_a_line_is_no_record(tmp_path, caplog):
    """What a killed process left, what a search begins in, and what is no record: never half of one."""
    whole = encode(made(a_decision("cut")))
    (tmp_path / "calls-1-1.jsonl").write_bytes(whole)
    (tmp_path / "calls-2-1.jsonl").write_bytes(whole + b"y" * TAIL + b"\n")
    (tmp_path / "calls-3-1.jsonl").write_bytes(b'{"call_id":"strange"}\n')
    assert Journal(tmp_path).find("cut") is None
    assert list(records(tmp_path)) == []
    assert "2 lines" not in caplog.text
    assert caplog.text.count("1 lines are no records") == 2


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 100)), max_size=40), st.data())
@settings(max_examples=40, deadline=None)
def test_queries_read_all_processes_in_order(tmp_path_factory, calls, data):
    """What is picked is what was written and fits, each once, in the order in which calls ended."""
    folder = tmp_path_factory.mktemp("journal")
    clock = [1_800_000_000.0]
    journals = [Journal(folder, now=lambda: clock[0]) for _ in range(3)]
    wrote = []
    for process, ago in calls:
        clock[0] += 1
        decision = a_decision(f"c{len(wrote)}", int(clock[0]) - ago, route=f"r{process}")
        journals[process].write(decision)
        wrote.append(decision)
    since = data.draw(st.integers(1_799_999_900, 1_800_000_050))
    until = since + data.draw(st.integers(0, 100))
    # The real clock's time is in the files' stamps: far from the one of these records.
    for _, _, path in found(folder):
        os.utime(path, (clock[0], clock[0]))
    for wanted, fits in (
        (Wanted(), lambda d: True),
        (Wanted(since, until), lambda d: since <= d.created < until),
        (Wanted(route="r1"), lambda d: d.route == "r1"),
        (Wanted(key="bob"), lambda d: False),
        (Wanted(backend="a", verdict="ok", task="chat", team="red"), lambda d: True),
    ):
        ids = [record.call_id for record in pick(folder, wanted)]
        assert ids == [d.call_id for d in wrote if fits(d)]
    for journal in journals:
        journal.close()


def test_files_of_another_time_are_not_read(tmp_path):
    """A file that was last written before is not opened, nor one begun more than a day after."""
    journal = Journal(tmp_path)
    journal.write(a_decision(created=1_000))
    assert begun(journal.path) > 1_700_000_000
    assert list(records(tmp_path, 0, 2_000)) == []
    assert list(records(tmp_path, time.time() + 60)) == []
    assert len(list(records(tmp_path))) == 1


def test_moments_are_read():
    """Days of a zone, times, and how long ago; else the message says how to write one."""
    from zoneinfo import ZoneInfo

    paris, now = ZoneInfo("Europe/Paris"), 1_000_000.0
    assert moment("2026-11-23", paris, now) == 1_795_388_400
    assert moment("2026-11-23T00:00+00:00", paris, now) == 1_795_392_000
    assert moment("90m", paris, now) == now - 5400
    assert moment("1.5d", paris, now) == now - 129_600
    with pytest.raises(ValueError, match="write 2026-11-23"):
        moment("yesterday", paris, now)
