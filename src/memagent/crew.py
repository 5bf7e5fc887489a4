"""The workers: each place keeps its sockets and counters while the process in it changes.

    start ─▶ Start ─▶ Ready ─▶ serving ─▶ ended ─▶ what it had under way is seen to ─┐
      ▲                                                                              │
      └──────────────── pause, the longer the more often it dies ◀───────────────────┤
                                                       no place any more: it is left ◀┘

- Until all have been ready once, a worker that dies ends the start; then it is replaced, until all drain.
- What a dead worker had under way is seen to before anybody else writes in its place.
- A worker that is one too many stays until its clients have gone, and what it alone knows is of no use any
  more; then somebody else sees to what it leaves. Until it is told to drain it can be one of them again.
- A worker that hangs is killed, and so replaced; so is one that somebody else has told to end.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Protocol

from memagent.control import Adopted, Drain, DrainingDone, FromWorker, Log, Ready, ToWorker
from memagent.errors import StartError
from memagent.logs import Logger
from memagent.orphans import Orphans
from memagent.processes import Backoff, Ear, WorkerProcess
from memagent.pulse import Pulse
from memagent.segment import Segment
from memagent.snapshot import WorkerSnapshot
from memagent.tasks import Tasks

_START_DEADLINE_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.05


class Boss(Protocol):
    """Whom workers work for."""

    async def launch(self, place: int, ear: Ear) -> WorkerProcess:
        """OSError if the machine cannot start one more process."""

    def first_words(self, place: int) -> Iterable[ToWorker]:
        """What a new worker is told."""

    def heard(self, worker: WorkerProcess, message: FromWorker) -> bool:
        """Does what a worker says of the proxy, not of itself, make sense?"""

    def worker_ended(self, place: int) -> None: ...

    def is_settled(self, place: int) -> bool:
        """Does this worker know nothing that would be lost with it?"""

    def drain_s(self) -> float:
        """How long clients of a worker that goes may stay."""

    def place_left(self, place: int) -> None:
        """Its worker has gone, and nobody takes the place."""


class Crew:
    """`draining`: nobody is replaced any more. `all_ready`: all have been once, or never will be."""

    def __init__(self, size: int, segment: Segment, boss: Boss, tasks: Tasks, log: Logger) -> None:
        self.draining = asyncio.Event()
        self.all_ready = asyncio.Event()
        self._size = size
        self._segment = segment
        self._boss = boss
        self._log = log
        self._workers: dict[int, WorkerProcess] = {}
        self._orphans = Orphans(self._workers, tasks)
        self._tasks = tasks
        self._places: dict[int, asyncio.Task[None]] = {}
        self._pulse = Pulse()
        self._restarts: Counter[int] = Counter()
        self._not_ready_yet = set(range(size))
        self._start_error: StartError | None = None
        self._is_killing = False

    # ------------------------------------------------------------ starting and ending

    async def start(self) -> None:
        """Until all are ready, or told to end meanwhile. StartError if they do not get ready."""
        for place in range(self._size):
            self._open_place(place)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.all_ready.wait(), _START_DEADLINE_S)
        if self._start_error is not None:
            raise self._start_error
        if not self.all_ready.is_set():
            late = ", ".join(map(str, sorted(self._not_ready_yet)))
            raise StartError(f"worker {late} was not ready within {_START_DEADLINE_S:g} s")

    def replace_no_more(self) -> None:
        """A start that is under way ends too."""
        self.draining.set()
        self._orphans.give_up()
        self.all_ready.set()

    async def drain(self, longest_s: float, hurry: asyncio.Event) -> None:
        """Let all finish what they have under way, for so long or until there is no more time."""
        for worker in self._workers.values():
            if not worker.send(Drain()):
                worker.signal(signal.SIGTERM)
        hurried: asyncio.Task[Any] = asyncio.create_task(hurry.wait())
        everybody: asyncio.Task[Any] = asyncio.create_task(asyncio.wait(self._places.values()))
        await asyncio.wait({hurried, everybody}, timeout=longest_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not everybody.done():
            self._log.warning("workers killed before they had drained", workers=sorted(self._workers))

    async def kill(self) -> None:
        """Whoever still lives, and wait for the end of all."""
        self.draining.set()
        self._orphans.give_up()
        self._is_killing = True
        for worker in self._workers.values():
            worker.signal(signal.SIGKILL)
        if self._places:
            await asyncio.wait(self._places.values())

    # ------------------------------------------------------------ more and fewer

    def resize(self, size: int) -> None:
        """From now on there are so many. Those that come have room, those that go listen no more."""
        self._size = size
        for place in range(size):
            if place not in self._places and not self.draining.is_set():
                self._open_place(place)
        for place, worker in self._workers.items():
            if place < size:
                # one that drains already is replaced
                worker.is_leaving = worker.is_leaving and worker.is_draining
            else:
                self._dismiss(worker)

    async def until_ready(self, longest_s: float) -> list[int]:
        """Until all are; the places of those that are not."""

        def late() -> list[int]:
            ready = {place for place, worker in self._workers.items() if worker.is_ready}
            return [place for place in range(self._size) if place not in ready]

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                while late() and not self.draining.is_set():
                    await asyncio.sleep(_LOOK_EVERY_S)
        return late()

    def _dismiss(self, worker: WorkerProcess) -> None:
        if not worker.is_leaving:
            worker.is_leaving = True
            self._tasks.spawn(self._let_go(worker))

    async def _let_go(self, worker: WorkerProcess) -> None:
        """Its clients may leave by themselves, for so long; without any it may stay as long as it has to."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._boss.drain_s()
        self._log.info("worker is one too many, it goes when its clients have gone", worker=worker.number)
        while worker.is_leaving and self._workers.get(worker.number) is worker:
            clients = self._segment.clients(worker.number)
            if loop.time() >= until_s if clients else self._boss.is_settled(worker.number):
                worker.is_draining = True
                if not worker.send(Drain()):
                    worker.signal(signal.SIGTERM)
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    # ------------------------------------------------------------ a worker's place

    def _open_place(self, place: int) -> None:
        task = self._places[place] = asyncio.create_task(self._keep(place))
        task.add_done_callback(self._place_given_up)

    async def _keep(self, place: int) -> None:
        """Keep a worker running in this place until all drain, or there are fewer places."""
        backoff = Backoff()
        while not self.draining.is_set():
            if place >= self._size:
                await self._orphans.seen_to_by_another(place)
                if self.draining.is_set():
                    return
                self._boss.place_left(place)
                if place >= self._size:
                    del self._places[place]
                    return
            lived_s, was_told, was_to_go = 0.0, False, False
            try:
                worker = await self._start_worker(place)
            except OSError as error:
                cause, pid, last_error = f"could not be started: {error.strerror}", None, ""
                if isinstance(error, PermissionError):
                    last_error = f"uid {os.getuid()} may not run {sys.executable}"
            else:
                cause, pid = await worker.ended(), worker.pid
                lived_s, last_error = worker.lived_s(), worker.last_error
                was_told = worker.has_drained
                was_to_go = worker.is_leaving and was_told
                del self._workers[place]
                self._segment.take_place(place, 0)
                self._orphans.died(worker)
                self._boss.worker_ended(place)
            if self.draining.is_set():
                return
            if not self.all_ready.is_set():
                self._fail_start(place, cause, last_error)
                return
            if was_to_go:
                self._log.info("worker has gone", worker=place, pid=pid)
                continue
            if place >= self._size:
                self._log.error("worker died, it was one too many", worker=place, pid=pid, cause=cause)
                continue
            delay_s = backoff.delay_s(lived_s)
            facts = {"worker": place, "pid": pid, "cause": cause, "delay_ms": int(delay_s * 1000)}
            if was_told:
                self._log.warning("worker was told to end by somebody else, it is replaced", **facts)
            else:
                self._log.error("worker died, it is replaced", **facts)
            self._segment.count_restart(place)
            self._restarts[place] += 1
            with contextlib.suppress(TimeoutError):
                if delay_s > 0:
                    await asyncio.wait_for(self.draining.wait(), delay_s)

    def _place_given_up(self, task: asyncio.Task[None]) -> None:
        # Only a mistake of ours ends like this; it must not pass unseen.
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a worker's place was given up", exc_info=error)
            self.replace_no_more()

    async def _start_worker(self, place: int) -> WorkerProcess:
        worker = await self._boss.launch(place, self)
        await self._orphans.seen_to(place)
        self._workers[place] = worker
        self._segment.take_place(place, worker.pid)
        for message in self._boss.first_words(place):
            worker.send(message)
        # Told to end while this one was on its way.
        if self._is_killing:
            worker.signal(signal.SIGKILL)
        elif self.draining.is_set():
            worker.send(Drain())
        elif place >= self._size:
            self._dismiss(worker)
        return worker

    def _fail_start(self, place: int, cause: str, last_error: str) -> None:
        if self._start_error is None:
            text = f"worker {place} ended before it was ready ({cause})"
            self._start_error = StartError(f"{text}: {last_error}" if last_error else text)
        self.replace_no_more()

    # ------------------------------------------------------------ what they say

    def heard(self, worker: WorkerProcess, message: FromWorker) -> None:
        makes_sense = True
        match message:
            case Ready():
                self._worker_ready(worker)
            case Log(level, text):
                if level == "error":
                    worker.last_error = text
                number = logging.getLevelNamesMapping()[level.upper()]
                self._log.log(number, text, worker=worker.number)
            case DrainingDone():
                worker.has_drained = True
                self._log.debug("worker has drained", worker=worker.number)
            case Adopted(place):
                makes_sense = self._orphans.adopted(place)
            case _:
                makes_sense = self._boss.heard(worker, message)
        if not makes_sense:
            self.heard_nonsense(worker, f"no such server or worker: {message}")

    def heard_nonsense(self, worker: WorkerProcess, problem: str) -> None:
        self._log.error("a message from a worker made no sense", worker=worker.number, problem=problem)

    def _worker_ready(self, worker: WorkerProcess) -> None:
        worker.is_ready = True
        self._log.info("worker is ready", worker=worker.number, pid=worker.pid)
        self._not_ready_yet.discard(worker.number)
        if not self._not_ready_yet:
            self.all_ready.set()

    # ------------------------------------------------------------ what they are told, and how they are

    def tell_all(self, message: ToWorker) -> None:
        self.tell_each(lambda _: message)

    def tell_each(self, message: Callable[[int], ToWorker]) -> None:
        """What this makes of a worker's place."""
        for place, worker in self._workers.items():
            if not worker.send(message(place)):
                # It has not read for very long; it would act on what is no longer so.
                worker.signal(signal.SIGKILL)

    def tell_one(self, message: ToWorker) -> None:
        """Any that is ready, if there is one."""
        if ready := self._ready():
            ready[0].send(message)

    def alive(self) -> Collection[int]:
        """The workers that are told what is new."""
        return self._workers.keys()

    def is_alive(self, worker: int) -> bool:
        """As long as it may still act on what it knows."""
        return worker in self._workers

    @property
    def ready(self) -> int:
        """How many are."""
        return len(self._ready())

    def _ready(self) -> list[WorkerProcess]:
        return [each for each in self._workers.values() if each.is_ready and not each.is_leaving]

    def any_turns(self) -> bool:
        """Is there one that does not hang?"""
        return self._pulse.any_turns

    def beat(self) -> None:
        """All have been told something a while ago; one whose loop did not turn is ended."""
        # One that is still starting has no loop yet, however long that takes.
        by_pid = {worker.pid: worker for worker in self._workers.values() if worker.is_ready}
        turns = {pid: self._segment.loop_turns(worker.number) for pid, worker in by_pid.items()}
        for pid in self._pulse.beat(time.monotonic(), turns):
            self._log.error("worker hangs, it is killed", worker=by_pid[pid].number, pid=pid)
            by_pid[pid].signal(signal.SIGKILL)

    def snapshot(self) -> tuple[WorkerSnapshot, ...]:
        return tuple(
            WorkerSnapshot(place, pid, self._restarts[place])
            for place, pid in enumerate(self._segment.pids()[1:])
            if place in self._places
        )
