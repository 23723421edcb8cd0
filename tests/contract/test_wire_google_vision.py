"""Google Vision's wire: the vendor's own clients before the router, and what the vendor is sent."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import vision
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from hypothesis import example, given
from hypothesis import strategies as st
from wire_served import Vendor, said, served

from router import apis
from router.apis.google_vision.features import FOUND, TYPES, UNCOUNTED
from router.apis.google_vision.size import size_of
from router.apis.google_vision.status import RPC
from router.core import errors
from router.core.api import Malformed, Told
from router.core.call import Usage
from router.core.errors import BadRequest, RouterError
from router.core.reply import Reply
from router.core.task import Annotated, AnnotateRequest, AnnotateResult, Annotation
from router.core.verdict import FAULT, INVALID, judge
from tests.fakes import a_call

API, DOOR = apis.load("google_vision"), apis.door("google_vision")
PATH = "/v1/images:annotate"
CONFIG = """
keys: [{name: ann, team: red, key_env: ANN}]
backends:
  vendor: {api: google_vision, model: builtin/stable, base: VENDOR/v1, key_env: GOOGLE}
  busy: {api: google_vision, model: builtin/stable, base: VENDOR/v1, key_env: GOOGLE}
  own: {api: torchserve, model: vision, base: VENDOR/own, price: {per_hour_usd: 0.36}, features: [labels, text, document, faces]}
routes:
  pictures: {task: annotate, backends: [own, vendor]}
  paid: {task: annotate, backends: [vendor]}
  busy: {task: annotate, backends: [busy]}
doors: {google_vision: {annotate: paid}}
"""
ENV = {"ANN": "ik-ann", "GOOGLE": "AIza-vendor"}
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (640).to_bytes(4, "big") + (480).to_bytes(4, "big")
FOUND_ONE = {
    "labelAnnotations": [
        {"mid": "/m/01yrx", "description": "Cat", "score": 0.97, "topicality": 0.97}
    ],
    "safeSearchAnnotation": {"adult": "VERY_UNLIKELY"},
}
OWN = {
    "images": [
        {
            "width": 640,
            "height": 480,
            "annotations": [
                {"feature": "text", "text": "Hello", "score": 0.9, "box": [10, 20, 100, 30]},
                {"feature": "text", "text": "world", "score": 0.8, "box": [10, 60, 90, 30]},
                {"feature": "labels", "text": "cat", "score": 0.7, "box": None},
                {"feature": "faces", "text": "", "score": None, "box": [1, 2, 30, 40]},
            ],
        }
    ],
    "usage": {"images": 1},
    "model": "vision",
}


@pytest.fixture(scope="module")
def vendor():
    return Vendor()


@pytest.fixture(scope="module")
def url(vendor, tmp_path_factory):
    with served(tmp_path_factory.mktemp("vision"), CONFIG, vendor, ENV) as found:
        yield found


@pytest.fixture
def sdk(url, vendor):
    vendor.says(said({"responses": [FOUND_ONE]}))
    options = ClientOptions(api_endpoint=url, api_key="ik-ann")
    return vision.ImageAnnotatorClient(transport="rest", client_options=options)


@pytest.fixture
def discovered(url, vendor):
    """The other official client, which sends names where the first sends numbers."""
    vendor.says(said({"responses": [FOUND_ONE]}))
    options = ClientOptions(api_endpoint=url)
    return build(
        "vision", "v1", developerKey="ik-ann", client_options=options, static_discovery=True
    ).images()


def a_body(*types: Any, image: bytes = PNG, **more: Any) -> dict[str, Any]:
    features = [{"type": t} for t in types or ("LABEL_DETECTION",)]
    content = base64.b64encode(image).decode()
    return {"requests": [{"image": {"content": content}, "features": features, **more}]}


# The vendor's own clients.


def test_the_sdk_reaches_the_vendor(sdk, vendor):
    """The vendor gets the body as it came with the router's own key, the client its whole answer."""
    answer = sdk.annotate_image(
        {
            "image": {"content": PNG},
            "features": [{"type_": vision.Feature.Type.LABEL_DETECTION, "max_results": 3}],
        },
        retry=None,
        timeout=10,
    )
    assert answer.label_annotations[0].mid == "/m/01yrx"
    assert answer.label_annotations[0].description == "Cat"
    assert answer.safe_search_annotation.adult == vision.Likelihood.VERY_UNLIKELY
    sent = vendor.last
    assert (sent.method, sent.path) == ("POST", "/v1/images:annotate")
    assert sent.headers["x-goog-api-key"] == "AIza-vendor"
    assert "ik-ann" not in str(sent)
    assert sent.json["requests"][0]["features"] == [{"type": 4, "maxResults": 3}]


def test_a_second_client_reaches_the_vendor(discovered, vendor):
    """Names of enums, the key in the query: the same."""
    answer = discovered.annotate(body=a_body("LABEL_DETECTION", "SAFE_SEARCH_DETECTION")).execute()
    assert answer == {"responses": [FOUND_ONE]}
    assert vendor.last.query == {}
    assert vendor.last.json == a_body("LABEL_DETECTION", "SAFE_SEARCH_DETECTION")
    vision.BatchAnnotateImagesRequest.from_json(vendor.last.body)


def test_the_sdk_is_served_by_a_local_model(sdk, vendor):
    """What a model of one's own finds comes in the vendor's shapes; what it does not know is left out."""
    vendor.says(said(OWN))
    answer = sdk.annotate_image(
        {
            "image": {"content": PNG},
            "features": [
                {"type_": vision.Feature.Type.TEXT_DETECTION},
                {"type_": vision.Feature.Type.LABEL_DETECTION},
                {"type_": vision.Feature.Type.FACE_DETECTION, "max_results": 5},
            ],
        },
        retry=None,
        timeout=10,
        metadata=[("x-isocost-route", "pictures")],
    )
    assert vendor.last.path == "/own/predictions/vision"
    assert vendor.last.json["features"] == [["text", 0], ["labels", 10], ["faces", 5]]
    assert [t.description for t in answer.text_annotations] == ["Hello\nworld", "Hello", "world"]
    assert answer.text_annotations[0].locale == ""
    around = [(v.x, v.y) for v in answer.text_annotations[0].bounding_poly.vertices]
    assert around == [(10, 20), (110, 20), (110, 90), (10, 90)]
    assert answer.full_text_annotation.text == "Hello\nworld"
    assert answer.full_text_annotation.pages[0].width == 640
    assert answer.label_annotations[0].description == "cat"
    assert answer.label_annotations[0].score == pytest.approx(0.7)
    assert answer.face_annotations[0].detection_confidence == 0
    assert answer.face_annotations[0].bounding_poly.vertices[2].x == 31


def test_a_bad_image_fails_alone(sdk, vendor):
    """An image that cannot be read has its error, its neighbour its answer, under status 200."""
    vendor.says(
        said(
            {
                "images": [
                    {"error": {"code": "invalid_request", "message": "not an image"}},
                    OWN["images"][0] | {"annotations": OWN["images"][0]["annotations"][2:3]},
                ],
                "usage": {"images": 1},
                "model": "vision",
            }
        )
    )
    one = {
        "image": {"content": PNG},
        "features": [{"type_": vision.Feature.Type.LABEL_DETECTION}],
    }
    answer = sdk.batch_annotate_images(
        requests=[one | {"image": {"content": b"nonsense"}}, one],
        retry=None,
        timeout=10,
        metadata=[("x-isocost-route", "pictures")],
    )
    assert (answer.responses[0].error.code, answer.responses[0].error.message) == (
        3,
        "not an image",
    )
    assert answer.responses[1].label_annotations[0].description == "cat"


def test_what_only_the_vendor_knows_stays_with_the_vendor(discovered, vendor, url):
    """A route of local models first, and a feature that they have no form for: the vendor is asked."""
    request = discovered.annotate(body=a_body("LABEL_DETECTION", "WEB_DETECTION"))
    request.headers["x-isocost-route"] = "pictures"
    request.execute()
    assert vendor.last.path == "/v1/images:annotate"


def test_errors_are_the_clients_own(sdk, discovered, vendor, url):
    """Each ending of a call is the exception that the vendor's clients raise for it."""
    image = {"content": PNG}
    with pytest.raises(exceptions.BadRequest, match="type` is 0"):
        sdk.annotate_image({"image": image, "features": [{"type_": 0}]}, retry=None)
    with pytest.raises(exceptions.BadRequest, match="at most 16"):
        sdk.batch_annotate_images(
            requests=[{"image": image, "features": [{"type_": 4}]}] * 17, retry=None
        )
    refused = {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}
    vendor.says(said(refused, 400))
    with pytest.raises(exceptions.BadRequest, match="no"):
        sdk.label_detection(image=image, retry=None)
    vendor.says(said({"error": {"code": 429, "message": "slow", "status": "x"}}, 429))
    with pytest.raises(exceptions.ServiceUnavailable, match="throttled"):
        sdk.label_detection(image=image, retry=None, metadata=[("x-isocost-route", "busy")])
    body = a_body()
    wrong = build(
        "vision",
        "v1",
        developerKey="nope",
        client_options=ClientOptions(api_endpoint=url),
        static_discovery=True,
    )
    with pytest.raises(HttpError) as failed:
        wrong.images().annotate(body=body).execute()
    error = json.loads(failed.value.content)["error"]
    assert (error["code"], error["status"]) == (401, "UNAUTHENTICATED")
    assert "x-goog-api-key" in error["message"]


def test_a_bearer_token_is_a_key_too(url, vendor):
    """A client that signs in by OAuth sends its key as the token."""

    class Signed(AnonymousCredentials):
        def before_request(self, request, method, url, headers):
            headers["authorization"] = "Bearer ik-ann"

    vendor.says(said({"responses": [FOUND_ONE]}))
    client = vision.ImageAnnotatorClient(
        credentials=Signed(),
        transport="rest",
        client_options=ClientOptions(api_endpoint=url),
    )
    answer = client.label_detection(image={"content": PNG}, retry=None, timeout=10)
    assert answer.label_annotations[0].description == "Cat"


# Requests.


def ask(body: Any, told: Told | None = None) -> Any:
    return DOOR.ask(PATH, json.dumps(body).encode(), told or Told())


def call_of(body: Any, **changes: Any) -> Any:
    made = ask(body)
    given = {
        "task": "annotate",
        "request": made.request,
        "wire": "google_vision",
        "fields": made.fields,
        "extras": made.extras,
        "path": PATH,
    }
    return a_call(**(given | changes))


NAMES = vision.Feature.Type.__members__


@pytest.mark.parametrize("name", [n for n in NAMES if n != "TYPE_UNSPECIFIED"])
def test_every_feature_by_name_and_number(name):
    """Names and numbers are the vendor's; what the hub has no form for keeps the call."""
    by_name, by_number = ask(a_body(name)), ask(a_body(int(NAMES[name])))
    assert by_name.request == by_number.request == ask(a_body(str(int(NAMES[name])))).request
    ((hub, most),) = by_name.request.features
    assert TYPES[hub] == name
    assert most == (0 if hub in UNCOUNTED else 10)
    assert by_name.extras == (frozenset() if hub in FOUND else {name})


def test_snake_case_url_safe_base64_and_null():
    """What protobuf's JSON allows is read as the same call."""
    image = b"\xff\xfe\xfb\xef" + PNG
    body = {
        "requests": [
            {
                "image": {
                    "content": base64.urlsafe_b64encode(image).decode().rstrip("="),
                    "source": None,
                },
                "features": [{"type": "FACE_DETECTION", "max_results": "7", "model": None}],
                "image_context": {"language_hints": [], "crop_hints_params": {}},
            }
        ],
        "parent": "projects/p",
        "labels": {"a_b": "c"},
    }
    made = ask(body)
    assert made.request == AnnotateRequest(images=(image,), features=(("faces", 7),))
    assert made.extras == frozenset()
    assert "parent" not in made.fields


@pytest.mark.parametrize(
    ("change", "extra"),
    [
        ({"imageContext": {"languageHints": ["de"]}}, "requests[0].imageContext"),
        ({"image_context": {"language_hints": ["de"]}}, "requests[0].imageContext"),
        ({"new": 1}, "requests[0].new"),
        ({"image": {"source": {"imageUri": "gs://a/b"}}}, "requests[0].image.source"),
        (
            {"features": [{"type": 4, "model": "builtin/latest"}]},
            "requests[0].features[0].model",
        ),
        ({"features": [{"type": 4, "new": "x"}]}, "requests[0].features[0].new"),
        (
            {"features": [{"type": 4}, {"type": 4}]},
            "features that are not the same for all images",
        ),
    ],
)
def test_what_the_hub_does_not_hold_keeps_the_call_with_the_vendor(change, extra):
    """Such a call is unfit for other wires, with the reason, and passes to the vendor as it came."""
    body = {"requests": [a_body()["requests"][0] | change]}
    call = call_of(body)
    assert extra in call.extras
    assert API.unfit(call) == ""
    assert extra in apis.load("torchserve").unfit(call)
    assert json.loads(API.request(call, "").body) == body


def test_a_location_is_the_backends_own():
    """Where a client says where its images go, a backend that is elsewhere is left."""
    path = "/v1/projects/{project}/locations/{location}/images:annotate"
    raw = json.dumps(a_body()).encode()
    made = DOOR.ask(path, raw, Told({"project": "p", "location": "eu"}))
    by_body = ask(a_body() | {"parent": "projects/p/locations/eu"})
    assert made.extras == by_body.extras == {"location eu"}
    call = call_of(a_body(), extras=made.extras)
    assert "eu" in API.unfit(call)
    here = API.at("https://eu-vision.googleapis.com/v1/projects/mine/locations/eu")
    assert here.unfit(call) == ""
    assert here.unfit(call_of(a_body())) == ""


def test_each_image_is_counted_with_its_own_features():
    """The bound is features times images, also where they differ from image to image."""
    one = a_body("LABEL_DETECTION", "TEXT_DETECTION")["requests"]
    two = a_body("LABEL_DETECTION")["requests"]
    assert dict(API.units(call_of({"requests": one + one}), "").features) == {
        "labels": 2,
        "text": 2,
    }
    assert dict(API.units(call_of({"requests": one + two}), "").features) == {
        "labels": 2,
        "text": 1,
    }
    twice = a_body("LABEL_DETECTION", "LABEL_DETECTION")
    assert dict(API.units(call_of(twice), "").features) == {"labels": 2}


HUB = st.builds(
    AnnotateRequest,
    images=st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=16).map(tuple),
    features=st.dictionaries(st.sampled_from(sorted(FOUND)), st.integers(1, 99), min_size=1).map(
        lambda found: tuple((n, 0 if n in UNCOUNTED else most) for n, most in found.items())
    ),
)


@given(HUB, st.sampled_from(["", "default", "builtin/stable", "builtin/latest"]))
def test_the_hubs_calls_are_the_vendors_messages(request, model):
    """Every call of another wire becomes a message of the vendor's own types, and reads back."""
    call = a_call(task="annotate", request=request, wire="openai")
    assert API.unfit(call) == ""
    body = API.request(call, model).body
    official = vision.BatchAnnotateImagesRequest.from_json(body)
    assert [r.image.content for r in official.requests] == list(request.images)
    for asked in official.requests:
        names = [(TYPES[name], most) for name, most in request.features]
        assert [(f.type_.name, f.max_results) for f in asked.features] == names
        assert {f.model for f in asked.features} <= {"", "builtin/latest"}
    assert DOOR.ask(PATH, body, Told()).request == request


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (AnnotateRequest(images=(PNG,), features=(("safe_search", 0),)), "safe_search"),
        (AnnotateRequest(images=(PNG,) * 17, features=(("labels", 0),)), "16 images"),
        (AnnotateRequest(images=(b"x" * 8_000_000,), features=(("labels", 0),)), "bytes"),
    ],
)
def test_what_the_vendor_does_not_take_is_unfit(request_, why):
    """A call of another wire that one body of the vendor's cannot hold is left, with the reason."""
    assert why in API.unfit(a_call(task="annotate", request=request_, wire="openai"))


def test_the_newest_model_is_asked_for_where_the_client_names_none():
    """A backend of the newest model asks for it; a client's own choice stays."""
    call = call_of(a_body("LABEL_DETECTION"))
    sent = json.loads(API.request(call, "builtin/latest").body)
    assert sent["requests"][0]["features"] == [
        {"type": "LABEL_DETECTION", "model": "builtin/latest"}
    ]
    mine = {"requests": [a_body()["requests"][0] | {"features": [{"type": 4, "model": "x"}]}]}
    assert json.loads(API.request(call_of(mine), "builtin/latest").body) == mine


# Answers.

BOX = st.tuples(*[st.integers(0, 300)] * 4)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
SCORE = st.none() | st.floats(0, 1, width=16)


def rows(feature: str, *, text: Any = TEXT, score: Any = SCORE, box: Any = BOX) -> Any:
    one = st.builds(Annotation, feature=st.just(feature), text=text, score=score, box=box)
    return st.lists(one, max_size=3)


ANNOTATED = st.builds(
    lambda *parts: Annotated(
        annotations=tuple(row for part in parts for row in part), width=640, height=480
    ),
    rows("labels", box=st.none()),
    rows("text", box=st.none() | BOX),
    rows("faces", text=st.just("")),
    rows("objects"),
    rows("landmarks", box=st.none() | BOX),
    rows("logos"),
)
ALL = AnnotateRequest(
    images=(PNG,),
    features=tuple((n, 0) for n in ("labels", "text", "faces", "objects", "landmarks", "logos")),
)


@given(ANNOTATED)
def test_findings_survive_the_wire(found):
    """Written for a client they are a message of the vendor's own types, and read back the same."""
    call = a_call(task="annotate", request=ALL, wire="google_vision", path=PATH)
    reply = Reply(backend="b", result=AnnotateResult(images=(found,)))
    body = DOOR.whole(call, reply)
    vision.BatchAnnotateImagesResponse.from_json(body)
    reader = API.reader(a_call(task="annotate", request=ALL, wire="openai"), "m")
    result = reader.whole(body)
    assert isinstance(result, AnnotateResult)
    assert result.images == (found,)
    assert dict(reader.usage.features) == {name: 1 for name, _ in ALL.features}


def test_text_given_symbol_by_symbol_is_read_as_lines():
    """Words and breaks of the vendor's document text become lines, each with the box around it."""

    def word(text: str, kind: Any, x: int) -> dict[str, Any]:
        symbols = [{"text": c} for c in text]
        symbols[-1]["property"] = {"detectedBreak": {"type": kind}}
        corners = [
            {"x": x, "y": 5},
            {"x": x + 10, "y": 5},
            {"x": x + 10, "y": 15},
            {"x": x, "y": 15},
        ]
        return {"symbols": symbols, "boundingBox": {"vertices": corners}}

    words = [
        word("Good", "SPACE", 0),
        word("day", 5, 20),
        word("ex", "HYPHEN", 0),
        word("it", 3, 0),
    ]
    page = {"width": 100, "height": 50, "blocks": [{"paragraphs": [{"words": words}]}]}
    full = {"text": "Good day\nex-\nit\n", "pages": [page]}
    body = json.dumps({"responses": [{"fullTextAnnotation": full}]}).encode()
    asked = AnnotateRequest(images=(b"?",), features=(("document", 0),))
    result = API.reader(a_call(task="annotate", request=asked, wire="openai")).whole(body)
    (image,) = result.images
    assert [(a.text, a.box) for a in image.annotations] == [
        ("Good day", (0, 5, 30, 10)),
        ("ex-", (0, 5, 10, 10)),
        ("it", (0, 5, 10, 10)),
    ]
    assert (image.width, image.height) == (100, 50)


def test_an_image_that_failed_is_not_billed():
    """Nothing was applied to it. One that failed half-way counts whole; the body passes as it came."""
    lost = {"error": {"code": 3, "message": "Bad image data."}}
    half = {"error": {"code": 13, "message": "?"}, "labelAnnotations": [{"description": "x"}]}
    seen = {"safeSearchAnnotation": {"adult": "UNLIKELY"}, "error": {"code": 13}}
    body = json.dumps({"responses": [lost, half, seen, {}]}).encode()
    call = call_of({"requests": a_body()["requests"] * 4})
    reader = API.reader(call)
    assert reader.whole(body) == body
    assert reader.usage == Usage(features=(("labels", 3),))
    assert reader.failed is None
    result = API.reader(a_call(task="annotate", request=call.request, wire="openai")).whole(body)
    assert [i.error for i in result.images] == ["Bad image data.", "", "code 13", ""]


@pytest.mark.parametrize(
    ("codes", "status", "verdict"),
    [
        ([3, 3], None, None),
        ([8, 8], 429, "throttled"),
        ([3, 14], 503, "fault"),
        ([4, 4], 504, "lost"),
        ([16, 3], 401, "denied"),
        ([99, 99], 500, "fault"),
    ],
)
def test_when_all_images_failed_the_answer_has(codes, status, verdict):
    """Under status 200 the vendor failed, unless the images themselves are to blame."""
    errors = [{"error": {"code": code, "message": "why"}} for code in codes]
    reader = API.reader(call_of({"requests": a_body()["requests"] * 2}))
    reader.whole(json.dumps({"responses": errors}).encode())
    assert reader.usage == Usage(features=())
    if status is None:
        assert reader.failed is None
        return
    found, failure = reader.failed
    assert (found, failure.message) == (status, "why")
    assert judge("google_vision", found, failure.code).name == verdict


def test_another_number_of_answers_is_malformed():
    """Two images, one answer: nobody knows whose it is."""
    with pytest.raises(Malformed, match="2 images"):
        API.reader(call_of({"requests": a_body()["requests"] * 2})).whole(b'{"responses":[{}]}')


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("PNG", PNG),
        ("GIF", b"GIF89a" + (640).to_bytes(2, "little") + (480).to_bytes(2, "little")),
        (
            "BMP",
            b"BM"
            + b"\0" * 16
            + (640).to_bytes(4, "little")
            + (-480).to_bytes(4, "little", signed=True),
        ),
        ("JPEG", b"\xff\xd8\xff\xe0\0\4ab\xff\xff\xc2\0\x0b\x08\1\xe0\2\x80"),
        ("WEBP", b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x7f\2\0\xdf\1\0"),
        ("WEBP", b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + (639 | 479 << 14).to_bytes(4, "little")),
        ("WEBP", b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\1\x2a\x80\2\xe0\1"),
    ],
)
def test_an_images_size_is_in_its_head(kind, data):
    """Width and height are read without decoding; a cut-off head says nothing, and never raises."""
    assert size_of(data) == (640, 480)
    for at in range(len(data)):
        assert size_of(data[:at]) in {(0, 0), (640, 480)}


@given(st.binary(max_size=60), st.sampled_from([b"", b"\xff\xd8", b"\x89PNG", b"RIFF0000WEBPVP8X"]))
def test_any_bytes_have_a_size_or_none(rest, head):
    """Whatever an image holds."""
    width, height = size_of(head + rest)
    assert width >= 0
    assert height >= 0


# Errors, and nonsense.

ERRORS = yaml.safe_load((Path(__file__).parent / "cases/google_vision/errors.yaml").read_text())


@pytest.mark.parametrize("case", ERRORS, ids=lambda c: c["code"])
def test_a_refusal_of_the_vendor_is_read(case):
    """Code, sentence, field and wait are those of the body; a client of the wire gets it unchanged."""
    raw = json.dumps(case["body"]).encode()
    failure = API.failure(case["status"], raw)
    assert (failure.code, failure.message) == (case["code"], case["message"])
    assert failure.param == case.get("param")
    assert failure.retry_after == case.get("retry_after")
    assert judge("google_vision", case["status"], failure.code).name == case["verdict"]
    reply = Reply(backend="b", status=case["status"], verdict=INVALID)
    reply.failure = failure
    assert DOOR.whole(call_of(a_body()), reply) == raw


def test_a_refusal_of_another_wire_is_written_in_this_ones_shape():
    """A local model's refusal reaches the client as google.rpc.Status."""
    reply = Reply(backend="b", status=400, verdict=INVALID)
    reply.failure = apis.load("torchserve").failure(400, b'{"code":"x","message":"too big"}')
    error = json.loads(DOOR.whole(call_of(a_body()), reply))["error"]
    assert error == {"code": 400, "message": "too big", "status": "INVALID_ARGUMENT"}


NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "requests",
                    "responses",
                    "image",
                    "content",
                    "source",
                    "features",
                    "type",
                    "maxResults",
                    "max_results",
                    "model",
                    "imageContext",
                    "parent",
                    "error",
                    "code",
                    "message",
                    "details",
                    "status",
                    "description",
                    "score",
                    "vertices",
                    "boundingPoly",
                    "fullTextAnnotation",
                    "textAnnotations",
                    "labelAnnotations",
                    "pages",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=14,
)
BYTES = st.binary(max_size=100) | NONSENSE.map(lambda x: json.dumps(x).encode())
DEEP = b'{"requests":' + b"[" * 100_000


@st.composite
def spoiled(draw: Any) -> bytes:
    """A right body with something in its place, or beside it."""
    body = a_body("LABEL_DETECTION", 5, imageContext={"languageHints": ["en"]})
    request = body["requests"][0]
    holders = [body, request, request["image"], request["features"][0], request["imageContext"]]
    holder = draw(st.sampled_from(holders))
    names = [
        "requests",
        "image",
        "content",
        "features",
        "type",
        "maxResults",
        "model",
        "source",
        "x",
    ]
    holder[draw(st.sampled_from(names))] = draw(NONSENSE)
    return json.dumps(body).encode()


@given(BYTES | spoiled())
@example(DEEP)
@example(b"")
@example(b"null")
@example(b'{"requests":[{"image":{"content":"!"},"features":[{"type":4}]}]}')
@example(b'{"requests":[{"image":{"content":"\\ud800"},"features":[{"type":4}]}]}')
@example(b'{"requests":[{"image":{"content":"YQ"},"features":[{"type":"\xc2\xb2"}]}]}')
def test_any_body_is_a_bad_request_or_a_call(body):
    """Whatever a client sends, it is told what is wrong, or the call can be sent and counted."""
    try:
        made = DOOR.ask(PATH, body, Told())
    except BadRequest as exc:
        error = json.loads(DOOR.error(exc))["error"]
        assert (error["code"], error["message"]) == (exc.status, str(exc))  # noqa: PT017
        return
    call = a_call(
        task="annotate",
        request=made.request,
        wire="google_vision",
        fields=made.fields,
        extras=made.extras,
    )
    assert sum(count for _, count in API.units(call, "m").features) >= len(made.request.images)
    json.loads(API.request(call, "builtin/latest").body)


@given(BYTES)
@example(b'{"responses":[{"error":null}]}')
@example(b'{"responses":[{"textAnnotations":[{"boundingPoly":{"vertices":[{"x":1e300}]}}]}]}')
@example(DEEP)
def test_any_answer_is_malformed_or_whole(body):
    """Whatever the vendor answers, in the same wire and through the hub; the usage is never less."""
    asked = ALL
    for wire in ("google_vision", "openai"):
        reader = API.reader(a_call(task="annotate", request=asked, wire=wire, path=PATH))
        try:
            result = reader.whole(body)
        except Malformed:
            assert reader.usage is None
            continue
        reply = Reply(backend="b", result=None if wire == "google_vision" else result)
        reply.body = result if isinstance(result, bytes) else b""
        json.loads(DOOR.whole(a_call(task="annotate", request=asked, path=PATH), reply))


@given(BYTES, st.integers(400, 599))
@example(b'{"error":{"details":[{"@type":"rpc.RetryInfo","retryDelay":{}}]}}', 400)
@example(b'{"error":{"details":[{"@type":"rpc.BadRequest","fieldViolations":[1]}]}}', 400)
def test_any_error_body_is_read(body, status):
    """Whatever an error holds, it is judged and can be written."""
    failure = API.failure(status, body)
    reply = Reply(backend="b", status=status, verdict=INVALID)
    reply.failure = failure
    assert "error" in json.loads(DOOR.whole(a_call(task="annotate"), reply))
    assert judge("google_vision", status, failure.code).name != "ok"


RAISED = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, RouterError)]


@pytest.mark.parametrize("kind", RAISED, ids=lambda k: k.__name__)
@pytest.mark.parametrize("door", [DOOR, apis.door("google_speech")], ids=lambda d: d.wire)
def test_every_error_of_the_router_is_a_status(door, kind):
    """Code, sentence and status as google.rpc.Status has them; a wait as RetryInfo."""
    args = ("b", FAULT, "why") if kind is errors.AttemptFailed else ("what and why",)
    raised = kind(*args)
    raised.retry_after = 1.5
    error = json.loads(door.error(raised))["error"]
    assert (error["code"], error["message"]) == (raised.status, str(raised))
    assert error["status"] in {name for name, _ in RPC.values()}
    info, retry = error["details"]
    parsed = error_details_pb2.ErrorInfo(reason=info["reason"], domain=info["domain"])
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+[A-Z0-9]", parsed.reason)
    wait = duration_pb2.Duration()
    wait.FromJsonString(retry["retryDelay"])
    assert wait.ToMilliseconds() == 1500
    assert door.error_event(raised) == b""


def test_what_would_change_the_answers_form_is_refused():
    """A partial answer, or one that is no JSON, cannot be had."""
    raw = json.dumps(a_body()).encode()
    for query in ({"alt": "proto"}, {"fields": "responses/error"}, {"$alt": "media"}):
        with pytest.raises(BadRequest):
            DOOR.ask(PATH, raw, Told(query=query))
    DOOR.ask(PATH, raw, Told(query={"$alt": "json;enum-encoding=int", "prettyPrint": "false"}))


def test_the_body_is_bounded():
    """10 MB, as the vendor takes: 413."""
    with pytest.raises(BadRequest) as failed:
        DOOR.ask(PATH, b" " * (10 * 1024 * 1024 + 1), Told())
    assert failed.value.status == 413


def test_fields_keep_their_bytes():
    """What passes to the vendor passes byte for byte."""
    raw = b'{ "requests" : [ {"image":{"content":"YQ=="} ,"features":[{"type":4}], "n":1.50} ] }'
    made = DOOR.ask(PATH, raw, Told())
    call = a_call(task="annotate", request=made.request, wire="google_vision", fields=made.fields)
    sent = msgspec.json.decode(API.request(call, "m").body, type=dict[str, msgspec.Raw])
    assert bytes(sent["requests"]) in raw
