"""Users of the router's doors: one class for each kind of call, and `Lane` for open loops.

Environment: ISOCOST_PROFILE (a file, or a name in profiles/), ISOCOST_KEY, ISOCOST_ROUTE_ASSISTANT
and so on, ISOCOST_SANDBOX (its URL, to set the profile's faults), ISOCOST_SUMMARY (a file for the
summary). `load_tests.run` sets them; plain `locust -f load_tests/locustfile.py`, with or without
--master and --worker, works too.
"""

# mypy does not follow locust (pyproject), so its decorators have no types here.
# mypy: disable-error-code="untyped-decorator"

import os
import random
import time
from typing import Any

import gevent
from gevent.pool import Pool
from locust import events, task
from locust.runners import WorkerRunner

from load_tests.arrivals import moments
from load_tests.caller import PROFILE, TALLY, Caller, Closed, drawn_kind
from load_tests.strikes import strike
from load_tests.summary import write

MOST = 1000  # calls that one lane has in progress; more are failures, not sent
DRAIN = 30.0  # seconds in which the last calls of a lane may end


def weight(kind: str) -> float:
    """A class's share of the users; none while lanes do the asking."""
    return 0.0 if PROFILE.rate else PROFILE.mix.get(kind, 0.0)


class Lane(Caller):
    """One part of an open loop: its calls begin on schedule, whatever becomes of the others."""

    fixed_count = PROFILE.users if PROFILE.rate else 0
    weight = 1 if PROFILE.rate else 0
    concurrency = MOST

    def wait_time(self) -> float:
        """A lane has one task, which lasts as long as the profile."""
        return 3600.0

    @task
    def run_lane(self) -> None:
        """Begin every call at its moment."""
        pool, began = Pool(MOST), time.perf_counter()
        share, chance = (
            1 / PROFILE.users,
            random.Random() if PROFILE.arrivals == "poisson" else None,
        )
        for moment in moments(PROFILE.rate, PROFILE.seconds, share, chance):
            due = began + moment
            gevent.sleep(max(due - time.perf_counter(), 0.0))
            if self._state == "stopping":
                break
            TALLY.sums["begun"] += 1
            self._lag(time.perf_counter() - due)
            if pool.free_count():
                pool.spawn(self.send, drawn_kind(), due)
        pool.join(timeout=DRAIN)

    def _lag(self, seconds: float) -> None:
        """How late the load generator itself was: it should be next to nothing."""
        self.environment.events.request.fire(
            request_type="GEN",
            name="load generator late",
            response_time=seconds * 1000,
            response_length=0,
            exception=None,
            context={},
        )


class Chat(Closed):
    """Whole chat answers."""

    kind = "Chat"
    weight = weight("Chat")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class ChatStream(Closed):
    """Streamed chat answers."""

    kind = "ChatStream"
    weight = weight("ChatStream")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class Complete(Closed):
    """Plain completions."""

    kind = "Complete"
    weight = weight("Complete")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class CompleteStream(Closed):
    """Streamed completions."""

    kind = "CompleteStream"
    weight = weight("CompleteStream")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class Embed(Closed):
    """Embeddings of one text."""

    kind = "Embed"
    weight = weight("Embed")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class Respond(Closed):
    """OpenAI's responses."""

    kind = "Respond"
    weight = weight("Respond")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class RespondStream(Closed):
    """OpenAI's responses, streamed."""

    kind = "RespondStream"
    weight = weight("RespondStream")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class Classify(Closed):
    """Labels for one text."""

    kind = "Classify"
    weight = weight("Classify")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class Speak(Closed):
    """OpenAI's speech, whole."""

    kind = "Speak"
    weight = weight("Speak")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class SpeakStream(Closed):
    """OpenAI's speech, streamed."""

    kind = "SpeakStream"
    weight = weight("SpeakStream")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class ElevenLabs(Closed):
    """ElevenLabs' speech, whole."""

    kind = "ElevenLabs"
    weight = weight("ElevenLabs")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class ElevenLabsStream(Closed):
    """ElevenLabs' speech, streamed."""

    kind = "ElevenLabsStream"
    weight = weight("ElevenLabsStream")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class DeepL(Closed):
    """DeepL's translations."""

    kind = "DeepL"
    weight = weight("DeepL")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class Vision(Closed):
    """Labels and text of an image, on Google's wire."""

    kind = "Vision"
    weight = weight("Vision")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class Speech(Closed):
    """A recording's text, on Google's wire."""

    kind = "Speech"
    weight = weight("Speech")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class Transcribe(Closed):
    """A recording's text, on OpenAI's wire."""

    kind = "Transcribe"
    weight = weight("Transcribe")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


class Predict(Closed):
    """Chat on TorchServe's wire."""

    kind = "Predict"
    weight = weight("Predict")

    @task
    def one(self) -> None:
        """One call."""
        self.ask()


@events.test_start.add_listener
def begin(environment: Any, **_: Any) -> None:
    """Set the profile's faults at their moments; one process of the run does it."""
    sandbox = os.environ.get("ISOCOST_SANDBOX")
    if sandbox and PROFILE.faults and not isinstance(environment.runner, WorkerRunner):
        gevent.spawn(strike, sandbox, PROFILE.faults, gevent.sleep)


@events.report_to_master.add_listener
def report(data: dict[str, Any], **_: Any) -> None:
    """A worker's sums go to the master with its statistics."""
    data["isocost"] = TALLY.take()


@events.worker_report.add_listener
def collect(data: dict[str, Any], **_: Any) -> None:
    """The master adds them up."""
    TALLY.add(data.get("isocost", {}))


@events.quitting.add_listener
def summarize(environment: Any, **_: Any) -> None:
    """Write the summary, where one is wanted; workers have none."""
    path = os.environ.get("ISOCOST_SUMMARY")
    if path and not isinstance(environment.runner, WorkerRunner):
        write(path, environment.stats, TALLY)
