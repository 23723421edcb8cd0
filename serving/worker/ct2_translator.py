"""Translation with CTranslate2: one batch of tokens, cut into as many parts as it has lanes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from serving.worker.translation import Row
from serving.worker.tune import choose_intra


class Ct2Translator:
    """An engine of CTranslate2; ids are spelled as tokens for it, and its tokens made ids again."""

    def __init__(
        self,
        engine: Any,
        *,
        to_tokens: Callable[[list[int]], list[str]],
        to_ids: Callable[[list[str]], list[int]],
        ends: Sequence[str],
        context: int,
        beams: int,
        lanes: int = 1,
    ) -> None:
        """`engine` is a ctranslate2.Translator that serves `lanes` batches at once."""
        self.context = context
        self._engine, self._beams, self._lanes = engine, beams, lanes
        self._to_tokens, self._to_ids, self._ends = to_tokens, to_ids, set(ends)

    def translate(self, rows: Sequence[Row], longest: int) -> list[list[int] | None]:
        """Ids per row without start and end; None where there was no end."""
        starts = [self._to_tokens(list(row.start)) for row in rows] if rows[0].start else None
        results = self._engine.translate_batch(
            [self._to_tokens(row.source) for row in rows],
            target_prefix=starts,
            beam_size=self._beams,
            max_decoding_length=longest,
            max_input_length=0,  # the handler has looked at the lengths
            return_end_token=True,
            max_batch_size=-(-len(rows) // self._lanes),
        )
        return [
            self._whole(result.hypotheses[0][len(row.start) :])
            for result, row in zip(results, rows, strict=True)
        ]

    def _whole(self, tokens: list[str]) -> list[int] | None:
        if not tokens or tokens[-1] not in self._ends:
            return None
        return list(self._to_ids(tokens[:-1]))


def open_translator(
    model_dir: Path, device: str, compute_type: str, threads: int, *, trial: list[str] | None
) -> tuple[Any, int]:
    """The engine for `model/ct2/`, and how many batches it serves at once.

    With a line of tokens to try, the threads of one operation are those that translate it quickest.
    """
    import ctranslate2  # noqa: PLC0415  (an archive for torch must not need it)

    kind, _, index = device.partition(":")

    def load(intra: int) -> Any:
        return ctranslate2.Translator(
            str(model_dir / "ct2"),
            device=kind,
            device_index=int(index or 0),
            compute_type=compute_type,
            inter_threads=max(1, threads // intra),
            intra_threads=intra,
        )

    def answer(engine: Any) -> None:
        for batch in (1, 8):
            engine.translate_batch([trial] * batch, max_decoding_length=8, max_batch_size=4)

    engine, intra = choose_intra(load, answer, threads, fixed=trial is None or kind != "cpu")
    return engine, max(1, threads // intra)
