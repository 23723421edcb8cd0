"""A vendor who repeats the key and the body of each request in its errors, and in worse than errors.

/401/... /400/... /500/...    that status, its message in the form of every vendor
/nojson/... /garbage/...      a page instead of JSON; what is no HTTP
/cut/...                      an answer that breaks off
/events/...                   a stream with an error in it
/token/...                    the token endpoint of a Google account, which refuses
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

KEYS = ("authorization", "xi-api-key", "x-goog-api-key")


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *said: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        key = next((self.headers[name] for name in KEYS if self.headers[name]), "")
        self.server.heard.append(key)
        said = f"The key {key} cannot do {body.decode('latin-1')}"
        mode = self.path.split("/")[1]
        self.close_connection = True
        if mode == "garbage":
            self.wfile.write(f"{key}\r\n{said}\r\n\r\n".encode())
        elif mode == "events":
            self._events(said)
        elif mode == "token":
            self._answer(400, said.encode(), key)
        elif mode == "nojson":
            self._answer(200, f"<html>{said}</html>".encode(), key)
        elif mode == "cut":
            self._answer(200, f'{{"{said}'.encode(), key, more=1000)
        else:
            error = {"message": said, "code": "odd", "type": "odd", "status": "UNAUTHENTICATED"}
            form = {"error": error, "detail": {"status": "odd", "message": said}, "message": said}
            self._answer(int(mode), json.dumps(form).encode(), key)

    def _answer(self, status: int, body: bytes, key: str, more: int = 0) -> None:
        self.send_response(status)
        for name in ("www-authenticate", "set-cookie", "x-request-id", "x-error"):
            self.send_header(name, f"for {key}")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body) + more))
        self.end_headers()
        self.wfile.write(body)

    def _events(self, said: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        delta = {"index": 0, "delta": {"role": "assistant", "content": "Well"}}
        for event in (chunk | {"choices": [delta]}, {"error": {"message": said, "code": "odd"}}):
            self.wfile.write(b"data: %b\n\n" % json.dumps(event).encode())


class Vendor(ThreadingHTTPServer):
    """`heard`: the keys of all requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.heard: list[str] = []

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def echo() -> Iterator[Vendor]:
    with Vendor() as vendor:
        thread = Thread(target=vendor.serve_forever, daemon=True)
        thread.start()
        try:
            yield vendor
        finally:
            vendor.shutdown()
            thread.join()
