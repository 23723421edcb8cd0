"""The cluster of the lab: one node, real kubelet, containerd and API server, in a network of its own.

`up.sh` starts it, `down.sh` ends what it started. It is left alone where it runs already, so that a
run that broke off can be resumed. Needs root, the binaries of `build.sh` (ISOCOST_K8S_BIN), and
podman with the images of `make image`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.system.helm import tools

HERE = Path(__file__).parent
BIN = Path(os.environ.get("ISOCOST_K8S_BIN", "/var/lib/isocost-k8s/bin"))
RUN = Path(os.environ.get("ISOCOST_K8S_RUN", "/var/tmp/isocost-lab"))
INSIDE = ["nsenter", "--net=/run/netns/k8slab"]
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
TOOLS = ("etcd", "containerd", "runc", "kubectl", "conntrack", "iptables", "podman", "openssl")
IMAGES = (
    *(f"localhost/isocost/{name}:dev" for name in ("router", "load", "torchserve")),
    "localhost/pause:lab",
)
CHART = HERE.parents[2] / "helm" / "isocost"


def why_not() -> str:
    """Why there can be no cluster here; "" where there can."""
    if os.environ.get("ISOCOST_K8S") != "1":
        return "not asked for; `make k8s` brings up a cluster"
    if os.geteuid():
        return "the cluster needs root"
    missing = [name for name in PROGRAMS if not (BIN / name).exists()]
    if missing:
        return f"no {missing[0]} in {BIN}; tests/k8s/lab/build.sh makes it, ISOCOST_K8S_BIN names the folder"
    lacking = [name for name in TOOLS if shutil.which(name) is None]
    if lacking:
        return f"{lacking[0]} is not installed"
    if any(run("podman", "image", "exists", name).returncode for name in IMAGES[:-1]):
        return "the images are missing; run `make image`"
    return ""


def run(*words: str, seconds: float = 120, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, check=False, capture_output=True, text=True, timeout=seconds, **more
    )


def must(*words: str, seconds: float = 120, **more: Any) -> str:
    done = run(*words, seconds=seconds, **more)
    assert done.returncode == 0, (
        f"{' '.join(words[:12])}: {done.stderr[-2000:]}{done.stdout[-2000:]}"
    )
    return done.stdout


class Cluster:
    """Commands against the running cluster."""

    def __init__(self, namespace: str) -> None:
        self.namespace, self.config = namespace, RUN / "admin.kubeconfig"

    def up(self) -> float:
        """Seconds that it took; 0 where it ran already."""
        begun, archive = time.monotonic(), _archive()
        held = RUN / "images"
        if (RUN / "upok").exists() and run(*self._kubectl("get", "nodes")).returncode == 0:
            if not held.exists() or held.read_text() != str(archive):
                must(
                    "ctr",
                    "-a",
                    str(RUN / "ctrd/c.sock"),
                    "-n",
                    "k8s.io",
                    "images",
                    "import",
                    str(archive),
                    seconds=400,
                )
                held.write_text(str(archive))
            return 0.0
        if RUN.exists():
            self.down()
        must(str(HERE / "up.sh"), str(RUN), str(BIN), str(archive), seconds=580)
        held.write_text(str(archive))
        return time.monotonic() - begun

    def down(self) -> None:
        run(str(HERE / "down.sh"), str(RUN), seconds=120)

    def kubectl(self, *words: str, seconds: float = 60, feed: str | None = None) -> str:
        return must(*self._kubectl(*words), seconds=seconds, input=feed)

    def tried(self, *words: str, feed: str | None = None) -> subprocess.CompletedProcess[str]:
        return run(*self._kubectl(*words), input=feed)

    def found(self, kind: str, **labels: str) -> list[dict[str, Any]]:
        """Objects of a kind with these labels (`_` for `/`-free names: component, group)."""
        chosen = ",".join(f"app.kubernetes.io/{name}={value}" for name, value in labels.items())
        select = ["-l", chosen] if chosen else []
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-o", "json", *select))[
            "items"
        ]
        return items

    def helm(self, *words: str, seconds: float = 500) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(RUN), "KUBECONFIG": str(self.config)}
        command = [*INSIDE, str(tools.helm("3")), "--namespace", self.namespace, *words]
        return run(*command, seconds=seconds, env=env)

    def until(self, true: Callable[[], Any], seconds: float, what: str) -> float:
        """Seconds until *true* was; fails with the state of the pods."""
        begun = time.monotonic()
        while time.monotonic() < begun + seconds:
            if true():
                return time.monotonic() - begun
            time.sleep(0.5)
        raise AssertionError(
            f"not within {seconds:.0f} s: {what}\n{self.kubectl('get', 'pods', '-o', 'wide')}"
        )

    def ready(self, component: str) -> int:
        """Pods of a component that are ready and not leaving."""
        return sum(
            any(
                each["type"] == "Ready" and each["status"] == "True"
                for each in pod["status"].get("conditions", [])
            )
            for pod in self.found("pods", component=component)
            if "deletionTimestamp" not in pod["metadata"]
        )

    def kill(self, pod: str, container: str) -> None:
        """kill -9 of a container's first process, from the node."""
        status = json.loads(self.kubectl("get", "pod", pod, "-o", "json"))["status"][
            "containerStatuses"
        ]
        name = next(each["containerID"] for each in status if each["name"] == container)
        socket = str(RUN / "ctrd" / "c.sock")
        must(
            "ctr",
            "-a",
            socket,
            "-n",
            "k8s.io",
            "tasks",
            "kill",
            "-s",
            "SIGKILL",
            name.rpartition("/")[2],
        )

    def _kubectl(self, *words: str) -> list[str]:
        return [
            *INSIDE,
            "kubectl",
            "--kubeconfig",
            str(self.config),
            "--namespace",
            self.namespace,
            *words,
        ]


def _archive() -> Path:
    """The images as one file; made anew only when one of them changed."""
    if run("podman", "image", "exists", IMAGES[-1]).returncode:
        _pause()
    ids = must("podman", "image", "inspect", "--format", "{{.Id}}", *IMAGES)
    file = Path("/var/tmp") / f"isocost-images-{hashlib.sha256(ids.encode()).hexdigest()[:12]}.tar"
    if not file.exists():
        part = file.with_suffix(".part")
        part.unlink(missing_ok=True)
        must(
            "podman",
            "save",
            "--quiet",
            "-m",
            "--format",
            "docker-archive",
            "-o",
            str(part),
            *IMAGES,
            seconds=400,
        )
        part.rename(file)
    return file


def _pause() -> None:
    """What holds a pod's namespaces: Debian's catatonit, alone in an image."""
    program = shutil.which("catatonit")
    assert program, "catatonit is not installed"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(program, Path(folder) / "pause")
        recipe = 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause", "-P"]\n'
        Path(folder, "Dockerfile").write_text(recipe)
        must("podman", "build", "--quiet", "--format", "docker", "--tag", IMAGES[-1], folder)
