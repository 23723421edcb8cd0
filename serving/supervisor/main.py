"""Puts the parts of the supervisor together and waits for a signal."""

import logging
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from serving.supervisor.folder import Folder, Taken, free_ports, require_free
from serving.supervisor.folder import replace as write
from serving.supervisor.front import Front
from serving.supervisor.java import NoJava
from serving.supervisor.keeper import Keeper
from serving.supervisor.options import Options, read_options
from serving.supervisor.probe import Probe, canary_fields, canary_task
from serving.supervisor.process import Server, end_leftover
from serving.supervisor.status import StatusServer
from serving.supervisor.tokens import TokenError, Tokens

TICK_SECONDS = 0.1
logger = logging.getLogger("serving")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; 0 after a clean stop, 1 where it could not start."""
    options = read_options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stop.set())
    folder = Folder(options.state)
    try:
        with folder.lock():
            end_leftover(folder)
            require_free(options.management_port)
            for port in (options.port, options.metrics_port):
                require_free(port, options.host)
            return _run(options, folder, stop)
    except (Taken, NoJava, TokenError, RuntimeError, OSError) as error:
        logger.error("%s", error)  # noqa: TRY400  (the message is for a person)
        return 1


def _run(options: Options, folder: Folder, stop: threading.Event) -> int:
    front = None
    inner = options
    if options.key_file is not None:
        inner = replace(options, port=free_ports(1)[0])
        address = (options.host, options.port)
        front = Front(address, inner.port, Tokens(options.key_file))

    def publish(key: str) -> None:
        write(folder.inference_key, key)
        if front is not None:
            front.key = key

    keeper = _keeper(inner, folder, publish)
    status = StatusServer(
        (options.host, options.status_port),
        keeper.report,
        lambda: keeper.ready and not stop.is_set(),
    )
    status.start()
    if front is not None:
        front.start()
    try:
        while not stop.wait(TICK_SECONDS):
            keeper.tick()
        if front is not None:
            front.drain(options.drain_seconds)
    finally:
        keeper.stop()
        status.close()
        folder.inference_key.unlink(missing_ok=True)
    return 0


def _keeper(options: Options, folder: Folder, publish: Callable[[str], None]) -> Keeper:
    archives = {name: options.archives / f"{name}.mar" for name in options.models}
    asks = {name: canary_fields(file) for name, file in archives.items()}
    return Keeper(
        start=lambda: Server(folder, options),
        keys=folder.keys,
        publish=publish,
        probe=Probe(options.port, options.management_port, asks),
        tasks={name: canary_task(file) for name, file in archives.items()},
        device=_device(options.device),
    )


def _device(asked: str) -> str:
    """What workers will choose, without the seconds that importing torch takes."""
    if asked != "auto":
        return asked
    return "cuda" if shutil.which("nvidia-smi") else "cpu"
