"""Containers as a locked-down cluster would run them: any user, no root to write to, no rights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

TAG = "dev"
USER = "12345:12345"
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")


def podman(*words: str, check: bool = True, timeout: float = 120) -> str:
    """What podman says; raises where it fails, with its reason."""
    done = subprocess.run(
        ["podman", *words], check=False, capture_output=True, text=True, timeout=timeout
    )
    assert not check or done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def why_not() -> str:
    """Why these tests cannot run here; "" where they can."""
    if os.environ.get("ISOCOST_IMAGE") != "1":
        return "not asked for; `make image` builds the images and tries them"
    if shutil.which("podman") is None:
        return "podman is not installed"
    for target in ("router", "load", "torchserve"):
        name = f"localhost/isocost/{target}:{TAG}"
        if subprocess.run(["podman", "image", "exists", name], check=False).returncode:
            return f"there is no image {name}; run `make image`"
    return ""


def marks() -> list[pytest.MarkDecorator]:
    """Of a module of such tests."""
    reason = why_not()
    return [
        pytest.mark.system,
        pytest.mark.image,
        pytest.mark.xdist_group("image"),
        pytest.mark.timeout(600),
        pytest.mark.skipif(bool(reason), reason=reason),
    ]


class Container:
    """One running container; `words` are arguments of the image's entrypoint."""

    def __init__(
        self, target: str, *words: str, options: tuple[str, ...] = (), entrypoint: str = ""
    ) -> None:
        locked = (
            "--read-only",
            "--cap-drop",
            "all",
            "--security-opt",
            "no-new-privileges",
            "--user",
            USER,
        )
        folders = (
            "--tmpfs",
            "/tmp:mode=1777,size=1g",
            "--tmpfs",
            "/var/lib/isocost:mode=1777,size=1g",
        )
        entry = ("--entrypoint", entrypoint) if entrypoint else ()
        self.id = podman(
            "run", "--detach", "--no-healthcheck", "--network", "host", *LIMITS, *locked, *folders, *entry, *options,
            f"localhost/isocost/{target}:{TAG}", *words,
        )  # fmt: skip

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command run in it, as the same user."""
        return subprocess.run(
            ["podman", "exec", self.id, *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def state(self) -> dict[str, object]:
        """Running, ExitCode, OOMKilled..."""
        found: dict[str, object] = json.loads(
            podman("inspect", "--format", "{{json .State}}", self.id)
        )
        return found

    def log(self) -> str:
        """What it has said."""
        done = subprocess.run(
            ["podman", "logs", self.id], check=False, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    def terminate(self) -> None:
        """SIGTERM, as a cluster does."""
        podman("kill", "--signal", "TERM", self.id)

    def ended(self, seconds: float) -> int:
        """Its exit status, once it has ended by itself."""
        end = time.monotonic() + seconds
        while self.state()["Running"]:
            assert time.monotonic() < end, f"still running\n{self.log()}"
            time.sleep(0.1)
        return int(str(self.state()["ExitCode"]))

    def remove(self) -> None:
        """End it for good."""
        podman("rm", "--force", "--time", "1", self.id, check=False)


def mounted(file: Path, inside: str) -> tuple[str, ...]:
    """A file that the container may read."""
    return ("--volume", f"{file}:{inside}:ro")
