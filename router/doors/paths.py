"""Which door a path belongs to: exact ones by one look-up, those with a pattern by a search."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Generic, TypeVar

from router import apis
from router.core.api import Door, Path

T = TypeVar("T")
NO_PARAMS: Mapping[str, str] = {}


class Paths(Generic[T]):
    """Things at paths; `{name}` in a pattern stands for a part without `/` or `:`."""

    def __init__(self) -> None:
        self._exact: dict[str, T] = {}
        self._patterns: list[tuple[re.Pattern[str], T]] = []

    def add(self, pattern: str, what: T) -> None:
        if "{" not in pattern:
            self._exact[pattern] = what
            return
        parts = re.split(r"\{(\w+)\}", pattern)
        text = "".join(
            f"(?P<{part}>[^/:]+)" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
        self._patterns.append((re.compile(text), what))

    def find(self, path: str) -> tuple[T, Mapping[str, str]] | None:
        """What stands at *path*, and the parts that its pattern names."""
        found = self._exact.get(path)
        if found is not None:
            return found, NO_PARAMS
        for pattern, what in self._patterns:
            match = pattern.fullmatch(path)
            if match:
                return what, match.groupdict()
        return None


@cache
def entrances() -> tuple[tuple[Door, Path], ...]:
    """Every inference path of every door."""
    found = [apis.door(wire) for wire in apis.doors()]
    return tuple((door, path) for door in found for path in door.paths)
