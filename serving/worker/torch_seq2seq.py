"""Completion with encoder-decoder models (T5 and its like): the prompt is read, the answer written.

Requests that wait start together as a wave: their prompts are encoded in one batch, then each step
makes one token for every row that is still wanted. A row that ends is cut out of the batch. What
comes meanwhile waits for the next wave, because the prompts of a batch are encoded together.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Any

from serving.worker.engine import Run
from serving.worker.sampling import pick, roll

logger = logging.getLogger(__name__)


class TorchSeq2Seq:
    """Owns the model; all of torch happens on its thread. A Generator."""

    def __init__(
        self, model: Any, *, ends: Sequence[int], context: int, device: str, pad_id: int, most: int
    ) -> None:
        """`model` is one of Transformers for `AutoModelForSeq2SeqLM`, already on `device`."""
        self.context = context
        self._model, self._ends, self._device = model, set(ends), device
        self._pad, self._most = pad_id, most
        start = model.generation_config.decoder_start_token_id
        self._start = model.config.decoder_start_token_id if start is None else start
        self._waiting: list[Run] = []
        self._open = True
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def start(self, runs: Sequence[Run]) -> None:
        """They join the next wave."""
        with self._changed:
            self._waiting.extend(runs)
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread after its wave."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def _work(self) -> None:
        import torch  # noqa: PLC0415

        with torch.inference_mode():
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
                waiting = [run for run in self._waiting if run.wanted]
                wave, self._waiting = waiting[: self._most], waiting[self._most :]
                if wave:
                    return wave
                self._changed.wait()
        return []

    def _run(self, runs: list[Run]) -> None:
        import torch  # noqa: PLC0415
        from transformers import DynamicCache, EncoderDecoderCache  # noqa: PLC0415

        width = max(len(run.prompt) for run in runs)
        ids = [[*run.prompt, *[self._pad] * (width - len(run.prompt))] for run in runs]
        sizes = [[1] * len(run.prompt) + [0] * (width - len(run.prompt)) for run in runs]
        mask = torch.tensor(sizes, device=self._device)
        states = self._model.get_encoder()(
            input_ids=torch.tensor(ids, device=self._device), attention_mask=mask
        ).last_hidden_state
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        dice = [roll(run.sampling) for run in runs]
        last = [self._start] * len(runs)
        while runs:
            output = self._model(
                encoder_outputs=(states,),
                attention_mask=mask,
                decoder_input_ids=torch.tensor(last, device=self._device).unsqueeze(1),
                past_key_values=cache,
                use_cache=True,
            )
            last = pick(output.logits[:, -1], [run.sampling for run in runs], dice)
            for run, token in zip(runs, last, strict=True):
                self._tell(run, token)
            keep = [row for row, run in enumerate(runs) if run.wanted]
            if len(keep) < len(runs):
                runs = [runs[row] for row in keep]
                last, dice = [last[row] for row in keep], [dice[row] for row in keep]
                rows = torch.tensor(keep, device=self._device, dtype=torch.long)
                states, mask = states[rows], mask[rows]
                if keep:
                    cache.reorder_cache(rows)

    def _tell(self, run: Run, token: int) -> None:
        if not run.wanted:
            return
        if token in self._ends:
            run.end("stop")
            return
        run.put(token)
        if run.produced >= run.sampling.max_tokens:
            run.end("length")
