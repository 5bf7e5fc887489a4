"""A server's life as the leader sees it, over all workers: what there is goes in, what to do comes out.

                      ┌──────────────── a worker takes it down ───────────────┐
                      ▼                                                       │
    ┌────┐ outage  ┌──────┐ nobody down ┌───────────┐ everybody clean ┌───────┴─┐ filled, or need not be
    │ up │ ──────▶ │ down │ ──────────▶ │ returning │ ──────────────▶ │ warming │ ──▶ Open ──▶ up
    └─┬──┘         └──▲───┘             └───────────┘                 └─────────┘
      │ held          │ let go: at once, or when it has the new address, or is to be flushed
      ▼               │
    ┌──────────┐ nothing in flight ┌─────────┐
    │ draining │ ────────────────▶ │ drained │
    └──────────┘                   └─────────┘

    state      what the workers' words say               the leader's part
    up         the last outage is over                   none
    down       one is down, has not joined the outage,   wait; a journal that died with its worker is made
               or died with a journal                    good by the worker that replaces it
    returning  all have joined, one plays its journal    wait
    warming    all are clean                             StartWarm if it came back empty, once a copy can be
                                                         read; StopWarm after warm_for_at_most_ms; Open
    draining   held by an operator, or by us             see that every worker knows; never Open
    drained    all are down, nothing is in flight        Readdress, Flush if it must be, let it go

Invariants
- Open is said only of an outage of which every live worker is clean and no dead one has left a journal,
  and never while a re-warm runs, or one has left copies that were not verified, or somebody holds the server.
- `look` decides by what is there now, not by what was heard: a message that is lost costs time only.
- A re-warm belongs to one outage. What a server lacks is not forgotten until it has been up.
- A re-warm that ended without having verified its copies (`tainted`) is made good by a flush, sent when every
  connection of before has answered or ended: else such a copy could be an old value for ever.
- No clock: time is an argument, in seconds of a clock that never goes back.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from memagent.snapshot import State

DOWN: Final = 1
CLEAN: Final = 3
_RETURNING: Final = 2
DIRTY: Final = (DOWN, _RETURNING)

# What was under way on connections that ended when a server froze is over so long after it answers again.
SETTLE_S: Final = 1.0
_MOST_FAILURES: Final = 3
# A worker whose writes waited too long for an opening has called it off.
_OPEN_AGAIN_S: Final = 1.0

After = Literal["stay", "return", "flush", "replace"]
Warm = Literal["running", "paused", "stopping", "done", "failed", "aborted"]


# ---------------------------------------------------------------- what goes in


@dataclass(frozen=True, slots=True)
class Server:
    """What is configured. `sources`: the numbers of the servers that hold copies of its keys."""

    sources: tuple[int, ...] = ()
    rewarm: bool = True
    warm_for_at_most_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's word on a server, and whether that worker lives."""

    alive: bool
    used: bool
    outage: int
    phase: int
    emptied: bool


@dataclass(frozen=True, slots=True)
class Row:
    """How a server stands in shared memory now."""

    outage: int
    opened: int
    places: tuple[Place, ...]
    in_flight: int = 0


# ---------------------------------------------------------------- what comes out


@dataclass(frozen=True, slots=True)
class Open:
    """The outage is over as soon as no worker has writes under way that another server decides about."""

    server: int
    outage: int


@dataclass(frozen=True, slots=True)
class StartWarm:
    """Copy the keys of these sources. Answered by `warm_ended` with the same outage."""

    server: int
    outage: int
    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StopWarm:
    """In an orderly way: what it has copied is verified first, then `warm_ended` is called as ever."""

    server: int
    why: str


@dataclass(frozen=True, slots=True)
class Readdress:
    """Everybody has let go of the old machine: give the workers the new one's address."""

    server: int


@dataclass(frozen=True, slots=True)
class Flush:
    """Tell the workers, which are all down, that it missed a flush_all: it gets one before anything else."""

    server: int


@dataclass(frozen=True, slots=True)
class TellHeld:
    """What is held has changed."""


@dataclass(frozen=True, slots=True)
class Changed:
    server: int
    before: State
    now: State


@dataclass(frozen=True, slots=True)
class Count:
    """Something for one of the leader's counters."""

    server: int
    name: str
    step: int


Action = Open | StartWarm | StopWarm | Readdress | Flush | TellHeld | Changed | Count


# ---------------------------------------------------------------- the machine


@dataclass(slots=True)
class Life:
    """What the leader remembers of one server."""

    since_s: float
    counted_until_s: float
    state: State = "up"
    reason: str = ""
    outage: int = 0
    emptied: bool = False  # it lacks what it had, since an outage that is not over
    asked: bool = False  # an operator wants a re-warm
    held: bool = False
    after: After = "stay"
    keep_data: bool = False
    tainted: bool = False
    warm: Warm | None = None
    warm_outage: int = 0
    warm_sources: tuple[int, ...] = ()
    filled_from: frozenset[int] = frozenset()  # all that these had of its keys has been copied
    enough: bool = False  # this re-warm was the last one, however it ended
    failures: int = 0
    wanted_outage: int = 0
    warm_until_s: float = 0.0
    opened_outage: int = 0
    open_again_s: float = 0.0

    @property
    def warm_runs(self) -> bool:
        return self.warm in ("running", "paused", "stopping")


class Lifecycle:
    """All servers of a proxy, by number."""

    def __init__(self, servers: Mapping[int, Server], now_s: float) -> None:
        self.servers = servers
        self.lives = {number: Life(now_s, now_s) for number in servers}
        self._now_s = now_s

    def settle(self, servers: Mapping[int, Server], now_s: float) -> list[Action]:
        """These are configured from now on; whoever copies keys by what was before begins anew."""
        actions: list[Action] = []
        for number in [number for number in self.lives if number not in servers]:
            if self.lives[number].warm_runs:
                actions.append(StopWarm(number, "it is not configured any more"))
            del self.lives[number]
        for number, life in self.lives.items():
            life.filled_from = frozenset()
            if life.warm_runs:
                actions += self._stop_warm(number, life, "the configuration has changed")
        self.servers = servers
        self.lives |= {number: Life(now_s, now_s) for number in servers if number not in self.lives}
        return actions

    @property
    def held(self) -> tuple[int, ...]:
        return tuple(number for number, life in self.lives.items() if life.held)

    def pause_s(self) -> float | None:
        """How soon the next look is worth it, if nothing is heard before; None if nothing is under way."""
        pauses = [self._pause_of(life) for life in self.lives.values()]
        return min((pause for pause in pauses if pause is not None), default=None)

    def look(self, now_s: float, rows: Mapping[int, Row]) -> list[Action]:
        """Call it now and then, with a row of every server; soon after something has happened."""
        self._now_s = now_s
        actions: list[Action] = []
        for number, row in rows.items():
            actions += self._look_at(number, row, rows)
        return actions

    def _look_at(self, number: int, row: Row, rows: Mapping[int, Row]) -> Iterator[Action]:
        life = self.lives[number]
        if row.outage > life.outage:
            yield Count(number, "outages", row.outage - life.outage)
            life.outage, life.since_s = row.outage, self._now_s
            if not life.held:
                life.enough, life.failures = False, 0
            life.filled_from = frozenset()
        yield from self._count_time(number, life)
        life.emptied = life.emptied or _any_emptied(row)
        now = _state(row, life.held)
        if now != life.state:
            yield Changed(number, life.state, now)
            if now == "up":
                yield Count(number, "returns", 1)
                life.emptied = life.enough = False
                life.failures = 0
            life.state, life.since_s = now, self._now_s
        if life.warm_runs and (now != "warming" or life.warm_outage != row.outage):
            yield from self._stop_warm(number, life, f"the server is {now}")
        if now == "warming":
            yield from self._fill(number, life, row, rows)
        elif now == "drained" and life.after != "stay" and not life.warm_runs:
            yield from self._let_go(number, life)

    def _fill(self, number: int, life: Life, row: Row, rows: Mapping[int, Row]) -> Iterator[Action]:
        """Every worker is clean: what is still to be done before it is open?"""
        server = self.servers[number]
        if life.warm_runs:
            if self._now_s >= life.warm_until_s:
                life.enough = True
                yield from self._stop_warm(number, life, "warm_for_at_most_ms has passed")
            return
        if life.tainted:
            if self._now_s - life.since_s >= SETTLE_S:
                self.hold(number, "flush")
                life.reason = "a re-warm has left copies that were not verified"
                yield TellHeld()
            return
        if (life.asked or (life.emptied and server.rewarm)) and not life.enough:
            if life.wanted_outage != row.outage:
                life.wanted_outage = row.outage
                life.warm_until_s = self._now_s + server.warm_for_at_most_s
            if self._now_s < life.warm_until_s:
                left = [each for each in server.sources if each not in life.filled_from]
                sources = tuple(each for each in left if self._is_readable(each, rows[each]))
                if sources:
                    life.warm, life.warm_outage, life.warm_sources = "running", row.outage, sources
                    yield StartWarm(number, row.outage, sources)
                    return
                # One that is down may stay so: worth waiting for only where there is no other.
                if any(
                    self._may_have_copies(each)
                    and (not life.filled_from or self.lives[each].state in ("returning", "warming"))
                    for each in left
                ):
                    return
        life.asked = False
        if life.opened_outage != row.outage or self._now_s >= life.open_again_s:
            life.opened_outage, life.open_again_s = row.outage, self._now_s + _OPEN_AGAIN_S
            yield Open(number, row.outage)

    def _let_go(self, number: int, life: Life) -> Iterator[Action]:
        if life.after == "replace":
            life.emptied = True
            yield Readdress(number)
        if life.tainted or life.after == "flush" or (life.after == "replace" and not life.keep_data):
            life.emptied = True
            yield Flush(number)
        life.held, life.after, life.tainted = False, "stay", False
        yield TellHeld()

    def _stop_warm(self, number: int, life: Life, why: str) -> Iterator[Action]:
        if life.warm != "stopping":
            life.warm = "stopping"
            yield StopWarm(number, why)

    def _is_readable(self, number: int, row: Row) -> bool:
        return row.opened == row.outage and not self.lives[number].held

    def _may_have_copies(self, number: int) -> bool:
        """Is it worth waiting for a source that cannot be read now? It does not wait for us in its turn."""
        life = self.lives[number]
        return not (life.emptied or life.held or life.asked)

    def _count_time(self, number: int, life: Life) -> Iterator[Count]:
        passed_ms = int((self._now_s - life.counted_until_s) * 1000)
        if passed_ms > 0:
            life.counted_until_s += passed_ms / 1000
            name = "held" if life.state in ("draining", "drained") else life.state
            yield Count(number, f"{name}_ms", passed_ms)

    def _pause_of(self, life: Life) -> float | None:
        if life.state == "up" and not life.held:
            return None
        if life.state == "drained" and life.after == "stay":
            return None
        is_slow = life.warm == "running" or (life.state == "down" and self._now_s - life.since_s > 5)
        return 0.5 if is_slow else 0.05

    # ------------------------------------------------------------ what else happens

    def heard(self, server: int, reason: str) -> None:
        """A worker says why it takes a server for what it does; of one that is held we know it ourselves."""
        if not self.lives[server].held:
            self.lives[server].reason = reason

    def warm_ended(self, server: int, how: Literal["done", "failed", "aborted"], verified: bool) -> None:
        """The process that copied is no more. `verified`: none of its copies can be an old value."""
        life = self.lives.get(server)
        if life is None or not life.warm_runs:
            return
        life.failures += how == "failed"
        if how == "done":
            life.filled_from |= set(life.warm_sources)
        if life.failures >= _MOST_FAILURES:
            life.enough = True
        life.warm = how
        if not verified:
            life.tainted = True

    def pause(self, server: int, paused: bool) -> bool:
        """Has there been anything to pause or resume?"""
        life = self.lives[server]
        if life.warm not in ("running", "paused"):
            return False
        life.warm = "paused" if paused else "running"
        return True

    def abort(self, server: int) -> list[Action]:
        """The operator gives the re-warm up: the server opens as it is. No action: there is none."""
        life = self.lives[server]
        if life.warm not in ("running", "paused"):
            return []
        life.enough = True
        return list(self._stop_warm(server, life, "told to"))

    def hold(self, server: int, after: After = "stay", keep_data: bool = False) -> None:
        """Take it out of service; `after` is what happens once it is drained."""
        life = self.lives[server]
        life.held, life.after, life.keep_data = True, after, keep_data

    def release(self, server: int) -> None:
        """Let it return."""
        life = self.lives[server]
        life.held, life.after = False, "stay"

    def ask_rewarm(self, server: int) -> None:
        """Fill it, once more if need be. One that is up is out of service until it is filled."""
        life = self.lives[server]
        life.asked, life.enough, life.failures = True, False, 0
        life.filled_from = frozenset()
        if life.state == "up":
            self.hold(server, "return")


def _state(row: Row, held: bool) -> State:
    if held:
        return "drained" if _all_down(row) and not row.in_flight else "draining"
    if row.outage == row.opened:
        # In a pool without copies a worker's failure is its own: there is nothing to agree on.
        return "down" if any(_says_down(place, row) for place in row.places) else "up"
    if any(_blocks(place, row.outage) for place in row.places):
        return "down"
    joined = [place.phase for place in row.places if place.alive]
    return "returning" if _RETURNING in joined else "warming"


def _all_down(row: Row) -> bool:
    return all(_says_down(place, row) for place in row.places if place.alive)


def _says_down(place: Place, row: Row) -> bool:
    return place.alive and place.outage == row.outage and place.phase == DOWN


def _blocks(place: Place, outage: int) -> bool:
    if not place.alive:
        return place.used and place.phase in DIRTY
    return not place.used or place.outage != outage or place.phase not in (_RETURNING, CLEAN)


def _any_emptied(row: Row) -> bool:
    return any(place.used and place.emptied and place.outage > row.opened for place in row.places)
