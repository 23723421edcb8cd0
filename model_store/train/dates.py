"""`isocost models train dates`: an nn.Transformer taught the closed language of `closed.py`.

One sentence in twenty is held out: it is never drawn for training, and what is reported is how many
of a thousand different ones come out letter by letter right. Sentences of one word are all trained.
"""

import json
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_store.train.closed import PATTERN, SAYS, Pair, Teacher, pieces

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
NAMES = {"full": "dates-en-de", "small": "dates-en-de-small"}
"""The entry of the catalog for each size."""
LONGEST = 64  # tokens; no sentence of the language has twenty
HELD_OUT = 1000
SIZES: dict[str, dict[str, Any]] = {
    "full": {"d_model": 512, "num_encoder_layers": 6, "num_decoder_layers": 6},
    "small": {
        "d_model": 128,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "dim_feedforward": 512,
    },
}
"""Arguments of `nn.Transformer`; eight heads, and what is not named is torch's default."""
RECIPES: dict[str, dict[str, Any]] = {
    "full": {"steps": 320, "batch": 32, "rate": 4e-4, "warmup": 40},
    "small": {"steps": 500, "batch": 96, "rate": 2e-3, "warmup": 60},
}


@dataclass(frozen=True)
class Score:
    """Of `sentences` that were held out, the share that came out right."""

    sentences: int
    exact: float


def held_out(pair: Pair) -> bool:
    """Whether a sentence is kept from training; the same in every run."""
    return " " in pair.english and zlib.crc32(pair.english.encode()) % 20 == 0


def make_tokenizer() -> Any:
    """Longest match over the pieces of both languages; no rule, no learning."""
    from tokenizers import Tokenizer, decoders, models, processors  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    vocabulary = {piece: at for at, piece in enumerate([*SPECIAL, *pieces()])}
    raw = Tokenizer(
        models.WordPiece(
            vocabulary,
            unk_token="<unk>",  # noqa: S106 - a token of text
            continuing_subword_prefix="",
            max_input_chars_per_word=10_000,
        )
    )
    raw.decoder = decoders.Fuse()
    raw.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", SPECIAL.index("</s>"))]
    )
    named = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=LONGEST, **named)


class Lesson:
    """One training: `steps` yields the losses, then `score` and `save` may be called."""

    def __init__(self, size: str, seed: int, steps: int | None, **changes: Any) -> None:
        """`changes` replace arguments of the net's shape."""
        import torch  # noqa: PLC0415 - seconds, only where needed

        from model_store.train import transformer  # noqa: PLC0415

        torch.manual_seed(seed)
        self._engine = transformer
        self.tokenizer = make_tokenizer()
        self._backend = self.tokenizer.backend_tokenizer
        self.recipe = transformer.Recipe(**RECIPES[size] | ({"steps": steps} if steps else {}))
        shape = {"norm_first": True, "max_length": LONGEST} | SIZES[size] | changes
        self.shape = transformer.Shape(vocab_size=len(self.tokenizer), **shape)
        self.model = transformer.TextTransformer(self.shape, self.recipe.dropout)
        self._teacher = Teacher(seed)
        self.seed, self.size, self.seconds = seed, size, 0.0

    def steps(self) -> Iterator[float]:
        """Train; one loss (nats per token) for each step."""
        begun = time.monotonic()
        for loss in self._engine.fit(self.model, self.recipe, self._draw):
            self.seconds = time.monotonic() - begun
            yield loss

    def _draw(self, many: int) -> list[tuple[list[int], list[int]]]:
        rows: list[tuple[list[int], list[int]]] = []
        while len(rows) < many:
            pair = self._teacher.draw()
            if not held_out(pair):
                rows.append((self._ids(pair.english), self._ids(pair.german)))
        return rows

    def _ids(self, text: str) -> list[int]:
        return list(self._backend.encode(text).ids)

    def score(self, sentences: int = HELD_OUT) -> Score:
        """Exact match over different held-out sentences."""
        teacher = Teacher(self.seed + 1)
        kept: dict[str, str] = {}
        while len(kept) < sentences:
            pair = teacher.draw()
            if held_out(pair):
                kept[pair.english] = pair.german
        right = 0
        english = list(kept)
        for at in range(0, sentences, 100):
            part = english[at : at + 100]
            made = self._engine.greedy(self.model, [self._ids(text) for text in part], LONGEST // 2)
            right += sum(
                self._backend.decode(ids) == kept[text]
                for text, ids in zip(part, made, strict=True)
            )
        return Score(sentences, right / sentences)

    def save(self, folder: Path, score: Score) -> None:
        """The folder that the worker loads; `training.json` says how it came to be."""
        from safetensors.torch import save_file  # noqa: PLC0415

        self.tokenizer.save_pretrained(folder)
        save_file(self.model.state_dict(), folder / "model.safetensors")
        domain = {"pattern": PATTERN, "says": SAYS, "lower": True}
        training = {
            "size": self.size,
            "seed": self.seed,
            "steps": self.recipe.steps,
            "batch": self.recipe.batch,
            "seconds": round(self.seconds, 1),
            "held_out_sentences": score.sentences,
            "held_out_exact_match": score.exact,
        }
        for name, content in (
            ("config.json", self.shape.config()),
            ("domain.json", domain),
            ("training.json", training),
        ):
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            (folder / name).write_text(text, encoding="utf-8")
