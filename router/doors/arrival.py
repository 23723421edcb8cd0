"""A request becomes a Call: its body by its wire, its headers by ours. Bad ones are refused."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from itertools import count
from secrets import token_hex
from typing import Literal
from urllib.parse import parse_qsl

import msgspec

from router.core.api import Ask, Door, Told
from router.core.call import CRITICALITIES, Call, Criticality, Key
from router.core.errors import BadRequest, UnknownRoute
from router.core.money import pico
from router.core.task import Task
from router.route import Route
from router.runtime import Runtime

# Unique by process and count: asking the kernel for random bytes per call costs 30 us.
_PROCESS = token_hex(8)
_count = count()
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


def read_query(raw: bytes) -> dict[str, str]:
    """The query's fields; of a field that stands there twice, the last."""
    return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True))


def name_call(headers: Mapping[bytes, bytes]) -> str:
    """The caller's own request id when it is a plain word, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _ID.fullmatch(said := given.decode("latin-1")):
        return said
    return f"{_PROCESS}{next(_count):010x}"


class Entrance(msgspec.Struct, frozen=True):
    """One path of one wire, and the task it asks for."""

    door: Door
    path: str
    task: Task


class Arrival(msgspec.Struct, frozen=True):
    """One request as it came, and who sent it."""

    told: Told
    body: bytes
    key: Key
    call_id: str


def make_call(runtime: Runtime, entrance: Entrance, arrival: Arrival) -> Call:
    """What the pipeline needs of a request. Raises BadRequest."""
    door, headers = entrance.door, arrival.told.headers
    try:
        ask = door.ask(entrance.path, arrival.body, arrival.told)
    except _UNREADABLE as exc:
        # Parts of a body are decoded late, each with its own way to be wrong.
        raise BadRequest(f"The body cannot be read: {exc}.", code="invalid_json") from exc
    task = ask.task
    route = _route(runtime, door, ask, headers)
    now, seconds = runtime.now(), _deadline(headers, route.deadline)
    asked = getattr(ask.request, "max_tokens", None)
    makes = task in {"chat", "complete"}
    limit = (asked or route.output_limit) * ask.outputs if makes else 0
    return Call(
        id=arrival.call_id,
        key=arrival.key,
        route=route.name,
        task=task,
        request=ask.request,
        wire=door.wire,
        fields=ask.fields,
        extras=ask.extras,
        created=int(time.time()),
        arrived=now,
        deadline=now + seconds,
        hurried=seconds < route.deadline,
        text_bytes=ask.text_bytes,
        input_tokens=int(ask.text_bytes / route.forecast.bytes_per_token) + 1,
        input_bound=ask.token_bound,
        output_limit=limit,
        stream=ask.stream,
        path=entrance.path,
        tags=_tags(headers) | arrival.key.tags,
        max_cost=_max_cost(headers, route),
        caching=_caching(headers),
        criticality=_criticality(headers, arrival.key),
        trace=runtime.trace(headers),
    )


def _route(runtime: Runtime, door: Door, ask: Ask, headers: Mapping[bytes, bytes]) -> Route:
    """The header's route, the body's, or the door's own. Raises UnknownRoute."""
    pipeline = runtime.pipeline
    said = headers.get(b"x-isocost-route", b"").decode("latin-1")
    name = said or ask.route
    route = pipeline.routes.get(name)
    if route is not None and route.task == ask.task:
        return route
    if not said and not door.named:
        own = pipeline.doors.get((door.wire, ask.task))
        if own is not None:
            return pipeline.routes[own]
        raise UnknownRoute(_unnamed(door.wire, pipeline.routes, ask.task), param="x-isocost-route")
    where = "x-isocost-route" if said else "model"
    raise UnknownRoute(_unknown(name, where, pipeline.routes, ask.task), param=where)


def _unnamed(wire: str, routes: Mapping[str, Route], task: Task) -> str:
    fit = sorted(name for name, route in routes.items() if route.task == task)
    if not fit:
        return f"No route does {task}: add one to the configuration."
    return (
        f"Several routes do {task}: {', '.join(fit)}. Name one in the header x-isocost-route, or "
        f"in the configuration: `doors: {{{wire}: {{{task}: {fit[0]}}}}}`."
    )


def _unknown(name: str, where: str, routes: Mapping[str, Route], task: Task) -> str:
    fit = sorted(name for name, route in routes.items() if route.task == task)
    known = f"Routes for {task}: {', '.join(fit)}." if fit else f"No route does {task}."
    if name in routes:
        return f"Route {name!r} does {routes[name].task}, not {task}. {known}"
    return f"There is no route {name!r}: put the name of a route in `{where}`. {known}"


def _tags(headers: Mapping[bytes, bytes]) -> frozenset[str]:
    given = headers.get(b"x-isocost-tags")
    if not given:
        return frozenset()
    return frozenset(t.strip() for t in given.decode("latin-1").split(",") if t.strip())


def _caching(headers: Mapping[bytes, bytes]) -> Literal["", "no-cache", "no-store"]:
    """What the client wants of a cache (RFC 9111 5.2.1); other directives are not heard."""
    given = headers.get(b"cache-control")
    if not given:
        return ""
    said = {word.strip() for word in given.lower().split(b",")}
    return "no-store" if b"no-store" in said else "no-cache" if b"no-cache" in said else ""


def _deadline(headers: Mapping[bytes, bytes], default: float) -> float:
    given = headers.get(b"x-isocost-deadline-ms")
    if given is None:
        return default
    try:
        millis = float(given)
    except ValueError:
        millis = 0.0
    if not 0 < millis <= 86_400_000:
        raise BadRequest(
            "The header x-isocost-deadline-ms must be a number of milliseconds above 0.",
            param="x-isocost-deadline-ms",
        )
    return millis / 1000


def _max_cost(headers: Mapping[bytes, bytes], route: Route) -> int | None:
    """The lower of what the caller and the route allow."""
    given, own = headers.get(b"x-isocost-max-cost-usd"), route.promise.max_cost
    if given is None:
        return own
    try:
        asked = pico(given.decode("latin-1"))
    except (ValueError, OverflowError):
        asked = -1
    if asked < 0:
        raise BadRequest(
            "The header x-isocost-max-cost-usd must be an amount in USD, such as 0.01.",
            param="x-isocost-max-cost-usd",
        )
    return asked if own is None else min(asked, own)


def _criticality(headers: Mapping[bytes, bytes], key: Key) -> Criticality:
    """The lower of what the caller says and what its key allows."""
    given, most = headers.get(b"x-isocost-criticality"), key.criticality
    if given is None:
        level: Criticality = "critical"
    else:
        said = given.decode("latin-1")
        if said not in CRITICALITIES:
            raise BadRequest(
                "The header x-isocost-criticality must be one of "
                f"{', '.join(CRITICALITIES)}; it is {said[:40]!r}.",
                param="x-isocost-criticality",
            )
        level = CRITICALITIES[CRITICALITIES.index(said)]
    return level if most is None else max(level, most, key=CRITICALITIES.index)
