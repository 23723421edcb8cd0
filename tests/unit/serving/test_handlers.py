"""Both handlers as TorchServe calls them."""

import base64
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from serving_tiny import causal, encoder
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from ts.context import Context, RequestProcessor

from serving.worker.encoder_handler import EncoderHandler
from serving.worker.generation_handler import GenerationHandler


def context_for(folder, **handler):
    config = {"batchSize": 8, "handler": {"threads": 1, **handler}}
    return Context("tiny", str(folder.parent), {}, 8, None, "0", True, SimpleNamespace(), config)


def call(handler, context, bodies, ids=None):
    """One call; a body of None is a request that was seen before."""
    context.request_ids = dict(enumerate(ids or [str(i) for i in range(len(bodies))]))
    context.request_processor = [RequestProcessor({}) for _ in bodies]
    items = [{} if body is None else {"body": json.dumps(body).encode()} for body in bodies]
    return handler.handle(items, context)


def drive(handler, context, bodies):
    """Call again and again, as a continuous batch, until all are over; bodies and statuses."""
    live = {str(i): body for i, body in enumerate(bodies)}
    out, status = dict.fromkeys(live, ""), {}
    for _ in range(2000):
        keys = list(live)
        parts = call(handler, context, [live[key] for key in keys], keys)
        for index, key in enumerate(keys):
            out[key] += parts[index]
            status.setdefault(key, context.get_response_status(index)[0])
            live[key] = None
            if context.stopping_criteria[index](parts[index]):
                del live[key]
        if not live:
            return [out[str(i)] for i in range(len(bodies))], [
                status[str(i)] for i in range(len(bodies))
            ]
    raise AssertionError("not over")


@pytest.fixture(params=["torch", "ctranslate2"])
def chatty(request, llama):
    handler = GenerationHandler()
    context = context_for(llama, task=["chat", "complete"], engine=request.param)
    handler.initialize(context)
    yield handler, context
    handler.engine.close()


CHAT = {
    "task": "chat",
    "messages": [{"role": "user", "content": "hello 🙂"}],
    "max_tokens": 12,
    "temperature": 0,
}


def test_streams_and_whole_answers_say_the_same(chatty):
    """Beside a bad item, which is refused alone."""
    handler, context = chatty
    bad = {"task": "chat", "messages": [], "temperature": 0}
    long = {"task": "complete", "prompt": "one", "max_tokens": 5000}
    (whole, stream, refused, too_long), status = drive(
        handler, context, [CHAT, {**CHAT, "stream": True}, bad, long]
    )
    assert status == [200, 200, 400, 400]
    answer, lines = json.loads(whole), [json.loads(line) for line in stream.splitlines()]
    assert "".join(line.get("text", "") for line in lines) == answer["text"]
    assert {**lines[-1], "text": answer["text"]} == answer
    tokenizer = handler.tokenizer
    prompt = tokenizer.apply_chat_template(
        CHAT["messages"], tokenize=False, add_generation_prompt=True
    )
    assert answer["usage"]["input_tokens"] == len(tokenizer(prompt)["input_ids"])
    assert 0 < answer["usage"]["output_tokens"] <= 12
    assert json.loads(refused)["code"] == "invalid_request"
    assert json.loads(too_long)["code"] == "context_length_exceeded"


def test_a_stop_string_cuts_the_text(chatty):
    """It is not part of the answer, whole or streamed."""
    handler, context = chatty
    (free,), _ = drive(handler, context, [CHAT])
    text = json.loads(free)["text"]
    stop = text[len(text) // 2 :][:3]
    (cut,), _ = drive(handler, context, [{**CHAT, "stop": [stop]}])
    assert json.loads(cut)["text"] == text[: text.find(stop)]
    assert json.loads(cut)["finish_reason"] == "stop"


def test_a_caller_that_left_is_forgotten(chatty):
    """Its neighbour is served to the end."""
    handler, context = chatty
    call(handler, context, [CHAT, {**CHAT, "max_tokens": 60}], ["a", "b"])
    gone = handler.desk._live["b"].run if "b" in handler.desk._live else None
    call(handler, context, [None], ["a"])
    assert "b" not in handler.desk._live
    assert gone is None or not gone.wanted


def test_a_model_without_a_template_does_not_chat(tmp_path):
    """It says what to do instead."""
    handler = GenerationHandler()
    context = context_for(
        causal(tmp_path / "model", chat=False), task=["chat", "complete"], engine="torch"
    )
    handler.initialize(context)
    (answer, text), status = drive(
        handler, context, [CHAT, {"task": "complete", "prompt": "one", "max_tokens": 2}]
    )
    handler.engine.close()
    assert status == [400, 200]
    assert json.loads(answer)["code"] == "unsupported"
    assert json.loads(text)["model"] == "tiny"


def vectors(answer):
    return np.stack(
        [np.frombuffer(base64.b64decode(e), "<f4") for e in json.loads(answer)["embeddings"]]
    )


def bare(folder, texts):
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModel.from_pretrained(folder).eval(),
    )
    rows = []
    for text in texts:
        with torch.inference_mode():
            rows.append(
                model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
            )
    return np.stack([row / np.linalg.norm(row) for row in rows])


@pytest.mark.parametrize("engine", ["torch", "ctranslate2"])
def test_embeddings_are_those_of_the_bare_model(bert, engine):
    """Two requests in one batch, a bad one between them."""
    handler, texts = EncoderHandler(), ["hello world", "cat", "hello cat hello world cat"]
    context = context_for(bert, task=["embed", "classify"], engine=engine)
    handler.initialize(context)
    bodies = [
        {"task": "embed", "texts": texts[:1]},
        {"task": "embed", "texts": ["cat " * 100]},
        {"task": "embed", "texts": texts[1:]},
    ]
    first, bad, second = call(handler, context, bodies)
    assert [context.get_response_status(i)[0] for i in range(3)] == [200, 400, 200]
    assert json.loads(bad)["code"] == "context_length_exceeded"
    assert np.allclose(
        np.concatenate([vectors(first), vectors(second)]), bare(bert, texts), atol=1e-4
    )
    assert json.loads(first)["usage"] == {"input_tokens": 4}
    assert json.loads(first)["dimensions"] == 32


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_trained_head_scores_its_labels(tmp_path, kind):
    """As the bare model does; unknown labels are refused alone."""
    folder = encoder(tmp_path / "model", kind, ["good", "bad", "odd"])
    handler, context = EncoderHandler(), context_for(folder, task=["classify"], engine="torch")
    handler.initialize(context)
    bodies = [
        {"task": "classify", "texts": ["hello cat"]},
        {"task": "classify", "texts": ["cat"], "labels": ["nice"]},
    ]
    good, bad = call(handler, context, bodies)
    result = json.loads(good)["results"][0]
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)("hello cat", return_tensors="pt")
    tokens.pop("token_type_ids", None)
    with torch.inference_mode():
        expected = torch.softmax(model(**tokens).logits[0], -1).tolist()
    found = dict(zip(result["labels"], result["scores"], strict=True))
    assert [found[label] for label in ["good", "bad", "odd"]] == pytest.approx(expected, abs=1e-5)
    assert result["scores"] == sorted(result["scores"], reverse=True)
    assert (context.get_response_status(1)[0], json.loads(bad)["code"]) == (400, "unsupported")


def test_zero_shot_needs_labels(bert):
    """And gives shares that add up to one."""
    handler, context = EncoderHandler(), context_for(bert, task=["classify"], engine="torch")
    handler.initialize(context)
    none, some = call(
        handler,
        context,
        [
            {"task": "classify", "texts": ["cat"]},
            {"task": "classify", "texts": ["cat"], "labels": ["hello", "cat"]},
        ],
    )
    assert json.loads(none)["code"] == "invalid_request"
    assert sum(json.loads(some)["results"][0]["scores"]) == pytest.approx(1)


def test_a_classifier_is_not_packed_for_embeddings(tmp_path):
    """The start fails, with the reason."""
    folder = encoder(tmp_path / "model", "bert", ["a", "b"])
    with pytest.raises(ValueError, match="no embeddings"):
        EncoderHandler().initialize(context_for(folder, task=["embed"], engine="torch"))
