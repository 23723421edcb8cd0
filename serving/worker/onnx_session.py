"""ONNX models opened on the device of the worker."""

import logging
from pathlib import Path
from typing import Any

from serving.worker.extras import need

logger = logging.getLogger(__name__)


def providers(device: str, there: list[str]) -> list[Any]:
    """ONNX Runtime's providers for `cuda:N` or `cpu`, best first.

    The usual build runs on the CPU only, and these models are small: on a machine with a GPU they
    then stay on the CPU beside the others, and the log says so.
    """
    if not device.startswith("cuda"):
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in there:
        logger.warning("this ONNX Runtime knows no GPU; onnxruntime-gpu in its place would")
        return ["CPUExecutionProvider"]
    number = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]


def open_session(file: Path, device: str, threads: int, extra: str) -> Any:
    """An InferenceSession; `extra` is the package's extra that brings ONNX Runtime.

    Raises: RuntimeError with what to install.
    """
    onnxruntime = need("onnxruntime", extra)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A thread that spins while it waits takes a core from the other models of the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    chosen = providers(device, onnxruntime.get_available_providers())
    return onnxruntime.InferenceSession(str(file), options, providers=chosen)
