"""Starts the programs of a run on free ports, and measures, kills and stops them by their pid."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from msgspec import Struct

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"


class Ports:
    """Free ports, below those that the system gives to clients; none is given twice."""

    def __init__(self) -> None:
        self._next = 12_000 + os.getpid() * 37 % 7_000

    def one(self) -> int:
        """A port on which nothing listens."""
        while True:
            self._next += 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, self._next))
                except OSError:
                    continue
                return self._next


class Use(Struct, frozen=True):
    """What a process holds: bytes of memory, open sockets, all open files, threads."""

    memory: int
    sockets: int
    files: int
    threads: int


class Program:
    """One program, its log, and its pid while it runs."""

    def __init__(self, name: str, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        self._command, self._env = command, env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; what it writes is added to its log."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                [sys.executable, *self._command],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | self._env,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self, seconds: float = 20.0) -> int:
        """Ask it to stop; its exit status."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL


def use(pid: int) -> Use:
    """What a process holds now. Raises OSError when it is gone."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    links = [_link(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    sockets = sum(link.startswith("socket:") for link in links)
    memory = int(found["VmRSS"].split()[0]) * 1024
    return Use(memory, sockets, len(links), int(found["Threads"]))


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""  # closed meanwhile


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    paths = Path(f"/proc/{pid}/task").glob("*/children")  # each thread has those that it started
    return [int(word) for path in paths for word in path.read_text(encoding="ascii").split()]


def ask(url: str, body: Any = None, method: str | None = None, key: str = "") -> Any:
    """JSON in, JSON out. Raises OSError, HTTPError among them."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | (
        {"authorization": f"Bearer {key}"} if key else {}
    )
    asked = Request(url, data, headers, method=method)  # noqa: S310 - our own programs
    with urlopen(asked, timeout=30) as answer:  # noqa: S310 - as above
        raw = answer.read()
        return json.loads(raw) if raw else None


def until(true: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := true():
                return found
        except (URLError, OSError):
            pass
        time.sleep(0.05)
    raise TimeoutError(f"not within {seconds:g} s: {what}")
