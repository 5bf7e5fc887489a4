"""Two workers write while a server that was away opens, and everything takes its time (behaviour, section 3).

Until it opens its copy decides, then the server does: what one worker has under way at that moment must not
meet what the other begins. Requests and replies move one hop at a time, in any order between the two workers.
"""

import mmap
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from memagent._core.doubt import adopt
from memagent._core.marks import Marks, marks_bytes, notes_bytes
from memagent._core.standing import Standing, standing_slots
from tests.support.core import Client, World
from tests.support.fake_memcached import Store

N_WORKERS = 2
WARMING = 3
TICK_US = 10_000
MOST_TICKS = 80  # in a script: longer than a write waits for an opening, but no request times out
OWNER, COPY = 0, 1
REQUEST_MS = 1000  # the time limit
LOCK, COUNTER, VALUE = b"lock", b"counter", b"value"

Step = tuple[str, int, int]
hops = st.tuples(
    st.sampled_from(["requests", "replies"]), st.integers(0, N_WORKERS - 1), st.sampled_from([OWNER, COPY])
)
steps = st.one_of(
    st.tuples(st.sampled_from(["add", "incr", "set"]), st.integers(0, N_WORKERS - 1), st.integers(0, 1)),
    hops,
    hops,
    hops,
    st.tuples(st.just("time"), st.integers(0, N_WORKERS - 1), st.sampled_from([1, 28])),
    st.tuples(st.just("lead"), st.just(0), st.just(0)),
)


@dataclass
class Proxy:
    """`speaks_meta`: then repairs are by cas unique."""

    speaks_meta: bool
    now_us: int = 1_000_000_000
    asked: int = 0
    ticks: list[int] = field(default_factory=lambda: [0] * N_WORKERS)
    replies: dict[bytes, list[bytes]] = field(default_factory=dict)
    waiting: dict[Client, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = [bytearray(8 * standing_slots(N_WORKERS)) for _ in range(2)]
        self.marks = mmap.mmap(-1, marks_bytes(N_WORKERS) + notes_bytes(N_WORKERS))
        self.stores = [Store(), Store()]
        self.leader = Standing(self.rows[OWNER], 0, N_WORKERS)
        self.replies = {LOCK: [], COUNTER: [], VALUE: []}
        self.workers = [self.make(place) for place in range(N_WORKERS)]
        self.ask(0, b"set counter 0 0 1\r\n0\r\n")
        self.workers[0].servers[OWNER].server.miss(b"another")
        while self.words() != [(1, WARMING)] * N_WORKERS:
            self.time(0, 1)
            self.time(1, 1)
            for world in self.workers:
                world.run()

    def make(self, place: int) -> World:
        world = World(
            1,
            1,
            has_copies=True,
            marks=self.marks_of(place),
            standings=[Standing(row, 0, N_WORKERS, place) for row in self.rows],
            probe_max_us=400_000,
        )
        for fake, store in zip(world.servers, self.stores, strict=True):
            fake.store, fake.speaks_meta = store, self.speaks_meta
            for wire in fake.wires:
                wire.renew()
            fake.greet()
        for _ in range(2):
            world.client()
        return world

    def marks_of(self, place: int) -> Marks:
        return Marks(self.marks, 0, N_WORKERS, place, marks_bytes(N_WORKERS))

    def words(self) -> list[tuple[int, int]]:
        return [self.leader.word(place)[1:3] for place in range(N_WORKERS)]

    def ask(self, place: int, request: bytes) -> bytes:
        return self.workers[place].ask(self.workers[place].clients[0], request)

    def do(self, what: str, place: int, which: int) -> None:
        world = self.workers[place]
        if what == "requests":
            world.servers[which].wire.move_requests()
        elif what == "replies":
            world.servers[which].wire.move_replies()
        elif what == "time":
            if self.ticks[place] + which <= MOST_TICKS:
                self.ticks[place] += which
                self.time(place, which)
        elif what == "lead":
            self.leader.begin_opening(1)
        elif (client := world.clients[which]) not in self.waiting:
            self.asked += 1
            key, request = {
                "add": (LOCK, b"add lock 0 0 4\r\n%04d\r\n" % self.asked),
                "incr": (COUNTER, b"incr counter 1\r\n"),
                "set": (VALUE, b"set value 0 0 4\r\n%04d\r\n" % self.asked),
            }[what]
            self.waiting[client] = key
            client.send(request)
        for world in self.workers:
            for client in world.clients:
                client.step()
                if client in self.waiting and (reply := client.take()):
                    self.replies[self.waiting.pop(client)].append(reply)

    def time(self, place: int, ticks: int) -> None:
        for _ in range(ticks):
            self.workers[place].pass_time(TICK_US)

    def settle(self) -> None:
        """Everything ends, and the server is open."""
        for _ in range(200):
            for place, world in enumerate(self.workers):
                world.run()
                self.time(place, 1)
                world.run()
            self.do("lead", 0, 0)

    def held(self, key: bytes) -> list[bytes | None]:
        items = [store.items.get(key) for store in self.stores]
        return [None if item is None else item[1] for item in items]


@settings(max_examples=300)
@given(st.lists(steps, min_size=10, max_size=70), st.booleans())
def test_one_server_decides_at_any_time(script: list[Step], speaks_meta: bool) -> None:
    proxy = Proxy(speaks_meta)
    for step in script:
        proxy.do(*step)
    proxy.settle()
    assert not proxy.waiting
    assert proxy.leader.opened == 1
    assert [world.servers[OWNER].server.state_name for world in proxy.workers] == ["up", "up"]
    adds, increments, sets = (proxy.replies[key] for key in (LOCK, COUNTER, VALUE))
    assert adds.count(b"STORED\r\n") == bool(adds), adds
    assert sorted(increments) == sorted(b"%d\r\n" % (i + 1) for i in range(len(increments)))
    assert set(sets) <= {b"STORED\r\n"}
    assert proxy.held(COUNTER) == [b"%d" % len(increments)] * 2
    for key, replies in ((LOCK, adds), (VALUE, sets)):
        on_owner, on_copy = proxy.held(key)
        assert on_owner == on_copy
        assert (on_owner is not None) == bool(replies)
    assert not any(world.pool.doubted for world in proxy.workers)


def opening() -> Proxy:
    """Worker 0 has a write under way at the copy while the server is to open; worker 1 can only wait."""
    proxy = Proxy(True)
    proxy.do("add", 0, 0)
    proxy.do("requests", 0, COPY)
    proxy.do("lead", 0, 0)
    assert proxy.leader.opened == 0
    return proxy


def test_a_write_waits_and_what_its_client_sends_behind_it_too() -> None:
    proxy = opening()
    world = proxy.workers[1]
    client = world.client()
    client.send(b"set a 0 0 1\r\n1\r\nget a\r\nset a 0 0 1\r\n2\r\nget a\r\n")
    world.run()
    assert (client.take(), world.servers[COPY].lines[-1:]) == (b"", [])
    proxy.settle()
    assert client.take() == b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\nSTORED\r\nVALUE a 0 1\r\n2\r\nEND\r\n"


def test_a_client_that_leaves_meanwhile_has_written_all_the_same() -> None:
    proxy = opening()
    client = proxy.workers[1].client()
    client.send(b"set a 0 0 1\r\n1\r\n")
    proxy.workers[1].run()
    client.hang_up()
    proxy.settle()
    assert proxy.held(b"a") == [b"1", b"1"]


def test_it_opens_as_soon_as_that_write_is_over() -> None:
    proxy = opening()
    proxy.workers[0].run()
    assert proxy.leader.opened == 1
    assert proxy.replies[LOCK] == []
    proxy.do("add", 1, 0)
    proxy.workers[1].run()
    proxy.settle()
    assert sorted(proxy.replies[LOCK]) == [b"NOT_STORED\r\n", b"STORED\r\n"]


def test_what_waits_too_long_calls_it_off_until_it_is_tried_again() -> None:
    proxy = opening()
    proxy.do("set", 1, 0)
    proxy.do("time", 1, 24)
    assert (proxy.workers[1].servers[COPY].lines, proxy.replies[VALUE]) == ([], [])
    proxy.do("time", 1, 2)
    proxy.workers[1].run()
    assert proxy.held(VALUE)[COPY] == b"0002"
    assert proxy.replies[VALUE] == []
    proxy.do("add", 0, 1)  # not held up either
    proxy.do("requests", 0, COPY)
    proxy.do("lead", 0, 0)
    assert proxy.leader.opened == 0
    proxy.settle()
    assert proxy.leader.opened == 1
    assert sorted(proxy.replies[LOCK]) == [b"NOT_STORED\r\n", b"STORED\r\n"]


def test_what_has_waited_ends_in_time_all_the_same() -> None:
    proxy = opening()
    proxy.do("set", 1, 0)
    proxy.do("time", 1, 26)  # the opening is called off: now it is sent
    proxy.do("requests", 1, COPY)
    proxy.time(1, (REQUEST_MS + 250) * 1000 // TICK_US - 26)
    proxy.do("replies", 0, OWNER)
    assert proxy.replies[VALUE] == [b"SERVER_ERROR server s1 did not answer in time\r\n"]
    for worker in proxy.workers:
        worker.finish()  # what it had under way would outlive it here


def test_what_a_dead_worker_had_under_way_is_not_waited_for() -> None:
    proxy = opening()
    heir = proxy.workers[1]
    assert adopt(proxy.marks_of(0), [heir.pool], heir.counters) == (1, 0)
    proxy.do("lead", 0, 0)
    assert proxy.leader.opened == 0  # the heir compares the key first
    for _ in range(10):
        proxy.do("time", 1, 1)
        heir.run()
    assert proxy.leader.opened == 1
    proxy.workers[0].finish()  # what it had under way would outlive it here
