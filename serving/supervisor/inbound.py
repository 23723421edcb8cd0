"""Requests from outside, read and written anew, with TorchServe's own key in place of the token.

Nothing of a request is passed on before its token was found to be right, and what is passed on was
made from what was parsed: two parsers that understand the same bytes differently cannot be used
against each other. Bodies pass as they come. Bounded: the bytes of a head.

Source: RFC 9112.
"""

from collections.abc import Callable, Container

import httptools

LONGEST_HEAD = 65536
METHODS = {b"GET", b"POST", b"PUT", b"OPTIONS"}  # an answer to HEAD would have no end of its own
OURS = {b"authorization", b"transfer-encoding", b"upgrade", b"proxy-connection"}


class Refused(Exception):
    """A request that goes no further: status, TorchServe's kind of error, reason."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        """For the caller to read; never holds a token."""
        super().__init__(reason)
        self.status, self.kind = status, kind


class Requests:
    """The requests of one connection; `feed` gives the bytes for TorchServe."""

    def __init__(self, tokens: Container[str], key: Callable[[], str]) -> None:
        """`key` is TorchServe's, now; "" while it is not up."""
        self._tokens, self._key = tokens, key
        self._parser = httptools.HttpRequestParser(self)
        self._out: list[bytes] = []
        self._refused: Refused | None = None
        self._reset()
        self.begun = 0  # requests that were let through

    def feed(self, data: bytes) -> bytes:
        """Raises: Refused; the connection is of no more use then."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            wrong = Refused(400, "BadRequestException", "this is not an HTTP/1.1 request")
            raise self._refused or wrong from error
        except httptools.HttpParserUpgrade as error:
            raise Refused(400, "BadRequestException", "no other protocol is spoken here") from error
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > LONGEST_HEAD:
                raise Refused(
                    431, "BadRequestException", f"a head has {LONGEST_HEAD} bytes at most"
                )
        passed, self._out = b"".join(self._out), []
        return passed

    def on_message_begin(self) -> None:
        self._reset()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        low = name.lower()
        if low == b"authorization":
            scheme, _, said = value.strip().partition(b" ")
            if scheme.lower() == b"bearer":
                self._token = said.strip().decode("latin-1")
        elif low == b"transfer-encoding":
            self._chunked = True
        if low not in OURS:
            self._headers += [name, b": ", value, b"\r\n"]

    def on_headers_complete(self) -> None:
        method = self._parser.get_method()
        if self._token not in self._tokens:
            self._refuse(401, "InvalidKeyException", "show the token of this server as Bearer")
        if method not in METHODS:
            self._refuse(405, "MethodNotAllowedException", "GET, POST, PUT and OPTIONS are served")
        key = self._key()
        if not key:
            self._refuse(503, "ServiceUnavailableException", "TorchServe is not up")
        if self._chunked:
            self._headers.append(b"Transfer-Encoding: chunked\r\n")
        self._headers.append(f"Authorization: Bearer {key}\r\n\r\n".encode())
        self._out += [method, b" ", self._url, b" HTTP/1.1\r\n", *self._headers]
        self._in_head = False
        self.begun += 1

    def on_body(self, body: bytes) -> None:
        if self._chunked:
            self._out += [f"{len(body):x}\r\n".encode(), body, b"\r\n"]
        else:
            self._out.append(body)

    def on_message_complete(self) -> None:
        if self._chunked:
            self._out.append(b"0\r\n\r\n")
        self._reset()

    def _refuse(self, status: int, kind: str, reason: str) -> None:
        self._refused = Refused(status, kind, reason)
        raise self._refused

    def _reset(self) -> None:
        self._url, self._token, self._chunked = b"", "", False
        self._headers: list[bytes] = []
        self._in_head, self._head_bytes = True, 0
