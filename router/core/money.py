"""Prices. Money is integer pico-dollars, so that sums are exact and free of order.

A price list's dollars per million tokens, times 10**6, is pico-dollars per token: $0.0375/M is
37_500. A quote is an upper bound; a cost is what a usage took.

A machine of one's own is priced by time: dollars per hour, shared by the calls in flight. Its
bound is the whole machine until the deadline; its cost is its seconds over the concurrency that
was measured.
"""

from __future__ import annotations

import msgspec

from .call import Call, Usage

PICO = 10**12


def pico(usd: float | str) -> int:
    """Dollars as pico-dollars, rounded to the nearest."""
    return round(float(usd) * PICO)


def usd(amount: int) -> str:
    """Pico-dollars as a plain decimal dollar figure, exact to the pico-dollar."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, rest = divmod(amount, PICO)
    digits = f"{rest:012d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


class Price(msgspec.Struct, frozen=True):
    """Pico-dollars per unit."""

    input_token: int = 0
    output_token: int = 0
    cached_token: int = 0
    written_token: int = 0
    """Of input that the vendor newly keeps in its cache; 0: as any other input."""
    call: int = 0
    character: int = 0
    second: int = 0
    """Of audio."""
    image: int = 0
    credit: int = 0
    """The unit of vendors who sell credits; `Usage.credits` says how many a call took."""
    audio_input_token: int = 0
    """Of input that is audio; 0: as any other input."""
    audio_output_token: int = 0
    features: dict[str, int] = {}
    """Per image, by feature. A feature that is not here has no price, so it is refused."""
    machine_second: int = 0
    """Pico-dollars per second of the machine, whatever runs on it."""
    long_from: int = 0
    """Calls with more input tokens than this are priced by `long`; 0: no such tier."""
    long: Price | None = None
    source: str = ""
    """Where the price comes from, and when it was read."""

    @property
    def free(self) -> bool:
        """Nothing is ever owed to a vendor for it."""
        return not (self.call or self.by_unit)

    @property
    def by_unit(self) -> bool:
        """It asks for something beside the call as such."""
        return bool(
            self.input_token
            or self.output_token
            or self.character
            or self.second
            or self.image
            or self.credit
            or self.audio_input_token
            or self.audio_output_token
            or self.features
        )

    def lacks(self, usage: Usage) -> str:
        """What of *usage* has no price here; "" when all of it has one, or the call as such has."""
        if self.call and not self.by_unit:
            return ""
        for feature, _ in usage.features:
            if feature not in self.features:
                return f"feature {feature}"
        for unit, used, price in (
            ("characters", usage.characters, self.character),
            ("credits", usage.credits, self.credit),
            ("seconds of audio", usage.seconds, self.second),
            ("input tokens", usage.input_tokens, self.input_token),
            ("output tokens", usage.output_tokens, self.output_token or self.audio_output_token),
        ):
            if used and not price:
                return unit
        return ""

    def quote(self, call: Call, left: float, most: Usage | None = None) -> int:
        """The most that this call can cost here within *left* seconds.

        *most* is the backend's own bound, for tasks that are not billed by the tokens of a text.
        """
        if most is not None:
            return self.of(most) + int(self.machine_second * max(left, 0.0))
        if self.long is not None and call.input_bound > self.long_from:
            return self.long.quote(call, left)
        dearest = self.input_token
        if self.cached_token > dearest or self.written_token > dearest:
            dearest = max(self.cached_token, self.written_token)
        quote = self.call + call.input_bound * dearest + call.output_limit * self.output_token
        if self.machine_second:
            quote += int(self.machine_second * max(left, 0.0))
        return quote

    def of(self, usage: Usage, seconds: float = 0.0, concurrency: float = 1.0) -> int:
        """What *usage* cost, taking *seconds* on a machine shared by *concurrency* calls."""
        if self.long is not None and usage.input_tokens > self.long_from:
            return self.long.of(usage, seconds, concurrency)
        cost = (
            self.call
            + (usage.input_tokens - usage.cached_tokens) * self.input_token
            + usage.cached_tokens * self.cached_token
            + usage.output_tokens * self.output_token
            + usage.characters * self.character
            + usage.images * self.image
            + usage.credits * self.credit
        )
        for feature, count in usage.features:
            cost += count * self.features.get(feature, 0)
        if usage.audio_input_tokens and self.audio_input_token:
            cost += usage.audio_input_tokens * (self.audio_input_token - self.input_token)
        if usage.audio_output_tokens and self.audio_output_token:
            cost += usage.audio_output_tokens * (self.audio_output_token - self.output_token)
        if usage.written_tokens and self.written_token:
            cost += usage.written_tokens * (self.written_token - self.input_token)
        if self.second:
            cost += round(usage.seconds * self.second)
        if self.machine_second:
            cost += int(self.machine_second * seconds / concurrency)
        return cost

    def predicted(
        self,
        call: Call,
        output: float,
        seconds: float,
        concurrency: float,
        most: Usage | None = None,
    ) -> int:
        """What *call* should cost with *output* tokens in *seconds*; the plan's hot path."""
        if most is not None:
            return self.of(most, seconds, concurrency)
        if self.long is not None and call.input_tokens > self.long_from:
            return self.long.predicted(call, output, seconds, concurrency)
        cost = self.call + call.input_tokens * self.input_token + int(output * self.output_token)
        if self.machine_second:
            cost += int(self.machine_second * seconds / concurrency)
        return cost
