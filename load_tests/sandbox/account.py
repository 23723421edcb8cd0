"""What the vendors let this customer use: quotas that a test sets, and how much of them is used.

A quota is a number for a unit of one vendor: `{"deepl": {"characters": 500000}}`, or for `calls`,
for money (`pico_usd`), or for the calls under way at once (`concurrent`). The use of all but the
last is what stands on the bill. A call that would go over is refused in the vendor's words.
"""

from msgspec import Struct, field

from load_tests.sandbox.bill import Bill

Quotas = dict[str, dict[str, int]]


class Account(Struct):
    """Quotas over one bill."""

    bill: Bill
    quotas: Quotas = field(default_factory=dict)
    under_way: dict[str, int] = field(default_factory=dict)

    def used(self, vendor: str, unit: str) -> int:
        """How much of the unit is used."""
        known = self.bill.of_vendor(vendor)
        match unit:
            case "concurrent":
                return self.under_way.get(vendor, 0)
            case "calls":
                return known.calls
            case "pico_usd":
                return known.pico_usd
        return known.units.get(unit, 0)

    def limit(self, vendor: str, unit: str) -> int | None:
        """The quota, if there is one."""
        return self.quotas.get(vendor, {}).get(unit)

    def exceeded(self, vendor: str, units: dict[str, int], pico_usd: int) -> str | None:
        """The unit whose quota one more call of this size would break."""
        for unit, most in self.quotas.get(vendor, {}).items():
            more = {"calls": 1, "concurrent": 1, "pico_usd": pico_usd}.get(unit, units.get(unit, 0))
            if more and self.used(vendor, unit) + more > most:
                return unit
        return None
