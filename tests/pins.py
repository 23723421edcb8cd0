"""The pins as files: entries of a hashed requirements file, and environment.yml made from them.

An entry is a requirement line and the `--hash` lines under it. PyPI's torch for Linux needs CUDA,
which is gigabytes that a CPU does not use; so requirements.txt holds PyTorch's CPU build, under the
hashes that https://download.pytorch.org/whl/cpu lists, and none of CUDA's packages.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA = re.compile(r"(nvidia|cuda)-.*|triton")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def entries(text: str) -> dict[str, str]:
    """What a requirements file holds, by name; comments and options are left out."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith((" ", "\t")) and name:
            found[name] += f"{line}\n"
        elif match := _NAME.match(line):
            name = match[0].lower()
            found[name] = f"{line}\n"
        else:
            name = ""
    return found


def pin(entry: str) -> str:
    """`name==version`, with its marker where it has one: an entry without hashes."""
    return entry.partition("\\")[0].strip()


def hashes(entry: str) -> set[str]:
    """The sha256 sums that an entry allows."""
    return set(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))


def written(entry: str, sums: set[str]) -> str:
    """An entry with these sums."""
    return (
        " \\\n    ".join([pin(entry), *(f"--hash=sha256:{each}" for each in sorted(sums))]) + "\n"
    )


def environment() -> str:
    """environment.yml as it should be for the pins of requirements.txt."""
    pins = [pin(each) for each in entries((ROOT / "requirements.txt").read_text()).values()]
    head = "name: isocost\nchannels: [conda-forge]\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n"
    lines = [f"--extra-index-url {CPU_INDEX}", *pins]
    return head + "".join(f'      - "{line}"\n' for line in lines)


if __name__ == "__main__":
    (ROOT / "environment.yml").write_text(environment())
