"""The configuration that the chart writes is one that the programs accept, and its commands are theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from load_tests import run as load_run
from load_tests.profile import read_profile
from router.cli import serve
from router.cli.check import load
from router.config import parse
from tests.system.helm import tools
from tests.system.helm.charts import (
    CHART,
    PROFILES,
    RENDERS,
    config,
    containers,
    named,
    pods,
    render,
)
from tests.system.router.harness import ROOT, Program, free_ports, until

# What stands in the Secrets, where any text will not do.
SECRETS = {"ISOCOST_REDIS_URL": "redis://redis:6379/0", "ISOCOST_LEDGER_URL": "postgresql://a@b/c"}


def _pod(name: str, values: Any = None) -> tuple[Any, Any]:
    """Objects of a render, and the router's container in them."""
    documents = render(RENDERS[name], values=values)
    deployment = next(
        n for n, _ in pods(documents) if n.startswith("Deployment") and "-router" in n
    )
    return documents, dict(pods(documents))[deployment]["containers"][0]


def _release(name: str) -> str:
    return "gate" if name == "dev-stores" else "isocost"


@pytest.mark.parametrize("name", RENDERS)
def test_isocost_accepts_the_configuration(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed and built with just the variables that the pod is given; the hook checks the same text."""
    documents, container = _pod(name)
    text = config(documents, _release(name))
    parse(text)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for variable in container["env"]:
        said = SECRETS.get(variable["name"], "a secret")
        monkeypatch.setenv(variable["name"], variable.get("value", said))
    (tmp_path / "isocost.yaml").write_text(text)
    pipeline = load(tmp_path / "isocost.yaml", sandbox="--sandbox" in container["args"])
    assert pipeline.routes
    if name != "dev-disk":
        checked = named(documents, "ConfigMap", f"{_release(name)}-check")
        assert checked["data"]["isocost.yaml"] == text


@pytest.mark.parametrize("name", RENDERS)
def test_models_are_looked_for_where_they_are_served(name: str) -> None:
    """The base of each local backend is the Service of a group that serves its model, by its key file."""
    documents = render(RENDERS[name])
    services = {doc["metadata"]["name"] for doc in documents if doc["kind"] == "Service"}
    serving = {
        whose.removeprefix("Deployment ").removesuffix("/torchserve"): container
        for whose, container, _ in containers(documents)
        if whose.endswith("/torchserve")
    }
    local = [
        b
        for b in yaml.safe_load(config(documents, _release(name)))["backends"].values()
        if b["api"] == "torchserve"
    ]
    assert local
    for backend in local:
        host = backend["base"].removeprefix("http://").removesuffix(":8085")
        assert host in services
        assert backend["status"] == f"http://{host}:8084/status"
        models = next(a for a in serving[host]["args"] if a.startswith("--models="))
        assert backend["model"] in models.removeprefix("--models=").split(",")
        mounts = [mount["mountPath"] for mount in serving[host]["volumeMounts"]]
        assert str(Path(backend["key_file"]).parent) in mounts


def test_a_later_file_takes_out_what_a_profile_has() -> None:
    """null takes a backend, a route, a group or a section away, as everywhere in Helm."""
    values = {
        "config": {
            "budgets": None,
            "backends": {"openai-embed": None},
            "routes": {"embeddings-large": None},
        },
        "torchserve": {"groups": {"small": None, "other": {"models": ["smollm2-135m", "minilm"]}}},
    }
    documents = render(PROFILES["dev"], values=values)
    said = yaml.safe_load(config(documents))
    assert "budgets" not in said
    assert "openai-embed" not in said["backends"]
    assert "embeddings-large" not in said["routes"]
    names = {doc["metadata"]["name"] for doc in documents if doc["kind"] == "Deployment"}
    assert names == {"isocost-router", "isocost-sandbox", "isocost-torchserve-other"}


def test_restarts_follow_the_configuration_only_where_asked() -> None:
    """With restartOnChange a change is a roll-out; without it only the section `server` is one."""
    mark = "isocost.io/config"

    def marks(restart: bool, *more: dict[str, Any]) -> list[str]:
        out = []
        for one in ({}, *more):
            values = {"config": one, "router": {"restartOnChange": restart}}
            deployment = named(
                render(PROFILES["dev"], values=values), "Deployment", "isocost-router"
            )
            out.append(deployment["spec"]["template"]["metadata"]["annotations"][mark])
        return out

    price, server = {"journal": {"keep_days": 3}}, {"server": {"body_limit_mb": 3}}
    assert len({*marks(True, price, server)}) == 3
    assert len({*marks(False, price, server)}) == 2


def test_money_spilled_is_asked_of_the_routes_and_backends_it_concerns() -> None:
    """The query names the routes of the group's models and their paid backends, under both names."""
    scaled = named(render(PROFILES["gpu"]), "ScaledObject", "isocost-torchserve-gpu")
    spill = scaled["spec"]["triggers"][-1]
    assert spill["metricType"] == "Value"
    assert spill["metadata"]["threshold"] == "1.5"
    assert spill["metadata"]["query"] == (
        'sum(rate(isocost_cost_usd_total{namespace="ai",job="isocost-router",route=~"assistant",'
        'backend=~"(openai)(-sandbox)?"}[10m])) * 3600'
    )


@pytest.mark.parametrize("name", RENDERS)
def test_programs_understand_their_arguments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The router's and the load test's command lines are parsed as they stand."""
    documents, container = _pod(name)
    assert container["command"] == ["python", "-m", "router", "serve"]
    options = serve.arguments(container["args"])
    assert (options.host, options.port, str(options.config)) == (
        "0.0.0.0",
        8080,
        "/etc/isocost/isocost.yaml",
    )
    for whose, other, _ in containers(documents):
        if whose.endswith("/load"):
            monkeypatch.setattr(sys, "argv", ["run", *other["args"]])
            asked = load_run.arguments()
            assert asked.host == "http://gate-router:8080"
            assert asked.sandbox == "http://gate-sandbox:8090"
            assert asked.wait == 600


def test_a_load_test_takes_profiles_and_objectives_of_ones_own(tmp_path: Path) -> None:
    """They are mounted as they were written, where the arguments say; the load test reads them."""
    files = {
        "mine.yaml": "users: 2\nseconds: 5\nrate: {0: 4, 2: 8}\nmix: {Chat: 1}\n",
        "objectives.yaml": "mine: {error_share: 0.00001}\n",
    }
    on = {"loadTest": {"enabled": True, "profile": "mine", "files": files}}
    documents = render(RENDERS["dev"], values=on)
    job = named(documents, "Job", "isocost-load-1")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "isocost/load:0.1.0"
    (place,) = (m["mountPath"] for m in container["volumeMounts"] if m["name"] == "own")
    assert container["args"][:2] == [
        f"--profile={place}/mine.yaml",
        f"--objectives={place}/objectives.yaml",
    ]
    data = named(documents, "ConfigMap", "isocost-load-1")["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text)
    assert read_profile(tmp_path / "mine.yaml").rate == {0: 4, 2: 8}
    read = load_run.read_objectives(tmp_path / "objectives.yaml", "mine")
    assert read.error_share == 0.00001


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dev", ["get secret prod-isocost-dev-key", '"model": "assistant"', "WARNING: sandbox"]),
        (
            "cpu",
            ["python -m router keys create me", '"model": "assistant"', "helm -n ai test prod"],
        ),
        ("cpu-open", ["networkPolicy.callers"]),
        ("dev-stores", ["WARNING: a store of this release has no disk"]),
    ],
)
def test_notes_name_the_first_commands(name: str, words: list[str], tmp_path: Path) -> None:
    """What Helm prints after an install fits what was installed."""
    files = [word for file in RENDERS[name] for word in ("--values", str(file))]
    command = ["install", "prod", str(CHART), "--namespace", "ai", "--dry-run=client", *files]
    done = tools.run("4", *command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("\nNOTES:\n")[2]
    assert "deployment/" in notes
    for word in words:
        assert word in notes
    assert ("WARNING" in notes) == name.startswith("dev")


def test_the_pods_of_the_dev_profile_serve_a_call(tmp_path: Path) -> None:
    """Sandbox, router and the test's pod as real processes with the chart's own commands."""
    values = {"tests": {"routes": ["assistant", "writer", "embeddings-large"]}}
    documents, container = _pod("dev", values)
    port = free_ports(2)
    text = config(documents).replace("http://isocost-sandbox:8090", f"http://127.0.0.1:{port}")
    (tmp_path / "isocost.yaml").write_text(text.replace("isocost-torchserve-small", "127.0.0.1"))
    key = {"ISOCOST_DEV_KEY": "of this test", "HOME": str(tmp_path)}

    def started(name: str, pod: Any) -> Program:
        words = [*pod["command"][1:], *pod.get("args", ())]
        for old, new in (
            ("--host=0.0.0.0", "--host=127.0.0.1"),
            ("--port=8090", f"--port={port}"),
            ("--port=8080", f"--port={port + 1}"),
            ("--config=/etc/isocost/isocost.yaml", f"--config={tmp_path / 'isocost.yaml'}"),
            ("--state=/var/lib/isocost", f"--state={tmp_path / 'state'}"),
        ):
            words = [new if word == old else word for word in words]
        return Program([sys.executable, *words], tmp_path / f"{name}.log", key).start()

    beside = dict(pods(documents))["Deployment isocost-sandbox"]["containers"][0]
    programs = [started("sandbox", beside), started("router", container)]
    try:
        log = tmp_path / "router.log"
        until(lambda: "isocost router: http" in log.read_text(), what=f"a router, see {log}")
        asked = named(documents, "Pod")["spec"]["containers"][0]
        calls = next(v["value"] for v in asked["env"] if v["name"] == "CALLS")
        env = {
            "ROUTER": f"http://127.0.0.1:{port + 1}",
            "CALLS": calls,
            "ISOCOST_KEY": "of this test",
        }
        command = [sys.executable, *asked["command"][1:]]
        done = subprocess.run(
            command, env=env, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        told = dict(line.split(":", 1) for line in done.stdout.splitlines())
        assert "by openai-sandbox" in told["assistant"]
        assert "by openai-instruct-sandbox" in told["writer"]
        assert "1536 numbers by openai-embed-sandbox" in told["embeddings-large"]
        wrong = subprocess.run(
            command, env=env | {"ISOCOST_KEY": "?"}, capture_output=True, text=True, check=False
        )
        assert wrong.returncode == 1
        assert "401" in wrong.stderr
    finally:
        for program in reversed(programs):
            program.stop()
