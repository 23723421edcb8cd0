"""Google Vision's wire towards a client: the official SDKs work by their endpoint."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router.core.api import Ask, Head, Path, Question, Told, Writer
from router.core.call import Call
from router.core.errors import BadRequest, RouterError
from router.core.reply import Reply
from router.core.task import AnnotateRequest, AnnotateResult

from . import status
from .asking import ask
from .writing import responses

JSON = Head("application/json; charset=UTF-8")
NO_QUERY: Mapping[str, str] = {}
NOTHING_TOLD = Told()
_encode = msgspec.json.Encoder().encode


def secret(headers: Mapping[bytes, bytes], query: Mapping[str, str]) -> str:
    """The key as Google's clients send it: a header, a bearer token, or in the query."""
    key = headers.get(b"x-goog-api-key", b"").decode("latin-1").strip()
    if key:
        return key
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else query.get("key", "")


def check_query(query: Mapping[str, str]) -> None:
    """Refuse what would change the answer's form. Raises BadRequest."""
    for name in ("alt", "$alt"):
        if query.get(name, "json").partition(";")[0] != "json":
            raise BadRequest(f"`{name}` is {query[name]!r}; answers are json here.", param=name)
    for name in ("fields", "$fields", "callback"):
        if query.get(name):
            raise BadRequest(f"`{name}` is not known here: leave it out.", param=name)


class VisionDoor:
    """Reads calls and writes answers as Google Vision does."""

    wire = "google_vision"
    paths: tuple[Path, ...] = (
        Path("/v1/images:annotate", "annotate"),
        Path("/v1/projects/{project}/images:annotate", "annotate"),
        Path("/v1/projects/{project}/locations/{location}/images:annotate", "annotate"),
    )
    questions: tuple[Question, ...] = ()
    named = False
    content_type = JSON.content_type
    key_header = "x-goog-api-key: <key>"
    stranger = 401

    def secret(self, headers: Mapping[bytes, bytes], query: Mapping[str, str] = NO_QUERY) -> str:
        return secret(headers, query)

    def ask(self, path: str, body: bytes, told: Told = NOTHING_TOLD) -> Ask:
        check_query(told.query)
        return ask(body, told.params)

    def head(self, call: Call, reply: Reply) -> Head:
        return JSON

    def whole(self, call: Call, reply: Reply) -> bytes:
        if reply.failure is not None:
            return status.passed(reply)
        if reply.body:
            return reply.body
        request, result = call.request, reply.result
        assert isinstance(request, AnnotateRequest)
        assert isinstance(result, AnnotateResult)
        return _encode({"responses": responses(result.images, request)})

    def events(self, call: Call, reply: Reply) -> Writer:
        raise NotImplementedError("answers of this wire are never streamed")

    def error(self, error: RouterError) -> bytes:
        return status.written(error)

    def error_event(self, error: RouterError) -> bytes:
        return b""
