"""Callers inside the cluster's network: a fixed pace, whatever is answered.

    python -m tests.k8s.client URL KEY SECONDS CALLS_PER_SECOND [TRIES]

Each call is an embedding or a chat, on connections that are kept. Prints what became of them as JSON. A call that
was not answered is tried again TRIES - 1 times, on a new connection, half a second later.
"""

from __future__ import annotations

import http.client
import itertools
import json
import select
import sys
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

CALLS = (
    ("/v1/embeddings", {"model": "embeddings", "input": ["hello"]}),
    (
        "/v1/chat/completions",
        {"model": "assistant", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2},
    ),
    ("/v1/embeddings", {"model": "embeddings-large", "input": ["hello"]}),
    ("/v1/embeddings", {"model": "embeddings-large", "input": ["hello"]}),
)


class Callers:
    """Threads that share one schedule, so that a slow answer holds up nobody else."""

    def __init__(self, url: str, key: str, pace: float, tries: int) -> None:
        self.host, self.key, self.pace, self.tries = urlsplit(url).netloc, key, pace, tries
        self.numbers, self.lock = itertools.count(), threading.Lock()
        self.served: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.again, self.slowest = 0, 0.0

    def run(self, seconds: float) -> dict[str, object]:
        begun = time.monotonic()
        threads = [threading.Thread(target=self.work, args=(begun, seconds)) for _ in range(24)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        sent = sum(self.served.values()) + sum(self.failed.values())
        return {"sent": sent, "failed": dict(self.failed), "served": dict(self.served), "again": self.again,
                "slowest": round(self.slowest, 2)}  # fmt: skip

    def work(self, begun: float, seconds: float) -> None:
        link = http.client.HTTPConnection(self.host, timeout=90)
        while (at := next(self.numbers) / self.pace) < seconds:
            time.sleep(max(0.0, begun + at - time.monotonic()))
            path, body = CALLS[int(at * self.pace) % len(CALLS)]
            start = time.monotonic()
            for attempt in range(self.tries):
                by, wrong = self.ask(link, path, body)
                if not wrong:
                    break
                if attempt + 1 < self.tries:
                    time.sleep(0.5)
                    with self.lock:
                        self.again += 1
            with self.lock:
                (self.failed if wrong else self.served)[
                    f"at {at:.1f} s: {wrong}" if wrong else by
                ] += 1
                self.slowest = max(self.slowest, time.monotonic() - start)

    def ask(
        self, link: http.client.HTTPConnection, path: str, body: dict[str, object]
    ) -> tuple[str, str]:
        """Who served it, and what went wrong; one of them is empty."""
        if link.sock is not None and select.select([link.sock], [], [], 0)[0]:
            link.close()  # ended by the other side while nothing was asked: every HTTP client looks
        head = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            link.request("POST", path, json.dumps(body), head)
            answer = link.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            link.close()
            return "", type(error).__name__
        if answer.status != 200:
            return "", f"{answer.status} {said[:200].decode(errors='replace')}"
        return answer.headers["x-isocost-backend"] or "?", ""


if __name__ == "__main__":
    url, key, seconds, pace, *tries = sys.argv[1:]
    callers = Callers(url, key, float(pace), int(tries[0]) if tries else 1)
    print(json.dumps(callers.run(float(seconds))))  # noqa: T201
