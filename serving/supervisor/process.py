"""One TorchServe process: started in a group of its own, so that its workers go with it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil

from serving.supervisor.folder import Folder, replace
from serving.supervisor.java import find_java, java_flags
from serving.supervisor.options import Options

STOP_SECONDS = 10.0


def command(folder: Folder, java: Path, version: int) -> list[str]:
    """The command line: Java itself, since the `torchserve` script would put it in the background.

    Raises: RuntimeError where TorchServe is not installed.
    """
    spec = find_spec("ts")
    if spec is None or not spec.submodule_search_locations:
        message = "TorchServe is not installed: pip install 'isocost[serving]'"
        raise RuntimeError(message)
    home = Path(next(iter(spec.submodule_search_locations)))
    return [
        str(java),
        *java_flags(version),
        f"-Dmodel_server_home={home.parent}",
        f"-Dlog4j.configurationFile={folder.log4j.as_uri()}",
        f"-Djava.io.tmpdir={folder.scratch}",
        "-cp",
        str(home / "frontend" / "*"),
        "org.pytorch.serve.ModelServer",
        "--python",
        sys.executable,
        "-f",
        str(folder.config),
        "-ncs",
    ]


def environment(folder: Folder, options: Options, java: Path) -> dict[str, str]:
    """The supervisor's own environment, with temporary files and logs kept in the state folder."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {
        "JAVA_HOME": str(java.parent.parent),
        "TMPDIR": str(folder.scratch),
        "TEMP": str(folder.scratch),
        "LOG_LOCATION": str(folder.logs),
        "METRICS_LOCATION": str(folder.logs),
        "ISOCOST_DEVICE": options.device,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return env


class Server:
    """TorchServe and its workers."""

    def __init__(self, folder: Folder, options: Options) -> None:
        """Start it; the pid file is written at once.

        Raises: NoJava, RuntimeError.
        """
        java, version = find_java()
        folder.write_config(options)
        with (folder.logs / "console.log").open("wb") as console:
            self._process = subprocess.Popen(  # noqa: S603
                command(folder, java, version),
                cwd=folder.work,
                env=environment(folder, options, java),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
            )
        self._folder = folder
        replace(folder.pid, f"{self.pid}\n")

    @property
    def pid(self) -> int:
        """Pid of Java, which is the id of the group as well."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether Java runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the whole group: politely, then not."""
        end_group(self.pid, wait=self._process.poll)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        reap()
        self._folder.pid.unlink(missing_ok=True)


def reap() -> None:
    """Bury what TorchServe left: the first process of a container inherits the orphans."""
    if os.getpid() != 1:
        return
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_group(group: int, wait: Callable[[], object] | None = None) -> None:
    """SIGTERM, up to ten seconds, SIGKILL; returns when no process of the group is left."""
    for sign, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        try:
            os.killpg(group, sign)
        except ProcessLookupError:
            return
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if wait is not None:
                wait()  # a child that ended stays in its group until it is waited for
            if not _members(group):
                return
            time.sleep(0.05)


def _members(group: int) -> list[int]:
    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            dead = process.info["status"] == psutil.STATUS_ZOMBIE
            if not dead and os.getpgid(process.pid) == group:
                found.append(process.pid)
    return found


def spent_seconds(pid: int) -> float:
    """Processor time of a process and of those that it started; 0 when it is gone."""
    try:
        process = psutil.Process(pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    except psutil.Error:
        return 0.0
    return float(sum(t.user + t.system + t.children_user + t.children_system for t in times))


def end_worker(pid: int, group: int) -> None:
    """Kill one worker of the TorchServe with this group, and nobody else who has its pid by now."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == group:
            os.kill(pid, signal.SIGKILL)


def end_leftover(folder: Folder) -> None:
    """End a TorchServe that an earlier supervisor left behind, if the pid file still means it."""
    try:
        pid = int(folder.pid.read_text("utf-8"))
    except (OSError, ValueError):
        return
    try:
        ours = str(folder.config) in psutil.Process(pid).cmdline()
    except psutil.Error:
        ours = False  # gone, or the pid belongs to somebody else by now
    if ours:
        end_group(pid)
    folder.pid.unlink(missing_ok=True)
