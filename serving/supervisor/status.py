"""The status server: GET /status, /livez, /readyz; no secret is in any of them."""

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StatusServer:
    """Answers from what `report` and `ready` say at that moment."""

    def __init__(
        self,
        address: tuple[str, int],
        report: Callable[[], Mapping[str, object]],
        ready: Callable[[], bool],
    ) -> None:
        """Raises: OSError where the port is taken."""
        kind = Quiet6 if ":" in address[0] else Quiet
        self._server = kind(address, _handler(report, ready))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Serve on a thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class Quiet(ThreadingHTTPServer):
    """A caller that hangs up is no news."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Without the look-up of this machine's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


class Quiet6(Quiet):
    """The same on IPv6."""

    address_family = socket.AF_INET6


def _handler(
    report: Callable[[], Mapping[str, object]],
    ready: Callable[[], bool],
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/livez":
                self._send(200, {"live": True})
            elif path == "/status":
                self._send(200, report())
            elif path == "/readyz":
                self._send(200 if ready() else 503, report())
            else:
                self._send(404, {"error": "ask for /status, /livez or /readyz"})

        def _send(self, status: int, body: Mapping[str, object]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Probes come every second: not worth a line each."""

    return Handler
