"""Keys of the store through real routers: made, bounded, revoked, and never written down."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import openai
import pytest

from tests.system.ledger.postgres import postgres
from tests.system.router.harness import (
    CHAT,
    ROOT,
    SANDBOX_ENV,
    Router,
    Sandbox,
    ask,
    backend,
    router,
    sandbox,
    until,
)

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("keys")]
ADMIN = "admin-canary-5f1d"
ENV = SANDBOX_ENV | {"ADMIN_KEY": ADMIN, "FILE_KEY": "file-canary-77aa", "OLD_KEY": "old-canary-1"}


def config(box: Sandbox, store: str, **more: Any) -> dict[str, Any]:
    return {
        "ledger": {"url": store},
        "keys": [
            {"name": "filed", "key_env": "FILE_KEY"},
            {"name": "old", "key_env": "OLD_KEY", "expires": "2020-01-01"},
        ],
        "backends": {
            "gpt": backend(box, tasks=["chat"]),
            "vectors": backend(box, model="text-embedding-3-small", tasks=["embed"]),
            "tts": backend(box, model="tts-1", tasks=["speak"]),
            "deepl": backend(box, api="deepl", model="pro", base=box.base),
        },
        "exchange": {"EUR": 1.15},
        "routes": {
            "chat": {"task": "chat", "backends": ["gpt"]},
            "vectors": {"task": "embed", "backends": ["vectors"]},
            "speech": {"task": "speak", "backends": ["tts"]},
            "german": {"task": "translate", "backends": ["deepl"]},
        },
    } | more


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(tmp_path_factory.mktemp("box")) as made:
        yield made


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('store') / 'ledger.db'}"
        return
    with postgres() as server:
        yield server.create("keys")


@pytest.fixture(scope="module")
def two(
    box: Sandbox, store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Router]]:
    """Two replicas on one store."""
    with ExitStack() as stack:
        folders = [tmp_path_factory.mktemp("router") for _ in range(2)]
        yield [stack.enter_context(router(folder, config(box, store), **ENV)) for folder in folders]


def isocost(store: str, *words: str) -> Any:
    """`isocost keys`, as a person runs it; its answer."""
    command = [sys.executable, "-m", "router", "keys", *words, "--ledger", store, "--json"]
    done = subprocess.run(
        [*command, "--config", "none.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def chat(app: Router, secret: str) -> Any:
    return app.sdk(secret).chat.completions.with_raw_response.create(
        model="chat", messages=CHAT, max_tokens=8
    )


def known(app: Router, secret: str) -> bool:
    try:
        ask(f"{app.url}/v1/models", authorization=f"Bearer {secret}")
    except HTTPError as exc:
        if exc.code != 401:
            raise
        return False
    return True


def test_a_new_key_is_served_and_a_revoked_one_is_not_within_a_second(two, store):
    """Made by the command while both run, it works on both; revoked, on none after one second."""
    made = isocost(store, "create", "alice", "--routes", "chat")
    secret = made["secret"]
    until(lambda: all(known(app, secret) for app in two), 10, "the new key")
    assert all(chat(app, secret).parse().choices for app in two)
    with pytest.raises(openai.PermissionDeniedError, match="Allowed: chat"):
        two[0].sdk(secret).embeddings.create(model="vectors", input="x")
    isocost(store, "revoke", made["prefix"])
    # A second is promised; the test's machine may be busy with others.
    until(lambda: not any(known(app, secret) for app in two), 2.0, "revoked")
    for app in two:
        with pytest.raises(openai.AuthenticationError):
            chat(app, secret)
        assert not known(app, secret)
    [row] = [r for r in isocost(store, "list") if r["name"] == "alice"]
    assert row["standing"] == "revoked"
    assert "secret" not in row


def test_a_rotated_key_has_its_grace(two, store):
    """Both secrets work after a rotation with grace; after one without, only the newest does."""
    first = isocost(store, "create", "turned")["secret"]
    second = isocost(store, "rotate", "turned", "--grace", "5m")["secret"]
    until(lambda: all(known(app, s) for app in two for s in (first, second)), 10)
    third = isocost(store, "rotate", "turned")["secret"]
    until(lambda: all(known(app, third) for app in two), 10)
    assert not any(known(app, s) for app in two for s in (first, second))


def test_a_key_may_do_its_tasks_until_it_expires(two, store):
    """A task that is not the key's is 403; a key that has expired, of store or file, is 401."""
    app = two[0]
    secret = isocost(store, "create", "short", "--tasks", "embed", "--expires", "15s")["secret"]
    until(lambda: known(app, secret), 12)
    with pytest.raises(openai.PermissionDeniedError, match="Allowed tasks: embed"):
        chat(app, secret)
    assert app.sdk(secret).embeddings.create(model="vectors", input="x").data
    until(lambda: not known(app, secret), 30, "expiry")
    assert known(app, ENV["FILE_KEY"])
    assert not known(app, ENV["OLD_KEY"])


def test_requests_a_minute_are_refused_as_openai_does(two, store):
    """Over its requests a key gets RateLimitError with the vendor's headers and when to come back."""
    app = two[0]
    secret = isocost(store, "create", "slow", "--requests", "3")["secret"]
    until(lambda: known(app, secret), 10)
    left = [int(chat(app, secret).headers["x-ratelimit-remaining-requests"]) for _ in range(3)]
    assert left == [2, 1, 0]
    with pytest.raises(openai.RateLimitError) as caught:
        chat(app, secret)
    assert caught.value.code == "rate_limit_exceeded"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 61
    assert "3 requests a minute" in str(caught.value)
    other = isocost(store, "create", "other")["secret"]
    until(lambda: known(app, other), 10)
    assert chat(app, other).parse().choices


def test_units_a_minute_are_corrected_by_what_was_used(two, store):
    """A call is counted by its bound before it and by its usage after it; what is too large is told."""
    app = two[0]
    secret = isocost(store, "create", "words", "--units", "600")["secret"]
    until(lambda: known(app, secret), 10)
    used, sdk = 0, app.sdk(secret)
    for _ in range(2):
        raw = sdk.chat.completions.with_raw_response.create(
            model="chat", messages=CHAT, max_tokens=500
        )
        used += raw.parse().usage.total_tokens
    assert used < 500, "the estimates of two would be over the limit"
    raw = chat(app, secret)
    assert raw.headers["x-ratelimit-limit-tokens"] == "600"
    left = int(raw.headers["x-ratelimit-remaining-tokens"])
    assert 600 - used - 100 < left < 600 - used
    with pytest.raises(openai.RateLimitError, match="this call alone may take"):
        sdk.chat.completions.create(model="chat", messages=CHAT, max_tokens=1000)


def test_characters_are_the_units_of_speech_in_deepls_door_too(two, store):
    """A translation over the key's characters is 429 in DeepL's form, with Retry-After."""
    app = two[0]
    secret = isocost(store, "create", "letters", "--units", "40")["secret"]
    until(lambda: known(app, secret), 10)
    body = {"text": ["Thirty characters of something"], "target_lang": "DE", "source_lang": "EN"}
    said = {"authorization": f"DeepL-Auth-Key {secret}"}
    assert ask(f"{app.url}/v2/translate", body, **said)["translations"]
    with pytest.raises(HTTPError) as caught:
        ask(f"{app.url}/v2/translate", body, **said)
    assert caught.value.code == 429
    assert int(caught.value.headers["retry-after"]) >= 1
    assert "characters" in json.loads(caught.value.read())["message"]


def test_replicas_share_a_minute(two, store):
    """Of calls sent to both at once no more than the limit pass, and all of it can be used."""
    limit = 10
    secret = isocost(store, "create", "shared", "--requests", str(limit))["secret"]
    until(lambda: all(known(app, secret) for app in two), 10)

    def passes(n: int) -> bool:
        try:
            chat(two[n % 2], secret)
        except openai.RateLimitError as exc:
            assert "10 requests a minute" in str(exc)  # noqa: PT017 - of those that are refused
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        passed = sum(pool.map(passes, range(3 * limit)))
    assert passed <= limit
    # Shares that one replica has not used come back within seconds.
    end = time.monotonic() + 40
    while passed < limit and time.monotonic() < end:
        passed += passes(passed)
    assert passed == limit


def test_a_budget_of_a_key_binds_it_alone(two, store):
    """A key whose budget is too small for a call is refused with 402; others go on."""
    secret = isocost(store, "create", "poor", "--budget", "month=0.0000001")["secret"]
    until(lambda: all(known(app, secret) for app in two), 10)
    for app in two:
        with pytest.raises(openai.APIStatusError) as caught:
            chat(app, secret)
        assert (caught.value.status_code, caught.value.code) == (402, "budget_exceeded")
        assert chat(app, ENV["FILE_KEY"]).parse().choices


def test_no_secret_is_written_down(two, store):
    """Neither logs, journal, metrics nor decisions hold a key, a vendor's key or the admin's."""
    made = isocost(store, "create", "canary", "--requests", "5")["secret"]
    strange = "ik-nobody-canary-9c3"
    for app in two:
        until(lambda app=app: known(app, made), 10)
        ids = [chat(app, made).headers["x-isocost-call-id"]]
        for secret in (*[made] * 3, strange):
            with suppress(openai.APIStatusError):  # over its rate, and a stranger
                chat(app, secret)
        pages = [json.dumps(app.decision(i, authorization=f"Bearer {made}")) for i in ids]
        pages += [json.dumps(app.metrics()), app.program.log.read_text()]
        state = next(app.config.parent.glob("router-*"))
        pages += [f.read_bytes().decode("latin-1") for f in Path(state).rglob("*") if f.is_file()]
        assert any("canary" in page for page in pages), "the key's name is there"
        for secret in (made, strange, *(ENV[n] for n in ("ADMIN_KEY", "FILE_KEY", "SANDBOX_KEY"))):
            assert not [page for page in pages if secret in page], secret
        assert not [page for page in pages if made[10:] in page], "all but its prefix"
