"""The keys of an episode and the clients that use them: every key has a class, every class its actors."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

from tests.chaos.client import Client, Gone, Reply, Shape
from tests.chaos.conditional import Counter, Lock, Log
from tests.chaos.models import Model, Register, Report, Violation
from tests.chaos.watch import GIVE_UP_S, Watch
from tests.chaos.world import World

M = TypeVar("M", bound=Model)
Actor = Callable[["Hand"], Awaitable[None]]

FLAGS = 0xFFFF


class Load:
    """Everything that is asked of the proxy."""

    def __init__(self, world: World, rng: random.Random, report: Report, scale: float = 1.0) -> None:
        self.world = world
        self.rng = rng
        self.report = report
        assert world.proxy is not None
        self.watch = Watch(world.limit_s, world.proxy.worker_pids)
        self.numbers = count(1)
        self.models: dict[bytes, Model] = {}
        self.counts: dict[str, int] = {}
        self.is_over = False
        self.hands: list[Hand] = []
        few, many = max(2, int(12 * scale)), max(20, int(250 * scale))
        self.still = [self.register(f"still:{n}") for n in range(many)]
        """Written once."""
        self.cold = [self.register(f"cold:{n}") for n in range(many // 2)]
        """Written once, and read at the end only."""
        self.hot = [self.register(f"hot:{n}") for n in range(many)]
        """One writer at a time, whoever it is."""
        self.shared = [self.register(f"shared:{n}") for n in range(few)]
        """Any number of writers at once."""
        self.locks = [self._new(Lock, f"lock:{n}") for n in range(few)]
        self.counters: list[Counter] = []
        self.logs: list[Log] = []
        self.few = few

    def _new(self, kind: Callable[..., M], name: str, *args: object) -> M:
        key = name.encode()
        model = kind(key, self.world.pair_of(key), self.report, *args)
        self.models[key] = model
        return model

    def register(self, name: str) -> Register:
        return self._new(Register, name)

    def counter(self, is_shared: bool) -> Counter:
        return self._new(Counter, f"counter:{'shared' if is_shared else 'alone'}:{next(self.numbers)}", 1_000)

    def log(self, verb: str) -> Log:
        number = next(self.numbers)
        return self._new(Log, f"log:{verb}:{number}", b"log%d" % number)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def value(self) -> tuple[bytes, int]:
        """A value like no other, and the flags that belong to it."""
        number = next(self.numbers)
        size = self.rng.choice((0, 10, 100, 600, 600, 5000))
        return b"%d:" % number + b"v" * size, number & FLAGS


class Hand:
    """One client: a connection, made anew if it was lost, and that is a violation."""

    def __init__(self, load: Load, name: str, rng: random.Random, pause_s: float) -> None:
        self.load = load
        self.name = name
        self.rng = rng
        self.pause_s = pause_s
        self.client: Client | None = None

    async def run(self, actor: Actor) -> None:
        while not self.load.is_over:
            try:
                await self.connect()
                await actor(self)
            except Gone as gone:
                self.client = None
                self._lost("dropped connection", gone)
            except OSError as error:
                self._lost("refused connection", error)
            await asyncio.sleep(self.rng.random() * 2 * self.pause_s)
        self.close()

    def close(self) -> None:
        if self.client is not None:
            self.client.close()

    def _lost(self, kind: str, why: Exception) -> None:
        self.load.report(Violation(kind, f"{self.name}: {why}", None, self.name, time.monotonic()))

    async def connect(self) -> None:
        if self.client is None:
            assert self.load.world.proxy is not None
            port = self.load.world.proxy.port
            self.client = await Client.connect(self.name, "127.0.0.1", port)

    def send(self, request: bytes, *shapes: Shape) -> list[asyncio.Future[Reply]]:
        assert self.client is not None
        return self.client.send(request, *shapes)

    async def ask(self, request: bytes, shape: Shape = "line") -> Reply:
        [future] = self.send(request, shape)
        return await self.awaited(future, request)

    async def awaited(self, future: asyncio.Future[Reply], request: bytes = b"") -> Reply:
        reply = await future
        self.load.watch.note(reply, f"{self.name}: {request[:60]!r}")
        self.load.count(request.partition(b" ")[0].decode())
        return reply

    def look_after(self) -> None:
        if self.client is not None:
            self.client.give_up_after(GIVE_UP_S)
