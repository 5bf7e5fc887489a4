"""The compiled core in a world without sockets: clients, fake memcacheds, and a clock that stands still.

    world = World(n_servers=2)
    client = world.client()
    client.send(b"get a\\r\\n")
    world.run()                     # until nothing moves
    assert client.take() == b"END\\r\\n"

Connections need no making here: a new one greets at once, unless its server is dead, mute or frozen.
A server that `holds` takes requests and keeps its replies until its `wire` moves them, or until `release`.
`World.finish` ends everything and returns what is left over, which is nothing.
"""

import gc
from collections.abc import Sequence
from itertools import count

from memagent._core.buffer import Memory
from memagent._core.channel import Channel
from memagent._core.exchange import Broadcast
from memagent._core.gathering import Gathering, Share
from memagent._core.hot import HotKeys, hot_slots
from memagent._core.identity import Identity, make_mark
from memagent._core.latency import Histograms, histogram_slots
from memagent._core.marks import Marks
from memagent._core.metrics import Block
from memagent._core.multiget import MultiGet
from memagent._core.mutation import Mutation
from memagent._core.observer import Observer
from memagent._core.pool import Pool
from memagent._core.repair import Repair
from memagent._core.reply import ReplyParser
from memagent._core.retrieval import Retrieval
from memagent._core.ring import Placement
from memagent._core.routes import Route, Routes
from memagent._core.server import Server
from memagent._core.session import Context, Session
from memagent._core.sighting import Sightings, sightings_slots
from memagent._core.standing import Standing
from memagent._core.timers import Timers
from memagent._core.turn import Turn
from memagent.counters import SERVER_COUNTERS, SERVER_INDEX, VERB_CLASSES, WORKER_COUNTERS, WORKER_INDEX

from .fake_memcached import Conversation, Store

READ_BYTES = 64 * 1024
LONG_US = 3_600_000_000
SIGHTINGS = 64
PROBE_US = 1_000_000  # for the answer to a probe


class Wire:
    """A connection between a channel and its fake server."""

    def __init__(self, fake: "FakeServer", channel: Channel) -> None:
        self.fake = fake
        self.channel = channel
        self.renew()

    def renew(self) -> None:
        self.conversation = Conversation(self.fake.store)
        self.replies = b""
        self.unread = b""  # what the kernel has for a server that does not run

    def move_requests(self, limit: int = -1) -> bool:
        """What the proxy has to send, to the server."""
        data = self.channel.output(limit)
        if self.fake.is_frozen:
            self.unread += data
        elif not self.fake.is_mute:
            self.take(data)
        return bool(data)

    def take(self, data: bytes) -> None:
        for reply in self.conversation.receive(data):
            self.replies += reply
        self.fake.lines += self.conversation.lines
        self.conversation.lines.clear()

    def move_replies(self, limit: int | None = None) -> bool:
        """What the server has to say, to the proxy."""
        data, self.replies = (
            (self.replies, b"") if limit is None else (self.replies[:limit], self.replies[limit:])
        )
        if data:
            self.say(data)
        return bool(data)

    def say(self, data: bytes) -> int:
        """Any bytes from the server. As the socket's owner does: garbage ends the connection."""
        completed = self.channel.feed(data)
        if completed < 0:
            self.lose()
        elif completed:
            self.fake.server.hear()
        return completed

    def lose(self) -> None:
        """The connection ends; while the server is up there is a new one at once."""
        server = self.fake.server
        self.fake.keep_old(self)
        self.channel.end(server.up)
        self.renew()
        if server.up:
            self.fake.greet()


class FakeServer:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.store = Store()
        self.lines: list[bytes] = []  # request lines in the order of their arrival
        self.holds = False
        self.is_mute = False  # takes bytes and never answers them
        self.is_dead = False
        self.is_frozen = False  # does not run, and will do later what it has got
        self.pid = 1
        self.started_s = 1_700_000_000
        self.version = (1, 4, 31)
        self.speaks_meta = False
        self.old: list[Wire] = []  # connections that were given up while it was frozen
        self.wires = [Wire(self, channel) for channel in server.channels]
        self._probe_until_us = 0
        if server.up:
            self.greet()

    @property
    def identity(self) -> Identity:
        return Identity(
            make_mark(self.pid, self.started_s), self.started_s + 60, self.version, self.speaks_meta
        )

    def greet(self) -> None:
        """A fresh connection asks who is there."""
        if not (self.is_dead or self.is_mute or self.is_frozen):
            self.server.greet(self.identity)

    @property
    def wire(self) -> Wire:
        return self.wires[0]

    def step(self) -> bool:
        moved = False
        if self.server.fallen:
            for wire in self.wires:
                self.keep_old(wire)
                wire.renew()
            self.server.end_connections()
            moved = True
        if self.server.is_probing and not (self.holds or self.is_dead or self.is_mute or self.is_frozen):
            self.greet()
            moved = True
        for wire in self.wires:
            moved |= wire.move_requests()
            if not self.holds:
                moved |= wire.move_replies()
        return moved

    def release(self) -> None:
        self.holds = False

    def die(self) -> None:
        """Every connection ends and none can be made."""
        self.is_dead = True
        self.server.fail("cannot connect: refused")
        for wire in self.wires:
            wire.lose()

    def restart(self) -> None:
        """Quicker than anybody sees: another process, and it is empty."""
        self.pid += 1
        self.started_s += 100
        self.store.items.clear()
        self.drop_old()
        self.is_frozen = self.is_dead = False
        for wire in self.wires:
            wire.lose()

    def freeze(self) -> None:
        self.is_frozen = True

    def thaw(self) -> None:
        """It runs again; what it had got is done, but on connections given up, where `do_late` does it."""
        self.is_frozen = False
        for wire in self.wires:
            data, wire.unread = wire.unread, b""
            wire.take(data)

    def do_late(self) -> None:
        """What it had got on connections that nobody has any more is done, and they end."""
        for wire in self.old:
            wire.take(wire.unread)
        self.drop_old()

    def keep_old(self, wire: Wire) -> None:
        """A frozen server's connection is given up: what it brought is in the kernel's hands."""
        if self.is_frozen and wire.unread:
            kept = Wire.__new__(Wire)
            kept.fake, kept.conversation, kept.unread, kept.replies = (
                *(self, wire.conversation, wire.unread),
                b"",
            )
            self.old.append(kept)
            self.server.lingering += 1

    def drop_old(self) -> None:
        self.server.lingering -= len(self.old)
        self.old.clear()

    def tick(self, now_us: int) -> None:
        """What the sockets' owner does from time to time: end waits, go on with a return, probe."""
        server = self.server
        server.pass_time()
        if server.state_name != "down" or server.held:
            return
        if server.is_probing:
            if now_us >= self._probe_until_us:
                server.fail_probe()
            return
        for wire in self.wires:
            wire.lose()
        if now_us >= server.probe_at_us:
            server.ask_probe()
            self._probe_until_us = now_us + PROBE_US
            if self.is_dead:
                server.fail_probe()


class Client:
    def __init__(self, context: Context, routes: Routes) -> None:
        self.session: Session | None = Session(context, routes)
        self.unsent = b""
        self.reads = True
        self.received = b""
        self.closed_by_proxy = ""

    def send(self, data: bytes, piece_bytes: int = 0) -> None:
        """In one piece, or in many: each is read by the proxy before the next one comes."""
        assert self.session
        if not piece_bytes:
            self.unsent += data
            return
        for start in range(0, len(data), piece_bytes):
            self.session.feed(data[start : start + piece_bytes])

    def take(self) -> bytes:
        """What was received since the last call."""
        received, self.received = self.received, b""
        return received

    def step(self, limit: int = READ_BYTES) -> bool:
        """Go on; the proxy reads `limit` bytes at most."""
        session = self.session
        if session is None:
            return False
        if session.has_overflowed:
            self._closed("unread")
            return False
        session.settle_down()
        moved = False
        if self.unsent and session.wants_input:
            data, self.unsent = self.unsent[:limit], self.unsent[limit:]
            session.feed(data)
            moved = bool(data)
        if self.reads:
            out = session.output()
            self.received += out
            if session.is_closing and session.waiting_for == 0:
                self._closed("end")
            moved |= bool(out)
        return moved

    def hang_up(self) -> None:
        if self.session:
            self.session.hang_up()
        self.session = None

    def _closed(self, reason: str) -> None:
        self.closed_by_proxy = reason
        self.hang_up()


class World:
    def __init__(
        self,
        n_servers: int = 1,
        n_backups: int = 0,
        *,
        memory_limit_bytes: int = 512 << 20,
        max_item_bytes: int = 1 << 20,
        pause_bytes: int = 16 << 20,
        close_bytes: int = 64 << 20,
        miss_when_down: bool = True,
        multiget_deadline_us: int = 0,
        has_copies: bool = False,
        fallback: str = "always",
        acknowledge: str = "owner",
        marks: Marks | None = None,
        standings: Sequence[Standing | None] | None = None,
        distribution: str = "modula",
        key_hash: str = "djb",
        times_requests: bool = False,
        hot_keys: bool = False,
        slow_us: int = 0,
        **server_settings: int,
    ) -> None:
        counts = len(WORKER_COUNTERS), len(SERVER_COUNTERS)
        n = n_servers + n_backups
        shared = bytearray(8 * (counts[0] + n * counts[1]))
        self.counters = Block(shared, 0, counts[0])
        self.server_counters = [Block(shared, counts[0] + i * counts[1], counts[1]) for i in range(n)]
        self._latencies = bytearray(8 * histogram_slots() * (len(VERB_CLASSES) + n))
        self.memory = Memory(memory_limit_bytes)
        self.turn = Turn()
        self.turn.now_us = 1_000_000_000
        self.changes: list[tuple[str, str, str]] = []
        parser = ReplyParser()
        servers = [
            Server(
                f"s{i}",
                i,
                block,
                self.turn,
                self.memory,
                parser,
                has_copies=has_copies,
                standing=standings[i] if standings else None,
                latency=self.histograms(len(VERB_CLASSES) + i, 1) if times_requests else None,
                **server_settings,
            )
            for i, block in enumerate(self.server_counters)
        ]
        for server in servers:
            server.on_change = lambda server, state, reason: self.changes.append((server.name, state, reason))
        named = [(server.name, "127.0.0.1", 11211, 1) for server in servers]
        self.placement = Placement(named[:n_servers], named[n_servers:], distribution, key_hash)
        self.timers = Timers(self.turn)
        self.pool = Pool(
            "pool",
            servers[:n_servers],
            servers[n_servers:],
            self.placement,
            has_copies=has_copies,
            miss_when_down=miss_when_down,
            fallback=fallback,
            acknowledge=acknowledge,
            timers=self.timers,
            marks=marks,
            multiget_deadline_us=multiget_deadline_us,
            latencies=self.histograms(0, len(VERB_CLASSES)) if times_requests else None,
        )
        self.hot = HotKeys(_block_of(bytearray(8 * hot_slots())))
        self.shared_slow = bytearray(8 * sightings_slots(SIGHTINGS))
        self.slow = Sightings(_block_of(self.shared_slow))
        self.tapped = Sightings(_block_of(bytearray(8 * sightings_slots(SIGHTINGS))))
        self.observer = Observer(self.turn, self.hot, self.slow, self.tapped, seed=1)
        self.observer.configure(hot_keys=hot_keys, slow_us=slow_us)
        self.context = Context(
            self.turn,
            self.memory,
            self.timers,
            self.counters,
            max_item_bytes=max_item_bytes,
            pause_bytes=pause_bytes,
            close_bytes=close_bytes,
            answer_stats=lambda words: b"STAT words %b\r\nEND\r\n" % words,
            observer=self.observer,
        )
        self.routes = Routes([Route(b"", self.pool)])
        self.servers = [FakeServer(server) for server in servers]
        self.clients: list[Client] = []

    def client(self) -> Client:
        self.clients.append(Client(self.context, self.routes))
        return self.clients[-1]

    def run(self) -> None:
        """Until nothing moves."""
        while self.step():
            pass

    def step(self) -> bool:
        self.turn.servers.clear()
        moved = [client.step() for client in self.clients] + [fake.step() for fake in self.servers]
        return any(moved)

    def ask(self, client: Client, data: bytes) -> bytes:
        client.send(data)
        self.run()
        return client.take()

    def pass_time(self, us: int) -> None:
        self.turn.now_us += us
        self.context.pass_time()
        for fake in self.servers:
            fake.tick(self.turn.now_us)

    def owner(self, key: bytes) -> int:
        return self.placement.locate(key)[0]

    def keys(self, server: int, n: int, prefix: bytes = b"k", width: int = 0) -> list[bytes]:
        """n keys that belong to this server, in order; all of `width` bytes where that is given."""
        found: list[bytes] = []
        for i in count():
            key = prefix + (b"%d" % i).rjust(max(0, width - len(prefix)), b"0")
            if self.owner(key) == server:
                found.append(key)
            if len(found) == n:
                return found
        raise AssertionError

    def count(self, name: str) -> int:
        return self.counters[WORKER_INDEX[name]]

    def server_count(self, server: int, name: str) -> int:
        return self.server_counters[server][SERVER_INDEX[name]]

    def latencies_us(self) -> dict[str, tuple[int, int]]:
        """Of clients' requests by class of verbs: how many, and the sum of their times."""
        found = {name: self._latency(index) for index, name in enumerate(VERB_CLASSES)}
        return {name: latency for name, latency in found.items() if latency[0]}

    def server_latency_us(self, server: int) -> tuple[int, int]:
        return self._latency(len(VERB_CLASSES) + server)

    def histograms(self, first: int, n: int) -> Histograms:
        return Histograms(Block(self._latencies, first * histogram_slots(), n * histogram_slots()))

    def _latency(self, index: int) -> tuple[int, int]:
        slots = memoryview(self._latencies).cast("Q")[index * histogram_slots() :][: histogram_slots()]
        *counts, sum_us = slots.tolist()
        return sum(counts), sum_us

    def finish(self) -> dict[str, int]:
        """End everything as time and the network end it; what is left over, by name."""
        self.pass_time(LONG_US)
        left = {"exchanges under way": self.count("exchanges")}
        for client in self.clients:
            client.hang_up()
        for fake in self.servers:
            for wire in fake.wires:
                wire.channel.end()
            left[f"tickets of {fake.server.name}"] = sum(len(channel) for channel in fake.server.channels)
        self.turn.sessions.clear()
        self.turn.servers.clear()
        left["buffered bytes"] = self.memory.used_bytes
        return {name: n for name, n in left.items() if n}


def _block_of(shared: bytearray) -> Block:
    return Block(shared, 0, len(shared) // 8)


_EACH_REQUEST_MAKES = (Retrieval, Mutation, MultiGet, Broadcast, Gathering, Share, Repair, Session)


def live_objects() -> dict[str, int]:
    """Objects of the core that should be gone once every world is finished."""
    gc.collect()
    names = [type(each).__name__ for each in gc.get_objects() if isinstance(each, _EACH_REQUEST_MAKES)]
    return {name: names.count(name) for name in sorted(set(names))}
