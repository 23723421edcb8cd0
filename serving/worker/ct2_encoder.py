"""Encoders with CTranslate2: batches of ids to pooled states.

With one thread per operation the engine has a lane per core, and a batch is cut into as many parts,
which wait for each other once instead of after each operation.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from serving.worker.encoding import pool
from serving.worker.settings import Pooling
from serving.worker.tune import choose_intra

TRIAL = [[101, *range(2000, 2020), 102]] * 8
"""Ids that any vocabulary of a BERT has, in the lengths of common texts."""


class Ct2Encoder:
    """A bare encoder; the states come back to the host and are pooled there."""

    labels: tuple[str, ...] = ()

    def __init__(self, engine: Any, *, pooling: Pooling, context: int, lanes: int = 1) -> None:
        """`engine` is a ctranslate2.Encoder that serves `lanes` batches at once."""
        self.context = context
        self._engine, self._pooling, self._lanes = engine, pooling, lanes
        self._pool = ThreadPoolExecutor(lanes) if lanes > 1 else None

    def encode(self, rows: Sequence[Sequence[int]]) -> Any:
        """Array [rows, dimensions]."""
        import numpy as np  # noqa: PLC0415

        lanes = min(self._lanes, len(rows))
        if self._pool is None or lanes == 1:
            return self._part(rows)
        size = -(-len(rows) // lanes)
        parts = [rows[at : at + size] for at in range(0, len(rows), size)]
        return np.concatenate(list(self._pool.map(self._part, parts)))

    def _part(self, rows: Sequence[Sequence[int]]) -> Any:
        import numpy as np  # noqa: PLC0415

        output = self._engine.forward_batch([list(row) for row in rows])
        states = output.last_hidden_state
        if states.device != "cpu":
            states = states.to_device(_cpu())
        return pool(np.array(states), [len(row) for row in rows], self._pooling)


def _cpu() -> Any:
    import ctranslate2  # noqa: PLC0415

    return ctranslate2.Device.cpu


def open_encoder(
    model_dir: Path, device: str, compute_type: str, threads: int, *, fixed: bool = True
) -> tuple[Any, int]:
    """The engine for `model/ct2/`, and how many batches it serves at once.

    Not *fixed*, it is tried whether the threads do better on one batch or each on its own.
    """
    import ctranslate2  # noqa: PLC0415  (an archive for torch must not need it)

    kind, _, index = device.partition(":")

    def load(intra: int) -> Any:
        return ctranslate2.Encoder(
            str(model_dir / "ct2"),
            device=kind,
            device_index=int(index or 0),
            compute_type=compute_type,
            inter_threads=max(1, threads // intra),
            intra_threads=intra,
        )

    engine, intra = choose_intra(load, _try, threads, fixed=fixed or kind != "cpu")
    return engine, max(1, threads // intra)


def _try(engine: Any) -> None:
    for _ in range(4):
        engine.forward_batch(TRIAL[:1])
    engine.forward_batch(TRIAL)
