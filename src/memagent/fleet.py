"""The servers of all pools by their numbers, as they are configured now.

- A server has its number as long as it is configured; that of one that is gone is given again after `let_go`.
  It is the same server by its pool, its name, and what cannot change while it runs.
- At first they are numbered as they stand in the file: over all pools, a pool's servers before its backups.
- `config` is what is in force: a server that was replaced stands in it with its new address, in such words
  that its ring has not moved.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from pydantic import ValidationError

from memagent.addresses import Address, parse_address
from memagent.settings import MOST_POOLS, Config, PoolConfig, ServerConfig
from memagent.topology import name_on_ring
from memagent.units import quoted


@dataclass(frozen=True, slots=True)
class Member:
    """A server and where it stands."""

    number: int
    pool: PoolConfig
    server: ServerConfig
    backup: bool
    place: int  # among the pool's servers and then its backups
    replaced: bool

    @property
    def address(self) -> str:
        return str(Address(self.server.host, self.server.port, self.server.path))

    @property
    def host(self) -> str | None:
        """What a name server may be asked; None for a Unix socket."""
        return None if self.server.path is not None else self.server.host


class Change(NamedTuple):
    """What a new configuration means: servers by their numbers, and what those are to be that move.

    `new_pools`: the numbers of pools that were not there.
    """

    joined: tuple[int, ...]
    left: tuple[int, ...]
    moving: dict[int, ServerConfig]
    new_pools: tuple[int, ...]


class Fleet:
    """All servers of a proxy. `members` stand in the order of the configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._replaced: set[int] = set()
        self._leaving: set[int] = set()
        self._pools = {pool.name: number for number, pool in enumerate(config.pools)}
        self._settle(range(sum(1 for _ in _seats(config))))

    def _settle(self, numbers: Iterable[int]) -> None:
        self.members: dict[int, Member] = {
            number: Member(number, seat.pool, seat.server, seat.backup, seat.place, number in self._replaced)
            for number, seat in zip(numbers, _seats(self.config), strict=True)
        }

    @property
    def numbers(self) -> tuple[int, ...]:
        """In the order of the configuration."""
        return tuple(self.members)

    @property
    def pool_numbers(self) -> tuple[int, ...]:
        """In the order of the configuration."""
        return tuple(self._pools[pool.name] for pool in self.config.pools)

    def _number_pools(self, config: Config) -> tuple[int, ...]:
        """A pool keeps its number; the numbers of pools that came."""
        before = self._pools
        names = [pool.name for pool in config.pools]
        kept = {name: before[name] for name in names if name in before}
        # what has just left may still be counted for: other numbers first
        free = sorted(set(range(MOST_POOLS)).difference(kept.values()), key=set(before.values()).__contains__)
        new = dict(zip([name for name in names if name not in before], free, strict=False))
        self._pools = kept | new
        return tuple(new.values())

    def change(self, config: Config) -> "Change":
        """From now on it is so. A server that moves stays where it is until `replace` is called for it."""
        before = {
            _identity(seat): number for number, seat in zip(self.numbers, _seats(self.config), strict=True)
        }
        there = {number: member.server for number, member in self.members.items()}
        taken = {*self.members, *self._leaving}
        free = (number for number in count() if number not in taken)
        numbers, moving = [], {}
        for seat in _seats(config):
            number = before.get(_identity(seat))
            if number is None:
                number = next(free)
            elif not _same_place(there[number], seat.server):
                moving[number] = seat.server
            numbers.append(number)
        left = tuple(number for number in self.members if number not in numbers)
        joined = tuple(number for number in numbers if number not in self.members)
        self._leaving.update(left)
        self._replaced.clear()
        new_pools = self._number_pools(config)
        self.config = config
        self._settle(numbers)
        for number, server in moving.items():
            self.config = self._with(number, there[number].model_copy(update={"weight": server.weight}))
        self._settle(numbers)
        return Change(joined, left, moving, new_pools)

    def stay(self, config: Config) -> None:
        """Of the same servers something else is configured."""
        self.config = config
        self._settle(self.numbers)

    @property
    def leaving(self) -> frozenset[int]:
        """Numbers of servers that are gone, and that somebody may still use."""
        return frozenset(self._leaving)

    def let_go(self, number: int) -> None:
        """Nobody uses it any more."""
        self._leaving.discard(number)

    def of_pool(self, pool: PoolConfig) -> list[Member]:
        """In the order of their places."""
        return [member for member in self.members.values() if member.pool.name == pool.name]

    def sources(self, number: int) -> tuple[int, ...]:
        """Who holds copies of this server's keys."""
        member = self.members[number]
        moving = member.pool.migration
        if not (member.pool.has_copies or (moving is not None and moving.phase == "copy")):
            return ()
        others = [each for each in self.of_pool(member.pool) if each.number != number]
        if member.pool.backups:
            others = [each for each in others if each.backup != member.backup]
        return tuple(each.number for each in others)

    def find(self, name: str, pool: str | None, backup: bool | None) -> list[Member]:
        """By name or address, or POOL/NAME as `magent servers` has it: the one, none, or all that fit."""
        among = [
            each
            for each in self.members.values()
            if (pool is None or each.pool.name == pool) and (backup is None or each.backup == backup)
        ]
        named = [each for each in among if name in (each.server.name, f"{each.pool.name}/{each.server.name}")]
        return named or [
            each
            for each in among
            if name in (each.address, each.server.address, f"{each.pool.name}/{each.address}")
        ]

    def with_address(self, number: int, text: str) -> ServerConfig:
        """What the server would be at this address; ValueError, in words, if it cannot be there."""
        member = self.members[number]
        address = parse_address(text)
        for other in self.of_pool(member.pool):
            if str(address) == other.address:
                what = "is where it is already" if other.number == number else f"is {other.server.name}"
                raise ValueError(f"{quoted(text)} {what}")
        given: dict[str, object] = {"address": text, "weight": member.server.weight}
        name = name_on_ring(member.pool, member.server)
        if name is not None:
            given["name"] = name
        server = ServerConfig.model_validate(given)
        try:
            self._with(number, server)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(str(first.get("ctx", {}).get("error", first["msg"]))) from None
        return server

    def replace(self, number: int, server: ServerConfig, in_file: bool = False) -> None:
        """It is another machine from now on. `in_file`: as the configuration says; else that is behind."""
        self.config = self._with(number, server)
        if not in_file:
            self._replaced.add(number)
        self._settle(self.numbers)

    def _with(self, number: int, server: ServerConfig) -> Config:
        member = self.members[number]
        servers = [*member.pool.servers, *member.pool.backups]
        servers[member.place] = server
        border = len(member.pool.servers)
        changed = PoolConfig.model_validate(
            {
                **dict(member.pool),
                "servers": tuple(servers[:border]),
                "backups": tuple(servers[border:]),
            }
        )
        pools = tuple(changed if each.name == changed.name else each for each in self.config.pools)
        return self.config.model_copy(update={"pools": pools})


class _Seat(NamedTuple):
    pool: PoolConfig
    server: ServerConfig
    backup: bool
    place: int


def _seats(config: Config) -> Iterator[_Seat]:
    for pool in config.pools:
        for place, server in enumerate((*pool.servers, *pool.backups)):
            yield _Seat(pool, server, place >= len(pool.servers), place)


def _identity(seat: _Seat) -> tuple[object, ...]:
    """What makes it the same server; its connections and what it keeps for others are made once."""
    pool = seat.pool
    return pool.name, seat.backup, seat.server.name, pool.has_copies, pool.connections_per_server


def _same_place(one: ServerConfig, other: ServerConfig) -> bool:
    return (one.host, one.port, one.path) == (other.host, other.port, other.path)
