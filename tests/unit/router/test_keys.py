"""Who is served: keys of file and store, their end, and what may be asked for a new one."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.admin.callers import budgets, callers, together
from router.admin.shown import key as shown
from router.admin.store import where
from router.admin.wanted import Wanted, WrongKey, budget, moment, row
from router.config import Config, ConfigError
from router.core.call import Key
from router.core.errors import Forbidden
from router.gates.key import ANONYMOUS, Caller, Keys, Limits
from router.ledger.budget import Budget, Scope
from router.ledger.keys import KeyBudget, KeyRates, KeyRow
from tests.fakes import FakeClock, a_call

NOW = 1_790_000_000.0
MINIMAL = {
    "backends": {"b": {"api": "openai", "model": "m"}},
    "routes": {"r": {"task": "chat", "backends": ["b"]}},
}


def digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def a_row(secret: str = "s", **changes) -> KeyRow:
    return KeyRow(digest(secret), secret[:3], **({"name": "alice", "made": NOW} | changes))


def test_without_any_key_everybody_is_anonymous_on_this_machine_alone():
    """Guarded, as where others can reach the router, nobody is served."""
    assert Keys({}).who("anything") is ANONYMOUS
    guarded = Keys({}, guarded=True)
    assert not guarded.open
    assert guarded.who("") is guarded.who("anything") is None


def test_a_store_that_was_not_read_may_have_keys():
    """Until it is read nobody is served; then those whom it knows, or everybody if it has none."""
    keys = Keys({})
    keys.store = True
    assert keys.who("s") is None
    keys.stored = {}
    assert keys.who("s") is ANONYMOUS
    keys.stored = callers([a_row()])
    assert keys.who("s").name == "alice"
    assert keys.who("t") is None


@given(expires=st.none() | st.floats(0, 100), revoked=st.none() | st.floats(0, 100))
def test_a_key_ends_at_its_first_end_and_opens_nothing(expires, revoked):
    """It is known until it expires or its revocation takes effect; the last key's end is no opening."""
    wall = FakeClock(0.0)
    keys = Keys({}, wall)
    keys.stored = callers([a_row(expires=expires, revoked=revoked)])
    ends = [end for end in (expires, revoked) if end is not None]
    for at in (0.0, 25.0, 50.0, 75.0, 101.0, *ends):
        wall.t = at
        assert (keys.who("s") is not None) == (at < min(ends, default=float("inf")))
        assert keys.who("other") is None


def test_keys_of_file_and_store_are_known_together():
    """The gate asks both; a change of the store leaves the file's."""
    keys = Keys({digest("f"): Key("filed")})
    keys.stored = callers([a_row("s", tasks=("embed",), rates=KeyRates(1, 2))])
    assert keys.who("f").name == "filed"
    caller = keys.who("s")
    assert isinstance(caller, Caller)
    assert (caller.tasks, caller.limits) == (frozenset({"embed"}), Limits(1, 2))
    with pytest.raises(Forbidden, match=r"may not chat\. Allowed tasks: embed"):
        keys.acquire(a_call(key=caller))
    keys.stored = {}
    assert keys.who("s") is None
    assert keys.who("f")


def test_a_secret_in_odd_bytes_is_nobodys():
    """What no key can be is refused, and breaks nothing."""
    keys = Keys({digest("f"): Key("filed")})
    for odd in ("", "\udcff", "ü" * 10_000, "\0"):
        assert keys.who(odd) is None


def test_budgets_are_those_of_valid_keys_and_their_newest_secrets():
    """A rotated key counts once, as it is now; of two budgets for one window the lower holds."""
    old = a_row("a", budgets=(KeyBudget("month", 5),), revoked=NOW + 60)
    new = a_row("b", made=NOW + 1, budgets=(KeyBudget("month", 7),))
    gone = a_row("c", name="bob", budgets=(KeyBudget("day", 1),), revoked=NOW - 1)
    mine = budgets([old, new, gone], NOW + 2)
    assert mine == [Budget(Scope("key", "alice"), "month", 7)]
    lower = Budget(Scope("key", "alice"), "month", 3)
    assert together([lower], mine) == [lower] == together(mine, [lower])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": ""}, "is no name"),
        ({"name": "a b"}, "is no name"),
        ({"team": "x\n"}, "is no name"),
        ({"tasks": ["paint"]}, "'paint' does not exist; there are chat"),
        ({"routes": ["nope"]}, "'nope' does not exist; there are chat"),
        ({"requests_per_minute": 0}, "at least 1"),
        ({"units_per_minute": -5}, "at least 1"),
        ({"budgets": ["month"]}, "has no amount"),
        ({"budgets": ["month=-1"]}, "has no amount"),
        ({"budgets": ["month=nan"]}, "has no amount"),
        ({"budgets": ["month=inf"]}, "has no amount"),
        ({"budgets": ["fortnight=1"]}, "fortnight"),
        ({"budgets": ["day=1,explode"]}, "explode"),
        ({"budgets": ["day=1@Mars"]}, "Mars"),
        ({"budgets": ["day=1", "day=2"]}, "same window"),
        ({"expires": "soon"}, "is no time"),
        ({"expires": "2001-01-01"}, "over already"),
    ],
)
def test_what_cannot_be_a_key_is_told(wrong, says):
    """The message names what is wrong."""
    with pytest.raises(WrongKey, match=says):
        row(Wanted(**({"name": "ok"} | wrong)), NOW, ["chat"])


def test_words_become_a_key():
    """Budgets, rates and ends as they are written."""
    made = row(
        Wanted(name="a", budgets=["day=2.5,local_only@Europe/Berlin"], expires="90d"), NOW, ["chat"]
    )
    assert made.budgets == (KeyBudget("day", 2_500_000_000_000, "local_only", "Europe/Berlin"),)
    assert made.expires == NOW + 90 * 86400
    assert moment("2030-01-01T00:00:00+01:00", NOW) == moment("2029-12-31T23:00", NOW)
    assert budget("24h=0").limit == 0


def test_what_is_shown_of_a_key_holds_nothing_to_guess_it_by():
    """The digest is not told, and the standing says whether the key is in force."""
    told = shown(a_row("a" * 40, revoked=NOW + 5), NOW)
    assert told["standing"] == "ending"
    assert shown(a_row(revoked=NOW), NOW)["standing"] == "revoked"
    assert shown(a_row(expires=NOW), NOW)["standing"] == "expired"
    assert digest("a" * 40) not in str(told)


def test_the_store_is_what_the_configuration_names(tmp_path):
    """None without a ledger; the state folder's file by default; a wrong address says so."""

    def config(**more):
        return Config.model_validate(MINIMAL | more)

    assert where(config(), {}, tmp_path) is None
    assert where(config(ledger={}), {}, tmp_path).database == str(tmp_path / "ledger.db")
    assert where(config(budgets=[{"window": "day", "usd": 1}]), {}, tmp_path)
    named = config(ledger={"url_env": "STORE"})
    assert where(named, {"STORE": "sqlite:////x.db"}, tmp_path).database == "/x.db"
    with pytest.raises(ConfigError, match="STORE is not set"):
        where(named, {}, tmp_path)
    with pytest.raises(ConfigError, match="mysql"):
        where(config(ledger={"url": "mysql://u:hush@h/x"}), {}, tmp_path)
