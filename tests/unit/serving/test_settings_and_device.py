"""What is decided once, at start."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from serving.worker.device import (
    choose_compute_type,
    choose_device,
    choose_dtype,
    choose_threads,
    usable_cores,
)
from serving.worker.settings import Settings, read_pooling, read_settings


def torch(cuda=False, mps=False):
    return SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: cuda),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
    )


@pytest.mark.parametrize(
    ("gpu_id", "have", "wish", "device"),
    [
        (None, torch(), "auto", "cpu"),
        (1, torch(cuda=True), "auto", "cuda:1"),
        (None, torch(cuda=True), "auto", "cpu"),
        (None, torch(cuda=True), "cuda", "cuda:0"),
        (0, torch(cuda=True), "cpu", "cpu"),
        (None, torch(mps=True), "auto", "mps"),
    ],
)
def test_device_follows_the_machine_and_the_operator(gpu_id, have, wish, device):
    """One archive serves a laptop and a GPU."""
    assert choose_device(Settings(), gpu_id, have, wish) == device


def test_ctranslate2_has_no_mps():
    """It falls back to the CPU."""
    assert choose_device(Settings(engine="ctranslate2"), None, torch(mps=True)) == "cpu"


def test_a_device_that_is_missing_fails_the_start():
    """Silently serving from a CPU would break the promise of latency."""
    with pytest.raises(RuntimeError, match="cuda"):
        choose_device(Settings(), None, torch(), "cuda")


def test_number_formats():
    """Half precision on GPUs only, unless it is asked for."""
    assert choose_dtype(Settings(), "cpu", bf16=False) == "float32"
    assert choose_dtype(Settings(), "cuda:0", bf16=True) == "bfloat16"
    assert choose_dtype(Settings(), "cuda:0", bf16=False) == "float16"
    assert choose_dtype(Settings(dtype="float32"), "cuda:0", bf16=True) == "float32"
    assert choose_compute_type(Settings(quantization="int8"), "cpu") == "int8"
    assert choose_compute_type(Settings(quantization="int8"), "cuda:0") == "int8_float16"
    assert choose_compute_type(Settings(), "cpu") == "float32"


def test_workers_share_the_cores(tmp_path):
    """Two workers get half of the cores each, never none."""
    cores = usable_cores()
    assert choose_threads(Settings(), {"maxWorkers": 1}) == cores
    assert choose_threads(Settings(), {"maxWorkers": 1000}) == 1
    assert choose_threads(Settings(threads=3), {"maxWorkers": 2}) == 3
    quota = tmp_path / "cpu.max"
    quota.write_text("100000 100000")
    assert usable_cores(quota) == 1
    quota.write_text("max 100000")
    assert usable_cores(quota) == cores


def test_settings_name_the_key_that_is_wrong():
    """A bad archive fails at start, with a reason."""
    with pytest.raises(ValueError, match="engine"):
        read_settings({"handler": {"engine": "magic"}}, "m")
    assert read_settings({"handler": {"task": "embed", "other": 1}}, "m").task == ("embed",)
    assert read_settings(None, "m").name == "m"


def test_pooling_is_the_models_own(tmp_path):
    """Unless the settings name one."""
    assert read_pooling(Settings(), tmp_path) == "mean"
    (tmp_path / "1_Pooling").mkdir()
    Path(tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert read_pooling(Settings(), tmp_path) == "cls"
    assert read_pooling(Settings(pooling="max"), tmp_path) == "max"
