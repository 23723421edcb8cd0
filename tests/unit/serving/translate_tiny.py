"""Tiny translation models, taught a handful of sentences on the spot (a second or two each)."""

import json
from pathlib import Path
from typing import Any

PAIRS = {
    "the cat sleeps": "die Katze schläft",
    "the dog eats": "der Hund isst",
    "good morning": "guten Morgen",
    "the house is big and the garden is small": "das Haus ist groß und der Garten ist klein",
}
FRENCH = {"the cat sleeps": "le chat dort", "good morning": "bonjour"}
SIZE = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
}


def spm(file: Path) -> list[str]:
    """A SentencePiece model of the sentences, and its pieces."""
    import sentencepiece

    texts = [*PAIRS, *PAIRS.values(), *FRENCH.values(), "translate English to German: French"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 20),
        model_prefix=str(file.with_suffix("")),
        vocab_size=90,
        character_coverage=1.0,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    file.with_suffix(".model").rename(file)
    made = sentencepiece.SentencePieceProcessor(model_file=str(file))
    return [made.id_to_piece(index) for index in range(made.get_piece_size())]


def teach(model: Any, rows: list[tuple[list[int], list[int], list[int]]], pad: int) -> None:
    """Until it knows the rows by heart: source ids, start of the target, its other ids."""
    import torch

    torch.set_num_threads(1)  # threads that wait for each other cost more than so small a net
    width, reach = (max(len(row[0]) for row in rows), max(len(row[1] + row[2]) for row in rows))
    source = torch.tensor([row[0] + [pad] * (width - len(row[0])) for row in rows])
    whole = [row[1] + row[2] for row in rows]
    target = torch.tensor([ids + [pad] * (reach - len(ids)) for ids in whole])
    labels = target[:, 1:].masked_fill(target[:, 1:] == pad, -100)
    for row, (_, start, _) in zip(labels, rows, strict=True):
        row[: len(start) - 1] = -100  # given, not said by the model
    mask = torch.tensor([[1] * len(row[0]) + [0] * (width - len(row[0])) for row in rows])
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    # Steps that grow smaller: at a steady rate the loss may jump, and a word is lost again.
    slower = torch.optim.lr_scheduler.StepLR(optimiser, 200, 0.5)
    model.train()
    for _ in range(600):
        logits = model(
            input_ids=source, attention_mask=mask, decoder_input_ids=target[:, :-1]
        ).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=-100
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        slower.step()
        if model.config.model_type == "marian":
            # Marian starts from a vector of zeros, which Transformers keeps as that of its padding.
            model.get_input_embeddings().weight.data[pad] = 0.0
        if float(loss.detach()) < 0.01:
            break
    model.eval()


def marian(folder: Path) -> Path:
    """English to German, as Helsinki-NLP's opus-mt models are."""
    import torch
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder.mkdir(parents=True)
    pieces = [piece for piece in spm(folder / "source.spm") if not piece.startswith("<")]
    (folder / "target.spm").write_bytes((folder / "source.spm").read_bytes())
    vocab = {piece: at for at, piece in enumerate(["</s>", "<unk>", *pieces, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    tokenizer = MarianTokenizer(
        str(folder / "source.spm"), str(folder / "target.spm"), str(folder / "vocab.json"),
        source_lang="en", target_lang="de",
    )  # fmt: skip
    pad = vocab["<pad>"]
    config = MarianConfig(
        vocab_size=len(vocab), pad_token_id=pad, eos_token_id=0, decoder_start_token_id=pad,
        forced_eos_token_id=0, num_beams=2, bad_words_ids=[[pad]], **SIZE,
    )  # fmt: skip
    torch.manual_seed(0)
    model = MarianMTModel(config)
    rows = [
        (tokenizer(one)["input_ids"], [pad], tokenizer(text_target=other)["input_ids"])
        for one, other in PAIRS.items()
    ]
    teach(model, rows, pad)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fast_tokenizer(folder: Path) -> Any:
    """Pieces of SentencePiece in a fast tokenizer, as T5 has it: words, and their letters.

    Not trained: the library's trainer makes other pieces each time, and some are hard to learn.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    texts = [*PAIRS, *PAIRS.values(), *FRENCH.values(), "translate English to German: French"]
    words = sorted({f"▁{word}" for text in texts for word in text.split()})
    letters = sorted({letter for word in words for letter in word})
    special = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")]
    pieces = [(word, -2.0) for word in words] + [(letter, -5.0) for letter in letters]
    raw = Tokenizer(models.Unigram([*special, *pieces], unk_id=2))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    raw.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        model_max_length=64,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    return tokenizer


T5_PREFIX = "translate {source} to {target}: "


def t5(folder: Path) -> Path:
    """English to German and French, told by its prefix."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = fast_tokenizer(folder)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2,
        dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, n_positions=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(config)
    rows = [
        (tokenizer(T5_PREFIX.format(source="English", target=name) + one)["input_ids"], [0],
         tokenizer(other)["input_ids"])
        for name, pairs in (("German", PAIRS), ("French", FRENCH))
        for one, other in pairs.items()
    ]  # fmt: skip
    teach(model, rows, 0)
    model.save_pretrained(folder)
    return folder


def m2m100(folder: Path) -> Path:
    """English to German and French, told by language tokens."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

    folder.mkdir(parents=True)
    pieces = [p for p in spm(folder / "sentencepiece.bpe.model") if not p.startswith("<")]
    vocab = {p: at for at, p in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    tokenizer = M2M100Tokenizer(
        str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"), src_lang="en"
    )
    config = M2M100Config(
        vocab_size=len(vocab) + 108, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        decoder_start_token_id=2, encoder_layerdrop=0.0, decoder_layerdrop=0.0, **SIZE,
    )  # fmt: skip
    torch.manual_seed(0)
    model = M2M100ForConditionalGeneration(config)
    rows = []
    for code, pairs in (("de", PAIRS), ("fr", FRENCH)):
        mark = tokenizer.get_lang_id(code)
        for one, other in pairs.items():
            ids = tokenizer(other, add_special_tokens=False)["input_ids"]
            rows.append((tokenizer(one)["input_ids"], [2, mark], [*ids, 2]))
    teach(model, rows, 1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def convert(folder: Path, quantization: str = "none") -> Path:
    """Add `ct2/`, by the model store's own converter."""
    from model_store.convert.ct2 import to_ctranslate2
    from model_store.entry import EngineSettings

    files = {file.name: file for file in folder.iterdir() if file.is_file()}
    to_ctranslate2(files, folder, EngineSettings(quantization=quantization), folder.name)
    return folder


WHOLE = {
    "marian": (marian, {"sources": {"en": "English"}, "targets": {"de": "German"}}),
    "t5": (
        t5,
        {
            "sources": {"en": "English"},
            "targets": {"de": "German", "fr": "French"},
            "steering": "prefix",
            "prefix": T5_PREFIX,
        },
    ),
    "m2m100": (
        m2m100,
        {
            "sources": {"en": "en", "de": "de"},
            "targets": {"de": "de", "fr": "fr"},
            "steering": "tokens",
        },
    ),
}
"""How to make a model of each family, and what its settings say under `translation`."""
