"""`isocost explain`: asks the running router for a plan and shows it as a table."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from rich.console import Console
from rich.table import Table

from router.cli import parser


def main(words: list[str]) -> int:
    options = parser("explain")
    options.add_argument("prompt", nargs="?", help="text to send; or give --body")
    options.add_argument("--route", default="assistant")
    options.add_argument("--task", choices=BODIES, default="chat", help="what the text is for")
    options.add_argument("--to", default="de", help="language to translate to")
    options.add_argument("--body", help="a whole request body: JSON, or @file")
    options.add_argument("--path", default="", help="where that body would be sent")
    options.add_argument("--tags", help="as in the header x-isocost-tags")
    options.add_argument("--deadline-ms", help="as in the header x-isocost-deadline-ms")
    options.add_argument("--url", default="http://127.0.0.1:8080")
    options.add_argument("--json", action="store_true", help="print the answer as it came")
    given = options.parse_args(words)
    if not (given.prompt or given.body):
        options.error("give a prompt or --body")
    body, path = _body(given.body) if given.body else b"", given.path
    if not body:
        path, made = BODIES[given.task](given.route, given.prompt, given.to)
        body = json.dumps(made).encode()
    headers = {"content-type": "application/json"}
    headers["authorization"] = f"Bearer {os.environ.get('ISOCOST_KEY', 'none')}"
    if path in UNNAMED:
        headers["x-isocost-route"] = given.route
    if given.tags:
        headers["x-isocost-tags"] = given.tags
    if given.deadline_ms:
        headers["x-isocost-deadline-ms"] = given.deadline_ms
    try:
        asked = f"{given.url}/v1/explain?path={quote(path)}"
        with urlopen(Request(asked, body, headers), timeout=10) as answer:  # noqa: S310 - the user names the address
            found = json.load(answer)
    except HTTPError as exc:
        print(json.load(exc)["error"]["message"], file=sys.stderr)
        return 1
    except URLError as exc:
        print(f"no router at {given.url}: {exc.reason}; start one with `make run`", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return 0


def _body(given: str) -> bytes:
    if given.startswith("@"):
        with open(given[1:], "rb") as file:  # noqa: PTH123 - a path given by the user
            return file.read()
    return given.encode()


BODIES: dict[str, Callable[[str, str, str], tuple[str, dict[str, Any]]]] = {
    "chat": lambda route, text, to: (
        "/v1/chat/completions",
        {"model": route, "messages": [{"role": "user", "content": text}]},
    ),
    "complete": lambda route, text, to: ("/v1/completions", {"model": route, "prompt": text}),
    "embed": lambda route, text, to: ("/v1/embeddings", {"model": route, "input": text}),
    "classify": lambda route, text, to: ("/v1/classify", {"model": route, "input": text}),
    "translate": lambda route, text, to: ("/v2/translate", {"text": [text], "target_lang": to}),
    "speak": lambda route, text, to: (
        "/v1/audio/speech",
        {"model": route, "input": text, "voice": "alloy"},
    ),
}
"""Task -> where its text would be sent, and the body there."""
UNNAMED = {"/v2/translate"}
"""Wires whose bodies have no place for a route."""


def show(found: dict[str, Any]) -> None:
    """The plan as a table, in the order in which backends would be tried."""
    order = found["order"]
    console = Console()
    console.print(
        f"route [b]{found['route']}[/b] ({found['task']}, {found['objective']}): "
        f"about {found['input_tokens_predicted']} tokens in, at most {found['output_limit']} out"
    )
    for rule in found["rules_that_held"]:
        console.print(f"rule held: {rule}")
    table = Table("try", "backend", "expected $", "at most $", "seconds", "why")
    rows = sorted(
        found["candidates"],
        key=lambda c: order.index(c["backend"]) if c["backend"] in order else len(order),
    )
    for row in rows:
        taken = row["backend"] in order
        table.add_row(
            str(order.index(row["backend"]) + 1) if taken else "-",
            row["backend"],
            row["expected_cost_usd"],
            row["quote_usd"],
            f"{row['predicted_seconds']:.3f}",
            row["why"] if taken else f"{row['left_by']}: {row['why']}",
        )
    console.print(table)
