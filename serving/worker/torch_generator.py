"""Generation with Transformers: continuous batching over one left-padded KV cache.

One thread makes one step for all live rows at a time. Newcomers are prefilled together and laid
under the batch: both caches are padded on the left to one width, and the attention mask hides the
padding. A row that ends is cut out, and columns that are padding for every row left are cut off.
The prefix of a row is never computed twice.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.worker.engine import Run
from serving.worker.sampling import pick, roll

logger = logging.getLogger(__name__)


@dataclass
class Batch:
    """Live rows and their common cache: `mask` [rows, width], `keys`/`values` per layer."""

    runs: list[Run]
    dice: list[Any]
    last: list[int]
    mask: Any
    layers: list[tuple[Any, Any]]


class TorchGenerator:
    """Owns the model; all of torch happens on its thread."""

    def __init__(
        self,
        model: Any,
        *,
        ends: Sequence[int],
        context: int,
        device: str,
        most: int,
    ) -> None:
        """`model` is a causal language model of Transformers, already on `device`."""
        self.context = context
        self._model, self._ends, self._device, self._most = model, set(ends), device, most
        self._waiting: list[Run] = []
        self._open = True
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def start(self, runs: Sequence[Run]) -> None:
        """They join at the next step."""
        with self._changed:
            self._waiting.extend(runs)
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread after its step."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def _work(self) -> None:
        import torch  # noqa: PLC0415

        batch: Batch | None = None
        with torch.inference_mode():
            while self._open:
                fresh = self._next(len(batch.runs) if batch else 0)
                try:
                    batch = self._step(batch, fresh)
                except Exception as error:
                    logger.exception("a step of the torch engine broke")
                    for run in [*fresh, *(batch.runs if batch else [])]:
                        run.fail(f"generation broke: {type(error).__name__}")
                    batch = None

    def _next(self, live: int) -> list[Run]:
        """Newcomers for the free rows; waits only while no row is live."""
        with self._changed:
            while self._open:
                waiting = [run for run in self._waiting if run.wanted]
                fresh, self._waiting = (
                    waiting[: self._most - live],
                    waiting[self._most - live :],
                )
                if fresh or live:
                    return fresh
                self._changed.wait()
        return []

    def _step(self, batch: Batch | None, fresh: list[Run]) -> Batch | None:
        if batch:
            batch = self._advance(batch)
        if fresh:
            # Prompts of like length share a prefill; padding a short one to a long one is waste.
            batch = _join(batch, self._prefill(fresh))
        return _leave(batch) if batch else None

    def _prefill(self, runs: list[Run]) -> Batch:
        import torch  # noqa: PLC0415

        width = max(len(run.prompt) for run in runs)
        ids = torch.zeros((len(runs), width), dtype=torch.long)
        mask = torch.zeros((len(runs), width), dtype=torch.long)
        for row, run in enumerate(runs):
            ids[row, width - len(run.prompt) :] = torch.tensor(run.prompt)
            mask[row, width - len(run.prompt) :] = 1
        batch = Batch(runs, [roll(run.sampling) for run in runs], [], mask.to(self._device), [])
        return self._forward(batch, ids.to(self._device), batch.mask)

    def _advance(self, batch: Batch) -> Batch:
        import torch  # noqa: PLC0415

        one = torch.ones((len(batch.runs), 1), dtype=torch.long, device=self._device)
        batch.mask = torch.cat([batch.mask, one], dim=1)
        ids = torch.tensor(batch.last, device=self._device).unsqueeze(1)
        return self._forward(batch, ids, batch.mask)

    def _forward(self, batch: Batch, ids: Any, mask: Any) -> Batch:
        from transformers import DynamicCache  # noqa: PLC0415

        cache = DynamicCache()
        for index, (keys, values) in enumerate(batch.layers):
            cache.update(keys, values, index)
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        batch.layers = [(layer.keys, layer.values) for layer in cache.layers]
        samplings = [run.sampling for run in batch.runs]
        batch.last = pick(output.logits[:, -1], samplings, batch.dice)
        for run, token in zip(batch.runs, batch.last, strict=True):
            self._tell(run, token)
        return batch

    def _tell(self, run: Run, token: int) -> None:
        if not run.wanted:
            return
        if token in self._ends:
            run.end("stop")
            return
        run.put(token)
        if run.produced >= run.sampling.max_tokens:
            run.end("length")


def _join(old: Batch | None, new: Batch) -> Batch:
    """Both batches as one, padded on the left to the wider one."""
    import torch  # noqa: PLC0415

    if old is None:
        return new
    width = max(old.mask.shape[1], new.mask.shape[1])

    def widen(batch: Batch) -> tuple[Any, list[tuple[Any, Any]]]:
        missing = width - batch.mask.shape[1]
        pad = torch.nn.functional.pad
        return pad(batch.mask, (missing, 0)), [
            (pad(keys, (0, 0, missing, 0)), pad(values, (0, 0, missing, 0)))
            for keys, values in batch.layers
        ]

    (old_mask, old_layers), (new_mask, new_layers) = widen(old), widen(new)
    layers = [
        (torch.cat([k1, k2]), torch.cat([v1, v2]))
        for (k1, v1), (k2, v2) in zip(old_layers, new_layers, strict=True)
    ]
    return Batch(
        old.runs + new.runs,
        old.dice + new.dice,
        old.last + new.last,
        torch.cat([old_mask, new_mask]),
        layers,
    )


def _leave(batch: Batch) -> Batch | None:
    """The batch without the rows that ended or lost their caller; None when it is empty."""
    keep = [row for row, run in enumerate(batch.runs) if run.wanted]
    if len(keep) == len(batch.runs):
        return batch
    if not keep:
        return None
    mask = batch.mask[keep]
    first = int(mask.any(dim=0).int().argmax())
    return Batch(
        [batch.runs[row] for row in keep],
        [batch.dice[row] for row in keep],
        [batch.last[row] for row in keep],
        mask[:, first:],
        [(keys[keep][:, :, first:], values[keep][:, :, first:]) for keys, values in batch.layers],
    )
