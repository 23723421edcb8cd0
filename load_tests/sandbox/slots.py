"""So many calls are worked on at once; the others wait in a bounded queue, in their order.

This is how a server with a number of workers behaves: past its capacity it does not slow down its
work, it makes everybody wait. Who leaves the queue was never worked on and is not billed.
"""

import asyncio
from collections import deque

from load_tests.sandbox.wire import Gone, Wire


class Slots:
    """`free` slots; `enter` waits for one, `leave` gives it to the one who waited longest."""

    def __init__(self, count: int, queue: int) -> None:
        self.free, self._queue = count, queue
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self, wire: Wire) -> bool:
        """Take a slot; False when the queue is full. Raises Gone when the client leaves it."""
        if self.free:
            self.free -= 1
            return True
        if len(self._waiting) >= self._queue:
            return False
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await wire.turn(turn)
        except Gone:
            if turn.done():
                self.leave()  # both at once: the slot came too late
            else:
                self._waiting.remove(turn)
            raise
        return True

    def leave(self) -> None:
        """Give the slot back."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self.free += 1
