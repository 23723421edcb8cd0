"""How an engine uses its cores: measured at start, because no rule gets it right on every machine.

Threads that share each operation wait for each other after it. On cores of one's own that is quick;
where a hypervisor takes a core away, or where a small model makes small operations, it costs more
than the second thread brings: on 2 virtual cores with an AVX2 CPU, SmolLM2 int8 made 31 tokens/s
with one thread and 17 with two, MiniLM int8 170 and 71 texts/s (2026-11-23).
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

logger = logging.getLogger(__name__)
ROUNDS = 3
Trial = Callable[[], Any]


def quickest(trials: Mapping[int, Trial], *, clock: Callable[[], float] = time.perf_counter) -> int:
    """The key of the trial whose best time of a few turns is the least; the first wins a tie."""
    for trial in trials.values():
        trial()  # the first run of an engine prepares its weights
    best = dict.fromkeys(trials, float("inf"))
    for _ in range(ROUNDS):
        for key, trial in trials.items():
            began = clock()
            trial()
            best[key] = min(best[key], clock() - began)
    found = min(best, key=lambda key: best[key])
    logger.info("seconds by threads of one operation: %s; taking %d", best, found)
    return found


def choose_intra(
    load: Callable[[int], Any], trial: Callable[[Any], Any], threads: int, *, fixed: bool
) -> tuple[Any, int]:
    """The engine of `load(intra)` that runs *trial* quickest, and its threads per operation.

    The choice is between one thread and all of them; *fixed* takes all without a trial.
    """
    if fixed or threads == 1:
        return load(threads), threads
    engines = {count: load(count) for count in (1, threads)}
    found = quickest({count: partial(trial, engine) for count, engine in engines.items()})
    return engines[found], found
