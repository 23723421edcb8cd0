"""Tiny random models made on the spot, with a real tokenizer."""

from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}assistant: "
)
TEXTS = [
    "hello world, how are you?",
    "the cat sat on the mat",
    "Zürich → 東京 🙂 naïve",
    "one two three",
]


def byte_tokenizer(folder: Path, chat: bool = True) -> Any:
    """A byte-level BPE tokenizer, as GPT-2 has it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    raw.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|end|>",
        bos_token="<|end|>",
        unk_token="<|end|>",
        model_max_length=128,
    )
    if chat:
        tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def word_tokenizer(folder: Path) -> Any:
    """A WordPiece tokenizer, as BERT has it."""
    from transformers import BertTokenizerFast

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz",
        *[f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"],
        "hello",
        "world",
        "cat",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(
        vocab={word: at for at, word in enumerate(words)}, model_max_length=64
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def causal(folder: Path, kind: str = "gpt2", *, chat: bool = True) -> Path:
    """GPT-2 or Llama with two small layers."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    size = len(byte_tokenizer(folder, chat))
    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=size,
            n_positions=128,
            n_embd=32,
            n_layer=2,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
        )
        model = GPT2LMHeadModel(config)
    else:
        config = LlamaConfig(
            vocab_size=size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            bos_token_id=0,
            eos_token_id=0,
            initializer_range=0.3,
        )
        model = LlamaForCausalLM(config)
    for weight in model.parameters():
        weight.data.mul_(3)
    model.save_pretrained(folder)
    return folder


def encoder(folder: Path, kind: str = "bert", labels: list[str] | None = None) -> Path:
    """BERT (TinyBERT is one) or DistilBERT, bare or with a head."""
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertModel,
        DistilBertConfig,
        DistilBertForSequenceClassification,
        DistilBertModel,
    )

    size = len(word_tokenizer(folder))
    torch.manual_seed(0)
    names = (
        {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
        if labels
        else {}
    )
    if kind == "bert":
        config = BertConfig(
            vocab_size=size,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            position_embedding_type="absolute",
            **names,
        )
        model = BertForSequenceClassification(config) if labels else BertModel(config)
    else:
        config = DistilBertConfig(
            vocab_size=size,
            dim=32,
            n_layers=2,
            n_heads=2,
            hidden_dim=64,
            max_position_embeddings=64,
            **names,
        )
        model = DistilBertForSequenceClassification(config) if labels else DistilBertModel(config)
    model.save_pretrained(folder)
    return folder


def convert(folder: Path, quantization: str | None = None) -> Path:
    """Add `ct2/` to a folder."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(folder)).convert(
        str(folder / "ct2"), quantization=quantization, force=True
    )
    return folder
