"""The log: lines of text, or JSON objects, on standard error; one for each call where asked for.

    text   INFO call id=7c.. route=assistant backend=local-chat verdict=ok status=200 ...
    json   {"time":"2026-11-26T22:54:26.123Z","level":"info","logger":"isocost",...}

A line of a call holds names, numbers and verdicts. Texts of calls, messages of vendors and secrets
are in none, and what a client chose (its call id) is one plain word, so nobody can forge a line.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from router.core.call import Call
from router.core.ending import Ending
from router.core.errors import RouterError
from router.core.money import usd

Form = Literal["text", "json"]
log = logging.getLogger("isocost")


class _Json(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then what the line is about."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "about", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, separators=(",", ":"), default=str)


class _Text(logging.Formatter):
    """`LEVEL message name=value ...`."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        about = getattr(record, "about", None)
        if not about:
            return super().format(record)
        said = " ".join(f"{name}={value}" for name, value in about.items())
        return f"{super().format(record)} {said}"


def formatter(form: Form) -> logging.Formatter:
    return _Json() if form == "json" else _Text()


def start(form: Form) -> None:
    """Log to standard error in this form, from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(form))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def call(call: Call, ending: Ending) -> None:
    """The line of a call that has ended."""
    trail, key, trace = ending.trail, call.key, call.trace
    about: dict[str, Any] = {"id": call.id}
    if trace is not None:
        about["trace_id"] = trace.name
    if key is not None:
        about |= {"key": key.name, "team": key.team}
    about |= {
        "wire": call.wire,
        "route": call.route,
        "task": call.task,
        "stream": call.stream,
        "backend": ending.backend or None,
        "verdict": ending.verdict.name,
        "status": ending.status,
        "seconds": round(ending.seconds, 6),
        "cost_usd": usd(ending.cost),
        "attempts": trail.sent if trail is not None else 0,
    }
    if ending.reason:
        about["reason"] = ending.reason
    if ending.cache:
        about["cache"] = ending.cache
    if ending.first is not None:
        about["first_event_seconds"] = round(ending.first, 6)
    if ending.usage is not None:
        about["input_tokens"] = ending.usage.input_tokens
        about["output_tokens"] = ending.usage.output_tokens
    log.info("call", extra={"about": about})


def refused(call_id: str, wire: str, error: RouterError) -> None:
    """The line of a request that never became a call."""
    about = {"id": call_id, "wire": wire, "status": error.status, "reason": error.code}
    log.info("refused", extra={"about": about})
