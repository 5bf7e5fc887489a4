"""A leader with everything around it but processes: words of workers are written by the test."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

from memagent.control import ToWorker
from memagent.fleet import Fleet
from memagent.leader import Leader
from memagent.rewarm.job import Job
from memagent.rewarm_process import RewarmProcess
from memagent.segment import Segment
from memagent.settings import Config
from tests.support.processes import ROOT

WORKERS = 2
UP, DOWN, RETURNING, CLEAN = range(4)


class Memory:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def log(self, level: int, event: str, **facts: Any) -> None:
        self.said.append((event, {"level": level, **facts}))

    def debug(self, event: str, **facts: Any) -> None:
        self.log(10, event, **facts)

    def info(self, event: str, **facts: Any) -> None:
        self.log(20, event, **facts)

    def warning(self, event: str, **facts: Any) -> None:
        self.log(30, event, **facts)

    def error(self, event: str, **facts: Any) -> None:
        self.log(40, event, **facts)

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.said]


class Leading:
    """Servers 0 and 1, backups 2 and 3; two workers that live and have said that all is up."""

    def __init__(self, rewarm: str = "done", **pool: Any) -> None:
        main = {
            "name": "main",
            "servers": ["10.0.0.1:1", "10.0.0.2:2"],
            "backups": ["10.0.0.3:3", "10.0.0.4:4"],
            **pool,
        }
        self.fleet = Fleet(Config.model_validate({"workers": WORKERS, "pools": [main]}))
        self.segment = Segment.create(WORKERS, len(self.fleet.members), places=WORKERS + 1)
        self.log = Memory()
        self.told: list[ToWorker] = []
        self.alive = {0, 1}
        self.rewarm = rewarm
        self.jobs: list[Job] = []
        self.leader = Leader(
            self.fleet,
            self.segment,
            self,
            self.addresses_of,
            self.log,  # type: ignore[arg-type]
            self.start_rewarm,
            idle_s=0.05,
        )
        for server in self.fleet.members:
            for worker in range(WORKERS):
                self.say(server, worker, 0, UP)

    def tell_all(self, message: ToWorker) -> None:
        self.told.append(message)

    def is_alive(self, worker: int) -> bool:
        return worker in self.alive

    def addresses_of(self, server: int) -> tuple[str, ...]:
        host = self.fleet.members[server].host
        return () if host is None else (host,)

    async def start_rewarm(self, job: Job) -> RewarmProcess:
        self.jobs.append(job)
        environment = {
            **os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "REWARM": self.rewarm
        }  # fmt: skip
        return await RewarmProcess.start(job, environment, (), None, "tests.support.stand_in_rewarm")

    def say(self, server: int, worker: int, outage: int, phase: int, emptied: bool = False) -> None:
        self.segment.standing(server, worker).say_word(outage, phase, emptied)

    def all_say(self, server: int, phase: int, emptied: bool = False) -> None:
        """Of the outage that is under way."""
        outage = self.segment.standing(server).outage
        for worker in range(WORKERS):
            self.say(server, worker, outage, phase, emptied)

    def fail(self, server: int) -> None:
        """An outage begins and all workers join it."""
        standing = self.segment.standing(server)
        standing.begin_outage(standing.outage)
        self.all_say(server, DOWN)

    def is_open(self, server: int) -> bool:
        standing = self.segment.standing(server)
        return standing.outage == standing.opened

    def state(self, server: int) -> str:
        return self.leader.lifecycle.lives[server].state


def lead(test: Callable[[Leading], Coroutine[Any, Any, None]], rewarm: str = "done", **pool: Any) -> Leading:
    """Run a test with a leader that leads, and end both."""
    case: Leading

    async def whole() -> Leading:
        leading = Leading(rewarm, **pool)
        running = asyncio.create_task(leading.leader.run())
        try:
            await asyncio.wait_for(test(leading), 60)
        finally:
            running.cancel()
            await asyncio.wait([running])
            await leading.leader.close()
            leading.segment.close()
        return leading

    case = asyncio.run(whole())
    return case


async def until(condition: Callable[[], bool], what: str) -> None:
    """Within a time that is long even on a busy machine."""
    deadline_s = asyncio.get_running_loop().time() + 30
    while not condition():
        assert asyncio.get_running_loop().time() < deadline_s, what
        await asyncio.sleep(0.01)
