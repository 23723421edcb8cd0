"""Every vendor's SDK answered by models on this machine: one TorchServe, one router, no vendor.

What is spoken is written down, what is written on a page is read, a face is where it is.
"""

import signal
from pathlib import Path

import pytest
import skimage
from test_media import MISSING, SENTENCES, WRONG, needs_espeak, wrong_words
from test_torchserve import Served
from test_translate_served import COUNT, count_net, packed

from model_store.cache import cache_folder
from model_store.load import load_catalog
from model_store.pack import Places, pack
from router import audio
from tests.system.router.clients import Clients, transcript
from tests.system.router.harness import router

pytestmark = [
    pytest.mark.system,
    pytest.mark.serving,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("torchserve"),
]
IMAGES = Path(skimage.__file__).parent / "data"
DEAD = "http://127.0.0.1:9"
PRICE = {"per_hour_usd": 0.05}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    archives = folder / "mar"
    archives.mkdir()
    entries, places = load_catalog(), Places(archives=archives, cache=cache_folder())
    for name in ("whisper-base", "vision", *(() if MISSING else ("piper-joe",))):
        pack(entries[name], entries[name].engine, places)
    pair = {"sources": {"en": "English"}, "targets": {"de": "German"}}
    packed("count", count_net(folder / "count"), archives, pair, "torch")
    server = Served(folder)
    try:
        server.wait_ready(300)
        yield server
    finally:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)


@pytest.fixture(scope="module")
def clients(served, tmp_path_factory):
    own = {
        "api": "torchserve",
        "base": f"http://127.0.0.1:{served.port}",
        "key_file": str(served.state / "inference.key"),
        "price": PRICE,
    }
    backends = {
        "voice": own
        | {"model": "piper-joe", "tasks": ["speak"], "voices": {"*": "en_US-joe-medium"}},
        "whisper": own | {"model": "whisper-base", "tasks": ["transcribe"]},
        "eyes": own
        | {
            "model": "vision",
            "tasks": ["annotate"],
            "features": ["text", "document", "labels", "faces"],
        },
        "count": own
        | {
            "model": "count",
            "tasks": ["translate"],
            "languages": {"source": ["en"], "target": ["de"]},
        },
        "dead-eleven": {"api": "elevenlabs", "model": "eleven_v3", "base": DEAD},
        "dead-speech": {"api": "google_speech", "model": "default", "base": DEAD},
        "dead-vision": {"api": "google_vision", "model": "builtin/stable", "base": DEAD},
        "dead-deepl": {"api": "deepl", "model": "pro", "base": DEAD},
    }
    tasks = {
        "speak": ("dead-eleven", "voice"),
        "transcribe": ("dead-speech", "whisper"),
        "annotate": ("dead-vision", "eyes"),
        "translate": ("dead-deepl", "count"),
    }
    routes = {
        task: {
            "task": task,
            "backends": list(names),
            "promise": {"deadline": "60s"},
            # The dead vendor is asked first until its breaker opens.
            "rules": [{"when": "true", "prefer": [names[0]]}],
        }
        for task, names in tasks.items()
    }
    config = {"exchange": {"EUR": 1.15}, "backends": backends, "routes": routes}
    with router(tmp_path_factory.mktemp("doors"), config) as running:
        yield Clients(running.url)


@pytest.fixture(scope="module")
def spoken(clients):
    if MISSING:
        pytest.skip(MISSING)
    return clients.say("speak", SENTENCES, "wav")


@needs_espeak
def test_openais_and_googles_sdk_write_down_what_was_said(clients, spoken):
    """The voice and the ear are local; few words are wrong."""
    assert wrong_words(SENTENCES, clients.write("transcribe", spoken)) <= WRONG
    assert wrong_words(SENTENCES, transcript(clients.recognize(spoken))) <= WRONG


@needs_espeak
@pytest.mark.parametrize("form", ["mp3_44100_128", "mp3_22050_32", "pcm_16000", "opus_48000_64"])
def test_elevenlabs_sdk_hears_the_local_voice(clients, form):
    """In its own formats, and the words are in it."""
    sound = clients.speak(SENTENCES, form)
    kind, rate = form.split("_")[0], int(form.split("_")[1])
    heard = audio.probe(sound, encoding="pcm_s16le" if kind == "pcm" else "", sample_rate_hz=rate)
    assert heard.sample_rate_hz == rate
    flac, _ = audio.recode(sound, heard, "flac")
    assert wrong_words(SENTENCES, clients.write("transcribe", flac)) <= WRONG


@needs_espeak
def test_streams_of_the_local_voice(clients, spoken):
    """Both SDKs; as long as the whole answer."""
    length = audio.probe(spoken).seconds
    for sound in (clients.say_stream("speak", SENTENCES), clients.speak_stream(SENTENCES)):
        seconds = audio.probe(sound, encoding="pcm_s16le", sample_rate_hz=24_000).seconds
        assert seconds == pytest.approx(length, rel=0.1)


@needs_espeak
def test_words_and_segments_have_times(clients, spoken):
    """OpenAI's verbose form and subtitles, Google's word offsets."""
    file = ("said.wav", spoken, "audio/wav")
    make = clients.openai.audio.transcriptions.create
    told = make(
        model="transcribe",
        file=file,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert told.language == "english"
    assert told.duration == pytest.approx(audio.probe(spoken).seconds, abs=0.1)
    assert told.words[0].word.strip(" ,.").lower() == "the"
    assert told.segments[-1].end <= told.duration + 0.1
    assert "-->" in make(model="transcribe", file=file, response_format="srt")
    found = clients.recognize(spoken, enable_word_time_offsets=True)
    offsets = [w.start_time.total_seconds() for r in found.results for w in r.alternatives[0].words]
    assert offsets == sorted(offsets)
    assert len(offsets) > 15


def test_googles_sdk_sees_by_the_local_models(clients):
    """A page's text, an espresso, a cat, a face."""
    page = clients.look((IMAGES / "page.png").read_bytes(), "DOCUMENT_TEXT_DETECTION")
    assert "markers of the coins" in " ".join(page.full_text_annotation.text.lower().split())
    cat = clients.look((IMAGES / "chelsea.png").read_bytes(), "LABEL_DETECTION")
    assert "cat" in cat.label_annotations[0].description
    face = clients.look((IMAGES / "astronaut.png").read_bytes(), "FACE_DETECTION")
    (corner, _, opposite, _) = face.face_annotations[0].bounding_poly.vertices
    assert corner.x < 224 < opposite.x
    assert corner.y < 125 < opposite.y


def test_deepls_sdk_is_translated_by_the_local_model(clients):
    """A closed language: all of its words, and a clear refusal of all else."""
    import deepl

    for english, german in COUNT.items():
        assert clients.translate(english) == german
    with pytest.raises(deepl.DeepLException, match="one to four"):
        clients.translate("The harbour was closed.")
