"""A voice, Whisper and the image models, for real: packed by the store, served by TorchServe.

What is spoken is read back, a page is read, a face is found: content, not shape.
"""

import base64
import json
import re
import signal
import threading
import wave
from io import BytesIO
from pathlib import Path

import pytest
import skimage
from test_torchserve import Served

from model_store.cache import cache_folder
from model_store.load import load_catalog
from model_store.pack import Places, pack
from serving.worker import speak_espeak

pytestmark = [
    pytest.mark.system,
    pytest.mark.serving,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("torchserve"),
]
MODELS = ("piper-joe", "whisper-base", "vision")
IMAGES = Path(skimage.__file__).parent / "data"
SENTENCES = (
    "The quick brown fox jumps over the lazy dog. "
    "Our train to London leaves at seven in the morning."
)


def espeak_is_missing() -> str:
    """Why the voice cannot be served here; empty where it can."""
    try:
        speak_espeak.load()
    except OSError as error:
        return str(error)
    return ""


MISSING = espeak_is_missing()
needs_espeak = pytest.mark.skipif(bool(MISSING), reason=MISSING or "eSpeak NG is there")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    places = Places(archives=folder / "mar", cache=cache_folder())
    entries = load_catalog()
    for name in MODELS:
        if name != "piper-joe" or not MISSING:
            pack(entries[name], entries[name].engine, places)
    server = Served(folder)
    try:
        server.wait_ready(300)
        yield server
    finally:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)


def ask(served, model, **body):
    answer = served.http(served.port, "POST", f"/predictions/{model}", body, timeout=300)
    return answer.status, answer.read().decode()


WRONG = 0.2
"""Of the words of a synthetic voice, those that a small int8 model may write otherwise ("7" for
"seven" is one of 19): what it hears depends on the instructions of the processor."""


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def wrong_words(said: str, heard: str) -> float:
    """Word error rate: edits between the two, by the words of what was said."""
    a, b = words(said), words(heard)
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1] / len(a)


def image(name: str) -> str:
    return base64.b64encode((IMAGES / name).read_bytes()).decode()


@pytest.fixture(scope="module")
def spoken(served):
    if MISSING:
        pytest.skip(MISSING)
    status, body = ask(served, "piper-joe", task="speak", text=SENTENCES)
    assert status == 200, body
    return json.loads(body)


@needs_espeak
def test_a_text_is_spoken_whole_and_in_pieces(served, spoken):
    """Lengths agree with the samples; a stream says first what follows and last that it is whole."""
    with wave.open(BytesIO(base64.b64decode(spoken["audio"]))) as file:
        assert file.getframerate() == spoken["sample_rate_hz"] == 22_050
        assert file.getnframes() / 22_050 == pytest.approx(spoken["seconds"], abs=0.001)
    assert spoken["usage"] == {"characters": len(SENTENCES)}
    assert 4 < spoken["seconds"] < 12
    status, body = ask(served, "piper-joe", task="speak", text=SENTENCES, stream=True, speed=1.5)
    head, *pieces, last = [json.loads(line) for line in body.splitlines()]
    assert (status, head) == (200, {"encoding": "pcm_s16le", "sample_rate_hz": 22_050})
    assert len(pieces) == 2
    samples = sum(len(base64.b64decode(piece["audio"])) // 2 for piece in pieces)
    assert samples / 22_050 == pytest.approx(last["seconds"], abs=0.001)
    assert last["seconds"] < 0.85 * spoken["seconds"]


@needs_espeak
@pytest.mark.parametrize("times", ["none", "segment", "word"])
def test_what_was_spoken_is_read_back(served, spoken, times):
    """Few wrong words; the language is found; times rise and end within the sound."""
    status, body = ask(
        served, "whisper-base", task="transcribe", audio=spoken["audio"], timestamps=times
    )
    answer = json.loads(body)
    assert status == 200
    assert wrong_words(SENTENCES, answer["text"]) <= WRONG
    assert answer["language"] == "en"
    assert answer["seconds"] == pytest.approx(spoken["seconds"], abs=0.01)
    spans = answer["words"] or answer["segments"]
    assert bool(answer["segments"]) == (times != "none")
    assert bool(answer["words"]) == (times == "word")
    if spans:
        starts = [span["start"] for span in spans]
        assert starts == sorted(starts)
        assert spans[-1]["end"] <= answer["seconds"] + 0.1
        assert spans[-1]["end"] > 0.7 * answer["seconds"]
        assert wrong_words(SENTENCES, " ".join(span["text"] for span in spans)) <= WRONG


def test_recordings_together_and_bad_ones_alone(served):
    """Refusals have their own 400 beside answers of the same batch."""
    silence = base64.b64encode(bytes(32_000)).decode()
    bare = {"audio": silence, "encoding": "pcm_s16le", "sample_rate_hz": 16_000}
    asks = [bare, {"audio": ""}, {"audio": base64.b64encode(b"abc" * 99).decode()}, bare]
    found = {}

    def one(index):
        found[index] = ask(served, "whisper-base", task="transcribe", **asks[index])

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(asks))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [found[index][0] for index in range(4)] == [200, 400, 400, 200]
    assert json.loads(found[0][1])["text"] == ""
    assert json.loads(found[1][1])["code"] == json.loads(found[2][1])["code"] == "invalid_request"


def test_images_are_annotated(served):
    """Text of a page, an espresso, a cat, a face; a broken one among them fails alone."""
    pictures = [image(name) for name in ("page.png", "coffee.png", "chelsea.png", "astronaut.png")]
    status, body = ask(
        served, "vision", task="annotate", images=[*pictures, "bm9uZQ=="],
        features=[["document", 0], ["labels", 3], ["faces", 10]],
    )  # fmt: skip
    assert status == 200
    page, coffee, cat, astronaut, broken = json.loads(body)["images"]

    def rows(picture, feature):
        return [row for row in picture["annotations"] if row["feature"] == feature]

    text = " ".join(row["text"] for row in rows(page, "document")).lower()
    assert "let us first determine markers of the coins and the" in text
    assert "pixels that we can label" in text
    assert rows(coffee, "labels")[0]["text"] == "espresso"
    assert "cat" in rows(cat, "labels")[0]["text"]
    (face,) = rows(astronaut, "faces")
    x, y, width, height = face["box"]
    assert x < 224 < x + width  # her nose
    assert y < 125 < y + height
    assert broken["error"]["code"] == "invalid_request"
    assert (
        ask(served, "vision", task="annotate", images=pictures[:1], features=[["web", 1]])[0] == 400
    )
