"""Google Vision's wire towards a backend.

Billed is each feature applied to an image; the answer says nothing of it, so it is counted: an
image that failed with nothing found is not one that a feature was applied to.
Source: https://cloud.google.com/vision/pricing, read 2026-11-22.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from router.core.api import Api, Malformed, Reader, Wire
from router.core.call import Call, Usage
from router.core.counts import UNREADABLE as _BAD
from router.core.failure import Failure
from router.core.task import AnnotateRequest, AnnotateResult, Result, Task

from .asking import IMAGES, LOCATION, SIZE, STABLE, counted
from .features import FOUND, TYPES, UNCOUNTED
from .reading import annotated
from .shapes import Answered, Body
from .size import size_of
from .status import RPC, failure

NAME = "google_vision"
PATH = "/images:annotate"
LATEST = "builtin/latest"
_CLIENTS = frozenset({3, 5, 9, 11})
"""Statuses of one image that are about the image, not about the vendor."""
_AT = re.compile(r"/locations/([^/]+)/?$")
_ROOM = 64 * 1024
"""Bytes that a body of the vendor's may take beside its images."""
_NOTHING = frozenset({"error", "context"})
"""Fields of a response that are no findings."""
_body = msgspec.json.Decoder(Body)
_answered = msgspec.json.Decoder(Answered)
_said = msgspec.json.Decoder(dict[str, msgspec.Raw])
_requests = msgspec.json.Decoder(list[dict[str, Any]])
_encode = msgspec.json.Encoder().encode


def auth(secret: str) -> dict[str, str]:
    """An OAuth token as it is ("Bearer ..."), any other secret as an API key."""
    if not secret:
        return {}
    if secret.startswith("Bearer "):
        return {"authorization": secret}
    return {"x-goog-api-key": secret}


class GoogleVision:
    """Speaks to the vendor; *location* is where it processes, when its address says."""

    name = NAME
    tasks: frozenset[Task] = frozenset({"annotate"})
    base = "https://vision.googleapis.com/v1"
    encodings: Mapping[Task, frozenset[str]] = {}

    def __init__(self, location: str = "") -> None:
        self._location = location

    def at(self, base: str) -> Api:
        found = _AT.search(base)
        return GoogleVision(found[1]) if found else self

    def auth(self, secret: str) -> dict[str, str]:
        return auth(secret)

    def unfit(self, call: Call, model: str = "") -> str:
        request = call.request
        if not isinstance(request, AnnotateRequest):
            return f"google_vision has no {call.task}"
        if call.wire == NAME:
            return self._elsewhere(call)
        if call.extras:
            return f"parameters of the {call.wire} wire: {', '.join(sorted(call.extras))}"
        return _too_much(request)

    def _elsewhere(self, call: Call) -> str:
        for extra in call.extras:
            if extra.startswith(LOCATION) and extra != f"{LOCATION}{self._location}":
                return f"it is to be processed in {extra.removeprefix(LOCATION)}"
        return ""

    def units(self, call: Call, model: str) -> Usage:
        return _units(counted(call))

    def request(self, call: Call, model: str) -> Wire:
        if call.wire == NAME:
            fields: dict[str, Any] = dict(call.fields)
            if model == LATEST:
                fields["requests"] = _with_model(fields["requests"])
            return Wire(PATH, _encode(fields))
        return Wire(PATH, _encode({"requests": _from_hub(call, model)}))

    def reader(self, call: Call, model: str = "") -> Reader:
        return VisionReader(call, model)

    def failure(self, status: int, body: bytes) -> Failure:
        return failure(body)


def _too_much(request: AnnotateRequest) -> str:
    """What of a call of another wire the hub, or one body, cannot hold."""
    if unknown := {name for name, _ in request.features} - FOUND:
        return f"the answer of {', '.join(sorted(unknown))} has a form of its own"
    if len(request.images) > IMAGES:
        return f"it takes {IMAGES} images at once, these are {len(request.images)}"
    if sum(len(image) * 4 // 3 + 4 for image in request.images) > SIZE - _ROOM:
        return f"it takes {SIZE} bytes at once, the images are more"
    return ""


def _units(asked: Iterable[tuple[str, ...]]) -> Usage:
    count = Counter(name for names in asked for name in names)
    return Usage(features=tuple(count.items()))


def _with_model(raw: msgspec.Raw) -> list[dict[str, Any]]:
    """The client's requests, asking for the newest model where they do not name one."""
    requests = _requests.decode(raw)
    for request in requests:
        for feature in request["features"]:
            if not feature.get("model"):
                feature["model"] = LATEST
    return requests


def _from_hub(call: Call, model: str) -> list[dict[str, Any]]:
    request = call.request
    assert isinstance(request, AnnotateRequest)
    features: list[dict[str, Any]] = []
    for name, most in request.features:
        feature: dict[str, Any] = {"type": TYPES[name]}
        if most and name not in UNCOUNTED:
            feature["maxResults"] = most
        if model.startswith("builtin/") and model != STABLE:
            feature["model"] = model
        features.append(feature)
    return [
        {"image": {"content": b64encode(image).decode()}, "features": features}
        for image in request.images
    ]


class VisionReader(Reader):
    """Reads one answer."""

    def __init__(self, call: Call, model: str) -> None:
        request = call.request
        assert isinstance(request, AnnotateRequest)
        self._images, self._asked = request.images, counted(call)
        self._raw, self._model = call.wire == NAME, model

    def whole(self, body: bytes) -> Result | bytes:
        try:
            raws = _body.decode(body).responses
            answers = [_answered.decode(raw) for raw in raws]
            lost = [_said.decode(raw).keys() <= _NOTHING for raw in raws]
        except _BAD as exc:
            raise Malformed(f"not an answer of Google Vision's wire: {exc}") from exc
        if len(answers) != len(self._images):
            raise Malformed(f"{len(self._images)} images were sent, {len(answers)} came back")
        lost = [left and _code(answer) != 0 for left, answer in zip(lost, answers, strict=True)]
        self.model = self._model
        if all(lost):
            self.failed = _failed(answers)
        self.usage = _units(a for a, left in zip(self._asked, lost, strict=True) if not left)
        if self._raw:
            return body
        found = zip(answers, self._asked, self._images, strict=True)
        return AnnotateResult(images=tuple(annotated(a, f, size_of(i)) for a, f, i in found))


def _code(answer: Answered) -> int:
    return answer.error.code if answer.error is not None else 0


def _failed(answers: list[Answered]) -> tuple[int, Failure] | None:
    """How all of them failed, when not their images are to blame."""
    for answer in answers:
        error = answer.error
        if error is not None and error.code not in _CLIENTS:
            name, http = RPC.get(error.code, ("UNKNOWN", 500))
            return http, Failure(name, error.message)
    return None
