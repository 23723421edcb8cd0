"""A key that somebody wants, from the words of a command or the JSON of a request."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import get_args

import msgspec

from router.admin.callers import budgets_of
from router.core.money import pico
from router.core.task import TASKS
from router.ledger.budget import AtLimit
from router.ledger.keys import KeyBudget, KeyRates, KeyRow

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class WrongKey(ValueError):
    """What was asked for cannot be; the message says which field, and what to write."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new key. `expires` is a date, or how long from now: 2027-01-31, 90d, 12h."""

    name: str
    team: str = "default"
    routes: list[str] | None = None
    tasks: list[str] | None = None
    tags: list[str] = []
    requests_per_minute: int | None = None
    units_per_minute: int | None = None
    budgets: list[str] = []
    """`WINDOW=USD[,AT_LIMIT][@ZONE]`: month=50, 24h=0.5,local_only, day=2@Europe/Berlin."""
    expires: str | None = None


def row(wanted: Wanted, now: float, routes: Collection[str] | None = None) -> KeyRow:
    """The key to be made. *routes* are those that exist, where it is known. Raises WrongKey."""
    for field, word in (("name", wanted.name), ("team", wanted.team)):
        if not _NAME.fullmatch(word):
            raise WrongKey(
                f"{field}: {word!r} is no name; write letters, digits and . _ @ - (100 at most)."
            )
    _among("tasks", wanted.tasks, TASKS)
    _among("routes", wanted.routes, routes)
    for field in ("requests_per_minute", "units_per_minute"):
        rate = getattr(wanted, field)
        if rate is not None and rate < 1:
            raise WrongKey(f"{field}: must be at least 1; leave it out for no limit.")
    made = KeyRow(
        "",
        "",
        wanted.name,
        team=wanted.team,
        routes=None if wanted.routes is None else tuple(wanted.routes),
        tasks=None if wanted.tasks is None else tuple(wanted.tasks),
        tags=tuple(wanted.tags),
        expires=None if wanted.expires is None else moment(wanted.expires, now),
        rates=KeyRates(wanted.requests_per_minute, wanted.units_per_minute),
        budgets=tuple(budget(text) for text in wanted.budgets),
    )
    try:
        compiled = budgets_of(made)
    except ValueError as exc:
        raise WrongKey(f"budgets: {exc}") from exc
    if len({(b.window, b.zone) for b in compiled}) < len(compiled):
        raise WrongKey("budgets: two have the same window; keep one.")
    return made


def _among(field: str, words: list[str] | None, known: Collection[str] | None) -> None:
    for word in words or ():
        if known is not None and word not in known:
            raise WrongKey(f"{field}: {word!r} does not exist; there are {', '.join(known)}.")


def budget(text: str) -> KeyBudget:
    """One budget of `WINDOW=USD[,AT_LIMIT][@ZONE]`. Raises WrongKey."""
    rest, _, zone = text.partition("@")
    window, _, amount = rest.partition("=")
    amount, _, at_limit = amount.partition(",")
    try:
        limit = pico(amount.strip())
    except (ValueError, ArithmeticError):
        limit = -1
    if limit < 0:
        raise WrongKey(
            f"budgets: {text!r} has no amount; write WINDOW=USD, such as month=50 or 24h=0.5."
        )
    if at_limit and at_limit not in get_args(AtLimit):
        known = ", ".join(get_args(AtLimit))
        raise WrongKey(f"budgets: {at_limit!r} at the limit is not known; there are {known}.")
    said: AtLimit = at_limit or "refuse"  # type: ignore[assignment]
    return KeyBudget(window.strip(), limit, said, zone or "UTC")


def moment(text: str, now: float) -> float:
    """Unix seconds of a date in the future, or of a length of time from *now*. Raises WrongKey."""
    found = re.fullmatch(r"([1-9]\d{0,6})([smhdw])", text.strip())
    if found:
        return now + int(found[1]) * _UNITS[found[2]]
    try:
        said = datetime.fromisoformat(text.strip())
    except ValueError:
        raise WrongKey(
            f"expires: {text!r} is no time; write 90d, 12h, or a date such as 2027-01-31."
        ) from None
    at = (said if said.tzinfo is not None else said.replace(tzinfo=UTC)).timestamp()
    if at <= now:
        raise WrongKey(f"expires: {text} is over already.")
    return at


def duration(text: str) -> float:
    """Seconds of 90s, 5m, 12h, 7d; 0. Raises WrongKey."""
    if text.strip() == "0":
        return 0.0
    found = re.fullmatch(r"([1-9]\d{0,6})([smhdw])", text.strip())
    if not found:
        raise WrongKey(f"grace: {text!r} is no length of time; write 90s, 5m, 12h or 7d.")
    return float(int(found[1]) * _UNITS[found[2]])
