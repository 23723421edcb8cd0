"""Smoothing: the same model in float32, a closer one in int8."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as t
from hypothesis import given, settings
from hypothesis import strategies as st
from store_makers import entry, save_tokenizer, tiny

from model_store.convert import converted
from model_store.convert.smooth import TEXT, smooth
from model_store.errors import ConversionError

WORDS = ["[PAD]", "[UNK]", *sorted(set(TEXT.split()))]
IDS = [list(range(10, 60))]


def llama() -> Any:
    """Two layers with a channel a hundred times larger than its weights' share, as in trained models."""
    torch.manual_seed(3)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    more = {"intermediate_size": 128, "num_key_value_heads": 2, "tie_word_embeddings": False}
    model = t.LlamaForCausalLM(t.LlamaConfig(vocab_size=len(WORDS), **shape, **more)).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            readers = [attention.q_proj, attention.k_proj, attention.v_proj]
            outlier(layer.input_layernorm, readers)
            outlier(layer.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj])
        outlier(model.model.norm, [model.lm_head])
    return model


def outlier(norm: Any, readers: list[Any]) -> None:
    norm.weight[4] *= 100
    for reader in readers:
        reader.weight[:, 4] /= 100


def logits(model: Any) -> Any:
    with torch.inference_mode():
        return model(torch.tensor(IDS)).logits[0].numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("llama")
    llama().save_pretrained(made)
    save_tokenizer(made, WORDS)
    return made


@settings(max_examples=8, deadline=None)
@given(st.floats(0, 1))
def test_in_float32_it_is_the_same_model(folder: Path, strength: float) -> None:
    """Whatever the strength: scales are powers of two, so only the order of sums differs."""
    model = llama()
    before = logits(model)
    smooth(model, t.AutoTokenizer.from_pretrained(folder), strength)
    np.testing.assert_allclose(logits(model), before, rtol=1e-4, atol=1e-4)


def test_tied_weights_are_untied(folder: Path) -> None:
    """The output layer is rescaled, the embeddings that it was tied to are not."""
    model = llama()
    model.config.tie_word_embeddings = True
    model.tie_weights()
    embeddings, before = model.model.embed_tokens.weight.detach().clone(), logits(model)
    smooth(model, t.AutoTokenizer.from_pretrained(folder), 0.65)
    assert torch.equal(model.model.embed_tokens.weight, embeddings)
    np.testing.assert_allclose(logits(model), before, rtol=1e-4, atol=1e-4)


def int8_error(folder: Path, cache: Path, smoothing: float | None) -> float:
    """Root mean square distance of the converted model's logits from torch's in float32."""
    import ctranslate2

    engines = {"torch": {}, "ctranslate2": {"quantization": "int8", "smoothing": smoothing}}
    given_ = entry(source={"kind": "folder", "path": str(folder)}, engines=engines)
    file = converted(given_, "ctranslate2", folder, cache)["ct2/model.bin"]
    generator = ctranslate2.Generator(str(file.parent), compute_type="int8")
    ours = np.array(generator.forward_batch([[WORDS[i] for i in IDS[0]]]))[0]
    return float(np.sqrt(np.mean((ours - logits(llama())) ** 2)))


def test_in_int8_it_is_closer(folder: Path, tmp_path: Path) -> None:
    """With outliers in the activations the error at least halves; both conversions are kept apart."""
    plain = int8_error(folder, tmp_path, None)
    smoothed = int8_error(folder, tmp_path, 0.65)
    assert smoothed < plain / 2


def test_other_architectures_are_refused() -> None:
    """The message says what to take out of the entry."""
    with pytest.raises(ConversionError, match="not for gpt2; take `smoothing` out"):
        smooth(tiny("gpt2"), None, 0.5)


def test_smoothing_is_for_int8_only() -> None:
    """The catalog refuses it elsewhere."""
    with pytest.raises(ValueError, match=r"engines\.torch\.smoothing is for ctranslate2 with int8"):
        entry(engines={"torch": {"smoothing": 0.5}})
