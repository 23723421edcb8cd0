"""A TCP proxy that spoils what passes through it, on command and for as long as it is told to.

It stands between the router and one of its dependencies and knows nothing of HTTP but where an
answer begins: with the first bytes from the dependency after bytes from the router.

    refuse      nothing listens; open connections are reset
    blackhole   connecting takes for ever: the queue of the listener is full
    hang        answers are withheld, requests pass on (a vendor works, and bills)
    slow        an answer takes `factor` times as long
    delay       every piece of an answer comes `seconds` later
    stall       an answer stops after `after` bytes
    reset       an answer stops after `after` bytes, with RST
    truncate    an answer stops after `after` bytes, with FIN
    length      a Content-Length says `more` than there is; then the connection is closed
    bandwidth   `rate` bytes a second, per connection

Connections that were open before are spoiled too. When the fault ends, what was withheld flows on.
"""

import asyncio
import re
import socket
import struct
from collections import deque
from typing import Literal, cast

from msgspec import Struct

HOST = "127.0.0.1"
NO_LINGER = struct.pack("ii", 1, 0)
LENGTH = re.compile(rb"(?i)(content-length: *)(\d+)")
Kind = Literal[
    "refuse",
    "blackhole",
    "hang",
    "slow",
    "delay",
    "stall",
    "reset",
    "truncate",
    "length",
    "bandwidth",
]


class Spoil(Struct, frozen=True):
    """One fault; `after` and `more` in bytes, `rate` in bytes a second."""

    kind: Kind
    after: int = 900
    factor: float = 10.0
    seconds: float = 0.5
    more: int = 64
    rate: int = 1000


class Proxy:
    """Listens on `port` and passes on to a port (or a Unix socket); `asked` requests so far."""

    def __init__(self, port: int, target: int | str) -> None:
        self.port, self.target = port, target
        self.fault: Spoil | None = None
        self.asked = 0
        self.pairs: set[_Router] = set()
        self._server: asyncio.Server | None = None
        self._full: list[socket.socket] = []

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Router(self), HOST, self.port, backlog=1024, reuse_address=True
        )

    async def spoil(self, fault: Spoil) -> None:
        """Begin the fault, for new connections and for those that are open."""
        self.fault = fault
        if fault.kind not in {"refuse", "blackhole"}:
            return
        self._close()
        for pair in tuple(self.pairs):
            pair.sever(reset=True)
        if fault.kind == "blackhole":
            self._fill()

    async def heal(self) -> None:
        """End it."""
        fault, self.fault = self.fault, None
        if fault is not None and fault.kind in {"refuse", "blackhole"}:
            for one in self._full:
                one.close()
            self._full.clear()
            await self.start()
        for pair in tuple(self.pairs):
            pair.flow()

    def stop(self) -> None:
        """End for good."""
        self._close()
        for one in self._full:
            one.close()
        for pair in tuple(self.pairs):
            pair.sever(reset=False)

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _fill(self) -> None:
        """A listener that accepts nobody, and as many waiting as it lets wait."""
        silent = socket.socket()
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind((HOST, self.port))
        silent.listen(0)
        self._full.append(silent)
        for _ in range(2):
            waiting = socket.socket()
            waiting.setblocking(False)  # noqa: FBT003 - the standard library takes it by position
            waiting.connect_ex((HOST, self.port))
            self._full.append(waiting)


class _Router(asyncio.Protocol):
    """The router's side of one connection. What waits for its time to be passed on is in order."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy, self._loop = proxy, asyncio.get_running_loop()
        self._there: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._answering, self._asked, self._passed = True, 0.0, 0
        self._over = False
        """The dependency has closed."""
        self._free_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._here = cast("asyncio.Transport", transport)
        self._proxy.pairs.add(self)
        self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        target = self._proxy.target
        try:
            if isinstance(target, int):
                await self._loop.create_connection(lambda: _Dependency(self), HOST, target)
            else:
                await self._loop.create_unix_connection(lambda: _Dependency(self), target)
        except OSError:
            self.sever(reset=True)

    def joined(self, transport: asyncio.Transport) -> None:
        """The dependency is connected."""
        if self._here.is_closing():
            transport.abort()
            return
        self._there = transport
        for data in self._early:
            transport.write(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self._answering:
            self._answering, self._asked, self._passed = False, self._loop.time(), 0
            self._proxy.asked += 1
        if self._there is None:
            self._early.append(data)
        else:
            self._there.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.pairs.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._there is not None:
            self._there.close()

    def answered(self, data: bytes) -> None:
        """Bytes of the dependency."""
        fault, begins = self._proxy.fault, not self._answering
        self._answering = True
        if fault is not None and fault.kind == "length":
            if begins and LENGTH.search(data):
                data = LENGTH.sub(lambda m: m[1] + b"%d" % (int(m[2]) + fault.more), data, count=1)
                self._here.write(data)
                self.sever(reset=False)
                return
        elif fault is not None and fault.kind in {"stall", "reset", "truncate"}:
            room = fault.after - self._passed
            if len(data) > room:
                self._stop(fault, data[: max(room, 0)])
                if fault.kind == "stall":
                    self._waiting.append((float("inf"), data[max(room, 0) :]))
                return
        self._pass(data, self._due(fault, data))

    def _due(self, fault: Spoil | None, data: bytes) -> float:
        now = self._loop.time()
        if fault is None:
            return now
        match fault.kind:
            case "hang":
                return float("inf")
            case "slow":
                return self._asked + fault.factor * (now - self._asked)
            case "delay":
                return now + fault.seconds
            case "bandwidth":
                self._free_at = max(self._free_at, now) + len(data) / fault.rate
                return self._free_at
        return now

    def _pass(self, data: bytes, due: float) -> None:
        self._passed += len(data)
        if not self._waiting and due <= self._loop.time():
            self._here.write(data)
            return
        self._waiting.append((due, data))
        self._wake()

    def _wake(self) -> None:
        """Send what is due, and come back for the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._here.is_closing():
            return
        while self._waiting:
            due, data = self._waiting[0]
            if due > self._loop.time():
                if due != float("inf"):
                    self._timer = self._loop.call_at(due, self._wake)
                return
            self._waiting.popleft()
            self._here.write(data)
        if self._over:
            self._here.close()

    def _stop(self, fault: Spoil, last: bytes) -> None:
        if last:
            self._passed += len(last)
            self._here.write(last)
        if fault.kind != "stall":
            self.sever(reset=fault.kind == "reset")

    def flow(self) -> None:
        """The fault is over: what was withheld is sent."""
        now = self._loop.time()
        self._waiting = deque((now, data) for _, data in self._waiting)
        self._wake()

    def left(self) -> None:
        """The dependency closed: so is this side, once what is left was sent."""
        fault = self._proxy.fault
        if fault is None or fault.kind not in {"hang", "stall"}:
            self._over = True
            self._wake()

    def sever(self, *, reset: bool) -> None:
        """Close both sides: with RST, or with FIN after what was written."""
        if reset:
            connection = self._here.get_extra_info("socket")
            if connection is not None and connection.fileno() >= 0:
                with socket.socket(fileno=connection.fileno()) as twin:
                    twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                    twin.detach()
            self._here.abort()
        else:
            self._here.close()
        if self._there is not None:
            self._there.abort()


class _Dependency(asyncio.Protocol):
    """The other side."""

    def __init__(self, router: _Router) -> None:
        self._router = router

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._router.joined(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        self._router.answered(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._router.left()
