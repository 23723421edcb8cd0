"""What clients of this wire ask beside translations: languages, and what their key has used.

Languages are those that the configuration names for the backends of the routes that translate; a
backend for which it names none takes all that the vendor lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from router.core.api import Facts, Question, Told
from router.core.call import NOTHING
from router.core.errors import BadRequest

from .languages import SOURCES, TARGETS, VARIANTS, to_tag

NO_LIMIT = 10**12
"""Characters, as the vendor itself shows a plan without a limit."""
_encode = msgspec.json.Encoder().encode


def usage(facts: Facts, told: Told) -> bytes:
    """What the key has used since the router's process began."""
    used = facts.used.get("translate", NOTHING)
    return _encode({"character_count": used.characters, "character_limit": NO_LIMIT})


def languages(facts: Facts, told: Told) -> bytes:
    """What can be translated from, or into. Raises BadRequest."""
    way = told.query.get("type", "source")
    if way not in {"source", "target"}:
        raise BadRequest(f"`type` is {way!r}; it must be source or target.", param="type")
    found = _known(facts, "sources" if way == "source" else "targets")
    return _encode([{"language": tag.upper(), "name": name} for tag, name in sorted(found.items())])


def _known(facts: Facts, way: Literal["sources", "targets"]) -> dict[str, str]:
    """Tag -> name, over the backends of all routes that translate."""
    all_of_them = SOURCES if way == "sources" else TARGETS
    found: dict[str, str] = {}
    for route in facts.routes:
        if route.task != "translate":
            continue
        for can in route.abilities:
            named = can.sources if way == "sources" else can.targets
            if named is None:
                found |= all_of_them
            else:
                for tag in named:
                    found |= _named(tag, all_of_them)
    return found


def _named(given: str, table: Mapping[str, str]) -> dict[str, str]:
    """A tag and its name; one that the wire only has in variants stands for all of them."""
    tag = to_tag(given) or given
    if tag in table:
        return {tag: table[tag]}
    variants = {v: name for v, name in VARIANTS.items() if v.startswith(f"{tag}-") and v in table}
    return variants or {tag: SOURCES.get(tag, tag)}


QUESTIONS = (
    Question("/v2/usage", usage, methods=frozenset({"GET", "POST"})),
    Question("/v2/languages", languages, methods=frozenset({"GET", "POST"})),
)
