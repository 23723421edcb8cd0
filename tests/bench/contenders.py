"""The ways that a chat call can go: straight to the sandbox, nginx, the bare proxy, the router."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from .client import Target
from .process import Program, free_port, program

PATH = "/v1/chat/completions"
SECRET = "ik-bench-key"  # the router's own key, of this benchmark only
VENDOR = {"authorization": "Bearer sk-sandbox-bench"}
OURS = {"authorization": f"Bearer {SECRET}"}
ROUTE = "gpt-4o-mini"
"""The route has the model's name, so that one body serves all contenders."""


@dataclass(frozen=True)
class Contender:
    """One way, and the program whose CPU it costs (None for the straight one)."""

    target: Target
    program: Program | None


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@contextmanager
def sandbox(folder: Path, profile: str) -> Iterator[str]:
    """The paid API's stand-in; its URL."""
    command = [sys.executable, "-m", "load_tests.sandbox", "--port", "0", "--profile", profile]
    with program(command, folder / f"sandbox-{profile}.log") as started:
        yield started.wait_said(r"sandbox ready on (http://\S+)")


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[Program]:
    """Raises FileNotFoundError where there is no nginx."""
    found = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        raise FileNotFoundError("nginx is not installed (apt-get install nginx-light)")
    prefix, port = folder / "nginx", free_port()
    prefix.mkdir()
    template = Path(__file__).with_name("nginx.conf").read_text()
    text = template.format(prefix=prefix, port=port, upstream=upstream.rpartition(":")[2])
    (prefix / "nginx.conf").write_text(text)
    errors = str(prefix / "error.log")
    command = [found, "-p", str(prefix), "-c", str(prefix / "nginx.conf"), "-e", errors]
    with program(command, folder / "nginx.log") as started:
        started.wait_port(port)
        started.url = _url(port)
        yield started


@contextmanager
def bare_proxy(folder: Path, upstream: str) -> Iterator[Program]:
    """The least that a user could write."""
    port = free_port()
    granian = [sys.executable, "-m", "granian", "--interface", "asgi", "--no-ws"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop"]
    command = [*granian, *where, "--log-level", "error", "tests.bench.bare_proxy:app"]
    env = {"BENCH_UPSTREAM": upstream + PATH}
    with program(command, folder / "bare.log", env=env) as started:
        started.wait_port(port)
        started.url = _url(port)
        yield started


@contextmanager
def router(folder: Path, config: dict[str, Any], *, name: str = "router") -> Iterator[Program]:
    """The real router with *config*."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    state = str(folder / f"{name}-state")
    command = [sys.executable, "-m", "router", "serve", "--sandbox", "--config", str(file)]
    with program([*command, "--port", "0", "--state", state], folder / f"{name}.log") as started:
        started.url = started.wait_said(r"isocost router: (http://\S+)")
        started.wait_url(f"{started.url}/livez")
        yield started


def everything_on(base: str) -> dict[str, Any]:
    """Two paid backends, two rules, a promise with a most cost, a key, journal and metrics."""
    paid = {"api": "openai", "key_env": "ISOCOST_BENCH_NO_KEY", "tasks": ["chat"]}
    there = {"sandbox": {"base": f"{base}/v1"}}
    return {
        "keys": [{"name": "bench", "sha256": sha256(SECRET.encode()).hexdigest()}],
        "backends": {
            "small": {**paid, "model": "gpt-4o-mini", **there},
            "large": {**paid, "model": "gpt-5.4-mini", **there},
        },
        "routes": {
            ROUTE: {
                "task": "chat",
                "backends": ["small", "large"],
                "objective": "cheapest",
                "promise": {
                    "deadline": "30s",
                    "answer": {"p95": "5s"},
                    "first_event": {"p95": "3s"},
                    "max_cost_usd": 0.05,
                },
                "rules": [
                    {"when": "request.input_tokens > 20000", "exclude": ["small"]},
                    {"when": '"vip" in request.tags && key.team == "gold"', "prefer": ["large"]},
                ],
            }
        },
    }


@contextmanager
def contenders(
    folder: Path, profile: str, *, with_nginx: bool = True
) -> Iterator[tuple[dict[str, Contender], list[str]]]:
    """All ways to one sandbox, by name, and notes on those that are missing."""
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        base = stack.enter_context(sandbox(folder, profile))
        found = {"sandbox": Contender(Target("sandbox", base + PATH, VENDOR), None)}
        notes: list[str] = []

        def add(name: str, started: Program, headers: dict[str, str]) -> None:
            found[name] = Contender(Target(name, started.url + PATH, headers), started)

        if with_nginx:
            try:
                add("nginx", stack.enter_context(nginx(folder, base)), VENDOR)
            except (FileNotFoundError, RuntimeError) as exc:
                notes.append(f"without nginx: {exc}")
        add("bare proxy", stack.enter_context(bare_proxy(folder, base)), VENDOR)
        add("router", stack.enter_context(router(folder, everything_on(base))), OURS)
        yield found, notes
