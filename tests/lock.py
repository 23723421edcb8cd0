"""Resolves pyproject.toml with uv into requirement files with hashes, for every platform.

    python -m tests.lock [--upgrade]

| file | holds | for |
|---|---|---|
| requirements.txt | everything, with torch's CPU build | `make install`, tests |
| requirements/router.txt | the router | image `router` |
| requirements/load.txt | what the load test needs beside the router | image `load` |
| requirements/serving.txt | TorchServe and its workers, without torch | image `torchserve` |
| requirements/torch-cpu.txt, torch-cuda.txt | torch alone; torch with CUDA's packages | both of these |

Pins that still fit stay as they are, unless `--upgrade` is given. Hashes are those that PyPI lists,
and for torch's CPU build those of PyTorch's own index, which is asked when torch changes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from pathlib import Path

from tests.pins import CPU_INDEX, CUDA, ROOT, entries, environment, hashes, pin, written

HEAD = "# Made by `make lock` from pyproject.toml; do not edit.\n"
WHOLE = f"""{HEAD}# On Linux torch is PyTorch's CPU build, which PyPI does not have:
#   pip install -r requirements.txt --extra-index-url {CPU_INDEX}
# With a GPU: pip install -r requirements/torch-cuda.txt, then pip install --no-deps -r requirements.txt
"""
ROUTER = ("postgres", "redis", "otel")
"""Extras of the router's image."""
LOAD = ("load",)
"""Extras of the load test's image, which is laid over the router's."""
SERVING = ("serving", "voice", "vision")
"""Extras of TorchServe's image."""
SHARED = ("httptools", "msgspec", "numpy", "pydantic", "pyyaml", "rich")
"""Dependencies of the project that `serving` and `model_store` import as well."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lock", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest that fits")
    upgrade = parser.parse_args().upgrade
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    base: list[str] = project["dependencies"]
    old = _old()
    every = _resolve([*base, *(word for words in extras.values() for word in words)], old, upgrade)
    seed = {name: pin(entry) for name, entry in every.items()}
    cpu = _cpu_torch(every["torch"])
    plain = {name: entry for name, entry in every.items() if not CUDA.fullmatch(name)}
    router = _resolve([*base, *(w for extra in ROUTER for w in extras[extra])], seed)
    load = _resolve([*base, *(w for extra in (*ROUTER, *LOAD) for w in extras[extra])], seed)
    shared = [word for word in base if re.split(r"[<>=]", word)[0] in SHARED]
    serving = _resolve([*shared, *(w for extra in SERVING for w in extras[extra])], seed)
    cuda = {name: entry for name, entry in every.items() if name == "torch" or CUDA.fullmatch(name)}
    serving = {name: entry for name, entry in serving.items() if name not in cuda}
    _write("requirements.txt", WHOLE, plain | {"torch": cpu})
    _write("requirements/router.txt", HEAD, router)
    over = {name: entry for name, entry in load.items() if name not in router}
    _write("requirements/load.txt", HEAD, over)
    _write("requirements/serving.txt", HEAD, serving)
    _write("requirements/torch-cpu.txt", f"{HEAD}--extra-index-url {CPU_INDEX}\n", {"torch": cpu})
    _write("requirements/torch-cuda.txt", HEAD, cuda)
    (ROOT / "environment.yml").write_text(environment())
    return 0


def _old() -> dict[str, str]:
    """The pins as they are, CUDA's among them."""
    files = [ROOT / "requirements/torch-cuda.txt", ROOT / "requirements.txt"]
    found: dict[str, str] = {}
    for file in files:
        if file.exists():
            found |= {name: pin(entry) for name, entry in entries(file.read_text()).items()}
    return found


def _resolve(wanted: list[str], seed: dict[str, str], upgrade: bool = False) -> dict[str, str]:
    """Entries of *wanted* and all that they need; *seed* are pins to keep."""
    with tempfile.TemporaryDirectory() as folder:
        asked, out = Path(folder, "asked.in"), Path(folder, "out.txt")
        asked.write_text("\n".join(wanted))
        out.write_text("\n".join(seed.values()))
        command = ["uv", "pip", "compile", str(asked), "-o", str(out), "--quiet", "--universal"]
        command += ["--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
        command += ["--no-config"]
        subprocess.run([*command, *(["--upgrade"] if upgrade else [])], check=True)
        return entries(out.read_text())


def _cpu_torch(entry: str) -> str:
    """The entry of PyTorch's CPU build of the same version."""
    held = ROOT / "requirements/torch-cpu.txt"
    old = entries(held.read_text())["torch"] if held.exists() else ""
    if pin(old) == pin(entry):
        return old
    with urllib.request.urlopen(f"{CPU_INDEX}/torch/", timeout=60) as page:
        sums = listed(page.read().decode(), pin(entry).partition("==")[2])
    return written(entry, sums)


def listed(page: str, version: str) -> set[str]:
    """The sums of a version's files on a page of PyTorch's index."""
    word = re.escape(f"torch-{version}")
    found = set(re.findall(rf"/{word}(?:%2Bcpu)?-[^\"#]*\.whl#sha256=([0-9a-f]{{64}})", page))
    if not found:
        raise SystemExit(f"no CPU build of torch {version} on {CPU_INDEX}")
    return found


def _write(name: str, head: str, held: dict[str, str]) -> None:
    file = ROOT / name
    file.parent.mkdir(exist_ok=True)
    text = head + "".join(held[each] for each in sorted(held))
    file.write_text(text)
    print(f"{name}: {len(held)} packages, {sum(len(hashes(e)) for e in held.values())} hashes")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
