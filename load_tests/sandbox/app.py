"""The sandbox as an application: vendors' calls, and its own control paths under /sandbox.

The way of a call: read, vendor.answer (pure), quota, fault of the moment, a slot if there are so
many only, bill, play, bill again.
"""

import asyncio
import time
from itertools import count

import msgspec
from msgspec import Struct

from load_tests.sandbox.bill import Line
from load_tests.sandbox.control import Control
from load_tests.sandbox.faults import Rule, from_header
from load_tests.sandbox.http1 import Connection, Incoming
from load_tests.sandbox.journal import Entry
from load_tests.sandbox.latency import Pace
from load_tests.sandbox.play import NO_FAULT, Player
from load_tests.sandbox.slots import Slots
from load_tests.sandbox.vendor import Answer, Headers, Refusal, Request, Vendor
from load_tests.sandbox.wire import Gone, Wire

JSON = (b"content-type", b"application/json")
UNKNOWN_PATH = (
    b'{"error":{"message":"Unknown path","type":"invalid_request_error","param":null,"code":null}}'
)


class Sandbox(Struct):
    """One sandbox: its vendors, and the state that they and its own paths share."""

    vendors: list[Vendor]
    pace: Pace
    control: Control
    numbers: count  # type: ignore[type-arg]
    slots: Slots | None = None

    async def __call__(self, incoming: Incoming, connection: Connection) -> None:
        """Serve one request."""
        wire = Wire(connection)
        method, path, body = incoming.method, incoming.path, incoming.body
        if path.startswith("/sandbox"):
            status, body = self.control.answer(incoming, time.time())
            _send(wire, status, [JSON], body)
            return
        number = next(self.numbers)
        request = Request(method, path, incoming.headers, body, time.time(), number, incoming.query)
        entry = self.control.journal.add(Entry(request, started=time.monotonic()))
        for vendor in self.vendors:
            if vendor.serves(request):
                await self._call(wire, vendor, request, entry)
                return
        entry.status = 404
        _send(wire, 404, [JSON], UNKNOWN_PATH)

    async def _call(self, wire: Wire, vendor: Vendor, request: Request, entry: Entry) -> None:
        try:
            if vendor.heavy(request):
                answer = await asyncio.to_thread(vendor.answer, request)
            else:
                answer = vendor.answer(request)
            self._fits(vendor, answer)
            fault = self._fault(vendor, request, answer)
            entry.fault = fault.fault if fault is not NO_FAULT else None
            if fault.fault == "status":
                raise vendor.fault(fault.status, fault.code, fault.retry_after)
            refuses = fault.fault == "refuse"
            if self.slots is not None and not refuses and not await self.slots.enter(wire):
                raise vendor.exhausted("concurrent")
        except Gone:
            entry.left(time.monotonic())
            return
        except Refusal as refusal:
            headers, body = vendor.error(refusal, request)
            entry.status = refusal.status
            _send(wire, refusal.status, headers, body)
            entry.finished = True
            return
        if refuses:
            self.control.refuse(fault.seconds or 1.0)
            wire.sever(reset=True)
            return
        under_way = self.control.account.under_way
        under_way[vendor.name] = under_way.get(vendor.name, 0) + 1
        try:
            await self._play(vendor, Player(wire, answer, self.pace, entry, fault), request)
        finally:
            under_way[vendor.name] -= 1
            if self.slots is not None:
                self.slots.leave()

    def _fits(self, vendor: Vendor, answer: Answer) -> None:
        if answer.price is not None and self.control.account.quotas:
            cost = answer.price.of(answer.units)
            unit = self.control.account.exceeded(vendor.name, answer.units, cost)
            if unit is not None:
                raise vendor.exhausted(unit)

    def _fault(self, vendor: Vendor, request: Request, answer: Answer) -> Rule:
        asked = request.headers.get(b"x-sandbox-fault")
        if asked is not None:
            try:
                return from_header(asked.decode("latin-1"))
            except msgspec.ValidationError as wrong:
                raise Refusal(400, f"x-sandbox-fault: {wrong}", code="sandbox_fault") from wrong
        if not self.control.faults.rules:
            return NO_FAULT
        stream = answer.events is not None
        found = self.control.faults.strike(
            vendor=vendor.name,
            path=request.path,
            model=answer.model,
            key=answer.key,
            stream=stream,
        )
        return found or NO_FAULT

    async def _play(self, vendor: Vendor, player: Player, request: Request) -> None:
        answer, price = player.answer, player.answer.price
        if price is None:
            player.entry.finished = await player.run() == "whole"
            return
        stream = answer.events is not None
        # The vendor generates a whole answer in any case, a stream only as it is written.
        grows = stream and answer.grows in answer.units
        line = Line(
            id=answer.id,
            time=request.seconds,
            vendor=vendor.name,
            model=answer.model,
            endpoint=answer.endpoint,
            key=answer.key,
            units=answer.units | ({answer.grows: 0} if grows else {}),
            stream=stream,
        )
        self.control.bill.accept(line, price)
        complete = False
        try:
            complete = await player.run() == "whole"
        finally:
            units = answer.units | ({answer.grows: player.output} if grows else {})
            self.control.bill.close(line, price, units, complete=complete)
            player.entry.finished = complete


def _send(wire: Wire, status: int, headers: Headers, body: bytes) -> None:
    wire.start(status, headers, len(body))
    wire.write(body)
