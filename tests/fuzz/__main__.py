"""`python -m tests.fuzz --seconds 60`: atheris searches for answers that break a law.

It needs `pip install atheris` (CPython 3.11 to 3.13 on Linux) and nothing else; `--file F` plays one
input again, such as a crash that it has written. The inputs to start from are those of `seeds`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.fuzz")
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("--file", type=Path, help="play this input only")
    given = options.parse_args()
    try:
        import atheris
    except ImportError:
        print("fuzzing needs atheris: .venv/bin/pip install 'atheris>=3,<4'", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["router.apis", "router.http1", "router.core"]):
        # Only what is imported here is watched.
        from .search import Search
    search = Search(atheris)
    with tempfile.TemporaryDirectory() as folder:
        flags = [sys.argv[0]]
        if given.file:
            flags.append(str(given.file))
        else:
            search.plant(Path(folder))
            limits = {"max_total_time": given.seconds, "timeout": 10, "rss_limit_mb": 2048}
            flags += [f"-{name}={value}" for name, value in limits.items()]
            flags += ["-max_len=65536", "-print_final_stats=1", folder]
        atheris.Setup(flags, search)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
