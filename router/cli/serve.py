"""`isocost serve`: the router alone.

One process serves on one core; `--workers N` starts N of them on one socket, which this process
opens and watches: a worker that dies is started again, SIGTERM and SIGHUP are passed on.
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import uvloop
from prometheus_client import disable_created_metrics

from router.cli import parser
from router.config import Config, ConfigError, read
from router.doors.app import app
from router.runtime import Runtime
from router.server import Server

log = logging.getLogger("isocost")


def arguments(words: list[str]) -> Namespace:
    options = parser("serve")
    options.add_argument("--config", type=Path, default=Path("isocost.yaml"))
    options.add_argument("--host", help="address to listen on; the file's when left out")
    options.add_argument("--port", type=int, help="0 takes a free one")
    options.add_argument("--workers", type=int, help="processes")
    options.add_argument("--state", type=Path, default=Path("var/router"), help="journal folder")
    options.add_argument(
        "--sandbox",
        action="store_true",
        help="backends without a key use their sandbox; never in production",
    )
    options.add_argument("--fd", type=int, help="serve on this open socket (for workers)")
    return options.parse_args(words)


def main(words: list[str]) -> int:
    options = arguments(words)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    # It warns of each bad form; the client is told.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    try:
        config = read(options.config)
        if options.fd is not None:
            return _work(socket.socket(fileno=options.fd), options)
        listener = _listen(config, options)
    except (ConfigError, OSError) as exc:
        print(f"isocost serve: {exc}", file=sys.stderr)
        return 2
    workers = options.workers or config.server.workers
    return _work(listener, options) if workers == 1 else _share(listener, workers, words)


def _listen(config: Config, options: Namespace) -> socket.socket:
    host = options.host or config.server.host
    port = config.server.port if options.port is None else options.port
    if not config.keys and not _loopback(host):
        raise ConfigError(
            f"no keys are configured, so only loopback is served, not {host}; "
            "add `keys:` to the configuration, or listen on 127.0.0.1"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        raise ConfigError(f"cannot listen on {host}:{port}: {exc.strerror}") from exc
    listener.listen(1024)
    listener.setblocking(False)  # noqa: FBT003 - the standard library takes it by position
    return listener


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _work(listener: socket.socket, options: Namespace) -> int:
    try:
        runtime = Runtime(options.config, sandbox=options.sandbox, journal=options.state)
    except ConfigError as exc:
        print(f"isocost serve: {options.config}:\n{exc}", file=sys.stderr)
        return 2
    disable_created_metrics()  # type: ignore[no-untyped-call]
    # What was loaded stays: without this each collection walks all of it, 40 us a call.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    try:
        uvloop.run(_serve(runtime, listener))
    except ConfigError as exc:
        print(f"isocost serve: {options.config}:\n  {exc}", file=sys.stderr)
        return 2
    return 0


async def _serve(runtime: Runtime, listener: socket.socket) -> None:
    api = app(runtime)
    server = Server(api)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    loop.add_signal_handler(signal.SIGHUP, runtime.reload)
    host, port = listener.getsockname()[:2]
    print(f"isocost router: http://{host}:{port}", flush=True)
    async with api.router.lifespan_context(api):
        await server.serve(listener)


def _share(listener: socket.socket, count: int, words: list[str]) -> int:
    """Watch *count* workers until told to stop."""
    metrics = tempfile.mkdtemp(prefix="isocost-metrics-")
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": metrics}
    listener.set_inheritable(True)
    command = [sys.executable, "-m", "router", "serve", *words, "--fd", str(listener.fileno())]

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=env, pass_fds=[listener.fileno()])

    stopping = False

    def stop(number: int, _: Any) -> None:
        nonlocal stopping
        stopping = True
        for worker in workers:
            worker.send_signal(signal.SIGTERM)

    def reload(number: int, _: Any) -> None:
        for worker in workers:
            worker.send_signal(signal.SIGHUP)

    workers: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)
    try:
        workers += [begin() for _ in range(count)]
        while any(worker.poll() is None for worker in workers) or not stopping:
            for index, worker in enumerate(workers):
                if worker.poll() is not None and not stopping:
                    if worker.returncode == 2:
                        stop(0, None)
                        return 2
                    log.error("worker %d ended with %d, starting another", index, worker.returncode)
                    time.sleep(0.5)
                    workers[index] = begin()
            time.sleep(0.1)
    finally:
        shutil.rmtree(metrics, ignore_errors=True)
    # One that was still starting knows no signal yet and ends by it: that is no failure.
    ends = [worker.returncode or 0 for worker in workers]
    return max([0 if end == -signal.SIGTERM else abs(end) for end in ends])
