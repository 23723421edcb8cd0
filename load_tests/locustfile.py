"""Locust users of the router's doors, one class for each kind of call.

Environment: ISOCOST_PROFILE (a file of profiles/), ISOCOST_SUMMARY (where the summary goes),
ISOCOST_KEY, ISOCOST_ROUTE_ASSISTANT, _WRITER, _EMBEDDINGS, _CLASSIFIER. `load_tests.run` sets them;
plain `locust -f load_tests/locustfile.py` works too.
An entry of the report is one kind of call; `first event` is the time to the first streamed event
and no call of its own.
"""

# mypy does not follow locust (pyproject), so its decorators have no types here.
# mypy: disable-error-code="untyped-decorator"

import json
import os
import random
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events, task

from load_tests.profile import read_profile
from load_tests.tally import Tally

HERE = Path(__file__).parent
PROFILE = read_profile(Path(os.environ.get("ISOCOST_PROFILE") or HERE / "profiles" / "smoke.yaml"))
KEY = os.environ.get("ISOCOST_KEY", "sk-sandbox-load")
ASSISTANT, WRITER, EMBEDDINGS, CLASSIFIER = (
    PROFILE.route(name, dict(os.environ))
    for name in ("assistant", "writer", "embeddings", "classifier")
)
QUESTIONS = (
    "What is a circuit breaker good for?",
    "Explain in two sentences why caches grow stale.",
    "Name three causes of a slow database query.",
    "How does a queue protect a service under load?",
    "Give a short plan for a walk through a rainy city.",
    "Why does bread rise?",
)
TALLY = Tally()


class Caller(FastHttpUser):
    """What all users share: the key, the pause, and the counting of each answer."""

    abstract = True
    connection_timeout = 10.0
    network_timeout = 60.0

    def wait_time(self) -> float:
        """Seconds between two calls."""
        return random.uniform(*PROFILE.wait)

    def call(self, name: str, path: str, body: dict[str, Any]) -> None:
        """One whole answer."""
        sent = self.client.post(path, json=body, name=name, headers=_headers(), catch_response=True)
        with sent as answer:
            if answer.status_code == 200:
                TALLY.headers(answer.headers)


class Chat(Caller):
    """Whole chat answers."""

    weight = PROFILE.weights.get("Chat", 1)

    @task
    def ask(self) -> None:
        self.call("chat", "/v1/chat/completions", _chat())


class ChatStream(Caller):
    """Streamed chat answers, with the time to the first event."""

    weight = PROFILE.weights.get("ChatStream", 1)

    @task
    def ask(self) -> None:
        began = time.perf_counter()
        sent = self.client.post(
            "/v1/chat/completions",
            json={**_chat(), "stream": True},
            name="chat stream",
            headers=_headers(),
            stream=True,
            catch_response=True,
        )
        with sent as answer:
            if answer.status_code != 200:
                return
            TALLY.headers(answer.headers)
            done = self._read(answer, began)
            answer.request_meta["response_time"] = (time.perf_counter() - began) * 1000
            if not done:
                answer.failure("the stream ended without [DONE]")

    def _read(self, answer: Any, began: float) -> bool:
        """Read to the end; True when the stream said that it is whole."""
        first = done = False
        while line := answer.stream.readline(b"\n"):
            if line.startswith(b"data:"):
                if not first:
                    first = True
                    self._first_event((time.perf_counter() - began) * 1000)
                done = done or line.startswith(b"data: [DONE]")
            else:
                TALLY.line(bytes(line))
        return done

    def _first_event(self, milliseconds: float) -> None:
        self.environment.events.request.fire(
            request_type="SSE",
            name="first event",
            response_time=milliseconds,
            response_length=0,
            exception=None,
            context={},
        )


class Embed(Caller):
    """Embeddings of one text."""

    weight = PROFILE.weights.get("Embed", 1)

    @task
    def ask(self) -> None:
        self.call("embed", "/v1/embeddings", {"model": EMBEDDINGS, "input": _question()})


class Complete(Caller):
    """Plain completions."""

    weight = PROFILE.weights.get("Complete", 1)

    @task
    def ask(self) -> None:
        body = {"model": WRITER, "prompt": _question(), "max_tokens": PROFILE.max_tokens}
        self.call("complete", "/v1/completions", body)


class Classify(Caller):
    """Labels for one text."""

    weight = PROFILE.weights.get("Classify", 1)

    @task
    def ask(self) -> None:
        labels = ["technology", "cooking", "travel"]
        body = {"model": CLASSIFIER, "input": _question(), "labels": labels}
        self.call("classify", "/v1/classify", body)


@events.quitting.add_listener
def write_summary(environment: Any, **_: Any) -> None:
    """Times, errors and money of the run as JSON."""
    path = os.environ.get("ISOCOST_SUMMARY")
    if not path:
        return
    entries = {entry.name: _entry(entry) for entry in environment.stats.entries.values()}
    calls = [entry for name, entry in entries.items() if name != "first event"]
    summary = {
        "calls": sum(entry["calls"] for entry in calls),
        "errors": sum(entry["errors"] for entry in calls),
        "calls_per_second": sum(entry["calls_per_second"] for entry in calls),
        "entries": entries,
        "money": TALLY.told(),
        "problems": [
            {"entry": error.name, "error": str(error.error), "times": error.occurrences}
            for error in environment.stats.errors.values()
        ],
    }
    Path(path).write_text(json.dumps(summary, indent=1), encoding="utf-8")


def _entry(entry: Any) -> dict[str, Any]:
    times = {
        f"p{share}": entry.get_response_time_percentile(share / 100) / 1000
        for share in (50, 95, 99)
    }
    return {
        "calls": entry.num_requests,
        "errors": entry.num_failures,
        "calls_per_second": entry.total_rps,
        **times,
    }


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY}"}


def _question() -> str:
    return random.choice(QUESTIONS)


def _chat() -> dict[str, Any]:
    message = {"role": "user", "content": _question()}
    return {"model": ASSISTANT, "messages": [message], "max_tokens": PROFILE.max_tokens}
