"""Leave out a backend that says itself that it is down.

Someone outside (the poll of a status page) calls `tell`. News older than `stale` seconds is no
news: then only the calls themselves can show how the backend is. A page that did not come once is
none either: its machine may be busy, or this one, or another has just taken its place; again and
again for GONE seconds is *down*. One whose page is still to be read (*awaited*) counts as down for
as long: a start must not send calls to models that are loading.
"""

from __future__ import annotations

from router.core.call import Call, Outcome
from router.core.errors import Down
from router.core.gate import Clock, Release

GONE = 5.0


class Health:
    """What the backend's status page said last."""

    def __init__(self, now: Clock, *, stale: float = 10.0, awaited: bool = False) -> None:
        self._now, self._stale = now, stale
        self._told = now() if awaited else float("-inf")
        self.up, self._missed = not awaited, int(awaited)
        self.queued = 0
        self.detail = "its status page has not been read yet" if awaited else ""

    def tell(self, *, up: bool, queued: int = 0, detail: str = "") -> None:
        """Note the news; *queued* calls wait inside the backend."""
        self.up, self.queued, self.detail, self._missed = up, queued, detail, 0
        self._told = self._now()

    def miss(self, detail: str) -> None:
        """Note that no page came: down for *detail* when it goes on, or nothing is known."""
        missed = self._missed + 1
        if missed > 1 and (not self.up or self._now() - self._told >= GONE):
            self.tell(up=False, detail=detail)
        self._missed = missed

    def ready(self) -> bool:
        return self.up or self._now() - self._told > self._stale

    def acquire(self, call: Call) -> Release:
        if not self.ready():
            raise Down(f"down: {self.detail}" if self.detail else "down")
        return _nothing


def _nothing(outcome: Outcome) -> None:
    pass
