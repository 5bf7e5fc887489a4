"""`magent upgrade`: what is installed now is started, takes our clients over, and this proxy ends.

    asked ─▶ may it be? ─▶ start it ─▶ it is ready ─▶ may it still be? ─▶ it takes over ─▶ AcceptNoMore
               │             └────── it fails, or takes too long: it is killed, nothing has changed
               └─ refused                                        clients leave, for drain_ms ─▶ drain ─▶ end

- Until it has taken over all that listens, and every file, is this proxy's; from then on the new one's.
- While both run they are two proxies. So it is refused while only this one knows what a server has missed.
- It goes on when nobody listens any more; the outcome is in the log.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, Protocol

from memagent import __version__
from memagent.admin.requests import RefusedError
from memagent.crew import Crew
from memagent.leader import Leader
from memagent.logs import Logger
from memagent.successor import Command, Inheritance, Successor

_LOOK_EVERY_S: Final = 0.05
_TELL_EVERY_S: Final = 1.0
_GOODBYE_S: Final = 1.0


class Estate(Protocol):
    """What the supervisor has that another proxy can have too."""

    def inheritance(self) -> Inheritance: ...

    def pause(self) -> None:
        """Whoever wants something of the proxy now waits for `hand_over`, or `resume`."""

    def resume(self) -> None: ...

    def hand_over(self, pid: int) -> None:
        """That process has it all now."""

    async def leave(self) -> None:
        """End what would keep it from being the only one."""

    def clients(self) -> int:
        """How many are connected."""

    def drain_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """`version` and `pid` of the new one; "" until it has said it. `clients`: those that we still have."""

    stage: Literal["starting", "draining"]
    version: str
    pid: int
    clients: int


class Upgrade:
    """`unread`: what a reload would change."""

    def __init__(
        self,
        command: Command,
        estate: Estate,
        leader: Leader,
        crew: Crew,
        unread: Callable[[], Awaitable[tuple[str, ...]]],
        log: Logger,
        own_pid: int,
    ) -> None:
        self._command = command
        self._estate = estate
        self._leader = leader
        self._crew = crew
        self._unread = unread
        self._log = log
        self._own_pid = own_pid
        self._task: asyncio.Task[None] | None = None
        self._is_handing_over = False
        self._progress: Progress | None = None
        self._accepting: set[int] = set()
        self._over = asyncio.Event()
        self._listeners = 0

    async def answer(self, force: bool, ready_s: float) -> AsyncGenerator[dict[str, Any], None]:
        """Progress, then the last line; RefusedError: nothing has changed."""
        if not force:
            self._check_migrations()
            self._check_servers()
            await self._check_files()
        self._check_whose_child(force)
        if self._crew.draining.is_set() or (self._task is not None and not self._task.done()):
            raise RefusedError("the proxy is ending, or being upgraded, already")
        self._progress = None
        task = self._task = asyncio.create_task(self._run(force, ready_s))
        task.add_done_callback(self._told)
        self._listeners += 1
        try:
            async for line in self._follow(task):
                yield line
        finally:
            self._listeners -= 1

    async def close(self) -> None:
        """The proxy drains: a new one that is still starting has come too late."""
        if self._task is not None:
            if not self._is_handing_over:
                self._task.cancel()
            await asyncio.wait([self._task])

    async def say_goodbye(self) -> None:
        """All clients are gone; whoever has asked for this is told."""
        self._over.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                while self._listeners:
                    await asyncio.sleep(_LOOK_EVERY_S)

    def accepts_no_more(self, worker: int) -> None:
        """It says so, or has ended."""
        self._accepting.discard(worker)

    # ------------------------------------------------------------ may it be?

    def _check_migrations(self) -> None:
        pools = [pool.name for pool in self._leader.fleet.config.pools if pool.migration is not None]
        if pools:
            raise RefusedError(
                f"keys of {', '.join(pools)} are moving to other servers: only the running proxy knows of it",
                "wait until magent migration says that it is done; after a forced upgrade what is not copied "
                "will miss",
                can_force=True,
            )

    def _check_servers(self) -> None:
        lives = self._leader.lifecycle.lives
        out = [
            f"{member.server.name} is {lives[number].state}"
            for number, member in self._leader.fleet.members.items()
            if lives[number].held or (lives[number].state != "up" and member.pool.has_copies)
        ]
        if out:
            raise RefusedError(
                f"{', '.join(out)}: what that means for its keys, only the running proxy knows",
                "wait until it is up (magent servers); a server that comes back with its data after a forced "
                "upgrade may show old values: restart or flush it before",
                can_force=True,
            )

    async def _check_files(self) -> None:
        if changes := await self._unread():
            raise RefusedError(
                f"the configuration file says something else than what is in force: {'; '.join(changes)}",
                "magent reload puts it in force without two proxies that disagree",
                can_force=True,
            )

    def _check_whose_child(self, force: bool) -> None:
        """Where our end is taken for the end of the service, nobody can take over."""
        if self._own_pid == 1:
            raise RefusedError(
                "this proxy is process 1 of a container, which ends with it", "replace the container"
            )
        is_systemds = self._command.environment.get("SYSTEMD_EXEC_PID") == str(self._own_pid)
        if is_systemds and "NOTIFY_SOCKET" not in self._estate.inheritance().environment and not force:
            raise RefusedError(
                "systemd would take the end of this process for the end of the service",
                "the unit needs Type=notify, as contrib/systemd/memagent.service has it",
                can_force=True,
            )

    # ------------------------------------------------------------ doing it

    async def _run(self, force: bool, ready_s: float) -> None:
        inherited = self._estate.inheritance()
        successor = await Successor.start(self._command, inherited)
        self._progress = Progress("starting", "", successor.pid, 0)
        has_taken = False
        try:
            await self._until_ready(successor, ready_s)
            if not force:
                # Meanwhile a server may have fallen, or somebody have edited the file.
                self._check_migrations()
                self._check_servers()
                await self._check_files()
            if self._estate.inheritance().listening != inherited.listening:
                raise RefusedError("a reload has changed the addresses meanwhile", "upgrade again")
            self._is_handing_over = True
            self._estate.pause()
            await successor.take_over()
            has_taken = True
        except asyncio.CancelledError:
            raise RefusedError("the proxy was told to end meanwhile") from None
        finally:
            if not has_taken:
                if self._is_handing_over:
                    self._is_handing_over = False
                    self._estate.resume()
                await successor.kill()
        self._log.info("the new version takes over", version=self._progress.version, pid=successor.pid)
        self._accepting = set(self._crew.alive())
        self._estate.hand_over(successor.pid)
        successor.close()
        await self._estate.leave()
        await self._until_clients_are_gone()
        self._crew.replace_no_more()

    async def _until_ready(self, successor: Successor, ready_s: float) -> None:
        assert self._progress is not None
        try:
            async with asyncio.timeout(ready_s):
                version = await successor.hello()
                self._progress = replace(self._progress, version=version)
                self._log.info("a new version starts", version=version, pid=successor.pid)
                await successor.ready()
        except TimeoutError:
            raise successor.too_late(ready_s) from None

    async def _until_clients_are_gone(self) -> None:
        """They may leave by themselves, for `drain_ms` at most; after that they are sent away."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._estate.drain_s()):
                while not self._crew.draining.is_set():
                    self._tell_clients()
                    if not self._accepting and not self._estate.clients():
                        return
                    await asyncio.sleep(_LOOK_EVERY_S)

    def _tell_clients(self) -> None:
        assert self._progress is not None
        self._progress = replace(self._progress, stage="draining", clients=self._estate.clients())

    # ------------------------------------------------------------ telling

    async def _follow(self, task: asyncio.Task[None]) -> AsyncIterator[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        told: Progress | None = None
        told_s = 0.0
        while not self._over.is_set():
            if task.done():
                task.result()
                self._tell_clients()
            now = self._progress
            is_other = told is None or now is None or (now.stage, now.version) != (told.stage, told.version)
            if now is not None and (is_other or loop.time() - told_s >= _TELL_EVERY_S):
                told, told_s = now, loop.time()
                yield {"progress": asdict(now)}
            await asyncio.sleep(_LOOK_EVERY_S)
        task.result()
        assert self._progress is not None
        yield {"ok": True, "version": self._progress.version, "pid": self._progress.pid}

    def _told(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        match task.exception():
            case RefusedError() as refusal:
                self._log.error(
                    "not upgraded, nothing has changed", running=__version__, problem=refusal.error
                )
            case None:
                pass
            case mistake:
                self._log.error("an upgrade ended by a mistake of ours", exc_info=mistake)
