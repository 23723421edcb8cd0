"""TorchServe's wire for all eight tasks: what one side writes the other reads, both ways.

The backend's requests are read by the handlers' own decoder and by the door; the door's answers by
the backend's reader: three implementations of `docs/decisions/0001` that must agree.
"""

from __future__ import annotations

import io
import json
import wave
from base64 import b64decode, b64encode
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_house import House, house

from router import apis
from router.apis.openai.form import Part, write_form
from router.apis.torchserve.reader import LINE_LIMIT, endless_wav
from router.core import task as hub
from router.core.api import Facts, Malformed, Told
from router.core.call import Call, Key, Usage
from router.core.errors import (
    AttemptFailed,
    BadRequest,
    BrokenStream,
    TooLarge,
    Unauthorized,
    UnknownRoute,
)
from router.core.failure import Failure
from router.core.reply import Reply
from router.core.verdict import INVALID
from serving.worker.wire import decode as handler_reads
from tests.fakes import a_call

API = apis.load("torchserve")
DOOR = apis.door("torchserve")
PATH = "/predictions/{model}"


ROUTES: dict[str, hub.Task] = {task: task for task in hub.TASKS}


def told(route: str, kind: str = "") -> Told:
    return Told(params={"model": route}, headers={b"content-type": kind.encode()}, tasks=ROUTES)


def pcm(count: int = 800) -> bytes:
    return b"".join(
        int(9000 * (i % 40 - 20) / 20).to_bytes(2, "little", signed=True) for i in range(count)
    )


def wav(count: int = 800, rate: int = 16_000) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm(count))
    return out.getvalue()


WAV = wav(800)

# Hub requests that this wire carries.

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
TEXTS = st.lists(TEXT, min_size=1, max_size=4).map(tuple)
TAG = st.sampled_from(["en", "de", "pt-BR", "zh-Hans", "es-419"])
MAYBE = st.none() | TAG
SAMPLING: dict[str, Any] = {
    "max_tokens": st.integers(1, 10_000),
    "temperature": st.none() | st.floats(0, 2),
    "top_p": st.none() | st.floats(0.01, 1),
    "stop": st.lists(TEXT, max_size=3).map(tuple),
    "seed": st.none() | st.integers(-(2**63), 2**63 - 1),
    "usage_wanted": st.just(True),
}
TURN = st.builds(hub.Message, role=st.sampled_from(["system", "user", "assistant"]), text=TEXT)
REQUESTS: dict[str, st.SearchStrategy[Any]] = {
    "chat": st.builds(
        hub.ChatRequest, messages=st.lists(TURN, min_size=1, max_size=3).map(tuple), **SAMPLING
    ),
    "complete": st.builds(hub.CompleteRequest, prompts=TEXT.map(lambda t: (t,)), **SAMPLING),
    "embed": st.builds(hub.EmbedRequest, texts=TEXTS, encoding=st.just("base64")),
    "classify": st.builds(
        hub.ClassifyRequest,
        texts=TEXTS,
        labels=st.none() | st.lists(TEXT, min_size=2, max_size=4, unique=True).map(tuple),
        multi_label=st.booleans(),
    ),
    "translate": st.builds(
        hub.TranslateRequest,
        texts=TEXTS,
        target=TAG,
        source=MAYBE,
        formality=st.sampled_from(["default", "more", "less"]),
    ),
    "speak": st.builds(
        hub.SpeakRequest,
        text=TEXT,
        voice=st.just("") | TEXT,
        encoding=st.sampled_from(["wav", "pcm_s16le"]),
        speed=st.floats(0.1, 10),
    ),
    "transcribe": st.builds(
        hub.TranscribeRequest,
        audio=st.just(WAV),
        encoding=st.just("wav"),
        seconds=st.just(0.05),
        sample_rate_hz=st.just(16_000),
        language=MAYBE,
        timestamps=st.sampled_from(["none", "segment", "word"]),
    )
    | st.builds(
        hub.TranscribeRequest,
        audio=st.integers(1, 50).map(pcm),
        encoding=st.just("pcm_s16le"),
        seconds=st.just(0.0),
        sample_rate_hz=st.sampled_from([8000, 16_000]),
        language=MAYBE,
    ),
    "annotate": st.builds(
        hub.AnnotateRequest,
        images=st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=3).map(tuple),
        features=st.lists(
            st.tuples(st.sampled_from(["text", "labels", "faces", "web"]), st.integers(0, 50)),
            min_size=1,
            max_size=3,
            unique_by=lambda pair: pair[0],
        ).map(tuple),
    ),
}
TASKS = st.sampled_from(hub.TASKS)
ASKED = TASKS.flatmap(lambda task: st.tuples(st.just(task), REQUESTS[task]))


def calling(task: str, request: Any, **changes: Any) -> Call:
    limit = getattr(request, "max_tokens", None) or 0
    return a_call(
        task=task, request=request, wire="torchserve", route="r", output_limit=limit, **changes
    )


def same(found: Any, wanted: Any) -> None:
    """Equal, but for the duration, which a door measures itself."""
    if isinstance(wanted, hub.TranscribeRequest):
        found = msgspec.structs.replace(found, seconds=wanted.seconds)
    assert found == wanted


@given(ASKED, st.booleans())
def test_what_the_backend_sends_the_door_and_the_handlers_read(asked, stream):
    """Each hub request goes out as a body of the wire and comes in as the same request."""
    task, request = asked
    stream = stream and task in {"chat", "complete", "speak"}
    call = calling(task, request, stream=stream)
    assert API.unfit(call) == ""
    sent = API.request(call, "some-model")
    assert sent.path == "/predictions/some-model"
    read = handler_reads({"body": sent.body}, [task])
    assert read.__struct_config__.tag == task
    ask = DOOR.ask(PATH, sent.body, told("r"))
    assert (ask.route, ask.task, ask.stream, ask.extras) == ("r", task, stream, frozenset())
    if stream and task == "speak":
        request = msgspec.structs.replace(request, encoding="pcm_s16le")
    same(ask.request, request)
    assert ask.token_bound >= ask.text_bytes or task == "transcribe"


@given(ASKED)
def test_units_bound_what_is_billed(asked):
    """What a backend may bill is known before, for the tasks that are billed by unit."""
    task, request = asked
    if task not in {"translate", "speak", "transcribe", "annotate"}:
        return
    units = API.units(calling(task, request), "m")
    if task == "translate":
        assert units == Usage(characters=sum(len(t) for t in request.texts))
    elif task == "speak":
        assert units == Usage(characters=len(request.text))
    elif task == "transcribe":
        assert request.seconds <= units.seconds < request.seconds + 1
    else:
        assert units.images == len(request.images)
        assert dict(units.features) == {name: len(request.images) for name, _ in request.features}


# What the wire has no place for.


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (hub.SpeakRequest(text="a", voice="v", encoding="wav", language="en"), "language"),
        (
            hub.TranscribeRequest(audio=WAV, encoding="wav", seconds=0.05, prompt="Isocost"),
            "likely to be said",
        ),
        (
            hub.TranscribeRequest(audio=WAV, encoding="wav", seconds=0.05, temperature=0.4),
            "temperature",
        ),
        (hub.EmbedRequest(texts=("a",), dimensions=3), "dimensions"),
    ],
)
def test_a_field_without_a_place_is_refused(request_, why):
    """It is never dropped: the backend is unfit for the call, and the reason names the field."""
    task = type(request_).__name__.removesuffix("Request").lower()
    assert why in API.unfit(calling(task, request_))
    assert "some_field" in API.unfit(calling(task, request_, extras=frozenset({"some_field"})))


def test_a_neutral_temperature_is_no_wish():
    """Zero is what clients of other wires send as their default."""
    request = hub.TranscribeRequest(audio=WAV, encoding="wav", seconds=0.05, temperature=0)
    assert API.unfit(calling("transcribe", request)) == ""


# Answers, whole.


def results(task: str, request: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911
    """What a backend may have made of *request*, in the hub."""
    score = st.none() | st.floats(0, 1)
    times = st.tuples(st.floats(0, 9), st.floats(0, 9)).map(sorted)
    if task in {"chat", "complete"}:
        finish = st.sampled_from(["stop", "length"])
        return st.builds(
            hub.TextResult, texts=TEXT.map(lambda t: (t,)), finish=finish.map(lambda f: (f,))
        )
    if task == "embed":
        vectors = tuple(b64encode(bytes(12)).decode() for _ in request.texts)
        return st.just(hub.EmbedResult(vectors=vectors, dimensions=3))
    if task == "classify":
        ranking = hub.Ranking(labels=("a", "b"), scores=(0.75, 0.25))
        return st.just(hub.ClassifyResult(rankings=(ranking,) * len(request.texts)))
    if task == "translate":
        size = len(request.texts)
        return st.builds(
            hub.TranslateResult,
            texts=st.lists(TEXT, min_size=size, max_size=size).map(tuple),
            detected=st.lists(MAYBE, min_size=size, max_size=size).map(tuple),
        )
    if task == "speak":
        data = wav(rate=22_050) if request.encoding == "wav" else pcm()
        made = hub.SpeakResult(audio=data, encoding=request.encoding, sample_rate_hz=22_050)
        return st.just(made)
    if task == "transcribe":
        return times.flatmap(
            lambda t: st.builds(
                hub.TranscribeResult,
                text=TEXT,
                language=MAYBE,
                seconds=st.just(0.05),
                segments=st.just(
                    (hub.Segment(start=t[0], end=t[1], text="a"),)
                    if request.timestamps == "segment"
                    else ()
                ),
                words=st.just(
                    (hub.Word(start=t[0], end=t[1], text="a"),)
                    if request.timestamps == "word"
                    else ()
                ),
            )
        )
    box = st.none() | st.tuples(*[st.integers(0, 900)] * 4)
    found = st.builds(
        hub.Annotation,
        feature=st.sampled_from([name for name, _ in request.features]),
        text=TEXT,
        score=score,
        box=box,
    )
    image = st.builds(
        hub.Annotated,
        annotations=st.lists(found, max_size=3).map(tuple),
        width=st.integers(1, 900),
        height=st.integers(1, 900),
    ) | TEXT.map(lambda why: hub.Annotated(error=why))
    size = len(request.images)
    return st.builds(
        hub.AnnotateResult, images=st.lists(image, min_size=size, max_size=size).map(tuple)
    )


ROUNDS = ASKED.flatmap(lambda a: st.tuples(st.just(a[0]), st.just(a[1]), results(*a)))


def replied(task: str, request: Any, result: Any) -> Reply:
    return Reply(backend="b", result=result, usage=billed(task, request, result))


def billed(task: str, request: Any, result: Any) -> Usage:
    if task in {"chat", "complete"}:
        return Usage(12, 34)
    if task in {"embed", "classify"}:
        return Usage(12)
    units = API.units(calling(task, request), "m")
    return Usage(seconds=result.seconds) if task == "transcribe" else units


@given(ROUNDS)
def test_what_the_door_answers_the_backend_reads(round_):
    """Each hub result goes out as an answer of the wire and comes in as the same result and usage."""
    task, request, result = round_
    call = calling(task, request)
    body = DOOR.whole(call, replied(*round_))
    reader = API.reader(call, "m")
    assert reader.whole(body) == result
    assert reader.usage == billed(*round_)
    assert reader.model == "r"


@given(ROUNDS, st.data())
@settings(max_examples=100)
def test_a_spoiled_answer_is_malformed_or_fits(round_, data):
    """With any value of an answer replaced or gone: Malformed, or a result for all that was asked."""
    task, request, result = round_
    call = calling(task, request)
    answer = json.loads(DOOR.whole(call, replied(*round_)))
    body = json.dumps(spoil(answer, data)).encode()
    reader = API.reader(call, "m")
    try:
        found = reader.whole(body)
    except Malformed:
        assert reader.usage is None
        return
    assert type(found) is type(result)
    asked = getattr(request, "texts", getattr(request, "images", ()))
    for name in ("texts", "vectors", "rankings", "images"):
        if asked and hasattr(found, name):
            assert len(getattr(found, name)) == len(asked)
    try:
        assert DOOR.whole(call, Reply(backend="b", result=found, usage=reader.usage))
    except AttemptFailed as exc:
        assert "its audio" in str(exc)  # noqa: PT017


NONSENSE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(-9, 9)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=5,
)


def spoil(value: Any, data: Any) -> Any:
    """One value in it replaced or gone."""
    places: list[tuple[Any, Any]] = []

    def walk(found: Any) -> None:
        items = found.items() if isinstance(found, dict) else enumerate(found)
        for key, inner in list(items):
            places.append((found, key))
            if isinstance(inner, dict | list):
                walk(inner)

    walk(value)
    holder, key = data.draw(st.sampled_from(places))
    # A sound of another kind is another sound, not a spoiled one.
    if key == "audio" or data.draw(st.booleans()):
        holder[key] = data.draw(NONSENSE)
    else:
        del holder[key]
    return value


@pytest.mark.parametrize("task", hub.TASKS)
@given(data=st.data())
@settings(max_examples=20)
def test_any_bytes_are_malformed_or_read(task, data):
    """Whatever a backend answers or streams, reading it raises Malformed or nothing."""
    body = data.draw(st.binary(max_size=200) | st.just(b'{"x":' + b"[" * 100_000))
    request = data.draw(REQUESTS[task])
    for chunks in ([body], [body + b"\n"], [b"\n", body, b"\n"]):
        reader = API.reader(calling(task, request))
        try:
            for chunk in chunks:
                reader.feed(chunk)
        except Malformed as exc:
            assert str(exc)  # noqa: PT017
        assert not reader.end()
    with pytest.raises(Malformed):
        API.reader(calling(task, request)).whole(body)


def test_a_broken_answer_says_what_is_wrong():
    """Fewer results, times that are missing, findings that nobody asked for, another encoding."""
    hear = hub.TranscribeRequest(audio=WAV, encoding="wav", seconds=0.05, timestamps="word")
    see = hub.AnnotateRequest(images=(b"x",), features=(("text", 1),))
    say = hub.SpeakRequest(text="a", voice="", encoding="wav")
    turn = hub.TranslateRequest(texts=("a", "b"), target="de")
    heard = {"text": "hi", "language": None, "seconds": 0.05, "usage": {"seconds": 0.05}}
    face = {"feature": "faces", "text": "", "score": None, "box": None}
    seen = {"images": [{"width": 1, "height": 1, "annotations": [face]}], "usage": {"images": 1}}
    said = {"audio": "AAAA", "sample_rate_hz": 22_050, "usage": {"characters": 1}}
    turned = {"translations": [{"text": "x"}], "usage": {"characters": 2}}
    for task, request, answer, why in (
        ("transcribe", hear, heard, "times of its words"),
        ("annotate", see, seen, "1 results for 1 images"),
        ("speak", say, said | {"encoding": "mp3"}, "'mp3' where wav"),
        ("speak", say, said | {"encoding": "wav", "audio": ""}, "no audio"),
        ("speak", say, said | {"encoding": "wav", "audio": "?"}, "not base64"),
        ("translate", turn, turned, "1 results for 2"),
    ):
        with pytest.raises(Malformed, match=why):
            API.reader(calling(task, request)).whole(json.dumps(answer).encode())


# Streams.

LINES = st.lists(st.binary(min_size=2, max_size=40).map(lambda b: b[: len(b) & ~1]), min_size=1)


def spoken_stream(pieces: list[bytes], characters: int) -> list[bytes]:
    lines: list[dict[str, Any]] = [{"encoding": "pcm_s16le", "sample_rate_hz": 22_050}]
    lines += [{"audio": b64encode(piece).decode()} for piece in pieces]
    seconds = sum(map(len, pieces)) / 44_100
    usage = {"characters": characters}
    lines.append({"finish_reason": "stop", "seconds": seconds, "usage": usage, "model": "joe"})
    return [json.dumps(line).encode() + b"\n" for line in lines]


SAY = hub.SpeakRequest(text="hällo", voice="", encoding="pcm_s16le")


@given(LINES, st.data())
def test_a_stream_of_speech_is_read_however_it_is_cut(pieces, data):
    """Samples, usage, model and end are the same whatever the chunks; a cut stream has no end."""
    stream = b"".join(spoken_stream(pieces, 5))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = API.reader(calling("speak", SAY, stream=True))
    events: list[Any] = []
    for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += reader.feed(stream[a:b])
    assert b"".join(e.data for e in events) == b"".join(pieces)
    assert {(e.encoding, e.sample_rate_hz) for e in events} == {("pcm_s16le", 22_050)}
    assert (reader.end(), reader.usage, reader.model) == (True, Usage(characters=5), "joe")
    cut = API.reader(calling("speak", SAY, stream=True))
    cut.feed(stream[: data.draw(st.integers(0, len(stream) - 1))])
    cut.finish()
    assert (cut.end(), cut.usage) == (False, None)


def test_a_stream_asked_as_a_file_is_a_file():
    """Where WAV was asked for, the samples come after a head that any reader takes."""
    samples = [pcm(1000), pcm(500)]
    say = msgspec.structs.replace(SAY, encoding="wav")
    call = calling("speak", say, stream=True)
    assert json.loads(API.request(call, "m").body)["encoding"] == "pcm_s16le"
    reader = API.reader(call)
    events = [e for line in spoken_stream(samples, 5) for e in reader.feed(line)]
    whole = b"".join(e.data for e in events)
    assert {e.encoding for e in events} == {"wav"}
    assert whole == endless_wav(22_050) + b"".join(samples)
    with wave.open(io.BytesIO(whole)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (22_050, 1, 2)
        assert file.readframes(1500) == b"".join(samples)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([{"audio": "AAAA"}], "before the line"),
        ([{"encoding": "mp3", "sample_rate_hz": 22_050}], "pcm_s16le"),
        ([{"encoding": "pcm_s16le"}], "its rate"),
        ([{"encoding": "pcm_s16le", "sample_rate_hz": 8000}] * 2, "begins with one line"),
        ([{"encoding": "pcm_s16le", "sample_rate_hz": 8000}, {"audio": "AAA="}], None),
        ([{"encoding": "pcm_s16le", "sample_rate_hz": 8000}, {"audio": "AA=="}], "half a sample"),
        ([{"error": {"code": "invalid_request", "message": "no voice"}}], "no voice"),
        ([{"encoding": "pcm_s16le", "sample_rate_hz": 0}], "not a line"),
    ],
)
def test_a_wrong_stream_of_speech_is_malformed(lines, why):
    """The first line says what follows, once; a fault met on the way is told as one."""
    reader = API.reader(calling("speak", SAY, stream=True))
    stream = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    if why is None:
        reader.feed(stream)
        return
    with pytest.raises(Malformed, match=why):
        reader.feed(stream)


def test_a_line_without_end_is_given_up():
    """Memory is bounded by one line."""
    reader = API.reader(calling("speak", SAY, stream=True))
    with pytest.raises(Malformed, match="larger than"):
        list(map(reader.feed, [b"x" * (LINE_LIMIT // 4)] * 5))


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1))
def test_a_stream_of_speech_is_written_in_whole_samples(pieces):
    """Vendors' pieces end anywhere; the door's lines are read by the backend's own reader."""
    call = calling("speak", SAY, stream=True)
    writer = DOOR.events(call, Reply(backend="b"))
    out = b"".join(
        writer.event(hub.Audio(data=p, encoding="pcm_s16le", sample_rate_hz=24_000)) for p in pieces
    )
    reader = API.reader(call)
    events = reader.feed(out + writer.end(Usage(characters=99)))
    data = b"".join(pieces)
    assert b"".join(e.data for e in events) == data[: len(data) & ~1]
    assert reader.end()
    assert reader.usage == Usage(characters=5), "code points of the text, whoever served it"
    last = json.loads((out + writer.end(None)).splitlines()[-1])
    assert last["seconds"] == (len(data) // 2) / 24_000


@given(st.lists(TEXT, max_size=5), st.sampled_from(["stop", "length"]))
def test_a_stream_of_text_is_written(texts, finish):
    """Pieces, then one last line with reason and usage."""
    request = hub.ChatRequest(messages=(hub.Message(role="user", text="hi"),), max_tokens=9)
    call = calling("chat", request, stream=True)
    assert DOOR.head(call, Reply(backend="b")).content_type == "application/x-ndjson"
    writer = DOOR.events(call, Reply(backend="b"))
    events = [*(hub.Delta(text=t) for t in texts), hub.Finish(reason=finish)]
    out = b"".join(map(writer.event, events)) + writer.end(Usage(3, 4))
    reader = API.reader(call)
    assert reader.feed(out) == events
    assert (reader.end(), reader.usage, reader.model) == (True, Usage(3, 4), "r")


def test_an_error_in_a_stream_ends_it():
    """The line that tells it is read as a fault, never as an end."""
    line = DOOR.error_event(BrokenStream("own: it ended early"))
    reader = API.reader(calling("speak", SAY, stream=True))
    with pytest.raises(Malformed, match="it ended early"):
        reader.feed(line)


# The door: what clients of other handlers send.

CAT = b"\x89PNG\r\n\x1a\n not all of it"


def asked(route: str, body: bytes, kind: str = "") -> Any:
    ask = DOOR.ask(PATH, body, told(route, kind))
    assert (ask.route, ask.task) == (route, route)
    return ask.request


@pytest.mark.parametrize("form", ["raw", "form", "urlencoded", "data", "body", "json"])
def test_a_bare_text_is_what_the_route_does(form):
    """As body, as a form's field, as `{"data"}` or `{"body"}`, as a JSON text: it is read the same."""
    text = "Guten Tag, {Welt} & \u4e16\u754c"
    kind = ""
    if form == "raw":
        body = text.encode()
    elif form == "form":
        kind, body = write_form([Part("data", text.encode(), "a.txt", "text/plain")])
    elif form == "urlencoded":
        kind, body = "application/x-www-form-urlencoded", urlencode({"data": text}).encode()
    else:
        kind = "application/json"
        body = json.dumps(text if form == "json" else {form: text}).encode()
    assert asked("chat", body, kind).messages == (hub.Message(role="user", text=text),)
    assert asked("complete", body, kind).prompts == (text,)
    assert asked("embed", body, kind).texts == (text,)
    assert asked("classify", body, kind).texts == (text,)
    assert asked("speak", body, kind).text == text
    with pytest.raises(BadRequest, match="needs a language"):
        asked("translate", body, kind)


@pytest.mark.parametrize("form", ["raw", "form", "data"])
def test_a_bare_recording_or_image_is_what_the_route_does(form):
    """The bytes themselves, a form's file, or base64 in JSON."""

    def sent(data: bytes) -> tuple[bytes, str]:
        if form == "raw":
            return data, "application/octet-stream"
        if form == "form":
            kind, body = write_form([Part("data", data, "a.bin", "application/octet-stream")])
            return body, kind
        return json.dumps({"data": b64encode(data).decode()}).encode(), "application/json"

    heard = asked("transcribe", *sent(WAV))
    assert (heard.audio, heard.encoding, heard.seconds) == (WAV, "wav", 0.05)
    seen = asked("annotate", *sent(CAT))
    assert seen.images == (CAT,)
    assert seen.features == (("labels", 10),)


def test_a_task_may_be_left_out():
    """The route says it; a list of texts is asked at once where the task takes lists."""
    assert asked("translate", b'{"texts":["a"],"target":"de"}').target == "de"
    assert asked("embed", b'["a","b"]', "application/json").texts == ("a", "b")
    assert asked("embed", b'{"data":["a","b"]}').texts == ("a", "b")
    assert asked("speak", b'{"body":{"task":"speak","text":"x","speed":2}}').speed == 2
    with pytest.raises(BadRequest, match="one text at a time"):
        asked("chat", b'["a","b"]', "application/json")


def test_json_with_a_forms_content_type_is_json():
    """As `curl -d` sends it."""
    body = b'{"task":"embed","texts":["a=b&c"]}'
    assert asked("embed", body, "application/x-www-form-urlencoded").texts == ("a=b&c",)


def test_bytes_with_a_forms_content_type_are_bytes():
    """As `curl --data-binary` sends them; of a form with two texts nobody knows which is meant."""
    kind = "application/x-www-form-urlencoded"
    assert asked("transcribe", WAV, kind).audio == WAV
    assert asked("embed", b"a plain text", kind).texts == ("a plain text",)
    with pytest.raises(BadRequest, match="2 of them"):
        asked("embed", b"data=a&body=b", kind)


def test_without_a_known_route_a_bare_body_is_refused():
    """A route that does not exist is a 404; a body that says nothing of its task a 400."""
    with pytest.raises(UnknownRoute) as unknown:
        DOOR.ask(PATH, b"hello", told("nope"))
    assert json.loads(DOOR.error(unknown.value))["type"] == "ModelNotFoundException"
    with pytest.raises(BadRequest, match="`task` is one of chat, complete"):
        DOOR.ask(PATH, b"hello", Told(params={"model": "chat"}))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        (b"{}", "required field"),
        (b"\xff\xfe", "UTF-8"),
        (b'{"task":"sing"}', "sing"),
        (b'{"task":"chat","messages":[]}', "length >= 1"),
        (b'{"task":"chat","messages":[{"role":"user","content":"a"}],"n":2}', "unknown field `n`"),
        (b'{"task":"embed","texts":[""]}', "length >= 1"),
        (b'{"task":"classify","texts":["a"],"labels":["b","b"]}', "the same"),
        (b'{"task":"translate","texts":["a"],"target":"German"}', "regex"),
        (b'{"task":"speak","text":"a","encoding":"mp3"}', "mp3"),
        (b'{"task":"speak","text":"a","speed":0}', "> 0"),
        (b'{"task":"transcribe","audio":"AAAA"}', "cannot be read as audio"),
        (b'{"task":"transcribe","audio":""}', "empty"),
        (b'{"task":"transcribe","audio":"AAAA","encoding":"pcm_s16le"}', "sample rate"),
        (b'{"task":"transcribe","audio":"?"}', "base64"),
        (b'{"task":"annotate","images":[""],"features":[["text",1]]}', "is empty"),
        (b'{"task":"annotate","images":["AAAA"],"features":[]}', "length >= 1"),
        (b'{"task":"annotate","images":["AAAA"],"features":[["text",1],["text",2]]}', "twice"),
        (b'{"data":[1]}', "a text, or several"),
    ],
)
def test_a_bad_body_is_told_in_torchserves_shape(body, said):
    """What is wrong stands in `message`; status and type are those of TorchServe."""
    with pytest.raises(BadRequest) as caught:
        DOOR.ask(PATH, body, told("chat"))
    error = json.loads(DOOR.error(caught.value))
    assert error.keys() == {"code", "type", "message"}
    assert (error["code"], error["type"]) == (400, "BadRequestException")
    assert said in error["message"]


SENT = ASKED.map(lambda a: json.loads(API.request(calling(*a), "m").body))
KINDS = st.sampled_from(
    [
        "",
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
    ]
)


@given(TASKS, KINDS, st.data())
@settings(max_examples=150)
def test_whatever_a_client_sends(route, kind, data):
    """The door raises BadRequest, or reads a call that the backend's side can send."""
    body = data.draw(
        st.binary(max_size=60)
        | NONSENSE.map(lambda v: json.dumps(v).encode())
        | SENT.map(lambda v: json.dumps(spoil(v, data)).encode())
    )
    try:
        ask = DOOR.ask(PATH, body, told(route, kind))
    except BadRequest as exc:
        assert json.loads(DOOR.error(exc))["message"] == str(exc)  # noqa: PT017
        return
    call = calling(ask.task, ask.request, stream=ask.stream)
    handler_reads({"body": API.request(call, "m").body}, hub.TASKS)


def test_a_deep_body_is_no_crash():
    """Brackets without end are bad JSON."""
    with pytest.raises(BadRequest):
        DOOR.ask(PATH, b'{"task":' + b"[" * 100_000, told("chat"))


# Errors, keys, questions.


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Unauthorized("no"), 401, "InvalidKeyException"),
        (UnknownRoute("no"), 404, "ModelNotFoundException"),
        (TooLarge("no"), 413, "RequestEntityTooLargeException"),
        (BrokenStream("no"), 502, "InternalServerException"),
    ],
)
def test_errors_are_named_as_torchserves(error, status, kind):
    """Status, type and message."""
    assert json.loads(DOOR.error(error)) == {"code": status, "type": kind, "message": "no"}


def test_a_backends_refusal_is_told():
    """In the same shape, with the backend's own sentence."""
    reply = Reply(backend="b", status=400, verdict=INVALID)
    reply.failure = Failure("invalid_request", "temperature is negative")
    call = calling("speak", SAY, stream=True)
    said = {"code": 400, "type": "BadRequestException", "message": "temperature is negative"}
    assert json.loads(DOOR.whole(call, reply)) == said
    assert DOOR.head(call, reply).content_type == "application/json"


def test_a_key_is_a_bearer():
    """As TorchServe's token authorization has it."""
    assert DOOR.secret({b"authorization": b"Bearer ik-1"}) == "ik-1"
    assert DOOR.secret({b"authorization": b"Basic ik-1"}) == ""
    assert DOOR.secret({}) == ""


def test_ping_says_healthy():
    """What load balancers of a TorchServe ask."""
    (ping,) = [q for q in DOOR.questions if q.pattern == "/ping"]
    said = ping.answer(Facts(Key("k"), (), Usage()), Told())
    assert json.loads(said) == {"status": "Healthy"}


def test_vectors_are_little_endian_floats():
    """They reach a client as the backend gave them."""
    request = hub.EmbedRequest(texts=("a",), encoding="base64")
    vector = b64encode(bytes.fromhex("0000803f 00000040")).decode()
    reply = Reply(backend="b", result=hub.EmbedResult(vectors=(vector,), dimensions=2))
    said = json.loads(DOOR.whole(calling("embed", request), reply))
    assert b64decode(said["embeddings"][0])[:4] == b"\x00\x00\x80?"
    assert said["usage"] == {"input_tokens": 0}


# The whole router, asked as clients of TorchServe ask.


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with house(tmp_path_factory.mktemp("house")) as made:
        yield made


def post(shop: House, route: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
    """Status, content type and body of an answer."""
    request = Request(f"{shop.base}/predictions/{route}", json.dumps(body).encode())
    try:
        with urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers["content-type"], answer.read()
    except HTTPError as exc:
        return exc.code, exc.headers["content-type"], exc.read()


def test_a_client_of_torchserve_is_served(shop: House):
    """The path's model is the route; texts, sounds and streams come in TorchServe's wire."""
    shop.answers(hub.TextResult(texts=("hi",), finish=("length",)), Usage(3, 4))
    turn = {"role": "user", "content": "hello"}
    status, kind, body = post(shop, "chat-own", {"task": "chat", "messages": [turn]})
    assert (status, kind) == (200, "application/json")
    assert json.loads(body) == {
        "text": "hi",
        "finish_reason": "length",
        "usage": {"input_tokens": 3, "output_tokens": 4},
        "model": "chat-own",
    }
    assert shop.calls[0].output_limit == 256
    shop.answers(
        lambda call: hub.SpeakResult(
            audio=WAV, encoding=call.request.encoding, sample_rate_hz=16_000
        ),
        Usage(characters=5),
    )
    said = json.loads(post(shop, "say-own", {"task": "speak", "text": "hello"})[2])
    assert (b64decode(said["audio"]), said["encoding"], said["seconds"]) == (WAV, "wav", 0.05)
    heard = hub.TranscribeResult(text="hello", language="en", seconds=0.05)
    shop.answers(heard, Usage(seconds=0.05))
    recording = {"task": "transcribe", "audio": b64encode(WAV).decode()}
    said = json.loads(post(shop, "hear-own", recording)[2])
    assert (said["text"], said["language"], said["words"]) == ("hello", "en", [])


def test_a_client_of_torchserve_is_streamed_to(shop: House):
    """JSON lines, the last one with usage."""
    shop.streams(
        [hub.Audio(data=pcm(10), encoding="pcm_s16le", sample_rate_hz=8000)], Usage(characters=2)
    )
    status, kind, body = post(shop, "say-own", {"task": "speak", "text": "hi", "stream": True})
    assert (status, kind) == (200, "application/x-ndjson")
    first, piece, last = map(json.loads, body.splitlines())
    assert first == {"encoding": "pcm_s16le", "sample_rate_hz": 8000}
    assert b64decode(piece["audio"]) == pcm(10)
    assert last["usage"] == {"characters": 2}


def test_a_client_of_torchserve_may_be_served_by_a_paid_api(shop: House):
    """The hub is between: another wire's backend answers in this one."""
    shop.vendor.says(b"\x00\x01" * 120, kind="audio/pcm")
    body = {"task": "speak", "text": "hello", "voice": "nova", "encoding": "pcm_s16le"}
    said = json.loads(post(shop, "say-paid", body)[2])
    assert (said["sample_rate_hz"], said["seconds"]) == (24_000, 120 / 24_000)
    assert said["usage"] == {"characters": 5}
    assert shop.vendor.sent[0].json["voice"] == "nova"


def test_mistakes_are_told_as_torchserve_does(shop: House):
    """No such route, a route of another task, an unknown field."""
    text = {"task": "embed", "texts": ["a"]}
    for route, body, status, kind in (
        ("nope", text, 404, "ModelNotFoundException"),
        ("chat-own", text, 404, "ModelNotFoundException"),
        ("chat-own", text | {"x": 1}, 400, "BadRequestException"),
    ):
        found, content_type, answer = post(shop, route, body)
        error = json.loads(answer)
        assert (found, error["code"], error["type"]) == (status, status, kind)
        assert content_type == "application/json"
    with urlopen(f"{shop.base}/ping", timeout=20) as answer:
        assert json.loads(answer.read()) == {"status": "Healthy"}


def test_a_file_is_put_as_it_is(shop: House):
    """`curl -T file`: bytes without a word of what they are, sent by PUT."""
    shop.answers(hub.TranscribeResult(text="hello", language="en", seconds=0.05), Usage(seconds=1))
    asked = Request(f"{shop.base}/predictions/hear-own", WAV, method="PUT")
    with urlopen(asked, timeout=20) as answer:
        assert json.loads(answer.read())["text"] == "hello"
    assert shop.calls[0].request.audio == WAV
    shop.answers(hub.TextResult(texts=("hi",), finish=("stop",)), Usage(1, 1))
    with urlopen(Request(f"{shop.base}/predictions/chat-own", b"data=Who+is+it%3F")) as answer:
        assert json.loads(answer.read())["text"] == "hi"
    assert shop.calls[0].request.messages[0].text == "Who is it?"
