"""The process that keeps the workers: it carries no traffic, and traffic does not stop when it dies.

    run ─▶ limits, sockets, user ─▶ (daemon) ─▶ names ─▶ workers ──ready──▶ running ──SIGTERM──▶ draining ─▶ 0
                                                           ▲                   │
                                                           └── a worker died ◀─┘

- What can be wrong with the machine is found before the first worker starts, and is a StartError in one line.
- Until all workers have been ready once, a worker that dies ends the start; afterwards it is replaced.
- A worker's place keeps its listening sockets and its counters while the process in it changes.
- What a dead worker had under way is seen to before anybody else writes in its place.
- Periodic are the refresh of names, the leader's look and the pulse: some wake-ups in two seconds, no more.
- A worker that hangs is killed, and so replaced; so is one that somebody else has told to end.

Tasks: one for each place, the refresh, the leader, the pulse, one for each lookup that a worker asked for.
`leader` cares for the servers, `operators` answers at the control socket and over HTTP.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

from memagent import __version__, daemon, logs, open_files
from memagent.addresses import parse_listen
from memagent.admin.auth import Tokens
from memagent.admin.door import Door, open_door
from memagent.admin.families import Family
from memagent.admin.flushing import flush_all
from memagent.admin.keys import KeyLookup
from memagent.admin.metrics import exposition, families
from memagent.admin.otel import Sender
from memagent.admin.readiness import Readiness
from memagent.admin.requests import RefusedError
from memagent.config import Loaded
from memagent.control import (
    Addresses,
    Adopt,
    Adopted,
    Drain,
    DrainingDone,
    FromWorker,
    Gone,
    Hold,
    Log,
    Ready,
    Reloaded,
    Resolve,
    Start,
    StateChange,
    ToWorker,
)
from memagent.errors import StartError
from memagent.fleet import Fleet
from memagent.leader import Leader
from memagent.listeners import Listeners
from memagent.logs import Logger
from memagent.operators import Operators
from memagent.processes import WORKER_MODULE, Backoff, WorkerProcess, worker_environment
from memagent.pulse import BEAT_S, Pulse
from memagent.reloader import Reloader
from memagent.resolver import Resolver, is_literal
from memagent.rewarm.job import Job
from memagent.rewarm_process import RewarmProcess
from memagent.segment import Segment
from memagent.settings import Config, ListenAddress
from memagent.snapshot import Limits, Snapshot, WorkerSnapshot

if TYPE_CHECKING:
    from memagent.admin.http import HttpDoor

_START_DEADLINE_S: Final = 30.0
_SETTLE_S: Final = 0.1


def run(given: Config, read: Callable[[], Loaded], worker_module: str = WORKER_MODULE) -> int:
    """Run the proxy until it is told to end; its exit code. With `daemon`, until the daemon is ready.

    `read` gives the configuration anew when it is to be reloaded, from any working directory; ConfigError.
    """
    config = open_files.fit(given)
    identity = daemon.find_identity(config.user, config.group)
    log_stream = logs.open_log(config.log_file)
    owner = (identity.uid, identity.gid) if identity is not None else None
    environment = worker_environment()
    listeners = Listeners.bind(config.listen, config.workers, owner)
    http_listeners = Listeners()
    background: daemon.Daemon | None = None
    try:
        if config.admin_listen is not None:
            http_listeners = _bind_http(config.admin_listen, owner)
        if config.daemon:
            here = daemon.detach()
            if isinstance(here, daemon.StartingProcess):
                listeners.forget()
                http_listeners.forget()
                here.wait()
                return 0
            background = here
        if identity is not None:
            daemon.become(identity)
        log = logs.set_up(log_stream, config.verbose)
        if config.max_connections < given.max_connections:
            log.warning(
                "the limit of open files leaves room for fewer clients than max_connections",
                max_connections=given.max_connections,
                served_at_most=config.max_connections,
                hint=open_files.how_to_raise(given),
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
        )
        asyncio.run(supervisor.run())
    except StartError as error:
        if background is None:
            raise
        background.failed(error)
        return error.exit_code
    finally:
        listeners.close()
        http_listeners.close()
    return 0


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
    ) -> None:
        self._listeners = listeners
        self._http_listeners = http_listeners
        self._log = log
        self._log_fd = log_fd
        self._environment = environment
        self._worker_module = worker_module
        self._background = background
        self._fleet = Fleet(config)
        self._segment = Segment.create(config.workers, len(self._fleet.members), len(config.pools))
        self._workers: dict[int, WorkerProcess] = {}
        self._not_ready_yet = set(range(config.workers))
        self._all_ready = asyncio.Event()
        self._draining = asyncio.Event()
        self._in_a_hurry = asyncio.Event()
        self._start_error: StartError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._resolver = Resolver(self._name_changed, self._name_failed)
        self._leader = Leader(self._fleet, self._segment, self, log, self._start_rewarm)
        self._reloader = Reloader(
            given,
            read,
            open_files.fit,
            self._fleet,
            self._segment,
            self._leader,
            self._resolver,
            self,
            log,
        )
        self._operators = Operators(
            self._leader,
            self.snapshot,
            self.metrics,
            self.addresses_of,
            self._resolver.resolve,
            self._reloader.reload,
            self._reloader.set_verbose,
            self._flush,
        )
        self._readiness = Readiness()
        self._http: HttpDoor | None = None
        self._door: Door | None = None
        self._sender: Sender | None = None
        if config.otel_endpoint is not None:
            self._sender = Sender(config.otel_endpoint, self._families, self._segment.started_s, log)
        self._restarts: Counter[int] = Counter()
        self._orphans: dict[int, asyncio.Task[None]] = {}
        self._adopters: dict[int, tuple[WorkerProcess, asyncio.Event]] = {}

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
        await self._open_door()
        if self._config.admin_listen is not None:
            self._open_http(self._config.admin_listen)
        await self._resolver.resolve_all(self._names())
        places = [asyncio.create_task(self._keep(number)) for number in range(self._config.workers)]
        for place in places:
            place.add_done_callback(self._place_given_up)
        try:
            await self._wait_for_start()
            leading = [self._spawn(self._leader.run()), self._spawn(self._beat())]
            leading.append(self._spawn(self._reloader.watch()))
            self._spawn(self._refresh_names())
            if self._sender is not None:
                self._spawn(self._sender.run())
            await self._draining.wait()
            self._log.info("draining", drain_ms=self._config.drain_ms)
            for task in leading:
                task.cancel()
            # Who starts the next proxy on this port must not find this one's socket.
            await self._close_door()
            self._spawn(self._leader.rewarms.close())
            await self._drain(places)
        finally:
            self._draining.set()
            for worker in self._workers.values():
                worker.signal(signal.SIGKILL)
            await asyncio.wait(places)
            await self._close_door()
            if self._http is not None:
                await self._http.close()
            await self._leader.close()
            for task in self._tasks:
                task.cancel()
            self._segment.close()
        self._log.info("ended")

    # ------------------------------------------------------------ starting and ending

    async def _wait_for_start(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_ready.wait(), _START_DEADLINE_S)
        if self._start_error is not None:
            raise self._start_error
        if not self._all_ready.is_set():
            late = ", ".join(map(str, sorted(self._not_ready_yet)))
            raise StartError(f"worker {late} was not ready within {_START_DEADLINE_S:g} s")
        if self._background is not None and not self._draining.is_set():
            self._background.ready(self._log_fd)

    async def _drain(self, places: list[asyncio.Task[None]]) -> None:
        # Workers close theirs; while one copy of a listening socket is open, clients connect in vain.
        self._listeners.close()
        for worker in self._workers.values():
            if not worker.send(Drain()):
                worker.signal(signal.SIGTERM)
        hurry: asyncio.Task[Any] = asyncio.create_task(self._in_a_hurry.wait())
        everybody: asyncio.Task[Any] = asyncio.create_task(asyncio.wait(places))
        deadline_s = self._config.drain_ms / 1000
        await asyncio.wait({hurry, everybody}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not everybody.done():
            self._log.warning("workers killed before they had drained", workers=sorted(self._workers))

    def _told_to_end(self, number: signal.Signals) -> None:
        if self._draining.is_set():
            self._log.warning("told to end at once", signal=number.name)
            self._in_a_hurry.set()
            return
        self._log.info("told to end", signal=number.name)
        self._draining.set()
        # A start that is under way ends too.
        self._all_ready.set()

    def _told_to_reload(self) -> None:
        self._log.info("told to reload", signal="SIGHUP")
        self._spawn(self._reload())

    async def _reload(self) -> None:
        # What is wrong is in the log already.
        with contextlib.suppress(RefusedError):
            await self._reloader.reload()

    # ------------------------------------------------------------ a worker's place

    async def _keep(self, number: int) -> None:
        """Keep a worker running in this place until the proxy drains."""
        backoff = Backoff()
        while not self._draining.is_set():
            lived_s, was_told = 0.0, False
            try:
                worker = await self._start_worker(number)
            except OSError as error:
                cause, pid, last_error = f"could not be started: {error.strerror}", None, ""
                if isinstance(error, PermissionError):
                    last_error = f"uid {os.getuid()} may not run {sys.executable}"
            else:
                cause, pid = await worker.ended(), worker.pid
                lived_s, last_error = worker.lived_s(), worker.last_error
                was_told = worker.has_drained
                del self._workers[number]
                self._segment.take_place(number, 0)
                self._worker_ended(worker)
                self._reloader.worker_ended(number)
                self._leader.wake()
            if self._draining.is_set():
                return
            if not self._all_ready.is_set():
                self._fail_start(number, cause, last_error)
                return
            delay_s = backoff.delay_s(lived_s)
            facts = {"worker": number, "pid": pid, "cause": cause, "delay_ms": int(delay_s * 1000)}
            if was_told:
                self._log.warning("worker was told to end by somebody else, it is replaced", **facts)
            else:
                self._log.error("worker died, it is replaced", **facts)
            self._segment.count_restart(number)
            self._restarts[number] += 1
            with contextlib.suppress(TimeoutError):
                if delay_s > 0:
                    await asyncio.wait_for(self._draining.wait(), delay_s)

    def _place_given_up(self, place: asyncio.Task[None]) -> None:
        # Only a mistake of ours ends like this; it must not pass unseen.
        if not place.cancelled() and (error := place.exception()) is not None:
            self._log.error("a worker's place was given up", exc_info=error)
            self._draining.set()
            self._all_ready.set()

    async def _start_worker(self, number: int) -> WorkerProcess:
        listeners = self._listeners.of_worker(number)
        inherited = [self._segment.fd, *(listener.fd for listener in listeners)]
        worker = await WorkerProcess.start(
            number, self._worker_module, self._environment, inherited, self._stderr_fd(), self
        )
        if (orphans := self._orphans.pop(number, None)) is not None:
            await orphans
        self._workers[number] = worker
        self._segment.take_place(number, worker.pid)
        config = self._fleet.config.model_dump(mode="json")
        numbers = self._fleet.numbers
        addresses = tuple(map(self.addresses_of, numbers))
        self._reloader.worker_starts(number)
        worker.send(Start(config, number, self._segment.fd, listeners, numbers, addresses))
        if self._leader.lifecycle.held:
            worker.send(Hold(self._leader.lifecycle.held))
        if self._draining.is_set():
            # Told to end while this one was on its way.
            worker.send(Drain())
        return worker

    def _worker_ended(self, worker: WorkerProcess) -> None:
        for adopter, done in self._adopters.values():
            if adopter is worker:
                done.set()
        self._orphans[worker.number] = self._spawn(self._find_adopter(worker.number))

    async def _find_adopter(self, number: int) -> None:
        """Somebody who lives sees to what the dead one here had under way; else its successor does."""
        await asyncio.sleep(_SETTLE_S)
        living = [worker for worker in self._workers.values() if worker.is_ready]
        if living and living[0].send(Adopt(number)):
            done = asyncio.Event()
            self._adopters[number] = living[0], done
            # One that hangs is ended by the pulse.
            await done.wait()
            del self._adopters[number]

    def _stderr_fd(self) -> int | None:
        if self._log_fd is None and self._background is not None:
            return asyncio.subprocess.DEVNULL
        return self._log_fd

    async def _start_rewarm(self, job: Job) -> RewarmProcess:
        return await RewarmProcess.start(job, self._environment, (self._segment.fd,), self._stderr_fd())

    async def _beat(self) -> None:
        """Wake every worker now and then; one whose loop does not turn is ended."""
        pulse = Pulse()
        while True:
            await asyncio.sleep(BEAT_S)
            self._leader.tell_held()
            # One that is still starting has no loop yet, however long that takes.
            by_pid = {worker.pid: worker for worker in self._workers.values() if worker.is_ready}
            turns = {pid: self._segment.loop_turns(worker.number) for pid, worker in by_pid.items()}
            for pid in pulse.beat(time.monotonic(), turns):
                self._log.error("worker hangs, it is killed", worker=by_pid[pid].number, pid=pid)
                by_pid[pid].signal(signal.SIGKILL)

    def _fail_start(self, number: int, cause: str, last_error: str) -> None:
        if self._start_error is None:
            text = f"worker {number} ended before it was ready ({cause})"
            self._start_error = StartError(f"{text}: {last_error}" if last_error else text)
        # The others are not to be replaced any more.
        self._draining.set()
        self._all_ready.set()

    # ------------------------------------------------------------ what workers say

    def heard(self, worker: WorkerProcess, message: FromWorker) -> None:
        match message:
            case Ready():
                self._worker_ready(worker)
            case Log(level, text):
                if level == "error":
                    worker.last_error = text
                self._log.log(_LEVELS[level], text, worker=worker.number)
            case StateChange(server) if server in self._fleet.members:
                self._log_state(worker, message)
                self._leader.heard(message)
            case Resolve(server) if server in self._fleet.members:
                self._spawn(self._answer_resolve(worker, server))
            case Adopted(place) if place in self._adopters:
                self._adopters[place][1].set()
            case Reloaded() | Gone():
                self._reloader.heard(worker.number, message)
            case DrainingDone():
                worker.has_drained = True
                self._log.debug("worker has drained", worker=worker.number)
            case _:
                self.heard_nonsense(worker, f"no such server: {message}")

    def _log_state(self, worker: WorkerProcess, change: StateChange) -> None:
        levels = {"down": "warning", "up": "info"}
        self._log.log(
            _LEVELS[levels.get(change.state, "debug")],
            f"server is {change.state}",
            server=self._leader.name(change.server),
            worker=worker.number,
            reason=change.reason,
        )

    def heard_nonsense(self, worker: WorkerProcess, problem: str) -> None:
        self._log.error("a message from a worker made no sense", worker=worker.number, problem=problem)

    def _worker_ready(self, worker: WorkerProcess) -> None:
        worker.is_ready = True
        self._log.info("worker is ready", worker=worker.number, pid=worker.pid)
        self._not_ready_yet.discard(worker.number)
        if not self._not_ready_yet and not self._all_ready.is_set():
            self._log.info(
                "memagent is ready", version=__version__, pid=os.getpid(), listen=self._listeners.addresses
            )
            self._all_ready.set()

    # ------------------------------------------------------------ names

    def _names(self) -> list[str]:
        hosts = [member.host for member in self._fleet.members.values()]
        return [host for host in hosts if host is not None and not is_literal(host)]

    async def _refresh_names(self) -> None:
        while True:
            await asyncio.sleep(self._config.dns_refresh_ms / 1000)
            await self._resolver.resolve_all(self._names())

    async def _answer_resolve(self, worker: WorkerProcess, server: int) -> None:
        host = self._fleet.members[server].host
        addresses = await self._resolver.resolve(host) if host is not None else ()
        worker.send(Addresses(server, addresses))

    def _name_changed(self, host: str, addresses: tuple[str, ...]) -> None:
        self._log.info("name resolved", name=host, addresses=addresses)
        for member in self._fleet.members.values():
            if member.host == host:
                self.tell_all(Addresses(member.number, addresses))

    def _name_failed(self, host: str, why: str) -> None:
        kept = self._resolver.known(host)
        self._log.warning("name cannot be resolved", name=host, why=why, addresses_kept=kept)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._spawned_ended)
        return task

    def _spawned_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a task ended by a mistake of ours", exc_info=error)

    # ------------------------------------------------------------ what the leader and operators need

    def tell_all(self, message: ToWorker) -> None:
        for worker in self._workers.values():
            if not worker.send(message):
                # It has not read for very long; it would act on what is no longer so.
                worker.signal(signal.SIGKILL)

    def alive(self) -> Collection[int]:
        """The workers that are told what is new."""
        return self._workers.keys()

    def is_alive(self, worker: int) -> bool:
        """As long as it may still act on what it knows."""
        return worker in self._workers

    def addresses_of(self, server: int) -> tuple[str, ...]:
        """What its name means now; nothing for a Unix socket."""
        host = self._fleet.members[server].host
        return () if host is None else self._resolver.known(host)

    def snapshot(self) -> Snapshot:
        """What is going on."""
        return Snapshot(
            version=__version__,
            pid=os.getpid(),
            now_s=time.time(),
            started_s=self._segment.started_s,
            listen=tuple(self._listeners.addresses),
            draining=self._draining.is_set(),
            limits=Limits(
                self._config.max_connections,
                self._config.server_queue_requests,
                self._config.server_queue_bytes,
            ),
            latency_metrics=self._config.latency_metrics,
            workers=tuple(
                WorkerSnapshot(number, pid, self._restarts[number])
                for number, pid in enumerate(self._segment.pids()[1:])
            ),
            pools=self._leader.pool_snapshots(),
        )

    def metrics(self, accept: str) -> tuple[str, bytes]:
        """What Prometheus is told, with its Content-Type."""
        return exposition(self.snapshot(), self._segment, accept)

    def _families(self) -> Iterator[Family]:
        return families(self.snapshot(), self._segment)

    async def _open_door(self) -> None:
        # By the address that we have, because port 0 stands for any.
        listen = self._listeners.addresses[0]
        self._door = await open_door(self._config.control_socket, listen, self._operators.answer, self._log)

    def _open_http(self, listen: str) -> None:
        # Stays open while the proxy drains: /health/ready says so.
        from memagent.admin.api import Proxy
        from memagent.admin.http import HttpDoor

        keys = KeyLookup(lambda: self._config, self.snapshot)
        proxy = Proxy(self._operators.answer, self.snapshot, self._gaps, keys.look_up, self._log)
        self._http = HttpDoor(self._http_listeners.sockets(), parse_listen(listen), self._tokens, proxy)
        self._log.info("control API", listen=self._http_listeners.addresses)

    def _tokens(self) -> Tokens:
        """Those in force: they change with a reload."""
        given = self._config.admin_read_token, self._config.admin_operator_token
        return Tokens(*(each.get_secret_value().encode() if each is not None else None for each in given))

    def _gaps(self) -> list[str]:
        """Why no traffic should come here."""
        if self._draining.is_set():
            return ["the proxy is ending"]
        if not self._all_ready.is_set():
            return ["the proxy is starting"]
        return self._readiness.gaps(self._config, self.snapshot())

    async def _flush(self) -> None:
        await flush_all(self._listeners.addresses[0])

    async def _close_door(self) -> None:
        if self._door is not None:
            await self._door.close()
            self._door = None


_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def _bind_http(listen: str, owner: tuple[int, int] | None) -> Listeners:
    """StartError if it cannot be had, or the libraries are missing; they are loaded while all may be read."""
    try:
        import memagent.admin.http  # noqa: F401
    except ImportError as error:
        missing = f"admin_listen needs what is not installed: {error.name}"
        raise StartError(missing, "pip install 'memagent[admin]'") from None
    address = ListenAddress.model_validate(listen)
    return Listeners.bind([address], 1, owner, "admin_listen", private=True)
