"""The servers of an episode and the pools that they form: which key lives where, and under which name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tests.chaos.holders import NEVER, Holder
from tests.reference.ring import PlainPlacement
from tests.support.memcached import Memcached

Layout = Literal["backups", "copies"]


@dataclass(frozen=True)
class Shape:
    """How many servers of which kind; with a prefix it takes such keys, and its servers do not see it."""

    servers: int
    backups: int = 0
    prefix: str = ""

    @property
    def name(self) -> str:
        return "stripped" if self.prefix else "main"

    def __str__(self) -> str:
        kind = f"{self.servers} + {self.backups} backups" if self.backups else f"{self.servers}, copies: 2"
        return f"{kind} behind {self.prefix}" if self.prefix else kind


FIRST: dict[Layout, Shape] = {"backups": Shape(3, 2), "copies": Shape(3)}
SECOND: dict[Layout, Shape] = {"backups": Shape(2, 1, "there/"), "copies": Shape(4, prefix="there/")}


@dataclass(eq=False)
class Node:
    """A server or a backup, with or without a relay before it. Names are unique among all pools."""

    holder: Holder
    memcached: Memcached
    pool: str = "main"
    relay: int | None = None
    port: int = 0
    fault_over_at: float = -NEVER
    """NEVER while a fault is under way."""
    outages_before: int = 0
    must_be_noticed: bool = False

    @property
    def name(self) -> str:
        return self.holder.name

    @property
    def is_backup(self) -> bool:
        return self.name.startswith("b")

    @property
    def label(self) -> str:
        """As `stats servers` has it."""
        return f"{self.pool}:{self.name}{':backup' if self.is_backup else ''}"

    @property
    def written(self) -> dict[str, Any]:
        return {"address": f"127.0.0.1:{self.port}", "name": self.name}


class Pool:
    def __init__(self, shape: Shape, nodes: list[Node]) -> None:
        """`nodes`: of this pool, servers before backups."""
        self.shape = shape
        self.nodes = nodes
        owners, copies = (
            [(node.name, "", 0, 1) for node in nodes if node.is_backup is is_backup]
            for is_backup in (False, True)
        )
        self._placement = PlainPlacement(owners, copies, "ketama", "md5", copies=1 if copies else 2)

    def written(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """As it stands in the file."""
        servers, backups = (
            [node.written for node in self.nodes if node.is_backup is is_backup]
            for is_backup in (False, True)
        )
        routed = {"prefixes": [self.shape.prefix], "strip_prefix": True} if self.shape.prefix else {}
        doubled = {"backups": backups} if backups else {"copies": 2}
        return {"servers": servers, **doubled, **routed, **settings}

    def key_of(self, name: str) -> bytes:
        return (self.shape.prefix + name).encode()

    def held_as(self, key: bytes) -> bytes:
        """What its servers know it as."""
        return key.removeprefix(self.shape.prefix.encode())

    def nodes_of(self, key: bytes) -> tuple[Node, Node]:
        owner, copy = self._placement.locate(self.held_as(key))
        return self.nodes[owner], self.nodes[copy + (self.shape.servers if self.shape.backups else 0)]
