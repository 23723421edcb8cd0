"""Questions about the router: its models, a plan before it is run, a decision after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from router import apis
from router.core.api import Door, Path, Told
from router.core.call import Key
from router.core.errors import BadRequest, UnknownRoute
from router.decisions import plan_json
from router.doors.arrival import Arrival, Entrance, make_call, name_call, read_query
from router.doors.body import Gone, read_body
from router.doors.inference import unknown_key
from router.doors.paths import Paths, entrances
from router.plan import look, plan
from router.runtime import Runtime


class _Named(msgspec.Struct):
    model: str


_named = msgspec.json.Decoder(_Named)


def admin(runtime: Runtime) -> APIRouter:
    """The routes that answer about the router, not through it. They raise RouterError."""
    api = APIRouter()
    door = apis.door("openai")

    def who(request: Request) -> Key:
        key = runtime.pipeline.keys.who(door.secret(dict(request.scope["headers"])))
        if key is None:
            raise unknown_key(door)
        return key

    @api.get("/v1/models", summary="The routes that this key may use")
    async def models(request: Request) -> Response:
        key = who(request)
        rows = [_model(runtime, name) for name in runtime.pipeline.routes if _may(key, name)]
        return answer({"object": "list", "data": rows})

    @api.get("/v1/models/{name}", summary="One route")
    async def model(name: str, request: Request) -> Response:
        key = who(request)
        if name not in runtime.pipeline.routes or not _may(key, name):
            known = ", ".join(n for n in runtime.pipeline.routes if _may(key, n))
            raise UnknownRoute(f"There is no route {name!r}. Routes: {known}.", param="model")
        return answer(_model(runtime, name))

    @api.post("/v1/explain", summary="Dry run: the plan for any request body; costs nothing")
    async def explain(request: Request, path: str = "") -> Response:
        """*path* says where the body would be sent; by default where its `model` is asked."""
        key = who(request)  # before a byte of a stranger's body is kept
        headers: Mapping[bytes, bytes] = dict(request.scope["headers"])
        try:
            body = await read_body(request.receive, headers, runtime.body_limit)
        except Gone:
            return Response(status_code=499)
        arrival = Arrival(Told(headers=headers), body, key, name_call(headers))
        return answer(_explain(runtime, arrival, path))

    @api.get("/v1/decisions/{call_id}", summary="How one of your own last calls was decided")
    async def decision(call_id: str, request: Request) -> Response:
        key, found = who(request), runtime.decision(call_id)
        if found is None or found["key"] != key.name:
            raise UnknownRoute(
                f"No decision of this key is kept for call {call_id!r}.", code="not_found"
            )
        return answer(found)

    return api


def _explain(runtime: Runtime, arrival: Arrival, at: str) -> dict[str, Any]:
    """What would happen to this body now, if it were sent to the path *at*."""
    at, _, query = at.partition("?")
    found = _entrance(at) if at else _named_entrance(runtime, arrival)
    entrance, params = found
    asked = read_query(query.encode())
    told = Told(params, asked, arrival.told.headers, runtime.pipeline.tasks)
    call = make_call(runtime, entrance, msgspec.structs.replace(arrival, told=told))
    runtime.pipeline.keys.acquire(call)
    now, route = runtime.now(), runtime.pipeline.routes[call.route]
    chosen = plan(call, route, look(call, route, now), now)
    return {
        "route": route.name,
        "task": route.task,
        "input_tokens_predicted": call.input_tokens,
        "input_tokens_bound": call.input_bound,
        "output_limit": call.output_limit,
        "deadline_seconds": round(call.deadline - call.arrived, 3),
        "tags": sorted(call.tags),
        **plan_json(chosen),
    }


def _entrance(at: str) -> tuple[Entrance, Mapping[str, str]]:
    paths: Paths[tuple[Door, Path]] = Paths()
    for door, path in entrances():
        paths.add(path.pattern, (door, path))
    found = paths.find(at)
    if found is None:
        known = ", ".join(path.pattern for _, path in entrances())
        raise BadRequest(f"{at!r} is no inference path: {known}.", param="path")
    (door, path), params = found
    return Entrance(door, path.pattern, path.task), params


def _named_entrance(runtime: Runtime, arrival: Arrival) -> tuple[Entrance, Mapping[str, str]]:
    """The first path of the task that the body's `model` does."""
    try:
        named = _named.decode(arrival.body).model
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(
            f"The body is not a request: {exc}. Send what you would send to the route itself.",
            code="invalid_json",
        ) from exc
    routes = runtime.pipeline.routes
    route = routes.get(named)
    if route is None:
        known = ", ".join(routes)
        raise UnknownRoute(f"There is no route {named!r}. Routes: {known}.", param="model")
    for door, path in entrances():
        if path.task == route.task and door.named and "{" not in path.pattern:
            return Entrance(door, path.pattern, path.task), {}
    raise BadRequest(
        f"No door for {route.task} takes a route's name in the body: say the path, such as "
        "?path=/v2/translate.",
        param="path",
    )


def _may(key: Key, route: str) -> bool:
    return key.routes is None or route in key.routes


def _model(runtime: Runtime, name: str) -> dict[str, Any]:
    route = runtime.pipeline.routes[name]
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "isocost",
        "task": route.task,
        "backends": [b.name for b in route.backends],
    }


def answer(value: object, *, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")
