"""The metrics API of the lab: CPU and memory of pods, read from the node's own cgroups.

    python -m tests.k8s.metrics KUBECONFIG CERT KEY

A stand-in for metrics-server, which a lab without a registry cannot pull: figures are real, the code is ours.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CPU = Path("/sys/fs/cgroup/cpuacct/kubepods")
PORT = 4443
WINDOW = 5.0


class Figures:
    """Nanocores of each pod over the last window."""

    def __init__(self, kubeconfig: str) -> None:
        self.kubeconfig = kubeconfig
        self.pods: list[dict[str, Any]] = []
        self.before: dict[str, tuple[float, int]] = {}

    def look(self) -> None:
        words = ["kubectl", "--kubeconfig", self.kubeconfig, "get", "pods", "-A", "-o", "json"]
        found = json.loads(
            subprocess.run(words, check=True, capture_output=True, timeout=20).stdout
        )["items"]
        pods, now = [], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for pod in found:
            uid, at = pod["metadata"]["uid"], time.monotonic()
            places = [*CPU.glob(f"pod{uid}/cpuacct.usage"), *CPU.glob(f"*/pod{uid}/cpuacct.usage")]
            if not places or pod["status"].get("phase") != "Running":
                continue
            used = int(places[0].read_text())
            then, last = self.before.get(uid, (at, used))
            self.before[uid] = (at, used)
            if at > then:
                nano = int((used - last) / (at - then))
                usage = {"cpu": f"{nano}n", "memory": "100Mi"}
                names = [each["name"] for each in pod["spec"]["containers"]]
                share = {"cpu": f"{nano // len(names)}n", "memory": usage["memory"]}
                pods.append({
                    "metadata": {key: pod["metadata"].get(key) for key in ("name", "namespace", "labels")},
                    "timestamp": now, "window": f"{WINDOW:g}s",
                    "containers": [{"name": name, "usage": share} for name in names],
                })  # fmt: skip
        self.pods = pods


def handler(figures: Figures) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0].strip("/").split("/")
            group = "metrics.k8s.io/v1beta1"
            if path[-1] == "v1beta1":
                verbs = ["get", "list"]
                one = {
                    "name": "pods",
                    "namespaced": True,
                    "kind": "PodMetrics",
                    "verbs": verbs,
                    "singularName": "",
                }
                body = {
                    "kind": "APIResourceList",
                    "apiVersion": "v1",
                    "groupVersion": group,
                    "resources": [one],
                }
            elif path[-1] == "pods":
                space = path[path.index("namespaces") + 1] if "namespaces" in path else ""
                items = [pod for pod in figures.pods if space in ("", pod["metadata"]["namespace"])]
                body = {
                    "kind": "PodMetricsList",
                    "apiVersion": group,
                    "metadata": {},
                    "items": self.chosen(items),
                }
            else:
                body = {"kind": "Status", "status": "Success"}
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def chosen(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
            from urllib.parse import parse_qs, urlsplit

            wanted = parse_qs(urlsplit(self.path).query).get("labelSelector", [""])[0]
            pairs = [pair.split("=", 1) for pair in wanted.split(",") if "=" in pair]
            return [
                each for each in items
                if all((each["metadata"]["labels"] or {}).get(name) == value for name, value in pairs)
            ]  # fmt: skip

        def log_message(self, *words: object) -> None:  # type: ignore[override]
            """Not a line for each look."""

    return Handler


def main() -> None:
    kubeconfig, cert, key = sys.argv[1:]
    figures = Figures(kubeconfig)
    server = ThreadingHTTPServer(("192.0.2.10", PORT), handler(figures))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        try:
            figures.look()
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            print(error, flush=True)  # noqa: T201
        time.sleep(WINDOW)


if __name__ == "__main__":
    main()
