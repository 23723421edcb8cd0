"""What happens to the chart in production, on a real cluster. The tests build on each other, in this order."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.k8s.lab.cluster import CHART, INSIDE, RUN, Cluster, why_not
from tests.k8s.release import LAB, SEVERAL, Release
from tests.k8s.report import Row

WHY_NOT = why_not()
pytestmark = [
    pytest.mark.k8s,
    pytest.mark.xdist_group("k8s"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
]
SCALED = {"router": {"autoscaling": {
    "minReplicas": 1, "maxReplicas": 3, "scaleDownSeconds": 20, "hpa": {"enabled": True, "cpuPercent": 30}}}}  # fmt: skip


def shown(told: dict[str, object]) -> str:
    served = ", ".join(f"{name} {count}" for name, count in sorted(told["served"].items()))  # type: ignore[attr-defined]
    again = f", {told['again']} tried again" if told["again"] else ""
    return f"{told['sent']} calls, {sum(told['failed'].values())} failed{again}; by {served}; slowest {told['slowest']} s"  # type: ignore[attr-defined]


def test_install(cluster: Cluster, release: Release, report: Row) -> None:
    """values-dev comes up, its configuration checked by the hook before."""
    begun = time.monotonic()
    done = release.apply()
    assert done.returncode == 0, done.stderr + cluster.kubectl("get", "pods", "-o", "wide")
    report.seen(
        "`helm install` with values-dev.yaml",
        f"router, TorchServe with two models and sandbox ready after {time.monotonic() - begun:.0f} s",
    )


def test_helm_test(cluster: Cluster, release: Release, report: Row) -> None:
    """The chart's own test makes real calls."""
    done = cluster.helm("test", release.name, "--timeout", "180s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Succeeded" in done.stdout
    report.seen("`helm test`", "a call to one route of each task: succeeded")


def test_real_calls_through_the_service(release: Release, report: Row) -> None:
    """A chat and an embedding come from the models in TorchServe's pod."""
    chat = {
        "model": "assistant",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 16,
    }
    backend, said = release.ask("/v1/chat/completions", chat)
    text = said["choices"][0]["message"]["content"]
    assert (backend, bool(text.strip())) == ("local-chat", True)
    backend, vector = release.ask("/v1/embeddings", {"model": "embeddings", "input": "hello"})
    assert (backend, len(vector["data"][0]["embedding"])) == ("local-minilm", 384)
    report.seen(
        "a chat and an embedding through the Service",
        f"{' '.join(text.split())[:80]!r} by local-chat; 384 numbers by local-minilm",
    )


def test_pods_are_locked_down(cluster: Cluster, report: Row) -> None:
    """What the kubelet really started: nobody is root, no root file system can be written."""
    seen = []
    for component, container in (
        ("router", "router"),
        ("torchserve", "torchserve"),
        ("sandbox", "sandbox"),
    ):
        pod = cluster.found("pods", component=component)[0]["metadata"]["name"]
        said = cluster.tried(
            "exec",
            pod,
            "-c",
            container,
            "--",
            "sh",
            "-c",
            "grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' /proc/1/status; touch /x || echo read-only",
        )
        words = said.stdout.split()
        assert words[1] == "65532"
        assert "0000000000000000" in words
        assert "read-only" in words
        seen.append(component)
    report.seen(
        "processes of the pods", f"{', '.join(seen)}: user 65532, no capabilities, read-only root"
    )


def test_a_load_test_as_a_job(cluster: Cluster, release: Release, report: Row) -> None:
    """Locust in a pod of the release, as locked down as the others; its verdict is the Job's."""
    done = release.apply({"loadTest": {"enabled": True}})
    assert done.returncode == 0, done.stderr
    job = f"{release.name}-load-{release.history()[-1]['revision']}"
    cluster.until(lambda: cluster.tried("logs", f"job/{job}").returncode == 0, 60, "a load test")
    status = "grep -E '^(Uid|CapEff):' /proc/1/status; touch /opt/x || echo read-only"
    said = cluster.tried("exec", f"job/{job}", "--", "sh", "-c", status)
    assert said.stdout.split()[1] == "65532", said
    assert {"0000000000000000", "read-only"} <= set(said.stdout.split())

    def ended() -> bool:
        found = json.loads(cluster.kubectl("get", "job", job, "-o", "json"))["status"]
        return "succeeded" in found or "failed" in found

    cluster.until(ended, 180, "an end of the load test")
    log = cluster.kubectl("logs", f"job/{job}")
    assert "VERDICT: held" in log, log
    state = json.loads(cluster.kubectl("get", "job", job, "-o", "json"))["status"]
    assert state.get("succeeded") == 1
    told = next(line for line in log.splitlines() if line.startswith("calls "))
    report.seen(
        "`loadTest.enabled`: Locust's profile `smoke` as a Job, against the Service",
        f"VERDICT: held, and the Job succeeded; {told.partition(';')[0]}; user 65532, no capabilities, read-only root",
    )


def test_upgrade_under_load(cluster: Cluster, release: Release, report: Row) -> None:
    """New routers and a new TorchServe while calls come: not one fails."""
    callers = release.callers(100, 5)
    time.sleep(3)
    stamp = {"podAnnotations": {"lab/turn": str(time.time())}}
    done = release.apply(SEVERAL, {"router": stamp, "torchserve": {"groups": {"small": stamp}}})
    told = release.told(callers)
    assert done.returncode == 0, done.stderr
    assert not told["failed"], told
    report.seen(
        "`helm upgrade` under load: 1 router becomes 2, TorchServe is replaced", shown(told)
    )


def test_bad_upgrades_change_nothing(cluster: Cluster, release: Release, report: Row) -> None:
    """A configuration with a fault is refused by the hook; an image that is not there is rolled back."""
    before = {pod["metadata"]["name"] for pod in cluster.found("pods", component="router")}
    callers = release.callers(60, 4)
    wrong = {"config": {"routes": {"assistant": {"promise": {"deadlin": "3s"}}}}}
    done = release.apply(SEVERAL, wrong)
    assert done.returncode != 0
    missing = {"router": {"image": {"tag": "not-there"}}}
    done = release.apply(SEVERAL, missing, flags=("--atomic",), seconds=25)
    assert done.returncode != 0
    told = release.told(callers)
    last = release.history()[-1]
    assert "Rollback" in last["description"]
    assert last["status"] == "deployed"
    assert not told["failed"], told
    cluster.until(lambda: cluster.ready("router") == 2, 60, "two routers")
    after = {
        pod["metadata"]["name"]
        for pod in cluster.found("pods", component="router")
        if pod["status"]["phase"] == "Running"
    }
    kept = (
        "the same pods served on" if after <= before or before <= after else f"pods {sorted(after)}"
    )
    report.seen(
        "a faulty configuration; an image that is not there, with `--atomic`",
        f"refused by the check; rolled back ({last['description']}); {kept}; {shown(told)}",
    )


def test_a_killed_router(cluster: Cluster, release: Release, report: Row) -> None:
    """kill -9 of one of two routers under load: whoever tries once more is served."""
    callers = release.callers(20, 20, tries=4)
    time.sleep(5)
    pod = cluster.found("pods", component="router")[0]["metadata"]["name"]
    cluster.kill(pod, "router")
    told = release.told(callers)
    assert not told["failed"], told
    took = cluster.until(lambda: cluster.ready("router") == 2, 90, "the killed router is back")
    report.seen(
        "`kill -9` of one of two routers under load",
        f"{shown(told)}; back within {took + 15:.0f} s",
    )


def test_a_killed_torchserve(cluster: Cluster, release: Release, report: Row) -> None:
    """kill -9 of TorchServe's pod under load: its chats go to the paid API, and none fails for the caller."""
    pod = cluster.found("pods", component="torchserve")[0]["metadata"]["name"]
    chat = {"model": "assistant", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    cluster.kill(pod, "torchserve")
    served = [release.ask("/v1/chat/completions", chat)[0] for _ in range(5)]
    took = cluster.until(lambda: cluster.ready("torchserve") == 1, 300, "TorchServe is back")
    cluster.until(
        lambda: release.ask("/v1/chat/completions", chat)[0] == "local-chat",
        60,
        "the local model serves again",
    )
    assert "openai-sandbox" in served
    report.seen(
        "`kill -9` of TorchServe's container",
        f"5 chats at once after it: all answered, by {', '.join(sorted(set(served)))}; ready again after {took:.0f} s",
    )


def test_the_disruption_budget_holds(cluster: Cluster, report: Row) -> None:
    """Of two routers one may be evicted; the second only when the first is replaced."""
    pods = [pod["metadata"]["name"] for pod in cluster.found("pods", component="router")][:2]
    answers = []
    for pod in pods:
        body = {
            "apiVersion": "policy/v1beta1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": cluster.namespace},
        }
        path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}/eviction"
        answers.append(cluster.tried("create", "--raw", path, "-f", "-", feed=json.dumps(body)))
    assert answers[0].returncode == 0, answers[0].stderr
    assert answers[1].returncode != 0
    assert "disruption budget" in answers[1].stderr + answers[1].stdout
    took = cluster.until(lambda: cluster.ready("router") == 2, 90, "two routers again")
    report.seen(
        "eviction of both routers",
        f"the first was evicted, the second refused by the budget; two again after {took:.0f} s",
    )


@pytest.fixture
def metrics(cluster: Cluster) -> Iterator[None]:
    """The metrics API, from the node's cgroups."""
    api = """
apiVersion: v1
kind: Service
metadata: {name: metrics, namespace: kube-system}
spec: {ports: [{port: 443, targetPort: 4443}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: metrics, namespace: kube-system}
subsets: [{addresses: [{ip: 192.0.2.10}], ports: [{port: 4443}]}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: metrics, namespace: kube-system}
"""
    words = [*INSIDE, sys.executable, "-m", "tests.k8s.metrics", str(cluster.config)]
    with (RUN / "logs" / "metrics.log").open("wb") as log:
        program = subprocess.Popen(
            [*words, str(RUN / "pki/apiserver.crt"), str(RUN / "pki/apiserver.key")],
            stdout=log,
            stderr=log,
        )
    try:
        cluster.kubectl("create", "--namespace=kube-system", "-f", "-", feed=api)
        cluster.until(
            lambda: (
                cluster.tried("get", "--raw", "/apis/metrics.k8s.io/v1beta1/pods").returncode == 0
            ),
            60,
            "the metrics API",
        )
        yield
    finally:
        cluster.tried("delete", "apiservice", "v1beta1.metrics.k8s.io")
        cluster.tried("delete", "service", "-n", "kube-system", "metrics")
        program.terminate()
        program.wait(10)


@pytest.mark.usefixtures("metrics")
def test_the_autoscaler_follows_load(cluster: Cluster, release: Release, report: Row) -> None:
    """Routers go from 1 to 3 under load and come back after it."""
    done = release.apply(SEVERAL, SCALED)
    assert done.returncode == 0, done.stderr
    cluster.until(
        lambda: len(cluster.found("pods", component="router")) == 1, 120, "one router while idle"
    )
    callers = release.callers(100, 120)
    try:
        up = cluster.until(lambda: cluster.ready("router") == 3, 150, "three routers under load")
    finally:
        told = release.told(callers)
    down = cluster.until(
        lambda: len(cluster.found("pods", component="router")) == 1, 180, "one router again"
    )
    failed = sum(told["failed"].values())
    report.seen(
        "autoscaler of the routers, 1 to 3, by CPU",
        f"3 ready {up:.0f} s after the load began, 1 again {down:.0f} s after it ended; {shown(told)}",
        good=not failed,
    )
    assert not failed, told


def test_a_gpu_group_is_scheduled(cluster: Cluster, report: Row) -> None:
    """With one (faked) GPU on the node the group's first pod is placed there and its second waits for a GPU."""
    node = json.loads(cluster.kubectl("get", "node", "vm", "-o", "json"))
    node["status"]["capacity"]["nvidia.com/gpu"] = "1"
    node["status"]["allocatable"]["nvidia.com/gpu"] = "1"
    cluster.kubectl("replace", "--raw", "/api/v1/nodes/vm/status", "-f", "-", feed=json.dumps(node))
    cluster.kubectl("label", "--overwrite", "node", "vm", "nvidia.com/gpu.present=true")
    runtime = (
        "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: nvidia}\nhandler: runc\n"
    )
    cluster.kubectl("apply", "-f", "-", feed=runtime)
    small = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "2Gi"}}
    values = {"router": LAB["router"], "torchserve": {"image": LAB["torchserve"]["image"] | {"gpuSuffix": ""}, "groups": {
        "gpu": {"resources": small, "replicas": 2, "autoscaling": {"keda": {"enabled": False}}}, "embed": {"replicas": 0}}}}  # fmt: skip
    (RUN / "gpu.yaml").write_text(json.dumps(values))
    rendered = cluster.helm("template", "gpu", str(CHART), "-f", str(CHART / "values-gpu.yaml"), "-f", str(RUN / "gpu.yaml"),
                            "--set", "metrics.monitor=", "--show-only", "templates/torchserve/deployment.yaml")  # fmt: skip
    assert rendered.returncode == 0, rendered.stderr
    account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: gpu-isocost}\n"
    try:
        cluster.kubectl("apply", "-f", "-", feed=rendered.stdout + "\n---\n" + account)

        def placed() -> dict[str, int]:
            pods = [
                pod
                for pod in cluster.found("pods", component="torchserve")
                if pod["metadata"]["labels"].get("isocost.io/group") == "gpu"
            ]
            on = [pod for pod in pods if pod["spec"].get("nodeName")]
            waits = [
                pod for pod in pods if "Insufficient nvidia.com/gpu" in json.dumps(pod["status"])
            ]
            return {"placed": len(on), "waiting": len(waits)}

        cluster.until(
            lambda: placed() == {"placed": 1, "waiting": 1},
            90,
            "one pod on the GPU, one waiting for another",
        )
        pod = next(
            pod
            for pod in cluster.found("pods", component="torchserve")
            if pod["spec"].get("runtimeClassName") == "nvidia"
        )
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        report.seen(
            "a group with a GPU (values-gpu.yaml) on a node with one faked GPU",
            "the first pod is placed, with runtime class nvidia; the second waits: Insufficient nvidia.com/gpu",
        )
    finally:
        cluster.tried(
            "delete", "-f", "-", "--grace-period=1", feed=rendered.stdout + "\n---\n" + account
        )


def test_uninstall_leaves_nothing(cluster: Cluster, release: Release, report: Row) -> None:
    """No object of the release is left in its namespace."""
    cluster.until(lambda: cluster.tried("get", "nodes").returncode == 0, 90, "the API server")
    done = cluster.helm("uninstall", release.name, "--wait", "--timeout", "120s")
    assert done.returncode == 0, done.stderr
    kinds = cluster.kubectl(
        "api-resources", "--namespaced", "--verbs=list,delete", "-o", "name"
    ).split()
    kept = {"serviceaccount/default", "configmap/kube-root-ca.crt"}

    def left() -> set[str]:
        names = cluster.kubectl(
            "get",
            ",".join(kind for kind in kinds if not kind.startswith("events")),
            "-o",
            "name",
            "--ignore-not-found",
        ).split()
        return {
            name
            for name in names
            if name not in kept and not name.startswith("secret/default-token")
        }

    cluster.until(lambda: not left(), 90, f"nothing is left but {left()}")
    report.seen("`helm uninstall`", f"nothing left, of {len(kinds)} kinds of objects")
