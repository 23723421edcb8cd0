"""The supervisor and a real TorchServe with tiny models, packed as ARCHIVE.yaml says."""

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import serving_models as tiny
import torch
import yaml
from transformers import AutoModel, AutoTokenizer

from serving.supervisor.folder import free_ports
from serving.supervisor.front import Front

pytestmark = [pytest.mark.system, pytest.mark.serving, pytest.mark.xdist_group("torchserve")]
SERVING = Path(__file__).parents[3] / "serving"


def pack(archive: Path, kind: str, model: Path, **handler) -> None:
    packing = yaml.safe_load((SERVING / "ARCHIVE.yaml").read_text())["kinds"][kind]
    name = archive.stem
    config = packing["config"] | {
        "handler": packing["config"]["handler"] | {"name": name, "threads": 1, **handler}
    }
    manifest = {
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {
            "modelName": name,
            "handler": packing["handler"],
            "modelVersion": "1.0",
            "configFile": "model-config.yaml",
        },
    }
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        out.writestr("model-config.yaml", yaml.safe_dump(config))
        for inside, source in packing["files"].items():
            out.write(SERVING / source, inside)
        for file in sorted(model.rglob("*")):
            if file.is_file():
                out.write(file, f"model/{file.relative_to(model)}")


class Served:
    def __init__(self, folder: Path):
        self.folder, self.archives, self.state = folder, folder / "mar", folder / "state"
        self.port, self.management, metrics, self.status_port = free_ports(4)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "serving", "--archives", str(self.archives), "--state", str(self.state), "--port", str(self.port),
             "--management-port", str(self.management), "--metrics-port", str(metrics), "--status-port", str(self.status_port)],
            stderr=(folder / "supervisor.log").open("wb"),
        )  # fmt: skip

    def http(self, port, method, path, body=None, timeout=30):
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        key = self.state / "inference.key"
        link.request(
            method,
            path,
            json.dumps(body) if body else None,
            {
                "Authorization": f"Bearer {key.read_text() if key.exists() else ''}",
                "Content-Type": "application/json",
            },
        )
        return link.getresponse()

    def status(self):
        return json.loads(self.http(self.status_port, "GET", "/status").read())

    def wait_ready(self, seconds=150, beyond=-1):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if (
                    self.http(self.status_port, "GET", "/readyz").status == 200
                    and self.status()["restarts"] > beyond
                ):
                    return self.status()
            except OSError:
                pass
            time.sleep(0.2)
        logs = [
            file.read_text(errors="replace")[-3000:] for file in (self.state / "logs").glob("*.log")
        ]
        raise AssertionError("not ready\n" + "\n".join(logs))

    def ask(self, model, **body):
        answer = self.http(self.port, "POST", f"/predictions/{model}", body)
        return answer.status, answer.read().decode()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "mar").mkdir()
    chat = tiny.convert(tiny.causal(folder / "llama", "llama"))
    enc = tiny.encoder(folder / "bert", "bert")
    pack(folder / "mar" / "fast.mar", "generate", chat, quantization="none")
    pack(folder / "mar" / "plain.mar", "generate", chat, engine="torch", quantization="none")
    pack(folder / "mar" / "enc.mar", "embed+classify", enc, engine="torch", quantization="none")
    server = Served(folder)
    try:
        server.wait_ready()
        yield server
    finally:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)


CHAT = {
    "task": "chat",
    "messages": [{"role": "user", "content": "hello 🙂"}],
    "max_tokens": 16,
    "temperature": 0,
}


@pytest.mark.parametrize("model", ["fast", "plain"])
def test_chat_whole_streamed_and_together(served, model):
    """All say the same; a bad item gets its 400 beside them."""
    code, text = served.ask(model, **CHAT)
    whole = json.loads(text)
    assert (code, whole["model"]) == (200, model)
    found = {}

    def one(index):
        bad = {"n": 3} if index == 2 else {}
        found[index] = served.ask(model, **CHAT, stream=index % 2 == 1, **bad)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert found[2][0] == 400
    assert json.loads(found[2][1])["code"] == "invalid_request"
    assert [json.loads(found[index][1]) for index in (0, 4)] == [whole, whole]
    for index in (1, 3, 5):
        lines = [json.loads(line) for line in found[index][1].splitlines()]
        assert "".join(line.get("text", "") for line in lines) == whole["text"]
        assert {**lines[-1], "text": whole["text"]} == whole


def test_a_caller_that_left_is_dropped(served):
    """The model is idle again long before the answer would have ended."""
    answer = served.http(
        served.port, "POST", "/predictions/plain", {**CHAT, "max_tokens": 100, "stream": True}
    )
    answer.read1(10)
    answer.close()
    code, text = served.ask("plain", **CHAT)
    assert code == 200
    assert json.loads(text)["usage"]["output_tokens"] > 0


def test_embeddings_are_those_of_the_bare_model(served):
    """Many at once, each gets its own."""
    model, tokenizer = (
        AutoModel.from_pretrained(served.folder / "bert").eval(),
        AutoTokenizer.from_pretrained(served.folder / "bert"),
    )
    texts, found = ["hello", "hello cat world", "cat " * 20, "world cat"], {}

    def one(index):
        found[index] = served.ask("enc", task="embed", texts=[texts[index]])

    threads = [threading.Thread(target=one, args=(index,)) for index in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for index, text in enumerate(texts):
        with torch.inference_mode():
            state = (
                model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
            )
        vector = np.frombuffer(
            base64.b64decode(json.loads(found[index][1])["embeddings"][0]), "<f4"
        )
        assert np.allclose(vector, state / np.linalg.norm(state), atol=1e-4)
    assert served.ask("enc", task="classify", texts=["cat"])[0] == 400


def test_keys_are_asked_for_and_kept(served):
    """No key, no answer; management is not open to the inference key."""
    link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    link.request("POST", "/predictions/fast", json.dumps(CHAT))
    assert link.getresponse().status == 400
    assert served.http(served.management, "GET", "/models").status == 400
    assert (served.state / "inference.key").stat().st_mode & 0o777 == 0o600


def test_behind_a_front_torchserve_answers_as_alone(served):
    """Whole, streamed and refused answers say the same; a caller that left is dropped."""
    token = "t" * 32
    front = Front(("127.0.0.1", 0), served.port, {token})
    front.key = (served.state / "inference.key").read_text()
    front.start()

    def ask(body, key=token):
        link = http.client.HTTPConnection("127.0.0.1", front.port, timeout=30)
        head = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        link.request("POST", "/predictions/plain", json.dumps(body), head)
        return link.getresponse()

    def said(text):
        lines = [json.loads(line) for line in text.splitlines()]
        return lines[-1] | {"text": "".join(line.get("text", "") for line in lines)}

    for more in ({}, {"stream": True}, {"n": 3}):
        answer, (status, text) = ask(CHAT | more), served.ask("plain", **CHAT, **more)
        assert (answer.status, said(answer.read().decode())) == (status, said(text))
    assert ask(CHAT, key=front.key).status == 401
    left = ask(CHAT | {"max_tokens": 100, "stream": True})
    left.read1(10)
    left.close()
    assert ask(CHAT).status == 200
    front.drain(5)
    assert front.in_flight == 0


def test_torchserve_comes_back_by_itself(served):
    """Killed hard; status says down, then up, and requests are answered."""
    before = served.status()
    os.kill(before["pid"], signal.SIGKILL)
    end = time.monotonic() + 5
    while served.status()["up"] and time.monotonic() < end:
        time.sleep(0.05)
    assert not served.status()["up"]
    after = served.wait_ready(beyond=before["restarts"])
    assert after["pid"] != before["pid"]
    assert served.ask("fast", **CHAT)[0] == 200


def worker_of(served, model):
    """The pid of the model's one worker."""
    key = json.loads((served.state / "work" / "key_file.json").read_text())["management"]["key"]
    link = http.client.HTTPConnection("127.0.0.1", served.management, timeout=10)
    link.request("GET", f"/models/{model}", headers={"Authorization": f"Bearer {key}"})
    (worker,) = json.loads(link.getresponse().read())[0]["workers"]
    return worker["pid"]


def becomes_unready(served, model, seconds):
    end = time.monotonic() + seconds
    while served.status()["models"][model]["ready"] and time.monotonic() < end:
        time.sleep(0.05)
    return served.status()["models"]


def test_a_worker_that_was_killed_comes_back(served):
    """The model is told as not ready meanwhile, the others serve on, and TorchServe is not restarted."""
    before = served.status()
    os.kill(worker_of(served, "fast"), signal.SIGKILL)
    during = becomes_unready(served, "fast", 10)
    assert not during["fast"]["ready"]
    assert during["enc"]["ready"]
    assert served.ask("enc", task="embed", texts=["hello"])[0] == 200
    after = served.wait_ready()
    assert (after["pid"], after["restarts"]) == (before["pid"], before["restarts"])


def test_a_worker_that_hangs_is_replaced(served):
    """Alive, but it answers nothing: its model is told as not ready, it is killed, another serves."""
    before, hung = served.status(), worker_of(served, "enc")
    os.kill(hung, signal.SIGSTOP)
    began, found = time.monotonic(), []
    calls = [
        threading.Thread(
            target=lambda: found.append(served.ask("enc", task="embed", texts=["a cat"])[0])
        )
        for _ in range(3)
    ]
    [call.start() for call in calls]
    during = becomes_unready(served, "enc", 30)
    assert not during["enc"]["ready"]
    assert during["fast"]["ready"]
    after = served.wait_ready(60)
    assert time.monotonic() - began < 60
    assert worker_of(served, "enc") != hung
    assert (after["pid"], after["restarts"]) == (before["pid"], before["restarts"])
    [call.join() for call in calls]
    assert set(found) <= {200, 500, 503, 507}
    assert served.ask("enc", task="embed", texts=["a cat"])[0] == 200
