"""Translation with Transformers: any sequence-to-sequence model (Marian, T5, M2M100, NLLB, mBART).

A batch is padded on the right and searched with beams as the model's makers say, unless the
settings name a number. Marian's makers force an end after the longest length: that is switched off,
because a translation that was cut must not look whole.
"""

from collections.abc import Sequence
from typing import Any

from serving.worker.translation import Row


class TorchTranslator:
    """A model of Transformers in eval mode on one device."""

    def __init__(
        self, model: Any, *, context: int, device: str, pad_id: int, beams: int | None
    ) -> None:
        """`beams` None leaves the search to the model's own generation config."""
        self.context = context
        self._model, self._device, self._pad = model, device, pad_id
        config = model.generation_config
        config.forced_eos_token_id = None
        config.max_length = None  # the lengths are ours, for each batch
        config.num_beams = beams or config.num_beams or 1
        config.do_sample = False
        start = config.decoder_start_token_id
        self._start = model.config.decoder_start_token_id if start is None else start
        ends = config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends])

    def translate(self, rows: Sequence[Row], longest: int) -> list[list[int] | None]:
        """Ids per row without start and end; None where there was no end."""
        import torch  # noqa: PLC0415

        width = max(len(row.source) for row in rows)
        ids, mask, starts = [], [], []
        for row in rows:
            missing = width - len(row.source)
            ids.append([*row.source, *[self._pad] * missing])
            mask.append([1] * len(row.source) + [0] * missing)
            starts.append([self._start, *row.start])
        with torch.inference_mode():
            made = self._model.generate(
                input_ids=torch.tensor(ids, device=self._device),
                attention_mask=torch.tensor(mask, device=self._device),
                decoder_input_ids=torch.tensor(starts, device=self._device),
                max_new_tokens=longest,
            )
        return [self._whole(row) for row in made[:, len(starts[0]) :].tolist()]

    def _whole(self, ids: list[int]) -> list[int] | None:
        ended = [at for at, token in enumerate(ids) if token in self._ends]
        return ids[: ended[0]] if ended else None
