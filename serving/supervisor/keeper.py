"""Keeps one TorchServe running: start, look, restart.

`tick` is called a few times a second by the main thread and never waits long. A start is given
`START_SECONDS` to bring a model up; one that cannot load (a program that it needs is missing) does
not stop the others. A worker that does nothing while requests wait is ended, and TorchServe starts
another. A model that hangs nevertheless, or a server that does not answer pings, is ended and
started anew. Tiny requests run on threads, one per model at most.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from serving.supervisor.backoff import Backoff
from serving.supervisor.health import Health
from serving.supervisor.probe import Described
from serving.supervisor.process import end_worker, spent_seconds

logger = logging.getLogger(__name__)
START_SECONDS = 240.0
SILENT_SECONDS = 30.0
CANARY_TIMEOUT = 20.0
LOOK_SECONDS = 1.0
HURRY_SECONDS = 0.2  # between looks until everything is ready


class Running(Protocol):
    """A started TorchServe."""

    @property
    def pid(self) -> int: ...
    @property
    def running(self) -> bool: ...
    def stop(self) -> None: ...


class Asks(Protocol):
    """What the keeper asks of the probe."""

    def ping(self, key: str) -> bool: ...
    def describe(self, model: str, key: str) -> Described | None: ...
    def canary(self, model: str, task: str, key: str, timeout: float) -> bool | None: ...


class Keeper:
    """State of the supervisor; `report` may be called from any thread."""

    def __init__(
        self,
        *,
        start: Callable[[], Running],
        keys: Callable[[], Mapping[str, str]],
        publish: Callable[[str], None],
        probe: Asks,
        tasks: Mapping[str, str | None],
        device: str,
        clock: Callable[[], float] = time.monotonic,
        spawn: Callable[[Callable[[], None]], None] | None = None,
        spent: Callable[[int], float] = spent_seconds,
        end: Callable[[int, int], None] = end_worker,
    ) -> None:
        """`publish` is given the inference key after each start; `tasks` is a task per model.

        `spent` says the processor time of a pid; `end` kills one, if it belongs to that group.
        """
        self._start, self._keys, self._publish, self._probe = start, keys, publish, probe
        self._tasks, self._device, self._clock = tasks, device, clock
        self._spawn = spawn or (lambda work: threading.Thread(target=work, daemon=True).start())
        self._spent, self._end = spent, end
        self._backoff = Backoff()
        self._server: Running | None = None
        self._key: Mapping[str, str] = {}
        self._health = {model: Health() for model in tasks}
        self._started = self._heard = self._next_look = self._next_start = 0.0
        self._restarts = -1
        self._since = time.time()
        self._was_ready = False

    def tick(self) -> None:
        """One look; starts or restarts TorchServe where that is due."""
        now = self._clock()
        if self._server is None:
            if now >= self._next_start:
                self._begin(now)
            return
        if not self._server.running:
            self._give_up(now, "TorchServe ended")
        elif now >= self._next_look:
            self._look(now)
            self._next_look = now + (LOOK_SECONDS if self.ready else HURRY_SECONDS)

    @property
    def ready(self) -> bool:
        """Whether every model is ready."""
        return self._server is not None and all(each.ready for each in self._health.values())

    def report(self) -> dict[str, object]:
        """The body of /status."""
        server = self._server
        return {
            "up": server is not None and server.running and bool(self._key),
            "pid": server.pid if server else None,
            "restarts": max(0, self._restarts),
            "device": self._device,
            "since": self._since,
            "models": {model: each.report() for model, each in self._health.items()},
        }

    def stop(self) -> None:
        """End TorchServe for good."""
        if self._server:
            self._server.stop()
            self._server = None

    def _begin(self, now: float) -> None:
        self._restarts += 1
        self._health = {model: Health() for model in self._tasks}
        self._key = {}
        self._started = self._heard = now
        self._since = time.time()
        self._was_ready = False
        self._server = self._start()
        logger.info("TorchServe started, pid %d", self._server.pid)

    def _give_up(self, now: float, why: str) -> None:
        assert self._server is not None
        wait = self._backoff.delay(now - self._started)
        logger.warning("%s; next start in %.1f s", why, wait)
        server, self._server = self._server, None
        self._health = {model: Health() for model in self._tasks}
        server.stop()
        self._next_start = self._clock() + wait

    def _look(self, now: float) -> None:
        if not self._key:
            self._key = self._keys()
            if self._key:
                self._publish(self._key["inference"])
        if self._key:
            if self._probe.ping(self._key["inference"]):
                self._heard = now
            for model, health in self._health.items():
                health.saw(self._probe.describe(model, self._key["management"]))
                self._watch(model, health, now)
                if health.wants_canary(now, known=self._tasks[model] is not None):
                    self._ask(model, health)
        self._was_ready = self._note_ready(now)
        serves = self._was_ready or any(health.ready for health in self._health.values())
        late = not serves and now - self._started > START_SECONDS
        silent = serves and now - self._heard > SILENT_SECONDS
        if late or silent or any(health.hung for health in self._health.values()):
            why = (
                "not ready in time" if late else "no answer to ping" if silent else "a model hangs"
            )
            self._give_up(now, why)

    def _watch(self, model: str, health: Health, now: float) -> None:
        """End the workers that do nothing while requests wait."""
        said = health.described
        pids = said.pids if said is not None and health.busy else ()
        health.progress.saw({pid: self._spent(pid) for pid in pids}, now)
        for pid in health.progress.stuck:
            assert self._server is not None
            logger.warning("%s: worker %d does nothing while requests wait: killed", model, pid)
            self._end(pid, self._server.pid)

    def _note_ready(self, now: float) -> bool:
        if self.ready and not self._was_ready:
            logger.info("ready after %.1f s", now - self._started)
        return self._was_ready or self.ready

    def _ask(self, model: str, health: Health) -> None:
        health.asking = True
        task, key = self._tasks[model], self._key["inference"]
        assert task is not None

        def work() -> None:
            begun = self._clock()
            answered = self._probe.canary(model, task, key, CANARY_TIMEOUT)
            now = self._clock()
            if not answered and health.busy and now - begun >= CANARY_TIMEOUT:
                answered = None  # whether the workers move is watched by their processor time
            health.tell(answered=answered, seconds=round(now - begun, 4), now=now)
            if answered:
                self._next_look = 0.0  # readiness may have changed: look at once

        self._spawn(work)
