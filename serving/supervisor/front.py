"""The door to the network: calls that show the token are passed on to TorchServe on loopback.

TorchServe makes its own keys at each start, short ones, and cannot be given any; several of them
behind one address could not share one. So outside loopback TorchServe never listens itself.

One connection from outside has at most one to TorchServe. Requests are written anew
(`inbound.py`), answers pass as they come; both wait for the slower reader. A caller that leaves
takes its connection to TorchServe along, which ends its generation. One that shows no right token
in time is cut off.

Draining: no new connection is taken; a request that still comes on an open one is answered with
`Connection: close`; the end is when nothing is open, or the time is up.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Container

from serving.supervisor.passing import Caller

logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.05
LINGER_SECONDS = 3.0  # for a request that is under way while we begin to drain


class Front:
    """Listens from its making; serves from `start`."""

    def __init__(self, address: tuple[str, int], inner_port: int, tokens: Container[str]) -> None:
        """Raises: OSError where the address cannot be listened on."""
        self.key = ""  # TorchServe's; whoever starts it writes this
        self._inner_port, self._tokens = inner_port, tokens
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.create_server(address, family=family, backlog=512)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._callers: set[Caller] = set()
        self._server: asyncio.Server | None = None
        self.draining = False

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._socket.getsockname()[1])

    @property
    def in_flight(self) -> int:
        """Requests that have not had their whole answer."""
        return sum(caller.open for caller in tuple(self._callers))

    def start(self) -> None:
        """Serve on a thread."""
        self._thread.start()

    def drain(self, seconds: float) -> None:
        """Take nothing new, wait for what is in flight, for at most that long; then close."""
        asyncio.run_coroutine_threadsafe(self._drain(seconds), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.create_task(self._listen())
        self._loop.run_forever()

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(self._caller, sock=self._socket)

    def _caller(self) -> Caller:
        return Caller(self, self._callers, self._tokens, self._dial)

    async def _dial(self, made: Callable[[], asyncio.Protocol]) -> None:
        await self._loop.create_connection(made, "127.0.0.1", self._inner_port)

    async def _drain(self, seconds: float) -> None:
        self.draining = True
        if self._server is not None:
            self._server.close()
        now = self._loop.time()
        end, linger = now + seconds, now + min(LINGER_SECONDS, seconds)
        while self._callers and self._loop.time() < end:
            if not self.in_flight and self._loop.time() >= linger:
                break
            await asyncio.sleep(LOOK_SECONDS)
        if self.in_flight:
            logger.warning("%d requests were cut off after %.0f s", self.in_flight, seconds)
        for caller in tuple(self._callers):
            caller.cut()
        await asyncio.sleep(0)
