"""`python -m load_tests.sandbox`: the paid APIs' stand-in all on one port."""

import argparse
from itertools import count
from pathlib import Path

import uvloop

from load_tests.sandbox.account import Account
from load_tests.sandbox.answers import Answers
from load_tests.sandbox.app import Sandbox
from load_tests.sandbox.bill import Bill
from load_tests.sandbox.control import Control
from load_tests.sandbox.deepl import DeepL
from load_tests.sandbox.elevenlabs import ElevenLabs
from load_tests.sandbox.faults import Faults
from load_tests.sandbox.google_speech import GoogleSpeech
from load_tests.sandbox.google_tokens import Tokens
from load_tests.sandbox.google_vision import GoogleVision
from load_tests.sandbox.journal import Journal
from load_tests.sandbox.keys import Keys
from load_tests.sandbox.latency import SHARES, pace
from load_tests.sandbox.models import read_models
from load_tests.sandbox.openai import OpenAI
from load_tests.sandbox.server import Front, serve
from load_tests.sandbox.slots import Slots


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8090, help="0: any free one, see the output")
    parser.add_argument("--profile", choices=tuple(SHARES), default="instant")
    parser.add_argument("--seed", type=int, default=1, help="of latency and of chance in faults")
    parser.add_argument("--state", type=Path, help="folder for sandbox.json (pid and URL)")
    parser.add_argument("--keys", help="accepted keys, by commas; default: any sk-sandbox-*")
    parser.add_argument(
        "--free-units", action="store_true", help="the month's first units are free, as listed"
    )
    parser.add_argument("--slots", type=int, help="calls that are worked on at once; more wait")
    parser.add_argument("--queue", type=int, default=100, help="that wait; more are refused")
    parser.add_argument("--lines", type=int, default=1000, help="of the bill that are kept")
    return parser.parse_args()


async def main(args: argparse.Namespace) -> None:
    """Build the sandbox and serve it until it is told to stop."""
    models = read_models(Path(__file__).with_name("openai_models.yaml"))
    keys = Keys(frozenset(args.keys.split(","))) if args.keys else Keys()
    front = Front(args.port)
    bill, answers, tokens = Bill(args.lines), Answers(), Tokens()
    account = Account(bill)
    free = args.free_units
    app = Sandbox(
        vendors=[
            ElevenLabs(keys, account, free_units=free),
            DeepL(keys, account, answers, free_units=free),
            GoogleVision(keys, tokens, answers, free_units=free),
            GoogleSpeech(keys, tokens, answers, free_units=free),
            OpenAI(models, keys, answers),  # the last: it takes all that is left under /v1
        ],
        pace=pace(args.profile, args.seed),
        control=Control(bill, account, answers, Faults(args.seed), Journal(), tokens, front.refuse),
        numbers=count(1),
        slots=Slots(args.slots, args.queue) if args.slots else None,
    )
    await serve(front, app, host=args.host, state=args.state, profile=args.profile)


if __name__ == "__main__":
    uvloop.run(main(arguments()))
