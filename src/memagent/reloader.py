"""A new configuration, read and put in force while the proxy runs.

    asked ─▶ read it again ─▶ plan ─▶ look up names ─▶ bind ─▶ fleet ─▶ tell workers and leader ─▶ all have it
                │ bad, or an address that cannot be had: nothing changes, and whoever asked is told why

- One reload at a time. Workers are told in one go; each changes between two requests.
- A file that cannot be read in time is one with a mistake.
- A server that left keeps its number until no worker and no re-warm uses it any more.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Protocol

from memagent.admin.requests import RefusedError
from memagent.config import Loaded
from memagent.control import Gone, Listener, Reload, Reloaded, ToWorker
from memagent.errors import ConfigError, MemagentError
from memagent.fleet import Fleet
from memagent.leader import Leader, Move
from memagent.listeners import Change, Listeners
from memagent.logs import Logger, set_verbose
from memagent.migration import Phase, begins, in_phase, settled, settled_pool, with_migrations
from memagent.names import Names
from memagent.notify import Notify
from memagent.reading import under_way
from memagent.reload import Plan, plan
from memagent.segment import Segment
from memagent.settings import Config
from memagent.threads import Bounded, in_thread
from memagent.units import quoted

_DEADLINE_S: Final = 10.0
_READY_S: Final = 10.0
_READ_S: Final = 5.0


class Crew(Protocol):
    """The workers, as far as they matter here."""

    def tell_each(self, message: Callable[[int], ToWorker]) -> None: ...

    def alive(self) -> Collection[int]: ...

    def resize(self, size: int) -> None: ...

    async def until_ready(self, longest_s: float) -> list[int]: ...


class Reloader:
    """`given` was read at the start, `read` reads it again, `fit` says what is possible here: MemagentError.
    `moved` is called when clients come in elsewhere.

    With the setting `watch` it is read every `look_s` and put in force once it has been the same
    twice: whoever writes a file may not be done.
    """

    def __init__(
        self,
        given: Config,
        read: Callable[[], Loaded],
        fit: Callable[[Config], Config],
        fleet: Fleet,
        segment: Segment,
        leader: Leader,
        names: Names,
        crew: Crew,
        listeners: Listeners,
        moved: Callable[[], Awaitable[None]],
        log: Logger,
        notify: Notify,
        look_s: float = 2.0,
    ) -> None:
        self._read = read
        self._reading: Bounded[Loaded] = Bounded("read the configuration", _READ_S)
        self._fit = fit
        self._look_s = look_s
        self._fleet = fleet
        self._segment = segment
        self._leader = leader
        self._names = names
        self._crew = crew
        self._listeners = listeners
        self._moved = moved
        self._log = log
        self._notify = notify
        self._one_at_a_time = asyncio.Lock()
        self._generation = 0
        self._has: dict[int, int] = {}  # by worker: the generation that it has
        self._sockets: dict[int, set[int]] = {}  # by worker: the numbers of the listeners that it was told of
        self._users: dict[int, set[int]] = {}  # by server that left: the workers that may still use it
        self._heard = asyncio.Event()
        self._usually_verbose = given.verbose
        self._going_back: asyncio.Task[None] | None = None
        self.on_settled: Callable[[], None] | None = None  # called when another configuration is in force
        # By the last look, and by the last reload: a configuration, or what is wrong with it.
        self._found: Config | str = given
        self._tried: Config | str = given

    async def reload(self) -> Plan:
        """What has changed, once all workers have it. RefusedError: nothing has."""
        async with self._one_at_a_time:
            with self._notify.reloading():
                return await self._reload()

    async def _reload(self) -> Plan:
        try:
            loaded = await self._look()
            made = self._plan(loaded)
            await self._names.look_up_new(made.config)
            config = self._with_migrations(made.config)
            opened = await self._open(made.config)
        except MemagentError as error:
            self._log.error("the configuration is not reloaded, nothing changes", problem=str(error))
            raise RefusedError(str(error), error.hint) from None
        finally:
            self._tried = self._found
        self._stay()
        if made.changes or self._leader.moves_by_file:
            before, n_workers = self._listeners.addresses, self._fleet.config.workers
            self._put_in_force(config, opened)
            await self._until_all_have_it()
            if made.config.workers != n_workers:
                await self._resize(made.config.workers)
            if self._listeners.addresses != before:
                await self._moved()
        for warning in loaded.warnings:
            self._log.warning(warning)
        self._log.info("configuration reloaded", changes=made.changes or "none")
        if made.waiting:
            self._log.warning("settings that wait for the next start", settings=made.waiting)
        return made

    async def _open(self, config: Config) -> Change:
        """The addresses that are new; StartError. Nothing may be waited for before they are in force."""
        sought = await in_thread(lambda: self._listeners.look_up(config.listens), "look up addresses")
        if config.workers != self._fleet.config.workers:
            self._listeners.check_free()
        return self._listeners.prepare(sought)

    async def unread(self) -> tuple[str, ...]:
        """What a reload would change. Nothing, where this version cannot make sense of the files."""
        try:
            return self._plan(await self._look()).changes
        except MemagentError:
            return ()

    def _plan(self, loaded: Loaded) -> Plan:
        return plan(settled(self._fleet.config), self._fit(loaded.config), self._segment.places)

    def _with_migrations(self, config: Config) -> Config:
        """What is put in force for it; ConfigError."""
        made = with_migrations(self._fleet.config, config)
        for pool in begins(self._fleet.config, made):
            for member in self._fleet.of_pool(pool):
                if member.number in self._leader.moves:
                    raise ConfigError(
                        f"pool {quoted(pool.name)}: {member.server.name} is being replaced, "
                        "so keys cannot be copied",
                        "wait until that is done",
                    )
        return made

    # ------------------------------------------------------------ keys that move

    async def all_have_it(self) -> None:
        """However long it takes."""
        while self._late():
            self._heard.clear()
            await self._heard.wait()

    async def enter_phase(self, pool: str, phase: Phase) -> None:
        """Of its migration; returns when all workers are there."""
        async with self._one_at_a_time:
            self._fleet.stay(in_phase(self._fleet.config, pool, phase))
            self._leader.learn()
            self._tell_workers()
        await self.all_have_it()

    async def end_migration(self, pool: str) -> None:
        """Its new rings are all that it has; whoever is not in them leaves."""
        async with self._one_at_a_time:
            before = self._fleet.config.pools
            pools = tuple(settled_pool(each) if each.name == pool else each for each in before)
            if pools != before:
                self._put_in_force(self._fleet.config.model_copy(update={"pools": pools}))
                await self._until_all_have_it()

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(self._look_s)
            if not self._fleet.config.watch:
                continue
            before = self._found
            with contextlib.suppress(MemagentError):
                await self._look()
            if self._found == before != self._tried:
                with contextlib.suppress(RefusedError):
                    await self.reload()

    async def _look(self) -> Loaded:
        """What the files say now; MemagentError. A file on a dead network disk keeps nobody waiting."""
        try:
            loaded = await self._read_in_time()
        except MemagentError as error:
            self._found = str(error)
            raise
        self._found = loaded.config
        return loaded

    async def _read_in_time(self) -> Loaded:
        try:
            return await self._reading.run(self._read)
        except TimeoutError:
            where = "".join(f"{path}: " for path in under_way[:1])
            raise ConfigError(
                f"{where}the configuration was not read within {self._reading.longest_s:g} s",
                "is the file on a network disk that is gone, or a pipe that nobody writes to? "
                "Once it can be read, reload again",
            ) from None

    async def set_verbose(self, verbose: bool, for_s: float | None = None) -> None:
        """Log more or less, once all workers do: for so long, and until the next reload at most."""
        async with self._one_at_a_time:
            if self._going_back is None:
                self._usually_verbose = self._fleet.config.verbose
            self._stay()
            await self._tell_verbose(verbose)
            if for_s is not None:
                self._going_back = asyncio.create_task(self._go_back(for_s))

    async def _go_back(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        async with self._one_at_a_time:
            self._going_back = None
            await self._tell_verbose(self._usually_verbose)
            self._log.info("the time of another log level has passed", verbose=self._usually_verbose)

    def _stay(self) -> None:
        """What is said now about the log level holds."""
        if self._going_back is not None:
            self._going_back.cancel()
            self._going_back = None

    async def _tell_verbose(self, verbose: bool) -> None:
        self._fleet.config = self._fleet.config.model_copy(update={"verbose": verbose})
        self._tell_workers()
        await self._until_all_have_it()

    def _put_in_force(self, config: Config, opened: Change | None = None) -> None:
        """`opened`: the addresses where clients come in, where they may be others."""
        self._let_go()
        if opened is not None:
            self._listeners.settle(opened)
        if config.workers < self._listeners.workers:
            self._listeners.share_out(config.workers)
        self._segment.open_places(config.workers)
        change = self._fleet.change(config)
        self._segment.grow(max(self._fleet.numbers) + 1)
        for number in change.new_pools:
            self._segment.clear_pool(number)
        for number in change.left:
            self._users[number] = set(self._crew.alive())
        self._tell_workers()
        if opened is not None:
            self._listeners.close_left()
        self._leader.settle()
        for number, server in change.moving.items():
            known = self._names.resolver.known(server.host) if server.path is None else ()
            self._leader.move(number, Move(server, known, in_file=True))
        self._leader.tell_held()
        if self.on_settled is not None:
            self.on_settled()

    def _tell_workers(self) -> None:
        """What is in force."""
        set_verbose(self._fleet.config.verbose)
        self._generation += 1
        config = self._fleet.config.model_dump(mode="json")
        numbers, pools = self._fleet.numbers, self._fleet.pool_numbers
        addresses = tuple(map(self._names.addresses_of, numbers))

        def told(worker: int) -> Reload:
            listeners, fds = self._listeners_of(worker)
            return Reload(self._generation, config, listeners, numbers, addresses, pools, fds)

        self._crew.tell_each(told)

    def _listeners_of(self, worker: int) -> tuple[tuple[Listener, ...], tuple[int, ...]]:
        """All, and the file descriptors of those that the worker has not been told of yet."""
        listeners = self._listeners.of_worker(worker)
        before = self._sockets.get(worker, set())
        self._sockets[worker] = {each.number for each in listeners}
        return listeners, tuple(each.number for each in listeners if each.number not in before)

    async def _resize(self, workers: int) -> None:
        """All know of it; those that are one too many listen no more, and those that come not before they can
        answer.
        """
        self._crew.resize(workers)
        if workers <= self._listeners.workers:
            return
        if late := await self._crew.until_ready(_READY_S):
            self._log.warning("workers that are not ready yet", workers=late)
        try:
            self._listeners.share_out(workers)
        except OSError as error:
            problem = error.strerror or str(error)
            self._log.warning("workers share their listening sockets, there are no more", problem=problem)
        self._tell_workers()
        await self._until_all_have_it()

    async def _until_all_have_it(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DEADLINE_S):
                while late := self._late():
                    self._heard.clear()
                    await self._heard.wait()
        if late := self._late():
            self._log.warning("workers that do not have the new configuration yet", workers=late)

    def _late(self) -> list[int]:
        return [worker for worker in self._crew.alive() if self._has.get(worker, 0) < self._generation]

    # ------------------------------------------------------------ what workers say

    def worker_starts(self, worker: int) -> tuple[tuple[Listener, ...], tuple[int, ...]]:
        """It begins with what is in force; its listeners with their file descriptors."""
        self._has[worker] = self._generation
        self._sockets.pop(worker, None)
        return self._listeners_of(worker)

    def worker_ended(self, worker: int) -> None:
        for number in list(self._users):
            self._gone(number, worker)
        self._heard.set()

    def heard(self, worker: int, message: Reloaded | Gone) -> None:
        match message:
            case Reloaded(generation):
                self._has[worker] = generation
                self._heard.set()
            case Gone(number):
                self._gone(number, worker)

    def _gone(self, number: int, worker: int) -> None:
        self._users.get(number, set()).discard(worker)
        self._let_go()

    def _let_go(self) -> None:
        for number, users in list(self._users.items()):
            if not users and self._leader.forget(number):
                del self._users[number]
                self._segment.clear_server(number)
                self._fleet.let_go(number)
