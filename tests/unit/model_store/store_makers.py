"""What the tests of the model store make on the spot: tiny models, entries, a stand-in of serving/."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from model_store.entry import Entry

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "sea",
    "is",
    "deep",
    "and",
    "blue",
    "a",
    "cat",
    "sat",
    "on",
    "red",
    "mat",
]

RECIPE = {
    "kinds": {
        "generate": {
            "tasks": ["chat", "complete"],
            "handler": "generation.py",
            "files": {
                "generation.py": "worker/generation.py",
                "serving/__init__.py": "__init__.py",
            },
            "config": {
                "minWorkers": 1,
                "batchSize": 8,
                "handler": {"engine": "ctranslate2", "quantization": "int8", "waves": 4},
            },
        },
        "embed": {
            "tasks": ["embed"],
            "handler": "encoder.py",
            "files": {"encoder.py": "worker/encoder.py"},
            "config": {"batchSize": 32, "handler": {"pooling": "mean"}},
        },
        "embed+classify": {
            "tasks": ["embed", "classify"],
            "handler": "encoder.py",
            "files": {"encoder.py": "worker/encoder.py"},
            "config": {"batchSize": 32},
        },
    }
}


def make_serving(folder: Path) -> Path:
    (folder / "worker").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "worker/generation.py").write_text("class Generation: ...\n")
    (folder / "worker/encoder.py").write_text("class Encoder: ...\n")
    (folder / "ARCHIVE.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder


def save_tokenizer(folder: Path, words: list[str] = WORDS) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
    }
    fast = PreTrainedTokenizerFast(tokenizer_object=made, **special)
    fast.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    fast.save_pretrained(folder)


def tiny(kind: str) -> Any:
    """A random model of that architecture, a few kilobytes."""
    import torch
    import transformers as t

    torch.manual_seed(1)
    size = {"vocab_size": len(WORDS)}
    if kind == "gpt2":
        return t.GPT2LMHeadModel(
            t.GPT2Config(**size, n_embd=16, n_layer=2, n_head=2, n_positions=32)
        )
    if kind == "bert":
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = t.BertConfig(**size, **shape, intermediate_size=32, max_position_embeddings=32)
        return t.BertModel(config)
    shape = {
        "dim": 16,
        "n_layers": 1,
        "n_heads": 2,
        "hidden_dim": 32,
        "max_position_embeddings": 32,
    }
    return t.DistilBertForSequenceClassification(t.DistilBertConfig(**size, **shape))


def save_tiny(kind: str, folder: Path) -> Path:
    tiny(kind).save_pretrained(folder)
    save_tokenizer(folder)
    (folder / "README.md").write_text("not packed")
    return folder


def raw_entry(name: str = "tiny", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "summary": "A model for tests.",
        "tasks": ["complete"],
        "source": {"kind": "folder", "path": "."},
        "licence": "Apache-2.0",
        "languages": ["en"],
        "context": 32,
        "engine": "torch",
        "engines": {"torch": {"dtype": "float32"}, "ctranslate2": {"quantization": "int8"}},
    } | changes


def entry(**changes: Any) -> Entry:
    return Entry.model_validate(raw_entry(**changes))


def write_entry(catalog: Path, raw: dict[str, Any], name: str | None = None) -> Path:
    catalog.mkdir(parents=True, exist_ok=True)
    file = catalog / f"{name or raw['name']}.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
