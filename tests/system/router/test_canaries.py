"""Secrets planted everywhere, calls that fail in every way: none of them comes out anywhere."""

from __future__ import annotations

import http.client
import json
import signal
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import MetaData, select

from router.ledger.database import address, engine
from tests.system.ledger.postgres import Postgres, postgres
from tests.system.router.echo import Vendor, echo
from tests.system.router.harness import ROOT, Router, ask, free_port, router, sandbox, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
SECRETS = {
    "GOOD_KEY": "sk-sandbox-canary-good-4b1e",
    "BAD_KEY": "sk-canary-bad-77d0c2",
    "FILE_KEY": "sk-canary-of-a-file-91aa",
    "GOOGLE_KEY": "AIza-canary-google-5e5e",
    "ADMIN_KEY": "canary-admin-0c0c0c",
    "CALLER_KEY": "ik-canary-caller-2f2f2f",
    "DATABASE": "canary-password-3d3d",
    "STRANGER": "ik-canary-stranger-6a6a",
    "PASTED": "sk-canary-pasted-8e8e8e",
}
PROMPT = "the canary prompt about plans that nobody else may ever read"
IMAGE = b64encode((ROOT / "tests/system/router/picture.png").read_bytes()).decode()
MODES = ("401", "400", "500", "nojson", "garbage", "cut", "events")
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}]}),
    "elevenlabs": ("/v1/text-to-speech/JBFqnCBsd6RMkjVDRZzb", {"text": PROMPT}),
    "deepl": ("/v2/translate", {"text": [PROMPT], "target_lang": "DE", "source_lang": "EN"}),
    "google_vision": (
        "/v1/images:annotate",
        {"requests": [{"image": {"content": IMAGE}, "features": [{"type": "LABEL_DETECTION"}]}]},
    ),
}
TASKS = {"openai": "chat", "elevenlabs": "speak", "deepl": "translate", "google_vision": "annotate"}
MODELS = {
    "openai": "gpt-5.4-mini",
    "elevenlabs": "eleven_v3",
    "deepl": "pro",
    "google_vision": "builtin/stable",
}
SENT_AS = {"openai": "Bearer ", "deepl": "DeepL-Auth-Key ", "elevenlabs": "", "google_vision": ""}
NAMED = {"openai": "authorization", "deepl": "authorization", "elevenlabs": "xi-api-key"}


def account(folder: Path, vendor: Vendor) -> str:
    """A service account whose token endpoint refuses it; its private key."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    said = {"type": "service_account", "client_email": "a@b.example", "private_key": pem}
    said |= {"token_uri": f"{vendor.base}/token", "private_key_id": "1"}
    (folder / "account.json").write_text(json.dumps(said))
    return pem


def config(good: str, bad: str, port: int) -> dict[str, Any]:
    backends: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    for api, task in TASKS.items():
        places = {"good": good} | {mode: f"{bad}/{mode}" for mode in MODES}
        for mode, base in places.items():
            name = f"{api}-{mode}"
            key = {"key_env": "GOOD_KEY" if mode == "good" else "BAD_KEY"}
            if api == "openai" and mode == "500":
                key = {"key_file": "vendor.key"}
            if api == "google_vision" and mode != "good":
                key = {"key_env": "GOOGLE_KEY"}
            version = "/v1" if api in {"openai", "google_vision"} else ""
            backends[name] = {"api": api, "model": MODELS[api], "base": base + version} | key
            backends[name] |= {"tasks": [task], "breaker": {"in_a_row": 1000, "least": 1000}}
            routes[name] = {"task": task, "backends": [name], "promise": {"deadline": "5s"}}
    backends["elevenlabs-good"]["voices"] = {"*": "JBFqnCBsd6RMkjVDRZzb"}
    backends["account"] = backends["google_vision-401"] | {"credentials_file": "account.json"}
    del backends["account"]["key_env"]
    routes["account"] = routes["google_vision-401"] | {"backends": ["account"]}
    return {
        "server": {"admin": {"key_env": "ADMIN_KEY", "port": port}},
        "ledger": {"url_env": "LEDGER"},
        "budgets": [{"window": "day", "usd": 10}],
        "journal": {"prompt_hash": True},
        "exchange": {"EUR": 1.15},
        "keys": [{"name": "caller", "team": "birds", "key_env": "CALLER_KEY"}],
        "backends": backends,
        "routes": routes,
    }


class Told:
    """All that a client was told, and the ids of its calls."""

    def __init__(self, app: Router) -> None:
        self.app, self.pages, self.calls = app, list[str](), list[str]()
        self.statuses: set[int] = set()

    def call(self, api: str, route: str, key: str, *, stream: bool = False) -> None:
        path, body = ASKED[api]
        if api == "openai":
            body = body | {"model": route, "max_tokens": 20} | ({"stream": True} if stream else {})
        said = {"content-type": "application/json", "x-isocost-route": route}
        said[NAMED.get(api, "x-goog-api-key")] = SENT_AS[api] + key
        link = http.client.HTTPConnection("127.0.0.1", self.app.port, timeout=15)
        try:
            link.request("POST", path, json.dumps(body), said)
            answer = link.getresponse()
            self.statuses.add(answer.status)
            self.pages.append(str(answer.headers))
            if call := answer.headers["x-isocost-call-id"]:
                self.calls.append(call)
            with suppress(http.client.HTTPException, OSError):
                self.pages.append(answer.read().decode("latin-1"))
        finally:
            link.close()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Told, list[str], list[str]]]:
    """What clients were told, what was kept and shown, and all secrets."""
    folder = tmp_path_factory.mktemp("canaries")
    (folder / "vendor.key").write_text(SECRETS["FILE_KEY"])
    with ExitStack() as stack:
        box, vendor = stack.enter_context(sandbox(folder)), stack.enter_context(echo())
        server, port = stack.enter_context(postgres()), free_port()
        store = server.create("ledger").replace("postgres@", f"postgres:{SECRETS['DATABASE']}@")
        pem = account(folder, vendor)
        settings = config(box.base, vendor.base, port)
        env = SECRETS | {"LEDGER": store}
        app = stack.enter_context(router(folder, settings, **env))
        seen = Told(app)
        admin = {"authorization": f"Bearer {SECRETS['ADMIN_KEY']}"}
        place = f"http://127.0.0.1:{port}/admin"
        made = until(lambda: ask(f"{place}/keys", {"name": "stored"}, **admin))["secret"]
        _calls(seen, made)
        assert set(vendor.heard) >= {
            *(SENT_AS[api] + SECRETS["BAD_KEY"] for api in ("openai", "deepl", "elevenlabs")),
            f"Bearer {SECRETS['FILE_KEY']}",
            SECRETS["GOOGLE_KEY"],
        }
        _reloads(app, settings, store)
        _without_store(seen, server)
        time.sleep(1.0)
        kept = [app.program.log.read_text(), json.dumps(app.metrics())]
        kept += [json.dumps(_decision(app, call)) for call in seen.calls]
        for page in ("keys", "budgets", "calls", "reservations?state=settled", "savings"):
            kept.append(json.dumps(ask(f"{place}/{page}", **admin)))
        kept += _tables(store)
        for place in folder.glob(f"router-{app.port}"):
            kept += [f.read_bytes().decode("latin-1") for f in place.rglob("*") if f.is_file()]
        # Of a key in the store its first ten characters are shown, to recognise it by.
        yield seen, kept, [*SECRETS.values(), made[10:], *pem.splitlines()[1:-1]]


def _calls(seen: Told, stored: str) -> None:
    for api in TASKS:
        seen.call(api, f"{api}-good", SECRETS["CALLER_KEY"])
        seen.call(api, f"{api}-good", stored)
        seen.call(api, f"{api}-good", SECRETS["STRANGER"])
        for mode in MODES:
            seen.call(api, f"{api}-{mode}", SECRETS["CALLER_KEY"])
    for mode in ("good", *MODES):
        seen.call("openai", f"openai-{mode}", SECRETS["CALLER_KEY"], stream=True)
    seen.call("google_vision", "account", SECRETS["CALLER_KEY"])
    seen.call("openai", "no-such-route", SECRETS["CALLER_KEY"])


def _reloads(app: Router, settings: dict[str, Any], store: str) -> None:
    """Files that a person in a hurry writes: the secret itself where its place belongs."""
    pasted = {"api": "openai", "model": "gpt-4o", "key_env": SECRETS["PASTED"]}
    files = {
        "backends.pasted": yaml.safe_dump(
            settings | {"backends": settings["backends"] | {"pasted": pasted}}
        ),
        "ledger.timeout": yaml.safe_dump(
            settings | {"ledger": {"url": store, "timeout": SECRETS["PASTED"]}}
        ),
        "keys.0.sha256": yaml.safe_dump(
            settings | {"keys": [{"name": "x", "sha256": SECRETS["PASTED"]}]}
        ),
        "unexpected end of stream": yaml.safe_dump(settings) + f'extra: "{store}\n',
        "mapping values are not": yaml.safe_dump(settings) + f"extra: {SECRETS['PASTED']}: x\n",
        "configuration loaded": yaml.safe_dump(settings),
    }
    for said, text in files.items():
        app.config.write_text(text)
        app.program.send(signal.SIGHUP)
        until(lambda w=said: w in app.program.log.read_text(), 30, said)


def _without_store(seen: Told, server: Postgres) -> None:
    server.stop("immediate")
    try:
        for _ in range(2):
            seen.call("openai", "openai-good", SECRETS["CALLER_KEY"])
        time.sleep(1.5)
    finally:
        server.start()
    until(lambda: ask(f"{seen.app.url}/readyz")["ledger"] == "up", 20, "back")
    seen.call("openai", "openai-good", SECRETS["CALLER_KEY"])


def _decision(app: Router, call: str) -> Any:
    with suppress(OSError):  # of a stranger's call nothing is kept
        return app.decision(call, authorization=f"Bearer {SECRETS['CALLER_KEY']}")
    return None


def _tables(store: str) -> list[str]:
    """Every row of the database."""
    made, meta = engine(address(store)), MetaData()
    meta.reflect(made)
    with made.connect() as connection:
        return [repr(row) for t in meta.sorted_tables for row in connection.execute(select(t))]


def test_calls_went_every_way(told):
    """What is searched below is there: answers of every kind, calls in journal and books."""
    seen, kept, _ = told
    assert {200, 400, 401, 404, 503} <= seen.statuses
    assert any("[key]" in page for page in seen.pages), "vendors repeated the key"
    for word in ("birds", "openai-500", "the ledger cannot be reached", "no token for"):
        assert any(word in page for page in kept), word
    assert sum(any(call in page for page in kept) for call in seen.calls) > len(MODES) * len(TASKS)


def test_no_secret_is_in_any_answer(told):
    """Neither headers nor bodies, nor streams that broke."""
    seen, _, secrets = told
    assert not [(s, page) for s in secrets for page in seen.pages if s in page]


def test_no_secret_is_kept_or_shown(told):
    """Logs, metrics, journal, decisions, database, admin API."""
    _, kept, secrets = told
    assert not [(s, page) for s in secrets for page in kept if s in page]


def test_no_prompt_is_kept_or_shown(told):
    """Not even when a vendor repeats it in an error."""
    _, kept, _ = told
    parts = [PROMPT[at : at + 24] for at in range(0, len(PROMPT) - 24, 4)]
    assert not [(part, page) for part in parts for page in kept if part in page]
