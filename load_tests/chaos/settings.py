"""The configuration of a run: each task on a backend of one's own and on two accounts of a vendor.

    own    costs nothing per call and can do only so much at once; `own` is asked first
    a, b   paid, the same model at two accounts; a is asked before b

A call with the tag `paid` may not go to `own`, one with `spare` only to b. The breaker and the
allowance of extra attempts are those of the product. Three more routes of chats: `alone` may go to
own only, streams of `continued` go on elsewhere when they break, answers of `kept` are kept.
"""

from typing import Any

from msgspec import Struct

VOICE = {"*": "JBFqnCBsd6RMkjVDRZzb"}
FREE = {"per_hour_usd": 0.0001}
HIRED = {"a": {"per_hour_usd": 1.0}, "b": {"per_hour_usd": 2.0}}
"""What a machine of a vendor costs: nobody bills its calls one by one."""
TASKS: dict[str, dict[str, Any]] = {
    "chat": {"api": "openai", "model": "gpt-5.4-mini"},
    "complete": {"api": "openai", "model": "gpt-3.5-turbo-instruct"},
    "embed": {"api": "openai", "model": "text-embedding-3-small"},
    "classify": {"api": "torchserve", "model": "labels", "local": False},
    "translate": {"api": "deepl", "model": "pro"},
    "speak": {"api": "elevenlabs", "model": "eleven_v3", "voices": VOICE},
    "transcribe": {"api": "google_speech", "model": "default"},
    "annotate": {"api": "google_vision", "model": "builtin/stable"},
}
VERSIONED = ("openai", "google_speech", "google_vision")
KEYS = {"own": "sk-sandbox-own", "a": "sk-sandbox-a", "b": "sk-sandbox-b"}
ENV = {f"CHAOS_KEY_{name.upper()}": key for name, key in KEYS.items()}
ADMIN = {"CHAOS_ADMIN_KEY": "chaos"}
DEADLINE = 2.5
LIMIT_USD = 10.0
LIMITS = {"connect": 0.5, "first_event": 1, "idle": 0.8}
KEPT, STALE = 0.5, 60.0
"""Seconds for which answers of `kept` are given again, and in an outage after that."""
ROOM = 16
"""Calls that own may have at most, as a multiple of those that it works on: far too many. How many
are good for it the router has to find out."""


class Setup(Struct, frozen=True):
    """Where everything is; `slots` is what own works on at once.

    `cooldown` of the breaker, where it is not to be the product's.
    """

    own: str
    a: str
    b: str
    admin: int
    slots: int
    store: str | None = None
    workers: int = 1
    deadline: float = DEADLINE
    cooldown: float | None = None


def settings(setup: Setup) -> dict[str, Any]:
    """The configuration as the router reads it."""
    backends: dict[str, Any] = {}
    for task in TASKS:
        for account in KEYS:
            backends[f"{account}-{task}"] = _backend(setup, task, account)
    return {
        "server": {
            "workers": setup.workers,
            "admin": {"port": setup.admin, "key_env": "CHAOS_ADMIN_KEY"},
        },
        "exchange": {"EUR": 1.15},
        "ledger": {"url": setup.store} if setup.store else {},
        "budgets": [{"window": "total", "usd": LIMIT_USD}],
        "backends": backends,
        "routes": {task: _route(setup, task) for task in TASKS} | _chats(setup),
    }


def _backend(setup: Setup, task: str, account: str) -> dict[str, Any]:
    spec = TASKS[task]
    base = getattr(setup, account)
    made = spec | {
        "base": f"{base}/v1" if spec["api"] in VERSIONED else base,
        "key_env": f"CHAOS_KEY_{account.upper()}",
        "tasks": [task],
        "tags": [account],
        "limits": {"in_flight": 256} | LIMITS,
    }
    if setup.cooldown is not None:
        made["breaker"] = {"cooldown": setup.cooldown}
    if spec["api"] == "torchserve":
        made["price"] = HIRED.get(account)
    if account == "own":
        made["local"] = True
        made["price"] = FREE | {"concurrency": setup.slots}
        made["limits"]["in_flight"] = ROOM * setup.slots
    return made


def _route(setup: Setup, task: str) -> dict[str, Any]:
    return {
        "task": task,
        "backends": [f"{account}-{task}" for account in KEYS],
        "promise": {"deadline": setup.deadline},
        "failure": {"hedge": {"after": "p95"}},
        "rules": [
            {"when": "true", "prefer": ["own", "a"]},
            {"when": '"paid" in request.tags', "exclude": ["own"]},
            {"when": '"spare" in request.tags', "exclude": ["own", "a"]},
        ],
    }


def _chats(setup: Setup) -> dict[str, Any]:
    usual = _route(setup, "chat")
    goes_on = {"failure": usual["failure"] | {"on_broken_stream": "continue"}}
    return {
        # Nobody else may serve: what is too much has to be refused.
        "alone": {
            "task": "chat",
            "backends": ["own-chat"],
            "promise": {"deadline": setup.deadline},
        },
        "continued": usual | goes_on,
        "kept": usual | {"cache": {"ttl": KEPT, "stale": STALE}},
    }
