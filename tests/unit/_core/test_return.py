"""The way back of a server with copies, in one worker (behaviour section 3, returning and warming)."""

from collections.abc import Callable

import pytest

from memagent._core.standing import Standing, standing_slots
from tests.support.core import FakeServer, World

MakeWorld = Callable[..., World]
UP, DOWN, RETURNING, WARMING = range(4)
TICK_US = 10_000
SECOND_US = 1_000_000


class Life:
    """A server, its fake, and the row that it shares with another worker."""

    def __init__(self, make_world: MakeWorld, others: int = 0, **settings: int) -> None:
        n = 1 + others
        self.shared = bytearray(8 * standing_slots(n))
        self.row = Standing(self.shared, 0, n, n - 1)
        mine = Standing(self.shared, 0, n, 0)
        self.world = make_world(has_copies=True, standings=[mine], **settings)
        self.fake: FakeServer = self.world.servers[0]
        self.server = self.fake.server

    def run(self, us: int = 300_000) -> str:
        """Time passes; the state at its end."""
        for _ in range(us // TICK_US):
            self.world.pass_time(TICK_US)
            self.world.run()
        return self.server.state_name

    @property
    def word(self) -> tuple[bool, int, int, bool]:
        return self.row.word(0)


def test_from_a_note_to_up_again(make_world: MakeWorld) -> None:
    life = Life(make_world)
    life.fake.store.apply(b"set", (b"k",), (b"0", b"0", b"1"), b"1")
    life.server.miss(b"k")
    assert life.word == (True, 1, DOWN, False)
    assert life.run() == "warming"
    assert (life.fake.lines, life.fake.store.items, len(life.server.journal)) == ([b"delete k"], {}, 0)
    assert life.word == (True, 1, WARMING, False)
    assert (life.server.is_readable, life.server.is_following) == (False, True)
    life.row.begin_opening(1)
    assert life.run(TICK_US) == "up"
    assert life.server.is_readable
    assert [state for _, state, _ in life.world.changes] == ["down", "returning", "warming", "up"]


def test_a_write_under_way_that_leaves_it_out_holds_it_back(make_world: MakeWorld) -> None:
    life = Life(make_world)
    life.server.miss(b"a")
    life.server.degraded += 1
    assert life.run() == "returning"
    life.server.miss(b"b")
    life.server.degraded -= 1
    assert life.run() == "warming"
    assert life.fake.lines == [b"delete a", b"delete b"]


def test_its_word_is_clean_when_all_that_was_played_is_refilled(make_world: MakeWorld) -> None:
    life = Life(make_world)
    offered: list[bytes] = []

    def refill(server: object, key: bytes) -> None:
        offered.append(key)
        life.server.refilling += 1

    life.server.on_played = refill
    life.server.miss(b"a")
    life.server.miss(b"b")
    assert life.run() == "warming"
    assert (offered, life.word[2]) == ([b"a", b"b"], RETURNING)
    life.server.refilling = 0
    life.run(TICK_US)
    assert life.word[2] == WARMING


def test_another_process_is_empty_and_what_was_noted_is_played_all_the_same(make_world: MakeWorld) -> None:
    life = Life(make_world)
    offered: list[bytes] = []
    life.server.on_played = lambda _, key: offered.append(key)
    life.server.miss(b"k")
    life.fake.restart()
    assert life.run() == "warming"
    assert (life.fake.lines, life.word, offered) == ([b"delete k"], (True, 1, WARMING, True), [])
    assert life.world.server_count(0, "restarts_seen") == 1
    life.row.begin_opening(1)
    assert life.run(TICK_US) == "up"
    assert not life.server.emptied


def test_a_restart_under_a_server_that_is_up(make_world: MakeWorld) -> None:
    life = Life(make_world)
    life.fake.restart()
    life.world.run()
    assert (life.server.state_name, life.row.outage) == ("down", 1)
    assert life.run(5 * TICK_US) == "warming"
    assert life.word == (True, 1, WARMING, True)


@pytest.mark.parametrize("why", ["overflow", "missed flush", "owed"])
def test_a_flush_in_place_of_what_nobody_knows(make_world: MakeWorld, why: str) -> None:
    life = Life(make_world, journal_keys=1)
    life.fake.store.apply(b"set", (b"old",), (b"0", b"0", b"1"), b"1")
    if why == "overflow":
        life.server.miss(b"a")
        life.server.miss(b"b")
        assert life.world.server_count(0, "journal_overflows") == 1
    elif why == "missed flush":
        life.server.miss_flush()
    else:
        life.server.owe_flush("it may have anything")
    assert life.run(SECOND_US) == "returning"
    assert life.run(SECOND_US) == "warming"
    assert (life.fake.lines, life.fake.store.items) == ([b"flush_all", b"flush_all"], {})
    assert life.word == (True, 1, WARMING, True)


def test_what_is_missed_behind_the_flush_is_played(make_world: MakeWorld) -> None:
    life = Life(make_world)
    life.server.miss_flush()
    while life.server.state_name != "returning":
        life.run(TICK_US)
    life.fake.holds = True
    life.run(2 * TICK_US)
    assert life.server.player.flushing
    life.server.miss(b"late")
    life.fake.release()
    life.run(SECOND_US)
    life.server.miss(b"later")
    life.run(SECOND_US)
    assert life.fake.lines == [b"flush_all", b"flush_all", b"delete late", b"delete later"]


def test_one_that_falls_again_on_its_way_begins_no_outage_until_it_was_clean(make_world: MakeWorld) -> None:
    life = Life(make_world)
    life.server.miss(b"k")
    life.fake.holds = True
    life.world.pass_time(100_000)
    life.fake.release()
    life.world.run()
    life.server.fail("lost again")
    assert (life.row.outage, len(life.server.journal)) == (1, 1)
    assert life.run(2 * SECOND_US) == "warming"
    life.server.miss(b"k2")
    assert (life.row.outage, life.word) == (2, (True, 2, DOWN, False))


def test_an_outage_of_another_worker_is_joined_without_traffic(make_world: MakeWorld) -> None:
    life = Life(make_world, others=1)
    life.row.begin_outage(0)
    life.run(TICK_US)
    assert life.word == (True, 1, DOWN, False)
    assert life.run() == "warming"


class TestPlace:
    """A worker takes the place of one that has died."""

    @pytest.mark.parametrize("phase", [DOWN, RETURNING])
    @pytest.mark.parametrize("opened", [False, True])
    def test_notes_that_are_lost_mean_a_flush(self, make_world: MakeWorld, phase: int, opened: bool) -> None:
        shared = bytearray(8 * standing_slots(1))
        row = Standing(shared)
        row.begin_outage(0)
        row.say_word(1, phase)
        if opened:
            row.begin_opening(1)
        world = make_world(has_copies=True, standings=[row])
        server = world.servers[0].server
        assert (server.state_name, server.joined) == ("down", 2 if opened else 1)
        for _ in range(600):
            world.pass_time(TICK_US)
            world.run()
        assert world.servers[0].lines == [b"flush_all", b"flush_all"]
        assert row.word(0) == (True, server.joined, WARMING, True)

    def test_one_that_had_nothing_noted_loses_nothing(self, make_world: MakeWorld) -> None:
        row = Standing()
        row.begin_outage(0)
        row.say_word(1, WARMING, True)
        world = make_world(has_copies=True, standings=[row])
        assert row.word(0) == (True, 1, DOWN, True)
        for _ in range(200):
            world.pass_time(TICK_US)
            world.run()
        assert (world.servers[0].lines, row.word(0)) == ([], (True, 1, WARMING, True))

    def test_the_process_that_was_known_is_known(self, make_world: MakeWorld) -> None:
        row = Standing()
        make_world(has_copies=True, standings=[row])
        world = make_world(has_copies=True, standings=[row])
        fake = world.servers[0]
        assert world.server_count(0, "restarts_seen") == 0
        assert row.identity == fake.identity.mark
        fake.restart()
        assert world.server_count(0, "restarts_seen") == 1


def test_it_is_an_authority_for_all_workers_from_the_same_moment_on(make_world: MakeWorld) -> None:
    life = Life(make_world, others=1)
    life.row.say_word(0, UP)
    life.server.miss(b"k")
    assert life.run() == "warming"
    assert not life.server.is_readable
    life.row.begin_opening(life.server.joined)
    assert life.server.is_readable, "no tick is waited for"
    assert life.server.state_name == "up"


class TestWithoutSupervisor:
    def test_the_workers_open_when_all_that_live_are_clean(self, make_world: MakeWorld) -> None:
        life = Life(make_world, others=1)
        life.row.say_word(0, UP)
        life.server.live_places = lambda: [0, 1]
        life.server.miss(b"k")
        assert life.run() == "warming"
        life.row.say_word(1, WARMING)
        assert life.run(2 * TICK_US) == "up"

    def test_the_notes_of_a_dead_one_mean_a_flush(self, make_world: MakeWorld) -> None:
        life = Life(make_world, others=1)
        life.row.say_word(1, DOWN)
        life.server.live_places = lambda: [0]
        life.server.miss(b"k")
        assert life.run(5 * SECOND_US) == "up"
        assert life.fake.lines == [b"delete k", b"flush_all", b"flush_all"]


class TestOperators:
    def test_held_it_is_not_even_probed(self, make_world: MakeWorld) -> None:
        life = Life(make_world)
        life.server.hold("for repair")
        assert (life.server.held, life.run(SECOND_US)) == (True, "down")
        assert life.world.server_count(0, "probes") == 0
        assert life.world.server_count(0, "state") == 4
        life.server.release()
        assert life.run() == "warming"

    def test_what_is_under_way_finishes(self, make_world: MakeWorld) -> None:
        life = Life(make_world)
        life.fake.holds = True
        client = life.world.client()
        client.send(b"get k\r\n")
        life.world.run()
        life.server.hold("for repair")
        life.fake.release()
        life.world.run()
        assert client.take() == b"END\r\n"

    def test_without_copies_too(self, make_world: MakeWorld) -> None:
        world = make_world()
        server = world.servers[0].server
        server.hold("for repair")
        assert world.ask(world.client(), b"set k 0 0 1\r\n1\r\n") == b"SERVER_ERROR server s0 is down\r\n"
        assert server.standing.word(0)[1:3] == (1, DOWN)
        server.release()
        world.pass_time(TICK_US)
        world.run()
        world.pass_time(TICK_US)
        assert (server.state_name, server.standing.word(0)[1:3]) == ("up", (1, WARMING))
        server.standing.begin_opening(1)
        world.pass_time(TICK_US)
        assert server.standing.word(0)[1:3] == (1, UP)

    @pytest.mark.parametrize("keep_data", [False, True])
    def test_another_machine_is_flushed_unless_told_otherwise(
        self, make_world: MakeWorld, keep_data: bool
    ) -> None:
        life = Life(make_world)
        life.server.become_another(keep_data)
        assert life.run(5 * SECOND_US) == "warming"
        assert life.fake.lines == ([] if keep_data else [b"flush_all", b"flush_all"])
        assert life.word == (True, 1, WARMING, True)
