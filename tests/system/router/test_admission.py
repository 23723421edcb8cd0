"""A real router that is asked for more than it lets in, before a sandbox with slow answers."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from .harness import CHAT, SANDBOX_ENV, ask, backend, router, sandbox, until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("admission")]
PATH = "/v1/chat/completions"
SLOW = 2.0


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    with sandbox(tmp_path_factory.mktemp("box")) as made:
        made.faults({"fault": "slow", "seconds": SLOW})
        yield made


@pytest.fixture(scope="module")
def app(box, tmp_path_factory):
    machine = {"price": {"per_hour_usd": 0.01, "concurrency": 2}, "limits": {"in_flight": 4}}
    config = {
        "server": {"admission": {"in_flight": 8}, "connections": 40},
        "backends": {"machine": backend(box, **machine), "paid": backend(box)},
        "routes": {
            "chat": {"task": "chat", "backends": ["machine", "paid"]},
            "alone": {"task": "chat", "backends": ["machine"]},
        },
    }
    with router(tmp_path_factory.mktemp("router"), config, **SANDBOX_ENV) as made:
        yield made


def test_overload_spills_then_sheds_the_least_critical(app, box):
    """Four at the machine, the others pay; at the process's limit only sheddable calls get 503."""
    began = app.metrics()

    def one(criticality):
        started = time.monotonic()
        body = json.dumps({"model": "chat", "messages": CHAT}).encode()
        headers = {"content-type": "application/json", "x-isocost-criticality": criticality}
        try:
            with urlopen(Request(f"{app.url}{PATH}", body, headers), timeout=30) as answer:
                answer.read()
                return answer.status, time.monotonic() - started, answer.headers
        except HTTPError as exc:
            return exc.code, time.monotonic() - started, exc.headers

    box_calls = len(box.journal())
    with ThreadPoolExecutor(12) as pool:
        first = [pool.submit(one, "critical") for _ in range(6)]
        until(lambda: app.metrics()["isocost_process_in_flight"] == 6, 5.0)
        low = [pool.submit(one, "sheddable") for _ in range(3)]
        refused = [future.result() for future in low]
        more = [pool.submit(one, "critical") for _ in range(2)]
        served = [future.result() for future in first + more]
    assert [status for status, _, _ in served] == [200] * 8
    where = [headers["x-isocost-backend"] for _, _, headers in served]
    assert where.count("machine") == 4
    assert "machine left: full" in served[where.index("paid")][2]["x-isocost-reason"]
    for status, seconds, headers in refused:
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        assert seconds < SLOW / 2, "refused before anything slow"
        record = app.decision(headers["x-isocost-call-id"])
        assert record["criticality"] == "sheddable"
        assert record["plan"] is None
        assert record["cost_usd"] == "0"
    assert len(box.journal()) - box_calls == 8, "nothing was sent for those refused"
    found = app.metrics()
    shed = "isocost_shed_total,criticality=sheddable,route=chat"
    assert found[shed] - began.get(shed, 0.0) == 3
    assert found["isocost_process_in_flight"] == 0
    assert found["isocost_limit,backend=machine"] == 4


def test_a_refusal_takes_no_time(app):
    """While the process is full, the median refusal is there within 5 ms, as its own record says."""
    body = {"model": "alone", "messages": CHAT}
    with ThreadPoolExecutor(8) as pool:
        held = [
            pool.submit(
                ask, f"{app.url}{PATH}", body | {"model": "chat"},
                x_isocost_criticality="critical_plus",
            )
            for _ in range(8)
        ]  # fmt: skip
        until(lambda: app.metrics()["isocost_process_in_flight"] == 8, 5.0)
        times = []
        for _ in range(9):
            with pytest.raises(HTTPError) as caught:
                ask(f"{app.url}{PATH}", body)
            assert caught.value.code == 503
            call_id = caught.value.headers["x-isocost-call-id"]
            times.append(app.decision(call_id)["seconds"])
        for future in held:
            future.result()
    assert sorted(times)[4] < 0.005
