"""The processes of an episode: memcacheds, relays, a proxy; and what they say of themselves."""

import json
import random
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Literal

from tests.chaos.history import Events
from tests.chaos.holders import NEVER, Holder, Pair
from tests.chaos.pools import FIRST, SECOND, Layout, Node, Pool, Shape
from tests.chaos.relays import Relays
from tests.chaos.workers import Workers
from tests.support.memcached import Memcached, Version
from tests.support.proxy import Proxy

Kind = Literal["old", "new", "mixed"]

GRACE_S = 0.5
"""So long after a fault the proxy has noticed whatever there is to notice without asking."""

UNNOTICED_S = 3.0
"""A proxy that has noticed nothing for so long is taken at its word when it says up."""

SPARES_SINCE = (1, 6, 25)
"""From this version on memcached's flush_all may spare items that are in use."""

POOLS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"failure_limit": 1},
    {"probe_max_ms": 400},
    {"connections_per_server": 2},
)


@dataclass(frozen=True)
class Variant:
    """What an episode runs against."""

    layout: Layout = "backups"
    kind: Kind = "mixed"
    second: Layout | None = None
    """Of a second pool, whose keys have a prefix."""
    workers: int = 1
    request_timeout_ms: int = 500
    acknowledge: str = "owner"
    pool: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def draw(cls, rng: random.Random) -> "Variant":
        return cls(
            layout=rng.choice(("backups", "backups", "copies")),
            kind=rng.choice(("old", "new", "mixed")),
            second=rng.choice((None, None, "backups", "copies")),
            workers=rng.choice((1, 2)),
            request_timeout_ms=rng.choice((300, 500, 1000)),
            acknowledge=rng.choice(("owner", "owner", "all")),
            pool=rng.choice(POOLS),
        )

    @property
    def shapes(self) -> list[Shape]:
        return [FIRST[self.layout]] + ([SECOND[self.second]] if self.second else [])

    @property
    def servers(self) -> str:
        return " and ".join(map(str, self.shapes))

    def __str__(self) -> str:
        rest = "".join(f", {name} {value}" for name, value in self.pool.items())
        return (
            f"servers {self.servers}, memcached {self.kind}, {self.workers} worker(s), "
            f"request_timeout_ms {self.request_timeout_ms}, acknowledge {self.acknowledge}{rest}"
        )


class World:
    def __init__(self, variant: Variant, rng: random.Random) -> None:
        self.variant = variant
        self.events = Events()
        self.folder = Path(tempfile.mkdtemp(prefix="memagent-chaos-"))
        self.relays: Relays | None = None
        self.proxy: Proxy | None = None
        self._workers: Workers | None = None
        self.nodes: list[Node] = []
        """Of all pools, as they stand in the file."""
        self.last_stats: dict[str, str] = {}
        try:
            self._start(rng)
        except BaseException:
            self.close()
            raise

    def _start(self, rng: random.Random) -> None:
        servers, backups = count(), count()
        for shape in self.variant.shapes:
            names = [f"s{next(servers)}" for _ in range(shape.servers)]
            for name in names + [f"b{next(backups)}" for _ in range(shape.backups)]:
                self._start_memcached(name, shape.name)
        relayed = [node for node in self.nodes if rng.random() < 0.6] or self.nodes[:1]
        self.relays = Relays(self.folder, [("127.0.0.1", node.memcached.port) for node in relayed])
        for node in self.nodes:
            node.port = node.memcached.port
        for number, node in enumerate(relayed):
            node.relay, node.port = number, self.relays.ports[number]
        self._pools = [
            Pool(shape, [node for node in self.nodes if node.pool == shape.name])
            for shape in self.variant.shapes
        ]
        self.proxy = Proxy.start(workers=self.variant.workers, settings=self._written())
        self._workers = Workers(self.proxy, self.variant.workers)

    def _start_memcached(self, name: str, pool: str) -> None:
        old = self.variant.kind == "old" or (self.variant.kind == "mixed" and len(self.nodes) % 2)
        version: Version = "old" if old else "new"
        self.nodes.append(Node(Holder(name), memcached := Memcached.start(version), pool))
        numbers = memcached.stats()["version"].split(".")
        self.nodes[-1].holder.may_spare = tuple(map(int, numbers)) >= SPARES_SINCE

    def _written(self, **pool: Any) -> dict[str, Any]:
        """The configuration; what is in `pool` is so in every pool."""
        settings = {
            "request_timeout_ms": self.variant.request_timeout_ms,
            "acknowledge": self.variant.acknowledge,
            "probe_max_ms": 1000,
            **self.variant.pool,
            **pool,
        }
        return {
            "control_socket": str(self.folder / "control.sock"),
            "pools": {each.shape.name: each.written(settings) for each in self._pools},
        }

    @property
    def workers(self) -> Workers:
        assert self._workers is not None
        return self._workers

    @property
    def limit_s(self) -> float:
        """No reply may take longer."""
        return self.variant.request_timeout_ms / 1000 + 0.25

    def pair_of(self, key: bytes) -> Pair:
        owner, copy = (node.holder for node in self.nodes_of(key))
        return Pair(owner, copy, lambda *when: self.workers.was_absent(*when))

    def key_of(self, name: str) -> bytes:
        """One pool's or the other's, by chance that comes again."""
        return self._pools[zlib.crc32(name.encode()) % len(self._pools)].key_of(name)

    def nodes_of(self, key: bytes) -> tuple[Node, Node]:
        return self._pool_of(key).nodes_of(key)

    def _pool_of(self, key: bytes) -> Pool:
        return max(
            (each for each in self._pools if key.startswith(each.shape.prefix.encode())),
            key=lambda each: len(each.shape.prefix),
        )

    # --- what the proxy says ---

    def listen_to(self, stats: dict[str, str], asked_at: float) -> None:
        """The answer to `stats servers`: who is up for every worker."""
        self.last_stats = stats
        for node in self.nodes:
            is_up = self._stat(node, "up") == 1 and self._stat(node, "state") == 0
            if not is_up or node.holder.sound_since != NEVER or asked_at < node.fault_over_at + GRACE_S:
                continue
            is_noticed = not node.must_be_noticed or self._stat(node, "outages") > node.outages_before
            if is_noticed or asked_at > node.fault_over_at + UNNOTICED_S:
                node.holder.is_called_up(asked_at)
                self.events.add(node.name, "said to be up" + ("" if is_noticed else ", its fault unnoticed"))

    def _stat(self, node: Node, name: str) -> int:
        return int(self.last_stats.get(f"{node.label}:{name}", 0))

    @property
    def is_whole(self) -> bool:
        return all(node.holder.sound_since != NEVER for node in self.nodes)

    def describe_states(self, *wanted: Node) -> str:
        """As the workers say now, with journals as they were when last asked."""
        return "\n".join(
            f"   {node.name}, pid {node.memcached.pid}: {self.workers.words(self.nodes.index(node))}; "
            + ", ".join(f"{name} {self._stat(node, name)}" for name in ("journal_keys", "warm_per_cent"))
            for node in wanted or self.nodes
        )

    def logged(self, seconds: float) -> list[str]:
        """What the proxy's log has of the last seconds, with the times of `events`."""
        assert self.proxy is not None
        offset = time.time() - time.monotonic() + self.events.start
        found = []
        for line in self.proxy.output().splitlines():
            try:
                said = json.loads(line)
                at = datetime.fromisoformat(said.pop("timestamp")).timestamp() - offset
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if at >= time.monotonic() - self.events.start - seconds:
                said.pop("level", None)
                event = said.pop("event", "")
                rest = ", ".join(f"{name} {value}" for name, value in said.items())
                found.append(f".. {at:9.4f} {event}: {rest}")
        return found

    # --- faults ---

    def fault_begins(self, node: Node, text: str, must_be_noticed: bool = False) -> None:
        node.holder.fault_begins()
        node.fault_over_at = NEVER
        node.outages_before = self._stat(node, "outages")
        node.must_be_noticed = must_be_noticed
        self.events.add(node.name, text)

    def fault_is_over(self, node: Node, text: str) -> None:
        self.events.add(node.name, text)
        node.fault_over_at = time.monotonic()

    def reload(self, **pool: Any) -> None:
        """The same servers, and other numbers for their pools."""
        assert self.proxy is not None
        self.events.add("proxy", f"told to reload, {pool}")
        self.proxy.write_config([], settings=self._written(**pool))
        self.proxy.reload()

    def tell_relay(self, node: Node, method: str, *args: Any) -> Any:
        assert self.relays is not None
        assert node.relay is not None
        return self.relays.ask(node.relay, method, *args)

    # --- looking behind the proxy ---

    def look(self, node: Node, keys: Sequence[bytes], deadline_s: float = 2.0) -> dict[bytes, bytes]:
        """What the server itself holds; for its LRU nobody has looked."""
        found: dict[bytes, bytes] = {}
        with node.memcached.connect(deadline_s) as wire:
            for start in range(0, len(keys), 50):
                some = keys[start : start + 50]
                # By number: an item that was stored with a key in base64 writes its key so.
                wire.send(
                    b"".join(
                        b"mg %b O%d v u q\r\n" % (self._pool_of(key).held_as(key), n)
                        for n, key in enumerate(some)
                    )
                    + b"mn\r\n"
                )
                while (line := wire.read_line()) != b"MN\r\n":
                    _, length, number = line.split()
                    found[some[int(number[1:])]] = wire.read_exact(int(length) + 2)[:-2]
        return found

    def look_at_one(self, key: bytes) -> str:
        """For a report: what both holders of a key hold: flags, seconds to live and cas unique; was it read
        before, how many seconds ago was it used last; and how often was the server flushed."""
        texts, held = [], self._pool_of(key).held_as(key)
        for node in self.nodes_of(key):
            try:
                with node.memcached.connect(0.2) as wire:
                    head = wire.ask(b"mg " + held + b" v f t c h l u\r\n").decode().strip()
                    if head.startswith("VA "):
                        head += f" {wire.read_exact(int(head.split()[1]) + 2)[:80].rstrip()!r}"
                    flushes = wire.stats()["cmd_flush"]
                texts.append(f"{node.name} {head} cmd_flush {flushes}")
            except OSError as error:
                texts.append(f"{node.name} {error!r}")
        return "; ".join(texts)

    def heal(self, nodes: Iterable[Node] | None = None) -> None:
        for node in nodes or self.nodes:
            if node.memcached.alive:
                node.memcached.resume()
            else:
                node.memcached.restart()

    def close(self) -> None:
        for node in self.nodes:
            node.memcached.kill()
            node.memcached.stop()
        if self._workers is not None:
            self._workers.close()
        if self.proxy is not None:
            self.proxy.clean_up()
        if self.relays is not None:
            self.relays.close()
        shutil.rmtree(self.folder, ignore_errors=True)
