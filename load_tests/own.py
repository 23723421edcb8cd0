"""A sandbox and a router of the run's own, for profiles that bring their configuration.

Both are separate programs on free ports of loopback, stopped at the end. The configuration names
the sandbox as http://127.0.0.1:8090, so that it can also be used by hand; here that address is
replaced by the real one. A `key_env` of FIRST_KEY gets `sk-sandbox-first`, whatever the environment
holds: no vendor's key is ever used, and a fault can be for one account by its key.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from msgspec import Struct

ROOT = Path(__file__).parent.parent
SANDBOX = "http://127.0.0.1:8090"
PATIENCE = 60.0
ADDRESS = re.compile(r"https?://[\d.]+:\d+")


class Own(Struct, frozen=True):
    """Where they are."""

    router: str
    sandbox: str


class NotStarted(Exception):
    """One of the programs did not come up; the message says why."""


@contextmanager
def own(config: Path, folder: Path, *, pace: str) -> Iterator[Own]:
    """Start both, and stop them. Raises NotStarted, OSError."""
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier run spent is not this one's
    folder.mkdir(parents=True)
    text = config.read_text(encoding="utf-8")
    with _running(["load_tests.sandbox", "--port=0", f"--profile={pace}"], {}, folder) as sandbox:
        written = folder / "isocost.yaml"
        written.write_text(text.replace(SANDBOX, sandbox), encoding="utf-8")
        command = ["router", "serve", f"--config={written.resolve()}", "--port=0"]
        command += [f"--state={(folder / 'state').resolve()}"]
        with _running(command, keys(text), folder) as router:
            await_ready(f"{router}/livez", PATIENCE)
            yield Own(router, sandbox)


def keys(config: str) -> dict[str, str]:
    """The environment with every key of the configuration."""
    backends = yaml.safe_load(config)["backends"]
    return {
        name: f"sk-sandbox-{name.removesuffix('_KEY').lower()}"
        for name in {spec.get("key_env") for spec in backends.values()} - {None}
    }


def answers(url: str) -> bool:
    """True when something answers there with a status below 400."""
    try:
        with urllib.request.urlopen(url, timeout=3.0):  # noqa: S310 - named by the user
            return True
    except (OSError, ValueError):
        return False


def await_ready(url: str, seconds: float) -> None:
    """Return as soon as something answers there. Raises NotStarted after so many seconds."""
    end = time.monotonic() + seconds
    while not answers(url):
        if time.monotonic() > end:
            raise NotStarted(f"{url} did not answer for {seconds:g} s")
        time.sleep(0.2)


@contextmanager
def _running(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[str]:
    """One program, and the address that it tells when it is ready."""
    log = folder / f"{command[0].rpartition('.')[2]}.log"
    with log.open("wb") as written:
        program = subprocess.Popen(  # noqa: S603 - our own interpreter and our own arguments
            [sys.executable, "-m", *command],
            env=os.environ | environment,
            cwd=ROOT,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _address(program, log)
    finally:
        program.terminate()
        try:
            program.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


def _address(program: "subprocess.Popen[bytes]", log: Path) -> str:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and program.poll() is None:
        found = ADDRESS.search(log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found.group()
        time.sleep(0.05)
    raise NotStarted(f"it did not start, see {log}: {log.read_text(errors='replace')[-500:]}")
