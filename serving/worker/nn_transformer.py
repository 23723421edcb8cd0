"""Translation with `torch.nn.Transformer`: a state dict, its arguments, greedy search.

`config.json` says `"model_type": "nn.Transformer"` and holds the constructor's arguments under
their own names, the size of the vocabulary, `max_length` and the ids of the special tokens.
`model.safetensors` is the state dict: `source_embedding.weight`, `target_embedding.weight`,
`transformer.*`, `output.weight`, `output.bias`. Embeddings are scaled by sqrt(d_model) and the
positions are sines, as in the paper. There is no cache of keys in `nn.Transformer`, so each step
reads the whole beginning again: meant for short texts.
Source: Vaswani et al., Attention Is All You Need, 2017.
"""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from torch import nn

from serving.worker.settings import Settings
from serving.worker.torch_encoder import prepare
from serving.worker.translation import Row

KIND = "nn.Transformer"
Size = Annotated[int, msgspec.Meta(ge=1)]


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """`config.json`; the defaults are those of `nn.Transformer`."""

    vocab_size: Size
    d_model: Size = 512
    nhead: Size = 8
    num_encoder_layers: Size = 6
    num_decoder_layers: Size = 6
    dim_feedforward: Size = 2048
    norm_first: bool = False
    activation: str = "relu"
    max_length: Size = 128
    pad_token_id: int
    bos_token_id: int
    eos_token_id: int


class TextTransformer(nn.Module):
    """Token ids in, logits of the next token out."""

    def __init__(self, shape: Arguments) -> None:
        """Random weights, to be replaced by a state dict."""
        super().__init__()
        self.scale = math.sqrt(shape.d_model)
        self.source_embedding = nn.Embedding(shape.vocab_size, shape.d_model)
        self.target_embedding = nn.Embedding(shape.vocab_size, shape.d_model)
        with warnings.catch_warnings():
            # That pre-norm rules out nested tensors, which are not used here.
            warnings.simplefilter("ignore", UserWarning)
            self.transformer = nn.Transformer(
                d_model=shape.d_model,
                nhead=shape.nhead,
                num_encoder_layers=shape.num_encoder_layers,
                num_decoder_layers=shape.num_decoder_layers,
                dim_feedforward=shape.dim_feedforward,
                dropout=0.0,
                activation=shape.activation,
                norm_first=shape.norm_first,
                batch_first=True,
            )
        self.output = nn.Linear(shape.d_model, shape.vocab_size)
        places = sines(shape.max_length, shape.d_model)
        self.register_buffer("places", places, persistent=False)

    def read(self, source: Any, padding: Any) -> Any:
        """States [rows, width, d_model] of source ids; `padding` is true where no token is."""
        entered = self._enter(self.source_embedding, source)
        return self.transformer.encoder(entered, src_key_padding_mask=padding)

    def forward(self, states: Any, padding: Any, target: Any) -> Any:
        """Logits [rows, vocabulary] of the token after `target` (ids without padding)."""
        size = target.shape[1]
        later = torch.ones(size, size, dtype=torch.bool, device=target.device).triu(1)
        decoded = self.transformer.decoder(
            self._enter(self.target_embedding, target),
            states,
            tgt_mask=later,
            memory_key_padding_mask=padding,
        )
        return self.output(decoded[:, -1])

    def _enter(self, table: Any, ids: Any) -> Any:
        return table(ids) * self.scale + self.places[: ids.shape[1]]


def sines(length: int, width: int) -> Any:
    """Positions [length, width]: sines in the even columns, cosines in the odd ones."""
    steps = torch.arange(length).unsqueeze(1)
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    table = torch.zeros(length, width)
    table[:, 0::2] = torch.sin(steps * rates)
    table[:, 1::2] = torch.cos(steps * rates)[:, : width // 2]
    return table


class NnTranslator:
    """A TextTransformer in eval mode on one device; a Translator."""

    def __init__(self, model: TextTransformer, shape: Arguments, device: str) -> None:
        """The model stands on `device` already."""
        self.context = shape.max_length - 1  # the start takes a place
        self._model, self._shape, self._device = model, shape, device

    def translate(self, rows: Sequence[Row], longest: int) -> list[list[int] | None]:
        """Ids per row without start and end; None where there was no end."""
        shape = self._shape
        width = max(len(row.source) for row in rows)
        source = torch.full((len(rows), width), shape.pad_token_id, device=self._device)
        padding = torch.ones((len(rows), width), dtype=torch.bool, device=self._device)
        for index, row in enumerate(rows):
            source[index, : len(row.source)] = torch.tensor(row.source)
            padding[index, : len(row.source)] = False
        target = torch.full((len(rows), 1), shape.bos_token_id, device=self._device)
        live = torch.arange(len(rows), device=self._device)
        found: list[list[int] | None] = [None] * len(rows)
        with torch.inference_mode():
            states = self._model.read(source, padding)
            for _ in range(min(longest, self.context)):
                best = self._model(states, padding, target).argmax(-1)
                ended = best == shape.eos_token_id
                for at in ended.nonzero().flatten().tolist():
                    found[int(live[at])] = target[at, 1:].tolist()
                # Rows that ended leave, so that the long ones do not pay for the short.
                target = torch.cat([target, best[:, None]], 1)[~ended]
                states, padding, live = states[~ended], padding[~ended], live[~ended]
                if not len(live):
                    break
        return found


def open_translator(model_dir: Path, settings: Settings, dtype: str, device: str) -> NnTranslator:
    """The model of a folder. Raises: ValueError for a config or a state dict that does not fit."""
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        shape = msgspec.json.decode((model_dir / "config.json").read_bytes(), type=Arguments)
        model = TextTransformer(shape)
        model.load_state_dict(load_file(model_dir / "model.safetensors"))
    except (msgspec.ValidationError, RuntimeError, AssertionError) as error:
        message = f"config.json and model.safetensors make no nn.Transformer: {error}"
        raise ValueError(message) from error
    if settings.quantization == "int8":
        # The fused kernels of eval mode read weights that a quantised layer does not have.
        torch.backends.mha.set_fastpath_enabled(False)
    model = model.to(getattr(torch, dtype))
    return NnTranslator(prepare(model, settings, device), shape, device)
