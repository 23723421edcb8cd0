"""Programs beside the benchmark: started on loopback, measured, and stopped by their own pid."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil

ROOT = Path(__file__).parent.parent.parent


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """One running program with its children."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self.log = process, log
        self._seen = psutil.Process(process.pid)
        self.url = ""

    def _family(self) -> list[psutil.Process]:
        return [self._seen, *self._seen.children(recursive=True)]

    def cpu(self) -> float:
        """Seconds of CPU so far, user and system, children included."""
        return sum(t.user + t.system for t in (p.cpu_times() for p in self._family()))

    def megabytes(self) -> float:
        """Resident memory now, children included (shared pages counted for each)."""
        return sum(p.memory_info().rss for p in self._family()) / 1e6

    def peak_megabytes(self) -> float:
        """Most resident memory of the program itself since it started."""
        status = Path(f"/proc/{self._process.pid}/status")
        with suppress(OSError):
            if found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text()):
                return int(found[1]) * 1024 / 1e6
        return self.megabytes()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self, patience: float = 20.0) -> None:
        """Ask it to end, then end it and what it has left behind."""
        with suppress(psutil.NoSuchProcess):
            family = self._seen.children(recursive=True)
            self._process.terminate()
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            for child in family:
                with suppress(psutil.NoSuchProcess):
                    child.kill()

    def wait_said(self, pattern: str, seconds: float = 60.0) -> str:
        """Wait until it has printed *pattern*; the first group. Raises RuntimeError."""
        return self._wait(lambda: re.search(pattern, self.log.read_text()), seconds, pattern)[1]

    def wait_url(self, url: str, seconds: float = 60.0) -> None:
        """Wait until *url* answers 200. Raises RuntimeError."""
        self._wait(lambda: _answers(url), seconds, url)

    def wait_port(self, port: int, seconds: float = 60.0) -> None:
        """Wait until it listens. Raises RuntimeError."""
        self._wait(lambda: _listens(port), seconds, f"port {port}")

    def _wait(self, found, seconds: float, what: str):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.running:
            if value := found():
                return value
            time.sleep(0.05)
        raise RuntimeError(
            f"no {what} within {seconds:g} s; its log ends:\n{self.log.read_text()[-1500:]}"
        )


@contextmanager
def program(
    command: Sequence[str], log: Path, *, env: dict[str, str] | None = None
) -> Iterator[Program]:
    """Run *command* from the root of the repository until the block is left."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env=os.environ | (env or {}),
        )
    started = Program(process, log)
    try:
        yield started
    finally:
        started.stop()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
