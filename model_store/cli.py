"""The command line: list, pack, verify and remove (`isocost models ...` runs it as a program)."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model_store import commands
from model_store.errors import StoreError
from model_store.load import CATALOG
from model_store.loaded import PORT
from model_store.pack import ARCHIVES, Places

EPILOG = """commands:
  list     the catalog: licence, size, memory, speed; what is packed, and loaded on which device
  pack     fetch, check, convert and pack models (without names: the default ones)
  verify   check packed archives file by file (without names: all of them)
  remove   delete archives; downloads stay in the cache
  train    train a small model on this machine and pack it (train --help says more)

A model that can run on a second engine has a twin there: minilm-torch, or minilm --engine torch.
Downloads are kept in ISOCOST_CACHE (~/.cache/isocost).
Exit status: 0 all is well, 1 a problem (the message says what to do), 2 a wrong command."""


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    made = argparse.ArgumentParser(
        prog="isocost models",
        description="Fetch models and pack them for serving.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("command", choices=["list", "pack", "verify", "remove"])
    made.add_argument("names", nargs="*", metavar="name", help="models of the catalog")
    made.add_argument(
        "--catalog", type=Path, default=CATALOG, metavar="DIR", help="folder of entries"
    )
    made.add_argument(
        "--archives", type=Path, default=ARCHIVES, metavar="DIR", help="folder of archives"
    )
    made.add_argument(
        "--engine",
        choices=["torch", "ctranslate2", "onnxruntime"],
        help="instead of the entry's choice",
    )
    made.add_argument("--force", action="store_true", help="pack although nothing changed")
    made.add_argument(
        "--status-port", type=int, default=PORT, help="the supervisor's, for what is loaded"
    )
    made.add_argument("--json", action="store_true", help="list for programs")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["train"]:
        from model_store.train import cli  # noqa: PLC0415 - its words are its own

        return cli.main(words[1:])
    grammar = parser()
    # So that names may also stand after options.
    options = grammar.parse_intermixed_args(words)
    if options.command == "remove" and not options.names:
        grammar.error("remove needs the names of the models")
    places = Places(catalog=options.catalog, archives=options.archives)
    try:
        return _run(options, places)
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; nothing half-made was kept.", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, places: Places) -> int:
    if options.command == "list":
        return commands.show(
            places, options.names, status_port=options.status_port, as_json=options.json
        )
    if options.command == "pack":
        return commands.pack_all(places, options.names, options.engine, force=options.force)
    if options.command == "verify":
        return commands.verify(places, options.names, options.engine)
    return commands.remove(places, options.names, options.engine)
