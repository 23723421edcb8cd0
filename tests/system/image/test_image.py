"""The images that `make image` built, in podman: lean, locked down, draining, outliving each other."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml

from tests.system.image.containers import Container, marks, mounted, podman
from tests.system.router.harness import ask, free_port, until

pytestmark = marks()
KEY, TOKEN = "ik-" + "k" * 32, "t" * 40
CHAT = {"model": "assistant", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 24}


class House:
    """A sandbox, TorchServe with both models under a memory limit, and a router before them."""

    def __init__(self, folder: Path) -> None:
        self.port, self.inner, self.sandboxed = free_port(), free_port(), free_port()
        self.status, management, metrics = free_port(), free_port(), free_port()
        (folder / "token").write_text(TOKEN)
        (folder / "key").write_text(KEY)
        (folder / "isocost.yaml").write_text(yaml.safe_dump(self.config()))
        for file in folder.iterdir():
            file.chmod(0o444)
        token = mounted(folder / "token", "/run/secrets/isocost/inference.key")
        self.sandbox = Container(
            "router", "-m", "load_tests.sandbox", "--port", str(self.sandboxed), entrypoint="python"
        )
        self.torchserve = Container(
            "torchserve", "--archives", "/models", "--state", "/var/lib/isocost/serving", "--key-file",
            "/run/secrets/isocost/inference.key", "--port", str(self.inner), "--status-port", str(self.status),
            "--management-port", str(management), "--metrics-port", str(metrics),
            options=(*token, "--memory", "3g", "--memory-swap", "3g"),
        )  # fmt: skip
        config = mounted(folder / "isocost.yaml", "/etc/isocost/isocost.yaml")
        key = mounted(folder / "key", "/etc/isocost/key")
        serve = (
            "serve",
            "--config",
            "/etc/isocost/isocost.yaml",
            "--state",
            "/var/lib/isocost",
            "--sandbox",
        )
        self.router = Container("router", *serve, options=(*config, *key, *token))
        self.all = [self.router, self.torchserve, self.sandbox]

    def config(self) -> dict[str, object]:
        local = {"api": "torchserve", "base": f"http://127.0.0.1:{self.inner}", "key_file": "/run/secrets/isocost/inference.key",
                 "status": f"http://127.0.0.1:{self.status}/status", "price": {"per_hour_usd": 0.05, "concurrency": 4}}  # fmt: skip
        paid = {"api": "openai", "model": "gpt-5.4-mini", "key_env": "OPENAI_API_KEY", "tasks": ["chat"],
                "sandbox": {"base": f"http://127.0.0.1:{self.sandboxed}/v1"}}  # fmt: skip
        slow = {"deadline": "60s"}
        minilm = {"backends": ["local-minilm"], "promise": slow}
        return {
            "server": {"host": "127.0.0.1", "port": self.port},
            "keys": [{"name": "smoke", "team": "smoke", "key_file": "/etc/isocost/key"}],
            "backends": {
                "local-chat": local
                | {"model": "smollm2-135m", "tasks": ["chat", "complete"], "context": 8192},
                "local-minilm": local | {"model": "minilm", "tasks": ["embed", "classify"]},
                "openai": paid,
                "instruct": paid
                | {"model": "gpt-3.5-turbo-instruct", "tasks": ["complete"], "context": 4096},
            },
            "routes": {
                "assistant": {
                    "task": "chat",
                    "backends": ["local-chat", "openai"],
                    "promise": slow,
                },
                "embeddings": minilm | {"task": "embed"},
                "classifier": minilm | {"task": "classify"},
                "paid": {"task": "chat", "backends": ["openai"], "promise": slow},
                "writer": {
                    "task": "complete",
                    "backends": ["local-chat", "instruct"],
                    "promise": slow,
                },
            },
        }

    def call(self, path: str, body: dict[str, object]) -> tuple[str, dict[str, object]]:
        """Who served it, and the answer."""
        head = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.port}{path}"
        with urlopen(Request(url, json.dumps(body).encode(), head), timeout=90) as answer:
            return answer.headers["x-isocost-backend"], json.load(answer)

    def ready(self) -> bool:
        assert self.torchserve.state()["Running"], self.torchserve.log()
        with urlopen(f"http://127.0.0.1:{self.status}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory):
    made = House(tmp_path_factory.mktemp("house"))
    try:
        until(made.ready, 300, made.torchserve.log())
        until(lambda: ask(f"http://127.0.0.1:{made.port}/livez") is not None, 30, made.router.log())
        time.sleep(1.5)  # the router looks once a second
        yield made
    finally:
        for each in made.all:
            each.remove()


def inspected(target: str):
    return json.loads(podman("image", "inspect", f"localhost/isocost/{target}:dev"))[0]


@pytest.mark.parametrize("target", ["router", "load", "torchserve"])
def test_an_image_says_what_it_is(target):
    """A numeric user, a signal that drains, a check of health where it serves, labels; no shell to start it."""
    image = inspected(target)
    config = image["Config"]
    assert int(config["User"].split(":")[0]) > 0
    assert config["StopSignal"] == "SIGTERM"
    assert target == "load" or image["Healthcheck"]["Test"][0] == "CMD"
    assert "/sh" not in config["Entrypoint"][0]
    for name in ("title", "description", "version", "revision", "licenses"):
        assert config["Labels"][f"org.opencontainers.image.{name}"]


def test_the_check_of_health_tells_the_truth(house):
    """It passes while the program answers, and fails where nothing does."""
    for target, meant, port in (
        ("router", "8080", house.port),
        ("torchserve", "8084", house.status),
    ):
        words = inspected(target)["Healthcheck"]["Test"][1:]
        for given, passes in ((str(port), True), (str(free_port()), False)):
            asked = [word.replace(meant, given) for word in words]
            assert (getattr(house, target).inside(*asked).returncode == 0) is passes


def test_images_hold_no_tools(house):
    """No compiler; no torch, Locust or pip beside the router, no router beside torch, which keeps pip to download models."""
    held = ((house.router, ["torch", "locust", "pip"]), (house.torchserve, ["router", "locust"]))
    for container, absent in held:
        tools = container.inside("sh", "-c", "command -v gcc cc g++ c++ clang ld make")
        assert tools.stdout == ""
        found = container.inside(
            "python",
            "-c",
            f"import importlib.util as u; print([name for name in {absent} if u.find_spec(name)])",
        )
        assert found.stdout.strip() == "[]"


def test_nobody_is_root_and_nothing_can_be_written(house):
    """Whatever user the cluster picks; only the two folders that are meant for it take files."""
    for container in house.all:
        said = container.inside(
            "sh",
            "-c",
            "grep -E '^(Uid|CapEff):' /proc/1/status; touch /opt/isocost/x /etc/x /models/x /x",
        )
        assert "\t12345\t" in said.stdout
        assert "CapEff:\t0000000000000000" in said.stdout
        assert said.returncode != 0
        assert container.inside("touch", "/tmp/x", "/var/lib/isocost/x").returncode == 0


def test_real_models_answer_through_the_router(house):
    """A chat and an embedding from TorchServe's container; without the token it answers nobody."""
    backend, said = house.call("/v1/chat/completions", CHAT)
    assert (backend, bool(said["choices"][0]["message"]["content"])) == ("local-chat", True)
    backend, said = house.call("/v1/embeddings", {"model": "embeddings", "input": "hello"})
    assert (backend, len(said["data"][0]["embedding"])) == ("local-minilm", 384)
    with pytest.raises(HTTPError) as refused:
        ask(f"http://127.0.0.1:{house.inner}/predictions/minilm", {"task": "embed", "texts": ["x"]})
    assert refused.value.code == 401
    body = {"task": "embed", "texts": ["x"]}
    told = ask(
        f"http://127.0.0.1:{house.inner}/predictions/minilm", body, authorization=f"Bearer {TOKEN}"
    )
    assert len(told["embeddings"]) == 1


STRUCK = """
users: 4
seconds: 6
wait: [0.05, 0.1]
max_tokens: 4
mix: {Chat: 1}
faults: [{at: 0, rules: [{fault: status, status: 503, match: {vendor: openai}}]}, {at: 6}]
routes: {assistant: paid}
"""
OBJECTIVES = {
    "smoke": {"error_share": 0.0, "late_share": 0.0, "billed_usd": 0.01},
    "struck": {"error_share": 0.0},
}


def test_a_load_run_judges_the_router(house, tmp_path):
    """Locked down like all others: the smoke profile holds against this house, and is broken where the sandbox is."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "struck.yaml").write_text(STRUCK)
    (folder / "objectives.yaml").write_text(yaml.safe_dump(OBJECTIVES))
    for each in (*folder.iterdir(), folder):
        each.chmod(0o755)
    own = mounted(folder, "/etc/isocost-load")
    words = ("--host", f"http://127.0.0.1:{house.port}", "--wait", "30", "--sandbox")
    words += (
        f"http://127.0.0.1:{house.sandboxed}",
        "--objectives=/etc/isocost-load/objectives.yaml",
    )
    for chosen, verdict, status in (
        (("--profile", "smoke", "--seconds", "6"), "VERDICT: held", 0),
        (("--profile", "/etc/isocost-load/struck.yaml"), "VERDICT: broken (error share)", 1),
    ):
        load = Container("load", *words, *chosen, options=(*own, "--env", f"ISOCOST_KEY={KEY}"))
        try:
            assert load.ended(120) == status, load.log()
            assert verdict in load.log()
        finally:
            load.remove()
    faults = ask(f"http://127.0.0.1:{house.sandboxed}/sandbox/faults")
    assert faults == {"rules": []}, "they end with the run"
    until(
        lambda: house.call("/v1/chat/completions", CHAT | {"model": "paid"}),
        60,
        "the paid API is asked again",
    )


OOM = """
import pathlib
mine = pathlib.Path('/proc/self').resolve().name
for process in pathlib.Path('/proc').glob('[0-9]*'):
    if process.name not in ('1', mine):
        (process / 'oom_score_adj').write_text('1000')
held = []
while True:
    held.append(bytearray(16 << 20))
    if len(held) > 400:
        break
"""


def test_running_out_of_memory_is_survived_by_the_other(house):
    """TorchServe's processes are killed for memory: callers are served by the paid API, and it comes back."""
    pressed = threading.Thread(target=house.torchserve.inside, args=("python", "-c", OOM))
    pressed.start()
    served = set()
    while pressed.is_alive():
        served.add(house.call("/v1/chat/completions", CHAT)[0])
    pressed.join()
    assert "openai-sandbox" in served
    assert house.torchserve.state()["Running"]
    assert house.router.state()["Running"]
    until(house.ready, 240, house.torchserve.log())
    until(
        lambda: house.call("/v1/chat/completions", CHAT)[0] == "local-chat",
        60,
        "back to the local model",
    )


@pytest.mark.parametrize("target", ["torchserve", "router"])
def test_the_signal_drains(house, target):
    """A stream that is under way at SIGTERM arrives whole; then the container ends with 0."""
    container = getattr(house, target)
    url = f"http://127.0.0.1:{house.port}/v1/chat/completions"
    if target == "router":  # TorchServe has gone; the paid API takes its time
        slow = {"rules": [{"fault": "slow", "seconds": 0.1}]}
        ask(f"http://127.0.0.1:{house.sandboxed}/sandbox/faults", slow, method="PUT")
    story = [{"role": "user", "content": "Tell me a long story about a lighthouse."}]
    body = CHAT | {"stream": True, "max_tokens": 250, "messages": story}
    head = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    with urlopen(Request(url, json.dumps(body).encode(), head), timeout=120) as answer:
        served = answer.headers["x-isocost-backend"]
        text = answer.readline()
        container.terminate()
        told = time.monotonic()
        text += answer.read()
    assert served == "local-chat" or target == "router"
    assert b"data: [DONE]" in text
    assert time.monotonic() - told > 0.2, "the stream was over before the signal"
    assert container.ended(60) == 0
