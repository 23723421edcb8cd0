"""The chart renders for every Kubernetes and Helm that we name, into objects that these accept."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from filelock import FileLock
from referencing import Registry, Resource

from tests.system.helm import tools
from tests.system.helm.charts import (
    CHART,
    EXTRAS,
    HELMS,
    KUBES,
    PROFILES,
    RENDERS,
    Doc,
    containers,
    render,
)

CRDS = Path(__file__).parent / "crds"
OPERATORS = (
    "keda.sh/",
    "monitoring.coreos.com/",
    "gateway.networking.k8s.io/",
    "external-secrets.io/",
)


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize("name", PROFILES)
def test_lint_has_nothing_to_say(name: str, helm: str, tmp_path: Path) -> None:
    """`helm lint --strict` accepts every profile."""
    values = [word for file in PROFILES[name] for word in ("--values", str(file))]
    done = tools.run(helm, "lint", "--strict", str(CHART), *values, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


ALL = [(name, kube) for name in PROFILES for kube in KUBES] + [(name, "1.37") for name in EXTRAS]


@pytest.mark.parametrize(("name", "kube"), ALL)
def test_kubernetes_knows_every_field(name: str, kube: str) -> None:
    """Both Helms render the same, and the strict schemas of that Kubernetes accept it."""
    documents, others = (render(RENDERS[name], helm=helm, kube=kube) for helm in HELMS)
    assert _kept(documents) == _kept(others)
    for document in documents:
        if not document["apiVersion"].startswith(OPERATORS):
            _validate(document, kube)


def _kept(documents: tuple[Doc, ...]) -> list[Doc]:
    """Without what is random in each render."""
    return [doc for doc in documents if doc["kind"] != "Secret"]


def _validate(document: Doc, kube: str) -> None:
    short = document["apiVersion"].replace(".networking.k8s.io", "").replace(".k8s.io", "")
    name = f"{document['kind'].lower()}-{short.replace('/', '-')}.json"
    schema = _schema(kube, name)
    faults = jsonschema.Draft202012Validator(schema, registry=_registry(kube)).iter_errors(document)
    told = [f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in faults]
    assert not told, f"{document['kind']} {document['metadata']['name']}: {told}"


@cache
def _schema(kube: str, name: str) -> Any:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{kube}.0-local-strict"
    return json.loads((folder / name).read_text())


@cache
def _registry(kube: str) -> Registry[Any]:
    definitions: Resource[Any] = Resource.from_contents(_schema(kube, "_definitions.json"))
    return definitions @ Registry()


def test_strict_schemas_refuse_what_they_do_not_know() -> None:
    """The test above can fail: a misspelt field deep in a pod is found."""
    deployment = next(d for d in render(RENDERS["dev"]) if d["kind"] == "Deployment")
    spoilt = json.loads(json.dumps(deployment).replace("runAsNonRoot", "runAsNonroot"))
    with pytest.raises(AssertionError, match="runAsNonroot"):
        _validate(spoilt, "1.32")


def test_old_clusters_get_old_versions() -> None:
    """Kubernetes 1.20 has neither policy/v1 nor autoscaling/v2."""
    old, new = (
        {d["kind"]: d["apiVersion"] for d in render(RENDERS["ha"], kube=kube)}
        for kube in ("1.20", "1.32")
    )
    kinds = ("PodDisruptionBudget", "HorizontalPodAutoscaler")
    assert [old[kind] for kind in kinds] == ["policy/v1beta1", "autoscaling/v2beta2"]
    assert [new[kind] for kind in kinds] == ["policy/v1", "autoscaling/v2"]


@pytest.mark.parametrize("name", RENDERS)
def test_old_clusters_take_what_helm_4_sends(name: str) -> None:
    """A server-side apply to Kubernetes 1.20 wants each port's protocol, and each quantity as text."""
    documents = render(RENDERS[name])
    for document in documents:
        if document["kind"] == "Service":
            assert all(port["protocol"] == "TCP" for port in document["spec"]["ports"])
    for whose, container, _ in containers(documents):
        assert all("protocol" in port for port in container.get("ports", ())), whose
        for amounts in container["resources"].values():
            assert all(isinstance(amount, str) for amount in amounts.values()), whose


def test_operators_know_every_field(operators: Path, tmp_path: Path) -> None:
    """KEDA, the Prometheus operator, the Gateway API and External Secrets accept what is theirs."""
    documents = [
        document
        for name in RENDERS
        for document in render(RENDERS[name])
        if document["apiVersion"].startswith(OPERATORS)
    ]
    kinds = {document["kind"] for document in documents}
    expected = {"ScaledObject", "ServiceMonitor", "PodMonitor", "HTTPRoute", "ExternalSecret"}
    assert expected <= kinds
    # One that is spoilt is among them, so that a checker which sees nothing does not pass.
    scaled = next(d for d in documents if d["kind"] == "ScaledObject")
    spoilt = json.loads(json.dumps(scaled).replace("pollingInterval", "poolingInterval"))
    faults = _operators(operators, [*documents, spoilt], tmp_path).splitlines()
    assert len(faults) == 1, faults
    assert "poolingInterval" in faults[0]


def _operators(modules: Path, documents: list[Doc], folder: Path) -> str:
    """What the operators' schemas and types have against these; "" for nothing."""
    typed = modules / f"{folder.name}.ts"
    words = ["--noEmit", "--strict", "--module", "nodenext", "--skipLibCheck", str(typed)]
    try:
        checked = subprocess.run(
            ["node", "check.mjs", str(typed)],
            input=json.dumps(documents),
            cwd=modules,
            capture_output=True,
            text=True,
            check=False,
        )
        types = subprocess.run(
            [str(modules / "node_modules" / ".bin" / "tsc"), *words],
            cwd=modules,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        typed.unlink(missing_ok=True)
    return checked.stdout + checked.stderr + types.stdout


@pytest.fixture(scope="session")
def operators() -> Path:
    """The operators' schemas from npm, as the lock file pins them."""
    if not shutil.which("npm"):
        pytest.skip("npm is not here, and with it the schemas of the operators")
    lock = (CRDS / "package-lock.json").read_bytes()
    folder = tools.cache_folder() / "tools" / f"crds-{tools.short(lock)}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        for name in ("package.json", "package-lock.json", "check.mjs"):
            shutil.copy(CRDS / name, folder / name)
        if not (folder / "node_modules" / ".package-lock.json").exists():
            words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"the schemas of the operators cannot be had: {done.stderr[-300:]}")
    return folder
