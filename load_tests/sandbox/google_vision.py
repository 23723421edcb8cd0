"""Google Vision's wire: POST /v1/images:annotate (also under a project and a location).

Billed for each feature of each image that was answered. An image that cannot be read has an error
of its own while the call is answered with 200. Checked against Google's discovery document
(revision 20261016) and the protobuf types of google-cloud-vision 3.16 on 2026-11-22.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from load_tests.sandbox.answers import Answers
from load_tests.sandbox.google import JSON, Google, content_of, number_of
from load_tests.sandbox.google_findings import found, numbered
from load_tests.sandbox.google_tokens import Tokens
from load_tests.sandbox.keys import Keys
from load_tests.sandbox.media import Unreadable
from load_tests.sandbox.price import read_price
from load_tests.sandbox.seeing import see
from load_tests.sandbox.vendor import Answer, Refusal, Request

PATH = re.compile(r"^/v1/(projects/[^/]+/(locations/[^/]+/)?)?images:annotate$")
DATA = Path(__file__).with_name("google_vision.yaml")
MOST_IMAGES, MOST_RESULTS = 16, 10
TYPES = {
    "TYPE_UNSPECIFIED": 0,
    "FACE_DETECTION": 1,
    "LANDMARK_DETECTION": 2,
    "LOGO_DETECTION": 3,
    "LABEL_DETECTION": 4,
    "TEXT_DETECTION": 5,
    "SAFE_SEARCH_DETECTION": 6,
    "IMAGE_PROPERTIES": 7,
    "CROP_HINTS": 9,
    "WEB_DETECTION": 10,
    "DOCUMENT_TEXT_DETECTION": 11,
    "PRODUCT_SEARCH": 12,
    "OBJECT_LOCALIZATION": 19,
}
NAMES = {number: name for name, number in TYPES.items()}
INVALID, DENIED = 3, 7  # google.rpc.Code
NO_FETCH = "We can not access the URL currently. Please download the content and pass it in."


class Strict(Struct, forbid_unknown_fields=True, rename="camel"):
    """A message of protobuf."""


class Feature(Strict):
    """What is looked for."""

    type: str | int = 0
    max_results: int = 0
    model: str = ""


class Source(Strict):
    """Where an image lies."""

    gcs_image_uri: str = ""
    image_uri: str = ""


class ImageIn(Strict):
    """One image."""

    content: str = ""
    source: Source | None = None


class CropHintsParams(Strict):
    """Which shapes are wanted."""

    aspect_ratios: list[float] = []


class TextDetectionParams(Strict):
    """How text is read."""

    enable_text_detection_confidence_score: bool = False
    advanced_ocr_options: list[str] = []


class WebDetectionParams(Strict):
    """How the web is searched."""

    include_geo_results: bool = False


class Context(Strict):
    """Hints."""

    lat_long_rect: dict[str, Any] | None = None
    language_hints: list[str] = []
    crop_hints_params: CropHintsParams | None = None
    product_search_params: dict[str, Any] | None = None
    web_detection_params: WebDetectionParams | None = None
    text_detection_params: TextDetectionParams | None = None


class One(Strict):
    """One image with its features."""

    image: ImageIn = msgspec.field(default_factory=ImageIn)
    features: list[Feature] = []
    image_context: Context | None = None


class Batch(Strict):
    """BatchAnnotateImagesRequest."""

    requests: list[One] = []
    parent: str = ""
    labels: dict[str, str] = {}


class GoogleVision(Google):
    """The vendor."""

    name = "google_vision"
    domain = "vision.googleapis.com"

    def __init__(self, keys: Keys, tokens: Tokens, answers: Answers, *, free_units: bool) -> None:
        super().__init__(keys, tokens)
        self._answers = answers
        self._price = read_price(DATA, free_units=free_units)

    def serves(self, request: Request) -> bool:
        """Its own paths."""
        return PATH.match(request.path) is not None

    def heavy(self, request: Request) -> bool:
        """Images are decoded."""
        return True

    def answer(self, request: Request) -> Answer:
        """The answer to one call. Raises Refusal."""
        key = self.caller(request)
        if request.method != "POST":
            raise self.fault(404, None, None)
        batch = self.read(request.body, Batch)
        if not batch.requests:
            raise Refusal(400, "Request must specify image and features.", param="requests")
        if len(batch.requests) > MOST_IMAGES:
            raise Refusal(400, "Too many images per request", param="requests")
        responses: list[dict[str, Any]] = []
        units: Counter[str] = Counter()
        for at, one in enumerate(batch.requests):
            wanted = _wanted(one, at)
            response = self._one(one, wanted, at)
            responses.append(response)
            if "error" not in response:
                units.update(name.lower() for name in wanted)
        if "enum-encoding=int" in request.asked().get("$alt", ""):
            responses = numbered(responses)
        return Answer(
            id=f"vision-{request.number:029d}",
            model="builtin/stable",
            endpoint="/v1/images:annotate",
            headers=[JSON],
            body=msgspec.json.encode({"responses": responses}),
            price=self._price if units else None,
            key=key,
            units=dict(units),
            work=5 * len(responses),
        )

    def _one(self, one: One, wanted: dict[str, int], at: int) -> dict[str, Any]:
        if not one.image.content:
            code, why = (DENIED, NO_FETCH) if one.image.source else (INVALID, "No image present.")
            return {"error": {"code": code, "message": why}}
        if "PRODUCT_SEARCH" in wanted:
            return {"error": {"code": INVALID, "message": "ProductSet is not found."}}
        data = content_of(one.image.content, f"requests[{at}].image.content")
        try:
            seen = see(data, self._answers)
        except Unreadable:
            return {"error": {"code": INVALID, "message": "Bad image data."}}
        if seen.shows.error is not None:
            return {"error": msgspec.to_builtins(seen.shows.error)}
        params = one.image_context and one.image_context.crop_hints_params
        return found(seen, wanted, params.aspect_ratios if params else [])


def _wanted(one: One, at: int) -> dict[str, int]:
    """Each feature with the most results of it. Raises Refusal."""
    wanted: dict[str, int] = {}
    for number, feature in enumerate(one.features):
        where = f"requests[{at}].features[{number}].type"
        name = NAMES.get(number_of(feature.type, TYPES, where))
        if name in (None, "TYPE_UNSPECIFIED"):
            raise Refusal(400, "Feature type is not specified or unknown.", param=where)
        assert name is not None
        wanted[name] = feature.max_results or MOST_RESULTS
    if not wanted:
        where = f"requests[{at}].features"
        raise Refusal(400, "Request must specify image and features.", param=where)
    return wanted
