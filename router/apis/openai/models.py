"""`GET /v1/models` and `/v1/models/{name}`: the routes of a key, and what each can do.

A row has the four fields of OpenAI's, and beside them `task`, the `paths` of this wire where it is
asked, its `backends`, and what the configuration says of them together:

    voices             speak: names that may be asked for; "*" stands for any name
    languages          translate: {"source", "target"}; transcribe: {"source"}
    features           annotate

What is not limited for one of its backends is left out. Source: OpenAI's API description, Model;
read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from router.core.api import Facts, Path, Question, RouteFacts, Told
from router.core.errors import UnknownRoute

_encode = msgspec.json.Encoder().encode


def questions(paths: tuple[Path, ...]) -> tuple[Question, ...]:
    """Both questions, for a door that takes calls at *paths*."""

    def every(facts: Facts, told: Told) -> bytes:
        return _encode({"object": "list", "data": [_row(route, paths) for route in facts.routes]})

    def one(facts: Facts, told: Told) -> bytes:
        name = told.params["name"]
        for route in facts.routes:
            if route.name == name:
                return _encode(_row(route, paths))
        known = ", ".join(route.name for route in facts.routes)
        raise UnknownRoute(f"There is no route {name!r}. Routes: {known}.", param="model")

    return (Question("/v1/models", every), Question("/v1/models/{name}", one))


def _row(route: RouteFacts, paths: tuple[Path, ...]) -> dict[str, Any]:
    return {
        "id": route.name,
        "object": "model",
        "created": 0,
        "owned_by": "isocost",
        "task": route.task,
        "paths": [path.pattern for path in paths if path.task == route.task],
        "backends": route.backends,
        **_able(route),
    }


def _able(route: RouteFacts) -> dict[str, Any]:
    found: dict[str, Any] = {}
    of = route.abilities
    if route.task == "speak":
        found["voices"] = _all(a.voices for a in of)
    if route.task == "annotate":
        found["features"] = _all(a.features for a in of)
    if route.task in {"translate", "transcribe"}:
        languages = {"source": _all(a.sources for a in of)}
        if route.task == "translate":
            languages["target"] = _all(a.targets for a in of)
        found["languages"] = {way: tags for way, tags in languages.items() if tags is not None}
    return {name: value for name, value in found.items() if value not in (None, {})}


def _all(sets: Iterable[Iterable[str] | None]) -> list[str] | None:
    """What at least one backend has; None when one of them is not limited."""
    found: set[str] = set()
    for given in sets:
        if given is None:
            return None
        found.update(given)
    return sorted(found)
