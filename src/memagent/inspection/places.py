"""A pool as an inspector sees it: who holds a key, and a connection to each holder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Final, Literal, Protocol, Self

from memagent.addresses import Address
from memagent.errors import ServerError
from memagent.inspection.client import Connection, Item
from memagent.settings import PoolConfig, ServerConfig

Role = Literal["server", "backup"]
_MOST_FAILURES: Final = 2


class Placing(Protocol):
    """What is needed of a `Placement`."""

    def locate(self, key: bytes) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class Holder:
    name: str
    role: Role
    address: Address


class Places:
    """`holders` are the pool's servers, then its backups."""

    def __init__(self, pool: PoolConfig, placing: Placing) -> None:
        self.pool = pool
        self._placing = placing
        self._first_of_copies = len(pool.servers) if pool.backups else 0
        self.holders = (
            *(_holder(server, "server") for server in pool.servers),
            *(_holder(server, "backup") for server in pool.backups),
        )

    def of(self, key: bytes) -> tuple[Holder, Holder | None]:
        """Owner and copy of a key."""
        owner, copy = self.positions_of(key)
        return self.holders[owner], self.holders[copy] if copy >= 0 else None

    def positions_of(self, key: bytes) -> tuple[int, int]:
        """The same as positions in `holders`; -1 for no copy."""
        owner, copy = self._placing.locate(key)
        return owner, copy if copy < 0 else self._first_of_copies + copy


class Looker:
    """Looks at keys on holders. One that has failed twice is not asked again: `failures` says why.

    `out` are not asked at all, and why.
    """

    def __init__(self, timeout_s: float, out: Mapping[Holder, str] = MappingProxyType({})) -> None:
        self._timeout_s = timeout_s
        self._connections: dict[Holder, Connection] = {}
        self._tries = dict.fromkeys(out, _MOST_FAILURES)
        self._bytes_before = 0
        self.failures = dict(out)

    @property
    def bytes_read(self) -> int:
        return self._bytes_before + sum(each.bytes_read for each in self._connections.values())

    def look(self, holder: Holder, keys: Sequence[bytes], keep_bytes: int = 0) -> list[Item | None]:
        """ServerError if it cannot be asked."""
        if self._tries.get(holder, 0) >= _MOST_FAILURES:
            raise ServerError(self.failures[holder])
        try:
            connection = self._connections.get(holder)
            if connection is None:
                connection = Connection.open(holder.address, self._timeout_s)
                self._connections[holder] = connection
            return connection.look(keys, keep_bytes)
        except ServerError as error:
            self._tries[holder] = self._tries.get(holder, 0) + 1
            self.failures[holder] = error.message
            self._drop(holder)
            raise

    def _drop(self, holder: Holder) -> None:
        connection = self._connections.pop(holder, None)
        if connection is not None:
            self._bytes_before += connection.bytes_read
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for holder in list(self._connections):
            self._drop(holder)


def _holder(server: ServerConfig, role: Role) -> Holder:
    return Holder(server.name, role, Address(server.host, server.port, server.path))
