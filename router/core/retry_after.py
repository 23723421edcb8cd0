"""When a backend wants to be asked again, from the headers of its refusal.

    retry-after-ms                milliseconds                         OpenAI
    Retry-After                   seconds, or a date                   RFC 9110 section 10.2.3
    x-ratelimit-reset-<what>      until a limit with nothing left is   OpenAI: 120ms, 6.5s, 1m0.2s,
                                  whole again                          2h3m; others: plain seconds

What cannot be read says nothing: the caller then has a rule of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_KINDS = (b"requests", b"tokens")


def retry_after(headers: Mapping[bytes, bytes], wall: float) -> float | None:
    """Seconds from now, *wall* in unix seconds; None when the headers do not say."""
    for name, unit in ((b"retry-after-ms", 1e-3), (b"retry-after", 1.0)):
        value = headers.get(name, b"").decode("latin-1")
        found = _number(value)
        if found is not None:
            return found * unit
        if value and (moment := _date(value)) is not None:
            return max(0.0, moment - wall)
    return _reset(headers)


def _reset(headers: Mapping[bytes, bytes]) -> float | None:
    """The longest wait for a limit of which nothing is left."""
    waits = []
    for kind in _KINDS:
        if headers.get(b"x-ratelimit-remaining-" + kind, b"").strip() == b"0":
            wait = duration(headers.get(b"x-ratelimit-reset-" + kind, b"").decode("latin-1"))
            if wait is not None:
                waits.append(wait)
    return max(waits, default=None)


def duration(text: str) -> float | None:
    """Seconds of `6m0s`, `120ms`, `1.5`; None for what is no duration."""
    text = text.strip()
    plain = _number(text)
    if plain is not None:
        return plain
    parts = _PART.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return max(0.0, value) if isfinite(value) else None


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
