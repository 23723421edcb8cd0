"""Which device, number format and how many threads a worker uses; decided once, at start."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.worker.settings import Settings


def choose_device(settings: Settings, gpu_id: int | None, torch: Any, wish: str = "auto") -> str:
    """`cuda:N`, `mps` or `cpu`.

    `wish` is the operator's (the supervisor's `--device`) and wins over the archive's own.
    TorchServe deals out GPUs by `gpu_id`; None means that it gave none to this worker.
    Raises: RuntimeError where a device is demanded that this machine lacks.
    """
    asked = wish if wish != "auto" else settings.device
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if (asked == "cuda" and not cuda) or (asked == "mps" and not mps):
        message = f"device {asked!r} was asked for, but torch does not find one"
        raise RuntimeError(message)
    if asked == "cpu":
        return "cpu"
    if asked == "cuda" or (asked == "auto" and cuda and gpu_id is not None):
        return f"cuda:{gpu_id or 0}"
    if asked == "mps" or (asked == "auto" and mps and settings.engine == "torch"):
        return "mps"
    return "cpu"


def choose_dtype(settings: Settings, device: str, bf16: bool) -> str:  # noqa: FBT001
    """Name of the torch number format: half precision pays on a GPU only."""
    if settings.dtype != "auto":
        return settings.dtype
    if device.startswith("cuda"):
        return "bfloat16" if bf16 else "float16"
    return "float16" if device == "mps" else "float32"


def choose_compute_type(settings: Settings, device: str) -> str:
    """CTranslate2's name for the number format."""
    cuda = device.startswith("cuda")
    if settings.quantization == "int8":
        return "int8_float16" if cuda else "int8"
    if settings.dtype != "auto":
        return settings.dtype
    return "float16" if cuda else "float32"


def choose_threads(settings: Settings, config: Mapping[str, Any] | None) -> int:
    """Threads of one worker, so that all workers of the model together fill the cores once."""
    if settings.threads > 0:
        return settings.threads
    workers = int((config or {}).get("maxWorkers") or 1)
    return max(1, usable_cores() // max(1, workers))


def usable_cores(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: its affinity, cut by a container's quota."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        quota, period = quota_file.read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores  # no cgroup v2, or the quota says `max`
    return cores
