"""One module per wire format, named in the configuration as `api: <module>`.

A module exports `API` (the side towards a backend), `DOOR` (the side towards a client), or both;
a new wire joins by existing, here or in the folder that the environment variable ISOCOST_APIS names
(docs/adding-an-api.md).
"""

from __future__ import annotations

import os
from importlib import import_module
from pkgutil import iter_modules

from router.core.api import Api, Door

if _own := os.environ.get("ISOCOST_APIS"):
    __path__.append(_own)
NAMES = tuple(sorted(m.name for m in iter_modules(__path__) if not m.name.startswith("_")))


def load(name: str) -> Api:
    """The backend side of wire *name*. Raises ValueError naming the known ones."""
    found = getattr(import_module(f"{__name__}.{name}"), "API", None) if name in NAMES else None
    if found is None:
        known = ", ".join(n for n in NAMES if hasattr(import_module(f"{__name__}.{n}"), "API"))
        raise ValueError(f"unknown api {name!r}; known: {known}")
    api: Api = found
    return api


def door(name: str) -> Door:
    """The client side of wire *name*. Raises ValueError when it has none."""
    found = getattr(import_module(f"{__name__}.{name}"), "DOOR", None) if name in NAMES else None
    if found is None:
        raise ValueError(f"wire {name!r} has no door; known: {', '.join(doors())}")
    made: Door = found
    return made


def doors() -> tuple[str, ...]:
    """The wires that have a door."""
    return tuple(n for n in NAMES if hasattr(import_module(f"{__name__}.{n}"), "DOOR"))
