"""What a part of the benchmark found: rows for the table, charts for the plot, raw figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class Skipped(Exception):
    """The part cannot run here; the message says why and what to do."""


@dataclass(frozen=True)
class Row:
    """One figure. `target` None: it is told for scale and held to nothing."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    """The target is a floor; else it is a ceiling."""
    detail: str = ""

    @property
    def held(self) -> bool | None:
        """Whether the target was held; None without a target."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    @property
    def goal(self) -> str:
        """The target as text."""
        if self.target is None:
            return ""
        return f"{'>=' if self.at_least else '<='} {self.target:g} {self.unit}"

    def json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "target": self.target,
            "at_least": self.at_least,
            "held": self.held,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class Chart:
    """Grouped bars: `bars[group][series]` in `unit`, and a line at `target`."""

    title: str
    unit: str
    bars: dict[str, dict[str, float]]
    target: float | None = None


@dataclass
class Part:
    """What one part found."""

    name: str
    rows: list[Row] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the reader must know: rows left out, and why."""
    raw: dict[str, Any] = field(default_factory=dict)
    """Every round's figures."""
    seconds: float = 0.0

    def json(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 1),
            "rows": [row.json() for row in self.rows],
            "notes": self.notes,
            "raw": self.raw,
        }
