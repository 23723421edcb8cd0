"""What a person sees while something takes its time: a bar on a terminal, else a line."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

SECONDS_BETWEEN_LOOKS = 0.2


def _bytes_under(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue  # it was renamed between the listing and the look
    return total


@contextmanager
def _shown(title: str, *columns: ProgressColumn) -> Iterator[Progress]:
    # The stream is named now: while a library is silenced, `sys.stderr` is another.
    screen = Console(file=sys.stderr)
    if not screen.is_terminal:
        print(f"{title} ...", file=sys.stderr, flush=True)
    with Progress(
        *columns, console=screen, transient=True, disable=not screen.is_terminal
    ) as shown:
        yield shown


@contextmanager
def download_bar(title: str, folder: Path, megabytes: int | None) -> Iterator[None]:
    """A bar that follows the size of what another program writes into `folder`."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with _shown(title, *columns) as progress:
        total = megabytes * 1_000_000 if megabytes else None
        task = progress.add_task(title, total=total)
        with _repeated(lambda: progress.update(task, completed=_bytes_under(folder))):
            yield


@contextmanager
def spinner(title: str) -> Iterator[None]:
    """A turning sign and the seconds gone, for work of unknown length."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with _shown(title, *columns) as progress:
        progress.add_task(title, total=None)
        yield


@contextmanager
def _repeated(look: Callable[[], None]) -> Iterator[None]:
    done = threading.Event()

    def run() -> None:
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            look()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
