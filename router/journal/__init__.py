"""The journal: one line per call, in files that every process writes for itself.

`record` is what a line holds and how it is shown, `writer` appends it before the call is over for
its client, `files` says what is forgotten and reads, `query` picks.
"""

from __future__ import annotations

from router.journal.files import Keep
from router.journal.writer import TAIL, Journal

__all__ = ["TAIL", "Journal", "Keep"]
