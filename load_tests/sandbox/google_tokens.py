"""Who may call Google's APIs, and the token endpoint of a service account.

POST /sandbox/token is a `token_uri`: it takes a signed assertion (whose signature nobody can check
here: the public key is the account owner's) and gives a token for an hour, or for `?seconds=` of
the query, so that a refresh can be seen. A token that the account signed itself, as Google's
clients do where they can, is taken too. `sandbox-token` never ends.
Source: RFC 7523; developers.google.com/identity/protocols/oauth2/service-account (2026-11-22).
"""

from base64 import urlsafe_b64decode
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct, field

from load_tests.sandbox.http1 import Incoming

STANDING = "sandbox-token"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
HOUR = 3600.0


class Tokens(Struct):
    """Tokens given out: until when they hold, and to whom."""

    issued: int = 0
    known: dict[str, tuple[float, str]] = field(default_factory=dict)

    def owner(self, token: str, now: float) -> str | None:
        """Whose token it is, or None when it is nobody's or has ended."""
        if token == STANDING:
            return STANDING
        until, name = self.known.get(token, (0.0, ""))
        if now < until:
            return name
        claims = _claims(token) or {}  # one that the account signed itself
        good = isinstance(claims.get("iss"), str) and _until(claims) > now
        return claims["iss"] if good else None

    def exchange(self, asked: Incoming, now: float) -> tuple[int, bytes]:
        """An assertion for a token."""
        given = parse_qs(asked.body.decode("latin-1"))
        if given.get("grant_type") != [GRANT]:
            return _refused("unsupported_grant_type", f"Invalid grant_type: use {GRANT}.")
        claims = _claims(given.get("assertion", [""])[-1])
        if claims is None or not isinstance(claims.get("iss"), str):
            return _refused("invalid_grant", "Invalid JWT: it cannot be read.")
        if _until(claims) < now:
            return _refused("invalid_grant", "Invalid JWT: it has expired.")
        wanted = parse_qs(asked.query).get("seconds", [str(HOUR)])[-1]
        lasts = float(wanted) if wanted.replace(".", "", 1).isdigit() else HOUR
        self.issued += 1
        token = f"ya29.sandbox-{self.issued:08d}"
        self.known[token] = now + lasts, claims["iss"]
        told = {"access_token": token, "expires_in": int(lasts), "token_type": "Bearer"}
        return 200, msgspec.json.encode(told)


def _claims(assertion: str) -> dict[str, Any] | None:
    parts = assertion.split(".")
    if len(parts) != 3:
        return None
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        return msgspec.json.decode(urlsafe_b64decode(padded), type=dict[str, Any])
    except (ValueError, msgspec.DecodeError):
        return None


def _until(claims: dict[str, Any]) -> float:
    until = claims.get("exp")
    return float(until) if isinstance(until, int | float) else 0.0


def _refused(code: str, why: str) -> tuple[int, bytes]:
    return 400, msgspec.json.encode({"error": code, "error_description": why})
