"""ElevenLabs' wire: text to speech, and the lists of models, voices and the plan.

Billed in credits, a whole number for each call: one a character, half of that (rounded up) with the
flash and turbo models. The header `character-cost` tells them before the body, and a stream is
billed in full once it is accepted. Checked against the types of its SDK (elevenlabs 2.78) on
2026-11-22; errors as users report them (github.com/home-assistant/core/issues/160414) and as
help.elevenlabs.io has them ("API - Error Code 400 or 401").
"""

from math import ceil
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from load_tests.sandbox.account import Account
from load_tests.sandbox.elevenlabs_lists import model_list, plan, voice, voice_list
from load_tests.sandbox.elevenlabs_sound import FORMATS, events
from load_tests.sandbox.journal import key_name
from load_tests.sandbox.keys import Keys
from load_tests.sandbox.media import write
from load_tests.sandbox.price import read_price
from load_tests.sandbox.tones import say, seconds_of
from load_tests.sandbox.vendor import Answer, Headers, Refusal, Request

JSON = (b"content-type", b"application/json")
DATA = Path(__file__).with_name("elevenlabs.yaml")
SPEECH = "/v1/text-to-speech/"
LISTS = ("/v1/voices", "/v2/voices", "/v1/user", "/v1/models")
DEFAULT_MODEL, DEFAULT_FORMAT = "eleven_multilingual_v2", "mp3_44100_128"
FAULTS = {  # status -> what `detail.status` is and says
    400: ("invalid_request", "The request is invalid."),
    401: ("invalid_api_key", "Invalid API key"),
    404: ("voice_not_found", "A voice with that voice_id was not found."),
    429: ("too_many_concurrent_requests", "Too many concurrent requests."),
    500: ("internal_server_error", "Something went wrong."),
}
CODES = {
    "system_busy": "The system is experiencing heavy traffic, please try again.",
    "quota_exceeded": "This request exceeds your quota. You have 0 credits remaining.",
}


class Settings(Struct):
    """`voice_settings`, as far as the voice here follows them."""

    speed: float | None = None
    stability: float | None = None
    similarity_boost: float | None = None
    style: float | None = None
    use_speaker_boost: bool | None = None


class SpeechRequest(Struct):
    """Body of a text to speech."""

    text: str
    model_id: str | None = None
    language_code: str | None = None
    voice_settings: Settings | None = None
    seed: int | None = None
    previous_text: str | None = None
    next_text: str | None = None


class ElevenLabs:
    """The vendor."""

    name = "elevenlabs"

    def __init__(self, keys: Keys, account: Account, *, free_units: bool) -> None:
        self._keys, self._account = keys, account
        self._price = read_price(DATA, free_units=free_units)
        self._data: dict[str, Any] = yaml.safe_load(DATA.read_text(encoding="utf-8"))
        self._decoder = msgspec.json.Decoder(SpeechRequest)

    def serves(self, request: Request) -> bool:
        """Its own paths; /v1/models is OpenAI's too, so there the header decides."""
        if request.path.startswith("/v1/models"):
            return b"xi-api-key" in request.headers
        return request.path.startswith((SPEECH, *LISTS))

    def heavy(self, request: Request) -> bool:
        """Sound takes time to encode."""
        return request.path.startswith(SPEECH)

    def answer(self, request: Request) -> Answer:
        """The answer to one call. Raises Refusal."""
        secret = request.header(b"xi-api-key")
        if not secret:
            raise Refusal(401, "Neither authorization header nor xi-api-key received, please provide one.", code="needs_authorization")  # noqa: E501  # fmt: skip
        if not self._keys.good(secret):
            raise self.fault(401, None, None)
        if request.path.startswith(SPEECH):
            return self._speak(request, key_name(secret))
        told = self._list(request)
        headers = [JSON, *_trace(request)]
        return Answer("", "", request.path, headers, msgspec.json.encode(told))

    def fault(self, status: int, code: str | None, retry_after: float | None) -> Refusal:
        """What it says with this status."""
        default, message = FAULTS.get(status, FAULTS[500])
        message = CODES.get(code or "", message)
        return Refusal(status, message, code=code or default, retry_after=retry_after)

    def exhausted(self, unit: str) -> Refusal:
        """Credits are refused with 401, calls at once with 429."""
        if unit == "concurrent":
            return self.fault(429, None, None)
        limit = self._account.limit(self.name, unit) or 0
        left = max(limit - self._account.used(self.name, unit), 0)
        said = f"This request exceeds your quota of {limit}. You have {left} {unit} remaining."
        return Refusal(401, said, code="quota_exceeded")

    def error(self, refusal: Refusal, request: Request) -> tuple[Headers, bytes]:
        """`{"detail": {status, message}}`, or for a malformed body the list of FastAPI."""
        headers = [JSON, *_trace(request)]
        if refusal.retry_after is not None:
            headers.append((b"retry-after", f"{refusal.retry_after:g}".encode()))
        detail: Any = {"status": refusal.code, "message": refusal.message}
        if refusal.status == 422:
            where = [part for part in (refusal.param or "body").split(".") if part]
            detail = [{"loc": where, "msg": refusal.message, "type": refusal.code or "value_error"}]
        return headers, msgspec.json.encode({"detail": detail})

    def _list(self, request: Request) -> Any:
        if request.method != "GET":
            raise Refusal(405, "Method Not Allowed", code="method_not_allowed")
        path = request.path.rstrip("/")
        if path == "/v1/models":
            return model_list(self._data)
        if path in ("/v1/voices", "/v2/voices"):
            return voice_list(self._data, paged=path.startswith("/v2"))
        if path.startswith("/v1/voices/"):
            return voice(self._voice(path.rpartition("/")[2]), self._data)
        used = self._account.used(self.name, "credits")
        subscription = plan(used, self._account.limit(self.name, "credits"), request.seconds)
        if path == "/v1/user/subscription":
            return subscription
        if path == "/v1/user":
            return {"user_id": "sandbox", "subscription": subscription, "is_new_user": False}
        raise Refusal(404, "Not Found", code="not_found")

    def _voice(self, name: str) -> str:
        if name not in self._data["voices"]:
            message = f"A voice with the voice_id {name} was not found."
            raise Refusal(404, message, code="voice_not_found")
        return name

    def _speak(self, request: Request, key: str) -> Answer:
        name, _, how = request.path.removeprefix(SPEECH).partition("/")
        if how not in ("", "stream") or request.method != "POST":
            status = 405 if request.method != "POST" else 404
            raise Refusal(status, "Not Found", code="not_found")
        asked = self._read(request.body)
        model = asked.model_id or DEFAULT_MODEL
        speed = _checked(asked, model, self._data)
        form = FORMATS.get(request.asked().get("output_format", DEFAULT_FORMAT))
        if form is None:
            message = f"Invalid output format {request.asked()['output_format']}."
            raise Refusal(400, message, code="invalid_output_format")
        self._voice(name)
        audio = write(say(asked.text, speed), form)
        credit = ceil(len(asked.text) * self._data["models"][model]["cost"])
        streams = how == "stream"
        return Answer(
            id=f"{request.number:020x}",
            model=model,
            endpoint=f"{SPEECH}{{voice_id}}{'/stream' if streams else ''}",
            headers=[
                (b"content-type", form.content_type.encode()),
                (b"character-cost", str(credit).encode()),
                (b"history-item-id", f"{request.number:020x}".encode()),
                *_trace(request),
            ],
            body=b"" if streams else audio,
            events=events(audio) if streams else None,
            price=self._price,
            key=key,
            units={"credits": credit},
            work=ceil(seconds_of(asked.text, speed) * 10),
        )

    def _read(self, body: bytes) -> SpeechRequest:
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as wrong:
            said = str(wrong)
            if "missing required field" in said:
                field = said.split("`")[1]
                raise Refusal(
                    422, "Field required", code="missing", param=f"body.{field}"
                ) from wrong
            where = said.rpartition("`$.")[2].rstrip("`") if "`$." in said else ""
            raise Refusal(422, said, code="type_error", param=f"body.{where}") from wrong
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise Refusal(422, "JSON decode error", code="json_invalid", param="body") from wrong


def _checked(asked: SpeechRequest, model: str, data: dict[str, Any]) -> float:
    """The speed. Raises Refusal."""
    if model not in data["models"]:
        message = f"A model with model ID {model} does not exist."
        raise Refusal(400, message, code="model_not_found")
    if not asked.text.strip():
        raise Refusal(400, "Input text is empty.", code="input_text_empty")
    longest = data["models"][model]["longest"]
    if len(asked.text) > longest:
        said = f"This request's text has {len(asked.text)} characters and exceeds the character limit of {longest} characters for the model."  # noqa: E501
        raise Refusal(400, said, code="max_character_limit_exceeded")
    if asked.language_code and asked.language_code not in data["languages"]:
        said = f"Model '{model}' does not support the language_code {asked.language_code}."
        raise Refusal(400, said, code="unsupported_language")
    speed = asked.voice_settings.speed if asked.voice_settings else None
    if speed is not None and not 0.7 <= speed <= 1.2:
        said = "Invalid setting for speed received, expected to be greater or equal to 0.7 and less or equal to 1.2."  # noqa: E501
        raise Refusal(400, said, code="invalid_voice_settings")
    return 1.0 if speed is None else speed


def _trace(request: Request) -> Headers:
    return [
        (b"request-id", f"sandbox{request.number:013d}".encode()),
        (b"x-trace-id", f"{request.number:032x}".encode()),
        (b"current-concurrent-requests", b"1"),
        (b"maximum-concurrent-requests", b"15"),
    ]
