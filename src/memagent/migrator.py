"""Keys that move to other servers: from a reload that changes a pool's rings to the end of the former.

    reload ─▶ mirror ─▶ all workers, and what they had under way ─▶ clean ─▶ copy ─▶ settle ─▶ let go
                ▲   a copy may have stayed that was not verified              │
                └─────────────────────────────────────────────────────────────┘

    clean   delete what is left over from older rings at a key's new home, where nobody asks for it yet
    copy    the re-warm's copying (`rewarms`), to one server after the other

- Phases are told to all workers, and nothing goes on before all of them have them.
- Writes that began before their worker knew of the migration reach the former home only: the cleaning begins
  when none of them can be acknowledged any more, and so finds all that they may have made old.
- A source that is down is left out once all others are copied. A new home that is down is waited for.
- A reload of the former rings (`settle` hears of it) ends it at once; so does the removal of the pool.
- `abort`: what is not copied by now will miss.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from memagent.fleet import Fleet
from memagent.leader import Leader
from memagent.logs import Logger
from memagent.migration import Phase, coming, leaving
from memagent.rewarm.job import Pause, Resume
from memagent.rewarms import Ending
from memagent.settings import PoolConfig
from memagent.snapshot import MigrationSnapshot, MigrationState
from memagent.tasks import Tasks
from memagent.topology import make_placement

_LOOK_S: Final = 0.1
_AGAIN_S: Final = 1.0
_MOST_FAILURES: Final = 3
_GRACE_S: Final = 0.5  # waits of workers that are over are ended so late at most
_SAMPLE: Final = 65_536
_AT_ONCE: Final = 64


class Phases(Protocol):
    """Who tells the workers."""

    async def all_have_it(self) -> None: ...

    async def enter_phase(self, pool: str, phase: Phase) -> None: ...

    async def end_migration(self, pool: str) -> None: ...


@dataclass(slots=True)
class Moving:
    """A migration. `left`: by new home, those former homes whose keys are not copied there yet."""

    pool: str
    coming: tuple[str, ...]
    leaving: tuple[str, ...]
    pairs: dict[int, frozenset[int]]
    names: dict[int, str]
    started_s: float
    phase: Phase = "mirror"
    copies_since_s: float = 0.0
    left: dict[int, set[int]] = field(default_factory=dict)
    outages: dict[int, int] = field(default_factory=dict)  # of a new home, when it had been filled
    unclean: set[int] = field(default_factory=set)
    now: int | None = None
    ended: "asyncio.Future[tuple[Ending, bool]] | None" = None
    paused: bool = False
    aborted: bool = False
    waits_for: str = ""
    left_out: dict[int, str] = field(default_factory=dict)
    keys_copied: int = 0
    bytes_copied: int = 0
    ends: bool = False  # on its own, with what it has
    over: MigrationState | None = None
    ended_s: float | None = None
    task: "asyncio.Task[None] | None" = None


class Migrator:
    """The migrations of all pools, and the last one of each."""

    def __init__(
        self,
        fleet: Fleet,
        leader: Leader,
        phases: Phases,
        log: Logger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fleet = fleet
        self._leader = leader
        self._phases = phases
        self._log = log
        self._clock = clock
        self._tasks = Tasks(log)
        self._moving: dict[str, Moving] = {}
        leader.on_copied = self._copied

    # ------------------------------------------------------------ from outside

    def settle(self) -> None:
        """Another configuration is in force: migrations have begun in it, or are not in it any more."""
        pools = {pool.name: pool for pool in self._fleet.config.pools if pool.migration is not None}
        for name, moving in self._moving.items():
            if moving.over is None and not moving.ends and name not in pools:
                self._call_off(moving)
        for name, pool in pools.items():
            known = self._moving.get(name)
            if known is None or known.over is not None:
                self._begin(pool)

    def abort(self, pool: str) -> bool:
        """Has there been one? What is not copied yet will miss."""
        moving = self._under_way(pool)
        if moving is None or moving.aborted:
            return moving is not None
        moving.aborted = True
        self._log.warning("migration is given up: what is not copied yet will miss", pool=pool)
        if moving.now is not None and moving.phase == "copy":
            self._leader.copies.stop(moving.now, "the migration is given up")
        return True

    def pause(self, pool: str, paused: bool) -> bool:
        """Has there been one?"""
        moving = self._under_way(pool)
        if moving is None:
            return False
        moving.paused = paused
        if moving.now is not None:
            self._leader.copies.tell(moving.now, Pause() if paused else Resume())
        return True

    def snapshots(self) -> tuple[MigrationSnapshot, ...]:
        """Under way, or the last one of its pool."""
        return tuple(map(self._snapshot, self._moving.values()))

    @property
    def under_way(self) -> tuple[str, ...]:
        """Names of pools."""
        return tuple(name for name, moving in self._moving.items() if moving.over is None)

    def close(self) -> None:
        """The proxy ends. What is being copied is ended by the leader."""
        self._tasks.cancel()

    # ------------------------------------------------------------ beginning and end

    def _under_way(self, pool: str) -> Moving | None:
        moving = self._moving.get(pool)
        return moving if moving is not None and moving.over is None else None

    def _begin(self, pool: PoolConfig) -> None:
        pairs = self._pairs(pool)
        moving = self._moving[pool.name] = Moving(
            pool=pool.name,
            coming=coming(pool),
            leaving=leaving(pool),
            pairs=pairs,
            names={member.number: member.server.name for member in self._fleet.of_pool(pool)},
            started_s=self._clock(),
            unclean=set(pairs),
        )
        self._log.info(
            "migration begins: keys are copied to their new servers",
            pool=pool.name,
            coming=moving.coming,
            leaving=moving.leaving,
            to=[moving.names[number] for number in pairs],
        )
        moving.task = self._tasks.spawn(self._run(moving, pool.request_timeout_ms / 1000))

    def _pairs(self, pool: PoolConfig) -> dict[int, frozenset[int]]:
        """By server that gets keys: those that it gets them from."""
        members = self._fleet.of_pool(pool)
        placement = make_placement(pool)
        found: dict[int, set[int]] = {}
        for first in range(0, _SAMPLE, _AT_ONCE):
            keys = [b"key:%d" % number for number in range(first, first + _AT_ONCE)]
            for former, new in placement.locate_many(keys):
                if new >= 0:
                    found.setdefault(members[new].number, set()).add(members[former].number)
        return {number: frozenset(found[number]) for number in sorted(found)}

    def _call_off(self, moving: Moving) -> None:
        """Its former rings are in force again, or its pool is gone."""
        assert moving.task is not None
        moving.task.cancel()
        if moving.now is not None:
            self._leader.copies.stop(moving.now, "the migration was called off")
        self._over(moving, "cancelled")
        self._log.info("migration is called off", pool=moving.pool)

    def _over(self, moving: Moving, how: MigrationState) -> None:
        self._job_over(moving)
        moving.over, moving.ended_s, moving.waits_for = how, self._clock(), ""

    # ------------------------------------------------------------ its way

    async def _run(self, moving: Moving, request_timeout_s: float) -> None:
        await self._phases.all_have_it()
        await asyncio.sleep(request_timeout_s + _GRACE_S)
        await self._clean(moving)
        while not moving.aborted:
            moving.left = {number: set(sources) for number, sources in moving.pairs.items()}
            moving.copies_since_s = self._clock()
            await self._enter(moving, "copy")
            if await self._copy(moving):
                break
            await self._enter(moving, "mirror")
            await self._clean(moving)
        await self._enter(moving, "settle")
        while self._leader.moves_by_file:
            # What is put in force goes by where servers are now: a move to another place would be forgotten.
            await asyncio.sleep(_LOOK_S)
        moving.ends = True
        await self._phases.end_migration(moving.pool)
        self._over(moving, "aborted" if moving.aborted else "done")
        facts = {
            "pool": moving.pool,
            "keys": moving.keys_copied,
            "seconds": round(self._clock() - moving.started_s, 1),
            "left_out": self._left_out(moving),
        }
        if moving.aborted or moving.left_out:
            self._log.warning("migration has ended: what was not copied will miss", **facts)
        else:
            self._log.info("migration is done", **facts)

    async def _enter(self, moving: Moving, phase: Phase) -> None:
        moving.phase = phase
        await self._phases.enter_phase(moving.pool, phase)

    async def _clean(self, moving: Moving) -> None:
        """No new home has anything that was not written since the migration began."""
        while moving.unclean:
            number = next((each for each in moving.unclean if self._is_up(each)), None)
            if number is None:
                if moving.aborted:
                    return
                await self._wait_for_change(moving, moving.unclean)
                continue
            how, _ = await self._job(moving, number, (number,), cleans=True)
            if how == "done":
                moving.unclean.discard(number)
            elif moving.aborted:
                return
            else:
                await asyncio.sleep(_AGAIN_S)

    async def _copy(self, moving: Moving) -> bool:
        """All that can be had, or until it is given up. False: it may have left a copy that is old."""
        failures: dict[int, int] = {}
        while not moving.aborted:
            self._look_for_lost(moving)
            number, sources = self._next(moving)
            if number is not None:
                how, verified = await self._job(moving, number, sources, cleans=False)
                if not verified:
                    moving.unclean.add(number)
                    return False
                if how == "done":
                    self._done(moving, number, sources)
                elif not moving.aborted:
                    failures[number] = failures.get(number, 0) + 1
                    if failures[number] >= _MOST_FAILURES:
                        self._leave_out(moving, number, "could not be copied")
                    await asyncio.sleep(_AGAIN_S)
                continue
            waits_for = self._worth_waiting_for(moving)
            if not waits_for:
                for each in list(moving.left):
                    self._leave_out(moving, each, "is down")
                if all(map(self._is_up, moving.pairs)):
                    return True
                waits_for = set(moving.pairs)
            await self._wait_for_change(moving, waits_for)
        return True

    async def _wait_for_change(self, moving: Moving, numbers: set[int]) -> None:
        states = self._states(moving, numbers)
        await self._wait(moving, lambda: self._states(moving, numbers) != states, states)

    def _next(self, moving: Moving) -> tuple[int | None, tuple[int, ...]]:
        """Whom to fill now, and from where."""
        for number, left in moving.left.items():
            sources = tuple(each for each in sorted(left) if self._is_up(each))
            if sources and self._is_up(number):
                return number, sources
        return None, ()

    def _done(self, moving: Moving, number: int, sources: tuple[int, ...]) -> None:
        moving.outages[number] = self._leader.lifecycle.lives[number].outage
        moving.left[number].difference_update(sources)
        if not moving.left[number]:
            del moving.left[number]

    def _look_for_lost(self, moving: Moving) -> None:
        """Whoever was out since it had been filled may have lost what it had got."""
        for number, outage in list(moving.outages.items()):
            if self._is_up(number) and self._leader.lifecycle.lives[number].outage != outage:
                del moving.outages[number]
                moving.left[number] = set(moving.pairs[number]).difference(moving.left_out)

    def _worth_waiting_for(self, moving: Moving) -> set[int]:
        """Servers that are not up, and that are on their way or have no other one that could do."""
        wanted: set[int] = set()
        for number, left in moving.left.items():
            wanted.update(each for each in left if self._state(each) in ("returning", "warming"))
            if not self._is_up(number) and any(map(self._is_up, left)):
                wanted.add(number)
        return wanted

    def _leave_out(self, moving: Moving, number: int, why: str) -> None:
        """These sources of it are not copied."""
        for source in moving.left.pop(number):
            moving.left_out[source] = why
            self._log.warning(
                "keys are not copied: they will miss",
                source=moving.names[source],
                to=moving.names[number],
                why=why,
            )

    async def _job(
        self, moving: Moving, number: int, sources: tuple[int, ...], cleans: bool
    ) -> tuple[Ending, bool]:
        await self._wait(moving, lambda: not moving.paused, "")
        moving.ended = asyncio.get_running_loop().create_future()
        moving.now = number
        self._leader.copies.start(number, sources, "cleaning" if cleans else "copying", cleans)
        if moving.aborted and not cleans:
            self._leader.copies.stop(number, "the migration is given up")
        ended = await moving.ended
        self._job_over(moving)
        return ended

    def _job_over(self, moving: Moving) -> None:
        """What it has copied stays counted."""
        if moving.phase == "copy" and moving.now is not None:
            warm = self._leader.copies.snapshot(moving.now)
            if warm is not None:
                moving.keys_copied += warm.keys_copied
                moving.bytes_copied += warm.bytes_copied
        moving.now = None

    def _copied(self, number: int, how: Ending, verified: bool) -> None:
        for moving in self._moving.values():
            if moving.now == number and moving.ended is not None and not moving.ended.done():
                moving.ended.set_result((how, verified))

    async def _wait(self, moving: Moving, condition: Callable[[], bool], what: str) -> None:
        """Until it is so, or the migration is given up."""
        if what and not condition():
            self._log.info("migration waits", pool=moving.pool, reason=what)
        moving.waits_for = what
        while not (condition() or moving.aborted):
            await asyncio.sleep(_LOOK_S)
        moving.waits_for = ""

    # ------------------------------------------------------------ servers

    def _state(self, number: int) -> str:
        life = self._leader.lifecycle.lives.get(number)
        return "gone" if life is None else life.state

    def _is_up(self, number: int) -> bool:
        return self._state(number) == "up"

    def _states(self, moving: Moving, numbers: set[int]) -> str:
        out = [number for number in sorted(numbers) if not self._is_up(number)]
        return ", ".join(f"{moving.names[number]} is {self._state(number)}" for number in out)

    # ------------------------------------------------------------ what is shown

    def _left_out(self, moving: Moving) -> tuple[str, ...]:
        return tuple(f"{moving.names[number]} {why}" for number, why in sorted(moving.left_out.items()))

    def _snapshot(self, moving: Moving) -> MigrationSnapshot:
        n = len(moving.pairs)
        warm = self._leader.copies.snapshot(moving.now, moving.paused) if moving.now is not None else None
        is_copying = moving.phase == "copy" and moving.over is None
        part = 1.0 if moving.phase == "settle" or moving.over == "done" else 0.0
        if moving.phase == "copy" and n:
            part = (n - len(moving.left)) / n
            if is_copying and warm is not None:
                part += warm.per_cent / 100 / n
        passed_s = self._clock() - moving.copies_since_s
        counts = is_copying and warm is not None
        return MigrationSnapshot(
            pool=moving.pool,
            state=moving.over or ("aborting" if moving.aborted else "paused" if moving.paused else "running"),
            phase=moving.phase,
            started_s=moving.started_s,
            ended_s=moving.ended_s,
            coming=moving.coming,
            leaving=moving.leaving,
            targets=tuple(moving.names[number] for number in moving.pairs),
            target=moving.names[moving.now] if moving.now is not None else None,
            left_out=self._left_out(moving),
            waits_for=moving.waits_for,
            keys_copied=moving.keys_copied + (warm.keys_copied if counts and warm is not None else 0),
            bytes_copied=moving.bytes_copied + (warm.bytes_copied if counts and warm is not None else 0),
            keys_per_s=warm.keys_per_s if counts and warm is not None else 0.0,
            per_cent=100 * min(1.0, part),
            eta_s=round(passed_s * (1 - part) / part, 1) if is_copying and 0 < part < 1 else None,
        )
