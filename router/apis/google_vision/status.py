"""Errors of Google's wires: `google.rpc.Status`, in both directions.

    {"error": {"code": 429, "message": "...", "status": "RESOURCE_EXHAUSTED", "details": [...]}}

Some of them come with status 400 though they are about our key; what tells them apart is the
`reason` in `google.rpc.ErrorInfo`, which is then the code of the failure.
Source: https://cloud.google.com/apis/design/errors; google/rpc/{code,status,error_details}.proto;
read 2026-11-23.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from router.core.counts import UNREADABLE as _BAD
from router.core.errors import RouterError
from router.core.failure import Failure
from router.core.reply import Reply

RPC: dict[int, tuple[str, int]] = {
    1: ("CANCELLED", 499),
    2: ("UNKNOWN", 500),
    3: ("INVALID_ARGUMENT", 400),
    4: ("DEADLINE_EXCEEDED", 504),
    5: ("NOT_FOUND", 404),
    6: ("ALREADY_EXISTS", 409),
    7: ("PERMISSION_DENIED", 403),
    8: ("RESOURCE_EXHAUSTED", 429),
    9: ("FAILED_PRECONDITION", 400),
    10: ("ABORTED", 409),
    11: ("OUT_OF_RANGE", 400),
    12: ("UNIMPLEMENTED", 501),
    13: ("INTERNAL", 500),
    14: ("UNAVAILABLE", 503),
    15: ("DATA_LOSS", 500),
    16: ("UNAUTHENTICATED", 401),
}
"""Number of a status -> its name, and the HTTP status that it travels under."""
_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
OURS = frozenset(
    {
        "API_KEY_INVALID",
        "API_KEY_SERVICE_BLOCKED",
        "API_KEY_HTTP_REFERRER_BLOCKED",
        "API_KEY_IP_ADDRESS_BLOCKED",
        "ACCESS_TOKEN_EXPIRED",
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        "BILLING_DISABLED",
        "CONSUMER_SUSPENDED",
        "CONSUMER_INVALID",
        "SERVICE_DISABLED",
    }
)
"""Reasons that are about our key, project or plan: the client is not to blame."""
_TYPE = "type.googleapis.com/google.rpc."
_DELAY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_encode = msgspec.json.Encoder().encode


class _Status(msgspec.Struct):
    code: int = 0
    message: str = ""
    status: str = ""
    details: list[Any] = []


class _Body(msgspec.Struct):
    error: _Status


_body = msgspec.json.Decoder(_Body)


# From a backend.


def failure(body: bytes) -> Failure:
    """The error in Google's shape; what is not in that shape is quoted."""
    try:
        error = _body.decode(body).error
    except _BAD:
        return Failure("", body[:200].decode("utf-8", "replace"))
    reason = str(_detail(error.details, "ErrorInfo").get("reason", ""))
    return Failure(
        reason if reason in OURS else error.status,
        error.message,
        _violated(_detail(error.details, "BadRequest")),
        body,
        seconds(_detail(error.details, "RetryInfo").get("retryDelay")),
    )


def _detail(details: list[Any], kind: str) -> dict[str, Any]:
    """The first detail of one type."""
    for detail in details:
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith(f"rpc.{kind}"):
            return detail
    return {}


def _violated(detail: dict[str, Any]) -> str | None:
    violations = detail.get("fieldViolations")
    first = violations[0] if isinstance(violations, list) and violations else None
    field = first.get("field") if isinstance(first, dict) else None
    return field if isinstance(field, str) else None


def seconds(duration: Any) -> float | None:
    """Protobuf's Duration in JSON ("1.200s") as seconds; None when it is none."""
    found = _DELAY.fullmatch(duration) if isinstance(duration, str) else None
    return float(found[1]) if found else None


def duration(length: float) -> str:
    """Seconds as protobuf's Duration in JSON, to the millisecond."""
    return f"{max(length, 0.0):.3f}s".replace(".000s", "s")


# Towards a client.


def written(error: RouterError) -> bytes:
    """An error of the router in Google's shape."""
    details: list[dict[str, Any]] = []
    if error.code:
        reason = re.sub(r"[^A-Z0-9_]", "_", error.code.upper())
        info = {"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "isocost"}
        details.append(info)
    if error.param:
        violation = {"field": error.param, "description": str(error)}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        delay = duration(max(error.retry_after, 0.001))
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": delay})
    return _status(error.status, str(error), details)


def passed(reply: Reply) -> bytes:
    """What a backend holds against the client: as it came, when it came in Google's shape."""
    failed = reply.failure
    assert failed is not None
    try:
        if _body.decode(failed.raw).error.status:
            return failed.raw
    except _BAD:
        pass
    return _status(reply.status, failed.message or failed.code, [])


def _status(status: int, message: str, details: list[dict[str, Any]]) -> bytes:
    name = _NAMES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    said: dict[str, Any] = {"code": status, "message": message, "status": name}
    return _encode({"error": said | ({"details": details} if details else {})})
