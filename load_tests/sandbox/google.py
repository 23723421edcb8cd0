"""What Google's APIs share: who may call, JSON as protobuf reads it, and google.rpc.Status.

Names of fields are taken in camel case and in snake case, enums as names and as numbers, bytes in
both alphabets of base64; a field that the message does not have is refused.
Source: https://protobuf.dev/programming-guides/json/, https://cloud.google.com/apis/design/errors
(read 2026-11-22).
"""

import re
from base64 import b64decode
from binascii import Error
from typing import Any, TypeVar

import msgspec

from load_tests.sandbox.google_tokens import Tokens
from load_tests.sandbox.journal import key_name
from load_tests.sandbox.keys import Keys
from load_tests.sandbox.vendor import Headers, Refusal, Request

JSON = (b"content-type", b"application/json; charset=UTF-8")
MOST_BYTES = 10 * 1024 * 1024
UNAUTHENTICATED = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential."  # noqa: E501
STATUS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", UNAUTHENTICATED),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "Requested entity was not found."),
    409: ("ABORTED", "The operation was aborted."),
    429: ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    500: ("INTERNAL", "Internal error encountered."),
    503: ("UNAVAILABLE", "The service is currently unavailable."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
UNREGISTERED = "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API."  # noqa: E501
TYPE = "type.googleapis.com/google.rpc."
SNAKE = re.compile(r"_([a-z0-9])")
UNKNOWN = re.compile(r"unknown field `([^`]+)`(?: - at `([^`]+)`)?")
Form = TypeVar("Form")


class Google:
    """What the vendors of Google have in common; `name` and `domain` tell them apart."""

    name = "google"
    domain = "googleapis.com"

    def __init__(self, keys: Keys, tokens: Tokens) -> None:
        self._keys, self._tokens = keys, tokens

    def caller(self, request: Request) -> str:
        """The name of the key or account that calls. Raises Refusal."""
        secret = request.header(b"x-goog-api-key") or request.asked().get("key", "")
        if secret:
            if not self._keys.good(secret):
                said = "API key not valid. Please pass a valid API key."
                raise Refusal(400, said, kind="API_KEY_INVALID")
            return key_name(secret)
        token = request.header(b"authorization").removeprefix("Bearer ")
        if not token:
            raise Refusal(403, UNREGISTERED)
        owner = self._tokens.owner(token, request.seconds)
        if owner is None:
            raise Refusal(401, UNAUTHENTICATED, kind="ACCESS_TOKEN_INVALID")
        return key_name(owner)

    def fault(self, status: int, code: str | None, retry_after: float | None) -> Refusal:
        """What Google says with this status; `code` replaces the name of the status."""
        message = STATUS.get(status, STATUS[500])[1]
        return Refusal(status, message, code=code, retry_after=retry_after)

    def exhausted(self, unit: str) -> Refusal:
        """RESOURCE_EXHAUSTED; calls at once may be tried again soon."""
        said = f"Quota exceeded for quota metric '{unit}' and limit '{unit} per day' of service '{self.domain}'."  # noqa: E501
        after = 1.0 if unit == "concurrent" else None
        return Refusal(429, said, kind="RATE_LIMIT_EXCEEDED", retry_after=after)

    def error(self, refusal: Refusal, request: Request) -> tuple[Headers, bytes]:
        """`{"error": {code, message, status, details}}`."""
        details: list[dict[str, Any]] = []
        if refusal.kind.isupper():
            info = {"reason": refusal.kind, "domain": "googleapis.com"}
            metadata = {"service": self.domain}
            details.append({"@type": f"{TYPE}ErrorInfo", **info, "metadata": metadata})
        if refusal.param is not None:
            wrong = {"field": refusal.param, "description": refusal.message}
            details.append({"@type": f"{TYPE}BadRequest", "fieldViolations": [wrong]})
        if refusal.retry_after is not None:
            wait = f"{refusal.retry_after:g}s"
            details.append({"@type": f"{TYPE}RetryInfo", "retryDelay": wait})
        error: dict[str, Any] = {
            "code": refusal.status,
            "message": refusal.message,
            "status": refusal.code or STATUS.get(refusal.status, STATUS[500])[0],
        }
        if details:
            error["details"] = details
        return [JSON], msgspec.json.encode({"error": error})

    def read(self, body: bytes, form: type[Form]) -> Form:
        """The body as this message. Raises Refusal."""
        if len(body) > MOST_BYTES:
            said = f"Request payload size exceeds the limit: {MOST_BYTES} bytes."
            raise Refusal(400, said)
        try:
            return msgspec.convert(_camel(msgspec.json.decode(body or b"{}")), form, strict=False)
        except msgspec.ValidationError as wrong:
            raise _refused(str(wrong)) from wrong
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            raise Refusal(400, f"Invalid JSON payload received. {wrong}") from wrong


def number_of(given: str | int, names: dict[str, int], where: str) -> int:
    """An enum's number by its name or number. Raises Refusal."""
    if isinstance(given, str) and given in names:
        return names[given]
    if isinstance(given, int) or given.isdigit():
        return int(given)
    raise Refusal(400, f"Invalid value at '{where}', \"{given}\"", param=where)


def content_of(text: str, where: str) -> bytes:
    """Bytes as JSON carries them. Raises Refusal."""
    plain = text.translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (Error, ValueError) as wrong:
        raise Refusal(400, f"Invalid value at '{where}': Base64 decoding failed.", param=where) from wrong  # noqa: E501  # fmt: skip


def _camel(given: Any) -> Any:
    if isinstance(given, dict):
        return {SNAKE.sub(lambda m: m[1].upper(), key): _camel(one) for key, one in given.items()}
    return [_camel(one) for one in given] if isinstance(given, list) else given


def _refused(said: str) -> Refusal:
    unknown = UNKNOWN.search(said)
    if unknown:
        where = (unknown[2] or "$").removeprefix("$").removeprefix(".")
        message = f"Invalid JSON payload received. Unknown name \"{unknown[1]}\" at '{where}': Cannot find field."  # noqa: E501
        return Refusal(400, message, param=where)
    where = said.rpartition("`$")[2].rstrip("`").removeprefix(".") if "`$" in said else ""
    return Refusal(400, f"Invalid value at '{where}': {said}", param=where)
