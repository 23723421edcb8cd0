"""A row per local task: through TorchServe beside the bare model, and how good the answers are.

Served and bare take turns in one run, on the same files and items; the bare model is given its
batch whole. Chat and embeddings are in the part `serving`. No aim is set for these rows.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from .bare_engines import Apart
from .bare_tasks import Classifier, Listener, Speaker, Translator, Viewer, answers, speed
from .client import Load, calls, client
from .part_serving import PAUSE
from .result import Chart, Part, Row, Skipped
from .scale import Room
from .statistics import median, ratios, rounds
from .task_models import EAR, EYE, READER, VOICE, Closed, gather, voice_lacks
from .task_texts import (
    LABELLED,
    PAGE,
    PASSAGE,
    RECORDING,
    SENTENCES,
    right,
    words,
    words_found,
    wrong_words,
)
from .torchserve import Serving, archive, serving, unpack

IN_FLIGHT = (1, 4)
WARM = 2
SECONDS = 40.0
"""Of one task's rounds, above which no further one is begun."""
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Asked:
    """A task as it is measured.

    `body` is the wire's for one item, `made` what one answer counts in `unit`; `calls` are made in
    each round with 4 in flight, half as many with 1.
    """

    name: str
    model: str
    unit: str
    body: Callable[[Any], dict[str, Any]]
    made: Callable[[dict[str, Any]], float]
    calls: int


@dataclass
class Place:
    """Where the tasks are measured; `heard` is what the voice said, for the ear."""

    room: Room
    part: Part
    served: Serving
    closed: Closed
    recording: bytes = b""
    passage: bytes = b""

    def bare(self, kind: type, name: str) -> Any:
        """The bare model of an archive, to be left. Raises Skipped where it is not packed."""
        return closing(Apart(kind, unpack(archive(self.room, name), self.room.folder / name)))


def run(room: Room) -> Part:
    """Percent of the bare model's speed, and quality in the task's own measure."""
    part = Part("tasks")
    room, closed, names = gather(room)
    bars: dict[str, dict[str, float]] = {}
    with serving(room, names) as served:
        place = Place(room, part, served, closed)
        for task in (_translate, _classify, _speak, _transcribe, _annotate):
            try:
                bars |= task(place)
            except Skipped as exc:
                part.notes.append(f"left out: {task.__name__.strip('_')}: {exc}")
    part.charts.append(Chart("Local tasks: TorchServe by the bare model", "%", bars))
    return part


async def _load(served: Serving, asked: Asked, items: Sequence[Any], in_flight: int) -> Load:
    target = served.target(asked.model)
    bodies = [_encode(asked.body(item)) for item in items]
    async with client() as pool:
        return await calls(pool, target, bodies.__getitem__, total=len(bodies), in_flight=in_flight)


def _replies(served: Serving, asked: Asked, items: Sequence[Any]) -> list[dict[str, Any]]:
    """The answers in the order of the items: one call at a time."""
    load = asyncio.run(_load(served, asked, items, 1))
    return [msgspec.json.decode(answer) for answer in load.answers]


def _served_speed(served: Serving, asked: Asked, items: Sequence[Any], in_flight: int) -> float:
    load = asyncio.run(_load(served, asked, items, in_flight))
    return sum(asked.made(msgspec.json.decode(answer)) for answer in load.answers) / load.elapsed


def _measure(
    place: Place, engine: Apart, asked: Asked, items: Sequence[Any]
) -> dict[str, dict[str, float]]:
    """Rows of one task's speed; its bars for the chart."""
    room, ours, theirs = place.room, defaultdict[str, list[float]](list), defaultdict(list)
    most = max(IN_FLIGHT)
    warm = [items[at % len(items)] for at in range(WARM)]
    _served_speed(place.served, asked, warm, WARM)
    engine.do(speed, warm, WARM)
    for _ in rounds(room.scale.serving_rounds, SECONDS):
        for n in IN_FLIGHT:
            total = asked.calls * room.scale.chat_waves // (1 if n == most else 2)
            given = [items[at % len(items)] for at in range(total)]
            name = f"{n} in flight"
            time.sleep(PAUSE)
            ours[name].append(_served_speed(place.served, asked, given, n))
            time.sleep(PAUSE)
            theirs[name].append(engine.do(speed, given, n))
    bars = {}
    for name, seen in ours.items():
        share = 100 * ratios(seen, theirs[name])
        detail = f"{median(seen):.3g} beside {median(theirs[name]):.3g} {asked.unit}"
        place.part.rows.append(
            Row(f"{asked.name}, served / bare model, {name}", share, "%", detail=detail)
        )
        bars[name] = share
    place.part.raw[asked.name] = {"served": dict(ours), "bare": dict(theirs), "unit": asked.unit}
    return {asked.name: bars}


def _quality(place: Place, name: str, value: float, detail: str) -> None:
    place.part.rows.append(Row(name, value, "%", detail=detail))
    place.part.raw.setdefault("quality", {})[name] = {"percent": value, "detail": detail}


def _one(_: dict[str, Any]) -> float:
    return 1.0


def _translation(texts: Sequence[str]) -> dict[str, Any]:
    return {"task": "translate", "texts": texts, "source": "en", "target": "de"}


def _translate(place: Place) -> dict[str, dict[str, float]]:
    closed = place.closed
    asked = Asked(
        "translate",
        closed.model,
        "sentences/s",
        lambda text: _translation([text]),
        _one,
        16,
    )
    english, german = list(closed.pairs), list(closed.pairs.values())
    with place.bare(Translator, closed.model) as engine:
        bars = _measure(place, engine, asked, english)
        bare = right(german, engine.do(answers, english))
    (reply,) = _replies(place.served, replace(asked, body=_translation), [english])
    found = [translation["text"] for translation in reply["translations"]]
    detail = f"{closed.model}, {closed.what}; the bare model {bare:.3g} %"
    _quality(place, "translate, letter by letter right", right(german, found), detail)
    return bars


def _classify(place: Place) -> dict[str, dict[str, float]]:
    labels = list(LABELLED)
    asked = Asked(
        "classify",
        READER,
        "texts/s",
        lambda item: {"task": "classify", "texts": [item[0]], "labels": item[1]},
        _one,
        64,
    )
    # Labels take turns, so that a round of some items has all of them.
    items = [(text, labels) for turn in zip(*LABELLED.values(), strict=True) for text in turn]
    wanted = labels * (len(items) // len(labels))
    with place.bare(Classifier, READER) as engine:
        bars = _measure(place, engine, asked, items)
        bare = right(wanted, engine.do(answers, items))
    found = [reply["results"][0]["labels"][0] for reply in _replies(place.served, asked, items)]
    detail = f"{READER}, {len(items)} texts, {len(labels)} labels; the bare model {bare:.3g} %"
    _quality(place, "classify, zero-shot right", right(wanted, found), detail)
    return bars


def _hearing() -> Asked:
    return Asked(
        "transcribe",
        EAR,
        "s of audio/s",
        lambda file: {"task": "transcribe", "audio": _text(file), "language": "en"},
        lambda reply: reply["seconds"],
        4,
    )


def _speak(place: Place) -> dict[str, dict[str, float]]:
    asked = Asked(
        "speak",
        VOICE,
        "s of audio/s",
        lambda text: {"task": "speak", "text": text},
        lambda reply: reply["seconds"],
        8,
    )
    if lacking := voice_lacks():
        raise Skipped(lacking)
    with place.bare(Speaker, VOICE) as engine:
        bars = _measure(place, engine, asked, SENTENCES)
        place.recording, place.passage = engine.do(answers, [RECORDING, PASSAGE])
    spoken = [
        base64.b64decode(reply["audio"]) for reply in _replies(place.served, asked, SENTENCES)
    ]
    archive(place.room, EAR)
    heard = [reply["text"] for reply in _replies(place.served, _hearing(), spoken)]
    many = sum(len(words(text)) for text in SENTENCES)
    detail = f"{VOICE}, {many} words in {len(SENTENCES)} sentences, read back by {EAR}"
    _quality(place, "speak, wrong words", wrong_words(SENTENCES, heard), detail)
    return bars


def _transcribe(place: Place) -> dict[str, dict[str, float]]:
    if not place.passage:
        raise Skipped("no voice has spoken what is to be transcribed")
    asked = _hearing()
    with place.bare(Listener, EAR) as engine:
        bars = _measure(place, engine, asked, [place.recording])
        bare = wrong_words([PASSAGE], engine.do(answers, [place.passage]))
    (reply,) = _replies(place.served, asked, [place.passage])
    detail = (
        f"{EAR}, {len(words(PASSAGE))} words in {reply['seconds']:.0f} s spoken by {VOICE}; the "
        f"bare model {bare:.3g} %"
    )
    _quality(place, "transcribe, wrong words", wrong_words([PASSAGE], [reply["text"]]), detail)
    return bars


def _annotate(place: Place) -> dict[str, dict[str, float]]:
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise Skipped("the pictures are those of scikit-image, which is not installed")
    pictures = Path(found.origin).parent / "data"
    bars: dict[str, dict[str, float]] = {}
    with place.bare(Viewer, EYE) as engine:
        for feature, names, many in (
            ("labels", ("coffee.png", "chelsea.png"), 16),
            ("faces", ("astronaut.png",), 8),
            ("document", ("page.png",), 4),
        ):
            asked = _seeing(feature, many)
            items = [((pictures / name).read_bytes(), feature) for name in names]
            bars |= _measure(place, engine, asked, items)
        # The last feature was the text of the page.
        bare = words_found(PAGE, " ".join(engine.do(answers, items)[0]))
    (reply,) = _replies(place.served, asked, items)
    read = " ".join(row["text"] for row in reply["images"][0]["annotations"])
    detail = f"{EYE}, {len(words(PAGE))} words of one page; the bare model {bare:.3g} %"
    _quality(place, "annotate, words of a page read right", words_found(PAGE, read), detail)
    return bars


def _seeing(feature: str, many: int) -> Asked:
    return Asked(
        f"annotate: {'text' if feature == 'document' else feature}",
        EYE,
        "images/s",
        lambda item: {"task": "annotate", "images": [_text(item[0])], "features": [[item[1], 0]]},
        _one,
        many,
    )


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
