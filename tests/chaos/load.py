"""The keys of an episode and the clients that use them: every key has a class, every class its actors."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

from tests.chaos.client import Client, Gone, Reply, Shape
from tests.chaos.conditional import Counter, Lock, Log
from tests.chaos.history import LOST
from tests.chaos.holders import NEVER
from tests.chaos.models import Model, Register, Report, Violation
from tests.chaos.watch import GIVE_UP_S, Watch
from tests.chaos.world import World

M = TypeVar("M", bound=Model)
Actor = Callable[["Hand"], Awaitable[None]]

FLAGS = 0xFFFF

LOOKS = 20
LOOK_AGAIN_S = 0.05
"""For a worker that was killed, until the client hears of it."""


class Load:
    """Everything that is asked of the proxy."""

    def __init__(self, world: World, rng: random.Random, report: Report, scale: float = 1.0) -> None:
        self.world = world
        self.rng = rng
        self.report = report
        assert world.proxy is not None
        self.watch = Watch(world.limit_s, world.workers.pids)
        self.numbers = count(1)
        self.models: dict[bytes, Model] = {}
        self.counts: dict[str, int] = {}
        self.is_over = False
        self.flush_over = -NEVER
        """NEVER while one is under way."""
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
        key = self.world.key_of(name)
        model = kind(key, self.world.pair_of(key), self.report, *args)
        self.models[key] = model
        return model

    def register(self, name: str) -> Register:
        return self._new(Register, name)

    def counter(self, is_shared: bool) -> Counter:
        return self._new(Counter, f"counter:{'shared' if is_shared else 'alone'}:{next(self.numbers)}", 1_000)

    def log(self, verb: str) -> Log:
        number = next(self.numbers)
        return self._new(Log, f"log:{verb}:{number}", b"log%d" % number, verb)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def value(self) -> tuple[bytes, int]:
        """A value like no other, and the flags that belong to it."""
        number = next(self.numbers)
        size = self.rng.choice((0, 10, 100, 600, 600, 5000))
        return b"%d:" % number + b"v" * size, number & FLAGS


class Hand:
    """One client: a connection, made anew if it was lost; a violation, unless its worker was killed."""

    def __init__(self, load: Load, name: str, rng: random.Random, pause_s: float) -> None:
        self.load = load
        self.name = name
        self.rng = rng
        self.pause_s = pause_s
        self.client: Client | None = None

    @property
    def label(self) -> str:
        """For histories: who, and by which worker."""
        return f"{self.name}@{self.client.worker if self.client else '?'}"

    async def run(self, actor: Actor) -> None:
        while not self.load.is_over:
            try:
                await self.connect()
                await actor(self)
            except (Gone, OSError) as error:
                self.lost(error)
            await asyncio.sleep(self.rng.random() * 2 * self.pause_s)
        self.close()

    def close(self) -> None:
        if self.client is not None:
            self.client.close()

    def lost(self, why: Exception) -> None:
        kind = "dropped connection" if isinstance(why, Gone) else "refused connection"
        self.load.report(Violation(kind, f"{self.label}: {why}", None, self.name, time.monotonic()))
        self.client = None

    async def connect(self) -> None:
        """Be connected to a worker that is known."""
        world = self.load.world
        assert world.proxy is not None
        while self.client is None or self.client.gone:
            if self.client is not None and not world.workers.was_killed(
                self.client.worker, self.client.began_at, self.client.gone_at
            ):
                raise Gone(self.client.gone or "")
            self.client = client = await Client.connect(self.name, "127.0.0.1", world.proxy.port)
            try:
                reply = await client.ask(b"mn\r\n")
            except Gone:
                continue
            absent_s = world.workers.absent_s(reply.sent_at)
            for _ in range(LOOKS):
                client.worker = await asyncio.to_thread(world.workers.serving, client.port)
                if client.worker or client.gone:
                    break
                await asyncio.sleep(LOOK_AGAIN_S)
            self.load.watch.note(reply, f"{self.label}: its first", absent_s)

    async def ask(self, request: bytes, shape: Shape = "line", name: str = "") -> Reply:
        """The reply; one that says LOST if the worker was killed first. `name` is what it is counted as."""
        await self.connect()
        world, client = self.load.world, self.client
        assert client is not None
        sent_at = time.monotonic()
        try:
            [future] = client.send(request, shape)
            reply = await future
        except Gone:
            if not world.workers.was_killed(client.worker, client.began_at, client.gone_at):
                raise
            self.load.count(LOST)
            return Reply(LOST, {}, time.monotonic(), sent_at, [])
        self.load.watch.note(
            reply, f"{self.label}: {request[:60]!r}", world.workers.frozen_s(client.worker, sent_at)
        )
        self.load.count(name or request.partition(b" ")[0].decode().strip())
        return reply

    def look_after(self) -> None:
        if self.client is not None:
            self.client.give_up_after(GIVE_UP_S)
