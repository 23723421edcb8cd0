"""Which secrets the vendors accept, whatever header they come in."""

from msgspec import Struct


class Keys(Struct, frozen=True):
    """The named secrets, or (none named) any that begins with `sk-sandbox-`."""

    named: frozenset[str] = frozenset()

    def good(self, secret: str) -> bool:
        """True when the secret opens the door."""
        return secret in self.named if self.named else secret.startswith("sk-sandbox-")
