"""One cluster, one release and one report for all tests of this folder, which run in their order."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator

import pytest

from tests.k8s.lab.cluster import Cluster, must
from tests.k8s.release import Release
from tests.k8s.report import Report
from tests.system.helm import tools


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    made, begun = Report(), time.monotonic()
    made.facts["Helm"] = tools.WHEELS["3"].helm
    made.facts["machine"] = (
        f"{os.cpu_count()} cores, {platform.machine()}; load {os.getloadavg()[1]:.0f} by others at the start"
    )
    yield made
    made.facts["time"] = f"{(time.monotonic() - begun) / 60:.0f} minutes"
    if len(made.rows) >= request.session.testscollected - request.session.testsfailed:
        made.write()


@pytest.fixture(scope="session")
def cluster(report: Report) -> Iterator[Cluster]:
    made = Cluster("isocost")
    took = made.up()
    report.facts["Kubernetes"] = (
        made.kubectl("version", "-o", "yaml")
        .split("serverVersion:")[1]
        .split("gitVersion: ")[1]
        .split()[0]
    )
    report.facts["containerd"] = must("containerd", "--version").split()[2]
    report.facts["cluster up"] = f"{took:.0f} s" if took else "it ran already"
    made.tried("create", "namespace", made.namespace)
    yield made
    if os.environ.get("KEEP") != "1":
        made.down()


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Release:
    return Release(cluster)
