"""The command line of training (`isocost models train ...`)."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from model_store.cache import made_once
from model_store.errors import StoreError
from model_store.load import CATALOG, choose, load_catalog
from model_store.pack import ARCHIVES, Places, pack
from model_store.progress import step_bar

TRAINED = Path(__file__).parents[1] / "trained"
EXAMPLES = """examples:
  isocost models train dates
  isocost models train dates --size small
  isocost models train classifier tickets tickets.csv
  isocost models train classifier tickets tickets.csv --base tinybert --whole

The CSV has a header with the columns text and label. A fifth of each label's rows is held out; the
score over them is printed and stands in the catalog entry. The result is packed at once.
Exit status: 0 all is well, 1 a problem (the message says what to do), 2 a wrong command."""


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return share


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    made = argparse.ArgumentParser(
        prog="isocost models train",
        description="Train a small model on this machine, and pack it for serving.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = made.add_subparsers(dest="what", required=True, metavar="what")
    dates = kinds.add_parser("dates", help="nn.Transformer: English dates and numbers to German")
    dates.add_argument(
        "--size",
        choices=["full", "small"],
        default="full",
        help="full: d_model 512, six layers on each side; small: 128, two (a fifth of the time)",
    )
    dates.add_argument("--steps", type=_count, help="batches to learn from")
    table = kinds.add_parser("classifier", help="labels for texts, learned from a CSV")
    table.add_argument("name", help="the new model's name in the catalog")
    table.add_argument("csv", type=Path, help="a file with the columns text and label")
    table.add_argument("--base", default="minilm", help="an encoder of the catalog, or a folder")
    table.add_argument("--whole", action="store_true", help="train all weights, not just a head")
    table.add_argument("--held-out", type=_share, default=0.2, help="share of rows to score with")
    table.add_argument("--epochs", type=_count, default=3, help="with --whole")
    table.add_argument("--rate", type=float, default=5e-5, help="learning rate, with --whole")
    table.add_argument("--licence", help="of a base that is a folder")
    for each in (dates, table):
        each.add_argument("--seed", type=int, default=0)
        each.add_argument("--threads", type=_count, help="of the CPU; all by default")
        for name, default in (("catalog", CATALOG), ("archives", ARCHIVES), ("trained", TRAINED)):
            each.add_argument(f"--{name}", type=Path, default=default, metavar="DIR")
    return made


def main(arguments: Sequence[str]) -> int:
    """Train and pack; the exit status."""
    options = parser().parse_args(arguments)
    places = Places(catalog=options.catalog, archives=options.archives)
    run: Callable[[argparse.Namespace, Places], int]
    run = _dates if options.what == "dates" else _classifier
    try:
        if options.threads:
            import torch  # noqa: PLC0415 - seconds, only where needed

            torch.set_num_threads(options.threads)
        return run(options, places)
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; nothing half-made was kept.", file=sys.stderr)
        return 1


def _dates(options: argparse.Namespace, places: Places) -> int:
    from model_store.train.dates import NAMES, Lesson  # noqa: PLC0415

    name = NAMES[options.size]
    folder = options.trained / name

    def make(part: Path) -> None:
        lesson = Lesson(options.size, options.seed, options.steps)
        with step_bar("Training", lesson.recipe.steps) as step:
            for loss in lesson.steps():
                step(f"loss {loss:.4f}")
        lesson.save(part, lesson.score())

    made_once(folder, make, again=True)
    said = json.loads((folder / "training.json").read_bytes())
    print(
        f"{name}: trained in {said['seconds']:.0f} s; of {said['held_out_sentences']} held-out "
        f"sentences {said['held_out_exact_match']:.1%} came out right, letter by letter"
    )
    entries = load_catalog(places.catalog)
    if name not in entries:
        print(f"{name}: {places.catalog} has no such entry, so it was not packed")
        return 0
    packed = pack(*choose(entries, name, None), places)
    print(f"{name}: packed, {packed.file}")
    return 0


def _classifier(options: argparse.Namespace, places: Places) -> int:
    from model_store.train.classifier import Wish, train  # noqa: PLC0415

    wish = Wish(
        name=options.name, table=options.csv, base=options.base, whole=options.whole,
        held_out=options.held_out, epochs=options.epochs, rate=options.rate, seed=options.seed,
        licence=options.licence,
    )  # fmt: skip
    entry, found, seconds = train(wish, places, options.trained)
    print(
        f"{entry.name}: trained in {seconds:.0f} s; of {found.texts} held-out texts "
        f"{found.accuracy:.1%} right, macro F1 {found.macro_f1:.3f} "
        f"(the commonest label alone: {found.commonest:.1%})"
    )
    packed = pack(entry, entry.engine, places)
    print(f"{entry.name}: packed, {packed.file}")
    return 0
