"""`python -m load_tests.run`: one bounded load test, its reports, and a verdict.

Writes report.html, stats CSV files and summary.json to the output folder; exit code 0 when every
objective of the profile held, 1 when one was broken, 2 when the run itself did not come about.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml
from rich.console import Console
from rich.table import Table

from load_tests.judge import Finding, Objectives, judge, verdict
from load_tests.profile import Profile, read_profile

HERE = Path(__file__).parent
GRACE = 60  # seconds that locust gets beyond its run time to end and write its reports


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.run", description=__doc__)
    parser.add_argument("--profile", default="smoke", help="a name in profiles/")
    parser.add_argument("--host", default="http://127.0.0.1:8080")
    parser.add_argument("--out", type=Path, default=HERE / "out")
    parser.add_argument("--seconds", type=int, help="instead of the profile's")
    parser.add_argument("--users", type=int, help="instead of the profile's")
    return parser.parse_args()


def main() -> int:
    """Run, report, judge."""
    args, console = arguments(), Console()
    path = HERE / "profiles" / f"{args.profile}.yaml"
    try:
        profile = read_profile(path)
        objectives = read_objectives(HERE / "objectives.yaml", args.profile)
    except (OSError, KeyError, msgspec.ValidationError) as wrong:
        console.print(f"profile {args.profile}: {wrong}")
        return 2
    profile = msgspec.structs.replace(
        profile, users=args.users or profile.users, seconds=args.seconds or profile.seconds
    )
    args.out.mkdir(parents=True, exist_ok=True)
    summary = load(profile, path, args.host, args.out)
    if summary is None:
        console.print("locust ended without a summary")
        return 2
    findings = judge(summary, objectives)
    show(console, summary, findings)
    return 0 if all(finding.held for finding in findings) else 1


def read_objectives(path: Path, profile: str) -> Objectives:
    """The objectives of one profile. Raises KeyError when it has none."""
    listed = yaml.safe_load(path.read_text(encoding="utf-8"))
    return msgspec.convert(listed[profile], Objectives)


def load(profile: Profile, path: Path, host: str, out: Path) -> dict[str, Any] | None:
    """Run locust in its own process, and give back its summary."""
    told = out / "summary.json"
    told.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py"), "--headless"),
        *("--host", host, "--users", str(profile.users), "--run-time", f"{profile.seconds}s"),
        *("--spawn-rate", str(profile.spawn_per_second), "--stop-timeout", "10"),
        *("--html", str(out / "report.html"), "--csv", str(out / "stats")),
        *("--only-summary", "--loglevel", "WARNING", "--exit-code-on-error", "0"),
        *(name for name, weight in profile.weights.items() if weight),
    ]
    environment = {
        **os.environ,
        "ISOCOST_PROFILE": str(path.resolve()),
        "ISOCOST_SUMMARY": str(told.resolve()),
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    with (out / "locust.log").open("w", encoding="utf-8") as log:
        try:
            subprocess.run(  # noqa: S603 - our own interpreter and our own arguments
                command,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=profile.seconds + GRACE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
    if not told.exists():
        return None
    found: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    return found


def show(console: Console, summary: dict[str, Any], findings: list[Finding]) -> None:
    """Two tables and the verdict."""
    seen = Table("entry", "calls", "errors", "p50 s", "p95 s", "p99 s", title="measured")
    for name, entry in sorted(summary["entries"].items()):
        times = [f"{entry[quantile]:.3f}" for quantile in ("p50", "p95", "p99")]
        seen.add_row(name, str(entry["calls"]), str(entry["errors"]), *times)
    console.print(seen)
    judged = Table("objective", "measured", "limit", "held", title="objectives")
    for finding in findings:
        measured = "nothing" if finding.measured is None else f"{finding.measured:.4g}"
        judged.add_row(
            finding.name, measured, f"{finding.limit:g}", "yes" if finding.held else "NO"
        )
    console.print(judged)
    money = summary["money"]
    console.print(f"backends: {money['backends']}", highlight=False)
    if money["cost_usd"] is not None:
        console.print(f"cost {money['cost_usd']:.6f} USD, saved {money['saved_usd']:.6f} USD")
    for problem in summary["problems"][:5]:
        console.print(f"{problem['times']} x {problem['entry']}: {problem['error']}", markup=False)
    console.print(verdict(findings), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
