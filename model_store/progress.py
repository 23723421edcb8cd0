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
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
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
def step_bar(title: str, steps: int) -> Iterator[Callable[[str], None]]:
    """A bar of known length; call what it gives after each step, with a word on how it stands.

    Without a terminal it says a line each tenth of the way.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with _shown(title, *columns) as progress:
        task = progress.add_task(title, total=steps, note="")
        done = 0

        def step(note: str) -> None:
            nonlocal done
            done += 1
            progress.update(task, completed=done, note=note)
            if progress.disable and done * 10 // steps > (done - 1) * 10 // steps:
                said = f" {note}" if note else ""
                print(f"{title}: {done} of {steps}{said}", file=sys.stderr, flush=True)

        yield step


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
