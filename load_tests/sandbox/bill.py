"""The sandbox's own bill: what the vendor would charge, kept apart from whatever the caller books.

Rules, in integer pico-dollars (one token at 0.15 USD a million is 150,000):
* A call is on the bill once it is accepted, even if its answer is lost (hang, cut, reset).
* A whole answer is billed in full: the vendor generates it, read or not.
* A stream is billed for its input and for the output of the events that were written to the socket,
  whoever ended it (client or fault).
* Refused calls (4xx, 5xx, connection refused) are never on it.
* cached tokens are a part of the input tokens, never in addition to them.
Totals count every call since the last reset; `lines` keeps the last 1000.
"""

from collections import deque

from msgspec import Struct


class Price(Struct, frozen=True):
    """Pico-dollars a token."""

    input: int
    cached: int
    output: int

    def of(self, tokens_in: int, tokens_cached: int, tokens_out: int) -> int:
        """The charge for these tokens; the cached ones are part of `tokens_in`."""
        fresh = tokens_in - tokens_cached
        return fresh * self.input + tokens_cached * self.cached + tokens_out * self.output


class Line(Struct):
    """One call on the bill; `time` in seconds since the epoch."""

    id: str
    time: float
    model: str
    endpoint: str
    key: str
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    pico_usd: int
    stream: bool
    complete: bool = False


class Sum(Struct):
    """Calls and money of one model or key."""

    calls: int = 0
    pico_usd: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0


class Statement(Struct):
    """The bill as it is shown."""

    total_pico_usd: int
    calls: int
    by_model: dict[str, Sum]
    by_key: dict[str, Sum]
    lines: list[Line]


class Bill:
    """Lines and their sums. The sums move with the lines, so they agree after every step."""

    def __init__(self, keep: int = 1000) -> None:
        self._keep = keep
        self.reset()

    def reset(self) -> None:
        """Forget everything; calls under way are no longer counted when they end."""
        self._lines: deque[Line] = deque(maxlen=self._keep)
        self._open: set[int] = set()
        self._by_model: dict[str, Sum] = {}
        self._by_key: dict[str, Sum] = {}
        self._calls = 0
        self._total = 0

    def accept(self, line: Line, price: Price) -> Line:
        """Put an accepted call on the bill with what it owes so far."""
        line.pico_usd = price.of(line.tokens_in, line.tokens_cached, line.tokens_out)
        self._lines.append(line)
        self._open.add(id(line))
        self._calls += 1
        for total in self._sums(line):
            total.calls += 1
            total.tokens_in += line.tokens_in
            total.tokens_cached += line.tokens_cached
        self._add(line, line.tokens_out, line.pico_usd)
        return line

    def close(self, line: Line, price: Price, *, tokens_out: int, complete: bool) -> None:
        """Settle the line for what was generated in the end."""
        if id(line) not in self._open:
            return
        self._open.discard(id(line))
        pico_usd = price.of(line.tokens_in, line.tokens_cached, tokens_out)
        more_out, more_usd = tokens_out - line.tokens_out, pico_usd - line.pico_usd
        line.tokens_out, line.pico_usd, line.complete = tokens_out, pico_usd, complete
        self._add(line, more_out, more_usd)

    def statement(self) -> Statement:
        """The bill so far."""
        return Statement(self._total, self._calls, self._by_model, self._by_key, list(self._lines))

    def _sums(self, line: Line) -> tuple[Sum, Sum]:
        return (
            self._by_model.setdefault(line.model, Sum()),
            self._by_key.setdefault(line.key, Sum()),
        )

    def _add(self, line: Line, tokens_out: int, pico_usd: int) -> None:
        self._total += pico_usd
        for total in self._sums(line):
            total.tokens_out += tokens_out
            total.pico_usd += pico_usd
