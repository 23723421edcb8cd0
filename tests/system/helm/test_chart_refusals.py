"""Wrong values are refused before anything is installed, in words that say where and what."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.system.helm.charts import HELMS, PROFILES, Refused, render

DEV, CPU = PROFILES["dev"], PROFILES["cpu"]
PROMETHEUS = "http://prometheus:9090"


def at(path: str, value: Any) -> dict[str, Any]:
    """A value at a dotted path."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


def both(*values: dict[str, Any]) -> dict[str, Any]:
    """Several of them as one."""
    out: dict[str, Any] = {}
    for value in values:
        for key, inner in value.items():
            old = out.get(key)
            out[key] = (
                both(old, inner) if isinstance(old, dict) and isinstance(inner, dict) else inner
            )
    return out


# What the schema refuses: path of the value, value, and what both Helms must name.
SCHEMA: list[tuple[str, Any, str]] = [
    ("rooter", {}, "rooter"),
    ("router.replica", 2, "replica"),
    ("router.replicas", "two", "integer"),
    ("router.replicas", -1, "0"),
    ("router.image.pullPolicy", "Sometimes", "IfNotPresent"),
    ("router.image.digest", "latest", "sha256"),
    ("router.service.port", 70000, "65"),
    ("router.service.type", "Internal", "LoadBalancer"),
    ("router.resources.limits.memory", "1 GB", "memory"),
    ("router.spreadHosts", "maybe", "hard"),
    ("router.readyPath", "/health", "/readyz"),
    ("router.drain.grace", "30s", "integer"),
    ("router.extraEnv", {"A": "b"}, "array"),
    ("router.maxUnavailable", 0, "1"),
    ("torchserve.groups.small.modelStore.kind", "s3", "download"),
    ("torchserve.groups.small.modelStore.path", "models", "path"),
    ("torchserve.groups.small.device", "tpu", "cuda"),
    ("torchserve.groups.small.gpus", 1, "gpus"),
    ("torchserve.groups.small.models", "minilm", "array"),
    ("torchserve.groups.Small", {"models": ["minilm"]}, "Small"),
    ("torchserve.groups.a-name-that-is-too-long", {}, "a-name-that-is-too-long"),
    ("loadTest.profile", "mine.yaml", "profile"),
    ("loadTest.files", {"Mine": "users: 1"}, "Mine"),
    ("secrets.env.OPENAI_API_KEY", "sk-live", "object"),
    ("secrets.env.OPENAI_API_KEY", {"secret": "vendors"}, "key"),
    ("secrets.env", {"1KEY": {"secret": "a", "key": "b"}}, "1KEY"),
    ("sandbox.profile", "slow", "realistic"),
    ("metrics.monitor", "Annotations", "PodMonitor"),
    ("metrics.interval", 15, "string"),
    ("networkPolicy.callers", [{"from": {}}], "from"),
    ("externalSecrets.storeRef.kind", "Vault", "ClusterSecretStore"),
    ("httpRoute.timeout", "soon", "timeout"),
    ("podSecurity.user", 0, "1"),
    ("config.backends.more", {"model": "x"}, "api"),
    ("commonLabels", {"a": 1}, "string"),
]


def _batches() -> list[dict[str, Any]]:
    """The wrong values in as few files as hold them: Helm tells all faults of a file at once."""
    batches: list[tuple[list[str], dict[str, Any]]] = []
    for path, value, _ in SCHEMA:
        for taken, values in batches:
            if not any(
                f"{path}.".startswith(f"{old}.") or f"{old}.".startswith(f"{path}.")
                for old in taken
            ):
                taken.append(path)
                values.update(both(values, at(path, value)))
                break
        else:
            batches.append(([path], at(path, value)))
    return [values for _, values in batches]


@cache
def _told(helm: str) -> list[str]:
    """What the schema says against all of them, by line."""
    lines = []
    for values in _batches():
        with pytest.raises(Refused) as refused:
            render(DEV, helm=helm, values=values)
        assert "schema" in str(refused.value)
        lines += str(refused.value).splitlines()
    return lines


@pytest.mark.parametrize("helm", HELMS)
@pytest.mark.parametrize(("path", "value", "named"), SCHEMA)
def test_schema_names_the_place_and_what_is_right(
    path: str, value: Any, named: str, helm: str
) -> None:
    """Unknown names and wrong kinds of values: one line has the place, or the one above it, and the word."""
    above = path.rpartition(".")[0]
    if helm == "3":
        places = [path, above or "(root)"]
    else:
        places = [
            "/" + path.replace(".", "/"),
            f"at '{'/' if above else ''}{above.replace('.', '/')}'",
        ]
    found = [line for line in _told(helm) if named in line and any(p in line for p in places)]
    assert found, [line for line in _told(helm) if any(p in line for p in places)]


KEDA = {"hpa": {"enabled": False}, "keda": {"enabled": True, "serverAddress": PROMETHEUS}}
# What values must not say together: the profile, the values, and the words.
TOGETHER: list[tuple[Any, dict[str, Any], str]] = [
    (
        CPU,
        both(
            at("router.autoscaling.hpa.enabled", True),
            at("router.autoscaling.keda", {"enabled": True, "serverAddress": PROMETHEUS}),
        ),
        "router.autoscaling: hpa and keda would fight over the pods; enable one of them",
    ),
    (
        CPU,
        at(
            "torchserve.groups.chat.autoscaling.keda",
            {"enabled": True, "serverAddress": PROMETHEUS},
        ),
        "torchserve.groups.chat.autoscaling: hpa and keda would fight over the pods",
    ),
    (
        CPU,
        at(
            "torchserve.groups.chat.autoscaling",
            {"hpa": {"enabled": False}, "keda": {"enabled": True}},
        ),
        "torchserve.groups.chat.autoscaling.keda.serverAddress: say where Prometheus is",
    ),
    (
        CPU,
        at("router.autoscaling", KEDA | {"keda": {"enabled": True, "inFlight": 0}}),
        "router.autoscaling.keda: looks at nothing",
    ),
    (
        CPU,
        at("router.autoscaling", {"hpa": {"enabled": True, "cpuPercent": 0}}),
        "router.autoscaling.hpa: looks at nothing",
    ),
    (
        CPU,
        at("torchserve.groups.chat.autoscaling", {"minReplicas": 9}),
        "torchserve.groups.chat.autoscaling: minReplicas 9 is more than maxReplicas 6",
    ),
    (
        CPU,
        at("torchserve.groups.chat.autoscaling", {"minReplicas": 0}),
        "only KEDA can go down to 0",
    ),
    (
        CPU,
        at("torchserve.groups.embed.autoscaling.keda.spillUsdPerHour", 1),
        "torchserve.groups.embed.autoscaling.keda.spillUsdPerHour: no route of its models has a paid",
    ),
    (DEV, at("router.replicas", 2), "several routers must keep their money in one PostgreSQL"),
    (
        DEV,
        at("router.autoscaling.hpa.enabled", True),
        "several routers must keep their money in one PostgreSQL",
    ),
    (
        CPU,
        at("router.state.persistence.enabled", True),
        "router.state.persistence: is for one router",
    ),
    (
        DEV,
        at("config.server.port", 9),
        "config.server.port: is the chart's; set router.service.port",
    ),
    (DEV, at("config.server.host", "::"), "config.server.host: is the chart's"),
    (
        DEV,
        at("config.server.workers", 4),
        "config.server.workers: is the chart's; set router.replicas",
    ),
    (
        DEV,
        at("config.server.grace", 9),
        "config.server.grace: is the chart's; set router.drain.grace",
    ),
    (DEV, at("config.server.admin", {}), "config.server.admin: is the chart's; set router.admin"),
    (
        DEV,
        at("config", {"ledger": None, "budgets": None}) | at("devKey.enabled", False),
        "config.keys: nobody could call",
    ),
    (DEV, at("torchserve.groups.small.models", ["minilm"]), 'serves the model "smollm2-135m"'),
    (
        DEV,
        at("torchserve.groups.more", {"models": ["minilm"]}),
        'groups more, small all serve the model "minilm"',
    ),
    (
        DEV,
        at("torchserve.groups.more", {}),
        "torchserve.groups.more.models: name at least one model",
    ),
    (
        DEV,
        at("torchserve.groups.small.modelStore.kind", "claim"),
        "torchserve.groups.small.modelStore.existingClaim: name the claim",
    ),
    (DEV, at("torchserve.groups.small.device", "cuda"), "gpu.count: device cuda needs a GPU"),
    (
        DEV,
        at("router.admin.enabled", True),
        "router.admin.existingSecret: the admin API needs a key",
    ),
    (CPU, at("database.dev.enabled", True), "database: both existingSecret and dev are set"),
    (
        DEV,
        at("redis", {"existingSecret": "a", "dev": {"enabled": True}}),
        "redis: both existingSecret and dev are set",
    ),
    (
        CPU,
        at("externalSecrets.enabled", True),
        "externalSecrets.storeRef.name: name the SecretStore",
    ),
    (DEV, at("ingress.enabled", True), "ingress.hosts: name at least one host"),
    (DEV, at("httpRoute.enabled", True), "httpRoute.parentRefs: name the gateway"),
    (
        CPU,
        at("loadTest.enabled", True),
        "loadTest.existingSecret: the load test needs a caller's key",
    ),
    (
        DEV,
        at("loadTest", {"profile": "mine", "files": {"mine.yaml": "users: 1"}}),
        "loadTest.files: add objectives.yaml with an entry mine",
    ),
    ((), {}, "config: names no backends and routes; start from a profile"),
]


@pytest.mark.parametrize(("files", "values", "words"), TOGETHER)
def test_values_that_do_not_go_together_are_told(
    files: Any, values: dict[str, Any], words: str
) -> None:
    """Each is refused with the place and what to write instead."""
    with pytest.raises(Refused) as refused:
        render(files, values=values)
    assert "These values cannot be installed:" in str(refused.value)
    assert f"* {words}" in str(refused.value) or words in str(refused.value)


@pytest.mark.parametrize("helm", HELMS)
def test_all_faults_are_told_at_once(helm: str) -> None:
    """Nobody has to try again for each."""
    values = both(
        at("ingress.enabled", True), at("router.replicas", 3), at("config.server.port", 1)
    )
    with pytest.raises(Refused) as refused:
        render(DEV, helm=helm, values=values)
    assert str(refused.value).count("\n  * ") == 3


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ("ha", "isocost-router"),
        ("gpu", "isocost-torchserve-gpu"),
        ("cpu", "isocost-torchserve-chat"),
    ],
)
def test_an_autoscaler_alone_says_how_many_pods(files: str, place: str) -> None:
    """A number of replicas beside an autoscaler would undo its work at each upgrade."""
    documents = render(PROFILES[files])
    scalers = [d for d in documents if d["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}]
    scaled = {doc["spec"]["scaleTargetRef"]["name"] for doc in scalers}
    assert place in scaled
    assert len(scaled) == len(scalers), "one scaler for each"
    for doc in documents:
        if doc["kind"] == "Deployment":
            assert ("replicas" in doc["spec"]) == (doc["metadata"]["name"] not in scaled)
