"""`python -m load_tests.run`: one bounded load test, its reports, and a verdict.

Where it goes: to --host; else to a sandbox and a router of its own where the profile
brings a configuration, where --own says so, or where nothing serves on http://127.0.0.1:8080.
Writes report.html, plot.png, stats CSV files, profile.yaml and summary.json to the output folder;
exit code 0 when every objective of the profile held, 1 when one was broken, 2 when the run itself
did not come about.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec.structs import replace
from rich.console import Console

from load_tests.judge import Objectives, judge
from load_tests.own import NotStarted, answers, await_ready, own
from load_tests.profile import Profile, read_profile, write_profile
from load_tests.report import draw, show
from load_tests.strikes import billed, heal

HERE = Path(__file__).parent
LOCAL = "http://127.0.0.1:8080"
OWN = "sandbox.config.yaml"
PICO = 10**12
DRAIN = 35  # seconds in which calls under way may end
SPAWN = 3  # seconds in which lanes come into being
GRACE = 60  # seconds that locust gets beyond that to end and write its reports


class Target(msgspec.Struct, frozen=True):
    """The router that is asked, and the sandbox behind it, where there is one to set faults in."""

    router: str
    sandbox: str | None


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.run", description=__doc__)
    parser.add_argument("--profile", default="smoke", help="a name in profiles/, or a file")
    parser.add_argument("--host", help="URL of a router")
    parser.add_argument(
        "--sandbox", help="URL of the sandbox behind that router, for faults and bill"
    )
    parser.add_argument(
        "--own", action="store_true", help="start a sandbox and a router for the run"
    )
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="for --host to be ready, at most"
    )
    parser.add_argument("--objectives", type=Path, default=HERE / "objectives.yaml")
    parser.add_argument("--out", type=Path, default=HERE / "out")
    parser.add_argument("--seconds", type=int, help="instead of the profile's")
    parser.add_argument("--users", type=int, help="instead of the profile's")
    parser.add_argument("--judge", type=Path, help="run nothing: judge this summary of a run")
    return parser.parse_args()


def main() -> int:
    """Run, report, judge."""
    args, console = arguments(), Console()
    path = Path(args.profile)
    path = path if path.suffix else HERE / "profiles" / f"{args.profile}.yaml"
    try:
        profile = read_profile(path)
        objectives = read_objectives(args.objectives, path.stem)
    except (OSError, KeyError, msgspec.ValidationError) as wrong:
        console.print(f"profile {args.profile}: {wrong}", markup=False)
        return 2
    profile = replace(
        profile.lasting(args.seconds or profile.seconds), users=args.users or profile.users
    )
    try:
        if args.judge:
            summary: Any = json.loads(args.judge.read_text(encoding="utf-8"))
        else:
            summary = measure(args, profile, console)
    except (OSError, ValueError, NotStarted) as wrong:
        console.print(str(wrong), markup=False)
        return 2
    if "billed_usd" not in summary:  # no sandbox was named: there is no bill to look at
        objectives = replace(objectives, billed_usd=None)
    findings = judge(summary, objectives)
    show(console, summary, findings)
    return 0 if all(finding.held for finding in findings) else 1


def measure(args: argparse.Namespace, profile: Profile, console: Console) -> dict[str, Any]:
    """Run the load, and put its reports into the output folder. Raises NotStarted, OSError."""
    args.out.mkdir(parents=True, exist_ok=True)
    with target(args, profile, console) as found:
        summary = load(profile, found, args.out)
    if summary is None:
        raise NotStarted(f"locust ended without a summary, see {args.out / 'locust.log'}")
    draw(summary, profile, f"{args.profile}: {found.router}", args.out / "plot.png")
    return summary


@contextmanager
def target(args: argparse.Namespace, profile: Profile, console: Console) -> Iterator[Target]:
    """The router and sandbox to use. Raises NotStarted, OSError."""
    if args.host:
        if profile.faults and not args.sandbox:
            raise NotStarted(
                "this profile sets faults: name the router's sandbox with --sandbox URL"
            )
        router = args.host.rstrip("/")
        if args.wait:
            await_ready(f"{router}/readyz", args.wait)
        yield Target(router, args.sandbox)
        return
    if not (args.own or profile.config) and answers(f"{LOCAL}/livez"):
        console.print(f"router: {LOCAL}, which is running", markup=False)
        yield Target(LOCAL, args.sandbox)
        return
    config = HERE / "profiles" / (profile.config or OWN)
    console.print(f"router: its own, with {config.name} and the sandbox", markup=False)
    with own(config, args.out / "own", pace=profile.pace) as made:
        yield Target(made.router, made.sandbox)


def read_objectives(path: Path, profile: str) -> Objectives:
    """The objectives of one profile. Raises KeyError when it has none."""
    listed = yaml.safe_load(path.read_text(encoding="utf-8"))
    if profile not in (listed or {}):
        raise KeyError(f"{path} has no entry {profile}: what must the run keep?")
    return msgspec.convert(listed[profile], Objectives)


def load(profile: Profile, found: Target, out: Path) -> dict[str, Any] | None:
    """Run locust in its own process, and give back its summary. Raises OSError."""
    told = out / "summary.json"
    told.unlink(missing_ok=True)
    before = billed(found.sandbox) if found.sandbox else 0
    environment = {
        **os.environ,
        "ISOCOST_PROFILE": str(write_profile(profile, out / "profile.yaml").resolve()),
        "ISOCOST_SUMMARY": str(told.resolve()),
        "ISOCOST_SANDBOX": found.sandbox or "",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    try:
        with (out / "locust.log").open("w", encoding="utf-8") as log:
            subprocess.run(  # noqa: S603 - our own interpreter and our own arguments
                command(profile, found.router, out),
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=profile.seconds + DRAIN + GRACE,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return None
    finally:
        if found.sandbox and profile.faults:
            with suppress(OSError):
                heal(found.sandbox)
    if not told.exists():
        return None
    summary: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    if found.sandbox:
        summary["billed_usd"] = (billed(found.sandbox) - before) / PICO
        told.write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return summary


def command(profile: Profile, router: str, out: Path) -> list[str]:
    """Locust's command line for one process."""
    kinds = [name for name, weight in profile.mix.items() if weight]
    seconds = profile.seconds + (SPAWN if profile.rate else 0)  # lanes end by themselves
    return [
        *(sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py"), "--headless"),
        *("--host", router, "--users", str(profile.users), "--run-time", f"{seconds}s"),
        *("--spawn-rate", str(profile.spawn_per_second), "--stop-timeout", str(DRAIN)),
        *("--html", str(out / "report.html"), "--csv", str(out / "stats")),
        *("--only-summary", "--loglevel", "WARNING", "--exit-code-on-error", "0"),
        *(["Lane"] if profile.rate else kinds),
    ]


if __name__ == "__main__":
    sys.exit(main())
