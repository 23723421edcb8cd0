"""Stand-ins for time, backends and clients. No mocks, no patching: everything is passed in."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from router.core.call import Call, Key, Usage
from router.core.errors import AttemptFailed, BrokenStream
from router.core.failure import Failure
from router.core.gate import Release
from router.core.money import Price
from router.core.reply import Reply
from router.core.service import Service, stack
from router.core.task import ChatRequest, Delta, Event, Finish, Message, TextResult
from router.core.verdict import CANCELLED, INVALID, LOST, OK, Verdict
from router.gates.breaker import Breaker
from router.gates.forecast import Forecast
from router.gates.health import Health
from router.gates.in_flight import InFlight
from router.gates.meter import Meter
from router.gates.pause import Pause
from router.gates.retries import Retries
from router.gates.silence import Silence
from router.layers.guard import guard
from router.layers.spend import spend
from router.route import Backend, Gates, Route

T = TypeVar("T")
USED = Usage(100, 10)
PAID = Price(input_token=150_000, output_token=600_000, cached_token=75_000)
OWN = Price(machine_second=100_000_000)


class FakeClock:
    """Seconds that pass only when a test says so."""

    def __init__(self, t: float = 1000.0) -> None:
        self.t = t

    def __call__(self) -> float:
        return self.t

    def pass_(self, seconds: float) -> None:
        self.t += seconds


class _Jumping(selectors.DefaultSelector):
    """Where a real loop would wait, the clock jumps."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if found or timeout == 0:
            return found
        if timeout is None:
            raise RuntimeError("everybody waits for somebody else")
        self._clock.pass_(timeout)
        return found


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: FakeClock) -> None:
        self._fake = clock
        super().__init__(_Jumping(clock))

    def time(self) -> float:
        return self._fake()


def play(coroutine: Coroutine[Any, Any, T], clock: FakeClock) -> T:
    """Run on a loop whose time is *clock*: sleeping takes no time."""
    with asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner:
        return runner.run(coroutine)


def a_call(**changes: Any) -> Call:
    """A chat call of 100 tokens at most 50 out, with 30 s from time 1000."""
    text = changes.pop("text", "hello")
    given = {
        "id": "c1",
        "key": Key("anonymous"),
        "route": "chat",
        "task": "chat",
        "request": ChatRequest(messages=(Message(role="user", text=text),)),
        "wire": "openai",
        "fields": {},
        "extras": frozenset(),
        "created": 1_790_000_000,
        "arrived": 1000.0,
        "deadline": 1030.0,
        "text_bytes": 400,
        "input_tokens": 100,
        "input_bound": 400,
        "output_limit": 50,
    }
    return Call(**(given | changes))


class FakeApi:
    """A wire that carries all calls, or says why not."""

    name = "fake"
    tasks = frozenset({"chat", "complete", "embed", "classify"})
    base = ""

    def __init__(self, unfit: str = "") -> None:
        self._unfit = unfit

    def at(self, base: str) -> FakeApi:
        return self

    def unfit(self, call: Call, model: str = "") -> str:
        return self._unfit


Step = Verdict | float | BaseException | Usage | None


def answering(*script: Step, name: str = "fake") -> Service:
    """A service that plays *script*, one ending per call; a float waits first.

    OK or a Usage answers (None: without usage), INVALID answers with the backend's refusal, an
    exception is raised, any other verdict fails. The last ending repeats.
    """
    steps = list(script) or [OK]

    async def send(call: Call) -> Reply:
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(step, float):
            await asyncio.sleep(step)
            return await send(call)
        if isinstance(step, BaseException):
            raise step
        if step is INVALID:
            reply = Reply(backend=name, status=400, verdict=INVALID)
            reply.failure = Failure("bad", "the backend says no", raw=b'{"error":{}}')
            return reply
        if step is OK or step is None or isinstance(step, Usage):
            usage = USED if step is OK else step
            result = TextResult(texts=("hi",), finish=("stop",))
            return Reply(backend=name, result=result, usage=usage)
        raise AttemptFailed(name, step, f"scripted {step.name}")

    return send


def streaming(*events: Event | bytes | float | BaseException, name: str = "fake") -> Service:
    """A service that streams *events*; a float waits, an exception breaks. Usage comes last."""
    script = events or (Delta(text="hi"), Finish(reason="stop"))

    async def send(call: Call) -> Reply:
        reply = Reply(backend=name, first=0.0)

        async def play_events() -> AsyncIterator[bytes | Event]:
            for event in script:
                if isinstance(event, float):
                    await asyncio.sleep(event)
                elif isinstance(event, BaseException):
                    raise event
                else:
                    yield event
            reply.usage = USED

        reply.events = play_events()
        return reply

    return send


async def drain(reply: Reply) -> list[bytes | Event]:
    """Read a stream as a door does: to its end, then close with how it ended."""
    assert reply.events is not None
    got: list[bytes | Event] = []
    ended: Verdict = CANCELLED
    try:
        async for event in reply.events:
            got.append(event)
        ended = OK
    except BrokenStream:
        ended = LOST
    finally:
        await reply.events.aclose()  # type: ignore[attr-defined]
        reply.close(ended)
    return got


def a_gates(clock: FakeClock, *, in_flight: int = 8, concurrency: int = 64) -> Gates:
    """Fresh gates of one backend."""
    return Gates(
        Breaker(clock),
        Pause(clock),
        Health(clock),
        InFlight(in_flight),
        Meter(clock, concurrency=concurrency),
        Retries(clock),
        Silence(clock),
    )


def a_backend(
    name: str,
    service: Service | None = None,
    *,
    clock: FakeClock,
    price: Price = PAID,
    local: bool = False,
    unfit: str = "",
    context: int = 0,
    in_flight: int = 8,
    gates: Gates | None = None,
) -> Backend:
    """A backend with real gates and layers around a scripted service."""
    gates = gates or a_gates(clock, in_flight=in_flight)
    return Backend(
        name=name,
        api=FakeApi(unfit),  # type: ignore[arg-type]
        model=f"{name}-model",
        tasks=FakeApi.tasks,  # type: ignore[arg-type]
        price=price,
        local=local,
        tags=frozenset(),
        context=context,
        gates=gates,
        service=stack(
            guard((gates.breaker, gates.health, gates.pause), clock),
            guard(tuple(g for g in (gates.admission, gates.in_flight) if g is not None), clock),
            spend(price, gates.meter, clock),
            guard((gates.meter,), clock),
            service=service or answering(name=name),
        ),
    )


def a_route(*backends: Backend, **changes: Any) -> Route:
    """A chat route over *backends*: cheapest, without promise or rules."""
    given = {
        "name": "chat",
        "task": "chat",
        "backends": backends,
        "forecast": Forecast(),
        "deadline": 30.0,
        "output_limit": 50,
    }
    return Route(**(given | changes))


class Recorder:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any) -> None:
        self.seen.append(args)


class FakeRedis:
    """A client of a store that does as it is told: `error` is raised, `slow` waits."""

    def __init__(self, error: Exception | None = None, slow: float = 0.0) -> None:
        self.error, self.slow, self.asked = error, slow, 0
        self.held: dict[str, bytes] = {}
        self.px: list[int] = []

    async def _come(self) -> None:
        self.asked += 1
        if self.slow:
            await asyncio.sleep(self.slow)
        if self.error is not None:
            raise self.error

    async def get(self, name: str) -> bytes | None:
        await self._come()
        return self.held.get(name)

    async def set(self, name: str, value: bytes, *, px: int) -> None:
        await self._come()
        self.held[name] = value
        self.px.append(px)

    async def aclose(self) -> None:
        pass


async def settle() -> None:
    """Let what was started beside this task run."""
    for _ in range(5):
        await asyncio.sleep(0)


class ScriptedGate:
    """A gate that notes its permits and their endings in a shared list."""

    def __init__(self, name: str, log: list[Any], *, refuse: Exception | None = None) -> None:
        self.name, self._log, self._refuse = name, log, refuse

    def ready(self) -> bool:
        return self._refuse is None

    def acquire(self, call: Call) -> Release:
        if self._refuse is not None:
            raise self._refuse
        self._log.append(("acquire", self.name))
        return lambda outcome: self._log.append(("release", self.name, outcome.verdict))


class Client:
    """A client at an ASGI door: sends *body* in pieces, collects what comes back.

    `leave_after` seconds after its last byte it goes away; None stays until the end.
    """

    def __init__(
        self,
        body: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        method: str = "POST",
        pieces: int = 1,
        leave_after: float | None = None,
        leave_before_body: bool = False,
    ) -> None:
        size = max(1, -(-len(body) // pieces))
        self._pieces = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
        self._leave_after, self._gone = leave_after, leave_before_body
        self._headers = [
            (k.lower().encode(), v.encode("latin-1")) for k, v in (headers or {}).items()
        ]
        self.method = method
        self.sent: list[dict[str, Any]] = []
        self.taken = 0

    @property
    def scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "method": self.method,
            "headers": self._headers,
            "path": "/",
            "query_string": b"",
        }

    async def receive(self) -> dict[str, Any]:
        if self._gone:
            return {"type": "http.disconnect"}
        if self._pieces:
            body = self._pieces.pop(0)
            self.taken += len(body)
            return {"type": "http.request", "body": body, "more_body": bool(self._pieces)}
        if self._leave_after is None:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(self._leave_after or 0.0)
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        self.sent.append(message)

    async def ask(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> Client:
        await app(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return next(m["status"] for m in self.sent if m["type"] == "http.response.start")

    @property
    def headers(self) -> dict[str, str]:
        start = next(m for m in self.sent if m["type"] == "http.response.start")
        return {k.decode(): v.decode("latin-1") for k, v in start["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.sent if m["type"] == "http.response.body")

    @property
    def complete(self) -> bool:
        bodies = [m for m in self.sent if m["type"] == "http.response.body"]
        return bool(bodies) and not bodies[-1].get("more_body")
