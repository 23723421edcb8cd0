"""What real answers of OpenAI cost: our integers against the price that genai-prices computes."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices import extract_usage

from router.apis.openai.backend import OpenAIReader
from router.apis.openai.responding import ResponsesReader
from router.core.money import PICO
from router.prices import listed
from tests.fakes import a_call

RECORDED = json.loads((Path(__file__).parent / "recorded_usage.json").read_text())["answers"]
FLAVORS = {"/chat/completions": "chat", "/embeddings": "embeddings", "/responses": "responses"}


def answer(recorded: dict) -> bytes:
    """As it came, but for its words."""
    bare = {"model": recorded["model"], "usage": recorded["usage"], "object": "response"}
    message = {"type": "message", "content": [{"type": "output_text", "text": "Well."}]}
    bare |= {"status": "completed", "output": [message], "data": [{"embedding": [0.5]}]}
    chosen = {"index": 0, "message": {"content": "Well."}, "finish_reason": "stop"}
    return json.dumps(bare | {"choices": [chosen]}).encode()


@pytest.mark.parametrize(
    "recorded", RECORDED, ids=lambda r: f"{r['model']}-{r['usage']['total_tokens']}"
)
def test_a_recorded_answer_costs_what_the_list_says(recorded):
    """Its usage is read by our reader and by theirs, each by itself; both come to the same sum."""
    task = "embed" if recorded["path"] == "/embeddings" else "chat"
    reader = OpenAIReader(a_call(task=task, wire="openai"))
    if recorded["path"] == "/responses":
        reader = ResponsesReader()
    reader.whole(answer(recorded))
    price = listed("openai", recorded["model"])
    assert reader.usage is not None
    assert price is not None
    theirs = extract_usage(recorded, provider_id="openai", api_flavor=FLAVORS[recorded["path"]])
    assert Decimal(price.of(reader.usage)) / PICO == theirs.calc_price().total_price > 0


def test_what_is_recorded_covers_the_traps():
    """Reasoning, cache read, cache written, audio in, streams and embeddings are among them."""
    used = json.dumps(RECORDED)
    assert len(RECORDED) == 10
    for trap in ('"reasoning_tokens": 192', '"cached_tokens": 4012', '"cache_write_tokens": 4012'):
        assert trap in used
    assert '"audio_tokens": 44' in used
