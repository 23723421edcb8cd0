"""Keys kept in the store: made, listed, revoked, rotated, found by their secret.

The secret is 32 random bytes, shown once and never stored: the store keeps its SHA-256. A slow hash
would add nothing, for such a secret cannot be guessed; a look-up by digest compares no secret byte
by byte, so its time says nothing about it. The prefix is for people to recognise a key by.

Every change raises the store's `version`, which each process polls (`Timing.poll`, half a second):
a revoked key is refused everywhere within a second. While the store is away, the keys that were
read last stay in force.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, insert, or_, select, update

from .budget import AtLimit
from .schema import caller, meta

START = "ik-"
"""Of every secret, so that scanners for leaked secrets know one."""
SHOWN = 10
"""Characters of a secret that its prefix shows: of 43 random ones, 7."""


class KeyBudget(msgspec.Struct, frozen=True):
    """A budget of this key alone: `Budget` without its scope. Pico-dollars."""

    window: str
    limit: int
    at_limit: AtLimit = "refuse"
    zone: str = "UTC"


class KeyRates(msgspec.Struct, frozen=True):
    """At most so many per minute; None: not limited."""

    requests: int | None = None
    units: int | None = None


class KeyRow(msgspec.Struct, frozen=True):
    """A key as it is stored. `routes` and `tasks` None allow all. Times are unix seconds."""

    hash: str
    prefix: str
    name: str
    team: str = "default"
    routes: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    tags: tuple[str, ...] = ()
    made: float = 0.0
    expires: float | None = None
    revoked: float | None = None
    rates: KeyRates = KeyRates()
    budgets: tuple[KeyBudget, ...] = ()

    def valid(self, now: float) -> bool:
        return (self.revoked is None or now < self.revoked) and (
            self.expires is None or now < self.expires
        )


class KeyTaken(ValueError):
    """A valid key of this name exists."""


class KeyMissing(ValueError):
    """No valid key has this name or prefix."""


def digest(secret: str) -> str:
    """What the store knows a secret by."""
    return sha256(secret.encode()).hexdigest()


def create(engine: Engine, key: KeyRow, now: float) -> tuple[str, KeyRow]:
    """A new key like *key*: its secret, told only here, and its row. Raises KeyTaken."""
    secret = START + secrets.token_urlsafe(32)
    row = msgspec.structs.replace(
        key, hash=digest(secret), prefix=secret[:SHOWN], made=now, revoked=None
    )
    with engine.begin() as connection:
        # First, for its row is the lock: of two who make one name at once, one is refused.
        _changed(connection)
        if _valid(connection, key.name, now):
            raise KeyTaken(f"A key {key.name!r} exists; revoke it, or choose another name.")
        connection.execute(insert(caller).values(_stored(row)))
    return secret, row


def listed(engine: Engine, *, now: float | None = None) -> list[KeyRow]:
    """All keys by name; with *now*, only those that are valid then."""
    with engine.connect() as connection:
        found = connection.execute(select(caller).order_by(caller.c.name, caller.c.made))
        keys = [_read(row) for row in found.mappings()]
    return keys if now is None else [key for key in keys if key.valid(now)]


def revoke(engine: Engine, which: str, now: float) -> list[KeyRow]:
    """Refuse the keys of this name or prefix from now on. Raises KeyMissing."""
    with engine.begin() as connection:
        _changed(connection)
        keys = _valid(connection, which, now)
        if not keys:
            raise KeyMissing(f"No valid key is called {which!r} or begins so.")
        _end(connection, keys, now)
    return keys


def rotate(engine: Engine, which: str, now: float, *, grace: float = 0.0) -> tuple[str, KeyRow]:
    """A new secret for a key; the old one is refused after *grace* seconds. Raises KeyMissing."""
    secret = START + secrets.token_urlsafe(32)
    with engine.begin() as connection:
        _changed(connection)
        keys = _valid(connection, which, now)
        if not keys:
            raise KeyMissing(f"No valid key is called {which!r} or begins so.")
        newest = max(keys, key=lambda key: key.made)
        row = msgspec.structs.replace(
            newest, hash=digest(secret), prefix=secret[:SHOWN], made=now, revoked=None
        )
        _end(connection, keys, now + grace)
        connection.execute(insert(caller).values(_stored(row)))
    return secret, row


class KeyRing:
    """The valid keys in memory, by digest: what the router asks for every call."""

    def __init__(self, keys: Iterable[KeyRow] = ()) -> None:
        self._by_digest = {key.hash: key for key in keys}

    def __len__(self) -> int:
        return len(self._by_digest)

    def find(self, secret: str, now: float) -> KeyRow | None:
        """Whose secret it is; None when nobody's, or when the key is no longer valid."""
        key = self._by_digest.get(digest(secret))
        return key if key is not None and key.valid(now) else None


def find(engine: Engine, secret: str, now: float) -> KeyRow | None:
    """The same, asked of the store."""
    with engine.connect() as connection:
        asked = select(caller).where(caller.c.hash == digest(secret))
        found = connection.execute(asked).mappings().first()
    key = _read(found) if found is not None else None
    return key if key is not None and key.valid(now) else None


def _changed(connection: Connection) -> None:
    connection.execute(update(meta).where(meta.c.name == "version").values(value=meta.c.value + 1))


def _valid(connection: Connection, which: str, now: float) -> list[KeyRow]:
    same = or_(caller.c.name == which, caller.c.prefix == which)
    found = connection.execute(select(caller).where(same)).mappings()
    return [key for key in map(_read, found) if key.valid(now)]


def _end(connection: Connection, keys: list[KeyRow], at: float) -> None:
    for key in keys:
        # A rotated key that still has its grace must not get more of it.
        end = at if key.revoked is None else min(at, key.revoked)
        connection.execute(update(caller).where(caller.c.hash == key.hash).values(revoked=end))


_JSON = ("routes", "tasks", "tags", "rates", "budgets")


def _stored(key: KeyRow) -> dict[str, Any]:
    row = {name: getattr(key, name) for name in KeyRow.__struct_fields__}
    for name in _JSON:
        row[name] = None if row[name] is None else msgspec.json.encode(row[name]).decode()
    return row


def _read(row: Any) -> KeyRow:
    fields = {str(name): value for name, value in row.items()}
    for name in _JSON:
        fields[name] = None if fields[name] is None else msgspec.json.decode(fields[name])
    return msgspec.convert(fields, KeyRow)
