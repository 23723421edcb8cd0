"""Encoders with CTranslate2: batches of ids to pooled states."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.worker.encoding import pool
from serving.worker.settings import Pooling


class Ct2Encoder:
    """A bare encoder; the states come back to the host and are pooled there."""

    labels: tuple[str, ...] = ()

    def __init__(self, engine: Any, *, pooling: Pooling, context: int) -> None:
        """`engine` is a ctranslate2.Encoder."""
        self.context = context
        self._engine, self._pooling = engine, pooling

    def encode(self, rows: Sequence[Sequence[int]]) -> Any:
        """Array [rows, dimensions]."""
        import numpy as np  # noqa: PLC0415

        output = self._engine.forward_batch([list(row) for row in rows])
        states = output.last_hidden_state
        if states.device != "cpu":
            states = states.to_device(_cpu())
        return pool(np.array(states), [len(row) for row in rows], self._pooling)


def _cpu() -> Any:
    import ctranslate2  # noqa: PLC0415

    return ctranslate2.Device.cpu


def open_encoder(model_dir: Path, device: str, compute_type: str, threads: int) -> Any:
    """The engine for `model/ct2/`."""
    import ctranslate2  # noqa: PLC0415  (an archive for torch must not need it)

    kind, _, index = device.partition(":")
    return ctranslate2.Encoder(
        str(model_dir / "ct2"),
        device=kind,
        device_index=int(index or 0),
        compute_type=compute_type,
        intra_threads=threads,
    )
