"""The stand-in of TorchServe speaks the prediction wire."""

import json

import pytest

from load_tests.sandbox.torchserve import TorchServe
from load_tests.sandbox.vendor import Refusal, Request

SERVE = TorchServe()


def ask(body):
    request = Request("POST", "/predictions/m", {}, json.dumps(body).encode(), 0.0, 1)
    assert SERVE.serves(request)
    return SERVE.answer(request)


def test_a_stream_says_what_the_whole_answer_says_and_ends_with_its_usage():
    """The pieces together are the text; the last line is the only one with a finish reason."""
    asked = {
        "task": "chat",
        "messages": [{"role": "user", "content": "Why rain?"}],
        "max_tokens": 9,
    }
    whole = json.loads(ask(asked).body)
    lines = [json.loads(event.data) for event in ask({**asked, "stream": True}).events]
    assert "".join(line["text"] for line in lines[:-1]) == whole["text"]
    assert lines[-1]["usage"] == whole["usage"]
    assert whole["usage"]["output_tokens"] == 9
    assert whole["finish_reason"] == "length"


def test_labels_are_ranked_and_their_scores_add_up():
    told = json.loads(
        ask({"task": "classify", "texts": ["a fast train"], "labels": ["soup", "train"]}).body
    )
    found = told["results"][0]
    assert found["labels"] == ["train", "soup"]
    assert sum(found["scores"]) == pytest.approx(1.0)


def test_each_text_has_its_vector():
    told = json.loads(ask({"task": "embed", "texts": ["a", "b"]}).body)
    assert len(told["embeddings"]) == 2


@pytest.mark.parametrize(
    "body", [{"task": "sing"}, {"task": "classify", "texts": ["a"]}, {"messages": 1}]
)
def test_what_it_cannot_do_is_refused_as_the_handlers_do(body):
    with pytest.raises(Refusal) as refused:
        ask(body)
    assert refused.value.status == 400


def test_its_answers_are_free():
    assert ask({"task": "complete", "prompt": "a"}).price is None
