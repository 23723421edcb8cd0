"""`isocost serve`: the router alone.

One process serves on one core; `--workers N` starts N of them on one socket (`workers`). A socket
that systemd, or whoever else speaks its protocol, has opened is used as it is: it outlives this
process, and calls wait in it for the next one.

    SIGTERM, SIGINT  not ready any more; serves on for `drain_delay`; takes nothing new, finishes
                     what is under way within `grace`; settles, writes the journal, ends with 0.
                     A second time: the rest of the delay is skipped; a third: the grace, too
    SIGHUP           reads the configuration again

Source: sd_listen_fds(3).
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
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import uvloop
from prometheus_client import disable_created_metrics

from router import logs
from router.admin.store import where
from router.cli import parser
from router.cli.operator import operator_key
from router.cli.workers import Workers
from router.config import AdminConfig, Config, ConfigError, read
from router.doors.admin_api import admin_api
from router.doors.app import app
from router.doors.health import PROBES
from router.runtime import Runtime
from router.server import Server

log = logging.getLogger("isocost")
FILES, OTHER_FILES = 65_536, 256
"""Open files asked for where the system names no limit; those that are no connections."""
FIRST_FD = 3


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
    options.add_argument(
        "--log", choices=("text", "json"), help="form of the log; the file's if left out"
    )
    options.add_argument("--fd", type=int, help="serve on this open socket (for workers)")
    options.add_argument("--ready-fd", type=int, help="told once it serves (for workers)")
    return options.parse_args(words)


def main(words: list[str]) -> int:
    options = arguments(words)
    # It warns of each bad form; the client is told.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    try:
        config = read(options.config)
        logs.start(options.log or config.server.log)
        if options.fd is not None:
            asked = options.admin_fd
            admin = None if asked is None else socket.socket(fileno=asked)
            return _work(socket.socket(fileno=options.fd), admin, options)
        listener = _listen(config, options)
        admin = _admin(config, options)
    except (ConfigError, OSError) as exc:
        print(f"isocost serve: {str(exc).lstrip()}", file=sys.stderr)
        return 2
    workers = options.workers or config.server.workers
    if workers == 1:
        return _work(listener, admin, options)
    return _share([s for s in (listener, admin) if s is not None], workers, words)


def _listen(config: Config, options: Namespace) -> socket.socket:
    inherited = _inherited()
    host = options.host or config.server.host
    if inherited is not None:
        host = str(inherited.getsockname()[0])
    port = config.server.port if options.port is None else options.port
    # A store may have keys; until one is known, nobody but this machine is served either.
    kept = config.keys or config.ledger or config.budgets
    if not kept and not _loopback(host):
        raise ConfigError(
            f"no keys are configured, so only loopback is served, not {host}; "
            "add `keys:` to the configuration, or listen on 127.0.0.1"
        )
    return inherited or _open(host, port)


def _inherited() -> socket.socket | None:
    """The socket that whoever started this process has opened for it."""
    mine = os.environ.get("LISTEN_PID") == str(os.getpid())
    if not mine or os.environ.get("LISTEN_FDS", "0") == "0":
        return None
    listener = socket.socket(fileno=FIRST_FD)
    listener.setblocking(False)  # noqa: FBT003 - the standard library takes it by position
    return listener


def _admin(config: Config, options: Namespace) -> socket.socket | None:
    """Where the admin API listens, if it is asked for. Raises ConfigError when it has no key."""
    if operator_key(config, options.config.parent, port=options.admin_port) is None:
        return None
    spec = config.server.admin or AdminConfig()
    return _open(spec.host, spec.port if options.admin_port is None else options.admin_port)


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
    serving = [
        (
            Server(api, grace=config.server.grace, limit=limit, crowded=api.crowded, spared=PROBES),
            listener,
        )
    ]
    if admin is not None:
        store = where(config, os.environ, options.state)
        key = operator_key(config, options.config.parent, port=options.admin_port)
        assert key is not None, "without a key nobody listens"
        operator = admin_api(lambda: runtime.pipeline, key, store, options.state)
        serving.append((Server(operator, grace=5.0), admin))
    loop = asyncio.get_running_loop()
    stop = _stopper(runtime, [server for server, _ in serving], config.server.drain_delay)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, runtime.reload)
    loop.add_signal_handler(signal.SIGUSR2, log.warning, "only `--workers 2` or more roll over")
    for name, (_, opened) in zip(("router", "admin API"), serving, strict=False):
        host, port = opened.getsockname()[:2]
        print(f"isocost {name}: http://{host}:{port}", flush=True)
    async with api.router.lifespan_context(api):
        if options.ready_fd is not None:
            os.write(options.ready_fd, b"1")
            os.close(options.ready_fd)
        await asyncio.gather(*[server.serve(opened) for server, opened in serving])
    # All is written: a signal that comes now must not make this end look like a failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


def _room() -> int:
    """Connections that the system lets this process have: each may need another to a backend."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        soft = FILES if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, (soft - OTHER_FILES) // 2)


def _stopper(runtime: Runtime, servers: list[Server], delay: float) -> Callable[[], None]:
    """What a signal to stop does, each time that it comes."""
    waiting: asyncio.TimerHandle | None = None

    def end() -> None:
        for server in servers:
            server.stop()

    def stop() -> None:
        nonlocal waiting
        if runtime.draining or not delay:
            if waiting is not None:
                waiting.cancel()
            runtime.draining = True
            end()
            return
        runtime.draining = True
        log.info("not ready any more; stopping in %g s", delay)
        for server in servers:
            server.drain()
        waiting = asyncio.get_running_loop().call_later(delay, end)

    return stop


def _share(listeners: list[socket.socket], count: int, words: list[str]) -> int:
    """Watch *count* workers until told to stop."""
    metrics = tempfile.mkdtemp(prefix="isocost-metrics-")
    try:
        env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": metrics}
        return Workers(listeners, count, words, env).watch()
    finally:
        shutil.rmtree(metrics, ignore_errors=True)
