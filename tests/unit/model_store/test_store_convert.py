"""Conversion: what goes into `model/` for each engine, and what cannot be converted."""

from pathlib import Path

import numpy as np
import pytest
from store_makers import WORDS, entry, save_tiny, tiny

from model_store.convert import converted
from model_store.convert.weights import is_side_file, is_tensor_file, needs_rewriting
from model_store.errors import ConversionError


def files(folder: Path, engine: str, tmp_path: Path, **changes: object) -> dict[str, Path]:
    source = {"kind": "folder", "path": str(folder)}
    return converted(entry(source=source, **changes), engine, folder, tmp_path / "cache")  # type: ignore[arg-type]


def test_torch_takes_the_folder_as_it_is(models: dict[str, Path], tmp_path: Path) -> None:
    """Weights, configuration, tokenizer, chat template; no prose."""
    found = files(models["gpt2"], "torch", tmp_path)
    expected = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    assert set(found) == expected | {"tokenizer_config.json", "chat_template.jinja"}


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_ctranslate2_replaces_the_weights(
    models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """Side files stay, the safetensors go, `ct2/` comes."""
    found = files(models[kind], "ctranslate2", tmp_path)
    assert {"ct2/model.bin", "ct2/config.json", "config.json", "tokenizer.json"} <= set(found)
    assert "model.safetensors" not in found


def test_conversion_gives_the_same_bytes(models: dict[str, Path], tmp_path: Path) -> None:
    """Two conversions, each in its own cache."""
    one = files(models["bert"], "ctranslate2", tmp_path / "1")
    two = files(models["bert"], "ctranslate2", tmp_path / "2")
    assert one["ct2/model.bin"] != two["ct2/model.bin"]
    assert {n: f.read_bytes() for n, f in one.items()} == {
        n: f.read_bytes() for n, f in two.items()
    }


def test_converted_encoder_agrees_with_torch(models: dict[str, Path], tmp_path: Path) -> None:
    """Without rounding, last_hidden_state (before the pooler) is torch's to float32 precision."""
    import ctranslate2
    import torch

    found = files(models["bert"], "ctranslate2", tmp_path, engines={"torch": {}, "ctranslate2": {}})
    ids = [[2, 5, 6, 7, 3], [2, 8, 9, 10, 3]]
    encoder = ctranslate2.Encoder(str(found["ct2/model.bin"].parent), compute_type="float32")
    ours = np.array(encoder.forward_batch(ids).last_hidden_state)
    with torch.inference_mode():
        theirs = tiny("bert").eval()(torch.tensor(ids)).last_hidden_state.numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_converted_generator_agrees_with_torch(models: dict[str, Path], tmp_path: Path) -> None:
    """Without rounding, the logits are torch's."""
    import ctranslate2
    import torch

    found = files(models["gpt2"], "ctranslate2", tmp_path, engines={"torch": {}, "ctranslate2": {}})
    generator = ctranslate2.Generator(str(found["ct2/model.bin"].parent), compute_type="float32")
    ours = np.array(generator.forward_batch([WORDS[5:10]]))
    with torch.inference_mode():
        theirs = tiny("gpt2").eval()(torch.tensor([list(range(5, 10))])).logits.numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_classification_head_is_not_lost_in_silence(
    models: dict[str, Path], tmp_path: Path
) -> None:
    """CTranslate2's converter would leave it out, so it is refused."""
    with pytest.raises(
        ConversionError, match=r"classification head .* Pack it with --engine torch"
    ):
        files(models["distilbert"], "ctranslate2", tmp_path)
    assert "model.safetensors" in files(models["distilbert"], "torch", tmp_path)


def test_an_architecture_without_a_converter(tmp_path: Path) -> None:
    """The message names the architecture and the other engine."""
    import transformers as t

    shape = {"vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = t.ElectraConfig(**shape, intermediate_size=8, embedding_size=8)
    t.ElectraModel(config).save_pretrained(tmp_path / "model")
    with pytest.raises(ConversionError, match=r"ElectraConfig.*--engine torch") as caught:
        files(tmp_path / "model", "ctranslate2", tmp_path)
    assert "BertConfig" not in str(caught.value)  # not the whole list of what it could
    assert not list((tmp_path / "cache/converted").glob("*[!k]"))


def test_pickled_weights_become_safetensors(tmp_path: Path) -> None:
    """Loaded by the class that the configuration names, so the head stays."""
    import torch
    from safetensors.numpy import load_file

    folder = save_tiny("distilbert", tmp_path / "model")
    state = tiny("distilbert").state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    found = files(folder, "torch", tmp_path)
    assert "pytorch_model.bin" not in found
    tensors = load_file(found["model.safetensors"])
    assert set(tensors) == set(state)
    np.testing.assert_array_equal(tensors["classifier.weight"], state["classifier.weight"].numpy())


def test_a_state_dict_becomes_safetensors(tmp_path: Path) -> None:
    """As of `torch.save(model.state_dict())`; the configuration stays, code is never run."""
    import torch
    from safetensors.torch import load_file

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "nn.Transformer"}')
    weight = torch.arange(6.0).reshape(2, 3)
    torch.save({"a.weight": weight, "b.weight": weight, "c": weight.T}, folder / "state_dict.pt")
    found = files(folder, "torch", tmp_path)
    assert set(found) == {"config.json", "model.safetensors"}
    assert found["config.json"].read_text() == '{"model_type": "nn.Transformer"}'
    tensors = load_file(found["model.safetensors"])
    assert torch.equal(tensors["b.weight"], weight)
    assert torch.equal(tensors["c"], weight.T)
    for bad, message in (({"a": object()}, "more than tensors"), ([weight], "no state dict")):
        torch.save(bad, folder / "state_dict.pt")
        with pytest.raises(ConversionError, match=message):
            files(folder, "torch", tmp_path)


def write_gguf(file: Path) -> None:
    """A GGUF of a one-layer Llama with this test's words, by the format's own package."""
    import gguf

    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("tiny")
    writer.add_context_length(32)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(16)
    words = [*WORDS, "t", "at"]
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words)
    writer.add_token_types([1] * len(words))
    writer.add_token_merges(["a t"])
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    writer.add_unk_token_id(1)
    writer.add_pad_token_id(0)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    shapes = {"attn_q": (32, 32), "attn_k": (32, 32), "attn_v": (32, 32), "attn_output": (32, 32)}
    shapes |= {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
    tensors = {f"blk.0.{name}.weight": shape for name, shape in shapes.items()}
    tensors |= {"token_embd.weight": (len(words), 32)}
    for name, shape in tensors.items():
        rounded = gguf.quantize(
            rng.normal(size=shape).astype(np.float32), gguf.GGMLQuantizationType.Q4_1
        )
        writer.add_tensor(name, rounded, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        writer.add_tensor(name, np.ones(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_becomes_safetensors_once(tmp_path: Path) -> None:
    """Float32 weights, a tokenizer and a chat template; the second time nothing is converted."""
    from safetensors.numpy import load_file
    from transformers import AutoTokenizer

    (tmp_path / "model").mkdir()
    write_gguf(tmp_path / "model/tiny.Q4_1.gguf")
    found = files(tmp_path / "model", "torch", tmp_path)
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(
        found
    )
    assert {tensor.dtype for tensor in load_file(found["model.safetensors"]).values()} == {
        np.dtype("float32")
    }
    assert b"quantization_config" not in found["config.json"].read_bytes()
    tokenizer = AutoTokenizer.from_pretrained(found["config.json"].parent)
    assert tokenizer.vocab_size == len(WORDS) + 2
    made = found["model.safetensors"].stat().st_mtime_ns
    both = files(tmp_path / "model", "ctranslate2", tmp_path)
    assert "ct2/model.bin" in both
    assert (
        files(tmp_path / "model", "torch", tmp_path)["model.safetensors"].stat().st_mtime_ns == made
    )


def test_two_ggufs_are_a_question(tmp_path: Path) -> None:
    """Which of them is meant has to be said in the entry."""
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(ConversionError, match="several GGUF files"):
        files(tmp_path, "torch", tmp_path)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    """Nothing to pack is said at packing, not by a worker that fails to start."""
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConversionError, match="holds no weights"):
        files(tmp_path, "torch", tmp_path)


@pytest.mark.parametrize(
    ("name", "side", "tensors"),
    [
        ("config.json", True, False),
        ("1_Pooling/config.json", True, False),
        ("vocab.txt", True, False),
        ("model.safetensors", False, True),
        ("model.safetensors.index.json", False, True),
        ("pytorch_model.bin", False, False),
        ("model.onnx", False, False),
        ("README.md", False, False),
        ("modeling.py", False, False),
    ],
)
def test_which_files_count_as_what(name: str, *, side: bool, tensors: bool) -> None:
    """Side files go with every engine, weights only as safetensors, code and prose never."""
    assert (is_side_file(name), is_tensor_file(name)) == (side, tensors)


def test_when_weights_are_rewritten() -> None:
    """Only where there are no safetensors."""
    assert needs_rewriting(["config.json", "pytorch_model.bin"])
    assert not needs_rewriting(["model.safetensors", "pytorch_model.bin"])
    assert not needs_rewriting(["config.json"])
