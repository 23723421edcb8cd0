"""Every pod of every render keeps to the restricted Pod Security Standard, and to limits."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import yaml

from router.config import parse
from tests.system.helm.charts import RENDERS, Doc, config, containers, named, pods, render

WRITABLE = ("/tmp", "/var/lib/isocost", "/archives", "/data", "/var/run/postgresql")
VOLUMES = {"configMap", "secret", "projected", "emptyDir", "persistentVolumeClaim"}


@pytest.mark.parametrize("name", RENDERS)
def test_no_container_is_root_or_unbounded(name: str) -> None:
    """Non-root, read-only root, no capabilities, no escalation, limits of CPU and memory."""
    found = list(containers(render(RENDERS[name])))
    assert len(found) >= 4
    for whose, container, _ in found:
        said = container["securityContext"]
        assert said["runAsNonRoot"] is True, whose
        assert said["readOnlyRootFilesystem"] is True, whose
        assert said["allowPrivilegeEscalation"] is False, whose
        assert said["capabilities"] == {"drop": ["ALL"]}, whose
        assert "privileged" not in said, whose
        assert {"cpu", "memory"} <= set(container["resources"]["limits"]), whose


@pytest.mark.parametrize("name", RENDERS)
def test_no_pod_reaches_the_node_or_the_cluster(name: str) -> None:
    """No host namespaces, no host paths, no token, a user of its own, the runtime's seccomp profile."""
    for whose, pod in pods(render(RENDERS[name])):
        said = pod["securityContext"]
        assert said["runAsUser"] >= 1000, whose
        assert said["seccompProfile"] == {"type": "RuntimeDefault"}, whose
        assert pod["automountServiceAccountToken"] is False, whose
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), whose
        for volume in pod.get("volumes", ()):
            assert set(volume) - {"name"} <= VOLUMES, whose


@pytest.mark.parametrize("name", RENDERS)
def test_what_is_mounted_is_there_and_little_of_it_is_writable(name: str) -> None:
    """Each mount has its volume; only scratch and state are writable, and bounded unless claimed."""
    for whose, container, pod in containers(render(RENDERS[name])):
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
        for mount in container.get("volumeMounts", ()):
            volume = volumes[mount["name"]]
            if not mount.get("readOnly"):
                assert mount["mountPath"].startswith(WRITABLE), whose
                bounded = "persistentVolumeClaim" in volume or volume["emptyDir"]["sizeLimit"]
                assert bounded, whose


@pytest.mark.parametrize("name", RENDERS)
def test_secrets_are_only_referred_to(name: str) -> None:
    """No value of a secret stands in a pod or a ConfigMap; the two that are made here are random."""
    documents, again = (render(RENDERS[name], helm=helm) for helm in ("3", "4"))
    for one, other in zip(documents, again, strict=True):
        if one["kind"] == "Secret":
            assert set(one["data"]) == {"key"}
            assert one["data"] != other["data"]
    for whose, container, _ in containers(documents):
        for variable in container.get("env", ()):
            if "KEY" in variable["name"] and not whose.endswith("check"):
                assert "secretKeyRef" in variable.get("valueFrom", {}), whose


def test_gpus_are_no_reason_for_privileges() -> None:
    """A group with a GPU asks for it as a resource, on its nodes, with its image, and no more."""
    documents = render(RENDERS["gpu"])
    pod = dict(pods(documents))["Deployment isocost-torchserve-gpu"]
    container = pod["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"] == "isocost/torchserve:0.1.0-cuda"
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    other = dict(pods(documents))["Deployment isocost-torchserve-embed"]
    assert "nvidia" not in yaml.safe_dump(other)


def test_a_pod_drains_before_it_is_killed() -> None:
    """The delay, the grace and a rest fit into the time that Kubernetes gives; longer ones stretch it."""
    values = {"router": {"drain": {"delay": 7, "grace": 120}}}
    for documents, delay, grace in (
        (render(RENDERS["dev"]), 5, 30),
        (render(RENDERS["dev"], values=values), 7, 120),
    ):
        pod = dict(pods(documents))["Deployment isocost-router"]
        server = parse(config(documents)).server
        assert (server.drain_delay, server.grace) == (delay, grace)
        assert pod["terminationGracePeriodSeconds"] > delay + grace
        models = dict(pods(documents))["Deployment isocost-torchserve-small"]
        (container,) = models["containers"]
        assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
        assert "--drain-seconds=30" in container["args"]
        assert models["terminationGracePeriodSeconds"] >= 5 + 30 + 10


def _allowed(documents: tuple[Doc, ...], component: str, way: str) -> list[Any]:
    """Rules of all policies that select a component."""
    rules = []
    for policy in documents:
        if policy["kind"] == "NetworkPolicy" and way.title() in policy["spec"]["policyTypes"]:
            wanted = policy["spec"]["podSelector"]["matchLabels"]
            if wanted.get("app.kubernetes.io/component", component) == component:
                rules += policy["spec"].get(way, [])
    return rules


def test_policies_deny_all_and_allow_what_is_needed() -> None:
    """Nobody reaches TorchServe but routers; routers reach DNS, models, vendors and the database only."""
    documents = render(RENDERS["cpu"])
    deny = named(documents, "NetworkPolicy", "isocost-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    into = _allowed(documents, "torchserve", "ingress")
    assert [rule["ports"] for rule in into] == [[{"port": "inference"}, {"port": "status"}]]
    assert (
        into[0]["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "router"
    )
    assert _allowed(documents, "torchserve", "egress") == []
    out = _allowed(documents, "router", "egress")
    assert [[port["port"] for port in rule["ports"]] for rule in out] == [
        [53, 53],
        [8085, 8084],
        [443],
        [5432],
    ]
    vendors = out[2]["to"][0]["ipBlock"]
    assert "169.254.0.0/16" in vendors["except"], "the cloud's metadata must stay out of reach"
    assert _allowed(documents, "check", "egress") == []
    assert [rule["ports"][0]["port"] for rule in _allowed(documents, "migrate", "egress")] == [
        53,
        5432,
    ]


def test_only_downloads_let_models_out() -> None:
    """A group that downloads its models may reach the internet, its neighbour may not."""
    documents = render(RENDERS["cpu-open"])
    chosen = named(documents, "NetworkPolicy", "isocost-download-embed")["spec"]
    assert chosen["podSelector"]["matchLabels"]["isocost.io/group"] == "embed"
    assert [rule["ports"][0]["port"] for rule in chosen["egress"]] == [53, 443, 3141]


def test_a_load_test_reaches_routers_and_sandbox_only_while_it_is_on() -> None:
    """Faults are set in the sandbox, where there is one; without a load test nobody may come in its name."""

    def reached(values: dict[str, Any]) -> tuple[list[int], list[bool]]:
        documents = render(RENDERS["dev"], values=values)
        ports = [rule["ports"][0]["port"] for rule in _allowed(documents, "load", "egress")]
        into = [
            "'load'" in str(_allowed(documents, part, "ingress")) for part in ("router", "sandbox")
        ]
        return ports, into

    on, alone = {"loadTest": {"enabled": True}}, {"sandbox": {"enabled": False}}
    assert reached(on) == ([53, 8080, 8090], [True, True])
    assert reached(on | alone) == ([53, 8080], [True, False])
    assert reached({}) == ([], [False, False])


@pytest.mark.parametrize("name", RENDERS)
def test_selectors_find_their_pods_and_no_others(name: str) -> None:
    """Each Service and budget selects the pods of one component, and each Deployment its own."""
    documents = render(RENDERS[name])
    labels = [
        (doc["metadata"]["name"], doc["spec"]["template"]["metadata"]["labels"])
        for doc in documents
        if doc["kind"] in {"Deployment", "Job"}
    ]
    for doc in documents:
        if doc["kind"] in {"Service", "PodDisruptionBudget", "Deployment"}:
            wanted = doc["spec"]["selector"]
            wanted = wanted.get("matchLabels", wanted)
            found = [whose for whose, has in labels if wanted.items() <= has.items()]
            assert len(found) == 1, (doc["kind"], doc["metadata"]["name"], found)


def test_names_differ_and_fit() -> None:
    """Objects of one kind have names of their own, with the longest release and group that are allowed."""
    long = "a" * 53
    values = {
        "fullnameOverride": long,
        "torchserve": {"groups": {"a" * 12: {"models": ["tinybert"]}}},
    }
    for documents in (*map(render, RENDERS.values()), render(RENDERS["ha"], values=values)):
        names = [(doc["kind"], doc["metadata"]["name"]) for doc in documents]
        assert all(a != b for a, b in pairwise(names))
        assert all(len(name) <= 63 for _, name in names)
