"""One answer under way: tokens in, wire text out; and the desk that keeps all of them.

TorchServe calls a continuous batch again and again with every live request. `Desk.serve` takes the
list of live requests, opens what is new, forgets what is gone (its caller left), waits for news and
gives each its next piece. A piece may be empty: that keeps the request in the batch.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from serving.worker.engine import Run, Watch
from serving.worker.pieces import Detokenizer, Stops
from serving.worker.wire import Sampled, encode


class Answer:
    """Turns the tokens of one run into the body of one response."""

    def __init__(
        self, run: Run, request: Sampled, decode: Callable[[list[int]], str], model: str
    ) -> None:
        """`decode` gives the text of token ids."""
        self.run = run
        self._request, self._model = request, model
        self._text = Detokenizer(decode)
        self._stops = Stops(request.stop or ())
        self._parts: list[str] = []
        self._used = 0
        self._begun = False
        self.over = False

    @property
    def stream(self) -> bool:
        """Whether the caller reads pieces."""
        return self._request.stream

    @property
    def eager(self) -> bool:
        """Whether news must not wait: the end, or the first text of a stream."""
        return self.run.over or (self.stream and not self._begun and self.run.produced > self._used)

    def advance(self) -> str:
        """The next part of the body; empty while there is nothing to send."""
        finished = self.run.over  # read before the tokens, so that none is left behind
        text = ""
        for token in self.run.take():
            self._used += 1
            text += self._stops.push(self._text.push(token))
            if self._stops.hit:
                self.run.cancel()
                break
        if finished and not self._stops.hit:
            text += self._stops.push(self._text.flush())
            text += "" if self._stops.hit else self._stops.flush()
        if self._stops.hit or finished:
            return self._close(text)
        if not self.stream:
            self._parts.append(text)
            return ""
        self._begun = self._begun or bool(text)
        return encode({"text": text}) + "\n" if text else ""

    def _close(self, text: str) -> str:
        self.over = True
        if self.run.fault and not self._stops.hit:
            fault = {"error": {"code": "engine_failed", "message": self.run.fault}}
            return encode(fault) + "\n"
        ending = {
            "finish_reason": "stop" if self._stops.hit else self.run.reason,
            "usage": {"input_tokens": len(self.run.prompt), "output_tokens": self._used},
            "model": self._model,
        }
        if not self.stream:
            return encode({"text": "".join([*self._parts, text]), **ending})
        piece = encode({"text": text}) + "\n" if text else ""
        return piece + encode(ending) + "\n"


class Cancels(Protocol):
    """Work that somebody waits for."""

    def cancel(self) -> None: ...


class Underway(Protocol):
    """An answer that comes in parts, as `Answer` is one."""

    @property
    def over(self) -> bool: ...
    @property
    def run(self) -> Cancels: ...
    @property
    def eager(self) -> bool: ...
    def advance(self) -> str: ...


class Starts(Protocol):
    """The part of an engine that the desk needs."""

    def start(self, runs: Sequence[Any]) -> None: ...


class Desk:
    """The answers under way, by TorchServe's request id.

    TorchServe writes the head of a response with the first part that is not the last; a first part
    that is also the last one leaves the caller without a head. So an answer that is over in its
    first call is sent as a part, and closed by an empty one in the next call. A refusal is neither
    (None): only so does TorchServe send its status and its body together; it then hangs up, and if
    it asks once more, the same empty part closes the request.
    Source: org.pytorch.serve.job.RestJob.responseInference of TorchServe 0.12.
    """

    def __init__(self, engine: Starts, watch: Watch, piece_seconds: float) -> None:
        """`piece_seconds` is the longest wait for news in one call."""
        self._engine, self._watch, self._pause = engine, watch, piece_seconds
        self._live: dict[str, Underway] = {}
        self._closing: set[str] = set()

    def serve(
        self, ids: Sequence[str], open_answer: Callable[[int], Underway | str]
    ) -> list[tuple[str, bool | None]]:
        """Per id the next part of its body and whether it is the last; None for a refusal.

        `open_answer(index)` is asked for ids not seen before: an answer to start, or the whole body
        of a refusal.
        """
        self._watch.renew()
        self._forget(set(ids))
        fresh = {
            key: i
            for i, key in enumerate(ids)
            if key not in self._live and key not in self._closing
        }
        refusals = self._open(fresh, open_answer)
        if not refusals and not self._closing:
            self._wait()
        self._watch.renew()
        return [self._part(key, refusals.get(key), first=key in fresh) for key in ids]

    def _forget(self, present: set[str]) -> None:
        for gone in set(self._live) - present:
            self._live.pop(gone).run.cancel()
        self._closing &= present

    def _open(
        self, fresh: dict[str, int], open_answer: Callable[[int], Underway | str]
    ) -> dict[str, str]:
        refusals: dict[str, str] = {}
        runs: list[Cancels] = []
        for key, index in fresh.items():
            opened = open_answer(index)
            if isinstance(opened, str):
                refusals[key] = opened
            else:
                self._live[key] = opened
                runs.append(opened.run)
        if runs:
            self._engine.start(runs)
        return refusals

    def _part(self, key: str, refusal: str | None, *, first: bool) -> tuple[str, bool | None]:
        if key in self._closing:
            self._closing.remove(key)
            return "", True
        if refusal is not None:
            self._closing.add(key)
            return refusal, None
        answer = self._live[key]
        text = answer.advance()
        if answer.over:
            del self._live[key]
            if first:
                self._closing.add(key)
        return text, answer.over and not first

    def _wait(self) -> None:
        end = time.monotonic() + self._pause
        with self._watch.changed:
            while not any(answer.eager for answer in self._live.values()):
                left = end - time.monotonic()
                if left <= 0:
                    return
                self._watch.changed.wait(left)
