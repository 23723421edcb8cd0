"""Google Vision and Speech by Google's own clients and protobuf types, with keys and with OAuth."""

import base64
import hashlib
import io
import json
import wave

import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import (
    BadRequest,
    Forbidden,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
)
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import Request as AuthRequest
from google.cloud import speech, speech_v2, vision
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from load_tests.sandbox.media import RATE, Form, write
from load_tests.sandbox.tones import say

KEY = {"x-goog-api-key": "sk-sandbox-isocost", "content-type": "application/json"}
ANNOTATE, RECOGNIZE = "/v1/images:annotate", "/v1/speech:recognize"
RECOGNIZER = "projects/p/locations/global/recognizers/_"
TEXT = "The quick brown fox."
FEATURES = [one.name for one in vision.Feature.Type if one.value not in (0, 12)]
FLAC = Form("flac", "flac", RATE)

pytestmark = pytest.mark.system


def client(kind, box, credentials=None):
    options = ClientOptions(api_endpoint=box.url)
    return kind(
        transport="rest", credentials=credentials or AnonymousCredentials(), client_options=options
    )


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def told(image: bytes, **more):
    return {"sha256": hashlib.sha256(image).hexdigest(), **more}


def wav(seconds: float, channels: int = 1, rate: int = 16000) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"\0\0" * int(seconds * rate) * channels)
    return out.getvalue()


def test_all_features_by_the_vendors_client(box, png):
    image = png(100, 200)
    box.tell(
        images=[
            told(
                image,
                text="EXIT\nfire door",
                labels=[{"name": "Sign", "score": 0.5}, {"name": "Door"}],
                objects=[{"name": "Person", "box": [0.5, 0.25, 1, 1]}],
                faces=[{"box": [0, 0, 0.5, 0.5], "joy": "VERY_LIKELY"}],
                logos=[{"name": "Acme"}],
                landmarks=[{"name": "Eiffel Tower"}],
                unsafe=["spoof"],
            )
        ]
    )
    asked = {"image": {"content": image}, "features": [{"type_": name} for name in FEATURES]}
    seen = client(vision.ImageAnnotatorClient, box).annotate_image(
        asked, metadata=[("x-goog-api-key", "sk-sandbox-isocost")]
    )
    assert [one.description for one in seen.label_annotations] == ["Sign", "Door"]
    assert seen.label_annotations[0].score == 0.5
    assert [one.description for one in seen.text_annotations] == [
        "EXIT\nfire door",
        "EXIT",
        "fire",
        "door",
    ]
    assert seen.full_text_annotation.text == "EXIT\nfire door"
    words = seen.full_text_annotation.pages[0].blocks[0].paragraphs[0].words
    assert ["".join(s.text for s in word.symbols) for word in words] == ["EXIT", "fire", "door"]
    box_of = seen.localized_object_annotations[0].bounding_poly.normalized_vertices
    assert [(one.x, one.y) for one in box_of] == [(0.5, 0.25), (1, 0.25), (1, 1), (0.5, 1)]
    face = seen.face_annotations[0]
    assert face.joy_likelihood == vision.Likelihood.VERY_LIKELY
    assert [(v.x, v.y) for v in face.bounding_poly.vertices] == [
        (0, 0),
        (50, 0),
        (50, 100),
        (0, 100),
    ]
    assert seen.safe_search_annotation.spoof == vision.Likelihood.LIKELY
    assert seen.logo_annotations[0].description == "Acme"
    assert seen.landmark_annotations[0].description == "Eiffel Tower"
    assert seen.image_properties_annotation.dominant_colors.colors[0].color.red == 200
    assert seen.crop_hints_annotation.crop_hints[0].bounding_poly.vertices[2].y == 200
    assert seen.web_detection.best_guess_labels[0].label == "sign"
    (line,) = box.lines()
    assert line["units"] == {name.lower(): 1 for name in FEATURES}
    assert line["pico_usd"] == 9 * 1_500_000_000 + 2_250_000_000 + 3_500_000_000


@pytest.mark.parametrize(("query", "kind"), [("", str), ("?$alt=json;enum-encoding%3Dint", int)])
def test_enums_are_answered_as_names_or_as_numbers(box, png, query, kind):
    """`$alt=json;enum-encoding=int` is what Google's own client asks for."""
    box.tell(images=[{"sha256": "*", "text": "a b", "faces": [{}]}])
    asked = {
        "requests": [
            {"image": {"content": b64(png())}, "features": [{"type": n} for n in FEATURES]}
        ]
    }
    response = json.loads(box.ask("POST", ANNOTATE + query, asked, KEY)[2])["responses"][0]
    assert isinstance(response["safeSearchAnnotation"]["adult"], kind)
    assert isinstance(response["faceAnnotations"][0]["joyLikelihood"], kind)
    assert isinstance(response["faceAnnotations"][0]["landmarks"][0]["type"], kind)
    block = response["fullTextAnnotation"]["pages"][0]["blocks"][0]
    assert isinstance(block["blockType"], kind)
    sign = block["paragraphs"][0]["words"][0]["symbols"][0]
    assert isinstance(sign["property"]["detectedBreak"]["type"], kind)
    parsed = vision.AnnotateImageResponse.from_json(
        json.dumps(response), ignore_unknown_fields=False
    )
    assert parsed.safe_search_annotation.adult == vision.Likelihood.VERY_UNLIKELY
    assert parsed.face_annotations[0].landmarks[0].type_.name == "LEFT_EYE"
    read = parsed.full_text_annotation.pages[0].blocks[0]
    assert read.block_type.name == "TEXT"


def test_answers_are_protobuf_json_without_unknown_fields(box, png):
    asked = {
        "requests": [
            {"image": {"content": b64(png())}, "features": [{"type": n} for n in FEATURES]}
        ]
    }
    status, _, body = box.ask("POST", ANNOTATE, asked, KEY)
    assert status == 200
    kind = vision.BatchAnnotateImagesResponse
    assert len(kind.from_json(body.decode(), ignore_unknown_fields=False).responses) == 1


@pytest.mark.parametrize(
    "path",
    [ANNOTATE, "/v1/projects/p/images:annotate", "/v1/projects/p/locations/eu/images:annotate"],
)
def test_enums_names_and_bytes_are_taken_as_protobuf_takes_them(box, png, path):
    image = base64.urlsafe_b64encode(png(7, 9)).decode().rstrip("=")
    asked = {
        "requests": [
            {
                "image": {"content": image},
                "features": [
                    {"type": 4, "max_results": 1},
                    {"type": "TEXT_DETECTION", "maxResults": "3"},
                ],
                "image_context": {"languageHints": ["en"]},
            }
        ]
    }
    status, _, body = box.ask("POST", path, asked, KEY)
    assert status == 200
    (response,) = json.loads(body)["responses"]
    assert len(response["labelAnnotations"]) == 1
    assert box.lines()[0]["units"] == {"label_detection": 1, "text_detection": 1}


def test_an_image_that_cannot_be_read_fails_alone_and_is_not_billed(box, png):
    good, bad, told_bad = png(), b"no image", png(8, 8)
    box.tell(images=[told(told_bad, error={"code": 7, "message": "denied"})])
    one = {"features": [{"type": "LABEL_DETECTION"}]}
    images = [{"content": b64(good)}, {"content": b64(bad)}, {"content": b64(told_bad)}, {}]
    images.append({"source": {"imageUri": "https://example.com/a.png"}})
    asked = {"requests": [{**one, "image": image} for image in images]}
    status, _, body = box.ask("POST", ANNOTATE, asked, KEY)
    assert status == 200
    responses = json.loads(body)["responses"]
    assert responses[0]["labelAnnotations"]
    assert [one["error"]["code"] for one in responses[1:]] == [3, 7, 3, 7]
    assert box.lines()[0]["units"] == {"label_detection": 1}
    box.ask("POST", ANNOTATE, {"requests": [{**one, "image": images[1]}]}, KEY)
    assert box.bill()["calls"] == 1


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"requests": [{}]},
        {"requests": [{"image": {"content": "%%"}, "features": [{"type": 4}]}]},
        {"requests": [{"features": [{"type": "CATS"}]}]},
        {"requests": [{"features": [{"type": 8}]}]},
        {"requests": [{"features": [{"type": 4, "colour": 1}]}]},
        {"requests": [{"features": [{"type": 4}]}] * 17},
        {"request": []},
        [],
        b"{",
    ],
)
def test_a_malformed_call_is_a_status(box, asked):
    status, _, body = box.ask("POST", ANNOTATE, asked, KEY)
    error = json.loads(body)["error"]
    assert (status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert box.bill()["calls"] == 0


def test_an_unknown_field_is_named(box):
    asked = {"requests": [{"features": [{"type": 4, "colour": 1}]}]}
    error = json.loads(box.ask("POST", ANNOTATE, asked, KEY)[2])["error"]
    assert 'Unknown name "colour"' in error["message"]
    assert error["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"


def test_a_payload_over_10_mb_is_refused(box):
    asked = {"requests": [{"image": {"content": "A" * 10_500_000}, "features": [{"type": 4}]}]}
    assert box.ask("POST", ANNOTATE, asked, KEY)[0] == 400


@pytest.mark.parametrize(
    "form", [FLAC, Form("mp3", "libmp3lame", RATE), Form("ogg", "libopus", 48000)]
)
@pytest.mark.parametrize("version", [1, 2])
def test_speech_is_recognized_by_the_vendors_clients(box, form, version):
    audio = write(say(TEXT), form)
    names = {"flac": "FLAC", "mp3": "MP3", "ogg": "OGG_OPUS"}
    meta = [("x-goog-api-key", "sk-sandbox-isocost")]
    if version == 1:
        answer = client(speech.SpeechClient, box).recognize(
            config={
                "encoding": names[form.container],
                "sample_rate_hertz": form.rate,
                "language_code": "en-US",
                "enable_word_time_offsets": True,
                "enable_word_confidence": True,
            },
            audio={"content": audio},
            metadata=meta,
        )
        billed, offset = answer.total_billed_time, "end_time"
    else:
        answer = client(speech_v2.SpeechClient, box).recognize(
            request={
                "recognizer": RECOGNIZER,
                "config": {
                    "auto_decoding_config": {},
                    "language_codes": ["en-US"],
                    "features": {"enable_word_time_offsets": True, "enable_word_confidence": True},
                },
                "content": audio,
            },
            metadata=meta,
        )
        billed, offset = answer.metadata.total_billed_duration, "end_offset"
    (result,) = answer.results
    best = result.alternatives[0]
    assert best.transcript == TEXT
    assert 0.9 <= best.confidence < 1
    assert [word.word for word in best.words] == TEXT.split()
    assert getattr(best.words[-1], offset).total_seconds() == pytest.approx(2.03, abs=0.1)
    (line,) = box.lines()
    assert line["units"] == {"seconds": 3} == {"seconds": billed.total_seconds()}
    assert line["pico_usd"] == 3 * 400_000_000


def test_an_empty_answer_is_billed_and_channels_are_billed_each(box):
    config = {"languageCode": "en-US"}
    asked = {"config": config, "audio": {"content": b64(wav(1.2))}}
    status, _, body = box.ask("POST", RECOGNIZE, asked, KEY)
    assert status == 200
    assert "results" not in json.loads(body)
    assert json.loads(body)["totalBilledTime"] == "2s"
    stereo = wav(1.2, channels=2)
    box.tell(audio=[told(stereo, text="both")])
    config |= {"audioChannelCount": 2, "enableSeparateRecognitionPerChannel": True}
    asked = {"config": config, "audio": {"content": b64(stereo)}}
    body = json.loads(box.ask("POST", RECOGNIZE, asked, KEY)[2])
    assert [one["channelTag"] for one in body["results"]] == [1, 2]
    assert [line["units"] for line in box.lines()] == [{"seconds": 2}, {"seconds": 4}]


def test_bare_samples_need_their_rate_and_are_read_with_it(box):
    bare = write(say(TEXT, 2.0), Form("s16le", "pcm_s16le", 16000))
    config = {"encoding": 1, "languageCode": "en-US"}
    asked = {"config": config, "audio": {"content": b64(bare)}}
    assert box.ask("POST", RECOGNIZE, asked, KEY)[0] == 400
    config["sampleRateHertz"] = 16000
    status, _, body = box.ask("POST", RECOGNIZE, asked, KEY)
    assert status == 200
    assert json.loads(body)["results"][0]["alternatives"][0]["transcript"] == TEXT


@pytest.mark.parametrize(
    ("config", "audio"),
    [
        ({}, {"content": b64(wav(1))}),
        ({"languageCode": "en-US"}, {}),
        ({"languageCode": "en-US"}, {"content": b64(wav(61))}),
        ({"languageCode": "en-US"}, {"content": b64(b"no sound")}),
        ({"languageCode": "en-US", "encoding": "FLAC"}, {"content": b64(wav(1))}),
        ({"languageCode": "en-US", "encoding": "TAPE"}, {"content": b64(wav(1))}),
        ({"languageCode": "en-US", "sampleRateHertz": 8000}, {"content": b64(wav(1))}),
        ({"languageCode": "en-US"}, {"content": b64(wav(1, channels=2))}),
        ({"languageCode": "en-US", "volume": 11}, {"content": b64(wav(1))}),
    ],
)
def test_recordings_that_are_not_taken_are_not_billed(box, config, audio):
    status, _, body = box.ask("POST", RECOGNIZE, {"config": config, "audio": audio}, KEY)
    assert (status, json.loads(body)["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert box.bill()["calls"] == 0


def test_the_discovery_client_sends_names_and_keys_in_the_query(box, png):
    options = {"api_endpoint": box.url}
    build_one = {
        "developerKey": "sk-sandbox-isocost",
        "static_discovery": True,
        "client_options": options,
    }
    asked = {
        "requests": [{"image": {"content": b64(png())}, "features": [{"type": "LABEL_DETECTION"}]}]
    }
    with build("vision", "v1", **build_one) as service:
        answer = service.images().annotate(body=asked).execute()
        assert answer["responses"][0]["labelAnnotations"]
        with pytest.raises(HttpError) as refused:
            service.images().annotate(body={"requests": []}).execute()
        assert refused.value.status_code == 400
    recording = {"content": b64(write(say(TEXT), FLAC))}
    with build("speech", "v1", **build_one) as service:
        body = {"config": {"languageCode": "en-US"}, "audio": recording}
        answer = service.speech().recognize(body=body).execute()
    assert answer["results"][0]["alternatives"][0]["transcript"] == TEXT


def test_a_service_account_gets_tokens_that_end(box):
    asked = {"requests": []}
    credentials = account(box, "?seconds=3600")
    credentials.refresh(AuthRequest())
    assert (
        box.ask("POST", ANNOTATE, asked, {"authorization": f"Bearer {credentials.token}"})[0] == 400
    )
    assert json.loads(box.ask("GET", "/sandbox/token")[2])["issued"] >= 1
    ended = account(box, "?seconds=0")
    ended.refresh(AuthRequest())
    status, _, body = box.ask("POST", ANNOTATE, asked, {"authorization": f"Bearer {ended.token}"})
    assert (status, json.loads(body)["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_an_accounts_own_token_and_the_standing_one_open_the_door(box, png):
    """Google's clients sign a token of their own where they can, and ask nobody for it."""
    one = {"image": {"content": png()}, "features": [{"type_": "LABEL_DETECTION"}]}
    for credentials in (account(box, ""), Credentials("sandbox-token")):
        seen = client(vision.ImageAnnotatorClient, box, credentials).annotate_image(one)
        assert seen.label_annotations
    assert len({line["key"] for line in box.lines()}) == 2


def account(box, query: str):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    info = {
        "type": "service_account",
        "client_email": "tests@sandbox.iam.gserviceaccount.com",
        "private_key": key.decode(),
        "private_key_id": "1",
        "token_uri": f"{box.url}/sandbox/token{query}",
    }
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    return service_account.Credentials.from_service_account_info(info, scopes=scopes)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"grant_type=password",
        b"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=a.b.c",
    ],
)
def test_a_bad_assertion_gets_no_token(box, body):
    status, _, answer = box.ask("POST", "/sandbox/token", body)
    assert status == 400
    assert json.loads(answer)["error"] in ("unsupported_grant_type", "invalid_grant")


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({}, 403, None),
        ({"x-goog-api-key": "other"}, 400, "API_KEY_INVALID"),
        ({"authorization": "Bearer other"}, 401, "ACCESS_TOKEN_INVALID"),
    ],
)
def test_callers_without_a_good_key_are_refused(box, headers, status, reason):
    got, _, body = box.ask("POST", ANNOTATE, {"requests": []}, headers)
    error = json.loads(body)["error"]
    assert got == error["code"] == status
    assert error.get("details", [{}])[0].get("reason") == reason


def test_quotas_and_faults_as_the_client_reads_them(box):
    meta = [("x-goog-api-key", "sk-sandbox-isocost")]
    ask = {"config": {"language_code": "en-US"}, "audio": {"content": wav(2.5)}, "retry": None}
    recognizer = client(speech.SpeechClient, box)
    box.quotas(google_speech={"seconds": 3})
    recognizer.recognize(**ask, metadata=meta)
    with pytest.raises(TooManyRequests, match="Quota exceeded"):
        recognizer.recognize(**ask, metadata=meta)
    box.quotas()
    rule = {"fault": "status", "match": {"vendor": "google_speech"}, "times": 1}
    box.faults({**rule, "status": 429, "retry_after": 7})
    with pytest.raises(TooManyRequests) as refused:
        recognizer.recognize(**ask, metadata=meta)
    assert [one["retryDelay"] for one in refused.value.details] == ["7s"]
    for status, kind in (
        (503, ServiceUnavailable),
        (403, Forbidden),
        (404, NotFound),
        (400, BadRequest),
    ):
        box.faults({**rule, "status": status})
        with pytest.raises(kind):
            recognizer.recognize(**ask, metadata=meta)
    assert box.bill()["calls"] == 1


def test_a_fault_of_one_vendor_leaves_the_others_alone(box, png):
    box.faults({"fault": "status", "status": 503, "match": {"vendor": "google_speech"}})
    asked = {"requests": [{"image": {"content": b64(png())}, "features": [{"type": 4}]}]}
    assert box.ask("POST", ANNOTATE, asked, KEY)[0] == 200
    asked = {"config": {"languageCode": "en"}, "audio": {"content": b64(wav(1))}}
    assert box.ask("POST", RECOGNIZE, asked, KEY)[0] == 503
