"""DeepL's wire: translations, usage and languages, for Pro keys and Free ones (they end in ":fx").

Billed by the code point of the texts, spaces too; with `tag_handling` tags are not counted. Checked
against DeepL's OpenAPI document (3.11.0, MIT) on 2026-11-22.
"""

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from load_tests.sandbox.account import Account
from load_tests.sandbox.answers import Answers
from load_tests.sandbox.forms import Malformed, read_form
from load_tests.sandbox.journal import key_name
from load_tests.sandbox.keys import Keys
from load_tests.sandbox.price import Price, Rate, read_price
from load_tests.sandbox.translating import TAG, Translator, spoken
from load_tests.sandbox.vendor import Answer, Headers, Refusal, Request

JSON = (b"content-type", b"application/json")
DATA = Path(__file__).with_name("deepl.yaml")
MOST_TEXTS, MOST_BYTES = 50, 128 * 1024
FREE_LIMIT, PRO_LIMIT = 500_000, 1_000_000_000_000
SCHEME = "DeepL-Auth-Key "
MESSAGES = {
    400: "Bad request.",
    403: "Authorization failed. Please supply a valid DeepL-Auth-Key via the Authorization header.",
    404: "Not found.",
    413: "Request entity too large.",
    429: "Too many requests.",
    456: "Quota for this billing period has been exceeded.",
    500: "Internal server error.",
    503: "Resource currently unavailable.",
    529: "Too many requests.",
}
MODELS = {
    "quality_optimized": "quality_optimized",
    "prefer_quality_optimized": "quality_optimized",
    "latency_optimized": "latency_optimized",
}

CHOICES = {
    "formality": ("default", "more", "less", "prefer_more", "prefer_less"),
    "model_type": tuple(MODELS),
    "tag_handling": ("xml", "html"),
}


class TranslateRequest(Struct):
    """Body of a translation, as JSON has it."""

    text: list[str]
    target_lang: str
    source_lang: str | None = None
    show_billed_characters: bool | None = None
    formality: str | None = None
    model_type: str | None = None
    tag_handling: str | None = None
    glossary_id: str | None = None
    context: str | None = None


class DeepL:
    """The vendor."""

    name = "deepl"

    def __init__(self, keys: Keys, account: Account, answers: Answers, *, free_units: bool) -> None:
        self._keys, self._account = keys, account
        self._translator = Translator(answers)
        self._price = read_price(DATA, free_units=free_units)
        self._nothing = Price(
            {"characters": Rate(((0, 0),))}, self._price.currency, self._price.usd
        )
        data: dict[str, Any] = yaml.safe_load(DATA.read_text(encoding="utf-8"))
        self._sources: dict[str, str] = data["sources"]
        self._targets: dict[str, str] = {**data["sources"], **data["variants"]}
        self._formal = frozenset(data["formality"])
        self._decoder = msgspec.json.Decoder(TranslateRequest)

    def serves(self, request: Request) -> bool:
        """Its own paths."""
        return request.path in ("/v2/translate", "/v2/usage", "/v2/languages")

    def heavy(self, request: Request) -> bool:
        """Never."""
        return False

    def answer(self, request: Request) -> Answer:
        """The answer to one call. Raises Refusal."""
        given = request.header(b"authorization")
        secret = given.removeprefix(SCHEME)
        free = secret.endswith(":fx")
        if secret == given or not self._keys.good(secret.removesuffix(":fx")):
            raise self.fault(403, None, None)
        if request.path == "/v2/translate":
            if request.method != "POST":
                raise Refusal(405, "Method not allowed.")
            return self._translate(request, key_name(secret), free=free)
        told = (
            self._languages(request)
            if request.path == "/v2/languages"
            else self._usage(request.seconds, free=free)
        )
        return Answer("", "", request.path, _headers(request), msgspec.json.encode(told))

    def fault(self, status: int, code: str | None, retry_after: float | None) -> Refusal:
        """What it says with this status."""
        message = MESSAGES.get(status, MESSAGES[500])
        return Refusal(status, message, retry_after=retry_after)

    def exhausted(self, unit: str) -> Refusal:
        """Characters are refused with 456, calls at once with 429."""
        return self.fault(429 if unit == "concurrent" else 456, None, None)

    def error(self, refusal: Refusal, request: Request) -> tuple[Headers, bytes]:
        """`{"message": ...}`."""
        headers = _headers(request)
        if refusal.retry_after is not None:
            headers.append((b"retry-after", f"{refusal.retry_after:g}".encode()))
        return headers, msgspec.json.encode({"message": refusal.message})

    def _translate(self, request: Request, key: str, *, free: bool) -> Answer:
        if len(request.body) > MOST_BYTES:
            raise self.fault(413, None, None)
        asked = self._read(request)
        target = self._check(asked)
        tags = asked.tag_handling is not None
        translations: list[dict[str, Any]] = []
        total = 0
        for text in asked.text:
            source = asked.source_lang.upper() if asked.source_lang else spoken(text)
            says = self._translator.translate(text, source, target, tags=tags)
            counted = len(TAG.sub("", text)) if tags else len(text)
            told: dict[str, Any] = {"detected_source_language": source, "text": says}
            if asked.show_billed_characters:
                told["billed_characters"] = counted
            if asked.model_type:
                told["model_type_used"] = MODELS[asked.model_type]
            if tags:
                told["tag_handling_version"] = "v2"
            translations.append(told)
            total += counted
        return Answer(
            id=f"deepl-{request.number:029d}",
            model="free" if free else "pro",
            endpoint="/v2/translate",
            headers=_headers(request),
            body=msgspec.json.encode({"translations": translations}),
            price=self._nothing if free else self._price,
            key=key,
            units={"characters": total},
            work=sum(map(len, asked.text)) // 32,
        )

    def _read(self, request: Request) -> TranslateRequest:
        """The body, JSON or a form. Raises Refusal."""
        try:
            if request.header(b"content-type").startswith("application/json"):
                return self._decoder.decode(request.body)
            form = read_form(request)
            fields: dict[str, Any] = {name: values[-1] for name, values in form.fields.items()}
            fields["text"] = form.all("text")
            shown = fields.get("show_billed_characters")
            if shown is not None:
                fields["show_billed_characters"] = shown in ("1", "true")
            if not fields["text"]:
                del fields["text"]
            return msgspec.convert(fields, TranslateRequest)
        except msgspec.ValidationError as wrong:
            said = str(wrong)
            if "missing required field" in said:
                raise _bad(f"Parameter '{said.split('`')[1]}' not specified.") from wrong
            raise _bad(f"Bad request. Reason: {said}") from wrong
        except (msgspec.DecodeError, UnicodeDecodeError, Malformed) as wrong:
            raise _bad(f"Bad request. Reason: the body cannot be read: {wrong}") from wrong

    def _check(self, asked: TranslateRequest) -> str:
        """The target language. Raises Refusal."""
        target = asked.target_lang.upper()
        if target not in self._targets:
            raise _bad("Value for 'target_lang' not supported.")
        if asked.source_lang and asked.source_lang.upper() not in self._sources:
            raise _bad("Value for 'source_lang' not supported.")
        if not asked.text:
            raise _bad("Parameter 'text' not specified.")
        if len(asked.text) > MOST_TEXTS:
            raise _bad(f"Too many texts: at most {MOST_TEXTS} in a request.")
        for name, known in CHOICES.items():
            if getattr(asked, name) not in (None, *known):
                raise _bad(f"Value for '{name}' not supported.")
        if asked.formality in ("more", "less") and target not in self._formal:
            raise _bad("'formality' is not supported for given 'target_lang'.")
        if asked.glossary_id is not None:
            if not asked.source_lang:
                raise _bad("Use of 'glossary_id' needs 'source_lang'.")
            raise self.fault(404, None, None)  # the sandbox keeps no glossaries
        return target

    def _languages(self, request: Request) -> list[dict[str, Any]]:
        # Its own SDK sends the field of this GET in a body.
        kind = request.asked().get("type") or read_form(request).one("type") or "source"
        if kind == "source":
            return [{"language": code, "name": name} for code, name in self._sources.items()]
        if kind != "target":
            raise _bad("Value for 'type' not supported.")
        return [
            {"language": code, "name": name, "supports_formality": code in self._formal}
            for code, name in self._targets.items()
        ]

    def _usage(self, now: float, *, free: bool) -> dict[str, Any]:
        used = self._account.used(self.name, "characters")
        limit = self._account.limit(self.name, "characters")
        if free:
            return {"character_count": used, "character_limit": limit or FREE_LIMIT}
        limit = limit or PRO_LIMIT
        today = dt.datetime.fromtimestamp(now, dt.UTC)
        first = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        after = (first + dt.timedelta(days=32)).replace(day=1)
        product = {
            "product_type": "translate",
            "billing_unit": "characters",
            "api_key_unit_count": used,
            "account_unit_count": used,
            "api_key_character_count": used,
            "character_count": used,
        }
        return {
            "character_count": used,
            "character_limit": limit,
            "products": [product],
            "api_key_character_count": used,
            "api_key_character_limit": limit,
            "start_time": first.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "end_time": after.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def _bad(message: str) -> Refusal:
    return Refusal(400, message)


def _headers(request: Request) -> Headers:
    return [JSON, (b"x-trace-id", f"{request.number:032x}".encode())]
