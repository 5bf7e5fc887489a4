"""Several workers, one server and its copy, and whatever can happen to that server (behaviour section 3).

Writes come one after another, through any worker, while the server freezes and does later what it has got,
restarts quicker than anybody sees, dies, comes back, is held by an operator; workers die and are replaced.
The copy never fails. So every read, through any worker, must find what was written last: what was
acknowledged, or, of a write whose client was told that it had failed, or nothing because its worker died,
what stood there before. In the end the two never have different values.
"""

import mmap
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from memagent._core.doubt import adopt
from memagent._core.marks import Marks, marks_bytes, notes_bytes
from memagent._core.observer import Tap
from memagent._core.repair import refill
from memagent._core.standing import Standing, standing_slots
from tests.support.core import World
from tests.support.fake_memcached import Store

N_WORKERS = 3
WARMING = 3
TICK_US = 50_000
LEADER_TICKS = 25  # the leader has looked by then
EVENTS = ["freeze", "thaw", "late", "restart", "die", "revive", "lead", "cut"]
KEYS = [b"k%d" % i for i in range(3)]

Step = tuple[str, int | None, bytes | int | None]
steps = st.one_of(
    st.tuples(st.just("set"), st.integers(0, N_WORKERS - 1), st.sampled_from(KEYS)),
    st.tuples(st.just("set"), st.integers(0, N_WORKERS - 1), st.sampled_from(KEYS)),
    st.tuples(st.just("delete"), st.integers(0, N_WORKERS - 1), st.sampled_from(KEYS)),
    st.tuples(st.just("flush"), st.integers(0, N_WORKERS - 1), st.none()),
    st.tuples(st.just("read"), st.integers(0, N_WORKERS - 1), st.sampled_from(KEYS)),
    st.tuples(st.just("read"), st.integers(0, N_WORKERS - 1), st.sampled_from(KEYS)),
    st.tuples(
        st.sampled_from(["freeze", "thaw", "late", "restart", "die", "revive", "lead", "cut"]),
        st.none(),
        st.none(),
    ),
    st.tuples(st.sampled_from(["hold", "release"]), st.none(), st.none()),
    st.tuples(st.just("replace worker"), st.integers(0, N_WORKERS - 1), st.none()),
    st.tuples(st.just("kill writer"), st.integers(0, N_WORKERS - 1), st.sampled_from(KEYS)),
    st.tuples(st.just("time"), st.sampled_from([1, 3, 25, 100]), st.none()),
    st.tuples(st.just("one ticks"), st.integers(0, N_WORKERS - 1), st.sampled_from([1, 25])),
)


@dataclass
class Proxy:
    """The workers of one proxy before the same two servers."""

    journal_keys: int
    workers: list[World] = field(default_factory=list)
    now_us: int = 1_000_000_000
    may_be: dict[bytes, set[bytes]] = field(default_factory=dict)  # values, b"" for none
    written: int = 0
    buried: list[World] = field(default_factory=list)

    def __post_init__(self) -> None:
        slots = standing_slots(N_WORKERS)
        self.rows = [bytearray(8 * slots) for _ in range(2)]
        self.marks = mmap.mmap(-1, marks_bytes(N_WORKERS) + notes_bytes(N_WORKERS))
        self.stores = [Store(), Store()]
        self.pid, self.started_s = 1, 1_700_000_000
        self.frozen = self.dead = self.held = False
        self.may_be = {key: {b""} for key in KEYS}
        self.workers = [self.make(place) for place in range(N_WORKERS)]

    def marks_of(self, place: int) -> Marks:
        return Marks(self.marks, 0, N_WORKERS, place, marks_bytes(N_WORKERS))

    def make(self, place: int) -> World:
        world = World(
            1,
            1,
            has_copies=True,
            marks=self.marks_of(place),
            standings=[Standing(row, 0, N_WORKERS, place) for row in self.rows],
            probe_max_us=400_000,
            journal_keys=self.journal_keys,
            hot_keys=True,
            slow_us=1,
        )
        world.observer.tap([Tap(1, b"", -1, "", 1e9)])
        world.turn.now_us = self.now_us
        for fake, store in zip(world.servers, self.stores, strict=True):
            fake.store = store
            for wire in fake.wires:
                wire.renew()
            fake.server.on_played = lambda server, key, world=world: refill(
                world.pool, world.counters, server, key
            )
        self.meet(world)
        world.client()
        return world

    def meet(self, world: World) -> None:
        """The worker's server is in the state that the one process is in."""
        fake = world.servers[0]
        fake.pid, fake.started_s = self.pid, self.started_s
        fake.is_frozen = self.frozen
        if self.dead:
            fake.die()
        elif not self.frozen and fake.server.up:
            fake.greet()
        if self.held:
            fake.server.hold("held")

    # ------------------------------------------------------------ what happens

    def time(self, ticks: int, only: int | None = None) -> None:
        for _ in range(ticks):
            self.now_us += TICK_US
            for place, world in enumerate(self.workers):
                if only is None or place == only:
                    world.run()
                    world.pass_time(self.now_us - world.turn.now_us)
                    world.run()

    def ask(self, place: int, request: bytes) -> bytes:
        """One request to its end, whatever time that takes."""
        world = self.workers[place]
        client = world.clients[0]
        client.send(request)
        world.run()
        for _ in range(400):
            if reply := client.take():
                return reply
            self.time(1)
        raise AssertionError(f"no reply to {request!r}")

    def write(self, place: int, key: bytes, value: bytes, request: bytes, done: tuple[bytes, ...]) -> None:
        reply = self.ask(place, request)
        if reply in done:
            self.may_be[key] = {value}
        else:
            assert reply.startswith(b"SERVER_ERROR "), reply
            self.may_be[key].add(value)

    def do(self, what: str, who: int | None, key: bytes | int | None) -> None:
        if what == "time":
            assert who is not None
            self.time(who)
            if who >= LEADER_TICKS:
                self.lead()
        elif what == "one ticks":
            assert isinstance(key, int)
            self.time(key, who)
        elif what == "replace worker":
            assert who is not None
            self.replace_worker(who)
        elif what == "flush":
            assert who is not None
            self.flush(who)
        elif isinstance(key, bytes):
            assert who is not None
            self.talk(what, who, key)
        else:
            {
                "freeze": self.freeze,
                "thaw": self.thaw,
                "late": self.late,
                "restart": self.restart,
                "die": self.die,
                "revive": self.revive,
                "lead": self.lead,
                "cut": self.cut,
                "hold": lambda: self.hold(True),
                "release": lambda: self.hold(False),
            }[what]()

    def talk(self, what: str, place: int, key: bytes) -> None:
        if what == "set":
            self.written += 1
            value = b"%d" % self.written
            request = b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value)
            self.write(place, key, value, request, (b"STORED\r\n",))
        elif what == "kill writer":
            self.die_writing(place, key)
        elif what == "delete":
            self.write(place, key, b"", b"delete %b\r\n" % key, (b"DELETED\r\n", b"NOT_FOUND\r\n"))
        else:
            reply = self.ask(place, b"get %b\r\n" % key)
            value = b"" if reply == b"END\r\n" else reply.split(b"\r\n")[1]
            assert value in self.may_be[key], (key, reply, self.may_be[key])

    def die_writing(self, place: int, key: bytes) -> None:
        """While the server does not run, if it lives; it goes on behind that as before."""
        was_frozen = self.frozen
        self.freeze()
        self.written += 1
        world, client = self.workers[place], self.workers[place].clients[0]
        client.send(b"set %b 0 0 %d\r\n%d\r\n" % (key, len(b"%d" % self.written), self.written))
        world.run()
        if client.take() == b"STORED\r\n":
            self.may_be[key] = set()
        self.may_be[key].add(b"%d" % self.written)
        self.replace_worker(place)
        if not was_frozen:
            self.thaw()

    def flush(self, place: int) -> None:
        reply = self.ask(place, b"flush_all\r\n")
        for key, values in self.may_be.items():
            self.may_be[key] = {b""} if reply == b"OK\r\n" else values | {b""}

    def freeze(self) -> None:
        if not self.dead:
            self.frozen = True
            for world in self.workers:
                world.servers[0].freeze()

    def thaw(self) -> None:
        if self.frozen:
            self.frozen = False
            for world in self.workers:
                world.servers[0].thaw()

    def late(self) -> None:
        if not self.frozen:
            for world in self.workers:
                world.servers[0].do_late()

    def restart(self) -> None:
        """Quicker than anybody sees."""
        self.frozen = self.dead = False
        self.pid, self.started_s = self.pid + 1, self.started_s + 100
        self.stores[0].items.clear()
        for world in self.workers:
            fake = world.servers[0]
            fake.restart()
            fake.pid, fake.started_s = self.pid, self.started_s

    def die(self) -> None:
        if not self.frozen:
            self.dead = True
            for world in self.workers:
                world.servers[0].die()

    def revive(self) -> None:
        """As another process, which is empty."""
        if self.dead:
            self.restart()

    def cut(self) -> None:
        """All connections to it end."""
        if not self.frozen:
            for world in self.workers:
                for wire in world.servers[0].wires:
                    wire.lose()

    def hold(self, held: bool) -> None:
        self.held = held
        for world in self.workers:
            server = world.servers[0].server
            if held:
                server.hold("held")
            elif server.held:
                server.release()

    def replace_worker(self, place: int) -> None:
        """It dies, and its connections with it: what they had brought to the server is lost."""
        self.buried.append(self.workers[place])
        heir = self.workers[place - 1]
        adopt(self.marks_of(place), [heir.pool], heir.counters)
        self.workers[place] = self.make(place)

    def lead(self) -> None:
        """As the supervisor does, without a re-warm."""
        for row in (Standing(row, 0, N_WORKERS) for row in self.rows):
            words = [row.word(place) for place in range(N_WORKERS)]
            if all(word[1:3] == (row.outage, WARMING) for word in words) and not self.held:
                row.begin_opening(row.outage)

    def heal(self) -> None:
        self.thaw()
        self.late()
        self.revive()
        self.hold(False)
        for _ in range(60):
            self.time(4)
            self.lead()


@settings(max_examples=150)
@given(st.lists(steps, min_size=20, max_size=60), st.sampled_from([2, 1000]))
def test_nobody_reads_what_was_overwritten(
    script: list[tuple[str, int | None, bytes | int | None]], n: int
) -> None:
    proxy = Proxy(n)
    for step in script:
        proxy.do(*step)
    proxy.heal()
    for place, world in enumerate(proxy.workers):
        server = world.servers[0].server
        assert (server.state_name, len(server.journal), server.lingering) == ("up", 0, 0), world.changes
        for key in KEYS:
            proxy.talk("read", place, key)
    for key in KEYS:
        assert len({store.items[key][1] for store in proxy.stores if key in store.items}) < 2, key
    assert not any(world.pool.doubted for world in proxy.workers)
    for world in proxy.workers:
        assert world.finish() == {}
    for world in proxy.buried:
        world.finish()  # a process takes what it had under way with it; ours would keep it
