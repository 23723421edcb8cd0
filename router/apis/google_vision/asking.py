"""A client's `images:annotate` body into the hub.

What the hub has no place for keeps the call with backends of this wire, which get the body as it
came: images given by address, features whose findings have forms of their own, hints, another
model than the default one, a place of processing, features that are not the same for every image.
Source: https://cloud.google.com/vision/docs/reference/rest/v1/images/annotate,
https://cloud.google.com/vision/quotas; read 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from router.core.api import Ask
from router.core.call import Call
from router.core.errors import BadRequest, TooLarge
from router.core.task import AnnotateRequest

from .features import DEFAULT, FOUND, HUB, NUMBERS, TYPES, UNCOUNTED
from .protojson import beyond, data, matters, number, read, shaped

IMAGES = 16
"""Images of one request at most."""
SIZE = 10 * 1024 * 1024
"""Bytes of one body at most."""
LOCATION = "location "
"""Begins the extra that says where it is to be processed."""
UNEVEN = "features that are not the same for all images"
_TOP = frozenset({"requests", "parent", "labels"})
_REQUEST = frozenset({"image", "features", "imageContext"})
_IMAGE = frozenset({"content", "source"})
_FEATURE = frozenset({"type", "maxResults", "model"})
STABLE = "builtin/stable"
_Features = tuple[tuple[str, int], ...]


class _Feature(msgspec.Struct, rename="camel"):
    type: str | int = 0
    max_results: int = 0
    model: str = ""


class _Image(msgspec.Struct):
    content: str = ""
    source: dict[str, Any] = {}


class _Request(msgspec.Struct):
    image: _Image | None = None
    features: list[_Feature] = []


class _Body(msgspec.Struct):
    requests: list[_Request] = []
    parent: str = ""


class _Named(msgspec.Struct):
    type: str | int


class _Asked(msgspec.Struct):
    features: list[_Named]


_asked = msgspec.json.Decoder(list[_Asked])


def ask(raw: bytes, params: Mapping[str, str]) -> Ask:
    """Read a body. Raises BadRequest, TooLarge."""
    if len(raw) > SIZE:
        raise TooLarge(f"Request payload size exceeds the limit: {SIZE} bytes. Send fewer images.")
    fields, values = read(raw)
    body = shaped(values, _Body)
    if not body.requests:
        raise BadRequest("`requests` is empty: ask for one image.", param="requests", code="empty")
    if len(body.requests) > IMAGES:
        raise BadRequest(
            f"`requests` has {len(body.requests)} images; at most {IMAGES} are taken. Split it.",
            param="requests",
            code="too_many_images",
        )
    extras = beyond(values, _TOP, "")
    fields.pop("parent", None)  # the project is the backend's own, whoever asks
    if location := params.get("location") or _location(body.parent):
        extras.add(f"{LOCATION}{location}")
    images, asked = [], []
    for index, request in enumerate(body.requests):
        at = f"requests[{index}]"
        extras |= _extras(values["requests"][index], at)
        images.append(_image(request.image, f"{at}.image"))
        asked.append(_features(request.features, f"{at}.features"))
    if any(set(one) != set(asked[0]) or len(one) != len(asked[0]) for one in asked):
        extras.add(UNEVEN)
    merged = dict(pair for one in asked for pair in one)
    if any(len({name for name, _ in one}) != len(one) for one in asked):
        extras.add(UNEVEN)
    extras |= {TYPES[name] for name in merged.keys() - FOUND}
    return Ask(
        route="",
        task="annotate",
        request=AnnotateRequest(images=tuple(images), features=tuple(merged.items())),
        fields=fields,
        extras=frozenset(extras),
        text_bytes=1000 * len(images) * len(merged),
        token_bound=len(raw),
    )


def _location(parent: str) -> str:
    """Where it is to be processed, when the client says."""
    return parent.partition("/locations/")[2]


def _extras(request: Mapping[str, Any], at: str) -> set[str]:
    """The fields of one image's request that the hub does not hold."""
    found = beyond(request, _REQUEST, at)
    image = request.get("image", {})
    found |= beyond(image, _IMAGE, f"{at}.image")
    if matters(request.get("imageContext")):
        found.add(f"{at}.imageContext")
    if matters(image.get("source")) and not image.get("content"):
        found.add(f"{at}.image.source")
    for index, feature in enumerate(request.get("features", ())):
        where = f"{at}.features[{index}]"
        found |= beyond(feature, _FEATURE, where)
        if feature.get("model", "") not in {"", STABLE}:
            found.add(f"{where}.model")
    return found


def _image(image: _Image | None, at: str) -> bytes:
    """The image's bytes; none when only its address is given, which the vendor reads."""
    if image is not None and image.content:
        return data(image.content, f"{at}.content")
    if image is not None and matters(image.source):
        return b""
    raise BadRequest(
        f"`{at}` is empty: send its bytes in base64 as `content`.", param=at, code="empty"
    )


def _features(features: list[_Feature], at: str) -> _Features:
    if not features:
        raise BadRequest(
            f"`{at}` is empty: name what is to be found, such as LABEL_DETECTION.",
            param=at,
            code="empty",
        )
    found = []
    for index, feature in enumerate(features):
        where = f"{at}[{index}]"
        name = HUB[number(feature.type, NUMBERS, f"{where}.type")]
        if not 0 <= feature.max_results < 2**31:
            raise BadRequest(
                f"`{where}.maxResults` is {feature.max_results}; it must not be below 0.",
                param=f"{where}.maxResults",
                code="invalid_value",
            )
        found.append((name, 0 if name in UNCOUNTED else feature.max_results or DEFAULT))
    return tuple(found)


def counted(call: Call) -> tuple[tuple[str, ...], ...]:
    """The features that each image is asked for, each as often as it stands there."""
    request = call.request
    assert isinstance(request, AnnotateRequest)
    if UNEVEN not in call.extras:
        return (tuple(name for name, _ in request.features),) * len(request.images)
    asked = _asked.decode(call.fields["requests"])
    return tuple(tuple(HUB[number(f.type, NUMBERS, "type")] for f in a.features) for a in asked)
