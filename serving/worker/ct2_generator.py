"""Generation with CTranslate2: waves of requests, each wave one batch with its own KV cache.

CTranslate2 keeps the cache of a batch inside one call, so a request cannot join a batch that runs.
Requests that wait together therefore start together as one wave, and a few waves run beside each
other: a newcomer starts at once, and under load the waiting ones gather into larger waves.

One wave shares temperature and top_p, and nearly the prompt length: tokens past the shortest prompt
are fed one step at a time, so a wave of very unlike lengths would keep its longest prompt waiting.
The sampler's random state belongs to a thread and is seeded once, when the thread first samples. So
a seeded request runs alone in a replica of its own: repeatable, for the price of a load.
Source: CTranslate2 4.8, generate_batch and random.cc.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from serving.worker.engine import Run
from serving.worker.tune import choose_intra

logger = logging.getLogger(__name__)
UNSEEDED = 2**32 - 1  # CTranslate2's own value for "take a random seed"


def gather(waiting: list[Run], *, spread: int, most: int) -> list[Run]:
    """Take the next wave out of `waiting`: the oldest run and those that fit beside it."""
    first = waiting[0]
    if first.sampling.seed is not None and not first.sampling.greedy:
        return [waiting.pop(0)]
    wave = [first]
    low = high = len(first.prompt)
    for run in waiting[1:]:
        size = len(run.prompt)
        if max(high, size) - min(low, size) > spread or not _alike(first, run):
            continue
        low, high = min(low, size), max(high, size)
        wave.append(run)
        if len(wave) == most:
            break
    waiting[:] = [run for run in waiting if run not in wave]
    return wave


def _alike(first: Run, other: Run) -> bool:
    one, two = first.sampling, other.sampling
    if one.greedy or two.greedy:
        return one.greedy and two.greedy
    return two.seed is None and (one.temperature, one.top_p) == (two.temperature, two.top_p)


class Ct2Generator:
    """Runs waves on threads of its own; `replica()` opens an engine with fresh random state."""

    def __init__(
        self,
        engine: Any,
        *,
        replica: Callable[[int], Any],
        to_tokens: Callable[[list[int]], list[str]],
        ends: Sequence[int],
        context: int,
        waves: int,
        spread: int,
        most: int,
    ) -> None:
        """`ends` are the ids of end tokens, `most` the largest wave."""
        self.context = context
        self._engine, self._replica, self._to_tokens = engine, replica, to_tokens
        self._ends, self._spread, self._most = list(ends), spread, most
        self._waiting: list[Run] = []
        self._open = True
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(waves)]
        for thread in self._threads:
            thread.start()

    def start(self, runs: Sequence[Run]) -> None:
        """Queue them all at once, so that they can become one wave."""
        with self._changed:
            self._waiting.extend(runs)
            self._changed.notify(len(runs))

    def close(self) -> None:
        """Let the threads go after their waves."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def _work(self) -> None:
        while wave := self._next():
            try:
                self._run(wave)
            except Exception as error:
                logger.exception("a wave of %d requests broke", len(wave))
                for run in wave:
                    run.fail(f"generation broke: {type(error).__name__}")

    def _next(self) -> list[Run]:
        with self._changed:
            while self._open:
                self._waiting = [run for run in self._waiting if run.wanted]
                if self._waiting:
                    return gather(self._waiting, spread=self._spread, most=self._most)
                self._changed.wait()
            return []

    def _run(self, wave: list[Run]) -> None:
        sampling = wave[0].sampling
        seeded = sampling.seed is not None and not sampling.greedy
        engine = self._replica(sampling.seed or 0) if seeded else self._engine
        lengths = [len(run.prompt) for run in wave]
        steps = max(run.sampling.max_tokens for run in wave) + max(lengths) - min(lengths)
        chance = (
            {"sampling_topk": 1}
            if sampling.greedy
            else {
                "sampling_topk": 0,
                "sampling_topp": sampling.top_p,
                "sampling_temperature": sampling.temperature,
            }
        )
        ends = self._ends
        # The callback must not hold this object: CTranslate2 drops it on a thread of the engine,
        # and an engine that is let go by its own thread aborts the process.
        engine.generate_batch(
            [self._to_tokens(run.prompt) for run in wave],
            max_length=steps,
            include_prompt_in_result=False,
            end_token=ends,
            callback=lambda step: _step(wave[step.batch_id], step, ends),
            **chance,
        )
        for run in wave:
            run.end("stop")  # those that reached their length have ended already


def _step(run: Run, step: Any, ends: list[int]) -> bool:
    """Pass a token on; True stops its row."""
    if not run.wanted:
        return True
    if step.token_id in ends:
        run.end("stop")
        return True
    run.put(step.token_id)
    if run.produced >= run.sampling.max_tokens:
        run.end("length")
        return True
    return False


def open_generator(
    model_dir: Path,
    device: str,
    compute_type: str,
    threads: int,
    waves: int,
    *,
    prompt: list[str] | None = None,
) -> tuple[Any, Callable[[int], Any]]:
    """The engine, and how to open a seeded replica of it.

    With a *prompt* to try, the threads of one operation are those that answer it quickest.
    """
    import ctranslate2  # noqa: PLC0415  (an archive for torch must not need it)

    kind, _, index = device.partition(":")
    options = {"device_index": int(index or 0), "compute_type": compute_type}
    path = str(model_dir / "ct2")

    def load(intra: int, inter: int = waves) -> Any:
        return ctranslate2.Generator(
            path, device=kind, inter_threads=inter, intra_threads=intra, **options
        )

    def answer(engine: Any) -> None:
        for batch in (1, 4):
            engine.generate_batch([prompt] * batch, max_length=6, sampling_topk=1)

    fixed = prompt is None or kind != "cpu"
    engine, intra = choose_intra(load, answer, threads, fixed=fixed)

    def replica(seed: int) -> Any:
        return Seeded(load(intra, 1), seed % UNSEEDED, ctranslate2.set_random_seed)

    return engine, replica


class Seeded:
    """A replica whose one thread takes its seed while no other replica can change it."""

    _lock = threading.Lock()

    def __init__(self, engine: Any, seed: int, set_seed: Callable[[int], None]) -> None:
        """`set_seed` sets the process-wide seed that a new thread starts from."""
        self._engine, self._seed, self._set_seed = engine, seed, set_seed

    def generate_batch(self, prompts: list[list[str]], **options: Any) -> None:
        """As the engine's own; the seed is free again after one token was drawn."""
        with self._lock:
            self._set_seed(self._seed)
            quiet = {**options, "max_length": 1, "callback": None}
            self._engine.generate_batch(prompts, **quiet)
            self._set_seed(UNSEEDED)
        self._engine.generate_batch(prompts, **options)
