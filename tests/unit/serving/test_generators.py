"""Both engines against Transformers' own generate, with tiny random models."""

import threading
import time
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

from serving.worker.ct2_generator import Ct2Generator, Seeded, gather
from serving.worker.engine import LEASE_SECONDS, Run, Sampling, Watch
from serving.worker.generation_handler import open_engine
from serving.worker.prompts import load_tokenizer
from serving.worker.sampling import draw, pick, roll
from serving.worker.settings import Settings

PROMPTS = [[5, 6, 7], [9, 10, 11, 12, 13, 14, 15], [20]]


def wait(runs, watch, seconds=20.0):
    end = time.monotonic() + seconds
    while not all(run.over for run in runs) and time.monotonic() < end:
        watch.renew()
        time.sleep(0.01)
    assert all(run.over for run in runs)


def engine_of(folder, name, **more):
    settings = Settings(engine=name, **more)
    return open_engine(settings, folder, "cpu", threads=1, tokenizer=load_tokenizer(folder), most=4)


def reference(folder, prompt, count):
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    out = model.generate(
        torch.tensor([prompt]), max_new_tokens=count, do_sample=False, pad_token_id=0
    )
    ids = out[0, len(prompt) :].tolist()
    return ids[: ids.index(0)] if 0 in ids else ids


@pytest.mark.parametrize(
    ("model", "name"), [("gpt2", "torch"), ("llama", "torch"), ("llama", "ctranslate2")]
)
def test_batched_greedy_text_is_that_of_each_prompt_alone(request, model, name):
    """Prompts of unlike lengths, one joining late, each with its own limit."""
    folder = request.getfixturevalue(model)
    engine, watch = engine_of(folder, name), Watch()
    runs = [Run(p, Sampling(12 + at, 0.0), watch) for at, p in enumerate(PROMPTS)]
    engine.start(runs[:2])
    time.sleep(0.02)
    engine.start(runs[2:])
    wait(runs, watch)
    engine.close()
    for run in runs:
        expected = reference(folder, run.prompt, run.sampling.max_tokens)
        assert run.take() == expected
        assert run.reason == ("length" if len(expected) == run.sampling.max_tokens else "stop")
        assert run.fault is None


@pytest.mark.parametrize("name", ["torch", "ctranslate2"])
def test_a_seed_repeats_the_text_beside_others(llama, name):
    """Whoever shares the engine."""
    engine, watch, texts = engine_of(llama, name), Watch(), []
    for _ in range(2):
        one = Run(PROMPTS[0], Sampling(10, 1.0, 0.9, seed=7), watch)
        other = Run(PROMPTS[1], Sampling(10, 1.0), watch)
        engine.start([other, one])
        wait([one, other], watch)
        texts.append(one.take())
    engine.close()
    assert texts[0] == texts[1]
    assert texts[0]


@pytest.mark.parametrize("name", ["torch", "ctranslate2"])
def test_a_cancelled_run_stops_and_its_neighbour_goes_on(llama, name):
    """Work that nobody waits for is dropped."""
    engine, watch = engine_of(llama, name), Watch()
    gone, stays = Run([5, 6], Sampling(100, 0.0), watch), Run([7, 8], Sampling(100, 0.0), watch)
    gone.cancel()
    engine.start([gone, stays])
    wait([stays], watch)
    engine.close()
    assert gone.produced <= 1
    assert stays.produced > 1


def test_the_lease_ends_when_the_handler_is_not_called_any_more():
    """Every caller left at once, so nobody can say so."""
    now = [0.0]
    watch = Watch(lambda: now[0])
    run = Run([1], Sampling(5), watch)
    assert run.wanted
    now[0] = LEASE_SECONDS + 1
    assert not run.wanted
    watch.renew()
    assert run.wanted


def run_of(length, temperature=0.0, seed=None):
    return Run([1] * length, Sampling(5, temperature, 1.0, seed), Watch())


def test_a_wave_holds_what_fits_together():
    """Like lengths, like chance, seeds alone, oldest first."""
    waiting = [run_of(10), run_of(12), run_of(200), run_of(11, 0.7), run_of(11, 0.7, 5), run_of(9)]
    assert [len(r.prompt) for r in gather(waiting, spread=16, most=8)] == [10, 12, 9]
    assert [len(r.prompt) for r in gather(waiting, spread=16, most=8)] == [200]
    assert [r.sampling.seed for r in gather(waiting, spread=16, most=8)] == [None]
    assert [r.sampling.seed for r in gather(waiting, spread=16, most=8)] == [5]
    assert waiting == []


def test_a_broken_engine_fails_its_runs_and_lives_on():
    """The worker must not die for one wave."""
    calls = []

    def generate_batch(prompts, **options):
        calls.append(len(prompts))
        if len(calls) == 1:
            raise RuntimeError("boom")
        for row in range(len(prompts)):
            options["callback"](SimpleNamespace(batch_id=row, token_id=4))

    engine = Ct2Generator(
        SimpleNamespace(generate_batch=generate_batch), replica=lambda seed: None, to_tokens=lambda ids: [str(i) for i in ids],
        ends=[0], context=10, waves=1, spread=4, most=4,
    )  # fmt: skip
    watch = Watch()
    first, second = Run([1], Sampling(1, 0.0), watch), Run([1], Sampling(1, 0.0), watch)
    engine.start([first])
    wait([first], watch)
    engine.start([second])
    wait([second], watch)
    engine.close()
    assert "RuntimeError" in (first.fault or "")
    assert (second.take(), second.reason) == ([4], "length")


def test_the_seed_is_set_before_the_first_draw_and_freed_after():
    """Other replicas must not inherit it."""
    log = []
    fake = SimpleNamespace(generate_batch=lambda prompts, **o: log.append(o["max_length"]))
    Seeded(fake, 9, log.append).generate_batch([["a"]], max_length=20, callback=None)
    assert log == [9, 1, 2**32 - 1, 20]


def test_sampling_keeps_to_top_p_and_temperature():
    """The first token always stays; a cold model is nearly greedy."""
    logits = torch.log(torch.tensor([0.6, 0.3, 0.1]))
    picks = {draw(logits, Sampling(1, 1.0, 0.5), roll(Sampling(1, seed=s))) for s in range(20)}
    assert picks == {0}
    picks = {draw(logits, Sampling(1, 1.0, 0.8), roll(Sampling(1, seed=s))) for s in range(40)}
    assert picks == {0, 1}
    rows = torch.stack([logits, logits.flip(0)])
    greedy = [Sampling(1, 0.0)] * 2
    assert pick(rows, greedy, [None, None]) == [0, 2]


def test_runs_are_safe_between_threads():
    """Tokens are neither lost nor doubled."""
    run = Run([1], Sampling(1), Watch())
    writer = threading.Thread(target=lambda: [run.put(i) for i in range(2000)])
    writer.start()
    seen = []
    while writer.is_alive() or len(seen) < 2000:
        seen += run.take()
    assert seen == list(range(2000))
