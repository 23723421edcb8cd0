"""Counters and histograms that are cheap to add to: plain numbers, flushed to the real ones.

Who adds flushes each second and before a page is made.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from prometheus_client import Counter, Histogram


class Counts(dict[tuple[str, ...], float]):
    """A counter's increments since the last flush: adding here costs a tenth of adding there."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...], registry: Any) -> None:
        super().__init__()
        self._counter = Counter(f"isocost_{name}", text, labels, registry=registry)

    def __missing__(self, labels: tuple[str, ...]) -> float:
        return 0.0

    def add(self, amount: int, *labels: str) -> None:
        """Count *amount*, which is mostly none."""
        if amount:
            self[labels] += amount

    def flush(self) -> None:
        for labels, amount in self.items():
            self._counter.labels(*labels).inc(amount)
        self.clear()


class Times(defaultdict[tuple[str, ...], list[float]]):
    """A histogram's observations since the last flush, and of what call one of them was."""

    def __init__(self, name: str, text: str, bins: Any, labels: Any, registry: Any) -> None:
        super().__init__(list)
        self.traces: dict[tuple[str, ...], tuple[float, str]] = {}
        self._histogram = Histogram(
            f"isocost_{name}", text, labels, buckets=bins, registry=registry
        )

    def flush(self) -> None:
        for labels, seen in self.items():
            child = self._histogram.labels(*labels) if labels else self._histogram
            traced, trace = self.traces.pop(labels, (None, ""))
            for value in seen:
                child.observe(value, {"trace_id": trace} if value == traced else None)
        self.clear()
