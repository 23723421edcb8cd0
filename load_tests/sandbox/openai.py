"""OpenAI's wire under /v1: who may call, which model, in which words it refuses.

The bodies are made in the other `openai_*` files. Checked against OpenAI's OpenAPI document
and recorded traffic on 2026-11-22; unlike the document, real stream chunks carry null fields, and
so do these.
"""

from typing import Any, Protocol

import msgspec

from load_tests.sandbox.answers import Answers
from load_tests.sandbox.journal import key_name
from load_tests.sandbox.keys import Keys
from load_tests.sandbox.models import Model
from load_tests.sandbox.openai_chat import Chat
from load_tests.sandbox.openai_responses import Responses
from load_tests.sandbox.openai_speech import Speech
from load_tests.sandbox.openai_texts import Completions, Embeddings
from load_tests.sandbox.openai_transcriptions import Transcriptions
from load_tests.sandbox.text import Writer
from load_tests.sandbox.vendor import Answer, Headers, Refusal, Request

JSON = (b"content-type", b"application/json")
LIMITS = [
    (b"x-ratelimit-limit-requests", b"10000"),
    (b"x-ratelimit-limit-tokens", b"2000000"),
    (b"x-ratelimit-remaining-requests", b"9999"),
    (b"x-ratelimit-remaining-tokens", b"1999000"),
    (b"x-ratelimit-reset-requests", b"6ms"),
    (b"x-ratelimit-reset-tokens", b"30ms"),
]
FIXED = [
    (b"openai-organization", b"sandbox"),
    (b"openai-version", b"2020-10-01"),
    (b"openai-processing-ms", b"1"),
    *LIMITS,
]
FAULTS: dict[int, tuple[str | None, str, str]] = {  # status -> code, type, message
    401: ("invalid_api_key", "invalid_request_error", "Incorrect API key provided."),
    404: ("model_not_found", "invalid_request_error", "The model does not exist."),
    429: ("rate_limit_exceeded", "requests", "Rate limit reached for requests."),
}
QUOTA = "You exceeded your current quota, please check your plan and billing details."
SERVER = "The server had an error while processing your request. Sorry about that!"


class Maker(Protocol):
    """One endpoint: reads its request, makes its answer."""

    def read(self, request: Request) -> Any:
        """Raises msgspec.DecodeError."""
        ...

    def answer(
        self, asked: Any, model: Model, key: str, request: Request, headers: Headers
    ) -> Answer:
        """Raises Refusal."""
        ...


class OpenAI:
    """The vendor."""

    name = "openai"

    def __init__(self, models: dict[str, Model], keys: Keys, answers: Answers) -> None:
        self._models, self._keys = models, keys
        writer = Writer()
        chat = Chat(writer, answers)
        self._makers: dict[str, Maker] = {
            "/v1/chat/completions": chat,
            "/v1/responses": Responses(chat),
            "/v1/audio/speech": Speech(),
            "/v1/audio/transcriptions": Transcriptions(answers),
            "/v1/completions": Completions(writer),
            "/v1/embeddings": Embeddings(),
        }

    def serves(self, request: Request) -> bool:
        """Everything under /v1."""
        return request.path.startswith("/v1/")

    def heavy(self, request: Request) -> bool:
        """Sound takes time to encode and decode."""
        return request.path.startswith("/v1/audio/")

    def answer(self, request: Request) -> Answer:
        """The answer to one call. Raises Refusal."""
        key = self._key(request)
        if request.path.startswith("/v1/models"):
            return self._listed(request)
        maker = self._makers.get(request.path)
        if maker is None:
            message = f"Invalid URL ({request.method} {request.path})"
            raise Refusal(404, message)
        if request.method != "POST":
            message = f"Not allowed to {request.method} on {request.path} (HINT: use POST)"
            raise Refusal(405, message, code="method_not_supported")
        try:
            asked = maker.read(request)
        except msgspec.ValidationError as wrong:
            raise self._malformed(request.body, wrong) from wrong
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            message = "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly.)"  # noqa: E501
            raise Refusal(400, message) from wrong
        model = self._model(asked.model, request.path)
        return maker.answer(asked, model, key, request, [*self._fixed(request)])

    def fault(self, status: int, code: str | None, retry_after: float | None) -> Refusal:
        """What OpenAI says with this status."""
        default, kind, message = FAULTS.get(status, (None, "server_error", SERVER))
        if code == "insufficient_quota":
            return Refusal(status, QUOTA, code=code, kind="insufficient_quota")
        code = code or default
        return Refusal(status, message, code=code, kind=kind, retry_after=retry_after)

    def exhausted(self, unit: str) -> Refusal:
        """A quota of calls at once is a rate limit; any other is the customer's money."""
        if unit == "concurrent":
            return self.fault(429, None, 1.0)
        return self.fault(429, "insufficient_quota", None)

    def error(self, refusal: Refusal, request: Request) -> tuple[Headers, bytes]:
        """`{"error": {message, type, param, code}}` with the headers of an answer."""
        told = {
            "message": refusal.message,
            "type": refusal.kind,
            "param": refusal.param,
            "code": refusal.code,
        }
        headers = [JSON, *self._fixed(request)]
        if refusal.retry_after is not None:
            headers.append((b"retry-after", f"{refusal.retry_after:g}".encode()))
            headers.append((b"retry-after-ms", f"{refusal.retry_after * 1000:.0f}".encode()))
        return headers, msgspec.json.encode({"error": told})

    def _key(self, request: Request) -> str:
        given = request.headers.get(b"authorization", b"").decode("latin-1")
        secret = given.removeprefix("Bearer ")
        if not given or secret == given:
            raise Refusal(401, "You didn't provide an API key.")
        if not self._keys.good(secret):
            shown = f"{secret[:8]}****{secret[-4:]}" if len(secret) > 12 else "****"
            message = f"Incorrect API key provided: {shown}."
            raise Refusal(401, message, code="invalid_api_key")
        return key_name(secret)

    def _model(self, name: str, path: str) -> Model:
        model = self._models.get(name)
        if model is None:
            message = f"The model `{name}` does not exist or you do not have access to it."
            raise Refusal(404, message, code="model_not_found")
        if path not in model.endpoints:
            message = f"The model `{name}` is not supported in the {path} endpoint."
            raise Refusal(404, message, param="model")
        return model

    def _malformed(self, body: bytes, wrong: msgspec.ValidationError) -> Refusal:
        where = str(wrong).rpartition("`$.")[2].rstrip("`") if "`$." in str(wrong) else None
        if "missing required field" in str(wrong):
            where = str(wrong).split("`")[1]
            message = f"Missing required parameter: '{where}'."
            return Refusal(400, message, param=where, code="missing_required_parameter")
        message = f"Invalid type for '{where or 'body'}': {wrong}"
        return Refusal(400, message, param=where, code="invalid_type")

    def _listed(self, request: Request) -> Answer:
        name = request.path.removeprefix("/v1/models").strip("/")
        if name:
            if name not in self._models:
                message = f"The model '{name}' does not exist"
                raise Refusal(404, message, param="model", code="model_not_found")
            body = msgspec.json.encode(_entry(self._models[name]))
        else:
            unique = {model.name: model for model in self._models.values()}
            data = [_entry(model) for model in unique.values()]
            body = msgspec.json.encode({"object": "list", "data": data})
        return Answer("", "", "/v1/models", [JSON, *self._fixed(request)], body)

    def _fixed(self, request: Request) -> Headers:
        return [(b"x-request-id", f"req_{request.number:032x}".encode()), *FIXED]


def _entry(model: Model) -> dict[str, str | int]:
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": "system"}
