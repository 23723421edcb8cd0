"""Encoders and sequence classifiers with Transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.worker.encoding import pool
from serving.worker.settings import Pooling, Settings


class TorchEncoder:
    """A model of Transformers in eval mode on one device."""

    def __init__(
        self,
        model: Any,
        *,
        pooling: Pooling,
        context: int,
        device: str,
        pad_id: int,
        labels: Sequence[str] = (),
    ) -> None:
        """With `labels` the model is a sequence classifier and `encode` gives its logits."""
        self.context = context
        self.labels = tuple(labels)
        self._model, self._pooling, self._device, self._pad = model, pooling, device, pad_id

    def encode(self, rows: Sequence[Sequence[int]]) -> Any:
        """Array [rows, dimensions] or [rows, labels]."""
        import torch  # noqa: PLC0415

        lengths = [len(row) for row in rows]
        width = max(lengths)
        ids = torch.tensor([[*row, *[self._pad] * (width - len(row))] for row in rows])
        mask = torch.tensor([[1] * size + [0] * (width - size) for size in lengths])
        with torch.inference_mode():
            output = self._model(
                input_ids=ids.to(self._device), attention_mask=mask.to(self._device)
            )
        if self.labels:
            return output.logits.float().cpu().numpy()
        return pool(output.last_hidden_state.float().cpu().numpy(), lengths, self._pooling)


def prepare(model: Any, settings: Settings, device: str) -> Any:
    """The model in eval mode on the device, quantised and compiled as the settings say."""
    import torch  # noqa: PLC0415

    if settings.tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    model = model.eval()
    if settings.quantization == "int8":
        if device != "cpu":
            message = "engine torch quantises to int8 on the CPU only: use ctranslate2 on a GPU"
            raise ValueError(message)
        model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
    model = model.to(device)
    return torch.compile(model, dynamic=True) if settings.compile else model


def load(kind: str, model_dir: Path, settings: Settings, dtype: str) -> Any:
    """A model by the name of Transformers' auto class, from files on disk only."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    more = {"attn_implementation": settings.attention} if settings.attention else {}
    return getattr(transformers, kind).from_pretrained(
        str(model_dir), local_files_only=True, dtype=getattr(torch, dtype), **more
    )
