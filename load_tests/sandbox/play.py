"""Plays one answer on the wire: the profile's waiting, the fault's damage, and what it came to.

Returns how it ended; `entry.events` and the returned output say how far it came, whoever ended it.
"""

import time
from typing import Literal

from msgspec import Struct

from load_tests.sandbox.faults import Rule
from load_tests.sandbox.journal import Entry
from load_tests.sandbox.latency import Pace
from load_tests.sandbox.vendor import Answer, Event, Headers
from load_tests.sandbox.wire import Gone, Wire

End = Literal["whole", "left", "broken"]
TOGETHER = 8  # events without a wait that may leave in one system call
NO_FAULT = Rule(fault="slow", seconds=0.0)
JSON = (b"content-type", b"application/json")
WRONG = b'{"unexpected":{"shape":[1,"two",null]}}'


class Player(Struct):
    """One answer under way; `output` is what was generated and written so far."""

    wire: Wire
    answer: Answer
    pace: Pace
    entry: Entry
    fault: Rule = NO_FAULT
    output: int = 0

    async def run(self) -> End:
        """Play it to its end, and say which end it was."""
        try:
            return await self._run()
        except Gone:
            self.entry.left(time.monotonic())
            return "left"

    async def _run(self) -> End:
        fault = self.fault
        if fault.fault == "hang":
            return await self._silence()
        if fault.fault == "reset" and not fault.after_events:
            return self._sever(reset=True)
        wait = self.pace.first(self.answer.endpoint) + self._slow()
        if self.answer.events is None:
            wait += self.pace.gaps(self.answer.work)
        if wait:
            await self.wire.pause(wait)
        self.entry.status = 200
        return await (self._whole() if self.answer.events is None else self._stream())

    async def _whole(self) -> End:
        body, kind, headers = self.answer.body, self.fault.fault, self.answer.headers
        if kind == "truncate_json" and _json(headers):
            body = body[: len(body) // 2]
        elif kind == "wrong_schema":
            body, headers = WRONG, [JSON, *[one for one in headers if one[0] != JSON[0]]]
        self.wire.start(200, headers, len(body))
        if kind == "hang_after_headers":
            self.wire.write(b"")
            return await self._silence()
        if kind in ("cut", "reset"):
            self.wire.write(body[: len(body) // 2])
            return self._sever(reset=kind == "reset")
        self.wire.write(body)
        return "broken" if kind in ("truncate_json", "wrong_schema") else "whole"

    async def _stream(self) -> End:
        events = self.answer.events or ()
        stop = self._stop()
        if self.fault.fault == "wrong_schema":
            wrong = [Event(b"data: " + WRONG + b"\n\n", event.output) for event in events[stop:-1]]
            events, stop = [*events[:stop], *wrong, *events[-1:]], None
        slow = self._slow()
        self.wire.start(200, self.answer.headers)
        if slow:
            self.wire.write(b"")  # the head goes now: a reader must tell it from the first event
        for at, event in enumerate(events):
            if at == stop:
                return await self._break(event.data)
            wait = slow + (self.pace.gap() if at else 0.0)
            if wait:
                await self.wire.pause(wait)
            self.wire.write(event.data)
            self._sent(event.output)
            if wait or at % TOGETHER == 0:
                await self.wire.look()
        if stop is not None:
            return await self._break(b"")
        self.wire.end()
        return "broken" if self.fault.fault == "wrong_schema" else "whole"

    def _sent(self, output: int) -> None:
        if self.entry.first_event is None:
            self.entry.first_event = time.monotonic()
        self.entry.events += 1
        self.output = output

    def _slow(self) -> float:
        return (self.fault.seconds or 0.0) if self.fault.fault == "slow" else 0.0

    def _stop(self) -> int | None:
        """The event at which the fault strikes."""
        if self.fault.fault == "slow":
            return None
        default = 0 if self.fault.fault in ("hang_after_headers", "wrong_schema") else 1
        return default if self.fault.after_events is None else self.fault.after_events

    async def _break(self, data: bytes) -> End:
        if self.fault.fault == "hang_after_headers":
            self.wire.write(b"")
            return await self._silence()
        if self.fault.fault == "truncate_json":
            self.wire.write(data[: len(data) // 2])
            self.wire.end()
            return "broken"
        if not self.entry.events:
            self.wire.write(b"")
        return self._sever(reset=self.fault.fault == "reset")

    async def _silence(self) -> End:
        await self.wire.pause(self.fault.seconds)
        return self._sever(reset=False)

    def _sever(self, *, reset: bool) -> End:
        self.wire.sever(reset=reset)
        return "broken"


def _json(headers: Headers) -> bool:
    return any(name == JSON[0] and value.startswith(JSON[1]) for name, value in headers)
