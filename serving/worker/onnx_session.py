"""ONNX models opened on the device of the worker."""

from pathlib import Path
from typing import Any

from serving.worker.extras import need


def providers(device: str, there: list[str]) -> list[Any]:
    """ONNX Runtime's providers for `cuda:N` or `cpu`, best first.

    Raises: RuntimeError where a GPU is to be used and this build of ONNX Runtime has none.
    """
    if not device.startswith("cuda"):
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in there:
        message = (
            "This ONNX Runtime runs on the CPU only: install onnxruntime-gpu in place of "
            "onnxruntime, or serve with --device cpu."
        )
        raise RuntimeError(message)
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
