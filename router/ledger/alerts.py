"""Soft alerts: how much of a limit is spent, told when a share is reached.

The share is what is posted, not what is held: bounds are often far above costs. The last share
(1.0) is also reached when an attempt was refused. A calendar window tells each share once, over
all replicas: what was told stands in its row. A rolling window tells it each time it is reached
from below.
"""

from __future__ import annotations

from router.core.money import usd

from .protocol import Account, Books
from .record import Event


def alerts(books: Books) -> None:
    """Note in the books what has to be told of the accounts that were touched."""
    for account in list(books.accounts.values()):
        place = account.place
        if place is None:
            continue
        if account.posted == books.was[account.key][1] and not (account.refused or place.anchor):
            continue  # nothing was posted, so nothing is new
        teller = books.accounts.get(place.anchor) if place.anchor else account
        if teller is None:
            continue  # a settlement alone does not look at the other buckets
        spent = account.posted + account.posted_before
        level = _level(account, spent)
        if level > teller.told:
            books.events.append(_event(account, spent, level / 1000))
        if level > teller.told or place.anchor:
            teller.told = level


def _level(account: Account, spent: int) -> int:
    """The highest alert that is reached, in thousandths."""
    assert account.place is not None
    budget = account.place.budget
    shares = [round(share * 1000) for share in budget.alerts]
    if account.refused:
        return max(shares, default=0)
    if not budget.limit:
        return 0
    return max((s for s in shares if spent * 1000 >= s * budget.limit), default=0)


def _event(account: Account, spent: int, share: float) -> Event:
    place = account.place
    assert place is not None
    limit = usd(place.budget.limit)
    said = f"The {place.budget.window} budget of {place.scope}: {usd(spent)} of {limit} USD spent"
    if account.refused:
        said += f", {usd(account.held + account.held_before)} held; an attempt did not fit"
    return Event(
        "budget",
        said + ".",
        scope=place.scope,
        window=place.budget.window,
        share=share,
        amount=spent,
    )
