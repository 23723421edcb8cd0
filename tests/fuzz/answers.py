"""Readers of vendors' answers, and what must hold whatever bytes they are given.

a reader raises Malformed and nothing else, and what it reads its caller's door can write
a usage is one that can be charged: no count below zero, no part above its whole
a stream cut anywhere gives the same events; cut short it has no end, and no usage but the true
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from itertools import pairwise
from struct import pack
from typing import Any, NamedTuple

from msgspec import Raw
from msgspec.structs import replace

from router import apis
from router.core import task as hub
from router.core.api import Api, Door, Malformed, Told
from router.core.call import Call, Key, Usage
from router.core.counts import MOST
from router.core.errors import RouterError
from router.core.reply import Reply
from router.core.verdict import INVALID, OK, judge
from router.doors.paths import entrances

from .bodies import GOOD, PARAMS, SAID, SEEN, WAV, encoded

VECTOR = b64encode(pack("<4f", 1, 2, 3, 4)).decode()
RESULTS: dict[str, hub.Result] = {
    "chat": hub.TextResult(texts=("Hé 🙂",), finish=("stop",)),
    "complete": hub.TextResult(texts=("there was",), finish=("length",)),
    "embed": hub.EmbedResult(vectors=(VECTOR, VECTOR), dimensions=4),
    "classify": hub.ClassifyResult(rankings=(hub.Ranking(labels=("a", "b"), scores=(0.9, 0.1)),)),
    "translate": hub.TranslateResult(texts=("Hallo",), detected=("en",)),
    "speak": hub.SpeakResult(audio=WAV, encoding="wav", sample_rate_hz=16_000),
    "transcribe": hub.TranscribeResult(
        text="a b",
        language="en",
        seconds=0.1,
        segments=(hub.Segment(start=0, end=0.1, text="a b"),),
        words=(hub.Word(start=0, end=0.05, text="a"), hub.Word(start=0.05, end=0.1, text="b")),
    ),
    "annotate": hub.AnnotateResult(
        images=(
            hub.Annotated(
                annotations=(hub.Annotation(feature="text", text="x", box=(0, 0, 1, 1)),),
                width=1,
                height=1,
            ),
        )
    ),
}
SEEN_BY_A_CHAT = (
    b'{"choices":[{"message":{"content":"{\\"labels\\":[\\"cat\\"],\\"text\\":[\\"x\\"]}"}}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":4},"model":"m"}'
)
USED = Usage(7, 3, characters=2, seconds=1.0, images=1, credits=2, features=(("text", 1),))


class Target(NamedTuple):
    """One way in which an answer is read."""

    api: Api
    door: Door
    call: Call
    model: str

    def __str__(self) -> str:
        return f"{self.api.name}-{self.call.wire}{self.call.path}-{self.call.task}-{self.model}"


OWN: tuple[dict[str, Any], ...] = (
    {"task": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
    {"task": "complete", "prompt": "hi", "max_tokens": 5},
    {"task": "embed", "texts": ["a", "b"]},
    {"task": "classify", "texts": ["a"], "labels": ["a", "b"]},
    {"task": "speak", "text": "hi", "encoding": "wav"},
    {"task": "transcribe", "audio": SAID, "language": "en"},
    {"task": "annotate", "images": [SEEN], "features": [["text", 1]]},
)
"""What our own wire has on one path."""


def calls() -> Iterator[tuple[Door, Call]]:
    """A call for each path of each door, whole, and streamed where its task can be."""
    for door, path in entrances():
        if path.pattern.endswith("/with-timestamps"):
            continue  # refused: served by nobody
        for body in (GOOD[path.pattern], *(OWN if door.wire == "torchserve" else ())):
            call = _call(door, path.pattern, body)
            yield door, call
            if call.task in {"chat", "complete", "speak"} and not call.stream:
                yield door, replace(call, stream=True)


def _call(door: Door, pattern: str, body: Any) -> Call:
    raw, kind = encoded(pattern, body)
    params = {n: v for n, v in PARAMS.items() if f"{{{n}}}" in pattern}
    tasks = {"translate": body.get("task", "translate")}
    ask = door.ask(pattern, raw, Told(params, {}, {b"content-type": kind.encode()}, tasks))
    return Call(
        id="c1", key=Key("k"), route=ask.route or "r", task=ask.task, request=ask.request,
        wire=door.wire, fields=ask.fields, extras=ask.extras, created=1_790_000_000, arrived=0.0,
        deadline=30.0, text_bytes=ask.text_bytes, input_tokens=ask.text_bytes // 4 + 1,
        input_bound=ask.token_bound, output_limit=50 if ask.task in {"chat", "complete"} else 0,
        stream=ask.stream, path=pattern,
    )  # fmt: skip


def targets() -> list[Target]:
    """Every api with every call that it can serve."""
    found = []
    loaded = [apis.load(name) for name in apis.NAMES if name != "native"]
    for door, call in calls():
        for api in loaded:
            for model in ("m", "gpt-4o-mini-tts") if _two_forms(api, call) else ("m",):
                if call.task in api.tasks and not api.unfit(call, model) and _heard(api, call):
                    found.append(Target(api, door, call, model))
    return found


def _two_forms(api: Api, call: Call) -> bool:
    """Some models of OpenAI's answer in events, and are billed by token."""
    return api.name == "openai" and call.task in {"speak", "transcribe"}


def _heard(api: Api, call: Call) -> bool:
    """Encodings that a backend has not are asked for in another: `layers/adapt.py`."""
    request = call.request
    return not isinstance(request, hub.SpeakRequest) or request.encoding in api.encodings["speak"]


def good(target: Target) -> bytes:
    """An answer as the target's vendor gives it: its own door writes them."""
    if target.api.name == "openai" and target.call.task == "annotate":
        return SEEN_BY_A_CHAT
    if target.model.startswith("gpt-4o") and target.call.task == "speak":
        return streamed(target)
    door, call = _own(target)
    reply = Reply(backend="b", result=RESULTS[call.task], usage=USED)
    reply.model = "m"
    return door.whole(call, reply)


def streamed(target: Target) -> bytes:
    """The same in pieces, as the target's vendor streams it."""
    door, call = _own(target)
    call = replace(call, stream=True, request=_wanting(call.request))
    if door.wire == "openai" and call.task == "speak":
        call = replace(call, fields={"stream_format": _SSE})
    reply = Reply(backend="b", usage=USED)
    writer = door.events(call, reply)
    events: list[Any] = [hub.Delta(text="Hé"), hub.Delta(text=" 🙂"), hub.Finish(reason="stop")]
    if call.task == "speak":
        events = [hub.Audio(data=WAV, encoding="pcm_s16le", sample_rate_hz=16_000)]
    return b"".join(writer.event(e) for e in events) + writer.end(USED)


_SSE = Raw(b'"sse"')


def _wanting(request: Any) -> Any:
    return replace(request, usage_wanted=True) if hasattr(request, "usage_wanted") else request


def _own(target: Target) -> tuple[Door, Call]:
    """The door of the vendor's own wire, and a call of the same task and form there."""
    if target.call.wire == target.api.name:
        return target.door, target.call
    return next(
        (door, call)
        for door, call in calls()
        if door.wire == target.api.name and call.task == target.call.task
    )


# The laws.


def read_whole(target: Target, body: bytes) -> bool:
    """Whether *body* passed as an answer. Raises whatever a reader should not."""
    api, door, call, model = target
    reader = api.reader(call, model)
    try:
        reader.head({})
        result = reader.whole(body)
    except Malformed as exc:
        assert str(exc)  # noqa: PT017
        return False
    charged(reader.usage)
    if reader.failed is not None:
        status, failure = reader.failed
        assert judge(api.name, status, failure.code) is not OK
        return False
    reply = Reply(backend="b", usage=reader.usage)
    reply.model = reader.model
    if isinstance(result, bytes):
        reply.body = result
    else:
        reply.result = result
    try:
        assert isinstance(door.whole(call, reply), bytes)
    except RouterError as exc:
        assert exc.status == 502  # noqa: PT017 - audio that cannot be measured, told as it is
        return False
    door.head(call, reply)
    return True


def read_head(target: Target, headers: Mapping[bytes, bytes]) -> None:
    """Headers alone never break it."""
    reader = target.api.reader(target.call, target.model)
    try:
        reader.head(headers)
    except Malformed:
        return
    charged(reader.usage)


def read_stream(target: Target, data: bytes, cuts: list[int]) -> None:
    """Cut at *cuts*, *data* is what it is at once."""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    at_once = _play(target, [data])
    in_pieces = _play(target, [data[a:b] for a, b in pairwise(places)])
    # A fault later in one piece hides the events before it; what is told agrees as far as it goes.
    if at_once.ended or not at_once.malformed:
        assert in_pieces == at_once, (at_once, in_pieces)
    else:
        assert in_pieces.malformed
        assert in_pieces.usage in {None, at_once.usage}


class Heard(NamedTuple):
    """What a stream said."""

    raw: bytes
    events: list[Any]
    usage: Usage | None
    ended: bool
    malformed: bool


def _play(target: Target, chunks: list[bytes]) -> Heard:
    api, door, call, model = target
    reader = api.reader(call, model)
    raw, events, malformed = b"", [], False
    reply = Reply(backend="b")
    writer = door.events(call, reply) if call.stream else None
    try:
        for chunk in chunks:
            if reader.end():
                break
            for event in reader.feed(chunk):
                assert event, "no empty events"
                if writer is not None:
                    assert isinstance(writer.event(event), bytes)
                if isinstance(event, bytes):
                    raw += event
                else:
                    events.append(event)
    except Malformed as exc:
        assert str(exc)  # noqa: PT017
        malformed = True
    charged(reader.usage)
    if reader.end() and writer is not None:
        assert isinstance(writer.end(reader.usage), bytes)
    return Heard(raw, _joined(events), reader.usage, reader.end(), malformed)


def _joined(events: list[Any]) -> list[Any]:
    """Pieces of bare audio have no bounds of their own."""
    audio = b"".join(e.data for e in events if isinstance(e, hub.Audio))
    return [audio, *(e for e in events if not isinstance(e, hub.Audio))]


def read_failure(target: Target, status: int, body: bytes) -> None:
    """An error's body is read, judged and written, for its own wire and any other."""
    api, door, call, _ = target
    found = api.failure(status, body)
    assert isinstance(found.code, str)
    assert isinstance(found.message, str)
    judge(api.name, status, found.code)
    reply = Reply(backend="b", status=status, verdict=INVALID)
    own = call.wire == api.name
    reply.failure = found if own else replace(found, raw=b"")
    assert door.whole(call, reply)


def charged(usage: Usage | None) -> None:
    """What can be charged: counts within reason, parts within their wholes."""
    if usage is None:
        return
    counts = [getattr(usage, name) for name in Usage.__struct_fields__ if name != "features"]
    counts += [count for _, count in usage.features]
    assert all(0 <= count <= MOST for count in counts), usage
    assert usage.cached_tokens + usage.written_tokens <= usage.input_tokens
    assert usage.audio_input_tokens <= usage.input_tokens
    assert usage.audio_output_tokens <= usage.output_tokens
