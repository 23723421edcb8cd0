"""Who is it, and may it: keys are known by the SHA-256 of their secret.

    known = keys of the file + keys of the store, as it was read last

A look-up by digest compares no secret byte by byte: how far two digests agree says nothing about
how far two secrets do, so its time tells nothing that helps to guess one.

With no key anywhere everybody is `anonymous`, unless *guarded*: the composition root says so where
others than this machine can reach the router, and where a store may hold keys. A key that has
expired or was revoked still keeps the router closed: the last key's end opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256

import msgspec

from router.core.call import Call, Key, Outcome
from router.core.errors import Forbidden, Unauthorized
from router.core.gate import Release
from router.core.task import Task


class Limits(msgspec.Struct, frozen=True):
    """At most so many in any minute; None: not limited. Units are those of the task."""

    requests: int | None = None
    units: int | None = None


class Caller(Key, frozen=True):
    """A key with more limits than its routes. `tasks` None allows all; `until` in unix seconds."""

    tasks: frozenset[Task] | None = None
    limits: Limits = Limits()
    until: float = float("inf")
    """When it expires or its revocation takes effect."""


ANONYMOUS = Key("anonymous")


class Keys:
    """The callers that are known, by digest of their secret. *wall* gives unix seconds."""

    def __init__(
        self,
        by_digest: Mapping[str, Key],
        wall: Callable[[], float] = lambda: 0.0,
        *,
        guarded: bool = False,
    ) -> None:
        self._by_digest, self._wall, self._guarded = by_digest, wall, guarded
        self.stored: Mapping[str, Key] | None = None
        """Those of the store; replaced as a whole when it changes. None: not read yet."""
        self.store = False
        """Whether there is a store: until it is read nobody knows whether it has keys."""

    @property
    def open(self) -> bool:
        if self._guarded or self._by_digest:
            return False
        return not self.store if self.stored is None else not self.stored

    def who(self, secret: str) -> Key | None:
        """The key that *secret* belongs to; None when nobody knows it."""
        if self.open:
            return ANONYMOUS
        digest = sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
        found = self._by_digest.get(digest) or (self.stored or {}).get(digest)
        over = isinstance(found, Caller) and self._wall() >= found.until
        return None if over else found

    def ready(self) -> bool:
        return True

    def acquire(self, call: Call) -> Release:
        key = call.key
        if key is None:
            raise Unauthorized(
                "This key is not known here. Send a key of this router, not the vendor's: "
                "the header is `Authorization: Bearer <key>`."
            )
        if key.routes is not None and call.route not in key.routes:
            allowed = ", ".join(sorted(key.routes)) or "none"
            raise Forbidden(
                f"Key {key.name!r} may not use route {call.route!r}. Allowed: {allowed}.",
                param="model",
            )
        tasks = key.tasks if isinstance(key, Caller) else None
        if tasks is not None and call.task not in tasks:
            allowed = ", ".join(sorted(tasks)) or "none"
            raise Forbidden(f"Key {key.name!r} may not {call.task}. Allowed tasks: {allowed}.")
        return _nothing


def _nothing(outcome: Outcome) -> None:
    pass
