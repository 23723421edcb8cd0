"""Five vendors behind one router, their SDKs before it: each task paid, failed over, and billed.

The vendors are the sandbox, which keeps its own bill; nothing is shared with the router's books.
"""

from __future__ import annotations

import random
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import pytest
from openai import BadRequestError

from router import audio
from tests.system.router.clients import Clients, transcript
from tests.system.router.harness import ROOT, Router, Sandbox, ask, router, sandbox

pytestmark = pytest.mark.system
KEY = "sk-sandbox-test"
DEAD = "http://127.0.0.1:9"
SENTENCE = "Where is the station?"


def backends(base: str) -> dict[str, Any]:
    """One of each, and of OpenAI one per model; each twice: alive, and dead."""
    alive = {
        "gpt": {"api": "openai", "model": "gpt-5.4-mini", "tasks": ["chat", "annotate"]},
        "instruct": {"api": "openai", "model": "gpt-3.5-turbo-instruct", "tasks": ["complete"]},
        "embedder": {"api": "openai", "model": "text-embedding-3-small", "tasks": ["embed"]},
        "tts": {"api": "openai", "model": "tts-1", "tasks": ["speak"]},
        "tts-tokens": {"api": "openai", "model": "gpt-4o-mini-tts", "tasks": ["speak"]},
        "whisper": {"api": "openai", "model": "whisper-1", "tasks": ["transcribe"]},
        "hearer": {"api": "openai", "model": "gpt-4o-mini-transcribe", "tasks": ["transcribe"]},
        "eleven": {
            "api": "elevenlabs",
            "model": "eleven_flash_v2_5",
            "voices": {"*": "JBFqnCBsd6RMkjVDRZzb"},
        },
        "deepl": {"api": "deepl", "model": "pro"},
        "vision": {"api": "google_vision", "model": "builtin/stable"},
        "speech": {"api": "google_speech", "model": "default"},
    }
    for spec in alive.values():
        version = "/v1" if spec["api"].startswith(("openai", "google")) else ""
        spec["base"] = f"{base}{version}"
        spec["key_env"] = "SANDBOX_KEY"
        spec["breaker"] = {"in_a_row": 1000, "least": 1000}
    dead = {f"dead-{name}": spec | {"base": DEAD} for name, spec in alive.items()}
    return alive | dead


def route(task: str, *names: str) -> dict[str, Any]:
    # The dead one goes first: prefer says so, and it has been asked for nothing yet.
    rules = [{"when": "true", "prefer": [names[0]]}]
    return {"task": task, "backends": list(names), "rules": rules, "promise": {"deadline": "20s"}}


ROUTES = {
    "chat": route("chat", "gpt"),
    "complete": route("complete", "instruct"),
    "embed": route("embed", "embedder"),
    "speak": route("speak", "eleven"),
    "speak-openai": route("speak", "tts"),
    "speak-tokens": route("speak", "tts-tokens"),
    "transcribe": route("transcribe", "speech"),
    "transcribe-openai": route("transcribe", "whisper"),
    "transcribe-tokens": route("transcribe", "hearer"),
    "translate": route("translate", "deepl"),
    "annotate": route("annotate", "vision"),
    "annotate-chat": route("annotate", "gpt"),
    "speak-over": route("speak", "dead-eleven", "tts"),
    "speak-back": route("speak", "dead-tts", "eleven"),
    "transcribe-over": route("transcribe", "dead-speech", "whisper"),
    "transcribe-back": route("transcribe", "dead-whisper", "speech"),
    "annotate-over": route("annotate", "dead-vision", "gpt"),
}
DOORS = {
    "elevenlabs": {"speak": "speak"},
    "deepl": {"translate": "translate"},
    "google_vision": {"annotate": "annotate"},
    "google_speech": {"transcribe": "transcribe"},
}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(tmp_path_factory.mktemp("vendors")) as made:
        yield made


@pytest.fixture(scope="module")
def running(box: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    config = {
        "exchange": {"EUR": 1.15},
        "doors": DOORS,
        "backends": backends(box.base),
        "routes": ROUTES,
    }
    with router(tmp_path_factory.mktemp("all"), config, SANDBOX_KEY=KEY) as made:
        yield made


@pytest.fixture(scope="module")
def clients(running: Router) -> Clients:
    return Clients(running.url)


def on(clients: Clients, name: str) -> Clients:
    """The same clients, which name a route by the header, where their wire has no place for it."""
    made = Clients(clients.url)
    header = ("x-isocost-route", name)
    made.deepl.headers["x-isocost-route"] = name
    for client in (made.vision, made.speech):
        transport: Any = client.transport
        transport._session.headers.update([header])
    made.elevenlabs._client_wrapper.get_headers = _with(  # type: ignore[method-assign]
        made.elevenlabs._client_wrapper.get_headers, name
    )
    return made


def _with(headers: Callable[[], dict[str, str]], name: str) -> Callable[[], dict[str, str]]:
    return lambda: {**headers(), "x-isocost-route": name}


@pytest.fixture(scope="module")
def picture(box: Sandbox) -> bytes:
    """An image of which the sandbox knows what it shows."""
    data = (ROOT / "tests/system/router/picture.png").read_bytes()
    shows = {
        "sha256": sha256(data).hexdigest(),
        "text": "EXIT ONLY",
        "labels": [{"name": "Cat", "score": 0.97}, {"name": "Whiskers", "score": 0.8}],
        "faces": [{"box": [0.25, 0.25, 0.75, 0.75]}],
    }
    ask(f"{box.base}/sandbox/answers", {"images": [shows]}, "POST")
    return data


def seconds_of(sound: bytes, encoding: str = "", rate: int | None = None) -> float:
    return audio.probe(sound, encoding=encoding, sample_rate_hz=rate).seconds


# Each task once by its paid API, content compared.


def test_texts(clients: Clients) -> None:
    """Chat in both forms, completion, embedding."""
    asked = "Why does tea cool down?"
    said = clients.chat("chat", asked)
    assert "cool" in said
    assert clients.chat_stream("chat", asked) == said
    assert "cool" in clients.respond("chat", asked)
    assert clients.complete("complete", "Once upon a time")
    assert len(clients.embed("embed", "harbour")) == 1536


@pytest.mark.parametrize("name", ["speak", "speak-openai", "speak-tokens"])
@pytest.mark.parametrize("writer", ["transcribe", "transcribe-openai", "transcribe-tokens"])
def test_what_one_vendor_says_another_writes_down(clients: Clients, name: str, writer: str) -> None:
    """OpenAI's SDK on both ends; ElevenLabs and OpenAI speak, Google and OpenAI listen."""
    sound = clients.say(name, SENTENCE)
    assert audio.probe(sound).encoding == "wav"
    assert clients.write(writer, sound, language="en") == SENTENCE


@pytest.mark.parametrize("name", ["speak", "speak-openai", "speak-tokens"])
@pytest.mark.parametrize(
    ("form", "encoding", "rate"),
    [
        ("mp3_44100_128", "mp3", 44_100),
        ("mp3_22050_32", "mp3", 22_050),
        ("pcm_16000", "pcm_s16le", 16_000),
        ("ulaw_8000", "mulaw", 8_000),
        ("opus_48000_64", "ogg_opus", 48_000),
    ],
)
def test_elevenlabs_sdk_gets_its_formats_from_anybody(
    clients: Clients, name: str, form: str, encoding: str, rate: int
) -> None:
    """Format and rate are what was asked for, and the words are in it."""
    sound = on(clients, name).speak(SENTENCE, form)
    bare = encoding in {"pcm_s16le", "mulaw"}
    heard = audio.probe(sound, encoding=encoding if bare else "", sample_rate_hz=rate)
    assert (heard.encoding, heard.sample_rate_hz) == (encoding, rate)
    assert heard.seconds == pytest.approx(seconds_of(clients.say(name, SENTENCE)), rel=0.15)
    if rate >= 16_000:
        wav, _ = audio.recode(sound, heard, "wav")
        assert clients.write("transcribe-openai", wav) == SENTENCE


@pytest.mark.parametrize("name", ["speak", "speak-openai", "speak-tokens"])
def test_streams_of_speech_across_wires(clients: Clients, name: str) -> None:
    """Both SDKs read a stream of any vendor."""
    for sound in (clients.say_stream(name, SENTENCE), on(clients, name).speak_stream(SENTENCE)):
        heard = audio.Heard("pcm_s16le", seconds_of(sound, "pcm_s16le", 24_000), 24_000, 1)
        wav, _ = audio.recode(sound, heard, "wav")
        assert clients.write("transcribe-openai", wav) == SENTENCE


@pytest.mark.parametrize("name", ["transcribe", "transcribe-openai", "transcribe-tokens"])
@pytest.mark.parametrize("encoding", ["FLAC", "MP3", "OGG_OPUS", "WEBM_OPUS", "LINEAR16", "MULAW"])
def test_google_speechs_sdk_is_answered_by_anybody(
    clients: Clients, name: str, encoding: str
) -> None:
    """Every encoding of its wire."""
    sound = clients.say("speak-openai", SENTENCE, "wav")
    kinds: dict[str, Any] = {"LINEAR16": "pcm_s16le", "MULAW": "mulaw"}
    made, rate = audio.recode(
        sound, audio.probe(sound), kinds.get(encoding, encoding.lower()), sample_rate_hz=16_000
    )
    found = on(clients, name).recognize(made, encoding=encoding, sample_rate_hertz=rate)
    assert transcript(found) == SENTENCE


def test_translation(clients: Clients) -> None:
    """DeepL's SDK, whole lists too."""
    assert clients.translate(SENTENCE) == "Wo ist der Bahnhof?"
    found = clients.deepl.translate_text(["Good morning.", SENTENCE], target_lang="FR")
    assert [t.text for t in found] == ["Bonjour.", "Où est la gare ?"]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["annotate", "annotate-chat"])
def test_googles_clients_see_by_anybody(clients: Clients, name: str, picture: bytes) -> None:
    """Text and labels, from the vendor and from a chat model; numbers and names of enums."""
    found = on(clients, name).look(picture, "TEXT_DETECTION", "LABEL_DETECTION")
    assert found.text_annotations[0].description.split() == ["EXIT", "ONLY"]
    assert [label.description.lower() for label in found.label_annotations][:1] == ["cat"]


def test_googles_other_client_and_a_face(clients: Clients, picture: bytes) -> None:
    """Its box is where the sandbox says."""
    encoded = b64encode(picture).decode()
    found = clients.look_by_name(encoded, "FACE_DETECTION", "LABEL_DETECTION")
    width, height = struct.unpack(">II", picture[16:24])
    corner = found["faceAnnotations"][0]["boundingPoly"]["vertices"][0]
    assert (corner["x"], corner["y"]) == (width // 4, height // 4)
    assert found["labelAnnotations"][0]["description"] == "Cat"


# Fail over from a dead vendor to another wire.


@pytest.mark.parametrize("name", ["speak-over", "speak-back"])
def test_a_dead_voice_is_replaced(clients: Clients, running: Router, name: str) -> None:
    """ElevenLabs' SDK and OpenAI's, each through the other's vendor, in its own format."""
    made = on(clients, name)
    for sound in (clients.say(name, SENTENCE, "mp3"), made.speak(SENTENCE)):
        heard = audio.probe(sound)
        assert heard.encoding == "mp3"
        wav, _ = audio.recode(sound, heard, "wav")
        assert clients.write("transcribe-openai", wav) == SENTENCE


@pytest.mark.parametrize("name", ["transcribe-over", "transcribe-back"])
def test_a_dead_ear_is_replaced(clients: Clients, name: str) -> None:
    """Google's SDK answered by OpenAI, OpenAI's by Google."""
    sound = clients.say("speak-openai", SENTENCE)
    assert clients.write(name, sound, language="en") == SENTENCE
    assert transcript(on(clients, name).recognize(sound)) == SENTENCE


def test_dead_eyes_are_replaced(clients: Clients, picture: bytes) -> None:
    """A chat model that sees stands in for Google Vision."""
    found = on(clients, "annotate-over").look(picture, "TEXT_DETECTION")
    assert found.text_annotations[0].description.split() == ["EXIT", "ONLY"]


# The bill.


def spent(running: Router) -> dict[str, int]:
    """Pico-dollars by vendor, as the metrics say."""
    wires = {name: spec["api"] for name, spec in backends("").items()}
    found: dict[str, int] = {}
    for name, value in running.metrics().items():
        kind, *labels = name.split(",")
        if kind == "isocost_cost_usd_total":
            backend = dict(label.split("=") for label in labels)["backend"]
            vendor = wires[backend]
            found[vendor] = found.get(vendor, 0) + round(value * 1e12)
    return {vendor: pico for vendor, pico in found.items() if pico}


def test_five_hundred_calls_cost_what_the_vendors_bill(
    clients: Clients, running: Router, box: Sandbox, picture: bytes
) -> None:
    """All tasks, whole and streamed, some refused and retried: equal to the pico-dollar."""
    sound = clients.say("speak-openai", SENTENCE)
    by_route = {name: on(clients, name) for name in ROUTES}
    works: list[Callable[[random.Random], Any]] = [
        lambda d: clients.chat("chat", "why " * d.randrange(1, 60), max_tokens=d.randrange(1, 40)),
        lambda d: clients.chat_stream("chat", "tell " * d.randrange(1, 60)),
        lambda d: clients.respond("chat", "tell " * d.randrange(1, 60)),
        lambda d: clients.complete("complete", "once " * d.randrange(1, 60)),
        lambda d: clients.embed("embed", "word " * d.randrange(1, 60)),
        lambda d: clients.say(d.choice(SPEAK), "Hé " * d.randrange(1, 30), d.choice(FORMS)),
        lambda d: clients.say_stream(d.choice(SPEAK), "Hi " * d.randrange(1, 30)),
        lambda d: by_route[d.choice(SPEAK)].speak("Hallo " * d.randrange(1, 20)),
        lambda d: clients.write(d.choice(WRITE), sound, language="en"),
        lambda d: by_route[d.choice(WRITE)].recognize(sound),
        lambda d: clients.translate("Straße 🚗 " * d.randrange(1, 20), d.choice(["DE", "FR"])),
        lambda d: by_route["annotate"].look(picture, *d.sample(FEATURES, d.randrange(1, 4))),
        lambda d: by_route["annotate-chat"].look(picture, "LABEL_DETECTION"),
        lambda d: clients.say("speak-over", "Over " * d.randrange(1, 20)),
    ]
    box.reset()
    box.faults(
        {"fault": "status", "status": 503, "probability": 0.03},
        {"fault": "status", "status": 429, "retry_after": 0, "probability": 0.02},
    )
    before = spent(running)
    failed = [0]

    def one(number: int) -> None:
        try:
            works[number % len(works)](random.Random(number))
        except Exception as exc:
            # Every client words a fault of its vendor in its own way.
            if not any(w in str(exc).lower() for w in ("503", "no_backend", "throttled", "fault")):
                raise
            failed[0] += 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(520)))
    after = spent(running)
    bill = box.bill()
    billed = {v: s["pico_usd"] for v, s in bill["by_vendor"].items() if s["pico_usd"]}
    assert {v: after[v] - before.get(v, 0) for v in billed} == billed
    assert set(billed) == {"openai", "elevenlabs", "deepl", "google_vision", "google_speech"}
    assert bill["calls"] + failed[0] >= 520
    assert failed[0] < 60
    box.heal()


SPEAK = ("speak", "speak-openai", "speak-tokens")
WRITE = ("transcribe", "transcribe-openai", "transcribe-tokens")
FORMS = ("mp3", "wav", "opus", "flac", "pcm", "aac")
FEATURES = [
    "LABEL_DETECTION",
    "TEXT_DETECTION",
    "FACE_DETECTION",
    "OBJECT_LOCALIZATION",
    "SAFE_SEARCH_DETECTION",
    "WEB_DETECTION",
]


@pytest.mark.parametrize("times", [1, 5])
def test_a_stream_that_is_refused_is_an_error_at_once(
    clients: Clients, box: Sandbox, times: int
) -> None:
    """Headers and body of the refusal come together; the router goes on serving."""
    box.faults({"fault": "status", "status": 400, "match": {"stream": True}, "times": times})
    for _ in range(times):
        with pytest.raises(BadRequestError):
            clients.chat_stream("chat", "hello")
    assert clients.chat_stream("chat", "Why does tea cool down?")
    box.heal()
