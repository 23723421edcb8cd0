"""What a configuration says that only a start takes up: addresses, the store, where traces go."""

from __future__ import annotations

from router.config import Config

RELOADED = {"server": {"admission"}, "ledger": {"unreachable"}}
"""Fields of those sections that a reload takes up too."""
SECTIONS = ("server", "ledger", "tracing")


def waiting(started: Config, now: Config) -> list[str]:
    """Paths of the fields that differ from those that this process was started with."""
    found: list[str] = []
    for section in SECTIONS:
        old, new = getattr(started, section), getattr(now, section)
        if (old is None) != (new is None):
            found.append(section)
        elif old is not None:
            found += [
                f"{section}.{name}"
                for name in type(old).model_fields
                if name not in RELOADED.get(section, ())
                and getattr(old, name) != getattr(new, name)
            ]
    return found
