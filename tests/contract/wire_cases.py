"""Recorded rounds: a client's body, the request it becomes, the backend's answer, what is read.

One JSON file each under `cases/<module of router.apis>/`. `answer`, `stream` or `error` is what
the backend sent; `door` and `api` are the other side of the round where it is another module.
"""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import msgspec

from router import apis
from router.core.api import Api, Door
from router.core.call import Call, Key, Usage
from router.core.task import Delta, EmbedResult, Finish, TextResult
from router.doors.paths import entrances

PATHS = {path.pattern: (door.wire, path.task) for door, path in entrances()}
FOLDER = Path(__file__).parent / "cases"


class Case:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.module, self.name = path.parent.name, path.stem
        self.said: dict[str, Any] = json.loads(path.read_text())
        self.api: Api = apis.load(self.said.get("api", self.module))
        self.door: Door = apis.door(self.said.get("door", self.module))
        self.path: str = self.said["path"]
        self.model: str = self.said["model"]

    def __str__(self) -> str:
        return f"{self.module}-{self.name}"

    @property
    def body(self) -> bytes:
        return json.dumps(self.said["ask"]).encode()

    @property
    def answer(self) -> bytes:
        return json.dumps(self.said["answer"]).encode()

    @property
    def stream(self) -> bytes:
        return "".join(self.said["stream"]).encode()

    @property
    def usage(self) -> Usage:
        return Usage(**self.said["usage"])

    def call(self, body: bytes | None = None, **changes: Any) -> Call:
        """What the door makes of the client's body."""
        ask = self.door.ask(self.path, self.body if body is None else body)
        makes = ask.task in {"chat", "complete"}
        limit = (getattr(ask.request, "max_tokens", None) or 50) * ask.outputs
        given = {
            "id": "c1",
            "key": Key("k"),
            "route": ask.route,
            "task": PATHS[self.path][1],
            "request": ask.request,
            "wire": self.door.wire,
            "fields": ask.fields,
            "extras": ask.extras,
            "created": 1_790_000_000,
            "arrived": 0.0,
            "deadline": 30.0,
            "text_bytes": ask.text_bytes,
            "input_tokens": ask.text_bytes // 4,
            "input_bound": ask.token_bound,
            "output_limit": limit if makes else 0,
            "stream": ask.stream,
        }
        return Call(**(given | changes))


CASES = [Case(path) for path in sorted(FOLDER.glob("*/*.json"))]
WHOLE = [c for c in CASES if "answer" in c.said]
STREAMS = [c for c in CASES if "stream" in c.said]
ERRORS = [c for c in CASES if "error" in c.said]


def heard(call: Call, events: list[Any]) -> str:
    """The text that a client makes out of a stream, hub events or raw frames."""
    texts = []
    for event in events:
        if isinstance(event, Delta):
            texts.append(event.text)
        elif isinstance(event, bytes):
            for frame in event.split(b"\n\n"):
                if frame and frame != b"data: [DONE]":
                    assert frame.startswith(b"data: {"), frame
                    for choice in json.loads(frame[6:]).get("choices", ()):
                        delta = choice.get("delta", choice)
                        texts.append(delta.get("content") or delta.get("text") or "")
        else:
            assert isinstance(event, Finish)
    return "".join(texts)


def read_result(call: Call, result: Any) -> Any:
    """The texts, vectors or labels of a whole answer, hub result or raw body."""
    if isinstance(result, bytes):
        found = msgspec.json.decode(result)
        if call.task == "embed":
            return [row["embedding"] for row in found["data"]]
        return [c["message"]["content"] if "message" in c else c["text"] for c in found["choices"]]
    if isinstance(result, TextResult):
        return list(result.texts)
    if isinstance(result, EmbedResult):
        assert all(len(b64decode(x)) == 4 * result.dimensions for x in result.vectors)
        return list(result.vectors)
    return [list(r.labels) for r in result.rankings]
