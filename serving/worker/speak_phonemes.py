# ruff: noqa: RUF001 - these marks stand in texts
"""Texts to the phonemes that a voice was trained on, by the program `speak_espeak.py`.

A voice of Piper knows phonemes as ids; between two of them stands a blank, and marks such as the
comma are phonemes too. eSpeak NG leaves the marks out, so we look at how the text of a clause ends.

Source: phonemize.cpp and phoneme_ids.cpp of rhasspy/piper-phonemize
(https://github.com/rhasspy/piper-phonemize, read 2026-11-23).
"""

import json
import re
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

PROGRAM = Path(__file__).with_name("speak_espeak.py")
MARKS = ".,:;!?"
CLOSERS = "\"'”’)]»"
_SAME = str.maketrans("。！？、，；：…—–", ".!?,,;:.,,")
_SWITCH = re.compile(r"\([a-z-]+\)")  # eSpeak's note that it changed to another language


class Clauses(Protocol):
    """What turns texts into clauses of phonemes."""

    def clauses(self, texts: Sequence[str]) -> list[list[tuple[str, str]]]:
        """For each text its clauses: phonemes, and the text they stand for."""


class Espeak:
    """The program, kept running; thread-safe. One that ended is started again, once a question."""

    def __init__(self, voice: str, command: Sequence[str] = (sys.executable, str(PROGRAM))) -> None:
        """Start it for a voice of eSpeak NG such as `en-us`.

        Raises: RuntimeError with the program's own sentence where it cannot work.
        """
        self._command = [*command, voice]
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own file and a voice of the catalog
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        said = json.loads(self._read() or '{"error": "The program for phonemes ended at once."}')
        if "error" in said:
            self.close()
            raise RuntimeError(said["error"])

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def clauses(self, texts: Sequence[str]) -> list[list[tuple[str, str]]]:
        """Phonemes of each clause of each text. Raises: RuntimeError where it fails twice."""
        line = json.dumps(list(texts)) + "\n"
        with self._lock:
            answer = self._ask(line)
            if not answer:
                self.close()
                self._start()
                answer = self._ask(line)
        if not answer:
            message = "The program for phonemes ended while it read this text."
            raise RuntimeError(message)
        return [[(phonemes, text) for phonemes, text in found] for found in json.loads(answer)]

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError:
            return ""
        return self._read()

    def close(self) -> None:
        """End the program."""
        self._process.kill()
        self._process.communicate()


def phonemes(clauses: Sequence[tuple[str, str]]) -> str:
    """One sentence's phonemes with its marks; a full stop inside it is an abbreviation's."""
    spoken = [(_SWITCH.sub("", sounds).strip(), _mark(text)) for sounds, text in clauses]
    spoken = [(sounds, mark) for sounds, mark in spoken if sounds]
    parts = []
    for index, (sounds, mark) in enumerate(spoken):
        last = index == len(spoken) - 1
        parts.append(sounds + (mark if last or mark != "." else "") + ("" if last else " "))
    return unicodedata.normalize("NFD", "".join(parts))


def _mark(text: str) -> str:
    end = text.translate(_SAME).rstrip().rstrip(CLOSERS).rstrip()[-1:]
    return end if end and end in MARKS else ""


def ids(sounds: str, known: Mapping[str, Sequence[int]]) -> list[int]:
    """The voice's ids: start, each phoneme and a blank after it, end; unknown ones are left out."""
    blank = known["_"]
    found = [*known["^"], *blank]
    for sound in sounds:
        if sound in known:
            found += [*known[sound], *blank]
    return [*found, *known["$"]]
