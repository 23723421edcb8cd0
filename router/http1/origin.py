"""Where a backend's server is, and how reaching it can fail."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec


class ConnectFailed(Exception):
    """No connection, so nothing was sent."""


class Broken(Exception):
    """Sent, and no whole answer came."""


class Origin(msgspec.Struct, frozen=True):
    """Where a server is: scheme, host and port, and the path that its URLs begin with."""

    host: str
    port: int
    tls: bool
    path: str
    header: bytes
    """The Host header."""

    @classmethod
    def of(cls, url: str) -> Origin:
        """Raises ValueError for what is no http(s) URL."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no http:// or https:// URL")
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(parts.hostname, port, tls, parts.path.rstrip("/"), parts.netloc.encode())
