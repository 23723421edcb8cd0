"""What `helm test` runs: one real call to each named route, through the Service.

CALLS is `route:task` by commas, ROUTER the Service's address, ISOCOST_KEY the caller's key. Ends
with 1 as soon as a call is not answered as its task should be. A 503 is asked again for half a
minute: routers may not have seen yet that a machine has become ready.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request

WORDS = "Hello!"
ASKS = {
    "chat": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": WORDS}], "max_tokens": 8},
    ),
    "complete": ("/v1/completions", {"prompt": WORDS, "max_tokens": 8}),
    "embed": ("/v1/embeddings", {"input": [WORDS]}),
    "classify": ("/v1/classify", {"input": [WORDS], "labels": ["greeting", "farewell"]}),
}


def said(task, answer):
    """What matters of the answer. Raises where it is not there."""
    if task == "chat":
        return repr(answer["choices"][0]["message"]["content"])
    if task == "complete":
        return repr(answer["choices"][0]["text"])
    if task == "embed":
        return f"{len(answer['data'][0]['embedding'])} numbers"
    return json.dumps(answer)[:200]


def asked(request):
    """The answer and its headers. Raises HTTPError, OSError."""
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as got:
                return json.load(got), got.headers
        except urllib.error.HTTPError as refused:
            if refused.code != 503 or time.monotonic() > end:
                raise
        time.sleep(2)


def main():
    for call in os.environ["CALLS"].split(","):
        route, task = call.split(":")
        path, body = ASKS[task]
        request = urllib.request.Request(
            os.environ["ROUTER"] + path,
            json.dumps({"model": route, **body}).encode(),
            {
                "content-type": "application/json",
                "authorization": "Bearer " + os.environ["ISOCOST_KEY"],
            },
        )
        try:
            answer, headers = asked(request)
            by, cost = headers["x-isocost-backend"], headers["x-isocost-cost-usd"]
            print(f"{route}: {said(task, answer)} by {by}, USD {cost}")
        except urllib.error.HTTPError as refused:
            sys.exit(f"{route}: {refused.code} {refused.read(2000).decode(errors='replace')}")
        except (OSError, ValueError, LookupError) as wrong:
            sys.exit(f"{route}: {wrong!r}")


main()
