"""Models that come as their engine reads them: laid in place, parts joined, pickles made safe."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.convert.ready import is_ctranslate2, ready
from model_store.errors import ConversionError
from model_store.load import load_catalog


@pytest.fixture
def once(tmp_path):
    """A cache that makes each folder anew, and remembers what it was asked for."""
    asked = []

    def made(word, files, make):
        asked.append((word, sorted(files)))
        folder = tmp_path / f"{word}-{len(asked)}"
        folder.mkdir()
        make(folder)
        return folder

    made.asked = asked
    return made


def files_of(folder: Path, **content: bytes) -> dict[str, Path]:
    found = {}
    for name, raw in content.items():
        file = folder / name.replace("__", ".")
        file.write_bytes(raw)
        found[file.name] = file
    return found


def test_parts_are_joined_in_their_order(tmp_path, once):
    """By number, not by name; the rest goes where CTranslate2 and the tokenizer look for it."""
    parts = {f"model__bin__part{n}": bytes([n]) * n for n in range(1, 12)}
    files = files_of(
        tmp_path, config__json=b"{}", vocabulary__txt=b"a", tokenizer__json=b"{}", **parts
    )
    found = ready("ctranslate2", files, once)
    assert set(found) == {
        "ct2/model.bin",
        "ct2/config.json",
        "ct2/vocabulary.txt",
        "tokenizer.json",
    }
    assert found["ct2/model.bin"].read_bytes() == b"".join(bytes([n]) * n for n in range(1, 12))
    assert once.asked == [("joined", sorted(f"model.bin.part{n}" for n in range(1, 12)))]


@given(st.sets(st.integers(1, 9), min_size=1).filter(lambda s: s != set(range(1, len(s) + 1))))
def test_a_missing_part_is_named(numbers):
    """Any gap, at the start or inside."""
    files = {f"model.bin.part{n}": Path("x") for n in numbers} | {"vocabulary.json": Path("x")}
    with pytest.raises(ConversionError, match=r"model\.bin comes in parts"):
        ready("ctranslate2", files, lambda *_: Path())


def test_other_models_are_left_to_the_converters(tmp_path, once):
    """Transformers' folders, and other engines."""
    folder = files_of(tmp_path, model__safetensors=b"", config__json=b"{}")
    assert ready("ctranslate2", folder, once) is None
    assert ready("torch", files_of(tmp_path, model__bin=b"", vocabulary__txt=b""), once) is None
    assert not is_ctranslate2(["model.bin", "config.json"])


def test_onnx_files_are_taken_and_pickles_made_safe(tmp_path, once):
    """Weights become safetensors; what is no plain weights is refused, and its code never runs."""
    import pickle

    import torch
    from safetensors.torch import load_file

    weights = {"a": torch.arange(3.0), "b": torch.ones(2, 2).t()}
    torch.save(weights, tmp_path / "net.pth")
    files = {"net.pth": tmp_path / "net.pth"} | files_of(
        tmp_path, voice__onnx=b"onnx", voice__onnx__json=b"{}", setup__py=b"code"
    )
    found = ready("onnxruntime", files, once)
    assert set(found) == {"voice.onnx", "voice.onnx.json", "net.safetensors"}
    loaded = load_file(found["net.safetensors"])
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())

    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "trapped",))

    (tmp_path / "bad.pth").write_bytes(pickle.dumps(Trap(), 2))
    with pytest.raises(ConversionError, match=r"bad\.pth holds no plain weights"):
        ready("onnxruntime", files | {"bad.pth": tmp_path / "bad.pth"}, once)
    assert not (tmp_path / "trapped").exists()
    with pytest.raises(ConversionError, match=r"no \.onnx file"):
        ready("onnxruntime", {"config.json": tmp_path / "voice.onnx.json"}, once)


def test_the_media_entries_say_what_is_needed():
    """Pinned byte by byte, with licence, languages and what was measured."""
    entries = load_catalog()
    for name in ("piper-joe", "whisper-base", "whisper-tiny-en", "vision"):
        entry = entries[name]
        settings = entry.engines[entry.engine]
        assert entry.pinned
        assert not entry.default
        assert settings.measured is not None
        assert settings.archive_megabytes
        assert settings.memory_megabytes
    assert entries["piper-joe"].handler.voices == ["en_US-joe-medium"]
