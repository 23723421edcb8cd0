"""Rounds, and medians and quantiles of what they took."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

__all__ = ["median", "quantile", "ratios", "rounds"]


def rounds(most: int, seconds: float) -> Iterator[int]:
    """Up to *most* rounds; no new one is begun that would end after *seconds*. At least one."""
    began = time.monotonic()
    for done in range(most):
        spent = time.monotonic() - began
        if done and spent + spent / done > seconds:
            return
        yield done


def quantile(values: Sequence[float], q: float) -> float:
    """The value that a share *q* of *values* does not pass (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def ratios(ours: Iterable[float], theirs: Iterable[float]) -> float:
    """Median over rounds of one by the other, each pair measured next to each other."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))
