"""Who is it, and may it: keys are known by the SHA-256 of their secret.

A look-up by digest compares no secret byte by byte, so its time says nothing about the secret.
With no key configured everybody is `anonymous`; the composition root then serves loopback only.
"""

from __future__ import annotations

from hashlib import sha256

from router.core.call import Call, Key, Outcome
from router.core.errors import Forbidden, Unauthorized
from router.core.gate import Release

ANONYMOUS = Key("anonymous")


class Keys:
    """The callers that are known, by digest of their secret."""

    def __init__(self, by_digest: dict[str, Key]) -> None:
        self._by_digest = by_digest

    @property
    def open(self) -> bool:
        return not self._by_digest

    def who(self, secret: str) -> Key | None:
        """The key that *secret* belongs to; None when nobody knows it."""
        if not self._by_digest:
            return ANONYMOUS
        return self._by_digest.get(sha256(secret.encode()).hexdigest())

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
        return _nothing


def _nothing(outcome: Outcome) -> None:
    pass
