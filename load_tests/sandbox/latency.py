"""How long the vendor takes: `instant` never waits, the others draw from two lognormals.

realistic: time to the first token ~ lognormal(median 0.35 s, sigma 0.35); each further token (or
tenth of a second of speech, or piece of work that a vendor names) ~ lognormal(median 8 ms, sigma
0.4); an embedding ~ lognormal(median 0.09 s, sigma 0.3); a translation begins after ~ lognormal(
median 0.15 s, sigma 0.3). These are the order of magnitude of a small hosted model; `quick` is the
same four times as fast. The draws follow from the seed, so that a run can be repeated.
"""

import math
import random
from typing import Protocol

LISTS = ("/models", "/voices", "/user", "/subscription", "/usage", "/languages")  # no work

SHARES = {"instant": 0.0, "quick": 0.25, "realistic": 1.0}


class Pace(Protocol):
    """Seconds to wait."""

    def first(self, endpoint: str) -> float:
        """Before the first token."""
        ...

    def gap(self) -> float:
        """Before each further token."""
        ...

    def gaps(self, tokens: int) -> float:
        """Before that many further tokens, together."""
        ...


class Instant:
    """No waiting at all."""

    def first(self, endpoint: str) -> float:
        return 0.0

    def gap(self) -> float:
        return 0.0

    def gaps(self, tokens: int) -> float:
        return 0.0


class Realistic:
    """Lognormal times, repeatable by seed; `share` of what the profile `realistic` takes."""

    def __init__(self, seed: int, share: float = 1.0) -> None:
        self._random, self._share = random.Random(seed), share

    def first(self, endpoint: str) -> float:
        if endpoint.endswith(LISTS):
            return 0.0
        if endpoint.endswith("/embeddings"):
            return self._share * self._random.lognormvariate(math.log(0.09), 0.3)
        if endpoint.endswith("/translate"):
            return self._share * self._random.lognormvariate(math.log(0.15), 0.3)
        return self._share * self._random.lognormvariate(math.log(0.35), 0.35)

    def gap(self) -> float:
        return self._share * self._random.lognormvariate(math.log(0.008), 0.4)

    def gaps(self, tokens: int) -> float:
        return sum(self.gap() for _ in range(tokens))


def pace(profile: str, seed: int) -> Pace:
    """The pace of a profile by its name."""
    share = SHARES[profile]
    return Realistic(seed, share) if share else Instant()
