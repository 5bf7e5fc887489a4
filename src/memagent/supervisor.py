"""The process that keeps the workers: it carries no traffic, and traffic does not stop when it dies.

    run ─▶ limits, sockets, user ─▶ (daemon) ─▶ names ─▶ workers ──ready──▶ running ──SIGTERM──▶ draining ─▶ 0

    Supervisor ─┬─ Crew      the workers' lives
                ├─ Names     what servers' names mean
                ├─ Leader    servers' states, re-warms
                ├─ Reloader  a new configuration
                ├─ Upgrade   a new version that takes over, as this one may have done from a Predecessor
                └─ Doors     operators, at the control socket and over HTTP

- What can be wrong with the machine is found before the first worker starts, and is a StartError in one line.
- Periodic are the refresh of names, the leader's look and the pulse: some wake-ups in two seconds, no more.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Final

from memagent import __version__, daemon, logs, open_files
from memagent.activation import Activated
from memagent.admin.counting import count
from memagent.admin.doors import Doors, bind_http
from memagent.admin.families import Family
from memagent.admin.flushing import PoolFlush, flush_all
from memagent.admin.metrics import exposition, families
from memagent.admin.otel import Sender
from memagent.admin.readiness import Readiness
from memagent.admin.requests import RefusedError
from memagent.config import Loaded
from memagent.control import (
    Accept,
    AcceptNoMore,
    AcceptsNoMore,
    Flushed,
    FlushPool,
    FromWorker,
    Gone,
    Hold,
    Reloaded,
    ReopenLog,
    Resolve,
    Start,
    StateChange,
    ToWorker,
)
from memagent.counts import Counts
from memagent.crew import Crew
from memagent.errors import StartError
from memagent.fleet import Fleet
from memagent.leader import Leader
from memagent.listeners import Listeners
from memagent.log_files import reopen
from memagent.logs import Logger, Sieve
from memagent.migrator import Migrator
from memagent.names import Names
from memagent.notify import Notify
from memagent.observing import Observing
from memagent.operators import Operators
from memagent.processes import WORKER_MODULE, Ear, WorkerProcess, worker_environment
from memagent.pulse import BEAT_S
from memagent.reloader import Reloader
from memagent.rewarm.job import Job
from memagent.rewarm_process import RewarmProcess
from memagent.segment import Segment
from memagent.settings import MOST_POOLS, Config, room_for
from memagent.snapshot import Limits, Snapshot
from memagent.successor import Command, Inheritance
from memagent.survey import job as survey
from memagent.survey_process import SurveyProcess
from memagent.takeover import Predecessor
from memagent.tasks import Tasks
from memagent.upgrade import Upgrade

_STATE_LEVELS: Final = {"down": logging.WARNING, "up": logging.INFO}


def run(given: Config, read: Callable[[], Loaded], worker_module: str = WORKER_MODULE) -> int:
    """Run the proxy until it is told to end; its exit code. With `daemon`, until the daemon is ready.

    `read` gives the configuration anew when it is to be reloaded, from any working directory; ConfigError.
    """
    predecessor = Predecessor.take(os.environ, __version__)
    activated, listeners, http_listeners = Activated(), Listeners(), Listeners()
    background: daemon.Daemon | None = None
    try:
        config = open_files.fit(given)
        identity = daemon.find_identity(config.user, config.group)
        owner = (identity.uid, identity.gid) if identity is not None else None
        log_stream = logs.open_log(config.log_file, owner)
        notify = Notify.take(os.environ, os.getpid())
        systemds = Activated.take(os.environ, os.getpid())
        activated = systemds if predecessor is None else predecessor.activated
        environment, command = worker_environment(), Command.ours()
        listeners = Listeners.bind(config.listens, config.workers, owner, activated=activated)
        http_listeners = bind_http(config.admin_listen, owner, activated)
        activated.check_none_left()
        if config.daemon:
            here = daemon.detach() if predecessor is None else daemon.stay()
            if isinstance(here, daemon.StartingProcess):
                listeners.forget()
                http_listeners.forget()
                here.wait()
                return 0
            background = here
        if identity is not None:
            daemon.become(identity)
        sieve = Sieve()
        log = logs.set_up(log_stream, sieve, config.verbose)
        if config.max_connections < given.max_connections:
            log.warning(
                "the limit of open files leaves room for fewer clients than max_connections",
                max_connections=given.max_connections,
                served_at_most=config.max_connections,
                hint=open_files.how_to_raise(given),
            )
        if config.log_file is not None and not os.access(config.log_file, os.W_OK):
            log.warning(
                "the log was opened as root and cannot be opened anew, by SIGUSR1 or by magent upgrade",
                log_file=config.log_file,
                hint=logs.how_to_give(config.log_file),
            )
        log_fd = log_stream.fileno() if config.log_file is not None else None
        supervisor = Supervisor(
            config,
            given,
            read,
            listeners,
            log,
            log_fd,
            environment,
            worker_module,
            background,
            http_listeners,
            notify,
            command,
            predecessor,
        )
        asyncio.run(_run(supervisor, sieve, log))
    except StartError as error:
        if predecessor is not None:
            predecessor.failed(error)
        if background is None:
            raise
        background.failed(error)
        return error.exit_code
    finally:
        if predecessor is not None:
            predecessor.close()
        activated.close()
        listeners.close()
        http_listeners.close()
    return 0


async def _run(supervisor: "Supervisor", sieve: Sieve, log: Logger) -> None:
    async with sieve.telling(log):
        await supervisor.run()


class Supervisor:
    """One run of the proxy."""

    def __init__(
        self,
        config: Config,
        given: Config,
        read: Callable[[], Loaded],
        listeners: Listeners,
        log: Logger,
        log_fd: int | None,
        environment: dict[str, str],
        worker_module: str,
        background: daemon.Daemon | None,
        http_listeners: Listeners,
        notify: Notify,
        command: Command,
        predecessor: Predecessor | None = None,
    ) -> None:
        self._listeners = listeners
        self._http_listeners = http_listeners
        self._log = log
        self._log_fd = log_fd
        self._log_reopened = False
        self._environment = environment
        self._worker_module = worker_module
        self._background = background
        self._notify = notify
        self._predecessor = predecessor
        self._is_accepting = predecessor is None
        self._in_a_hurry = asyncio.Event()
        self._tasks = Tasks(log)
        self._fleet = Fleet(config)
        places = room_for(config.workers)
        self._segment = Segment.create(config.workers, len(self._fleet.members), MOST_POOLS, places)
        self._crew = Crew(config.workers, self._segment, self, self._tasks, log)
        self._names = Names(self._fleet, self._crew.tell_all, log)
        self._leader = Leader(
            self._fleet, self._segment, self._crew, self._names.addresses_of, log, self._start_rewarm
        )
        self._reloader = Reloader(
            given,
            read,
            open_files.fit,
            self._fleet,
            self._segment,
            self._leader,
            self._names,
            self._crew,
            listeners,
            lambda: self._doors.move(self._listeners.addresses[0]),
            log,
            notify,
        )
        self._migrator = Migrator(self._fleet, self._leader, self._reloader, log)
        self._reloader.on_settled = self._migrator.settle
        self._pool_flush = PoolFlush(lambda number, pool: self._crew.tell_one(FlushPool(number, pool)))
        self._upgrade = Upgrade(
            command, self, self._leader, self._crew, self._reloader.unread, log, os.getpid()
        )
        self._operators = Operators(
            self._leader,
            self._migrator,
            self.snapshot,
            self.metrics,
            self._counts,
            self._names.addresses_of,
            self._names.resolver.resolve,
            self._reloader.reload,
            self._reloader.set_verbose,
            self._pool_flush.flush,
            flush_all,
            Observing(self._fleet, self._segment, self._crew.tell_all),
            self._upgrade.answer,
        )
        self._readiness = Readiness()
        self._doors = Doors(
            http_listeners,
            self._operators.answer,
            lambda: self._config,
            self.snapshot,
            self._counts,
            self._gaps,
            self._start_survey,
            log,
        )
        self._sender: Sender | None = None
        if config.otel_endpoint is not None:
            self._sender = Sender(config.otel_endpoint, self._families, self._segment.started_s, log)

    @property
    def _config(self) -> Config:
        """What is in force."""
        return self._fleet.config

    async def run(self) -> None:
        """StartError if the workers do not get ready."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_end, number)
        loop.add_signal_handler(signal.SIGHUP, self._told_to_reload)
        loop.add_signal_handler(signal.SIGUSR1, self._told_to_reopen_log)
        try:
            if self._predecessor is None:
                await self._doors.open(self._listeners.addresses[0])
            await self._names.look_up_all()
            await self._crew.start()
            if self._predecessor is not None:
                await self._take_over(self._predecessor)
            leading = self._lead()
            await self._crew.draining.wait()
            for task in leading:
                task.cancel()
            await self._drain()
            await self._upgrade.say_goodbye()
        finally:
            await self._crew.kill()
            await self._doors.close()
            self._migrator.close()
            await self._leader.close()
            self._tasks.cancel()
            self._segment.close()
        self._log.info("ended")

    # ------------------------------------------------------------ starting and ending

    def _lead(self) -> list[asyncio.Task[None]]:
        """The workers are ready; what is to stop as soon as they drain."""
        if not self._crew.draining.is_set():
            listen = self._listeners.addresses
            self._log.info("memagent is ready", version=__version__, pid=os.getpid(), listen=listen)
            if self._background is not None:
                self._background.ready(self._log_fd)
            self._notify.ready(self._status())
        self._tasks.spawn(self._names.keep_up())
        self._tasks.spawn(self._notify.keep_watchdog(self._crew.any_turns))
        if self._sender is not None:
            self._tasks.spawn(self._sender.run())
        return [
            self._tasks.spawn(work) for work in (self._leader.run(), self._beat(), self._reloader.watch())
        ]

    async def _take_over(self, predecessor: Predecessor) -> None:
        """All workers are ready. StartError: the older proxy still has everything that it had."""
        if self._crew.draining.is_set():
            raise StartError("it was told to end before it took over")
        await predecessor.ready()
        await self._doors.open(self._listeners.addresses[0], predecessor.control)
        self._is_accepting = True
        self._crew.tell_all(Accept())
        await predecessor.taken()
        self._listeners.take_over()
        self._doors.take_over()

    async def _drain(self) -> None:
        await self._upgrade.close()
        self._log.info("draining", drain_ms=self._config.drain_ms)
        self._notify.stopping(self._config.drain_ms / 1000)
        await self._doors.close_control()
        self._migrator.close()
        self._tasks.spawn(self._leader.close_copying())
        # Workers close theirs; while one copy of a listening socket is open, clients connect in vain.
        self._listeners.close()
        await self._crew.drain(self._config.drain_ms / 1000, self._in_a_hurry)

    def _told_to_end(self, number: signal.Signals) -> None:
        if self._crew.draining.is_set():
            self._log.warning("told to end at once", signal=number.name)
            self._in_a_hurry.set()
            return
        self._log.info("told to end", signal=number.name)
        self._crew.replace_no_more()

    def _told_to_reload(self) -> None:
        self._log.info("told to reload", signal="SIGHUP")
        self._tasks.spawn(self._reload())

    def _told_to_reopen_log(self) -> None:
        path = self._config.log_file
        if path is None or self._log_fd is None:
            self._log.info("told to open the log anew: it is standard error and stays", signal="SIGUSR1")
            return
        standard = () if self._background is None else (1, 2)
        try:
            reopen(path, (self._log_fd, *standard))
        except OSError as error:
            facts = {"problem": f"{path}: {error.strerror}"}
            if isinstance(error, PermissionError):
                facts["hint"] = logs.how_to_give(path)
            self._log.error("the log cannot be opened anew, the old file is kept", **facts)
            return
        self._log_reopened = True
        self._crew.tell_all(ReopenLog())
        self._log.info("log opened anew", signal="SIGUSR1", log_file=path)

    async def _reload(self) -> None:
        # What is wrong is in the log already.
        with contextlib.suppress(RefusedError):
            await self._reloader.reload()

    async def _beat(self) -> None:
        """Wake every worker now and then; one whose loop does not turn is ended."""
        while True:
            await asyncio.sleep(BEAT_S)
            self._notify.status(self._status())
            self._leader.tell_held()
            self._crew.beat()

    def _status(self) -> str:
        """In one line."""
        lives = [self._leader.lifecycle.lives[number] for number in self._fleet.numbers]
        up = sum(life.state == "up" for life in lives)
        where = ", ".join(self._listeners.addresses)
        workers = f"{self._crew.ready} of {self._config.workers} workers on {where}"
        return f"{workers}, {up} of {len(lives)} servers up"

    # ------------------------------------------------------------ what the crew needs

    async def launch(self, place: int, ear: Ear) -> WorkerProcess:
        inherited = (self._segment.fd,)
        return await WorkerProcess.start(
            place, self._worker_module, self._environment, inherited, self._stderr_fd(), ear
        )

    async def _start_rewarm(self, job: Job) -> RewarmProcess:
        return await RewarmProcess.start(job, self._environment, (self._segment.fd,), self._stderr_fd())

    async def _start_survey(self, job: survey.Job) -> SurveyProcess:
        return await SurveyProcess.start(job, self._environment, self._stderr_fd())

    def _stderr_fd(self) -> int | None:
        if self._log_fd is None and self._background is not None:
            return asyncio.subprocess.DEVNULL
        return self._log_fd

    def first_words(self, place: int) -> Iterator[ToWorker]:
        config, numbers = self._config.model_dump(mode="json"), self._fleet.numbers
        addresses = tuple(map(self._names.addresses_of, numbers))
        listeners, fds = self._reloader.worker_starts(place)
        pools, accept = self._fleet.pool_numbers, self._is_accepting
        yield Start(
            config, place, self._segment.fd, listeners, numbers, addresses, pools, fds, accept, __version__
        )
        if self._log_reopened:
            # It may have begun with the file from before.
            yield ReopenLog()
        if self._leader.lifecycle.held:
            yield Hold(self._leader.lifecycle.held)

    def worker_ended(self, place: int) -> None:
        self._reloader.worker_ended(place)
        self._upgrade.accepts_no_more(place)
        self._leader.wake()

    def is_settled(self, place: int) -> bool:
        return self._leader.is_settled(place)

    def place_left(self, place: int) -> None:
        self._leader.bury(place)

    def heard(self, worker: WorkerProcess, message: FromWorker) -> bool:
        match message:
            case StateChange(server) if server in self._fleet.members:
                self._log_state(worker, message)
                self._leader.heard(message)
            case Resolve(server) if server in self._fleet.members:
                self._tasks.spawn(self._answer_resolve(worker, server))
            case StateChange(server) | Resolve(server) if server in self._fleet.leaving:
                pass  # it had said so before it heard that the server has left
            case Flushed(number, reply):
                self._pool_flush.heard(number, reply)
            case AcceptsNoMore():
                self._upgrade.accepts_no_more(worker.number)
            case Reloaded() | Gone():
                self._reloader.heard(worker.number, message)
            case _:
                return False
        return True

    def _log_state(self, worker: WorkerProcess, change: StateChange) -> None:
        self._log.log(
            _STATE_LEVELS.get(change.state, logging.DEBUG),
            f"server is {change.state}",
            server=self._leader.name(change.server),
            worker=worker.number,
            reason=change.reason,
        )

    async def _answer_resolve(self, worker: WorkerProcess, server: int) -> None:
        worker.send(await self._names.ask(server))

    # ------------------------------------------------------------ what a new version gets

    def inheritance(self) -> Inheritance:
        both = self._listeners, self._http_listeners
        return Inheritance(
            [each.fileno() for listeners in both for each in listeners.all()],
            [path for listeners in both for path in listeners.files],
            self._doors.control,
            self._notify.successors(),
        )

    def pause(self) -> None:
        self._listeners.pause()
        self._doors.pause()

    def resume(self) -> None:
        self._listeners.resume()
        self._doors.resume()

    def hand_over(self, pid: int) -> None:
        self._notify.hand_over(pid)
        self._listeners.forget()
        self._listeners.close()
        self._doors.hand_over()
        self._crew.tell_all(AcceptNoMore())

    async def leave(self) -> None:
        await self._doors.close_http()

    def clients(self) -> int:
        return self._segment.worker_totals()["curr_connections"]

    def drain_s(self) -> float:
        return self._config.drain_ms / 1000

    # ------------------------------------------------------------ what operators see

    def snapshot(self) -> Snapshot:
        """What is going on."""
        return Snapshot(
            version=__version__,
            pid=os.getpid(),
            now_s=time.time(),
            started_s=self._segment.started_s,
            listen=tuple(self._listeners.addresses),
            draining=self._crew.draining.is_set(),
            limits=Limits(
                self._config.max_connections,
                self._config.server_queue_requests,
                self._config.server_queue_bytes,
            ),
            latency_metrics=self._config.latency_metrics,
            workers=self._crew.snapshot(),
            pools=self._leader.pool_snapshots(),
            migrations=self._migrator.snapshots(),
        )

    def metrics(self, accept: str) -> tuple[str, bytes]:
        """What Prometheus is told, with its Content-Type."""
        return exposition(self.snapshot(), self._segment, accept)

    def _counts(self, snapshot: Snapshot) -> Counts:
        return count(snapshot, self._segment)

    def _families(self) -> Iterator[Family]:
        return families(self.snapshot(), self._segment)

    def _gaps(self) -> list[str]:
        """Why no traffic should come here."""
        if self._crew.draining.is_set():
            return ["the proxy is ending"]
        if not self._crew.all_ready.is_set():
            return ["the proxy is starting"]
        return self._readiness.gaps(self._config, self.snapshot())
