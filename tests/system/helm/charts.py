"""The chart as Helm renders it: profiles, cases with every option on, and what is in them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.system.helm import tools

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "isocost"
CASES = Path(__file__).parent / "cases"
PROFILES = {path.stem.removeprefix("values-"): (path,) for path in CHART.glob("values-*.yaml")}
# Every option that the profiles leave off, in as few renders as their rules allow.
EXTRAS = {
    path.stem: (CHART / f"values-{path.stem.split('-')[0]}.yaml", path)
    for path in CASES.glob("*.yaml")
}
RENDERS = PROFILES | EXTRAS
KUBES = ("1.27", "1.32", "1.37")
HELMS = tuple(tools.WHEELS)
Doc = dict[str, Any]
# What the cluster of a template is said to serve beside Kubernetes' own.
APIS = ("monitoring.coreos.com/v1", "keda.sh/v1alpha1", "gateway.networking.k8s.io/v1")


class Refused(Exception):
    """Helm did not render; its words."""


def render(
    files: tuple[Path, ...], *, helm: str = "4", kube: str = "1.32", values: Any = None
) -> tuple[Doc, ...]:
    """The objects, by kind and name. Raises Refused."""
    return tuple(json.loads(_render(files, helm, kube, json.dumps(values))))


@cache
def _render(files: tuple[Path, ...], helm: str, kube: str, values: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        more = Path(folder) / "more.json"
        more.write_text(values)
        words = ["template", "isocost", str(CHART), "--namespace", "ai", "--kube-version", kube]
        for file in (*files, *([more] if values != "null" else [])):
            words += ["--values", str(file)]
        done = tools.run(helm, *words, "--api-versions", ",".join(APIS), folder=Path(folder))
    if done.returncode:
        raise Refused(done.stderr)
    docs = [doc for doc in yaml.load_all(done.stdout, yaml.CSafeLoader) if doc]
    docs.sort(key=lambda doc: (doc["kind"], doc["metadata"]["name"]))
    return json.dumps(docs)


def named(docs: tuple[Doc, ...], kind: str, name: str = "") -> Doc:
    """The one object of this kind, and of this name if one is given."""
    found = [d for d in docs if d["kind"] == kind and name in {"", d["metadata"]["name"]}]
    assert len(found) == 1, f"{kind} {name}: {[d['metadata']['name'] for d in found]}"
    return found[0]


def pods(docs: tuple[Doc, ...]) -> Iterator[tuple[str, Doc]]:
    """Every pod's spec, with whose it is."""
    for doc in docs:
        whose = f"{doc['kind']} {doc['metadata']['name']}"
        if doc["kind"] == "Pod":
            yield whose, doc["spec"]
        elif doc["kind"] in {"Deployment", "Job", "StatefulSet"}:
            yield whose, doc["spec"]["template"]["spec"]


def containers(docs: tuple[Doc, ...]) -> Iterator[tuple[str, Doc, Doc]]:
    """Every container with whose it is and its pod."""
    for whose, pod in pods(docs):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield f"{whose}/{container['name']}", container, pod


def config(docs: tuple[Doc, ...], release: str = "isocost") -> str:
    """The router's configuration file."""
    text: str = named(docs, "ConfigMap", f"{release}-config")["data"]["isocost.yaml"]
    return text
