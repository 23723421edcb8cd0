"""The command `isocost`: one module per verb; importing it does nothing and costs little."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

VERBS = {
    "run": "everything on this machine: models, TorchServe, sandbox of paid APIs, router",
    "serve": "the router alone",
    "check": "validate the configuration file",
    "schema": "print the JSON schema of the configuration file, for editors",
    "explain": "what would happen to a request, and why; costs nothing",
    "chat": "a small chat in the terminal through the running router",
    "prices": "the prices in force for this configuration",
    "journal": "what was decided of each call, and why",
    "savings": "what each day cost, and what its baseline would have cost",
    "reconcile": "compare the books with a vendor's bill, and settle what was unknown",
    "budgets": "what is spent, held and left of each budget; prices that are refused",
    "keys": "create, list, revoke and rotate the keys of callers",
    "ledger": "bring the store of money up to date, and audit it",
    "models": "list, pack, train, verify and remove local models",
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb; the exit status is 0 when it did what it says."""
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="isocost",
        description="Serve each AI call at the least cost that keeps its promises.",
        epilog="isocost VERB --help says more.",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, text in VERBS.items():
        verbs.add_parser(verb, help=text, add_help=False)
    if not words or words[0] in {"-h", "--help"} or words[0] not in VERBS:
        parser.parse_args(words or ["--help"])
    module = import_module(f"router.cli.{words[0]}")
    try:
        return int(module.main(words[1:]))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0


def parser(verb: str) -> argparse.ArgumentParser:
    """The parser of one verb."""
    return argparse.ArgumentParser(prog=f"isocost {verb}", description=VERBS[verb])
