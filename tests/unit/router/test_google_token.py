"""OAuth tokens of service accounts, against a token server on loopback."""

from __future__ import annotations

import gc
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from router import apis
from router.google_token import EARLY, SCOPE, CredentialsError, Token, Tokens, unasked


class TokenServer:
    """Answers each question with its next answer, the last one again and again."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.answers: list[tuple[int, Any]] = [(200, {})]
        self.gate = threading.Event()
        self.gate.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"])).decode()
                outer.asked.append({k: v[0] for k, v in parse_qs(raw).items()})
                outer.gate.wait(10)
                answers = outer.answers
                status, body = answers.pop(0) if len(answers) > 1 else answers[0]
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                """Nothing: the tests' own output is enough."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/token"
        self.thread = threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self.thread.start()

    def gives(self, *tokens: str, seconds: int = 3600) -> None:
        self.answers = [(200, {"access_token": t, "expires_in": seconds}) for t in tokens]

    def stop(self) -> None:
        self.gate.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def private():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def server():
    made = TokenServer()
    yield made
    made.stop()


@pytest.fixture
def account(tmp_path, private, server):
    """The file of a service account."""
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = tmp_path / "account.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": "isocost@p.iam.gserviceaccount.com",
                "private_key_id": "k1",
                "private_key": pem.decode(),
                "token_uri": server.url,
                "project_id": "p",
            }
        )
    )
    return path


class Clock:
    """Real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


def test_the_first_token_is_there_after_the_wait(account, server, private):
    """It is signed by the account, for the scope, and goes into the header that Google reads."""
    server.gives("t1")
    token = Token(account)
    assert token.wait(10)
    assert token() == "Bearer t1"
    assert apis.load("google_vision").auth(token()) == {"authorization": "Bearer t1"}
    assert apis.load("google_speech").auth("AIza") == {"x-goog-api-key": "AIza"}
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (asked,) = server.asked
    said = jwt.decode(asked["assertion"], certs=public.decode(), verify=True)
    assert said["iss"] == "isocost@p.iam.gserviceaccount.com"
    assert said["scope"] == SCOPE


def test_asking_never_waits(account, server):
    """While the server takes its time a call finds nothing, at once; so does one during a renewal."""
    server.gives("t1", "t2")
    server.gate.clear()
    clock = Clock()
    token = Token(account, now=clock)
    until(lambda: server.asked)
    assert token() == ""
    server.gate.set()
    until(token)
    server.gate.clear()
    clock.ahead = 3600 - EARLY + 5
    for _ in range(5):
        token.look()
    until(lambda: len(server.asked) == 2)
    assert token() == "Bearer t1"
    server.gate.set()
    until(lambda: token() == "Bearer t2")
    assert len(server.asked) == 2, "one renewal at a time"


def test_a_token_is_renewed_before_its_end(account, server):
    """Not earlier than it is due; after its end the old one is never given."""
    server.gives("t1", "t2")
    clock = Clock()
    token = Token(account, now=clock)
    token.wait(10)
    clock.ahead = 3600 - EARLY - 60
    token.look()
    assert len(server.asked) == 1
    assert token() == "Bearer t1"
    clock.ahead = 3601
    assert token() == ""
    token.look()
    # The real clock is an hour behind: this token's end is, too.
    until(lambda: len(server.asked) == 2)


def test_a_short_token_is_renewed_at_three_quarters(account, server):
    """A token of 100 seconds is not asked for all the time."""
    server.gives("t1", seconds=100)
    clock = Clock()
    token = Token(account, now=clock)
    token.wait(10)
    clock.ahead = 70
    token.look()
    assert len(server.asked) == 1
    clock.ahead = 80
    token.look()
    until(lambda: len(server.asked) == 2)


def test_a_failure_is_tried_again_later_and_tells_no_secret(account, server, caplog):
    """The old token serves until its end; the pauses grow; the log holds no token and no key."""
    caplog.set_level(logging.WARNING, "isocost")
    refused = (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
    odd = (200, {"id_token": "s3cret-token"})
    server.answers = [refused, odd, (200, {"access_token": "t1", "expires_in": 3600})]
    clock = Clock()
    token = Token(account, now=clock)
    token.wait(10)
    until(lambda: not token._busy.locked())
    assert token() == ""
    token.look()
    assert len(server.asked) == 1, "too early"
    clock.ahead += 1.5
    token.look()
    until(lambda: len(server.asked) == 2 and not token._busy.locked())
    clock.ahead += 1.5
    token.look()
    assert len(server.asked) == 2, "the second pause is longer"
    clock.ahead += 1.5
    token.look()
    until(token)
    assert token() == "Bearer t1"
    assert "invalid_grant" in caplog.text
    assert "s3cret" not in caplog.text
    assert "PRIVATE" not in caplog.text


def test_a_reload_keeps_the_token(account, server):
    """The same file gives the same token; a changed one another; one that nobody holds is let go."""
    server.gives("t1", "t2")
    tokens = Tokens()
    first = tokens.of(account)
    tokens.wait(10)
    assert tokens.of(account) is first
    os.utime(account, ns=(1, 1))
    second = tokens.of(account)
    assert second is not first
    tokens.wait(10)
    assert (first(), second()) == ("Bearer t1", "Bearer t2")
    del first
    gc.collect()
    assert list(tokens._by_file.values()) == [second]
    tokens.look()
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", '{"type": "authorized_user", "refresh_token": "s3cret"}', "\0",
     '{"client_email": "s3cret", "token_uri": "u", "private_key": "s3cret"}'],
)  # fmt: skip
def test_what_is_no_service_account_is_refused(tmp_path, text):
    """The message names the file and nothing that is in it."""
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(CredentialsError, match="no service account") as failed:
        Tokens().of(path)
    assert "s3cret" not in str(failed.value)
    assert failed.value.__suppress_context__
    with pytest.raises(CredentialsError, match="no service account"):
        unasked(path)


def test_a_missing_file_is_named(tmp_path):
    """The operator sees which file."""
    with pytest.raises(CredentialsError, match=r"nowhere\.json"):
        Tokens().of(tmp_path / "nowhere.json")
    with pytest.raises(CredentialsError, match=r"nowhere\.json"):
        unasked(tmp_path / "nowhere.json")


def test_a_check_asks_nobody(account, server):
    """A sound file is a secret that is not there yet."""
    assert unasked(account)() == ""
    assert server.asked == []
