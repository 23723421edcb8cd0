"""`isocost chat`: a small chat in the terminal, showing who answered and what it cost."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from openai import APIConnectionError, APIStatusError, OpenAI
from rich.console import Console

from router.cli import parser


def main(words: list[str]) -> int:
    options = parser("chat")
    options.add_argument("--route", default="assistant")
    options.add_argument("--url", default="http://127.0.0.1:8080")
    options.add_argument("--max-tokens", type=int, default=256)
    options.add_argument("--tags", default="", help="as in the header x-isocost-tags")
    given = options.parse_args(words)
    key = os.environ.get("ISOCOST_KEY", "none")
    console = Console(highlight=False)
    console.print(f"route [b]{given.route}[/b] at {given.url}; an empty line or Ctrl-D ends it")
    turns: list[Any] = []
    headers = {"x-isocost-tags": given.tags} if given.tags else {}
    sdk = OpenAI(base_url=f"{given.url}/v1", api_key=key, max_retries=0, default_headers=headers)
    spent = saved = 0.0
    while True:
        try:
            said = console.input("[bold]you> [/bold]").strip()
        except EOFError:
            said = ""
        if not said:
            console.print(f"spent ${spent:.6f}, saved ${saved:.6f}")
            return 0
        turns.append({"role": "user", "content": said})
        try:
            text, call_id = _turn(sdk, given, turns, console)
        except APIConnectionError:
            console.print(f"[red]no router at {given.url}; start one with `make run`[/red]")
            return 1
        except APIStatusError as exc:
            console.print(f"[red]{exc.message}[/red]")
            turns.pop()
            continue
        turns.append({"role": "assistant", "content": text})
        record = _decision(given.url, key, call_id)
        spent += float(record.get("cost_usd") or 0)
        saved += float(record.get("saved_usd") or 0)
        console.print(
            f"[dim]{record.get('backend')}  ${float(record.get('cost_usd') or 0):.6f}  "
            f"saved ${float(record.get('saved_usd') or 0):.6f}  "
            f"{record.get('seconds', 0):.2f} s[/dim]"
        )


def _turn(sdk: OpenAI, given: Any, turns: list[Any], console: Console) -> tuple[str, str]:
    """Stream one answer; its text and its call id."""
    text = ""
    raw = sdk.chat.completions.with_raw_response.create(
        model=given.route, messages=turns, max_tokens=given.max_tokens, stream=True
    )
    for chunk in raw.parse():
        piece = chunk.choices[0].delta.content if chunk.choices else None
        if piece:
            text += piece
            console.print(piece, end="", markup=False)
    console.print()
    return text, raw.headers["x-isocost-call-id"]


def _decision(url: str, key: str, call_id: str) -> dict[str, Any]:
    request = Request(f"{url}/v1/decisions/{call_id}", headers={"authorization": f"Bearer {key}"})  # noqa: S310 - the user names the address
    try:
        with urlopen(request, timeout=5) as answer:  # noqa: S310 - as above
            found: dict[str, Any] = json.load(answer)
    except URLError:
        return {}
    return found
