"""`python -m load_tests.chaos`: the fault matrix, or a soak; exit code 1 if a check failed."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop

from load_tests.chaos import page, soak
from load_tests.chaos.cell import Result
from load_tests.chaos.checks import Check
from load_tests.chaos.matrix import Lanes
from load_tests.chaos.programs import ROOT

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.chaos", description=__doc__)
    parser.add_argument("--only", default="", help="faults whose target and name contain this")
    parser.add_argument("--soak", type=_seconds, help="run this long under changing faults: 10m")
    parser.add_argument("--write", action="store_true", help="write the results into the docs")
    parser.add_argument("--keep", action="store_true", help="keep logs and journals")
    parser.add_argument("--out", type=Path, help="file for all figures, as JSON")
    return parser.parse_args()


def main() -> int:
    """Run, show, judge."""
    args = arguments()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        if args.soak:
            found = uvloop.run(soak.run(folder, args.soak))
            if args.write:
                day = time.strftime("%Y-%m-%d")
                page.write_soak(day, args.soak / 60, found, ROOT / "docs" / "faults.md")
            return _shown(found)
        run = uvloop.run(Lanes(folder, tell, args.only).run())
        if args.out:
            args.out.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1))
        if args.write:
            page.write(run, ROOT / "docs" / "faults.md", ROOT / "README.md")
        print(page.line(run))
        return _shown(run.closing) if run.held else max(1, _shown(run.closing))
    finally:
        if args.keep:
            print(f"logs and journals: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def tell(result: Result) -> None:
    """One line for each cell, and one for each check that did not hold."""
    back = f"normal after {result.back:.1f} s" if isinstance(result.back, float) else "not normal"
    print(
        f"{'ok  ' if result.held else 'BAD '} {result.fault} ({page.TARGETS[result.target]}) at "
        f"{result.rate}: {result.right} of {result.owed} right, {result.refused} refused, "
        f"{result.broken} broken off; {result.calls} calls, {result.extra} extra; {back}",
        flush=True,
    )
    for check in result.checks:
        if not check.held:
            print(f"     {check.name}: {check.figures}", flush=True)


def _shown(found: list[Check]) -> int:
    for check in found:
        print(f"{'ok  ' if check.held else 'BAD '} {check.name}: {check.figures}")
    return 0 if all(check.held for check in found) else 1


def _seconds(text: str) -> float:
    return float(text[:-1]) * UNITS[text[-1]]


if __name__ == "__main__":
    sys.exit(main())
