"""One cluster, one release and one report for all tests of this folder, which run in their order."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.lab.cluster import Cluster, must
from tests.k8s.release import Release
from tests.k8s.report import Report, Row
from tests.system.helm import tools

REPORT = pytest.StashKey[Report]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """What did not hold stands in the report, too."""
    result = yield
    report = item.config.stash.get(REPORT, None)
    if report is not None and result.failed and call.excinfo is not None:
        said = str(call.excinfo.value).partition("\n")[0][:200].replace("|", "/")
        report.seen(item.name, item.name, said, good=False)
    return result


@pytest.fixture(scope="session")
def page(pytestconfig: pytest.Config) -> Iterator[Report]:
    order = re.findall(
        r"^def (test_\w+)", (Path(__file__).parent / "test_lab.py").read_text(), re.MULTILINE
    )
    some = bool(pytestconfig.option.keyword)
    made, begun = Report(order, fresh=not some), time.monotonic()
    pytestconfig.stash[REPORT] = made
    made.facts["Helm"] = tools.WHEELS["3"].helm
    load = f"load by others at the start {os.getloadavg()[0]:.0f}"
    made.facts["machine"] = f"{os.cpu_count()} cores, {platform.machine()}; {load}"
    yield made
    took = f"{(time.monotonic() - begun) / 60:.0f} minutes"
    made.facts["time"] = (
        f"{took}, for a part of the rows; the others stand from the run before" if some else took
    )
    made.write()


@pytest.fixture
def report(page: Report, request: pytest.FixtureRequest) -> Row:
    return Row(page, request.node.name)


@pytest.fixture(scope="session")
def cluster(page: Report) -> Iterator[Cluster]:
    made = Cluster("isocost")
    took = made.up()
    version = made.kubectl("version", "-o", "yaml").split("serverVersion:")[1]
    page.facts["Kubernetes"] = version.split("gitVersion: ")[1].split()[0]
    page.facts["containerd"] = must("containerd", "--version").split()[2]
    page.facts["cluster up"] = f"{took:.0f} s" if took else "it ran already"
    made.tried("create", "namespace", made.namespace)
    yield made
    if os.environ.get("KEEP") != "1":
        made.down()


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Release:
    return Release(cluster)
