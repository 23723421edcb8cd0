"""Reads what TorchServe's clients send into the hub.

* The bodies of `docs/decisions/0001`: JSON with `task`; unknown fields are refused.
* What clients of other handlers send: the bare text, sound or image, as the body, as the field
  `data` or `body` of a form, or as `{"data": ...}`. What is asked of it is what the path's route
  does: a chat of one message, a text to speak, an image to label.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from router.apis.openai.asks import MESSAGE_TOKENS, text_size
from router.apis.openai.form import read_form
from router.core.api import Ask, Told
from router.core.counts import UNREADABLE
from router.core.errors import BadRequest, UnknownRoute
from router.core.task import TASKS, Task, TranscribeRequest

from .bodies import Annotate, Bodies, Body, Transcribe

LABELS = 10
"""Labels of a bare image at most."""
_FIELDS = ("data", "body")

_values = msgspec.json.Decoder()
_body: msgspec.json.Decoder[Body] = msgspec.json.Decoder(Bodies)


def ask(body: bytes, told: Told) -> Ask:
    """The call that a body asks for. Raises BadRequest."""
    route = told.params.get("model", "")
    data, named = _unwrapped(body, told.headers.get(b"content-type", b""))
    if not named and data.lstrip()[:1] != b"{":
        return _ask(route, _bare(data, route, told), len(body))
    try:
        try:
            return _ask(route, _body.decode(data), len(body))
        except msgspec.ValidationError as exc:
            first = exc
        found = _values.decode(data)  # what follows a wrong value may be no JSON at all
    except UNREADABLE as exc:
        raise BadRequest(
            f"The body is not valid JSON: {exc}. Send one JSON object.", code="invalid_json"
        ) from exc
    if isinstance(found, dict) and "task" in found:
        raise _wrong(first) from first
    return _ask(route, _tasked(found, route, told), len(body))


def _unwrapped(body: bytes, kind: bytes) -> tuple[bytes, bool]:
    """What the body or its form holds, and whether that is named as JSON."""
    said = kind.partition(b";")[0].strip().lower()
    if said == b"multipart/form-data":
        parts = [p for p in read_form(body, kind) if p.name in _FIELDS]
        if len(parts) != 1:
            raise _no_field(f"{len(parts)} of them")
        return parts[0].value, parts[0].content_type.startswith("application/json")
    # Clients that send JSON by hand often leave the form's content type on it.
    if said == b"application/x-www-form-urlencoded" and body.lstrip()[:1] != b"{":
        pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="utf-8")
        values = [value for name, value in pairs if name in _FIELDS]
        if len(values) > 1:
            raise _no_field(f"{len(values)} of them")
        # Without one it is no form: `curl --data-binary @file` says so of any bytes.
        return (values[0].encode("utf-8", "surrogateescape") if values else body), False
    return body, said == b"application/json"


def _no_field(found: str) -> BadRequest:
    return BadRequest(f"A form needs one field `data` (or `body`); this one has {found}.")


def _tasked(found: Any, route: str, told: Told) -> Body:
    """The body of a JSON value that does not say its task."""
    if isinstance(found, dict) and len(found) == 1 and next(iter(found)) in _FIELDS:
        found = next(iter(found.values()))
        if isinstance(found, dict) and "task" in found:
            return _converted(found)
    task = _task_of(route, told)
    if isinstance(found, dict):
        return _converted({"task": task, **found})
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise BadRequest(
            "The body must be a JSON object with `task`, or with `data`: a text, or several.",
            code="invalid_type",
        )
    if task in {"embed", "classify"}:
        return _converted({"task": task, "texts": texts})
    if len(texts) != 1:
        raise BadRequest(f"Route {route!r} takes one text at a time for {task}.", param="data")
    if task == "transcribe":
        return _converted({"task": task, "audio": texts[0]})
    if task == "annotate":
        return _converted({"task": task, "images": texts, "features": [["labels", LABELS]]})
    return _of_text(texts[0], task)


def _bare(data: bytes, route: str, told: Told) -> Body:
    """The body of a text, a recording or an image that stands for itself."""
    if not data.strip():
        raise BadRequest("The body is empty: send a JSON object with `task`.", code="empty")
    task = _task_of(route, told)
    if task == "transcribe":
        return Transcribe(audio=data)
    if task == "annotate":
        return Annotate(images=(data,), features=(("labels", LABELS),))
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise BadRequest(
            f"The body is no text in UTF-8, and no JSON object: {exc}.", code="invalid_type"
        ) from exc
    return _of_text(text, task)


def _of_text(text: str, task: Task) -> Body:
    if task == "translate":
        raise BadRequest(
            'A translation needs a language: send {"task": "translate", "texts": [...], '
            '"target": "de"}.',
            param="target",
        )
    forms: dict[str, dict[str, Any]] = {
        "chat": {"messages": [{"role": "user", "content": text}]},
        "complete": {"prompt": text},
        "speak": {"text": text},
    }
    return _converted({"task": task, **forms.get(task, {"texts": [text]})})


def _task_of(route: str, told: Told) -> Task:
    """What the path's route does, for bodies that do not say what they ask for."""
    if route in told.tasks:
        return told.tasks[route]
    if told.tasks:
        raise UnknownRoute(f"There is no route {route!r}: put one into the path.", param="model")
    raise BadRequest(
        f"The body does not say what it asks for: send a JSON object whose `task` is one of "
        f"{', '.join(TASKS)}.",
        param="task",
    )


def _converted(value: dict[str, Any]) -> Body:
    try:
        found: Body = msgspec.convert(value, Bodies)
        return found
    except msgspec.ValidationError as exc:
        raise _wrong(exc) from exc


def _wrong(exc: msgspec.ValidationError) -> BadRequest:
    return BadRequest(f"The body is not right: {exc}.", code="invalid_type")


def _ask(route: str, body: Body, size: int) -> Ask:
    texts, request = body.texts_read(), body.request()
    # As much as a text that is read aloud in that time.
    heard = int(50 * request.seconds) if isinstance(request, TranscribeRequest) else 0
    return Ask(
        route,
        body.task,
        request,
        {},
        stream=getattr(body, "stream", False),
        text_bytes=sum(map(text_size, texts)) + heard,
        token_bound=size + MESSAGE_TOKENS * len(texts),
    )
