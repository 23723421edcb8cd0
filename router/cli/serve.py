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
import resource
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

from router.admin.store import where
from router.cli import parser
from router.config import AdminConfig, Config, ConfigError, read
from router.doors.admin_api import admin_api
from router.doors.app import app
from router.doors.health import PROBES
from router.runtime import Runtime
from router.secrets import Secret, SecretError, secret
from router.server import Server

log = logging.getLogger("isocost")
FILES, OTHER_FILES = 65_536, 256
"""Open files asked for where the system names no limit; those that are no connections."""


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
    options.add_argument("--admin-port", type=int, help="serve the admin API there")
    options.add_argument("--admin-fd", type=int, help="the same on this open socket (for workers)")
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
            asked = options.admin_fd
            admin = None if asked is None else socket.socket(fileno=asked)
            return _work(socket.socket(fileno=options.fd), admin, options)
        listener = _listen(config, options)
        admin = _admin(config, options)
    except (ConfigError, OSError) as exc:
        print(f"isocost serve: {exc}", file=sys.stderr)
        return 2
    workers = options.workers or config.server.workers
    if workers == 1:
        return _work(listener, admin, options)
    return _share([s for s in (listener, admin) if s is not None], workers, words)


def _listen(config: Config, options: Namespace) -> socket.socket:
    host = options.host or config.server.host
    port = config.server.port if options.port is None else options.port
    # A store may have keys; until one is known, nobody but this machine is served either.
    kept = config.keys or config.ledger or config.budgets
    if not kept and not _loopback(host):
        raise ConfigError(
            f"no keys are configured, so only loopback is served, not {host}; "
            "add `keys:` to the configuration, or listen on 127.0.0.1"
        )
    return _open(host, port)


def _admin(config: Config, options: Namespace) -> socket.socket | None:
    """Where the admin API listens, if it is asked for. Raises ConfigError when it has no key."""
    spec = config.server.admin
    if options.admin_port is None and spec is None:
        return None
    if spec is None or not (spec.key_env or spec.key_file):
        raise ConfigError(
            "server.admin: the admin API needs a key of its own; write `admin: {key_env: NAME}` "
            "and set that variable"
        )
    _admin_key(config, options)
    return _open(spec.host, spec.port if options.admin_port is None else options.admin_port)


def _admin_key(config: Config, options: Namespace) -> Secret:
    spec = config.server.admin or AdminConfig()
    try:
        return secret(spec.key_env, spec.key_file, folder=options.config.parent, env=os.environ)
    except SecretError as exc:
        raise ConfigError(f"server.admin: {exc}") from exc


def _open(host: str, port: int) -> socket.socket:
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


def _work(listener: socket.socket, admin: socket.socket | None, options: Namespace) -> int:
    guarded = not _loopback(listener.getsockname()[0])
    try:
        runtime = Runtime(
            options.config, sandbox=options.sandbox, journal=options.state, guarded=guarded
        )
    except ConfigError as exc:
        print(f"isocost serve: {options.config}:\n{exc}", file=sys.stderr)
        return 2
    disable_created_metrics()  # type: ignore[no-untyped-call]
    # What was loaded stays: without this each collection walks all of it, 40 us a call.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    try:
        uvloop.run(_serve(runtime, listener, admin, options))
    except ConfigError as exc:
        print(f"isocost serve: {options.config}:\n  {exc}", file=sys.stderr)
        return 2
    return 0


async def _serve(
    runtime: Runtime, listener: socket.socket, admin: socket.socket | None, options: Namespace
) -> None:
    api = app(runtime)
    config = runtime.pipeline.config
    limit = min(config.server.connections, _room())
    serving = [(Server(api, limit=limit, crowded=api.crowded, spared=PROBES), listener)]
    if admin is not None:
        store = where(config, os.environ, options.state)
        key = _admin_key(config, options)
        operator = admin_api(lambda: runtime.pipeline, key, store, options.state)
        serving.append((Server(operator, grace=5.0), admin))

    def stop() -> None:
        for server, _ in serving:
            server.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, runtime.reload)
    for name, (_, opened) in zip(("router", "admin API"), serving, strict=False):
        host, port = opened.getsockname()[:2]
        print(f"isocost {name}: http://{host}:{port}", flush=True)
    async with api.router.lifespan_context(api):
        await asyncio.gather(*[server.serve(opened) for server, opened in serving])


def _room() -> int:
    """Connections that the system lets this process have: each may need another to a backend."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        soft = FILES if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, (soft - OTHER_FILES) // 2)


def _command(listeners: list[socket.socket], words: list[str]) -> list[str]:
    """What starts one worker on these sockets."""
    command = [sys.executable, "-m", "router", "serve", *words]
    for name, listener in zip(("--fd", "--admin-fd"), listeners, strict=False):
        listener.set_inheritable(True)
        command += [name, str(listener.fileno())]
    return command


def _share(listeners: list[socket.socket], count: int, words: list[str]) -> int:
    """Watch *count* workers until told to stop."""
    metrics = tempfile.mkdtemp(prefix="isocost-metrics-")
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": metrics}
    numbers = [listener.fileno() for listener in listeners]
    command = _command(listeners, words)

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=env, pass_fds=numbers)

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
