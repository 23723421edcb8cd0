"""A place with a real TorchServe and a real model behind the router; killed, whole or in part.

    kill -9 of TorchServe    its supervisor starts it again; meanwhile the paid API serves
    kill -9 of its worker    TorchServe starts it again; calls that it had go elsewhere
    a worker that hangs      its supervisor finds that it does nothing, and kills it

Embeddings are asked. A model's vectors differ in their last digits from batch to batch, and two
models' altogether: a vector is right when it is nearest to what one of both says to this very text.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

from load_tests.chaos.cell import Pace
from load_tests.chaos.client import call
from load_tests.chaos.faults import Fault
from load_tests.chaos.kinds import OTHERS, QUESTIONS, Kind
from load_tests.chaos.load import Right
from load_tests.chaos.place import Place, aside
from load_tests.chaos.programs import HOST, ROOT, Ports, Program, ask, children, until

MODEL = "minilm"
ARCHIVES = ROOT / "model_store" / "archives"
CALLS = 10.0
LOADS = 120.0
"""Seconds that TorchServe may take to load the model, on a busy machine."""
PACE = Pace(fault=8.0, back=60.0)
CLOSE = 0.98


def there() -> bool:
    """Whether the model is packed."""
    return (ARCHIVES / f"{MODEL}.mar").exists()


class Served(Place):
    """TorchServe is `local`, asked first; the paid API is `a`."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        super().__init__(folder, ports, slots=1)
        self._serving = folder / "serving"
        one, management, metrics, self._status = (ports.one() for _ in range(4))
        self._base = f"http://{HOST}:{one}"
        command = ["-m", "serving", "--archives", str(ARCHIVES), "--models", MODEL]
        command += ["--state", str(self._serving), "--port", str(one)]
        command += ["--management-port", str(management), "--metrics-port", str(metrics)]
        command += ["--status-port", str(self._status)]
        self.serving = Program("serving-log", command, folder, {})
        embed = next(kind for kind in OTHERS if kind.name == "embed")
        self.kinds, self.others = (Kind("embed", embed.path, embed.body, self._said),), ()
        self._vectors: list[tuple[int, list[float]]] = []

    async def start(self) -> None:
        self.serving.start()
        try:
            await aside(until, self.ready_model, LOADS, "TorchServe")
        except TimeoutError as late:
            raise TimeoutError(self.serving.log.read_text(encoding="utf-8")[-3000:]) from late
        await super().start()

    async def stop(self) -> int:
        code = await super().stop()
        await aside(self.serving.stop, 60.0)
        return code

    def status(self) -> Any:
        """The page of the supervisor."""
        return ask(f"http://{HOST}:{self._status}/status")

    def ready_model(self) -> bool:
        page = self.status()
        return bool(page["up"] and page["models"].get(MODEL, {}).get("ready"))

    def settings(self) -> dict[str, Any]:
        made = super().settings()
        kept = {name: spec for name, spec in made["backends"].items() if name == "a-embed"}
        local = {
            "api": "torchserve",
            "model": MODEL,
            "base": self._base,
            "key_file": str(self._serving / "inference.key"),
            "status": f"http://{HOST}:{self._status}/status",
            "tasks": ["embed"],
            "price": {"per_hour_usd": 0.0001, "concurrency": 4},
            "limits": {"connect": 0.5},
        }
        route = made["routes"]["embed"] | {
            "backends": ["local-embed", "a-embed"],
            "mixed_vectors": True,
            "rules": [{"when": '"paid" in request.tags', "exclude": ["local-embed"]}],
        }
        made["backends"], made["routes"] = {"local-embed": local} | kept, {"embed": route}
        return made

    async def learn(self) -> Right:
        """What both say to each text. Raises ValueError."""
        both: tuple[dict[str, str], ...] = {}, {"x-isocost-tags": "paid"}
        for tags in both:
            for number in range(QUESTIONS):
                asked = self.kinds[0].ask(number, 20.0, tags)
                got = await call(self.port, asked, f"learn-{len(self._vectors)}", 30.0)
                if got.status != 200:
                    raise ValueError(f"embed: {got.status} {got.body!r}")
                self._vectors.append((number, json.loads(got.body)["data"][0]["embedding"]))
        return {("embed", number): number for number in range(QUESTIONS)}

    def _said(self, body: bytes) -> int:
        """Which text this vector is of. Raises ValueError."""
        vector = json.loads(body)["data"][0]["embedding"]
        for number, known in self._vectors:
            if len(known) == len(vector) and _cosine(known, vector) > CLOSE:
                return number
        raise ValueError("a vector of none of the texts")


def _cosine(one: list[float], other: list[float]) -> float:
    both = sum(a * b for a, b in zip(one, other, strict=True))
    lengths = sum(a * a for a in one) * sum(b * b for b in other)
    return float(both / lengths**0.5) if lengths else 0.0


def faults() -> tuple[Fault, ...]:
    """TorchServe as a whole, and one of its workers."""

    async def java(place: Place) -> None:
        assert isinstance(place, Served)
        os.kill((await aside(place.status))["pid"], signal.SIGKILL)

    async def worker(place: Place) -> None:
        assert isinstance(place, Served)
        page = await aside(place.status)
        os.kill(children(page["pid"])[0], signal.SIGKILL)

    async def stopped(place: Place) -> None:
        assert isinstance(place, Served)
        page = await aside(place.status)
        os.kill(children(page["pid"])[0], signal.SIGSTOP)

    async def nothing(place: Place) -> None:
        """It comes back by itself."""

    return (
        Fault("TorchServe's worker hangs", "local", stopped, nothing, trips=False),
        Fault("kill -9 of TorchServe's worker", "local", worker, nothing, trips=False, dead=True),
        Fault("kill -9 of TorchServe", "local", java, nothing, trips=False, dead=True),
    )
