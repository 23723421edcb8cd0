"""Completion by an encoder-decoder model: what Transformers itself generates, in waves of any size."""

import json

import pytest
import torch
from test_handlers import context_for, drive
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from translate_tiny import PAIRS, T5_PREFIX

from serving.worker.generation_handler import GenerationHandler

PROMPTS = [T5_PREFIX.format(source="English", target="German") + text for text in PAIRS]


pytestmark = pytest.mark.xdist_group("taught")


@pytest.fixture(scope="module")
def folder(taught):
    return taught("t5")


@pytest.fixture
def served(folder):
    handler = GenerationHandler()
    context = context_for(folder, task=["complete"], engine="torch")
    handler.initialize(context)
    yield handler, context
    handler.engine.close()


def ask(prompt, **more):
    return {"task": "complete", "prompt": prompt, "temperature": 0, "max_tokens": 30, **more}


def test_greedy_text_is_that_of_transformers(folder, served):
    """Whole and streamed, prompts of unlike lengths in one wave, one cut by its length."""
    handler, context = served
    bodies = [*map(ask, PROMPTS), ask(PROMPTS[0], stream=True), ask(PROMPTS[3], max_tokens=3)]
    answers, status = drive(handler, context, bodies)
    assert status == [200] * 6
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for prompt, text, answer in zip(PROMPTS, PAIRS.values(), answers, strict=False):
        row = tokenizer(prompt, return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(row["input_ids"], max_new_tokens=30, do_sample=False, num_beams=1)
        said = json.loads(answer)
        assert said["text"] == tokenizer.decode(ids[0], skip_special_tokens=True) == text
        assert said["finish_reason"] == "stop"
        assert said["usage"]["input_tokens"] == row["input_ids"].shape[1]
    lines = [json.loads(line) for line in answers[4].splitlines()]
    assert "".join(line.get("text", "") for line in lines) == json.loads(answers[0])["text"]
    cut = json.loads(answers[5])
    assert (cut["finish_reason"], cut["usage"]["output_tokens"]) == ("length", 3)


def test_a_seed_decides(served):
    """The same text whoever shares the wave."""
    handler, context = served
    one = ask(PROMPTS[0], temperature=3.0, seed=7, max_tokens=12)
    (alone,), _ = drive(handler, context, [one])
    together, _ = drive(handler, context, [ask(PROMPTS[3]), one, ask(PROMPTS[1], temperature=2.0)])
    assert json.loads(together[1])["text"] == json.loads(alone)["text"]


def test_it_does_not_chat(folder):
    """A model without a chat template says so."""
    handler = GenerationHandler()
    context = context_for(folder, task=["chat", "complete"], engine="torch")
    handler.initialize(context)
    body = {"task": "chat", "messages": [{"role": "user", "content": "hi"}]}
    (answer,), status = drive(handler, context, [body])
    handler.engine.close()
    assert (status, json.loads(answer)["code"]) == ([400], "unsupported")
