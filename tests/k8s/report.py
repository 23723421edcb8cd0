"""The report of a run: docs/kubernetes-lab.md, written by the run itself."""

from __future__ import annotations

import time
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "kubernetes-lab.md"
HEAD = """# The lab: the chart on a real cluster

`make k8s` installs the chart on one node of real Kubernetes (API server, controller manager, scheduler, kubelet, kube-proxy, containerd) in a network of
its own, does to it what happens in production, and writes this page. It needs root, the images of `make image`, and Kubernetes' programs: `tests/k8s/lab/build.sh
BINDIR WORKDIR` builds them from Debian's source package (10-20 minutes on two idle cores, once); `ISOCOST_K8S_BIN` names the folder. Without them the tests
skip and say so. A run that broke off is taken up where it was: a cluster that still runs is used; `KEEP=1` leaves it running.

What this lab does not show: network policies (its bridge enforces none), GPUs (one is faked, which shows scheduling only), several nodes, newer
Kubernetes than this old one (what every supported version accepts is checked by `make helm`). CPU figures of pods come from a stand-in for metrics-server
that reads the node's cgroups.
"""


class Report:
    """Rows in the order in which they were seen."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self.facts: dict[str, str] = {}

    def seen(self, what: str, figures: str, good: bool = True) -> None:
        """One row; whoever calls has checked it."""
        self.rows.append((what, figures, "yes" if good else "**no**"))

    def write(self) -> None:
        """The page."""
        lines = [HEAD, f"## Run of {time.strftime('%-d %B %Y')}", ""]
        lines += [
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in self.facts.items()),
            "",
        ]
        lines += ["| what was done | what was seen | held |", "|---|---|---|"]
        lines += [f"| {what} | {figures} | {held} |" for what, figures, held in self.rows]
        PAGE.write_text("\n".join(lines) + "\n")
