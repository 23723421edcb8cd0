"""Whatever is sent to a door, it answers: in its own shape, in time, and never with a 500."""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router import apis
from router.core.task import Task
from router.doors.paths import entrances
from tests.fuzz.bodies import FORM, GOOD, SAID, encoded, filled
from tests.system.router.harness import Router, router

pytestmark = pytest.mark.system

APIS: dict[Task, tuple[str, ...]] = {
    "chat": ("torchserve", "openai"),
    "complete": ("torchserve", "openai"),
    "embed": ("torchserve",),
    "classify": ("torchserve",),
    "translate": ("torchserve", "deepl"),
    "speak": ("torchserve", "elevenlabs", "openai"),
    "transcribe": ("torchserve", "openai", "google_speech"),
    "annotate": ("torchserve", "google_vision", "openai"),
}
PATHS = {path.pattern: door for door, path in entrances()}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """Every task by every wire, at an address where nobody answers: all but the answers is real."""
    backends: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    for task, names in APIS.items():
        for api in names:
            backends[f"{task}-{api}"] = {
                "api": api,
                "model": "m",
                "base": "http://127.0.0.1:9",
                "tasks": [task],
                "price": {"per_call_usd": 0.001},
                "breaker": {"in_a_row": 10**6, "least": 10**6},
            }
        promise = {"deadline": "5s"}
        mine = [f"{task}-{api}" for api in names]
        routes[task] = {"task": task, "backends": mine, "promise": promise}
    config = {"server": {"body_limit_mb": 1, "media_limit_mb": 1}, "backends": backends}
    with router(tmp_path_factory.mktemp("fuzz"), config | {"routes": routes}) as made:
        yield made


def send(
    running: Router, pattern: str, body: bytes, kind: str = "application/json", **headers: str
) -> tuple[int, bytes]:
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    try:
        given = {"content-type": kind} | headers
        connection.request("POST", filled(pattern), body, given)
        answer = connection.getresponse()
        raw = answer.read()
    finally:
        connection.close()
    assert time.monotonic() - began < 10
    check(pattern, answer.status, raw)
    return answer.status, raw


def check(pattern: str, status: int, raw: bytes) -> None:
    """An error in the door's own shape, with a sentence."""
    assert status in {400, 401, 402, 403, 404, 413, 415, 422, 502, 503, 504}, (status, raw)
    said = json.loads(raw)
    match PATHS[pattern].wire:
        case "deepl" | "torchserve":
            sentence = said["message"]
        case "elevenlabs":
            detail = said["detail"]
            sentence = detail[0]["msg"] if isinstance(detail, list) else detail["message"]
        case _:
            sentence = said["error"]["message"]
    assert len(sentence) > 10


def test_every_door_is_here() -> None:
    """A new path needs a good body in this file."""
    assert set(PATHS) == set(GOOD)
    assert {door.wire for door in PATHS.values()} == set(apis.doors())


@pytest.mark.parametrize("pattern", PATHS)
def test_a_good_body_fails_only_for_want_of_a_backend(running: Router, pattern: str) -> None:
    """The bodies that are changed below are good ones."""
    status, raw = send(running, pattern, *encoded(pattern, GOOD[pattern]))
    # Times of characters, and images that must stay at a place, are the vendor's own.
    refused = "timestamps" in pattern or "{location}/images" in pattern
    assert status == (400 if refused else 503), raw


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from([10**400, -1, 1e308, "\ud800", "\x00", "", SAID[:50], "a" * 5000]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
FEW = settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*at, index))
    return found


def changed(body: Any, at: tuple[Any, ...], value: Any, *, gone: bool) -> Any:
    made = json.loads(json.dumps(body))
    inner = made
    for step in at[:-1]:
        inner = inner[step]
    if gone:
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    return made


@pytest.mark.parametrize("pattern", PATHS)
@FEW
@given(data=st.data())
def test_changed_bodies_are_answered(running: Router, pattern: str, data: st.DataObject) -> None:
    """A field that is gone, of another type, or out of its range."""
    body: Any = GOOD[pattern]
    for _ in range(data.draw(st.integers(1, 3))):
        if all_places := places(body):
            at = data.draw(st.sampled_from(all_places))
            body = changed(body, at, data.draw(JSONS), gone=data.draw(st.booleans()))
    send(running, pattern, *encoded(pattern, body))


@pytest.mark.parametrize("pattern", PATHS)
@FEW
@given(data=st.data())
def test_any_json_and_any_bytes_are_answered(
    running: Router, pattern: str, data: st.DataObject
) -> None:
    """Bodies that never were of this wire, under any name of their kind."""
    body = data.draw(st.binary(max_size=200) | JSONS.map(lambda v: json.dumps(v).encode()))
    kinds = ["application/json", "text/plain", "application/x-www-form-urlencoded", FORM, "x"]
    send(running, pattern, body, data.draw(st.sampled_from(kinds)))


@pytest.mark.parametrize("pattern", PATHS)
def test_cut_and_torn_bodies_are_answered(running: Router, pattern: str) -> None:
    """Every good body, cut at some places and with bytes changed."""
    body, kind = encoded(pattern, GOOD[pattern])
    dice = random.Random(pattern)
    for _ in range(15):
        at = dice.randrange(len(body))
        send(running, pattern, body[:at], kind)
        torn = bytearray(body)
        torn[at] = dice.randrange(256)
        send(running, pattern, bytes(torn), kind)


@pytest.mark.parametrize("pattern", PATHS)
def test_deep_and_long_bodies_are_answered(running: Router, pattern: str) -> None:
    """Nested a hundred thousand deep; over the limit."""
    for body in (
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"model":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ):
        status, _ = send(running, pattern, body)
        assert 400 <= status < 500
    status, _ = send(running, pattern, b" " * (2 << 20))
    assert status == 413


HEADERS = {
    "x-isocost-deadline-ms": ["0", "-1", "x", "1e999", "nan", "9" * 40],
    "x-isocost-max-cost-usd": ["0", "-1", "x", "inf", "nan", "9" * 400],
    "x-isocost-tags": [",", "a" * 5000, "ä"],
    "x-isocost-route": ["nope", "", "chat"],
    "x-request-id": ["", "a" * 500, "ä b"],
    "content-type": ["", ";", "multipart/form-data", "application/json; charset=latin-1"],
    "authorization": ["", "Bearer", "Basic x", "ä"],
    "content-encoding": ["gzip", "x"],
}


@pytest.mark.parametrize("pattern", PATHS)
def test_odd_headers_are_answered(running: Router, pattern: str) -> None:
    """Values that no client should send."""
    body, kind = encoded(pattern, GOOD[pattern])
    for name, values in HEADERS.items():
        for value in values:
            send(running, pattern, body, **({"kind": kind} | {name.replace("_", "-"): value}))


def test_nothing_of_it_was_charged_or_broke(running: Router) -> None:
    """No attempt cost anything, and no call ended by a fault of the router's own."""
    log = running.program.log.read_text()
    assert "Traceback" not in log
    assert sum(v for k, v in running.metrics().items() if "cost_usd_total" in k) == 0
