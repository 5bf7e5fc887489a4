"""The processes of an episode: memcacheds, relays, a proxy; and what they say of themselves."""

import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from tests.chaos.history import Events
from tests.chaos.holders import NEVER, Holder, Pair
from tests.chaos.relays import Relays
from tests.chaos.workers import Workers
from tests.reference.ring import PlainPlacement
from tests.support.memcached import Memcached, Version
from tests.support.proxy import Proxy

Layout = Literal["backups", "copies"]
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
    workers: int = 1
    request_timeout_ms: int = 500
    acknowledge: str = "owner"
    pool: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def draw(cls, rng: random.Random) -> "Variant":
        return cls(
            layout=rng.choice(("backups", "backups", "copies")),
            kind=rng.choice(("old", "new", "mixed")),
            workers=rng.choice((1, 2)),
            request_timeout_ms=rng.choice((300, 500, 1000)),
            acknowledge=rng.choice(("owner", "owner", "all")),
            pool=rng.choice(POOLS),
        )

    def __str__(self) -> str:
        rest = "".join(f", {name} {value}" for name, value in self.pool.items())
        return (
            f"{'3 servers + 2 backups' if self.layout == 'backups' else '3 servers, copies: 2'}, memcached "
            f"{self.kind}, {self.workers} worker(s), request_timeout_ms {self.request_timeout_ms}, "
            f"acknowledge {self.acknowledge}{rest}"
        )


@dataclass(eq=False)
class Node:
    """A server or a backup, with or without a relay before it."""

    holder: Holder
    memcached: Memcached
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
    def written(self) -> dict[str, Any]:
        return {"address": f"127.0.0.1:{self.port}", "name": self.name}


class World:
    def __init__(self, variant: Variant, rng: random.Random) -> None:
        self.variant = variant
        self.events = Events()
        self.folder = Path(tempfile.mkdtemp(prefix="memagent-chaos-"))
        self.relays: Relays | None = None
        self.proxy: Proxy | None = None
        self._workers: Workers | None = None
        self.nodes: list[Node] = []
        self.last_stats: dict[str, str] = {}
        try:
            self._start(rng)
        except BaseException:
            self.close()
            raise

    def _start(self, rng: random.Random) -> None:
        names = ["s0", "s1", "s2", "b0", "b1"] if self.variant.layout == "backups" else ["s0", "s1", "s2"]
        for number, name in enumerate(names):
            old = self.variant.kind == "old" or (self.variant.kind == "mixed" and number % 2)
            version: Version = "old" if old else "new"
            self.nodes.append(Node(Holder(name), memcached := Memcached.start(version)))
            numbers = memcached.stats()["version"].split(".")
            self.nodes[-1].holder.may_spare = tuple(map(int, numbers)) >= SPARES_SINCE
        relayed = [node for node in self.nodes if rng.random() < 0.6] or self.nodes[:1]
        self.relays = Relays(self.folder, [("127.0.0.1", node.memcached.port) for node in relayed])
        for node in self.nodes:
            node.port = node.memcached.port
        for number, node in enumerate(relayed):
            node.relay, node.port = number, self.relays.ports[number]
        servers = [node.written for node in self.nodes if node.name.startswith("s")]
        backups = [node.written for node in self.nodes if node.name.startswith("b")]
        self._servers, self._backups = servers, backups
        self._pool = {
            "request_timeout_ms": self.variant.request_timeout_ms,
            "acknowledge": self.variant.acknowledge,
            "probe_max_ms": 1000,
            **({} if backups else {"copies": 2}),
            **self.variant.pool,
        }
        self._settings = {"control_socket": str(self.folder / "control.sock")}
        self.proxy = Proxy.start(
            servers, backups, workers=self.variant.workers, pool=self._pool, settings=self._settings
        )
        self._workers = Workers(self.proxy, self.variant.workers)
        owners, copies = ([(each["name"], "", 0, 1) for each in written] for written in (servers, backups))
        self._placement = PlainPlacement(owners, copies, "ketama", "md5", copies=1 if backups else 2)

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

    def nodes_of(self, key: bytes) -> tuple[Node, Node]:
        owner, copy = self._placement.locate(key)
        offset = 3 if self.variant.layout == "backups" else 0
        return self.nodes[owner], self.nodes[offset + copy]

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
        part = ":backup" if node.name.startswith("b") else ""
        return int(self.last_stats.get(f"main:{node.name}{part}:{name}", 0))

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
        """The same servers, and other numbers for their pool."""
        assert self.proxy is not None
        self.events.add("proxy", f"told to reload, {pool}")
        self.proxy.write_config(
            self._servers, self._backups, pool={**self._pool, **pool}, settings=self._settings
        )
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
                    b"".join(b"mg %b O%d v u q\r\n" % (key, n) for n, key in enumerate(some)) + b"mn\r\n"
                )
                while (line := wire.read_line()) != b"MN\r\n":
                    _, length, number = line.split()
                    found[some[int(number[1:])]] = wire.read_exact(int(length) + 2)[:-2]
        return found

    def look_at_one(self, key: bytes) -> str:
        """For a report: what both holders of a key hold: flags, seconds to live and cas unique; was it read
        before, how many seconds ago was it used last; and how often was the server flushed."""
        texts = []
        for node in self.nodes_of(key):
            try:
                with node.memcached.connect(0.2) as wire:
                    head = wire.ask(b"mg " + key + b" v f t c h l u\r\n").decode().strip()
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
