"""What a vendor asks for a unit, and the price lists that this is read from.

A unit is what the vendor counts: tokens (`input`, `cached`, `audio_input`, `output`), `characters`,
`credits`, `seconds`, or images of one feature (`label_detection`). Amounts are integers of a
million millionth of the list's currency ("pico"); one that is no whole number of them is refused.
A price list is a YAML file with source and date:
  currency: EUR          usd: "1.15"       dollars for one of it, the rate of this list
  per: 1000              the number of units that an amount is for
  prices: {label_detection: {amount: "1.50", free: 1000, above: {5000000: "1.00"}}}
`free` units of each month, and cheaper steps `above` a number of them, go by the month's count.
"""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

PICO = 10**12


class Rate(Struct, frozen=True):
    """One unit's price in pico; `steps`: from which number of a month's units on which price."""

    steps: tuple[tuple[int, int], ...]

    def of(self, before: int, amount: int) -> int:
        """The charge for `amount` more units in a month that has had `before`."""
        if len(self.steps) == 1:
            return amount * self.steps[0][1]
        return self._upto(before + amount) - self._upto(before)

    def _upto(self, count: int) -> int:
        ends = [start for start, _ in self.steps[1:]] + [count]
        return sum(
            (min(end, count) - start) * pico
            for (start, pico), end in zip(self.steps, ends, strict=True)
            if count > start
        )


class Price(Struct, frozen=True):
    """A rate for each unit; `usd` is what one of the currency is in dollars."""

    rates: dict[str, Rate]
    currency: str = "USD"
    usd: Fraction = Fraction(1)

    def of(self, units: dict[str, int]) -> int:
        """The charge in pico-dollars for these units as the first of their month."""
        return self.in_usd(sum(self.rates[unit].of(0, many) for unit, many in units.items()))

    def in_usd(self, pico: int) -> int:
        """An amount of the currency in pico-dollars."""
        return pico * self.usd.numerator // self.usd.denominator


def flat(per: int, amounts: dict[str, str]) -> Price:
    """A price in dollars without steps; each amount is for `per` units."""
    return Price({unit: Rate(((0, _pico(text, per)),)) for unit, text in amounts.items()})


def read_price(path: Path, *, free_units: bool) -> Price:
    """The price list of a file. Raises ValueError when an amount cannot be told exactly."""
    listed = yaml.safe_load(path.read_text(encoding="utf-8"))
    rates = {
        unit: _rate(entry, listed["per"], free_units=free_units)
        for unit, entry in listed["prices"].items()
    }
    price = Price(rates, listed.get("currency", "USD"), Fraction(listed.get("usd", "1")))
    for rate in rates.values():
        if any(pico * price.usd % 1 for _, pico in rate.steps):
            raise ValueError(f"{path.name}: a unit is no whole number of pico-dollars")
    return price


def _rate(entry: dict[str, Any], per: int, *, free_units: bool) -> Rate:
    steps = [(0, _pico(entry["amount"], per))]
    if free_units and "free" in entry:
        steps = [(0, 0), (entry["free"], steps[0][1])]
    above = entry.get("above", {})
    return Rate((*steps, *((start, _pico(text, per)) for start, text in above.items())))


def _pico(text: str, per: int) -> int:
    amount = Decimal(text) * PICO / per
    if amount != int(amount):
        raise ValueError(f"{text} for {per} units is no whole number of pico a unit")
    return int(amount)
