"""The report of a run: docs/kubernetes-lab.md, written by the run itself."""

from __future__ import annotations

import time
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "kubernetes-lab.md"
HEAD = """# The lab: the chart on a real cluster

`make k8s` installs the chart on one node of real Kubernetes (API server, controller manager, scheduler, kubelet, kube-proxy, containerd) in a network of
its own, does to it what happens in production, and writes this page. It needs root, the images of `make image`, and Kubernetes' programs: `tests/k8s/lab/build.sh
BINDIR WORKDIR` builds them from Debian's source package (10-20 minutes on two idle cores, once); `ISOCOST_K8S_BIN` names the folder. Without them the tests
skip and say so. A run of some tests (`-k`) renews their rows only: `KEEP=1` leaves the cluster running, and one that runs is used.

What this lab does not show: network policies (its bridge enforces none), GPUs (one is faked, which shows scheduling only), several nodes, newer
Kubernetes than this old one (what every supported version accepts is checked by `make helm`). CPU figures of pods come from a stand-in for metrics-server
that reads the node's cgroups. The API server of this Kubernetes breaks now and then when it is built by Go 1.18 or later; it is started again at once, and a
test that met it is run again. `tests/k8s/lab/reflect2.py` says why and mends it at the next build, which no run has used yet.
"""

FIRST = "| what was done | what was seen | held |"


class Report:
    """Rows by test, in the order of the tests; a run of some of them leaves the others' rows as they are."""

    def __init__(self, order: list[str], *, fresh: bool) -> None:
        """`order` names all tests; a fresh report forgets the page."""
        self.order, self.rows = order, {} if fresh else _rows(order)
        self.facts: dict[str, str] = {}

    def seen(self, test: str, what: str, figures: str, *, good: bool = True) -> None:
        """One row; whoever calls has checked it."""
        held = "yes" if good else "**no**"
        self.rows[test] = f"| {what} | {figures} | {held} <!-- {test} --> |"

    def write(self) -> None:
        """The page."""
        lines = [HEAD, f"## Run of {time.strftime('%-d %B %Y')}", ""]
        lines += [
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in self.facts.items()),
            "",
        ]
        lines += [
            FIRST,
            "|---|---|---|",
            *(self.rows[test] for test in self.order if test in self.rows),
        ]
        PAGE.write_text("\n".join(lines) + "\n")


def _rows(order: list[str]) -> dict[str, str]:
    lines = PAGE.read_text().splitlines() if PAGE.exists() else []
    return {test: line for line in lines for test in order if line.endswith(f"<!-- {test} --> |")}


class Row:
    """Where one test says what it saw."""

    def __init__(self, report: Report, test: str) -> None:
        self._report, self._test = report, test

    def seen(self, what: str, figures: str, *, good: bool = True) -> None:
        """Whoever calls has checked it."""
        self._report.seen(self._test, what, figures, good=good)
