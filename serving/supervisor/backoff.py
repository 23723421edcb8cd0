"""How long to wait before the next start: doubling, forgotten after a good run."""

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0
GOOD_RUN_SECONDS = 60.0


class Backoff:
    """`delay(ran)` = first x 2^n, at most the longest; n falls to 0 after a run that lasted."""

    def __init__(self) -> None:
        """No failure yet."""
        self._failures = 0

    def delay(self, ran: float) -> float:
        """Seconds to wait after a run of `ran` seconds."""
        if ran >= GOOD_RUN_SECONDS:
            self._failures = 0
        wait = min(LONGEST_SECONDS, FIRST_SECONDS * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        return float(wait)
