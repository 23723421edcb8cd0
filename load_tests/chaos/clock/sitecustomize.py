"""Loaded by Python at its start: `time.time` with an offset that another process can change.

`CHAOS_CLOCK` names a file of eight bytes, a float of seconds. Clocks that only go forwards are left
alone, as a jump of the system's clock leaves them alone.
"""

# ruff: noqa: INP001 - Python finds it by its name, in a folder of its own

import mmap
import os
import struct
import time
from pathlib import Path

if "CHAOS_CLOCK" in os.environ:
    with Path(os.environ["CHAOS_CLOCK"]).open("rb") as _file:
        _offset = mmap.mmap(_file.fileno(), 8, prot=mmap.PROT_READ)
    _real, _unpack = time.time, struct.Struct("d").unpack_from

    def _time() -> float:
        return float(_real() + _unpack(_offset)[0])

    time.time = _time
