"""The log: its two forms, the line of a call, and what is in no line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from router import logs
from router.core import verdict as v
from router.core.trace import Trace
from tests.fakes import Client, a_call, answering
from tests.unit.router.test_router_doors import ANN, CONFIG, House, a_body
from tests.unit.router.test_router_records import ended


class Kept:
    """What is logged while it lasts, in one form."""

    def __init__(self, form: logs.Form) -> None:
        self._to = StringIO()
        self.handler = logging.StreamHandler(self._to)
        self.handler.setFormatter(logs.formatter(form))

    @property
    def text(self) -> str:
        return self._to.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(params=["json", "text"])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    keeper = Kept(request.param)
    log = logging.getLogger("isocost")
    level = log.level
    log.addHandler(keeper.handler)
    log.setLevel(logging.INFO)
    yield keeper
    log.removeHandler(keeper.handler)
    log.setLevel(level)


json_only = pytest.mark.parametrize("kept", ["json"], indirect=True)
text_only = pytest.mark.parametrize("kept", ["text"], indirect=True)


@json_only
def test_a_call_is_one_line_of_json(kept: Kept):
    """Who, what, where, how it ended, what it took; its id and its trace's, to find it elsewhere."""
    _call, ending, _ = ended(v.FAULT, v.OK)
    logs.call(a_call(trace=Trace(0xABC, 1, sampled=True)), ending)
    (line,) = kept.lines
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "isocost",
        "message": "call",
        "id": "c1",
        "trace_id": f"{0xABC:032x}",
        "key": "anonymous",
        "team": "default",
        "wire": "openai",
        "route": "chat",
        "task": "chat",
        "stream": False,
        "backend": "b",
        "verdict": "ok",
        "status": 200,
        "seconds": 0.0,
        "cost_usd": "0.000021",
        "attempts": 2,
        "input_tokens": 100,
        "output_tokens": 10,
    }


@text_only
def test_a_call_is_one_line_of_text(kept: Kept):
    """The same, as name=value."""
    call, ending, _ = ended(v.OK)
    logs.call(call, ending)
    assert kept.text.startswith("call id=c1 ") or kept.text.startswith("INFO call id=c1 ")
    assert " backend=a verdict=ok status=200 " in kept.text
    assert kept.text.count("\n") == 1


def test_an_exception_stays_on_one_line_of_json():
    """Whoever reads line by line gets it whole."""
    keeper = Kept("json")
    log = logging.getLogger("isocost.test")
    log.addHandler(keeper.handler)
    log.propagate = False
    try:
        int("odd \ud800 text\nin two lines")
    except ValueError:
        log.exception("it broke: %s", "why")
    log.removeHandler(keeper.handler)
    (line,) = keeper.lines
    assert (line["level"], line["message"]) == ("error", "it broke: why")
    assert "ValueError" in line["exception"]


def house(folder: Path, *, log_calls: bool, **scripts: Any) -> House:
    config = CONFIG.replace("server: {", f"server: {{log_calls: {str(log_calls).lower()}, ")
    return House(folder, config, **scripts)


def test_calls_are_logged_when_asked_for(tmp_path: Path, kept: Kept):
    """One line for each request, those that were refused at the door too; none unless configured."""
    h = house(tmp_path, log_calls=True)
    h.chat()
    h.ask(Client(a_body(), headers={"authorization": "Bearer wrong"}))
    assert len(kept.text.splitlines()) == 2
    silent = house(tmp_path, log_calls=False)
    silent.chat()
    assert len(kept.text.splitlines()) == 2


@json_only
def test_a_line_says_in_one_word_why_there_is_no_answer(tmp_path: Path, kept: Kept):
    """The `code` that the client was told: at the door, by the plan, and by what backends did."""
    h = house(tmp_path, log_calls=True, paid=answering(v.FAULT, name="paid"))
    told = [
        h.ask(Client(a_body(), headers={"authorization": "Bearer wrong"})),
        h.chat(model="nobody-has-it"),
        h.chat(headers={"x-isocost-max-cost-usd": "0.0000000001"}),
        h.chat(),
    ]
    words = [json.loads(client.body)["error"]["code"] for client in told]
    assert [line["reason"] for line in kept.lines] == words
    assert words[:2] == ["invalid_api_key", "model_not_found"]
    assert len(set(words)) == len(words)
    fine = house(tmp_path, log_calls=True)
    fine.chat()
    assert "reason" not in kept.lines[-1]


def test_no_text_and_no_secret_is_in_a_line(tmp_path: Path, kept: Kept):
    """Neither prompt, answer nor key; and what a client chose cannot begin a line of its own."""
    h = house(tmp_path, log_calls=True, paid=answering(v.FAULT, name="paid"))
    said = [{"role": "user", "content": "my s3cret prompt"}]
    headers = {"x-isocost-tags": "s3cret\nINFO forged", "x-request-id": "a\nINFO forged"}
    h.chat(messages=said, headers=headers)
    h.chat(messages=said, model="s3cret", headers=ANN)
    assert len(kept.text.splitlines()) == 2
    for secret in ("s3cret", "forged", "pst", "sk-vendor", "scripted"):
        assert secret not in kept.text
