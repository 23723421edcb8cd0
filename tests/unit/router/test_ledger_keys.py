"""Keys in the store, its address, and its schema."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

import router.ledger.migrations as steps
from router.ledger import keys
from router.ledger.database import address, engine, upgrade
from router.ledger.keys import KeyBudget, KeyMissing, KeyRates, KeyRing, KeyRow, KeyTaken
from router.ledger.ledger import Ledger
from router.ledger.schema import metadata
from router.ledger.writer import Timing

NOW = 1_790_000_000.0
ALICE = KeyRow(
    "",
    "",
    "alice",
    team="search",
    routes=("chat",),
    tasks=("chat", "embed"),
    tags=("vip",),
    expires=NOW + 1000,
    rates=KeyRates(requests=60, units=10_000),
    budgets=(KeyBudget("month", 5 * 10**12, zone="Europe/Berlin"),),
)


@pytest.fixture
def store(tmp_path: Path) -> Engine:
    url = address(str(tmp_path / "ledger.db"))
    upgrade(url)
    return engine(url)


def test_a_key_is_found_by_its_secret_alone(store: Engine):
    secret, row = keys.create(store, ALICE, NOW)
    assert keys.find(store, secret, NOW) == row
    assert KeyRing(keys.listed(store, now=NOW)).find(secret, NOW) == row
    assert (row.name, row.team, row.budgets) == ("alice", "search", ALICE.budgets)
    for other in (secret[:-1], secret + "x", row.prefix, row.hash, "", "ik-"):
        assert keys.find(store, other, NOW) is None


def test_no_secret_is_in_the_file(store: Engine, tmp_path: Path):
    secret, row = keys.create(store, ALICE, NOW)
    kept = b"".join(f.read_bytes() for f in tmp_path.iterdir())
    assert row.prefix.encode() in kept
    assert secret.encode() not in kept
    assert secret[len(row.prefix) :].encode() not in kept


def test_a_name_is_given_once_until_it_is_revoked(store: Engine):
    secret, _ = keys.create(store, ALICE, NOW)
    with pytest.raises(KeyTaken, match="alice"):
        keys.create(store, ALICE, NOW)
    keys.revoke(store, "alice", NOW + 1)
    assert keys.find(store, secret, NOW + 0.5)
    assert keys.find(store, secret, NOW + 1) is None
    assert keys.create(store, ALICE, NOW + 1)[0] != secret
    with pytest.raises(KeyMissing, match="bob"):
        keys.revoke(store, "bob", NOW)


def test_a_name_is_given_once_to_many_who_ask_at_once(store: Engine):
    def ask(n: int) -> bool:
        try:
            keys.create(store, ALICE, NOW)
        except KeyTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(16))) == 1


def test_rotation_leaves_the_old_secret_its_grace(store: Engine):
    old, _ = keys.create(store, ALICE, NOW)
    new, row = keys.rotate(store, "alice", NOW + 10, grace=60)
    assert row.budgets == ALICE.budgets
    assert keys.find(store, old, NOW + 69)
    assert keys.find(store, old, NOW + 70) is None
    newest, _ = keys.rotate(store, "alice", NOW + 20, grace=600)
    assert keys.find(store, old, NOW + 71) is None, "its grace was not prolonged"
    assert keys.find(store, new, NOW + 600)
    revoked = keys.revoke(store, "alice", NOW + 30)
    assert len(revoked) == 3
    assert not any(keys.find(store, s, NOW + 30) for s in (old, new, newest))


def test_an_expired_key_is_nobody(store: Engine):
    secret, _ = keys.create(store, ALICE, NOW)
    assert keys.find(store, secret, NOW + 1000) is None
    assert KeyRing(keys.listed(store)).find(secret, NOW + 1000) is None


async def test_every_replica_hears_of_a_change_within_a_second(store: Engine):
    heard: list[float] = []
    path = str(store.url.database)
    ledger = await Ledger.open(path, on_change=lambda: heard.append(time.monotonic()))
    try:
        heard.clear()
        _, row = await asyncio.to_thread(keys.create, store, ALICE, NOW)
        await asyncio.to_thread(keys.revoke, store, row.prefix, NOW)
        told = time.monotonic()
        async with asyncio.timeout(20):
            while not heard or heard[-1] < told:  # noqa: ASYNC110 - told by another thread
                await asyncio.sleep(0.01)
        assert Timing().poll <= 0.5
    finally:
        await ledger.close()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("mysql://host/x", "cannot be kept in mysql"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("postgresql://u:secret@host:port/x", "not a URL"),
    ],
)
def test_a_wrong_address_says_what_to_write(wrong: str, says: str):
    with pytest.raises(ValueError, match=says) as refused:
        address(wrong)
    assert "secret" not in str(refused.value)


def test_the_steps_end_in_the_schema_of_the_tables(store: Engine):
    with store.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == steps.HEAD
    config = Config()
    config.set_main_option("script_location", str(Path(steps.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == steps.HEAD


def test_many_upgrade_one_file_at_once(tmp_path: Path):
    url = address(str(tmp_path / "new" / "ledger.db"))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: upgrade(url), range(6)))
    with engine(url).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM meta")).scalar() == 1
