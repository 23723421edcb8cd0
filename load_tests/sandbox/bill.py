"""The sandbox's own bill: what the vendors would charge, kept apart from whatever the caller books.

Rules, in integer pico-dollars (one token at 0.15 USD a million is 150,000):
* A call is on the bill once it is accepted, even if its answer is lost (hang, cut, reset).
* A whole answer is billed in full: the vendor generates it, read or not.
* A stream is billed for its input and for the output of the events that were written to the socket,
  whoever ended it (client or fault). What a vendor counts by its input (characters, credits) is
  billed in full as soon as the call is accepted.
* Refused calls (4xx, 5xx, connection refused) are never on it.
* cached and audio tokens are a part of the input tokens, never in addition to them.
* A vendor that bills in another currency is kept in it too, beside the dollars at its list's rate.
Totals count every call since the last reset; `lines` keeps the last 1000.
"""

import time
from collections import deque

from msgspec import Struct, field

from load_tests.sandbox.price import Price

INPUTS = ("input", "cached", "audio_input")  # units that are tokens of the input
OUTPUTS = ("output", "audio_output")


class Line(Struct, kw_only=True):
    """One call on the bill; `time` in seconds since the epoch, `units` by their names.

    `pico` is the charge in `currency`. The tokens are the units' sums once more.
    """

    id: str
    time: float
    vendor: str
    model: str
    endpoint: str
    key: str
    units: dict[str, int]
    stream: bool
    currency: str = "USD"
    pico: int = 0
    pico_usd: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    complete: bool = False


class Sum(Struct):
    """Calls, money and units of one vendor, model or key; `pico` by currency."""

    calls: int = 0
    pico_usd: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    pico: dict[str, int] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)


class Statement(Struct):
    """The bill as it is shown."""

    total_pico_usd: int
    calls: int
    by_vendor: dict[str, Sum]
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
        self._by_vendor: dict[str, Sum] = {}
        self._by_model: dict[str, Sum] = {}
        self._by_key: dict[str, Sum] = {}
        self._months: dict[tuple[str, str, int, int], int] = {}
        self._calls = 0
        self._total = 0

    def accept(self, line: Line, price: Price) -> Line:
        """Put an accepted call on the bill with what it owes so far."""
        units, line.units = line.units, {}
        line.currency = price.currency
        self._lines.append(line)
        self._open.add(id(line))
        self._calls += 1
        for total in self._sums(line):
            total.calls += 1
        self._move(line, price, units)
        return line

    def close(self, line: Line, price: Price, units: dict[str, int], *, complete: bool) -> None:
        """Settle the line for the units that it came to in the end."""
        if id(line) not in self._open:
            return
        self._open.discard(id(line))
        line.complete = complete
        if units != line.units:
            self._move(line, price, units)

    def of_vendor(self, name: str) -> Sum:
        """What one vendor has on the bill."""
        return self._by_vendor.get(name, Sum())

    def statement(self) -> Statement:
        """The bill so far."""
        return Statement(
            self._total,
            self._calls,
            self._by_vendor,
            self._by_model,
            self._by_key,
            list(self._lines),
        )

    def _sums(self, line: Line) -> tuple[Sum, Sum, Sum]:
        return (
            self._by_vendor.setdefault(line.vendor, Sum()),
            self._by_model.setdefault(line.model, Sum()),
            self._by_key.setdefault(line.key, Sum()),
        )

    def _move(self, line: Line, price: Price, units: dict[str, int]) -> None:
        """Take the line and all sums to these units."""
        more = {unit: many - line.units.get(unit, 0) for unit, many in units.items()}
        pico = sum(self._charge(line, price, unit, many) for unit, many in more.items())
        usd = price.in_usd(pico)
        line.units = dict(units)
        _add(line, more, usd)
        line.pico += pico
        self._total += usd
        for total in self._sums(line):
            _add(total, more, usd)
            total.pico[line.currency] = total.pico.get(line.currency, 0) + pico
            for unit, many in more.items():
                total.units[unit] = total.units.get(unit, 0) + many

    def _charge(self, line: Line, price: Price, unit: str, many: int) -> int:
        rate = price.rates[unit]
        if len(rate.steps) == 1:
            return rate.of(0, many)
        month = time.gmtime(line.time)
        place = line.vendor, unit, month.tm_year, month.tm_mon
        before = self._months.get(place, 0)
        self._months[place] = before + many
        return rate.of(before, many)


def _add(to: Line | Sum, more: dict[str, int], pico_usd: int) -> None:
    to.pico_usd += pico_usd
    to.tokens_in += sum(more.get(unit, 0) for unit in INPUTS)
    to.tokens_cached += more.get("cached", 0)
    to.tokens_out += sum(more.get(unit, 0) for unit in OUTPUTS)
