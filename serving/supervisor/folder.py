"""The state folder: what the supervisor writes before a start and reads after it."""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TextIO

from serving.supervisor.options import Options

TOKEN_MINUTES = 60 * 24 * 365 * 10  # each start makes new keys, so they need not expire in between
LONGEST_SOCKET_FOLDER = 80  # a Unix socket's path holds 107 bytes, and TorchServe adds a name


class Taken(Exception):
    """Another supervisor runs on this state folder."""


class Folder:
    """Paths under one state folder."""

    def __init__(self, root: Path) -> None:
        """Create the folders; nobody else may read them."""
        self.root, self.logs, self.work = root, root / "logs", root / "work"
        self.config, self.log4j = root / "config.properties", root / "log4j2.xml"
        self.pid, self.inference_key = root / "torchserve.pid", root / "inference.key"
        self.scratch = _scratch(root)
        for folder in (root, self.logs, self.work, self.scratch):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def lock(self) -> TextIO:
        """Hold the folder until the file is closed.

        Raises: Taken.
        """
        handle = (self.root / "lock").open("w", encoding="utf-8")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.close()
            raise Taken(f"another supervisor runs on {self.root}") from error
        return handle

    def write_config(self, options: Options) -> None:
        """Fill the templates in, and clear what an earlier TorchServe left."""
        for left in (self.scratch, self.work):
            shutil.rmtree(left, ignore_errors=True)
            left.mkdir(parents=True, mode=0o700)
        grpc_port, grpc_management_port = free_ports(2)
        template = files("serving").joinpath("config.properties").read_text("utf-8")
        text = template.format(
            port=options.port,
            management_port=options.management_port,
            metrics_host=f"[{options.host}]" if ":" in options.host else options.host,
            metrics_port=options.metrics_port,
            grpc_port=grpc_port,
            grpc_management_port=grpc_management_port,
            archives=options.archives,
            models=",".join(f"{name}={name}.mar" for name in options.models),
            token_minutes=TOKEN_MINUTES,
            gpus="number_of_gpu=0" if options.device == "cpu" else "",
        )
        replace(self.config, text)
        replace(self.log4j, files("serving").joinpath("log4j2.xml").read_text("utf-8"))

    def keys(self) -> dict[str, str]:
        """TorchServe's keys, `management` and `inference`; empty until it has written them."""
        try:
            said = json.loads((self.work / "key_file.json").read_text("utf-8"))
            return {kind: str(said[kind]["key"]) for kind in ("management", "inference")}
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def replace(file: Path, text: str) -> None:
    """Write a file that only its owner may read, in one step."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    Path(name).replace(file)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def require_free(port: int, host: str = "127.0.0.1") -> None:
    """Raises: OSError that names the port where somebody listens on it already."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise OSError(f"port {port} is taken; choose others with --port and its kin") from error


def _scratch(root: Path) -> Path:
    inside = root / "tmp"
    if len(str(inside)) <= LONGEST_SOCKET_FOLDER:
        return inside
    name = hashlib.sha256(str(root).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"isocost-{os.getuid()}-{name}"
