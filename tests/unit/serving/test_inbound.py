"""What may come in from the network, and what of it reaches TorchServe."""

import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.supervisor.inbound import LONGEST_HEAD, Refused, Requests
from serving.supervisor.options import read_options
from serving.supervisor.tokens import LOOK_SECONDS, TokenError, Tokens

TOKEN = "t" * 32


def request(
    body: bytes = b"hello", *, token: str = TOKEN, more: bytes = b"", method: bytes = b"POST"
) -> bytes:
    head = (
        method + b" /predictions/m HTTP/1.1\r\nHost: pod\r\nauthorization: Bearer " + token.encode()
    )
    return head + b"\r\n" + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


CHUNKED = (
    b"POST /predictions/m HTTP/1.1\r\nHost: pod\r\nAuthorization: Bearer " + TOKEN.encode()
    + b"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
)  # fmt: skip


def fed(*pieces: bytes, key: str = "inner") -> bytes:
    requests = Requests({TOKEN}, lambda: key)
    return b"".join(requests.feed(piece) for piece in pieces)


def test_the_token_stays_outside():
    """TorchServe sees its own key, never the callers' token."""
    passed = fed(request())
    assert passed.endswith(b"\r\nAuthorization: Bearer inner\r\n\r\nhello")
    assert TOKEN.encode() not in passed
    assert fed(CHUNKED).count(b"Transfer-Encoding: chunked") == 1


@given(
    st.lists(st.integers(min_value=1, max_value=40), max_size=30),
    st.sampled_from([CHUNKED, request()]),
)
def test_cuts_do_not_matter(cuts, raw):
    """However the network cuts two requests, the same bodies are passed on, and both are counted."""
    requests, at, passed = Requests({TOKEN}, lambda: "inner"), 0, b""
    raw = raw + request(b"second")
    for cut in cuts:
        passed += requests.feed(raw[at : at + cut])
        at += cut
    passed += requests.feed(raw[at:]) if raw[at:] else b""
    again = Requests({"inner"}, lambda: "x")
    again.feed(passed)
    assert requests.begun == again.begun == 2
    assert passed.endswith(b"second")


@given(st.binary(max_size=400))
def test_nothing_passes_without_a_token(noise):
    """Whatever bytes come: none reaches TorchServe before a right token was seen."""
    passed = b""
    with contextlib.suppress(Refused):
        passed = fed(noise)
    assert passed == b""


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(token="u" * 32), 401),
        (request(token=""), 401),
        (b"GET / HTTP/1.1\r\nHost: pod\r\n\r\n", 401),
        (request().replace(b"Bearer ", b"Basic "), 401),
        (request(method=b"HEAD"), 405),
        (request(method=b"DELETE"), 405),
        (request(more=b"Transfer-Encoding: chunked\r\n"), 400),
        (request(more=b"Connection: Upgrade\r\nUpgrade: h2c\r\n"), 400),
        (b"\x16\x03\x01 hello", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * (LONGEST_HEAD + 1), 431),
    ],
)  # fmt: skip
def test_what_is_refused(raw, status):
    """Each for its reason, and no reason names the token."""
    with pytest.raises(Refused) as refused:
        fed(raw)
    assert refused.value.status == status
    assert TOKEN not in str(refused.value)


def test_a_wrong_request_after_a_right_one_passes_nothing():
    """A connection that was once trusted is not trusted again without a token."""
    requests = Requests({TOKEN}, lambda: "inner")
    requests.feed(request())
    with pytest.raises(Refused):
        requests.feed(request(token="other-token-of-32-characters-xxx"))
    assert requests.begun == 1


def test_no_key_yet():
    """While TorchServe starts, callers are told so."""
    with pytest.raises(Refused) as refused:
        fed(request(), key="")
    assert refused.value.status == 503


def test_tokens_are_read_again(tmp_path):
    """Two at once while one is replaced; a file that went bad keeps the last good ones."""
    now, file = [0.0], tmp_path / "key"
    file.write_text(f"{TOKEN}\n")
    tokens = Tokens(file, lambda: now[0])
    assert TOKEN in tokens
    assert "" not in tokens
    for number, (text, known) in enumerate(
        [
            (f"{TOKEN}\n{'n' * 32}\n", {TOKEN, "n" * 32}),
            ("n" * 32, {"n" * 32}),
            ("short", {"n" * 32}),
        ]
    ):
        file.write_text(text)
        os.utime(file, ns=(number + 1, number + 1))
        now[0] += LOOK_SECONDS
        assert {each for each in (TOKEN, "n" * 32, "short") if each in tokens} == known


@pytest.mark.parametrize("text", [None, "", "short\n", f"{TOKEN}\nshort"])
def test_a_file_of_tokens_must_be_good(tmp_path, text):
    """Missing, empty or short: said at the start, without the token."""
    file = tmp_path / "key"
    if text is not None:
        file.write_text(text)
    with pytest.raises(TokenError) as error:
        Tokens(file)
    assert "short" not in str(error.value).split("key:")[-1]


def test_the_network_needs_a_token(tmp_path, capsys):
    """An address that others reach is refused without --key-file."""
    (tmp_path / "m.mar").write_bytes(b"")
    words = ["--archives", str(tmp_path), "--state", str(tmp_path / "s")]
    for host in ("0.0.0.0", "10.1.2.3", "::", "pod"):
        with pytest.raises(SystemExit):
            read_options([*words, "--host", host])
        assert "--key-file" in capsys.readouterr().err
        assert read_options([*words, "--host", host, "--key-file", "k"]).host == host
    for host in ("127.0.0.1", "::1", "localhost"):
        assert read_options([*words, "--host", host]).key_file is None
