"""A Locust user that sends one kind of call, reads all of the answer, and says how it ended.

Entries of the report: the kind's name; `<kind> first event` for streams; `<kind> refused` for
refusals that the profile expects, so that these do not make the times look good. Seconds count from
the moment at which the call should have begun (`due`).
"""

# mypy does not follow locust (pyproject), so its decorators have no types here.
# mypy: disable-error-code="untyped-decorator"

import os
import random
import time
from collections.abc import Mapping
from typing import Any

from geventhttpclient.response import HTTPConnectionClosed
from locust import FastHttpUser, events
from msgspec import Struct

from load_tests.asks import KINDS, Kind, Words, body, headers, path, shaped
from load_tests.profile import chosen
from load_tests.tally import Ended, Tally

PROFILE = chosen()
KEY = os.environ.get("ISOCOST_KEY", "sk-sandbox-load")
TALLY = Tally()
WORDS = Words(PROFILE, dict(os.environ), random.Random())
BROKEN = (OSError, HTTPConnectionClosed)
CRITICALITY = "x-isocost-criticality"


class Clock(Struct):
    """When this process's part of the run began, as time.perf_counter says it."""

    began: float = 0.0


CLOCK = Clock()


@events.test_start.add_listener
def wind(**_: Any) -> None:
    """Set the start of the run."""
    CLOCK.began = time.perf_counter()
    TALLY.take()


class Caller(FastHttpUser):
    """What all users share."""

    abstract = True
    connection_timeout = 10.0
    network_timeout = 60.0

    def send(self, kind: Kind, due: float) -> None:
        """One call, from its bytes to the end of its answer."""
        asked = headers(kind, WORDS, KEY)
        level = _drawn(PROFILE.criticality)
        if level:
            asked[CRITICALITY] = level
        if PROFILE.deadline:
            asked["x-isocost-deadline-ms"] = str(int(PROFILE.deadline * 1000))
        sent = self.client.post(
            path(kind, WORDS),
            data=body(kind, WORDS),
            name=_entry(kind.name, level),
            headers=asked,
            stream=kind.streams,
            catch_response=True,
        )
        with sent as answer:
            wrong = self._wrong(kind, answer, due, level)
            self._judge(kind, answer, due, level=level, wrong=wrong)

    def _wrong(self, kind: Kind, answer: Any, due: float, level: str) -> str:
        """What is wrong with the answer; it has been read to its end."""
        if answer.status_code != 200:
            return f"status {answer.status_code}: {_text(answer)}"
        if not kind.streams:
            data = answer.content or b""
            return "" if data and kind.holds in data else "no answer of this kind"
        try:
            return self._read(kind, answer, due, level)
        except BROKEN as broken:
            return f"the stream broke: {broken!r}"

    def _read(self, kind: Kind, answer: Any, due: float, level: str) -> str:
        first = whole = False
        while piece := _piece(kind, answer, first=not first):
            if not first and (kind.sound or piece.startswith((b"data:", b"event:"))):
                first = True
                self._first_event(_entry(kind.name, level), time.perf_counter() - due)
            if kind.ends and piece.startswith(kind.ends):
                whole = True
            elif piece.startswith(b": isocost"):
                TALLY.line(piece)
        if not first:
            return "an empty stream"
        return "" if whole or kind.sound else "the stream ended too early"

    def _judge(self, kind: Kind, answer: Any, due: float, *, level: str, wrong: str) -> None:
        """Tell Locust and the tally."""
        now = time.perf_counter()
        status, meta = answer.status_code, answer.request_meta
        refused = bool(wrong) and PROFILE.right(status, level)
        misshapen = status >= 400 and not shaped(kind.wire, answer.content or b"")
        meta["response_time"] = (now - due) * 1000
        if refused:
            meta["name"] += " refused"
            wrong = "an error of another shape" if misshapen else ""
        if wrong:
            answer.failure(wrong)
        else:
            answer.success()
        TALLY.ended(
            Ended(
                at=due - CLOCK.began,
                seconds=now - due,
                status=status,
                headers=answer.headers or {},
                criticality=level,
                answered=not wrong and not refused,
                refused=refused and not wrong,
                misshapen=misshapen,
                late=status == 504 or bool(PROFILE.deadline and now - due > PROFILE.deadline),
            )
        )

    def _first_event(self, entry: str, seconds: float) -> None:
        self.environment.events.request.fire(
            request_type="SSE",
            name=f"{entry} first event",
            response_time=seconds * 1000,
            response_length=0,
            exception=None,
            context={},
        )


class Closed(Caller):
    """Asks, waits, thinks, and asks again; stands aside when the profile's loop is open."""

    abstract = True
    kind = ""

    def wait_time(self) -> float:
        """Seconds between two calls."""
        return random.uniform(*PROFILE.wait)

    def ask(self) -> None:
        """One call, due now."""
        self.send(KINDS[self.kind], time.perf_counter())


def drawn_kind() -> Kind:
    """One of the mix, by its weight."""
    return KINDS[_drawn(PROFILE.mix)]


def _drawn(weights: Mapping[str, float]) -> str:
    return random.choices(list(weights), list(weights.values()))[0] if weights else ""


def _piece(kind: Kind, answer: Any, *, first: bool) -> bytes:
    """The next line; of sound the next bytes, of which the very first counts as an event."""
    if kind.sound:
        return bytes(answer.stream.read(1 if first else 4096))
    return bytes(answer.stream.readline(b"\n"))


def _entry(name: str, level: str) -> str:
    return f"{name} {level}" if level else name


def _text(answer: Any) -> str:
    """The beginning of an error's body, or of what kept it from coming."""
    if answer.status_code == 0:
        return repr(answer.error)[:160]
    return bytes(answer.content or b"")[:160].decode("utf-8", "replace")
