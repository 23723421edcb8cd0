"""Every query of every dashboard and alert, asked of a real Prometheus that scraped a real router."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from openai import OpenAIError

from tests.dashboards import SHORT, asked, narrowed
from tests.prometheus import MISSING, ROOT, program
from tests.system.router.harness import (
    CHAT,
    KEYS,
    SANDBOX_ENV,
    Program,
    Router,
    Sandbox,
    ask,
    backend,
    free_port,
    router,
    sandbox,
    until,
)

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(program("prometheus") is None, reason=MISSING),
    pytest.mark.xdist_group("observe"),
]
RECORDED = Path(__file__).parent / "torchserve.txt"
EVERY = 0.25
"""Seconds between two scrapes."""
WINDOW = "30s"
"""Of rates: in it there are many scrapes."""


class TorchServe(BaseHTTPRequestHandler):
    """The page of a real TorchServe, whose counters go on; and its supervisor's status."""

    scraped = 0

    def do_GET(self) -> None:
        kind = type(self)
        kind.scraped += 1
        if self.path == "/status":
            model = {"ready": True, "pending": 2}
            body = json.dumps({"up": True, "models": {"small": model}}).encode()
        else:
            grown = r"^((?:ts_|Requests)\S+\}) ([\d.]+)$"
            text = re.sub(
                grown,
                lambda found: f"{found[1]} {float(found[2]) * kind.scraped}",
                RECORDED.read_text(),
                flags=re.MULTILINE,
            )
            body = text.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """It fails every call: its breaker opens, and paid backends take over."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def torchserve() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), TorchServe)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@dataclass
class Prometheus:
    port: int

    def ask(self, query: str) -> list[Any]:
        """The samples of now; raises HTTPError with what Prometheus says of a wrong query."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{urlencode({'query': query})}"
        found = ask(url)
        assert found["status"] == "success"
        assert "warnings" not in found
        result = found["data"]["result"]
        return result if isinstance(result, list) else [result]

    def page(self, name: str) -> Any:
        return ask(f"http://127.0.0.1:{self.port}/api/v1/{name}")["data"]


@contextmanager
def prometheus(folder: Path, **jobs: int) -> Iterator[Prometheus]:
    port, path = free_port(), folder / "prometheus.yaml"
    config = {
        "global": {
            "scrape_interval": f"{EVERY:g}s".replace("0.25s", "250ms"),
            "evaluation_interval": "1s",
        },
        "rule_files": [str(ROOT / "helm" / "isocost" / "alerts" / "*.yaml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{at}"]}]}
            for job, at in jobs.items()
        ],
    }
    path.write_text(yaml.safe_dump(config))
    found = program("prometheus")
    assert found
    command = [found, f"--config.file={path}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"]
    running = Program(command, folder / "prometheus.log").start()
    made = Prometheus(port)
    try:
        until(lambda: made.page("status/runtimeinfo"), what=running.log.read_text())
        yield made
    finally:
        running.stop()


def config(box: Sandbox, serving: int) -> dict[str, Any]:
    own = f"http://127.0.0.1:{serving}"
    return {
        "keys": [
            {"name": name, "team": team, "key_env": f"KEY_{name.upper()}"}
            for name, team in (("alice", "search"), ("bob", "ads"))
        ],
        "budgets": [
            {"window": "day", "usd": 5},
            {"team": "*", "window": "24h", "usd": 2},
        ],
        "backends": {
            "local": {
                "api": "torchserve",
                "model": "small",
                "base": own,
                "status": f"{own}/status",
                "tasks": ["chat"],
                "price": {"per_hour_usd": 0.05},
            },
            "paid": backend(box),
        },
        "routes": {
            "assistant": {
                "task": "chat",
                "backends": ["local", "paid"],
                "promise": {"first_event": {"p95": "2s"}, "answer": {"p95": "5s"}},
            },
            "vendor": {
                "task": "chat",
                "backends": ["paid"],
                "baseline": "paid",
                "cache": {"ttl": "10m"},
            },
        },
    }


def use(made: Router, times: int) -> None:
    """Whole and streamed calls of two teams, some answered again; a bad key, a bad route; fail over."""
    for _ in range(times):
        for name, secret in KEYS.items():
            client = made.sdk(secret)
            client.chat.completions.create(model="assistant", messages=CHAT)  # type: ignore[arg-type]
            stream = client.chat.completions.create(
                model="vendor" if name == "bob" else "assistant",
                messages=CHAT,  # type: ignore[arg-type]
                stream=True,
            )
            assert list(stream)
            client.chat.completions.create(model="vendor", messages=CHAT, temperature=0)  # type: ignore[arg-type]
    for secret, route in (("wrong", "assistant"), (KEYS["bob"], "nowhere")):
        with pytest.raises(OpenAIError):
            made.sdk(secret).chat.completions.create(model=route, messages=CHAT)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped a router before, while and after it was used."""
    folder = tmp_path_factory.mktemp("observe")
    env = SANDBOX_ENV | {f"KEY_{name.upper()}": secret for name, secret in KEYS.items()}
    with (
        sandbox(folder) as box,
        torchserve() as serving,
        router(folder, config(box, serving), **env) as made,
        prometheus(folder, isocost=made.port, torchserve=serving) as found,
    ):
        until(lambda: found.ask("isocost_budget_limit_usd"), what="first scrapes")
        use(made, 1)
        # A rate needs a count that grew from one scrape to another, before the breaker opens.
        until(
            lambda: found.ask('isocost_attempt_seconds_count{backend="local"}'),
            what="first attempts",
        )
        use(made, 3)
        until(
            lambda: found.ask('isocost_calls_total{backend="paid",verdict="ok"} offset 1s'),
            what="scrapes of what was counted",
        )
        until(lambda: found.ask("isocost:budget:used > 0"), what="budgets, and rules over them")
        yield found


def shown(query: str) -> str:
    """A panel's query as Grafana sends it, with all values of its variables chosen."""
    query = narrowed(query).replace("$__rate_interval", WINDOW).replace("$__range", "1h")
    return re.sub(r"\$\w+", ".*", query)


PANELS = [
    pytest.param(query, id=f"{file.stem}: {panel['title']} {query.get('legend', '')}")
    for file in sorted(SHORT.glob("*.yaml"))
    for row in yaml.safe_load(file.read_text())["rows"]
    for panel in row["panels"]
    for query in asked(panel)
]


def test_every_panel_has_data(scraped: Prometheus):
    """Prometheus answers each query, and what a healthy system has data of is not empty."""
    empty = []
    for param in PANELS:
        (query,) = param.values
        found = scraped.ask(shown(query["of"]))
        data = [sample for sample in found if sample["value"][1] != "NaN"]
        if not data and not query.get("may_be_empty"):
            empty.append((param.id, shown(query["of"])))
    assert not empty


def test_every_rule_is_evaluated(scraped: Prometheus):
    """No rule fails; those that are recorded have values, none of the alarms fires for nothing."""

    def all_of_them() -> list[Any]:
        return [rule for group in scraped.page("rules")["groups"] for rule in group["rules"]]

    until(lambda: all(rule["health"] == "ok" for rule in all_of_them()), what="rules evaluated")
    rules = all_of_them()
    assert len(rules) == 25
    for rule in rules:
        assert not rule.get("lastError"), rule
        if rule["type"] == "recording" and "at_end" not in rule["name"]:
            assert scraped.ask(rule["name"]), rule["name"]
    firing = {
        a["labels"]["alertname"] for a in scraped.page("alerts")["alerts"] if a["state"] == "firing"
    }
    assert firing == set()


def test_figures_add_up(scraped: Prometheus):
    """What dashboards show of money: teams and routes sum to the same, and so do the budgets."""

    def one(query: str) -> float:
        (sample,) = scraped.ask(query)
        return float(sample["value"][1])

    spent = one("sum(isocost_cost_usd_total)")
    assert spent > 0
    assert one("sum(isocost_team_cost_usd_total)") == pytest.approx(spent)
    paid = one('sum(isocost_cost_usd_total{backend="paid"})')
    until(
        lambda: one('isocost_budget_posted_usd{scope="global"}') == pytest.approx(paid),
        what="the books of the last call",
    )
    assert one('sum(isocost_budget_posted_usd{scope="team"})') == pytest.approx(paid)
    assert 0 < one("sum(isocost_spill_usd_total)") < paid
    assert (
        one("isocost_price_frozen == bool 1 and on (backend) isocost_backend_info{paid='yes'}") == 0
    )
    assert {s["metric"]["team"] for s in scraped.ask("isocost_team_cost_usd_total")} == {
        "search",
        "ads",
    }
