"""Predict what a route's calls use, from what they used so far.

    output tokens   a slow mean of real answers, never above the call's own maximum
    bytes a token   of input, from texts long enough to tell; 4 until the first of them

Predictions rank backends; they never bound money (`Price.quote` does).
"""

from __future__ import annotations

from router.core.call import Call, Outcome
from router.core.gate import Release

LEAST = 1000
"""Bytes of a text that says something of the language: a short one is mostly the chat's frame."""


class Forecast:
    """What one route's calls use."""

    def __init__(self, *, weight: float = 0.05) -> None:
        self._weight = weight
        self.output: float | None = None
        self.bytes_per_token = 4.0

    def output_tokens(self, call: Call) -> float:
        """Predicted output of *call*, in tokens; its maximum while nothing is known."""
        if self.output is None:
            return float(call.output_limit)
        return min(self.output, float(call.output_limit))

    def ready(self) -> bool:
        return True

    def acquire(self, call: Call) -> Release:
        def release(outcome: Outcome) -> None:
            usage = outcome.usage
            if usage is None or outcome.verdict.charge != "usage":
                return
            if call.output_limit:
                seen = float(usage.output_tokens)
                known = self.output
                self.output = seen if known is None else known + (seen - known) * self._weight
            if usage.input_tokens and call.text_bytes >= LEAST:
                ratio = min(max(call.text_bytes / usage.input_tokens, 1.0), 16.0)
                self.bytes_per_token += (ratio - self.bytes_per_token) * self._weight

        return release
