"""What must hold of every run, each as a named check with its figures. Pure functions.

The journal tells what happened inside (`Attempt`), the callers what they saw (`Seen`).
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from math import inf
from typing import Any

from msgspec import Struct

from load_tests.chaos.load import Seen

SLACK = 0.05
"""Seconds past the deadline that an answer may take to arrive."""
SHARE, BURST = 0.1, 10
EXTRA, HEDGES, RESCUED = 0.15, 0.05, 0.999
MEMORY = 60.0
"""Seconds for which what calls have earned may be used."""
ROW, LEAST, WINDOW, PROBES = 5, 20, 20.0, 3
BAD = ("fault", "lost", "denied")


class Check(Struct, frozen=True):
    """One thing that must hold, and the figures that say so."""

    name: str
    held: bool
    figures: str


class Attempt(Struct, frozen=True):
    """One attempt of one call; unix seconds. `kind`: first, failover, retry, hedge or resume."""

    call: str
    backend: str
    verdict: str
    kind: str
    began: float
    ended: float


def attempts(records: Iterable[dict[str, Any]]) -> list[Attempt]:
    """All that were sent, in the order in which they ended; the first of a call is no extra one.

    They follow one another, but for a hedge, whose moment is not written: it is put at the end.
    """
    found = []
    for record in records:
        at, first = record["ended"] - record["seconds"], True
        for tried in record["attempts"]:
            kind, seconds = tried["kind"], tried["seconds"]
            began = record["ended"] - seconds if kind == "hedge" else at
            at = at if kind == "hedge" else at + seconds
            if tried["verdict"] != "rejected":
                name, verdict = tried["backend"], tried["verdict"]
                # Who was asked before it had said no at its gates: nothing was sent.
                kind, first = "first" if first else kind, False
                found.append(
                    Attempt(record["call_id"], name, verdict, kind, began, began + seconds)
                )
    return sorted(found, key=lambda attempt: attempt.ended)


def once(
    seen: Sequence[Seen], records: Sequence[dict[str, Any]], *, killed: bool, unwritten: bool
) -> Check:
    """Each call has one record; one that was cut off by a `kill -9` of the router may have none."""
    count = Counter(record["call_id"] for record in records)
    none = [s for s in seen if not count[s.id] and not (killed and s.outcome in {"lost", "broken"})]
    twice = [name for name, many in count.items() if many > 1]
    return Check(
        "each call one terminal state",
        (not none or unwritten) and not twice,
        f"{len(seen)} calls, {len(none)} without a record, {len(twice)} with two",
    )


def lossless(seen: Sequence[Seen], *, killed: bool) -> Check:
    """Every call gets an answer or a refusal; only a killed router may leave callers without."""
    lost = sum(s.outcome == "lost" for s in seen)
    return Check("no call without an answer", killed or not lost, f"{lost} of {len(seen)}")


def honest(seen: Sequence[Seen]) -> Check:
    """Nothing that is not the whole right answer ends like one."""
    wrong = [s for s in seen if s.outcome == "wrong"]
    sample = f": {wrong[0].kind} {wrong[0].status} {wrong[0].said[-160:]!r}" if wrong else ""
    return Check("no wrong or truncated answer as success", not wrong, f"{len(wrong)}{sample}")


def punctual(seen: Sequence[Seen], slack: float = SLACK) -> Check:
    """No answer, of whatever kind, comes after its deadline."""
    late = [s for s in seen if s.late > slack]
    worst = max((s.late for s in seen), default=0.0)
    noise = max((s.noise for s in seen), default=0.0)
    return Check(
        f"no answer later than deadline + {slack * 1000:.0f} ms",
        not late,
        f"{len(late)} late, worst {worst * 1000:.0f} ms past (this process up to "
        f"{noise * 1000:.0f} ms late)",
    )


def thrifty(
    records: Sequence[dict[str, Any]], sent: Sequence[Attempt], processes: int = 1
) -> Check:
    """Failing over does not multiply the load: no backend's allowance is overdrawn.

    *records* are all of the place, for what calls of the last minute have earned may be used. A
    backend's calls are those whose plan has it.
    """
    since = min((a.began for a in sent), default=0.0)
    until = max((a.ended for a in sent), default=0.0)
    worst, figures = 0.0, "none"
    for backend, extra in Counter(a.backend for a in sent if a.kind != "first").items():
        calls = sum(
            since - MEMORY <= record["ended"] - record["seconds"] <= until
            and any(c["backend"] == backend and not c["left"] for c in record["candidates"])
            for record in records
        )
        allowed = SHARE * calls + processes * (until - since + BURST)
        if extra / allowed > worst:
            worst = extra / allowed
            figures = f"{extra} to {backend}, {allowed:.0f} may be"
    return Check(
        f"extra attempts at a backend <= {SHARE:.0%} of its calls + 1 a second + {BURST}",
        worst <= 1.0,
        figures,
    )


def sparing(calls: int, extra: int) -> Check:
    """Over a long time, or many faults, extra attempts are a small share of the calls."""
    return Check(
        f"extra attempts <= {EXTRA:.0%} of the calls",
        extra <= EXTRA * calls,
        f"{extra} of {calls:,}",
    )


def rare(seen: Sequence[Seen], sent: Sequence[Attempt]) -> Check:
    """Hedges stay a small share of the calls."""
    hedges = sum(attempt.kind == "hedge" for attempt in sent)
    return Check(f"hedges <= {HEDGES:.0%}", hedges <= HEDGES * len(seen), f"{hedges}")


def rescued(seen: Sequence[Seen], since: float, until: float, which: str) -> Check:
    """Calls that began while a dependency was out were answered right, by another."""
    owed = [s for s in seen if since <= s.began < until and (which == "all" or not s.stream)]
    right = sum(s.outcome == "right" and not s.late for s in owed)
    share = right / len(owed) if owed else 1.0
    others = Counter(f"{s.kind} {s.outcome} {s.status}" for s in owed if s.outcome != "right")
    said = ", ".join(f"{many} {what}" for what, many in others.items())
    sample = next((s.said for s in owed if s.outcome == "refused"), "")
    said += f"; {sample}" if sample else ""
    return Check(
        f"answered right within the deadline >= {RESCUED:.1%}"
        + ("" if which == "all" else " (whole answers)"),
        share >= RESCUED,
        f"{right} of {len(owed)}" + (f" ({said})" if said else ""),
    )


def opened(records: Sequence[dict[str, Any]], backend: str, since: float, until: float) -> Check:
    """The breaker opens once its limit is reached; calls that were under way may still fail.

    Where only some calls fail, it may be reached late or never; so what is counted are the calls
    that fail after it was. *records* are all of the place.
    """
    shut = [at for at in _shut(records, backend) if since <= at < until]
    tried = [a for a in attempts(records) if a.backend == backend]
    due = reached(tried, since)
    name = f"breaker opens within {LEAST} failed calls of its limit"
    if shut:
        failed = sum(due <= a.began <= min(shut) and a.verdict in BAD for a in tried)
        return Check(name, failed <= LEAST, f"after {failed}")
    some = any(a.verdict == "ok" for a in tried if since <= a.ended < until)
    failed = sum(since <= a.ended < until and a.verdict in BAD for a in tried)
    said = f"{failed} calls failed, and it stayed closed"
    return Check(name, due >= until and some, said)


def reached(tried: Sequence[Attempt], since: float) -> float:
    """When, after *since*, its limit was reached: `ROW` failures in a row, or half of a window."""
    row, window = 0, deque[tuple[float, bool]]()
    for a in tried:
        if a.verdict not in {"ok", *BAD}:
            continue
        bad = a.verdict in BAD
        row = row + 1 if bad else 0
        window.append((a.ended, bad))
        while window[0][0] < a.ended - WINDOW:
            window.popleft()
        half = len(window) >= LEAST and 2 * sum(bad for _, bad in window) >= len(window)
        if a.ended >= since and (row >= ROW or half):
            return a.ended
    return inf


def closed(records: Sequence[dict[str, Any]], backend: str, healed: float) -> Check:
    """It closes after at most so many probes that went well."""
    last = max((at for at in _shut(records, backend) if at >= healed), default=healed)
    good = sum(
        a.backend == backend and a.verdict == "ok" and a.began > healed and a.ended <= last
        for a in attempts(records)
    )
    return Check(f"breaker closes after at most {PROBES} probes", good <= PROBES, f"after {good}")


def _shut(records: Sequence[dict[str, Any]], backend: str) -> list[float]:
    """When calls began that found the breaker open."""
    return [
        record["ended"] - record["seconds"]
        for record in records
        for candidate in record["candidates"]
        if candidate["backend"] == backend and candidate["left"] == "breaker open"
    ]


def resumed(seen: Sequence[Seen], sent: Sequence[Attempt]) -> Check:
    """Streams went on elsewhere, and ended as right ones: `Kind` looks at their marks."""
    ids = {a.call for a in sent if a.kind == "resume"}
    right = sum(s.id in ids and s.outcome == "right" for s in seen)
    return Check(
        "streams that broke go on elsewhere, marked",
        right > 0 and right >= RESCUED * len(ids),
        f"{right} of {len(ids)}",
    )


def recovered(back: float | str, most: float) -> Check:
    """All is as before without anybody's help: after so many seconds, or what was not."""
    held = isinstance(back, float)
    said = f"after {back:.1f} s" if isinstance(back, float) else f"not: {back}"
    return Check(f"normal within {most:g} s after the fault", held, said)
