"""What a user would write by hand around an engine: no server, no queue, no wire.

The same model files as in the archives, the number of threads that does best here (one, or one per
core, by a trial as a careful user would do it), and a batch that is known beforehand: the best case
that serving is measured against.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


TRIAL = "The harbour was closed for ten days, so the people went to the next town."


def _quickest(kinds: Sequence[int], trial: Callable[[int], Any]) -> int:
    """The number of threads whose best time of three is least."""
    best: dict[int, float] = {}
    for threads in kinds:
        trial(threads)
        for _ in range(3):
            began = time.perf_counter()
            trial(threads)
            taken = time.perf_counter() - began
            best[threads] = min(taken, best.get(threads, taken))
    return min(best, key=best.__getitem__)


def _threads_of_torch(torch: Any, trial: Callable[[], Any]) -> None:
    def tried(threads: int) -> None:
        torch.set_num_threads(threads)
        trial()

    torch.set_num_threads(_quickest(sorted({1, THREADS}), tried))


class Chat(Protocol):
    """Greedy answers to a batch of questions; the number of tokens made."""

    def answer(self, texts: Sequence[str], tokens: int) -> int: ...


class Embedder(Protocol):
    """Unit vectors of a batch of texts."""

    def embed(self, texts: Sequence[str]) -> Any: ...


def _tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(model), local_files_only=True)


def _asked(tokenizer: Any, text: str) -> str:
    messages = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


class Ct2Chat:
    """CTranslate2, int8."""

    def __init__(self, model: Path) -> None:
        import ctranslate2

        self._tokenizer = _tokenizer(model)
        engines = {
            threads: ctranslate2.Generator(
                str(model / "ct2"), compute_type="int8", intra_threads=threads
            )
            for threads in {1, THREADS}
        }

        def trial(threads: int) -> None:
            self._engine = engines[threads]
            for batch in (1, 4):
                self.answer([TRIAL] * batch, 8)

        self._engine = engines[_quickest(sorted(engines), trial)]

    def _prompt(self, text: str) -> list[str]:
        ids = self._tokenizer(_asked(self._tokenizer, text), add_special_tokens=False)["input_ids"]
        return self._tokenizer.convert_ids_to_tokens(ids)

    def answer(self, texts: Sequence[str], tokens: int) -> int:
        found = self._engine.generate_batch(
            [self._prompt(text) for text in texts],
            max_length=tokens,
            sampling_topk=1,
            include_prompt_in_result=False,
            end_token=self._tokenizer.eos_token,
        )
        rows = [result.sequences_ids[0] for result in found]
        self._tokenizer.batch_decode(rows)
        return sum(len(row) for row in rows)

    def first(self, text: str, tokens: int) -> float:
        """Seconds to the first token of a stream, which is then read to its end."""
        began = time.perf_counter()
        steps = self._engine.generate_tokens(
            self._prompt(text),
            max_length=tokens,
            sampling_topk=1,
            end_token=self._tokenizer.eos_token,
        )
        waited = 0.0
        for step in steps:
            self._tokenizer.decode([step.token_id])
            waited = waited or time.perf_counter() - began
        return waited


class TorchChat:
    """Transformers, float32."""

    def __init__(self, model: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self._torch, self._tokenizer = torch, _tokenizer(model)
        self._tokenizer.padding_side = "left"
        self._tokenizer.pad_token = self._tokenizer.pad_token or self._tokenizer.eos_token
        self._model = AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32).eval()
        _threads_of_torch(torch, lambda: [self.answer([TRIAL] * batch, 4) for batch in (1, 4)])

    def answer(self, texts: Sequence[str], tokens: int) -> int:
        asked = [_asked(self._tokenizer, text) for text in texts]
        rows = self._tokenizer(asked, return_tensors="pt", padding=True, add_special_tokens=False)
        with self._torch.inference_mode():
            found = self._model.generate(
                **rows,
                max_new_tokens=tokens,
                do_sample=False,
                pad_token_id=self._tokenizer.pad_token_id,
            )
        made = found[:, rows["input_ids"].shape[1] :]
        self._tokenizer.batch_decode(made, skip_special_tokens=True)
        return int((made != self._tokenizer.pad_token_id).sum())


class Ct2Embedder:
    """CTranslate2, int8; mean of the states, length one."""

    def __init__(self, model: Path) -> None:
        import ctranslate2

        self._tokenizer = _tokenizer(model)
        engines = {
            threads: ctranslate2.Encoder(
                str(model / "ct2"), compute_type="int8", intra_threads=threads
            )
            for threads in {1, THREADS}
        }

        def trial(threads: int) -> None:
            self._engine = engines[threads]
            self._both()

        self._engine = engines[_quickest(sorted(engines), trial)]

    def _both(self) -> None:
        for _ in range(4):
            self.embed([TRIAL])
        self.embed([TRIAL] * 8)

    def embed(self, texts: Sequence[str]) -> Any:
        rows = self._tokenizer(list(texts))["input_ids"]
        states = np.array(self._engine.forward_batch(rows).last_hidden_state)
        real = np.arange(states.shape[1])[None, :] < np.array([len(row) for row in rows])[:, None]
        return _unit((states * real[:, :, None]).sum(axis=1))


class TorchEmbedder:
    """Transformers, float32; mean of the states, length one."""

    def __init__(self, model: Path) -> None:
        import torch
        from transformers import AutoModel

        self._torch, self._tokenizer = torch, _tokenizer(model)
        self._model = AutoModel.from_pretrained(str(model), dtype=torch.float32).eval()
        _threads_of_torch(torch, lambda: [self.embed([TRIAL] * batch) for batch in (1, 8)])

    def embed(self, texts: Sequence[str]) -> Any:
        rows = self._tokenizer(list(texts), return_tensors="pt", padding=True)
        with self._torch.inference_mode():
            states = self._model(**rows).last_hidden_state
        real = rows["attention_mask"][:, :, None]
        return _unit((states * real).sum(dim=1).numpy())


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


_opened: list[Any] = []
"""The engine of a process that `Apart` started."""


class Apart:
    """An engine in a process of its own: two kinds of OpenMP threads in one would hamper both."""

    def __init__(self, kind: Callable[[Path], Any], model: Path) -> None:
        self._pool = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_open, initargs=(kind, model)
        )

    def do(self, work: Callable[..., Any], *given: Any) -> Any:
        """Run *work* there, on the engine and what is *given*."""
        return self._pool.submit(_do, work, given).result()

    def close(self) -> None:
        self._pool.shutdown()


def _open(kind: Callable[[Path], Any], model: Path) -> None:
    _opened.append(kind(model))


def _do(work: Callable[..., Any], given: tuple[Any, ...]) -> Any:
    return work(_opened[0], *given)
