"""`isocost run`: everything on this machine, in the foreground; Ctrl-C stops all of it.

    python -m model_store pack ...     the local models that the configuration names
    python -m serving ...              TorchServe and its supervisor
    python -m load_tests.sandbox ...   only while a paid API's key is not set
    isocost serve                      the router

Each is a program of its own with its own log under the state folder. One that ends by itself
ends the run, except TorchServe, which its supervisor restarts.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from rich.console import Console

from router.cli import parser
from router.config import Config, ConfigError, read

WAIT = 240.0
"""Seconds for TorchServe to load its models, on a slow machine."""
GRACE = 20.0
"""Seconds that a program may take to stop, beside those that the router is given."""


def main(words: list[str]) -> int:
    options = parser("run")
    options.add_argument("--config", type=Path, default=Path("isocost.yaml"))
    options.add_argument(
        "--state", type=Path, help="folder of keys and logs; `var` beside the configuration"
    )
    options.add_argument("--archives", type=Path, default=Path("model_store/archives"))
    options.add_argument("--no-sandbox", action="store_true", help="insist on the real paid APIs")
    options.add_argument("--workers", type=int, default=1, help="processes of the router")
    given = options.parse_args(words)
    given.state = given.state or given.config.parent / "var"
    console = Console(stderr=True, highlight=False)
    try:
        config = read(given.config)
    except ConfigError as exc:
        print(exc, file=sys.stderr)
        return 2
    if taken := _taken(config):
        print(
            f"{taken} is already in use, perhaps by another run: stop what listens there, or "
            f"change the port in {given.config}",
            file=sys.stderr,
        )
        return 1
    programs = _Programs(
        given.state / "logs", GRACE + config.server.grace + config.server.drain_delay
    )
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(config, given, programs, console)
    except KeyboardInterrupt:
        console.print("stopping")
        return 0
    finally:
        programs.stop()


def _taken(config: Config) -> str:
    """An address of this run that something listens on already; "" when all are free."""
    urls = [f"http://{config.server.host}:{config.server.port}"]
    for backend in config.backends.values():
        if backend.api == "torchserve":
            urls += [url for url in (backend.base, backend.status) if url]
    for url in urls:
        parts = urlsplit(url)
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((parts.hostname or "127.0.0.1", parts.port or 80)) == 0:
                return url
    return ""


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _run(config: Config, given: Namespace, programs: _Programs, console: Console) -> int:
    models = sorted({b.model for b in config.backends.values() if b.api == "torchserve"})
    if models:
        console.print(f"[b]models[/b] {', '.join(models)}")
        packed = subprocess.run(
            [
                *(sys.executable, "-m", "model_store", "pack"),
                *models,
                *("--archives", str(given.archives)),
            ],
            check=False,
        )
        if packed.returncode:
            return packed.returncode
        programs.start("serving", _serving(config, models, given))
    sandboxed = not given.no_sandbox and _sandboxed(config)
    if sandboxed:
        console.print(
            f"[yellow]sandbox[/yellow] {', '.join(sandboxed)}: no key is set, so a stand-in on "
            "this machine answers for the paid API, and every answer says so"
        )
        programs.start("sandbox", _sandbox(config, given))
    router = [sys.executable, "-m", "router", "serve", "--config", str(given.config)]
    router += ["--state", str(given.state / "router"), "--workers", str(given.workers)]
    programs.start("router", [*router, "--sandbox"] if sandboxed else router)
    address = f"http://{config.server.host}:{config.server.port}"
    if not _wait(config, address, programs, console):
        return programs.report(console)
    _hello(config, address, console)
    while True:
        time.sleep(0.5)
        if programs.ended():
            return programs.report(console)


def _serving(config: Config, models: list[str], given: Namespace) -> list[str]:
    first = next(b for b in config.backends.values() if b.api == "torchserve")
    port = urlsplit(first.base or "").port or 8085
    command = [sys.executable, "-m", "serving", "--archives", str(given.archives)]
    command += ["--models", ",".join(models), "--state", str(given.state / "serving")]
    command += ["--port", str(port)]
    command += ["--management-port", str(port + 1), "--metrics-port", str(port + 2)]
    if first.status:
        command += ["--status-port", str(urlsplit(first.status).port or 8084)]
    return command


def _sandboxed(config: Config) -> list[str]:
    return [
        name
        for name, b in config.backends.items()
        if b.sandbox and b.key_env and not os.environ.get(b.key_env)
    ]


def _sandbox(config: Config, given: Namespace) -> list[str]:
    base = next(b.sandbox.base for b in config.backends.values() if b.sandbox)
    command = [sys.executable, "-m", "load_tests.sandbox", "--profile", "realistic"]
    return [
        *command,
        *("--port", str(urlsplit(base).port), "--state", str(given.state / "sandbox")),
    ]


class _Programs:
    """The programs that were started, in order."""

    def __init__(self, logs: Path, grace: float) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs, self._grace = logs, grace
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str]) -> None:
        with (self._logs / f"{name}.log").open("wb") as log:
            # A session of its own: Ctrl-C reaches only this program, which stops them in order.
            self._running[name] = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def ended(self) -> str:
        """The name of one that ended by itself; "" while all run."""
        return next((n for n, p in self._running.items() if p.poll() is not None), "")

    def report(self, console: Console) -> int:
        name = self.ended()
        what = f"{name} has ended" if name else f"the models are not ready after {WAIT:g} s"
        log = self._logs / f"{name or 'serving'}.log"
        tail = log.read_text(errors="replace").strip().splitlines()[-15:] if log.exists() else []
        console.print(f"[red]{what}[/red]; its log: {log}")
        for line in tail:
            console.print(f"  {line}", markup=False)
        return 1

    def stop(self) -> None:
        for process in reversed(self._running.values()):
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + self._grace
        for process in reversed(self._running.values()):
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(config: Config, address: str, programs: _Programs, console: Console) -> bool:
    """Until the router answers and every local model is ready."""
    statuses = {b.status for b in config.backends.values() if b.status}
    until = time.monotonic() + WAIT
    with console.status("starting the router") as status:
        while time.monotonic() < until and not programs.ended():
            time.sleep(0.2)
            if _page(f"{address}/livez") is None:
                continue
            waiting = [name for url in statuses for name in _unready(url)]
            if not waiting:
                # The router looks once a second; the first request should see what it saw.
                time.sleep(1.2 if statuses else 0)
                return True
            status.update(f"loading models: {', '.join(waiting)}")
    return False


def _unready(url: str) -> list[str]:
    page = _page(url)
    if page is None or not page.get("models"):
        return ["TorchServe"]
    return [name for name, model in page["models"].items() if not model["ready"]]


def _page(url: str) -> dict[str, Any] | None:
    try:
        with urlopen(url, timeout=2) as answer:  # noqa: S310 - addresses of the configuration
            found: dict[str, Any] = json.load(answer)
    except (URLError, OSError, ValueError):
        return None
    return found


def _hello(config: Config, address: str, console: Console) -> None:
    chat = next((n for n, r in config.routes.items() if r.task == "chat"), "assistant")
    body = json.dumps({"model": chat, "messages": [{"role": "user", "content": "Hello!"}]})
    console.print(f"\n[b green]Isocost is ready[/b green] at {address}\n")
    console.print("Send the first request:\n")
    # Not through the console, which would break the line: it is meant to be copied.
    print(f"  curl -si {address}/v1/chat/completions \\", file=sys.stderr)
    print(f"    -H 'content-type: application/json' -d '{body}'\n", file=sys.stderr)
    console.print("or talk to it:        .venv/bin/isocost chat")
    console.print('ask for a plan:       .venv/bin/isocost explain "Hello!"')
    console.print(f"look at the metrics:  {address}/metrics")
    console.print("stop it:              Ctrl-C")
