"""The command line of `python -m serving`."""

import argparse
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where things are, and on which address and ports callers are answered.

    With `key_file`, a front listens on `host` and TorchServe behind it on a port of its own;
    without, TorchServe itself answers on loopback, under the key that it makes.
    """

    archives: Path
    models: tuple[str, ...]
    state: Path
    port: int = 8085
    management_port: int = 8086
    metrics_port: int = 8087
    status_port: int = 8084
    host: str = "127.0.0.1"
    key_file: Path | None = None
    drain_seconds: float = 30.0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"


def read_options(arguments: Sequence[str] | None = None) -> Options:
    """Options of the command line; without `--models`, every archive of the folder is served.

    Raises: SystemExit 2 with a message for a missing folder or archive, and for a network address
    without a token.
    """
    parser = argparse.ArgumentParser(
        prog="python -m serving", description="Serve model archives with TorchServe, supervised."
    )
    parser.add_argument("--archives", type=Path, required=True, help="folder of .mar files")
    parser.add_argument("--models", default="", help="names, separated by commas (default: all)")
    parser.add_argument("--state", type=Path, required=True, help="folder for keys, logs, pids")
    for name, port in (("", 8085), ("management-", 8086), ("metrics-", 8087), ("status-", 8084)):
        parser.add_argument(f"--{name}port", type=int, default=port)
    parser.add_argument(
        "--host", default="127.0.0.1", help="of calls and status; not loopback needs --key-file"
    )
    parser.add_argument("--key-file", type=Path, help="tokens that callers must show, one a line")
    parser.add_argument(
        "--drain-seconds", type=float, default=30.0, help="for calls in flight when told to stop"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    given = vars(parser.parse_args(arguments))
    if given["key_file"] is None and not loopback(given["host"]):
        parser.error(
            f"--host {given['host']} is not loopback: name --key-file, the callers' tokens"
        )
    archives = given["archives"].resolve()
    present = sorted(file.stem for file in archives.glob("*.mar"))
    asked = tuple(name for name in given["models"].split(",") if name) or tuple(present)
    missing = [name for name in asked if name not in present]
    if missing or not asked:
        what = f"no archive {missing[0]}.mar" if missing else "no archives"
        parser.error(f"{what} in {archives}; pack one with `python -m model_store`")
    return Options(
        **{**given, "archives": archives, "models": asked, "state": given["state"].resolve()}
    )


def loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
