"""The chart's release in the lab, and callers to it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import yaml

from tests.k8s.lab.cluster import CHART, INSIDE, RUN, Cluster

IMAGE = {"registry": "localhost", "tag": "dev", "pullPolicy": "Never"}
LAB: dict[str, Any] = {
    "router": {"image": IMAGE, "drain": {"delay": 4, "grace": 20}},
    "torchserve": {
        "image": IMAGE,
        "defaults": {"drainDelay": 4, "drainGrace": 20, "startSeconds": 400},
        "groups": {"small": {"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}}},
    },
    "loadTest": {"image": IMAGE},
    "hooks": {"seconds": 120},
}
SEVERAL: dict[str, Any] = {"router": {"replicas": 2}, "config": {"ledger": None, "budgets": []}}
"""Without money kept, more than one router needs no PostgreSQL."""


class Release:
    """`helm` for one release from values-dev.yaml."""

    def __init__(self, cluster: Cluster, name: str = "isocost") -> None:
        self.cluster, self.name = cluster, name

    def apply(
        self, *values: dict[str, Any], flags: tuple[str, ...] = ("--wait",), seconds: float = 420
    ) -> subprocess.CompletedProcess[str]:
        """`helm upgrade --install` with values-dev, the lab's values and these."""
        words = [
            "upgrade",
            "--install",
            self.name,
            str(CHART),
            "-f",
            str(CHART / "values-dev.yaml"),
        ]
        for number, each in enumerate((LAB, *values)):
            file = RUN / f"values-{number}.yaml"
            file.write_text(yaml.safe_dump(each))
            words += ["-f", str(file)]
        return self.cluster.helm(
            *words, *flags, "--timeout", f"{seconds:.0f}s", seconds=seconds + 60
        )

    def history(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.cluster.helm("history", self.name, "-o", "json").stdout
        )
        return found

    @property
    def address(self) -> str:
        """Of the routers' Service."""
        spec = json.loads(
            self.cluster.kubectl("get", "service", f"{self.name}-router", "-o", "json")
        )["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    @property
    def key(self) -> str:
        data = json.loads(
            self.cluster.kubectl("get", "secret", f"{self.name}-dev-key", "-o", "json")
        )["data"]
        return base64.b64decode(data["key"]).decode()

    def callers(self, seconds: float, pace: float, tries: int = 1) -> subprocess.Popen[str]:
        """Calls in the background, for that long; `told` reads what became of them."""
        command = [
            *INSIDE,
            sys.executable,
            "-m",
            "tests.k8s.client",
            self.address,
            self.key,
            str(seconds),
            str(pace),
            str(tries),
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def told(self, callers: subprocess.Popen[str]) -> dict[str, Any]:
        out, _ = callers.communicate(timeout=400)
        found: dict[str, Any] = json.loads(out)
        return found

    def ask(self, path: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """One call through the Service: who served it, and the answer."""
        code = (
            "import json,sys,urllib.request as u\n"
            "a=u.urlopen(u.Request(sys.argv[1],sys.argv[3].encode(),{'content-type':'application/json','authorization':'Bearer '+sys.argv[2]}),timeout=90)\n"
            "print(json.dumps([a.headers['x-isocost-backend'],json.load(a)]))"
        )
        words = [
            *INSIDE,
            sys.executable,
            "-c",
            code,
            self.address + path,
            self.key,
            json.dumps(body),
        ]
        done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=120)
        backend, said = json.loads(done.stdout)
        return backend, said
