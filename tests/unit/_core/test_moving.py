"""Keys of a pool without copies on their way to other rings: what clients see, and what is where."""

from collections.abc import Callable
from functools import partial

import pytest

from memagent._core.repair import refill
from memagent._core.ring import Placement
from memagent._core.standing import Standing
from tests.support.core import World

MakeWorld = Callable[..., World]
SEATS = [(f"s{number}", "127.0.0.1", 11211, 1) for number in range(3)]
TICK_US = 10_000


class Moving:
    """Server 2 leaves, server 1 takes its place: keys of modula that are server 2's become server 1's."""

    def __init__(self, make_world: MakeWorld, phase: str = "copy") -> None:
        self.world = make_world(3, standings=[Standing() for _ in SEATS])
        self.former = Placement([SEATS[0], SEATS[2]], [], "modula", "djb")
        self.settled = Placement(SEATS[:2], [], "modula", "djb")
        self.key = next(key for key in keys() if self.former.locate(key)[0] == 1)
        self.stays = next(key for key in keys() if self.former.locate(key)[0] == 0)
        self.someone = self.world.client()
        for fake in self.world.servers:
            fake.server.set_copies(True)
            fake.server.on_played = partial(refill, self.world.pool, self.world.counters)
        self.enter(phase)

    def enter(self, phase: str) -> None:
        self.world.pool.configure(
            self.world.pool.servers,
            [],
            Placement(
                SEATS[:2], [], "modula", "djb",
                former=self.former, former_places=[0, 2], settles=phase == "settle",
            ),
            has_copies=True,
            only_mirrors=phase != "copy",
            fallback="never",
        )  # fmt: skip

    def end(self) -> None:
        self.world.pool.configure(self.world.pool.servers, [], self.settled)
        for fake in self.world.servers:
            fake.server.set_copies(False)

    def say(self, words: bytes, key: bytes | None = None) -> bytes:
        return self.world.ask(self.someone, words.replace(b"KEY", key or self.key))

    def put(self, server: int, value: bytes) -> None:
        """Straight into a server."""
        self.world.servers[server].store.apply(b"set", (self.key,), (b"0", b"0", b"%d" % len(value)), value)

    def on(self, server: int, key: bytes | None = None) -> bytes | None:
        item = self.world.servers[server].store.items.get(key or self.key)
        return None if item is None else item[1]

    @property
    def held(self) -> tuple[bytes | None, bytes | None]:
        """The value at the key's former and at its new home."""
        return self.on(2), self.on(1)

    def pass_time(self, us: int = 300_000) -> None:
        for _ in range(us // TICK_US):
            self.world.pass_time(TICK_US)
            self.world.run()

    def let_return(self, server: int) -> None:
        """What all workers agree on once the server is clean."""
        standing = self.world.servers[server].server.standing
        self.pass_time(3_000_000)
        standing.begin_opening(standing.outage)
        self.pass_time(TICK_US)
        assert self.world.servers[server].server.state_name == "up"


def keys():
    return (b"key:%d" % number for number in range(100))


@pytest.fixture
def make_moving(make_world: MakeWorld) -> Callable[..., Moving]:
    return lambda phase="copy": Moving(make_world, phase)


MakeMoving = Callable[..., Moving]


@pytest.mark.parametrize("phase", ["mirror", "copy", "settle"])
def test_every_write_reaches_both_homes(make_moving: MakeMoving, phase: str) -> None:
    moving = make_moving(phase)
    assert moving.say(b"set KEY 0 0 1\r\n1\r\n") == b"STORED\r\n"
    assert moving.held == (b"1", b"1")
    assert moving.say(b"incr KEY 4\r\n") == b"5\r\n"
    assert moving.held == (b"5", b"5")
    assert moving.say(b"append KEY 0 0 1\r\n0\r\n") == b"STORED\r\n"
    assert moving.held == (b"50", b"50")
    assert moving.say(b"add KEY 0 0 1\r\n1\r\n") == b"NOT_STORED\r\n"
    assert moving.say(b"delete KEY\r\n") == b"DELETED\r\n"
    assert moving.held == (None, None)
    assert moving.say(b"add KEY 0 0 1\r\n7\r\n") == b"STORED\r\n"
    assert moving.held == (b"7", b"7")
    assert moving.say(b"get KEY\r\n") == b"VALUE %b 0 1\r\n7\r\nEND\r\n" % moving.key


def test_a_key_that_stays_has_one_home(make_moving: MakeMoving) -> None:
    moving = make_moving()
    assert moving.say(b"set KEY 0 0 1\r\n1\r\n", moving.stays) == b"STORED\r\n"
    assert [moving.on(server, moving.stays) for server in range(3)] == [b"1", None, None]


def test_a_key_that_is_not_copied_yet_is_found_where_it_was(make_moving: MakeMoving) -> None:
    for phase in ("mirror", "copy"):
        moving = make_moving(phase)
        moving.put(2, b"5")
        hit = b"VALUE %b 0 1\r\n5\r\nEND\r\n" % moving.key
        assert moving.say(b"get KEY\r\n") == hit
        assert moving.say(b"get KEY other\r\n") == hit
        assert moving.say(b"add KEY 0 0 1\r\n1\r\n") == b"NOT_STORED\r\n"
        assert moving.say(b"incr KEY 2\r\n") == b"7\r\n"
        # whoever cannot follow gets the whole item
        assert moving.held == (b"7", b"7")


@pytest.mark.parametrize("phase", ["mirror", "copy"])
def test_what_the_new_home_has_is_no_answer_to_a_miss(make_moving: MakeMoving, phase: str) -> None:
    """It may be left over from older rings, or be a copy that was overtaken and not taken back yet."""
    moving = make_moving(phase)
    moving.put(1, b"old")
    assert moving.say(b"get KEY\r\n") == b"END\r\n"
    assert moving.say(b"get KEY other\r\n") == b"END\r\n"
    assert moving.say(b"append KEY 0 0 1\r\nx\r\n") == b"NOT_STORED\r\n"
    assert moving.say(b"incr KEY 1\r\n") == b"NOT_FOUND\r\n"
    assert moving.on(2) is None
    assert moving.say(b"add KEY 0 0 3\r\nnew\r\n") == b"STORED\r\n"
    assert moving.held == (b"new", b"new")


def test_while_the_former_home_is_down_the_new_one_answers_once_it_is_clean(make_moving: MakeMoving) -> None:
    moving = make_moving("mirror")
    moving.put(1, b"old")
    moving.world.servers[2].die()
    assert moving.say(b"get KEY\r\n") == b"END\r\n"
    assert moving.say(b"get KEY other\r\n") == b"END\r\n"
    assert moving.say(b"set KEY 0 0 1\r\n1\r\n").startswith(b"SERVER_ERROR")
    moving.enter("copy")
    assert moving.say(b"set KEY 0 0 1\r\n1\r\n") == b"STORED\r\n"
    assert moving.say(b"get KEY\r\n") == b"VALUE %b 0 1\r\n1\r\nEND\r\n" % moving.key
    assert moving.say(b"get KEY other\r\n") == b"VALUE %b 0 1\r\n1\r\nEND\r\n" % moving.key


def test_a_former_home_that_was_away_gets_what_it_missed(make_moving: MakeMoving) -> None:
    moving = make_moving()
    moving.say(b"set KEY 0 0 1\r\n1\r\n")
    moving.world.servers[2].die()
    assert moving.say(b"set KEY 0 0 1\r\n2\r\n") == b"STORED\r\n"
    assert moving.held == (b"1", b"2")
    moving.world.servers[2].is_dead = False
    moving.let_return(2)
    assert moving.held == (b"2", b"2")


def test_what_a_mirror_has_is_not_played_to_who_returns(make_moving: MakeMoving) -> None:
    moving = make_moving("mirror")
    moving.put(1, b"1")
    moving.put(2, b"5")
    moving.world.servers[2].server.miss(moving.key)
    moving.let_return(2)
    assert moving.held == (None, b"1")


def test_what_a_new_home_missed_is_still_played_when_the_migration_has_ended(make_moving: MakeMoving) -> None:
    moving = make_moving()
    moving.say(b"set KEY 0 0 1\r\n1\r\n")
    moving.world.servers[1].die()
    assert moving.say(b"delete KEY\r\n") == b"DELETED\r\n"
    moving.end()
    server = moving.world.servers[1].server
    assert server.has_copies
    moving.world.servers[1].is_dead = False
    moving.let_return(1)
    assert not server.has_copies
    assert moving.say(b"get KEY\r\n") == b"END\r\n"


def test_at_its_end_each_key_is_at_its_new_home_alone(make_moving: MakeMoving) -> None:
    moving = make_moving()
    moving.say(b"set KEY 0 0 1\r\n1\r\n")
    moving.enter("settle")
    moving.world.servers[2].store.forget(moving.key)
    assert moving.say(b"get KEY\r\n") == b"VALUE %b 0 1\r\n1\r\nEND\r\n" % moving.key
    moving.end()
    assert not any(fake.server.has_copies for fake in moving.world.servers)
    moving.say(b"set KEY 0 0 1\r\n2\r\n")
    assert moving.held == (None, b"2")


def test_a_flush_reaches_every_server_and_one_that_was_begun_before_ends(make_moving: MakeMoving) -> None:
    moving = make_moving()
    moving.end()
    moving.world.servers[0].holds = True
    moving.someone.send(b"flush_all\r\n")
    moving.world.run()
    moving.enter("copy")
    moving.world.servers[0].release()
    moving.world.run()
    assert moving.someone.take() == b"OK\r\n"
    assert all(b"flush_all" in fake.lines for fake in moving.world.servers)


def test_a_server_that_is_down_when_keys_begin_to_move_returns_for_all_workers(make_world: MakeWorld) -> None:
    world = make_world(1, standings=[Standing()])
    fake = world.servers[0]
    fake.die()
    assert fake.server.standing.outage == 0
    fake.server.set_copies(True)
    assert (fake.server.standing.outage, fake.server.state_name) == (1, "down")


def test_a_server_that_others_have_found_down_is_not_up_when_keys_begin_to_move(
    make_world: MakeWorld,
) -> None:
    world = make_world(1, standings=[Standing()])
    server = world.servers[0].server
    server.standing.begin_outage(0)
    assert server.state_name == "up"
    server.set_copies(True)
    assert server.state_name == "returning"


def test_keys_move_only_where_they_have_no_copies() -> None:
    one = Placement(SEATS, [], "modula", "djb", copies=2)
    with pytest.raises(ValueError, match="copies"):
        Placement(SEATS, [], "modula", "djb", former=one, former_places=[0, 1, 2])
    plain = Placement(SEATS, [], "modula", "djb")
    for wrong in ([0, 1], [0, 1, -1]):
        with pytest.raises(ValueError, match="places"):
            Placement(SEATS, [], "modula", "djb", former=plain, former_places=wrong)
