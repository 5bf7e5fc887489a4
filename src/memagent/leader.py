"""What the supervisor does about servers: it sees to it that one outage is over for all workers at once.

    shared memory: how servers stand ──▶ lifecycle.look ──▶ open it, re-warm it, tell the workers, log, count
    a worker's StateChange ─▶ look soon ────┘   ▲
    a re-warm's last report ────────────────────┘

- `lifecycle` decides, `look` does what it says; nothing here has an opinion.
- While nothing is under way a look every two seconds counts the time; else looks are some 50 ms apart.
- Only processes that `Crew` calls alive have a say.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from memagent.control import Flush, Hold, Replace, StateChange, ToWorker
from memagent.fleet import Fleet
from memagent.lifecycle import (
    DIRTY,
    Action,
    Changed,
    Count,
    Lifecycle,
    Open,
    Place,
    Readdress,
    Row,
    Server,
    StartWarm,
    StopWarm,
    TellHeld,
)
from memagent.lifecycle import Flush as FlushServer
from memagent.logs import Logger
from memagent.rewarms import Ending, Rewarms, Start
from memagent.segment import Segment
from memagent.settings import ServerConfig
from memagent.snapshot import PoolSnapshot, ServerSnapshot

_IDLE_S: Final = 2.0
_SHOWN: Final = ("journal_keys", "journal_bytes", "journal_overflows", "connections", "in_flight")


class Move(NamedTuple):
    """Where a server is to be, and what its name means there. `in_file`: the configuration says so."""

    server: ServerConfig
    addresses: tuple[str, ...]
    in_file: bool = False


class Crew(Protocol):
    """The workers, as far as they matter here."""

    def tell_all(self, message: ToWorker) -> None: ...

    def is_alive(self, worker: int) -> bool: ...


class Leader:
    """One run of the proxy's leading part."""

    def __init__(
        self,
        fleet: Fleet,
        segment: Segment,
        crew: Crew,
        addresses_of: Callable[[int], tuple[str, ...]],
        log: Logger,
        start_rewarm: Start,
        clock: Callable[[], float] = time.monotonic,
        idle_s: float = _IDLE_S,
    ) -> None:
        self._idle_s = idle_s
        self.fleet = fleet
        self._segment = segment
        self._crew = crew
        self._log = log
        self._clock = clock
        self._standings = {number: segment.standing(number) for number in fleet.members}
        self.lifecycle = Lifecycle({number: self._facts(number) for number in fleet.members}, clock())
        self.rewarms = Rewarms(fleet, segment, log, start_rewarm, addresses_of, self._warm_ended, clock)
        self.copies = Rewarms(fleet, segment, log, start_rewarm, addresses_of, self._copy_ended, clock)
        self.on_copied: Callable[[int, Ending, bool], None] | None = None
        self.moves: dict[int, Move] = {}  # servers that are about to be somewhere else
        self._woken = asyncio.Event()
        self._news: dict[int, tuple[str, int]] = {}

    def _facts(self, number: int) -> Server:
        pool = self.fleet.members[number].pool
        return Server(self.fleet.sources(number), pool.rewarm, pool.warm_for_at_most_ms / 1000)

    def settle(self) -> None:
        """The fleet has changed. Whoever moves by the file is to be told so again, then all who is held."""
        numbers = self.fleet.members
        self._standings = {
            number: self._standings.get(number) or self._segment.standing(number) for number in numbers
        }
        facts = {number: self._facts(number) for number in numbers}
        for action in self.lifecycle.settle(facts, self._clock()):
            self._do(action)
        self._news = {number: news for number, news in self._news.items() if number in numbers}
        self._settle_moves()
        self.wake()

    def learn(self) -> None:
        """Of the servers that there are, something is configured otherwise; what is under way goes on."""
        self.lifecycle.servers = {number: self._facts(number) for number in self.fleet.members}
        self.wake()

    def forget(self, number: int) -> bool:
        """Another server gets this number; False while copying goes on that uses the one that had it."""
        return self.rewarms.forget(number) and self.copies.forget(number)

    def _settle_moves(self) -> None:
        """A server that is about to move may be configured otherwise by now."""
        moves, self.moves = self.moves, {}
        for number, move in moves.items():
            if number not in self.fleet.members:
                continue
            if not move.in_file:
                try:
                    server = self.fleet.with_address(number, move.server.address)
                except ValueError as error:
                    self._log.warning("server is not replaced", server=self.name(number), problem=str(error))
                else:
                    self.moves[number] = move._replace(server=server)
                    continue
            self.lifecycle.release(number)

    @property
    def moves_by_file(self) -> bool:
        """Is a server about to be where the file has it?"""
        return any(move.in_file for move in self.moves.values())

    def move(self, number: int, move: "Move", keep_data: bool = False) -> None:
        """Another machine takes a server's place once everybody has let go of the old one."""
        self.moves[number] = move
        self.lifecycle.hold(number, "replace", keep_data)
        self.tell_held()
        self.wake()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                self.look()
            except Exception as error:
                # Ours to mend; a leader that is gone would let no server return any more.
                self._log.error("a look at the servers failed", exc_info=error)
            pause_s = self.lifecycle.pause_s()
            with contextlib.suppress(TimeoutError):
                # Not wait_for: in Python 3.11 that loses a cancellation which comes together with the event.
                async with asyncio.timeout(self._idle_s if pause_s is None else pause_s):
                    await self._woken.wait()
            self._woken.clear()

    async def close(self) -> None:
        """Let go of every process and of the shared memory; `run` must have ended."""
        await self.close_copying()
        self._standings.clear()

    async def close_copying(self) -> None:
        """End what is being copied in an orderly way."""
        await self.rewarms.close()
        await self.copies.close()

    def wake(self) -> None:
        """Something has happened: look soon."""
        self._woken.set()

    def heard(self, message: StateChange) -> None:
        """A worker says how it takes a server."""
        # The first worker knows why, the others only that it is so.
        news = message.state, message.outage
        if self._news.get(message.server) != news:
            self._news[message.server] = news
            self.lifecycle.heard(message.server, message.reason)
        self.wake()

    # ------------------------------------------------------------ looking and doing

    def look(self) -> None:
        rows = {number: self._row(number) for number in self.fleet.members}
        for action in self.lifecycle.look(self._clock(), rows):
            self._do(action)

    def _row(self, number: int) -> Row:
        standing = self._standings[number]
        places = []
        # Words before outage: an outage that begins meanwhile makes them old, never newer than they are.
        for worker in range(self._segment.workers):
            alive = self._crew.is_alive(worker)
            used, outage, phase, emptied = standing.word(worker)
            places.append(Place(alive, used, outage, phase, emptied))
        in_flight = 0
        if self.lifecycle.lives[number].held:
            in_flight = sum(self._segment.server_sums(number, ("in_flight", "pending")))
        opened = standing.opened
        return Row(standing.outage, opened, tuple(places), in_flight)

    def _do(self, action: Action) -> None:
        match action:
            case Count(server, name, step):
                self._segment.count_as_leader(server, name, step)
            case Changed(server, before, state):
                self._log_change(server, before, state)
            case Open(server, outage):
                self._standings[server].begin_opening(outage)
                self.wake()
            case TellHeld():
                self.tell_held()
            case FlushServer(server):
                self._log.info("server is flushed before it is used", server=self.name(server))
                self._crew.tell_all(Flush(server))
            case Readdress(server):
                self._readdress(server)
            case StartWarm(server, _, sources):
                self._standings[server].call_off_opening()
                self.rewarms.start(server, sources)
            case StopWarm(server, why):
                self.rewarms.stop(server, why)

    def is_settled(self, place: int) -> bool:
        """Has its worker nothing that another one would have to know, but for its clients?"""
        words = (self._standings[number].word(place) for number in self._copied())
        dirty = any(used and phase in DIRTY for used, _, phase, _ in words)
        return not dirty and self._segment.marks(place).is_quiet

    def bury(self, place: int) -> None:
        """Its worker has gone for good. A server for which it had noted something is flushed before it is
        used: a new outage keeps it closed until all others have heard of that.
        """
        for number, standing in self._standings.items():
            used, _, phase, _ = standing.word(place)
            if used and phase in DIRTY and number in self._copied():
                self._log.warning(
                    "a worker has gone and what it had noted for a server with it, the server is flushed",
                    worker=place,
                    server=self.name(number),
                )
                self._crew.tell_all(Flush(number))
                standing.begin_outage(standing.outage)
            standing.bury_place(place)
        self.wake()

    def _copied(self) -> list[int]:
        """Servers whose keys others have too."""
        return [number for number, member in self.fleet.members.items() if member.pool.keeps_missed]

    def tell_held(self) -> None:
        """Who must not be asked; every worker hears it again and again."""
        self._crew.tell_all(Hold(self.lifecycle.held))

    def _log_change(self, server: int, before: str, state: str) -> None:
        life, member = self.lifecycle.lives[server], self.fleet.members[server]
        if state in ("down", "up") and not member.pool.keeps_missed:
            # Nothing was agreed on: the workers' own lines say it all.
            return
        facts = {"server": member.server.name, "outage": life.outage, "reason": life.reason}
        if state == "down" and before in ("draining", "drained"):
            self._log.info(
                "server is let in again: it is up once it has answered and has what it missed", **facts
            )
        elif state == "down":
            self._log.warning("outage begins", **facts)
        elif state == "up":
            self._log.info("outage is over: server is up for all workers", **facts)
        else:
            self._log.info(f"server is {state} for all workers", **facts)

    def _readdress(self, number: int) -> None:
        move = self.moves.pop(number)
        before = self.fleet.members[number].address
        self.fleet.replace(number, move.server, move.in_file)
        keep_data = self.lifecycle.lives[number].keep_data
        self._crew.tell_all(Replace(number, move.server.address, move.addresses, keep_data))
        facts = {"server": self.name(number), "before": before, "now": self.fleet.members[number].address}
        if move.in_file:
            self._log.info("server is replaced", **facts)
        else:
            self._log.warning("server is replaced", **facts, hint="write it into the configuration file too")

    def name(self, number: int) -> str:
        return self.fleet.members[number].server.name

    def _warm_ended(self, number: int, how: Ending, verified: bool) -> None:
        self.lifecycle.warm_ended(number, how, verified)
        self.wake()

    def _copy_ended(self, number: int, how: Ending, verified: bool) -> None:
        if self.on_copied is not None:
            self.on_copied(number, how, verified)

    def abort_warm(self, number: int) -> bool:
        """Has there been one?"""
        actions = self.lifecycle.abort(number)
        for action in actions:
            self._do(action)
        return bool(actions)

    # ------------------------------------------------------------ what is shown

    def pool_snapshots(self) -> tuple[PoolSnapshot, ...]:
        return tuple(
            PoolSnapshot(
                number,
                pool.name,
                pool.distribution,
                pool.has_copies,
                tuple(self.server_snapshot(member.number) for member in self.fleet.of_pool(pool)),
            )
            for number, pool in zip(self.fleet.pool_numbers, self.fleet.config.pools, strict=True)
        )

    def server_snapshot(self, number: int) -> ServerSnapshot:
        member, life = self.fleet.members[number], self.lifecycle.lives[number]
        return ServerSnapshot(
            number=number,
            pool=member.pool.name,
            name=member.server.name,
            address=member.address,
            backup=member.backup,
            weight=member.server.weight,
            state=life.state,
            since_s=time.time() - (self._clock() - life.since_s),
            reason=life.reason,
            outage=life.outage,
            emptied=life.emptied,
            held=life.held,
            replaced=member.replaced,
            warm=self.rewarms.snapshot(number, life.warm == "paused"),
            **dict(zip(_SHOWN, self._segment.server_sums(number, _SHOWN), strict=True)),
        )
