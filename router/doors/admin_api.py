"""The admin API: keys, budgets, live reservations, journal and savings, on a port of its own.

It has its own key, which no caller's key replaces, and is described at /admin/docs. A secret is in
one answer only: that which makes it. What is asked of the store runs in threads, beside the calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import URL, Engine
from sqlalchemy.exc import SQLAlchemyError

from router.admin import calls, shown
from router.admin.store import opened
from router.admin.wanted import Wanted, WrongKey, duration, row
from router.journal.query import VERDICTS
from router.journal.query import Wanted as Asked
from router.journal.savings import By
from router.ledger import books, keys
from router.ledger.keys import KeyMissing, KeyTaken
from router.pipeline import Pipeline

Secret = Callable[[], str]
Most = Annotated[int, Query(ge=1, le=10_000, description="rows at most")]
Text = Annotated[str, Query(max_length=200)]
_bearer = HTTPBearer(auto_error=False, description="the key of `server.admin`")


class NewKey(BaseModel):
    """A key that shall be made."""

    model_config = ConfigDict(extra="forbid")

    name: str
    team: str = "default"
    routes: list[str] | None = Field(default=None, description="all if left out")
    tasks: list[str] | None = Field(default=None, description="all if left out")
    tags: list[str] = []
    requests_per_minute: int | None = Field(default=None, ge=1)
    units_per_minute: int | None = Field(default=None, ge=1)
    budgets: list[str] = Field(
        default=[], description="WINDOW=USD[,AT_LIMIT][@ZONE], such as month=50 or 24h=0.5,warn"
    )
    expires: str | None = Field(default=None, description="90d, 12h, or a date")


class Rotation(BaseModel):
    """How a key gets its new secret."""

    model_config = ConfigDict(extra="forbid")

    grace: str = Field(default="0", description="how long the old secret is still taken: 5m, 24h")


def admin_api(
    pipeline: Callable[[], Pipeline], secret: Secret, store: URL | None, journal: Path
) -> FastAPI:
    """The application. *store* None: no money and no keys are kept; *journal* is its folder."""
    api = FastAPI(
        title="Isocost admin",
        version="0.1.0",
        docs_url="/admin/docs",
        openapi_url="/admin/openapi.json",
        redoc_url=None,
    )
    made: list[Engine] = []

    def who(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> None:
        said, right = given.credentials if given else "", secret()
        # Digests are compared: neither where two keys differ nor how long they are can be timed.
        if not right or not compare_digest(_digest(said), _digest(right)):
            raise HTTPException(
                401,
                "Send the admin key as `Authorization: Bearer <key>`.",
                {"WWW-Authenticate": "Bearer"},
            )

    def engine() -> Engine:
        if store is None:
            raise HTTPException(
                409, "No ledger is kept: add `ledger: {}` to the configuration, then start again."
            )
        if not made:
            made.append(opened(store))
        return made[0]

    @api.exception_handler(SQLAlchemyError)
    async def away(request: Request, exc: SQLAlchemyError) -> JSONResponse:
        # Without the driver's words: the statement and what was in it are in them.
        said = "The ledger cannot be reached now; nothing is known to be changed."
        return JSONResponse({"detail": said}, 503, {"retry-after": "1"})

    for routes in (_keys(engine, pipeline), _books(engine), _journal(journal)):
        api.include_router(routes, prefix="/admin", dependencies=[Depends(who)])
    return api


def _keys(engine: Callable[[], Engine], pipeline: Callable[[], Pipeline]) -> APIRouter:
    api = APIRouter(tags=["keys"])

    @api.get("/keys", summary="All keys of the store")
    def list_keys(*, valid: bool = False) -> list[dict[str, Any]]:
        now = time.time()
        rows = keys.listed(engine(), now=now if valid else None)
        return [shown.key(one, now) for one in rows]

    @api.post("/keys", status_code=201, summary="A new key; its secret is told once")
    def create(new: NewKey) -> dict[str, Any]:
        now, config = time.time(), pipeline().config
        with _wrong():
            wanted = row(Wanted(**new.model_dump()), now, tuple(config.routes))
            if any(key.name == wanted.name for key in config.keys):
                raise KeyTaken(f"The configuration has a key {wanted.name!r}.")
            secret, made = keys.create(engine(), wanted, now)
        return shown.key(made, now) | {"secret": secret}

    @api.delete("/keys/{which}", summary="Refuse a key, by name or prefix")
    def revoke(which: str) -> list[dict[str, Any]]:
        now = time.time()
        with _wrong():
            ended = keys.revoke(engine(), which, now)
        return [shown.key(msgspec.structs.replace(key, revoked=now), now) for key in ended]

    @api.post("/keys/{which}/rotate", summary="A new secret; it is told once")
    def rotate(which: str, how: Rotation) -> dict[str, Any]:
        now = time.time()
        with _wrong():
            secret, made = keys.rotate(engine(), which, now, grace=duration(how.grace))
        return shown.key(made, now) | {"secret": secret}

    return api


def _books(engine: Callable[[], Engine]) -> APIRouter:
    api = APIRouter(tags=["money"])

    @api.get("/budgets", summary="What is spent, held and left of each budget now")
    def budgets() -> list[dict[str, Any]]:
        return [shown.budget(one) for one in books.standing(engine(), time.time())]

    @api.get("/reservations", summary="Attempts that hold money, the newest first")
    def reservations(
        state: Annotated[
            list[Literal["reserved", "dispatched", "captured", "settled", "let go"]], Query()
        ] = ["reserved", "dispatched"],  # noqa: B006 - nobody changes it
        most: Most = 100,
    ) -> list[dict[str, Any]]:
        letters = [letter for letter, name in shown.STATES.items() if name in state]
        return [shown.attempt(one) for one in books.attempts(engine(), letters, most=most)]

    @api.get("/frozen", summary="Prices that are refused: a call cost above its bound")
    def frozen() -> list[dict[str, Any]]:
        rows = books.frozen_prices(engine())
        return [
            {"price": one.price, "reservation": one.reservation, "at": shown.time(one.at)}
            for one in rows
        ]

    @api.delete("/frozen/{price:path}", summary="Use a price again, once it is corrected")
    def thaw(price: str) -> dict[str, Any]:
        if not books.thaw(engine(), price):
            raise HTTPException(404, f"No price {price!r} is frozen.")
        return {"price": price, "frozen": False}

    return api


def _wanted(
    *,
    key: Text = "",
    team: Text = "",
    route: Text = "",
    backend: Text = "",
    verdict: Annotated[str, Query(description=f"one of {', '.join(VERDICTS)}")] = "",
    call: Annotated[str, Query(max_length=128, description="its x-isocost-call-id")] = "",
    day: Annotated[str, Query(description="in UTC, such as 2026-11-23")] = "",
) -> Asked:
    since, until = 0.0, float("inf")
    with _wrong():
        if day:
            since, until = calls.day(day)
    return Asked(
        since=since,
        until=until,
        key=key,
        team=team,
        route=route,
        backend=backend,
        verdict=verdict,
        call=call,
    )


def _journal(folder: Path) -> APIRouter:
    api = APIRouter(tags=["journal"])

    @api.get("/calls", summary="What was decided of calls, the newest first")
    def journal(
        asked: Annotated[Asked, Depends(_wanted)], most: Most = 100
    ) -> list[dict[str, Any]]:
        return calls.newest(folder, asked, most)

    @api.get("/savings", summary="Cost, and what was saved against the baselines")
    def savings(asked: Annotated[Asked, Depends(_wanted)], by: By = "day") -> list[dict[str, Any]]:
        return list(calls.sums(folder, asked, by))

    return api


@contextmanager
def _wrong() -> Iterator[None]:
    try:
        yield
    except KeyTaken as exc:
        raise HTTPException(409, str(exc)) from exc
    except KeyMissing as exc:
        raise HTTPException(404, str(exc)) from exc
    except (WrongKey, ValueError) as exc:
        raise HTTPException(422, str(exc)) from exc


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()
