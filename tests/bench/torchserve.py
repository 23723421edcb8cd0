"""TorchServe as the product starts it, spoken to directly with its own key."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from .client import Target
from .process import free_port, program
from .result import Skipped
from .scale import Room

CHAT, EMBED = "smollm2-135m", "minilm"
START_SECONDS = 300.0


@dataclass(frozen=True)
class Serving:
    """A running TorchServe."""

    base: str
    status: str
    key_file: Path

    def target(self, model: str) -> Target:
        key = self.key_file.read_text().strip()
        url = f"{self.base}/predictions/{model}"
        return Target(f"TorchServe {model}", url, {"authorization": f"Bearer {key}"})


def archive(room: Room, name: str) -> Path:
    """The packed archive. Raises Skipped with what to run."""
    file = room.archives / f"{name}.mar"
    if not file.is_file():
        raise Skipped(f"there is no archive {name}; run `python -m model_store pack {name}`")
    return file


@contextmanager
def serving(room: Room, models: Sequence[str]) -> Iterator[Serving]:
    """Serve *models* until the block is left. Raises Skipped where it does not come up."""
    for name in models:
        archive(room, name)
    state, log = room.folder / "serving", room.folder / "serving.log"
    port, management, metrics, status = (free_port() for _ in range(4))
    command = [sys.executable, "-m", "serving", "--archives", str(room.archives)]
    command += ["--models", ",".join(models), "--state", str(state), "--port", str(port)]
    command += ["--management-port", str(management), "--metrics-port", str(metrics)]
    with program([*command, "--status-port", str(status)], log) as started:
        base = f"http://127.0.0.1:{status}"
        try:
            started.wait_url(f"{base}/readyz", START_SECONDS)
        except RuntimeError as exc:
            raise Skipped(f"TorchServe did not come up: {exc}") from exc
        yield Serving(f"http://127.0.0.1:{port}", f"{base}/status", state / "inference.key")


def unpack(file: Path, folder: Path) -> Path:
    """The model's own files out of an archive: the same bytes for the bare engine."""
    with ZipFile(file) as archived:
        names = [name for name in archived.namelist() if name.startswith("model/")]
        archived.extractall(folder, names)
    return folder / "model"
