"""Several workers on shared sockets, which this process has opened and watches.

a worker that dies   another is started
SIGHUP               passed on: each reads the configuration again
SIGUSR2              rolling restart: a fresh worker is started; once it serves, it takes the place
of an old one, which is told to end; then the next. The socket stays open,
so that no call is lost. A worker that does not come up ends it: the old go on
SIGTERM, SIGINT      passed on; it is over when all have ended
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Any

log = logging.getLogger("isocost")
LOOK_SECONDS = 0.1
AGAIN_SECONDS = 0.5
"""Before another worker is started for one that died."""


class Workers:
    """*count* of them on *listeners*, started with the *words* of this command line."""

    def __init__(
        self, listeners: list[socket.socket], count: int, words: list[str], env: dict[str, str]
    ) -> None:
        self._listeners, self._env = listeners, env
        self._command = [sys.executable, "-m", "router", "serve", *words]
        for name, listener in zip(("--fd", "--admin-fd"), listeners, strict=False):
            listener.set_inheritable(True)
            self._command += [name, str(listener.fileno())]
        self._numbers = [listener.fileno() for listener in listeners]
        self._count = count
        self._serving: list[subprocess.Popen[bytes]] = []
        self._leaving: list[subprocess.Popen[bytes]] = []
        self._left: list[int] = []
        self._fresh: tuple[subprocess.Popen[bytes], int] | None = None
        self._stopping = False

    def watch(self) -> int:
        """Until told to stop, or one says that the configuration is wrong; the exit status."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        signal.signal(signal.SIGUSR2, self._roll)
        self._serving += [self._begin() for _ in range(self._count)]
        refused = False
        while self._running() or not self._stopping:
            refused = self._replace_the_dead() or refused
            self._roll_on()
            time.sleep(LOOK_SECONDS)
        # One that was still starting knows no signal yet and ends by it: that is no failure.
        ends = [worker.returncode or 0 for worker in self._serving + self._leaving]
        worst = max([0 if end == -signal.SIGTERM else abs(end) for end in ends])
        return 2 if refused else worst

    def _begin(self, *more: str, numbers: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._command, *more], env=self._env, pass_fds=[*self._numbers, *numbers]
        )

    def _running(self) -> bool:
        every = [*self._serving, *self._leaving, *([self._fresh[0]] if self._fresh else [])]
        return any(worker.poll() is None for worker in every)

    def _replace_the_dead(self) -> bool:
        """Whether one of them refused its configuration, which ends all."""
        self._leaving = [w for w in self._leaving if w.poll() is None or w.returncode]
        for index, worker in enumerate(self._serving):
            if worker.poll() is None or self._stopping:
                continue
            if worker.returncode == 2:
                self._stop()
                return True
            log.error("worker %d ended with %d, starting another", index, worker.returncode)
            time.sleep(AGAIN_SECONDS)
            self._serving[index] = self._begin()
        return False

    # Rolling restart.

    def _roll(self, *_: Any) -> None:
        if not self._stopping:
            log.info("rolling restart of %d workers", len(self._serving))
            self._left = list(range(len(self._serving)))

    def _roll_on(self) -> None:
        if self._stopping:
            return
        if self._fresh is not None:
            self._take_over(*self._fresh)
        elif self._left:
            told, tells = os.pipe()
            fresh = self._begin("--ready-fd", str(tells), numbers=(tells,))
            os.close(tells)
            self._fresh = fresh, told

    def _take_over(self, fresh: subprocess.Popen[bytes], told: int) -> None:
        if not select.select([told], [], [], 0)[0]:
            return
        serves = bool(os.read(told, 1))
        os.close(told)
        self._fresh = None
        if not serves:
            fresh.terminate()
            fresh.wait()
            log.error("a fresh worker did not come up: the rolling restart ends here")
            self._left = []
            return
        index = self._left.pop(0)
        old, self._serving[index] = self._serving[index], fresh
        old.send_signal(signal.SIGTERM)
        self._leaving.append(old)

    # Signals.

    def _stop(self, *_: Any) -> None:
        self._stopping = True
        # Left open here, a socket would take calls in that nobody serves.
        for listener in self._listeners:
            listener.close()
        fresh = [self._fresh[0]] if self._fresh else []
        for worker in [*self._serving, *self._leaving, *fresh]:
            worker.send_signal(signal.SIGTERM)

    def _reload(self, *_: Any) -> None:
        for worker in self._serving:
            worker.send_signal(signal.SIGHUP)
