"""What atheris calls again and again: one input, one law."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from . import answers, seeds, wire


class Search:
    """One input: the bytes of an answer, then what picks its reader and its cuts."""

    def __init__(self, atheris: Any) -> None:
        self._atheris = atheris
        self._targets = answers.targets()
        self._loop = asyncio.new_event_loop()

    def plant(self, folder: Path) -> None:
        """Write the inputs to start from."""
        good = [answers.good(t) for t in self._targets]
        good += [answers.streamed(t) for t in self._targets if t.call.stream]
        for number, seed in enumerate({*good, *seeds.JSON, *seeds.STREAMS, *seeds.HTTP}):
            for pick in range(0, 256, 32):
                picked = seed[:60_000] + bytes([pick] * 12)
                (folder / f"{number}-{pick}").write_bytes(picked)

    def __call__(self, data: bytes) -> None:
        source = self._atheris.FuzzedDataProvider(data)
        law = source.ConsumeIntInRange(0, 3)
        target = self._targets[source.ConsumeIntInRange(0, len(self._targets) - 1)]
        cuts = source.ConsumeIntListInRange(4, 0, 2048)
        body = source.ConsumeBytes(len(data))
        if law == 0:
            self._loop.run_until_complete(wire.read_answer(body, cuts))
        elif law == 1:
            answers.read_stream(target, body, cuts)
        elif law == 2:
            answers.read_whole(target, body)
        else:
            answers.read_failure(target, 500 if cuts[0] % 2 else 429, body)
