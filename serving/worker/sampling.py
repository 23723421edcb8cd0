"""Picking the next token of each row from logits (torch engine).

Order as OpenAI documents and Transformers does: temperature first, then the smallest set of tokens
whose probabilities reach top_p, then one draw.
"""

from collections.abc import Sequence
from typing import Any

from serving.worker.engine import Sampling


def pick(logits: Any, samplings: Sequence[Sampling], dice: Sequence[Any]) -> list[int]:
    """One token id per row of `logits` [rows, vocabulary]; `dice` is a torch.Generator per row."""
    best = logits.argmax(dim=-1).tolist()
    return [
        int(best[row]) if sampling.greedy else draw(logits[row].float(), sampling, dice[row])
        for row, sampling in enumerate(samplings)
    ]


def draw(logits: Any, sampling: Sampling, dice: Any) -> int:
    """One token id from `logits` [vocabulary]."""
    import torch  # noqa: PLC0415

    chances = torch.softmax(logits.cpu() / sampling.temperature, dim=-1)
    if sampling.top_p < 1.0:
        ranked, order = chances.sort(descending=True)
        before = ranked.cumsum(dim=-1) - ranked
        ranked[before >= sampling.top_p] = 0.0  # the first one always stays
        return int(order[torch.multinomial(ranked, 1, generator=dice)])
    return int(torch.multinomial(chances, 1, generator=dice))


def roll(sampling: Sampling) -> Any:
    """A row's own source of chance: a seed gives the same text whoever shares the batch."""
    import torch  # noqa: PLC0415

    dice = torch.Generator()
    if sampling.seed is None:
        dice.seed()
    else:
        dice.manual_seed(sampling.seed)
    return dice
