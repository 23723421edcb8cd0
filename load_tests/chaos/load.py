"""Calls that arrive by themselves, whether or not earlier ones have ended, and what became of each.

Arrivals are a Poisson process with a seed; the kinds of call (streams, whole answers) take turns.
`Noise` notes how late this very process was woken up: by so much a measured time may be too long.
"""

import asyncio
import random
import time
from collections import deque
from contextlib import suppress

from msgspec import Struct

from load_tests.chaos.client import Got, call
from load_tests.chaos.kinds import ALL, QUESTIONS, Kind, Outcome
from load_tests.chaos.place import Place

PATIENCE = 4.0
"""Seconds beyond its deadline that a call is waited for, to see how late it comes."""
TRIES = 5
BEAT = 0.01
SMALL = 0.002
"""Seconds of lateness that are no more than a timer's grain."""
Right = dict[tuple[str, int], object]


class Seen(Struct, kw_only=True):
    """One call as its caller saw it; times on the monotonic clock."""

    id: str
    kind: str
    stream: bool
    began: float
    ended: float
    deadline: float
    outcome: Outcome
    status: int
    backend: str
    noise: float
    first: float | None = None
    said: str = ""

    @property
    def late(self) -> float:
        """Seconds past the deadline, the lateness of this process taken off; at least 0."""
        return max(0.0, self.ended - self.deadline - self.noise)


class Noise:
    """How late this process was woken up, lately: a sign that others have the processors."""

    def __init__(self) -> None:
        self._lags: deque[tuple[float, float]] = deque(maxlen=1000)

    async def beat(self) -> None:
        """Until cancelled."""
        while True:
            due = time.monotonic() + BEAT
            await asyncio.sleep(BEAT)
            now = time.monotonic()
            self._lags.append((now, now - due))

    def before(self, moment: float) -> float:
        """Seconds that it was late in the second before *moment*, all together."""
        return sum(lag for at, lag in self._lags if at > moment - 1.0 and lag > SMALL)


class Load:
    """Sends calls with these headers to one router; `seen` are those that have ended."""

    def __init__(
        self,
        name: str,
        place: Place,
        right: Right,
        headers: dict[str, str],
        kinds: tuple[Kind, ...] = (),
    ) -> None:
        """*kinds* of calls, where they are not the place's."""
        self._kinds = kinds or place.kinds
        self.seen: list[Seen] = []
        self.sent = 0
        self._name, self._place, self._right, self._headers = name, place, right, headers
        self._random = random.Random(len(name))
        self._noise = Noise()
        self._under_way: set[asyncio.Task[None]] = set()
        self._running: list[asyncio.Task[None]] = []

    def start(self, rate: float) -> None:
        """Begin: *rate* calls a second."""
        self._running = [
            asyncio.create_task(self._arrive(rate)),
            asyncio.create_task(self._noise.beat()),
        ]

    async def stop(self) -> None:
        """No more calls; wait for those that are under way."""
        self._running[0].cancel()
        while self._under_way:
            await asyncio.wait(self._under_way)
        self._running[1].cancel()

    def send(self, kind: Kind, number: int) -> asyncio.Task[None]:
        """One call now."""
        self.sent += 1
        made = asyncio.create_task(self._call(kind, number, f"{self._name}-{self.sent}"))
        self._under_way.add(made)
        made.add_done_callback(self._under_way.discard)
        return made

    async def _arrive(self, rate: float) -> None:
        due = time.monotonic()
        while True:
            kinds = self._kinds
            self.send(kinds[self.sent % len(kinds)], self.sent)
            due += self._random.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _call(self, kind: Kind, number: int, name: str) -> None:
        began = time.monotonic()
        asked = kind.ask(number, self._place.deadline, self._headers)
        got = await call(self._place.port, asked, name, asked.deadline + PATIENCE)
        self.seen.append(self._judged(kind, number, name, began, got))

    def _judged(self, kind: Kind, number: int, name: str, began: float, got: Got) -> Seen:
        ended = began + got.seconds
        return Seen(
            id=name,
            kind=kind.name,
            stream=kind.stream,
            began=began,
            ended=ended,
            deadline=began + self._place.deadline,
            outcome=kind.outcome(got, self._right[said(kind, number)]),
            status=got.status,
            backend=got.header("x-isocost-backend"),
            noise=self._noise.before(ended),
            first=got.first,
            said=got.body[-500:].decode("utf-8", "replace"),
        )


def said(kind: Kind, number: int) -> tuple[str, int]:
    """What the right answer is kept under: a stream says what a whole answer says."""
    return kind.like or kind.name, number % QUESTIONS


async def learn(port: int) -> Right:
    """The right answers, asked while nothing is broken. Raises ValueError where backends differ."""
    right: Right = {}
    for tags in ("", "paid", "spare"):
        for number in range(QUESTIONS):
            asked = [_content(port, tags, kind, number) for kind in ALL]
            for kind, content in zip(ALL, await asyncio.gather(*asked), strict=True):
                if right.setdefault(said(kind, number), content) != content:
                    raise ValueError(f"{kind.name}: {tags} says something else than the others")
    return right


async def _content(port: int, tags: str, kind: Kind, number: int) -> object:
    """What is said, asked again where a busy machine was too slow for it. Raises ValueError."""
    asked = kind.ask(number, 20.0, {"x-isocost-tags": tags} if tags else {})
    for turn in range(TRIES):
        name = f"learn-{tags}-{kind.name[-6:].strip()}-{number}-{turn}"
        got = await call(port, asked, name, 30.0)
        with suppress(ValueError, KeyError):
            if got.status == 200 and got.end == "whole":
                return kind.said(got.body)
        await asyncio.sleep(1.0)
    raise ValueError(f"{kind.name} of {tags or 'own'}: {got.status} {got.body!r}")
