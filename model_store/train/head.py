"""Classifiers trained on a table: a small head over a frozen encoder, or a whole encoder."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from model_store.convert.weights import quiet_transformers

BATCH = 16  # texts of one step of whole training
PENALTIES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
Step = Callable[[], None]
Texts = Sequence[str]


def _load(folder: Path, kind: str, **options: Any) -> tuple[Any, Any]:
    with quiet_transformers() as transformers:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = getattr(transformers, kind).from_pretrained(folder, dtype="float32", **options)
    return tokenizer, model


def _tokens(tokenizer: Any, texts: Texts, context: int) -> Any:
    found = tokenizer(
        list(texts), padding=True, truncation=True, max_length=context, return_tensors="pt"
    )
    return {name: found[name] for name in ("input_ids", "attention_mask")}


def embeddings(folder: Path, texts: Texts, *, context: int, pooling: str, step: Step) -> Any:
    """Unit vectors [texts, dimensions], float32; `step` is called after each 32 texts."""
    import torch  # noqa: PLC0415 - seconds, only where needed

    tokenizer, model = _load(folder, "AutoModel")
    model.eval()
    parts = []
    with torch.inference_mode():
        for at in range(0, len(texts), 32):
            batch = _tokens(tokenizer, texts[at : at + 32], context)
            states = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            mean = (states * mask).sum(1) / mask.sum(1)
            chosen = states[:, 0] if pooling == "cls" else mean
            parts.append(torch.nn.functional.normalize(chosen, dim=-1))
            step()
    return torch.cat(parts).clone()


def fit_head(vectors: Any, classes: Sequence[int], labels: int, *, seed: int) -> tuple[Any, Any]:
    """Weight [labels, dimensions] and bias of a logistic regression.

    How much large weights are punished is chosen on a fifth of the rows, then all are used.
    """
    import torch  # noqa: PLC0415

    truth = torch.tensor(list(classes))
    order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(seed))
    cut = max(1, len(truth) // 5)
    look, learn = order[:cut], order[cut:]

    def loss(penalty: float) -> float:
        weight, bias = _regress(vectors[learn], truth[learn], labels, penalty)
        logits = vectors[look] @ weight.T + bias
        return float(torch.nn.functional.cross_entropy(logits, truth[look]))

    best = min(PENALTIES, key=loss)
    return _regress(vectors, truth, labels, best)


def _regress(vectors: Any, truth: Any, labels: int, penalty: float) -> tuple[Any, Any]:
    import torch  # noqa: PLC0415

    weight = torch.zeros(labels, vectors.shape[1], requires_grad=True)
    bias = torch.zeros(labels, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimiser.zero_grad()
        logits = vectors @ weight.T + bias
        lost = torch.nn.functional.cross_entropy(logits, truth) + penalty * weight.square().sum()
        lost.backward()
        return lost

    optimiser.step(closure)
    return weight.detach(), bias.detach()


class Whole:
    """An encoder and its classification head, trained together (BERT, TinyBERT, DistilBERT)."""

    def __init__(self, folder: Path, labels: Sequence[str], *, context: int, seed: int) -> None:
        """The head is new; a head of the base with as many labels is trained on."""
        import torch  # noqa: PLC0415

        torch.manual_seed(seed)
        self._context, self._seed = context, seed
        names = dict(enumerate(labels))
        self._labels = list(labels)
        self.tokenizer, self.model = _load(
            folder,
            "AutoModelForSequenceClassification",
            num_labels=len(names),
            id2label=names,
            label2id={name: at for at, name in names.items()},
            ignore_mismatched_sizes=True,
        )

    def fit(
        self, texts: Texts, classes: Sequence[int], *, epochs: int, rate: float, step: Step
    ) -> None:
        """Batches in a new order each epoch; the rate falls to zero. `step` after each."""
        import torch  # noqa: PLC0415

        total = epochs * -(-len(texts) // BATCH)
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda at: min((at + 1) / (total * 0.1 + 1), max(0.0, 1 - at / total))
        )
        dice = random.Random(self._seed)  # noqa: S311 - it deals rows out
        self.model.train()
        for _ in range(epochs):
            order = list(range(len(texts)))
            dice.shuffle(order)
            for at in range(0, len(order), BATCH):
                chosen = order[at : at + BATCH]
                batch = _tokens(self.tokenizer, [texts[i] for i in chosen], self._context)
                loss = self.model(**batch, labels=torch.tensor([classes[i] for i in chosen])).loss
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                step()
        self.model.eval()

    def guess(self, texts: Texts) -> list[str]:
        """The likeliest label of each text."""
        import torch  # noqa: PLC0415

        found: list[str] = []
        with torch.inference_mode():
            for at in range(0, len(texts), 32):
                batch = _tokens(self.tokenizer, texts[at : at + 32], self._context)
                best = self.model(**batch).logits.argmax(-1).tolist()
                found += [self._labels[index] for index in best]
        return found

    def save(self, folder: Path) -> None:
        """As Transformers loads it."""
        with quiet_transformers():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
