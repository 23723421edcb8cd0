"""Starts the real programs on free ports, in a folder of their own, and stops them by pid."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import yaml
from openai import OpenAI

ROOT = Path(__file__).parent.parent.parent.parent
KEYS = {"alice": "ik-alice-secret", "bob": "ik-bob-secret"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports(count: int) -> int:
    """The first of *count* free ports in a row, below those that the system gives to clients."""
    for first in range(20_000 + os.getpid() % 9_000, 32_000, count):
        with ExitStack() as probes:
            try:
                for port in range(first, first + count):
                    probe = probes.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError(f"no {count} free ports in a row")


def ask(url: str, body: Any = None, method: str | None = None, **headers: str) -> Any:
    """JSON in, JSON out; raises HTTPError."""
    data = None if body is None else json.dumps(body).encode()
    kind = {"content-type": "application/json"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    with urlopen(Request(url, data, kind, method=method), timeout=30) as answer:
        raw = answer.read()
        return json.loads(raw) if raw else None


def until(true: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """Wait until *true* is; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := true():
                return found
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what or true}")


@dataclass
class Program:
    """One running program and its log."""

    command: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    fds: tuple[int, ...] = ()
    """Open files that it is given."""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Program:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | {"OPENAI_API_KEY": ""} | self.env,
                pass_fds=self.fds,
            )
        return self

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, seconds: float = 25.0) -> int:
        """Ask it to stop; its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process = None
        return code


@dataclass
class Sandbox:
    """The stand-in of the paid API."""

    program: Program
    port: int

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def faults(self, *rules: dict[str, Any]) -> None:
        ask(f"{self.base}/sandbox/faults", {"rules": list(rules)}, "PUT")

    def heal(self) -> None:
        ask(f"{self.base}/sandbox/faults", None, "DELETE")

    def bill(self) -> Any:
        return ask(f"{self.base}/sandbox/bill")

    def journal(self) -> list[Any]:
        return list(ask(f"{self.base}/sandbox/journal")["requests"])

    def reset(self) -> None:
        self.heal()
        for page in ("bill", "journal"):
            ask(f"{self.base}/sandbox/{page}", None, "DELETE")


@contextmanager
def sandbox(folder: Path) -> Iterator[Sandbox]:
    port = free_port()
    command = [sys.executable, "-m", "load_tests.sandbox", "--port", str(port)]
    program = Program(
        [*command, "--state", str(folder / "sandbox")], folder / "sandbox.log"
    ).start()
    made = Sandbox(program, port)
    try:
        until(lambda: ask(f"{made.base}/sandbox/health") or True, what="sandbox")
        yield made
    finally:
        program.stop()


@dataclass
class Router:
    """A running router and the configuration file that it reads."""

    program: Program
    port: int
    config: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sdk(self, key: str = "none", **options: Any) -> OpenAI:
        """The official SDK, unmodified."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **options)

    def write(self, config: dict[str, Any]) -> None:
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    def explain(self, body: dict[str, Any], **headers: str) -> Any:
        return ask(f"{self.url}/v1/explain", body, **headers)

    def decision(self, call_id: str, **headers: str) -> Any:
        return ask(f"{self.url}/v1/decisions/{call_id}", **headers)

    def metrics(self) -> dict[str, float]:
        """Every sample of the page, by its name and labels."""
        from prometheus_client.parser import text_string_to_metric_families

        with urlopen(f"{self.url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return {
            s.name + "".join(f",{k}={v}" for k, v in sorted(s.labels.items())): s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
        }


@contextmanager
def router(folder: Path, config: dict[str, Any], *options: str, **env: str) -> Iterator[Router]:
    port = free_port()
    path = folder / f"isocost-{port}.yaml"
    command = [sys.executable, "-m", "router", "serve", "--config", str(path), "--port", str(port)]
    program = Program(
        [*command, "--state", str(folder / f"router-{port}"), *options],
        folder / f"router-{port}.log",
        env,
    )
    made = Router(program, port, path)
    made.write(config)
    program.start()
    try:
        until(lambda: ask(f"{made.url}/livez"), what=program.log.read_text())
        yield made
    finally:
        program.stop()


def backend(box: Sandbox, **changes: Any) -> dict[str, Any]:
    """A paid backend at the sandbox."""
    return {
        "api": "openai",
        "model": "gpt-5.4-mini",
        "base": f"{box.base}/v1",
        "key_env": "SANDBOX_KEY",
        # The tests below hurt it often; those of the breaker set their own.
        "breaker": {"in_a_row": 100, "least": 1000},
    } | changes


SANDBOX_ENV = {"SANDBOX_KEY": "sk-sandbox-test"}
CHAT = [{"role": "user", "content": "Tell me about harbours."}]
