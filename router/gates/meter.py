"""Measure one backend: how long a call of each size takes, and how many run together.

    size class   log2 of the work: tokens in, and eight for each token out, as used once the answer
                 is there; a class nobody has used yet scales the nearest one by the work
    mean         peak-EWMA: a slow answer is believed at once and forgotten slowly
    quantile     log-spaced counts, halved every `half_life` seconds
    queue        seconds are divided by how far in flight passed `concurrency`, so that what is
                 kept is the service time; the wait is put back by `wait()` for the queue of now
    at least     a call that was left before its answer (overtaken by a hedge, or cut by its
                 own deadline) would have taken longer: it counts where that is news
    others       calls at the backend that are not ours: its status page tells how many wait in it,
                 and while some do `concurrency` run, so queued + concurrency - ours of that moment
                 belong to other routers. Ours of now are added to them, none is counted twice
    decay        reading weighs everything by exp(-age / `decay`): a backend without traffic
                 drifts towards zero and is tried again, so a slow one is not left out for ever

Sources: finagle PeakEwma.scala; DDSketch (VLDB 2019) for relative-error buckets.
"""

from __future__ import annotations

from math import exp, log

from router.core.call import Call, Outcome
from router.core.gate import Clock, Release
from router.core.verdict import CANCELLED, LATE, LOST

_BASE = 1e-3
_GROWTH = 1.15
_LOG = log(_GROWTH)
STALE = 10.0
"""Seconds after which news of a queue is no news."""
HARDLY = 0.0145
"""Of a half-life: less than a hundredth fades in it."""
_SLOTS = 100  # 1 ms .. 1,000 s at 15% a step


class Spread:
    """A decaying distribution of seconds."""

    def __init__(self) -> None:
        self.mean = 0.0
        self.seen = 0.0
        self.count = 0
        self._slots = [0.0] * _SLOTS
        self._total = 0.0
        self._known: dict[float, float] = {}

    def add(self, seconds: float, now: float, decay: float, half_life: float) -> None:
        age = now - self.seen if self.count else 0.0
        weight = exp(-age / decay) if self.count else 0.0
        self.mean = max(seconds, self.mean * weight + seconds * (1.0 - weight))
        if age > HARDLY * half_life:
            fade = 0.5 ** (age / half_life)
            self._slots = [n * fade for n in self._slots]
            self._total *= fade
        else:
            # Peaks are forgotten with traffic too, not by time alone.
            self.mean += (seconds - self.mean) * 0.1
        slot = 0 if seconds <= _BASE else min(_SLOTS - 1, int(log(seconds / _BASE) / _LOG) + 1)
        self._slots[slot] += 1.0
        self._total += 1.0
        self.seen = now
        self.count += 1
        # A few answers among many move a quantile little: it is not searched again for each.
        if self.count < 32 or self.count % 16 == 0:
            self._known.clear()

    def quantile(self, q: float) -> float:
        """Seconds that a share *q* of the answers did not pass; 0 when nothing was seen."""
        known = self._known.get(q)
        if known is None:
            known = self._known[q] = self._find(q)
        return known

    def _find(self, q: float) -> float:
        goal, below = q * self._total, 0.0
        if not self._total:
            return 0.0
        for slot, n in enumerate(self._slots):
            below += n
            if below >= goal and n:
                return float(_BASE * _GROWTH**slot)
        return float(_BASE * _GROWTH ** (_SLOTS - 1))


class Meter:
    """Latency and load of one backend. `concurrency` calls run at full speed together."""

    def __init__(
        self,
        now: Clock,
        *,
        concurrency: int = 64,
        decay: float = 30.0,
        half_life: float = 60.0,
    ) -> None:
        self._now = now
        self.concurrency = concurrency
        self._decay, self._half_life = decay, half_life
        self._whole: dict[int, Spread] = {}
        self._first: dict[int, Spread] = {}
        self.in_flight = 0
        self._others, self._told = 0, float("-inf")
        self.shared = 1.0
        """Mean of the calls in flight together, as each call saw it."""

    def ready(self) -> bool:
        return True

    def tell(self, queued: int) -> None:
        """Note the news: *queued* calls, whoever sent them, wait inside the backend."""
        busy = queued + self.concurrency if queued > 0 else 0
        self._others, self._told = max(0, busy - self.in_flight), self._now()

    def others(self, now: float) -> int:
        """Calls of other routers at the backend, as far as recent news shows."""
        return self._others if self._others and now - self._told <= STALE else 0

    def acquire(self, call: Call) -> Release:
        self.in_flight += 1
        beside = self.in_flight + (self.others(self._now()) if self._others else 0)

        def release(outcome: Outcome) -> None:
            self.in_flight -= 1
            self.shared += (beside - self.shared) * 0.1
            crowd = max(1.0, beside / self.concurrency)
            if outcome.verdict is LATE or outcome.verdict is CANCELLED:
                self._at_least(call, outcome, crowd)
            if outcome.verdict.limiter == "ignore":
                return
            if outcome.verdict.limiter == "dropped" and outcome.verdict is not LOST:
                return  # a quick refusal is no measure of service
            now = self._now()
            usage = outcome.usage
            # Tasks that are not counted in tokens are known by their request alone.
            if usage is not None and (usage.input_tokens or usage.output_tokens):
                size = size_class(usage.input_tokens, usage.output_tokens)
            else:
                size = size_class(call.input_tokens, call.output_limit)
            self._add(self._whole, size, outcome.seconds / crowd, now)
            if outcome.first is not None:
                self._add(self._first, size, outcome.first / crowd, now)

        return release

    def _at_least(self, call: Call, outcome: Outcome, crowd: float) -> None:
        silent = call.stream and outcome.first is None
        table, seconds = self._first if silent else self._whole, outcome.seconds / crowd
        size = size_class(call.input_tokens, call.output_limit)
        spread = table.get(size)
        if spread is None or seconds > spread.mean:
            self._add(table, size, seconds, self._now())

    def _add(self, table: dict[int, Spread], size: int, seconds: float, now: float) -> None:
        spread = table.get(size)
        if spread is None:
            spread = table[size] = Spread()
        spread.add(seconds, now, self._decay, self._half_life)

    def wait(self) -> float:
        """By how much the queue of now stretches a call: 1 is not at all."""
        queued = self.in_flight + self.others(self._now()) + 1
        return queued / self.concurrency if queued > self.concurrency else 1.0

    def sight(
        self, size: int, q: float | None, now: float, *, first: bool
    ) -> tuple[float, float, float, float, float]:
        """All that the plan asks of it: `read`, `quantile` (the mean for none), `wait`, `share`."""
        shared, most, queued = self.shared, self.concurrency, self.in_flight + 1
        if self._others:
            queued += self.others(now)
        share = 1.0 if shared <= 1.0 else (shared if shared < most else float(most))
        wait = queued / most if queued > most else 1.0
        spread, scale = _nearest(self._whole, size)
        if spread is None:
            return 0.0, 0.0, 0.0, wait, share
        faded = exp((spread.seen - now) / self._decay)
        seen = spread.mean * faded
        mean, least = seen * scale, seen * min(1.0, scale)
        if q is None:
            return mean, least, mean, wait, share
        if first:
            return mean, least, self.quantile(size, q, now, first=True), wait, share
        return mean, least, spread.quantile(q) * scale * faded, wait, share

    def mean(self, size: int, now: float) -> float:
        """Seconds of service that a call of this size should take."""
        return self.read(size, now)[0]

    def read(self, size: int, now: float) -> tuple[float, float]:
        """The mean, and what such a call takes at least.

        A size larger than any seen is stretched for the first only: a guess may rank a backend,
        but must not rule it out.
        """
        spread, scale = _nearest(self._whole, size)
        if spread is None:
            return 0.0, 0.0
        seen = spread.mean * exp((spread.seen - now) / self._decay)
        return seen * scale, seen * min(scale, 1.0)

    def quantile(self, size: int, q: float, now: float, *, first: bool = False) -> float:
        """Seconds within which a share *q* of such calls is served, or sends its first event."""
        spread, scale = _nearest(self._first if first else self._whole, size)
        if spread is None:
            return 0.0
        # The first event comes before any of the work on the later ones.
        scale = min(scale, 1.0) if first else scale
        return spread.quantile(q) * scale * exp((spread.seen - now) / self._decay)

    def share(self) -> float:
        """Calls that share the machine, measured, within 1..concurrency."""
        return min(max(1.0, self.shared), float(self.concurrency))


def size_class(input_tokens: int, output_tokens: float) -> int:
    """Generated tokens weigh more than read ones: they are made one after another."""
    return int(input_tokens + 8 * output_tokens).bit_length()


def _nearest(table: dict[int, Spread], size: int) -> tuple[Spread | None, float]:
    """The class to predict *size* by, and by how much its times are to be stretched."""
    found = table.get(size)
    if found is not None:
        return found, 1.0
    if not table:
        return None, 1.0
    known = min(table, key=lambda one: abs(one - size))
    return table[known], 2.0 ** (size - known)
