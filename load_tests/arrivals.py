"""When calls of an open loop begin. Pure.

The schedule does not look at answers, so a slow system gets as many calls as a quick one, and each
is timed from the moment at which it should have begun. (A closed loop asks less as soon as answers
are slow, and leaves the worst times out: Tene's coordinated omission.)

With a rate r(t) the k-th call begins where the integral of r reaches the k-th point of a process of
rate 1: at k - phase (even), or after exponential gaps (poisson). The sum of n lanes with r/n each
is the same process again, so users on many workers need not agree on anything.
"""

import random
from collections.abc import Iterator, Mapping


def moments(
    rate: Mapping[float, float],
    seconds: float,
    share: float = 1.0,
    chance: random.Random | None = None,
) -> Iterator[float]:
    """Seconds from the start, ascending and below `seconds`; even without `chance`."""
    steps = sorted(rate.items())
    ends = [min(at, seconds) for at, _ in steps[1:]] + [seconds]
    due = _gap(chance) if chance else 0.5
    passed = 0.0
    for (begin, whole), end in zip(steps, ends, strict=True):
        per_second = whole * share
        amount = per_second * max(end - begin, 0.0)
        while per_second and due < passed + amount:
            yield begin + (due - passed) / per_second
            due += _gap(chance) if chance else 1.0
        passed += amount


def _gap(chance: random.Random) -> float:
    return chance.expovariate(1.0)
