"""At most so many requests and units a minute, per key.

    requests + 1            <= limit     refused otherwise, and nothing changes
    units    + its estimate <= limit

counted over a window that slides in steps of a second: what came in one second is forgotten 61
seconds after that second began. So in any 60 seconds no more than the limit was let through, and
what was used up comes back at most a second late. Exact within one process; `rates` of the ledger
holds the replicas together.

The units are those of the task (tokens, characters, seconds of audio, images). They are estimated
before the call and corrected after it by what was used: in the second in which it began, where
that still counts. A call that was refused further in leaves no trace.

Whole thousandths of a unit are counted, so that adding and taking back is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import Literal

import msgspec

from router.core.call import Call, Outcome, Usage
from router.core.errors import RateLimited
from router.core.gate import Clock, Release
from router.core.task import (
    AnnotateRequest,
    SpeakRequest,
    Task,
    TranscribeRequest,
    TranslateRequest,
)
from router.gates.key import Caller, Limits

WINDOW = 61
"""Seconds in which an amount counts, from the beginning of its own second."""
MILLI = 1000
Kind = Literal["requests", "units"]
KINDS: tuple[Kind, ...] = ("requests", "units")
WORDS: Mapping[Task, str] = {
    "translate": "characters",
    "speak": "characters",
    "transcribe": "seconds",
    "annotate": "images",
}
"""The unit of a task; tokens where it is not here."""


def word(task: Task) -> str:
    """What the units of *task* are called."""
    return WORDS.get(task, "tokens")


def estimate(call: Call) -> int:
    """Thousandths of units that *call* will use, as far as is known before it."""
    request = call.request
    if isinstance(request, TranslateRequest):
        return MILLI * sum(map(len, request.texts))
    if isinstance(request, SpeakRequest):
        return MILLI * len(request.text)
    if isinstance(request, TranscribeRequest):
        return round(MILLI * request.seconds)
    if isinstance(request, AnnotateRequest):
        return MILLI * len(request.images)
    return MILLI * (call.input_tokens + call.output_limit)


def taken(call: Call, outcome: Outcome, estimated: int) -> int:
    """The same, after it. The estimate stays where nobody said what was used."""
    charge, usage = outcome.verdict.charge, outcome.usage
    if charge == "nothing":
        return 0
    used = 0 if usage is None else _used(call.task, usage)
    return used or estimated


def _used(task: Task, usage: Usage) -> int:
    unit = word(task)
    if unit == "tokens":
        return MILLI * (usage.input_tokens + usage.output_tokens)
    return round(MILLI * float(getattr(usage, unit)))


class Window(msgspec.Struct):
    """Amounts of the last seconds, in thousandths; `total` is their sum."""

    total: int = 0
    by_second: dict[int, int] = {}
    seen: int = -1
    """The second in which it was looked through last."""

    def forget(self, now: float) -> None:
        if int(now) != self.seen:
            self.seen = int(now)
            for second in [s for s in self.by_second if s <= now - WINDOW]:
                self.total -= self.by_second.pop(second)

    def add(self, second: int, amount: int) -> None:
        """Take *amount* in a second, or give it back: no more than was taken there."""
        was = self.by_second.get(second, 0)
        left = max(0, was + amount)
        self.total += left - was
        if left:
            self.by_second[second] = left
        else:
            self.by_second.pop(second, None)

    def free_after(self, wanted: int, limit: int, now: float) -> float:
        """Seconds until *wanted*, at most *limit*, fits under it."""
        over = self.total + wanted - limit
        for second in sorted(self.by_second):
            if over <= 0:
                break
            over -= self.by_second[second]
            until = second + WINDOW - now
            if over <= 0:
                return max(0.0, until)
        return 0.0


class Standing(msgspec.Struct, frozen=True):
    """How a key stands with one limit: whole units, and seconds until all of it is free again."""

    limit: int
    remaining: int
    reset: float


class Rates:
    """The last minute of every key that has a limit."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._windows: dict[tuple[str, Kind], Window] = {}

    def ready(self) -> bool:
        """Who is over a limit is known for a call only."""
        return True

    def acquire(self, call: Call) -> Release:
        key = call.key
        limits = key.limits if isinstance(key, Caller) else Limits()
        if key is None or (limits.requests is None and limits.units is None):
            return _nothing
        now = self._now()
        units = estimate(call)
        wanted: list[tuple[Kind, int, int]] = []
        if limits.requests is not None:
            wanted.append(("requests", MILLI, MILLI * limits.requests))
        if limits.units is not None:
            wanted.append(("units", units, MILLI * limits.units))
        for kind, amount, limit in wanted:
            window = self._window(key.name, kind, now)
            if (window.total if window is not None else 0) + amount > limit:
                self._refuse(call, kind, amount, window)
        second = int(now)
        for kind, amount, _ in wanted:
            self._add(key.name, kind, second, amount)
        return partial(self._release, call, second, units)

    def standing(self, call: Call) -> dict[Kind, Standing]:
        """Of the key's limits, as it is now."""
        key, now = call.key, self._now()
        if not isinstance(key, Caller):
            return {}
        found: dict[Kind, Standing] = {}
        for kind in KINDS:
            limit = getattr(key.limits, kind)
            if limit is not None:
                window = self._window(key.name, kind, now) or Window()
                reset = max(window.by_second, default=now - WINDOW) + WINDOW - now
                found[kind] = Standing(limit, max(0, limit - -(-window.total // MILLI)), reset)
        return found

    def _window(self, key: str, kind: Kind, now: float) -> Window | None:
        window = self._windows.get((key, kind))
        if window is not None:
            window.forget(now)
        return window

    def _refuse(self, call: Call, kind: Kind, amount: int, window: Window | None) -> None:
        key, now = call.key, self._now()
        assert isinstance(key, Caller)
        limit = getattr(key.limits, kind)
        what = "requests" if kind == "requests" else word(call.task)
        asked, possible = -(-amount // MILLI), amount <= MILLI * limit
        stands = self.standing(call)
        if not possible:
            raise RateLimited(
                f"Key {key.name!r} may use {limit} {what} a minute, and this call alone may take "
                f"{asked}: ask for less of it.",
                headers=vendor_headers(call, stands),
            )
        assert window is not None
        wait = float(ceil(window.free_after(amount, MILLI * limit, now)))
        raise RateLimited(
            f"Key {key.name!r} may use {limit} {what} a minute: {stands[kind].remaining} are left, "
            f"and this call may take {asked}. Try again in {wait:.0f} s.",
            retry_after=wait,
            headers=vendor_headers(call, stands),
        )

    def _release(self, call: Call, second: int, estimated: int, outcome: Outcome) -> None:
        key = call.key
        if not isinstance(key, Caller) or second <= self._now() - WINDOW:
            return
        if outcome.verdict.name == "rejected":
            self._add(key.name, "requests", second, -MILLI)
        if key.limits.units is not None:
            self._add(key.name, "units", second, taken(call, outcome, estimated) - estimated)

    def _add(self, key: str, kind: Kind, second: int, amount: int) -> None:
        window = self._windows.get((key, kind))
        if window is None:
            window = self._windows[key, kind] = Window(seen=int(self._now()))
        window.add(second, amount)
        if not window.by_second:
            del self._windows[key, kind]


def vendor_headers(call: Call, stands: Mapping[Kind, Standing]) -> tuple[tuple[bytes, bytes], ...]:
    """What the vendor of the caller's wire says of its limits; other wires have `retry-after`.

    Source: headers of OpenAI's answers as users show them,
    https://community.openai.com/t/how-to-get-rate-limit-reset-time-for-response-api/1268905
    (read 2026-11-23). They name tokens; for other units the same form is used.
    """
    if call.wire != "openai":
        return ()
    names: dict[Kind, bytes] = {"requests": b"requests", "units": word(call.task).encode()}
    found: list[tuple[bytes, bytes]] = []
    for kind, standing in stands.items():
        end = names[kind]
        found += [
            (b"x-ratelimit-limit-" + end, b"%d" % standing.limit),
            (b"x-ratelimit-remaining-" + end, b"%d" % standing.remaining),
            (b"x-ratelimit-reset-" + end, _duration(standing.reset)),
        ]
    return tuple(found)


def _duration(seconds: float) -> bytes:
    """As OpenAI writes it: 120ms, 6.5s, 1m0.2s."""
    millis = round(1000 * max(0.0, seconds))
    if millis < 1000:
        return b"%dms" % millis
    minutes, rest = divmod(millis, 60_000)
    shown = f"{rest / 1000:g}s"
    return (f"{minutes}m{shown}" if minutes else shown).encode()


def _nothing(outcome: Outcome) -> None:
    pass
