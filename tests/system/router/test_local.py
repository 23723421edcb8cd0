"""The whole house as `isocost run` starts it: real models in TorchServe, sandbox, router.

Slow to start, so it is started once; the tests that hurt it wait until it is well again.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import struct
import sys
import time
import zipfile

import openai
import pytest
import yaml

from .harness import ROOT, Program, Router, Sandbox, ask, free_port, free_ports, until

pytestmark = [
    pytest.mark.system,
    pytest.mark.serving,
    pytest.mark.xdist_group("stack"),
    pytest.mark.timeout(400),
]
HOT = [{"role": "user", "content": "What is the opposite of hot?"}]


class House:
    """Everything that `isocost run` started."""

    def __init__(self, folder, ports) -> None:
        self.folder, self.ports = folder, ports
        config = folder / "isocost.yaml"
        command = [sys.executable, "-m", "router", "run", "--config", str(config)]
        self.program = Program([*command, "--state", str(folder / "var")], folder / "run.log")
        self.router = Router(self.program, ports["router"], config)
        self.box = Sandbox(self.program, ports["sandbox"])

    @property
    def log(self) -> str:
        return (self.folder / "run.log").read_text()

    def status(self):
        return ask(f"http://127.0.0.1:{self.ports['status']}/status")

    def local_ready(self) -> bool:
        return all(m["ready"] for m in self.status()["models"].values())

    def well(self) -> None:
        """Wait until everything serves and the router knows it."""
        self.box.heal()
        until(self.local_ready, 120, "TorchServe")
        until(lambda: not ask(f"{self.router.url}/readyz")["degraded"], 60, "router")


def settings(ports) -> dict:
    """The shipped configuration on ports of its own, with a float32 twin of the embeddings."""
    text = (ROOT / "isocost.yaml").read_text()
    for old, new in (("8085", "serving"), ("8084", "status"), ("8090", "sandbox")):
        text = text.replace(old, str(ports[new]))
    config = yaml.safe_load(text)
    config["server"]["port"] = ports["router"]
    exact = config["backends"]["local-minilm"] | {"model": "minilm-torch", "tasks": ["embed"]}
    config["backends"]["local-exact"] = exact
    config["routes"]["embeddings-exact"] = {"task": "embed", "backends": ["local-exact"]}
    config["routes"]["quick"] = {
        "task": "chat",
        "backends": ["local-chat", "openai"],
        "objective": "fastest",
    }
    config["routes"]["paid"] = {
        "task": "chat",
        "backends": ["openai", "local-chat"],
        "rules": [{"when": "true", "prefer": "openai"}],
    }
    config["routes"]["house"] = {"task": "chat", "backends": ["local-chat"]}
    return config


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    ports = {name: free_port() for name in ("router", "status", "sandbox")}
    ports["serving"] = free_ports(3)
    made = House(tmp_path_factory.mktemp("house"), ports)
    made.router.write(settings(ports))
    made.program.start()
    try:
        until(lambda: "is ready" in made.log or made.program.process.poll() is not None, 240)
        assert "is ready" in made.log, made.log
        made.well()
        yield made
    finally:
        code = made.program.stop(40)
        assert code == 0, made.log


@pytest.fixture(autouse=True)
def unhurt(house):
    house.box.reset()


def model_folder(house, archive, folder):
    """The Hugging Face folder inside an archive."""
    with zipfile.ZipFile(ROOT / "model_store" / "archives" / f"{archive}.mar") as mar:
        mar.extractall(folder, [n for n in mar.namelist() if n.startswith("model/")])
    return folder / "model"


def vectors_of_the_bare_model(folder, texts):
    """What a user would compute with Transformers alone."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).float()
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(mean, dim=1).tolist()


def test_it_says_how_to_send_the_first_request(house):
    """What `isocost run` prints can be copied into a shell, and it names the sandbox."""
    assert re.search(r"curl -si http://127\.0\.0\.1:\d+/v1/chat/completions", house.log)
    assert "sandbox" in house.log


def test_local_chat_whole_gives_sensible_text(house):
    """The small model answers a plain question, and costs less than the paid one would."""
    raw = house.router.sdk().chat.completions.with_raw_response.create(
        model="assistant", messages=HOT, max_tokens=40, temperature=0
    )
    answer = raw.parse()
    assert "cold" in answer.choices[0].message.content
    assert raw.headers["x-isocost-backend"] == "local-chat"
    assert float(raw.headers["x-isocost-cost-usd"]) > 0
    assert "x-isocost-saved-usd" in raw.headers
    assert answer.usage.prompt_tokens > 5
    assert house.box.journal() == []


def test_local_chat_streams_the_same_text(house):
    """Many pieces, the same words as the whole answer, a finish reason, usage when asked for."""
    sdk = house.router.sdk()
    options = {"model": "house", "messages": HOT, "max_tokens": 40, "temperature": 0}
    whole = sdk.chat.completions.create(**options).choices[0].message.content
    chunks = list(
        sdk.chat.completions.create(**options, stream=True, stream_options={"include_usage": True})
    )
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(pieces) == whole
    assert len([p for p in pieces if p]) > 3
    assert chunks[-2].choices[0].finish_reason in {"stop", "length"}
    assert chunks[-1].usage.completion_tokens > 3


def test_local_completion(house):
    """The same model continues a text."""
    answer = house.router.sdk().completions.create(
        model="writer", prompt="The capital of France is", max_tokens=12, temperature=0
    )
    assert "Paris" in answer.choices[0].text


def test_exact_embeddings_equal_the_bare_model(house, tmp_path):
    """In float32 within 1e-4 of Transformers alone, in any order of lengths."""
    texts = ["A cat sleeps.", "Ships carry freight over the ocean " * 6, "ok", "Wind and rain"]
    bare = vectors_of_the_bare_model(model_folder(house, "minilm-torch", tmp_path), texts)
    served = house.router.sdk().embeddings.create(model="embeddings-exact", input=texts)
    for mine, other in zip(served.data, bare, strict=True):
        assert mine.embedding == pytest.approx(other, abs=1e-4)


def test_quantised_embeddings_keep_their_stated_distance(house, tmp_path):
    """The default engine stays as near to float32 as its catalog entry says."""
    entry = yaml.safe_load((ROOT / "model_store/catalog/minilm.yaml").read_text())
    said = entry["engines"]["ctranslate2"]["measured"]["distance"]
    stated = min(float(found) for found in re.findall(r"\b0\.9\d+", said))
    texts = ["A cat sleeps.", "Ships carry freight over the ocean.", "ok", "Wind and rain in May"]
    bare = vectors_of_the_bare_model(model_folder(house, "minilm-torch", tmp_path), texts)
    served = house.router.sdk().embeddings.create(model="embeddings", input=texts)
    for mine, other in zip(served.data, bare, strict=True):
        cosine = sum(a * b for a, b in zip(mine.embedding, other, strict=True))
        assert cosine >= stated


def test_both_encodings_of_local_embeddings_agree(house):
    """Base64 (the SDK's default) and floats hold the same numbers."""
    body = {"model": "embeddings", "input": "a boat"}
    url = f"{house.router.url}/v1/embeddings"
    plain = ask(url, body)["data"][0]["embedding"]
    packed = base64.b64decode(
        ask(url, body | {"encoding_format": "base64"})["data"][0]["embedding"]
    )
    assert plain == pytest.approx(list(struct.unpack(f"<{len(plain)}f", packed)), abs=2e-2)
    assert len(plain) == 384


@pytest.mark.parametrize(
    ("text", "labels", "wanted"),
    [
        ("I loved every minute of this film.", ["positive", "negative"], "positive"),
        ("The parcel arrived broken and nobody answers.", ["praise", "complaint"], "complaint"),
        ("The striker scored twice in the final.", ["politics", "sports", "cooking"], "sports"),
        ("Chop the onions and fry them in butter.", ["politics", "sports", "cooking"], "cooking"),
    ],
)
def test_classification_is_right_on_plain_examples(house, text, labels, wanted):
    """Zero-shot by the similarity of text and labels."""
    found = ask(
        f"{house.router.url}/v1/classify", {"model": "classifier", "input": text, "labels": labels}
    )
    assert found["results"][0]["label"] == wanted
    assert sum(found["results"][0]["scores"].values()) == pytest.approx(1, abs=1e-3)


def test_a_long_prompt_goes_paid_by_rule(house):
    """Over 1500 tokens the rule excludes the local model, and the header says so."""
    long = [{"role": "user", "content": "All work and no play. " * 400}]
    raw = house.router.sdk().chat.completions.with_raw_response.create(
        model="assistant", messages=long, max_tokens=10
    )
    assert raw.headers["x-isocost-backend"] == "openai-sandbox"
    assert "local-chat left: rule" in raw.headers["x-isocost-reason"]
    assert len(house.box.journal()) == 1


def test_tools_go_to_the_backend_that_knows_them(house):
    """A parameter that the local model cannot honour is never dropped: the call goes elsewhere."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    sdk = house.router.sdk()
    raw = sdk.chat.completions.with_raw_response.create(
        model="assistant", messages=HOT, tools=tools, max_tokens=10
    )
    assert raw.headers["x-isocost-backend"] == "openai-sandbox"
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="house", messages=HOT, tools=tools)
    assert "tools" in caught.value.message


def test_paid_dead_is_served_locally(house):
    """The preferred paid API answers 500: the local model takes over."""
    house.box.faults({"fault": "status", "status": 500})
    raw = house.router.sdk().chat.completions.with_raw_response.create(
        model="paid", messages=HOT, max_tokens=20
    )
    assert raw.headers["x-isocost-backend"] == "local-chat"


def test_client_gone_frees_the_local_model(house):
    """A stream that nobody reads stops being generated: the model is free again at once."""
    sdk = house.router.sdk()
    with sdk.chat.completions.create(
        model="house",
        messages=[{"role": "user", "content": "Write a very long story about the sea."}],
        max_tokens=2000,
        temperature=1,
        stream=True,
    ) as stream:
        next(iter(stream))
    key = "isocost_in_flight,backend=local-chat"
    until(lambda: house.router.metrics()[key] == 0, 5, "released")


def test_torchserve_killed_and_back(house):
    """Killed: calls are answered by the paid API within their deadline; restarted: local again.

    A call tagged local_only meanwhile never leaves, whatever fails.
    """
    house.well()
    sdk = house.router.sdk(default_headers={"x-isocost-deadline-ms": "8000"})
    os.kill(house.status()["pid"], signal.SIGKILL)
    started = time.monotonic()
    raw = sdk.chat.completions.with_raw_response.create(
        model="assistant", messages=HOT, max_tokens=10
    )
    assert time.monotonic() - started < 8
    assert raw.headers["x-isocost-backend"] == "openai-sandbox"
    house.box.reset()
    private = house.router.sdk(default_headers={"x-isocost-tags": "local_only"})
    with pytest.raises(openai.InternalServerError) as caught:
        private.chat.completions.create(model="assistant", messages=HOT, max_tokens=10)
    assert caught.value.status_code == 503
    assert house.box.journal() == []
    house.box.faults({"fault": "status", "status": 500})
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.chat.completions.create(model="assistant", messages=HOT, max_tokens=10)
    assert caught.value.status_code == 503
    assert "local-chat" in caught.value.message
    assert "openai-sandbox" in caught.value.message
    house.well()

    def local_again() -> bool:
        again = sdk.chat.completions.with_raw_response.create(
            model="assistant", messages=HOT, max_tokens=10
        )
        return again.headers["x-isocost-backend"] == "local-chat"

    until(local_again, 60, "back to local")
    assert house.router.metrics()["isocost_backend_up,backend=local-chat"] == 1


def test_secrets_stay_out_of_sight(house):
    """TorchServe's key is in no log of the router, no metric and no decision."""
    key = (house.folder / "var" / "serving" / "inference.key").read_text().strip()
    assert len(key) >= 8
    journal = b"".join(p.read_bytes() for p in (house.folder / "var" / "router").glob("*.jsonl"))
    said = (house.folder / "var" / "logs" / "router.log").read_text() + journal.decode()
    assert key not in said + json.dumps(house.router.metrics())
    assert oct((house.folder / "var" / "serving" / "inference.key").stat().st_mode)[-3:] == "600"


def test_chat_in_the_terminal(house):
    """`isocost chat` shows text, backend, cost and saving per turn."""
    import subprocess

    command = [sys.executable, "-m", "router", "chat", "--url", house.router.url]
    done = subprocess.run(
        [*command, "--max-tokens", "20"],
        input="What is the capital of France?\n\n",
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # It samples, so the words differ from run to run.
    assert len(re.search(r"you> (.+)", done.stdout)[1]) > 10
    assert re.search(r"local-chat\s+\$0\.\d+\s+saved \$", done.stdout)
    assert io.StringIO(done.stdout).readlines()[-1].startswith(("you> spent", "spent"))
