"""`torch.nn.Transformer` on a text-to-text task: the net, its training, the folder it is kept in.

The folder is what `serving/worker/nn_transformer.py` loads: `config.json` (the arguments of
`nn.Transformer`), `model.safetensors` (the state dict: `source_embedding.weight`,
`target_embedding.weight`, `transformer.*`, `output.*`), the tokenizer, and what says which texts
are served (`domain.json`). Positions are the sines of the paper, so they are not in the state dict.
Source: Vaswani et al., Attention Is All You Need, 2017; pre-norm as in Xiong et al., 2020 (arXiv
2002.04745), which trains without a long warm-up.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

PAD, START, END = 0, 1, 2


@dataclass(frozen=True)
class Shape:
    """The arguments of `nn.Transformer` and of the embeddings; the defaults are torch's own."""

    vocab_size: int
    d_model: int = 512
    nhead: int = 8
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    dim_feedforward: int = 2048
    norm_first: bool = False
    max_length: int = 128

    def config(self) -> dict[str, Any]:
        """What `config.json` holds."""
        special = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
        return {"model_type": "nn.Transformer", **asdict(self), **special}


class TextTransformer(nn.Module):
    """Token ids in, logits out; `forward` is for training, with the target known."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        """Weights are random."""
        super().__init__()
        self.scale = math.sqrt(shape.d_model)
        self.source_embedding = nn.Embedding(shape.vocab_size, shape.d_model, padding_idx=PAD)
        self.target_embedding = nn.Embedding(shape.vocab_size, shape.d_model, padding_idx=PAD)
        for table in (self.source_embedding, self.target_embedding):
            nn.init.normal_(table.weight, std=shape.d_model**-0.5)
        with warnings.catch_warnings():
            # That pre-norm rules out nested tensors, which are not used here.
            warnings.simplefilter("ignore", UserWarning)
            self.transformer = nn.Transformer(
                d_model=shape.d_model,
                nhead=shape.nhead,
                num_encoder_layers=shape.num_encoder_layers,
                num_decoder_layers=shape.num_decoder_layers,
                dim_feedforward=shape.dim_feedforward,
                dropout=dropout,
                norm_first=shape.norm_first,
                batch_first=True,
            )
        self.output = nn.Linear(shape.d_model, shape.vocab_size)
        self.register_buffer("places", sines(shape.max_length, shape.d_model), persistent=False)

    def forward(self, source: Any, target: Any) -> Any:
        """Logits [rows, target length, vocabulary] of ids padded on the right."""
        return self.output(self.write(self.read(source), source, target))

    def read(self, source: Any) -> Any:
        """States [rows, source length, d_model]."""
        entered = self._enter(self.source_embedding, source)
        return self.transformer.encoder(entered, src_key_padding_mask=source == PAD)

    def write(self, states: Any, source: Any, target: Any) -> Any:
        """States [rows, target length, d_model]; each place sees the target up to itself."""
        size = target.shape[1]
        return self.transformer.decoder(
            self._enter(self.target_embedding, target),
            states,
            tgt_mask=torch.ones(size, size, dtype=torch.bool).triu(1),
            tgt_key_padding_mask=target == PAD,
            memory_key_padding_mask=source == PAD,
        )

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


def padded(rows: Sequence[Sequence[int]]) -> Any:
    """A tensor [rows, width], padded on the right."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])


Rows = list[tuple[list[int], list[int]]]
"""Pairs of source ids and target ids, each closed by END."""


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to learn; the rate rises for `warmup` steps and falls to zero."""

    steps: int
    batch: int = 128
    rate: float = 1e-3
    warmup: int = 100
    dropout: float = 0.0


def fit(model: TextTransformer, recipe: Recipe, draw: Callable[[int], Rows]) -> Iterator[float]:
    """Train in place; one loss (nats per target token) for each step."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, recipe))
    model.train()
    for _ in range(recipe.steps):
        rows = draw(recipe.batch)
        source = padded([row for row, _ in rows])
        target = padded([[START, *row] for _, row in rows])
        logits = model(source, target[:, :-1])
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        yield float(loss.detach())
    model.eval()


def _rate(step: int, recipe: Recipe) -> float:
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    gone = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.5 * (1 + math.cos(math.pi * gone))


def greedy(model: TextTransformer, sources: Sequence[list[int]], longest: int) -> list[list[int]]:
    """The most likely ids of each target, END left off."""
    model.eval()
    source = padded(sources)
    target = torch.full((len(sources), 1), START)
    over = torch.zeros(len(sources), dtype=torch.bool)
    with torch.inference_mode():
        states = model.read(source)
        for _ in range(longest):
            last = model.write(states, source, target)[:, -1]
            best = model.output(last).argmax(-1).masked_fill(over, PAD)
            target = torch.cat([target, best[:, None]], 1)
            over |= best == END
            if bool(over.all()):
                break
    return [[token for token in row if token > END] for row in target[:, 1:].tolist()]
