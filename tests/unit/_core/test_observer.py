"""What is looked at of single requests: hot keys, slow ones with their phases, what taps want to see."""

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from memagent._core.observer import Tap, verbs
from memagent._core.sighting import Sightings
from tests.support.core import SIGHTINGS, World

MakeWorld = Callable[..., World]
SLOW_US = 100_000


class Seen(NamedTuple):
    """As `Sightings.read` has it."""

    number: int
    tap: int
    ended_us: int
    took_us: int
    first_us: int
    verb: bytes
    key: bytes
    keys: int
    found: int
    result: bytes
    client: bytes
    server: bytes
    before: bytes
    step: str | None


def seen(sightings: Sightings) -> list[Seen]:
    return [Seen(*each) for each in sightings.read()]


def wait_for(world: World, request: bytes, us: int = SLOW_US, held: Sequence[int] | None = None) -> Any:
    """Ask, and let the servers, or some of them, take so long over it."""
    client = world.client()
    held = range(len(world.servers)) if held is None else held
    for index in held:
        world.servers[index].holds = True
    client.send(request)
    world.run()
    world.turn.now_us += us
    for index in held:
        world.servers[index].release()
    world.run()
    return client.take()


# ------------------------------------------------------------ hot keys


def hot(world: World) -> dict[bytes, tuple[float, float, int]]:
    """Reads and writes a second, and the server, by key."""
    found = world.hot.read(world.turn.now_us)
    assert found is not None
    return {key: (reads, writes, server) for key, reads, writes, _, _, server in found[0]}


def test_every_key_of_every_verb_is_counted_while_there_are_few(make_world: MakeWorld):
    world = make_world(2, hot_keys=True)
    client = world.client()
    world.turn.now_us += 100_000
    a, b = world.keys(0, 1)[0], world.keys(1, 1)[0]
    for request in (
        *(b"get %b\r\n" % a, b"get %b %b\r\n" % (a, b), b"gat 0 %b\r\n" % a, b"mg %b v\r\n" % a),
        *(b"set %b 0 0 1\r\nx\r\n" % b, b"delete %b\r\n" % b, b"touch %b 0\r\n" % b, b"md %b\r\n" % b),
        *(b"version\r\n", b"flush_all\r\n", b"nonsense\r\n", b"get\r\n"),
    ):
        client.send(request)
        world.run()
    assert hot(world) == {
        a: (pytest.approx(40, rel=0.01), 0, 0),
        b: (pytest.approx(10, rel=0.01), pytest.approx(40, rel=0.01), 1),
    }


def test_a_base64_key_is_the_key_that_it_stands_for(make_world: MakeWorld):
    world = make_world(hot_keys=True)
    world.servers[0].speaks_meta = True
    world.ask(world.client(), b"mg AQID b v\r\n")
    assert set(hot(world)) == {b"\x01\x02\x03"}


def test_of_many_only_some_are_looked_at_and_they_stand_for_all(make_world: MakeWorld):
    world = make_world(2, hot_keys=True)
    client = world.client()
    rng = random.Random(5)
    n = 0
    while n < 12_000:
        # 20,000 keys a second, one in five the same, in all kinds of requests
        keys = [
            b"hot" if rng.random() < 0.2 else b"k%d" % rng.randrange(10**6)
            for _ in range(rng.choice((1, 1, 2, 40)))
        ]
        client.send(b"get %b\r\n" % b" ".join(keys))
        world.run()
        n += len(keys)
        world.turn.now_us += 50 * len(keys)
    client.take()
    assert 10 <= world.observer.looks_at_one_in <= 40
    found = world.hot.read(world.turn.now_us)
    assert found is not None
    keys, total, unseen = found
    assert total == pytest.approx(20_000, rel=0.1)
    first = max(keys, key=lambda row: row[1])
    assert first[0] == b"hot"
    assert abs(first[1] - 4_000) < first[4]
    assert unseen < 200


def test_a_rhythm_does_not_hide_what_a_client_does(make_world: MakeWorld):
    """Every 16th key is hot: whoever looked at every 16th would see it always or never."""
    world = make_world(hot_keys=True)
    client = world.client()
    n = 8_000
    for number in range(n):
        client.send(b"get %b\r\n" % (b"hot" if number % 16 == 0 else b"cold%d" % (number % 16)))
        world.run()
        world.turn.now_us += 60
    client.take()
    assert world.observer.looks_at_one_in > 8
    share = hot(world)[b"hot"][0] * n * 60e-6 / n
    assert 1 / 16 / 2 < share < 2 / 16


def test_when_requests_become_few_all_are_looked_at_again(make_world: MakeWorld):
    world = make_world(hot_keys=True)
    client = world.client()
    for _ in range(3000):
        world.ask(client, b"get a\r\n")
        world.turn.now_us += 10
    assert world.observer.looks_at_one_in > 50
    # also where those few are less than what is between two samples
    world.pass_time(2_000_000)
    assert world.observer.looks_at_one_in == 1
    world.ask(client, b"get b\r\n")
    assert b"b" in hot(world)


def test_off_nothing_is_collected_and_what_was_is_gone(make_world: MakeWorld):
    world = make_world()
    client = world.client()
    world.ask(client, b"get a\r\n")
    assert world.hot.read(world.turn.now_us) is None
    world.observer.configure(hot_keys=True)
    world.ask(client, b"get a\r\n")
    assert set(hot(world)) == {b"a"}
    world.observer.configure(hot_keys=True)
    assert set(hot(world)) == {b"a"}
    world.observer.configure(hot_keys=False)
    world.ask(client, b"get a\r\n")
    assert world.hot.read(world.turn.now_us) is None
    world.observer.configure(hot_keys=True)
    assert hot(world) == {}


# ------------------------------------------------------------ slow requests


def test_a_slow_request_is_kept_with_what_it_waited_for(make_world: MakeWorld):
    world = make_world(2, slow_us=SLOW_US)
    key = world.keys(1, 1)[0]
    assert wait_for(world, b"set %b 0 0 5\r\nvalue\r\n" % key) == b"STORED\r\n"
    wait_for(world, b"get %b\r\n" % key, SLOW_US - 1)
    assert wait_for(world, b"get %b\r\n" % key, SLOW_US + 7) == b"VALUE %b 0 5\r\nvalue\r\nEND\r\n" % key
    first, second = seen(world.slow)
    assert first == Seen(
        *(1, 0, first.ended_us, SLOW_US, 0, b"set", key, 1, 0, b"STORED", b"", b"s1", b"", None)
    )
    assert second[3:] == (SLOW_US + 7, 0, b"get", key, 1, 1, b"HIT", b"", b"s1", b"", None)
    assert second.ended_us == world.turn.now_us


@pytest.mark.parametrize(
    ("request_line", "result"),
    [
        (b"get none\r\n", b"MISS"),
        (b"gets none none2\r\n", b"MISS"),
        (b"get number\r\n", b"HIT"),
        (b"incr number 1\r\n", b"NUMBER"),
        (b"incr none 1\r\n", b"NOT_FOUND"),
        (b"delete number noreply\r\n", b"DELETED"),
        (b"add number 0 0 1\r\nx\r\n", b"NOT_STORED"),
        (b"cas number 0 0 1 5\r\nx\r\n", b"EXISTS"),
        (b"incr text 1\r\n", b"CLIENT_ERROR"),
        (b"flush_all\r\n", b"OK"),
    ],
)
def test_what_came_of_it_is_a_word_and_never_a_value(
    make_world: MakeWorld, request_line: bytes, result: bytes
):
    world = make_world(slow_us=SLOW_US)
    client = world.client()
    world.ask(client, b"set number 0 0 6\r\n123456\r\nset text 0 0 1\r\nt\r\n")
    wait_for(world, request_line)
    (found,) = seen(world.slow)
    assert found.result == result
    assert found.verb == request_line.split()[0]
    assert b"12345" not in bytes(world.shared_slow)


def test_what_the_proxy_answers_itself_is_not_slow(make_world: MakeWorld):
    world = make_world(slow_us=SLOW_US)
    wait_for(world, b"get a\r\nversion\r\nbad\r\nstats\r\n")
    assert [each.verb for each in seen(world.slow)] == [b"get"]


def test_a_multiget_names_the_server_that_it_waited_for(make_world: MakeWorld):
    world = make_world(3, slow_us=SLOW_US)
    keys = [key for server in range(3) for key in world.keys(server, 2)]
    world.ask(world.client(), b"set %b 0 0 1\r\nx\r\n" % keys[2])
    wait_for(world, b"get %b\r\n" % b" ".join(keys), held=[1])
    (found,) = seen(world.slow)
    assert found[3:] == (SLOW_US, 0, b"get", keys[2], 6, 1, b"HIT", b"", b"s1", b"", None)


def test_at_its_deadline_a_multiget_names_who_had_not_answered(make_world: MakeWorld):
    world = make_world(3, slow_us=SLOW_US, multiget_deadline_us=SLOW_US)
    keys = [world.keys(server, 1)[0] for server in range(3)]
    world.servers[2].holds = True
    client = world.client()
    client.send(b"get %b\r\n" % b" ".join(keys))
    world.run()
    world.pass_time(SLOW_US)
    (found,) = seen(world.slow)
    assert (found.server, found.key, found.found) == (b"s2", keys[2], 0)
    world.servers[2].release()
    world.run()


def two(world: World) -> tuple[int, int, bytes]:
    """A key's owner, its copy, and the key, in a world of two servers and two backups."""
    key = b"k"
    owner, copy = world.placement.locate(key)
    return owner, 2 + copy, key


def test_a_fallback_is_a_second_step(make_world: MakeWorld):
    world = make_world(2, 2, has_copies=True, slow_us=SLOW_US)
    owner, copy, key = two(world)
    world.servers[copy].holds = True
    client = world.client()
    world.turn.now_us += 5
    world.servers[owner].holds = True
    client.send(b"get %b\r\n" % key)
    world.run()
    world.turn.now_us += 30_000
    world.servers[owner].release()
    world.run()
    world.turn.now_us += 80_000
    world.servers[copy].release()
    world.run()
    (found,) = seen(world.slow)
    assert (found.took_us, found.first_us, found.step) == (110_000, 30_000, "fallback")
    assert (found.before, found.server) == (b"s%d" % owner, b"s%d" % copy)


@pytest.mark.parametrize("line", [b"get k\r\n", b"get k k2\r\n", b"set k 0 0 1\r\nx\r\n", b"touch k 0\r\n"])
def test_a_failover_names_both(make_world: MakeWorld, line: bytes):
    world = make_world(2, 2, has_copies=True, slow_us=SLOW_US)
    owner, copy, _ = two(world)
    world.servers[owner].holds = world.servers[copy].holds = True
    client = world.client()
    client.send(line)
    world.run()
    world.turn.now_us += 70_000
    world.servers[owner].die()
    world.run()
    world.turn.now_us += 50_000
    world.servers[copy].release()
    world.run()
    for each in world.servers:
        each.release()
    world.run()
    (found,) = seen(world.slow)
    assert (found.key, found.step) == (b"k", "failover")
    assert (found.before, found.server) == (b"s%d" % owner, b"s%d" % copy)
    assert (found.took_us, found.first_us) == (120_000, 70_000)


def test_a_delete_waits_for_its_copy_too(make_world: MakeWorld):
    world = make_world(2, 2, has_copies=True, slow_us=SLOW_US)
    owner, copy, key = two(world)
    wait_for(world, b"delete %b\r\n" % key, held=[copy])
    (found,) = seen(world.slow)
    assert (found.step, found.first_us, found.took_us) == ("copy", 0, SLOW_US)
    assert (found.before, found.server) == (b"s%d" % owner, b"s%d" % copy)


def test_a_repair_before_the_request_can_run_is_a_step(make_world: MakeWorld):
    world = make_world(2, 2, has_copies=True, slow_us=SLOW_US)
    owner, copy, key = two(world)
    world.ask(world.client(), b"set %b 0 0 1\r\n5\r\n" % key)
    world.servers[owner].store.items.clear()
    assert wait_for(world, b"incr %b 1\r\n" % key, held=[copy]) == b"6\r\n"
    (found,) = seen(world.slow)
    assert (found.step, found.before, found.server) == ("repair", b"s%d" % owner, b"s%d" % owner)


def test_who_hangs_up_before_the_end_has_waited_too(make_world: MakeWorld):
    world = make_world(2, slow_us=SLOW_US)
    world.servers[0].holds = world.servers[1].holds = True
    patient, other = world.client(), world.client()
    key = world.keys(1, 1)[0]
    patient.send(b"get %b\r\nget %b2\r\n" % (key, key))
    world.run()
    world.turn.now_us += SLOW_US - 1
    other.send(b"get quick\r\n")
    world.run()
    world.turn.now_us += 1
    patient.hang_up()
    other.hang_up()
    found = seen(world.slow)
    assert [(each.key, each.result, each.took_us) for each in found] == [
        (key, b"client left", SLOW_US),
        (key + b"2", b"client left", SLOW_US),
    ]
    world.servers[0].release()
    world.servers[1].release()
    world.run()
    assert len(seen(world.slow)) == 2


def test_too_many_slow_ones_at_once_are_counted_only(make_world: MakeWorld):
    world = make_world(slow_us=SLOW_US)
    wait_for(world, b"get a\r\n" * 30)
    wait_for(world, b"get a\r\n" * 30)
    assert world.slow.count + world.slow.dropped == 60
    assert 25 <= world.slow.count <= SIGHTINGS
    world.turn.now_us += 10_000_000
    count = world.slow.count
    wait_for(world, b"get a\r\n" * 20)
    assert world.slow.count == count + 20


def test_off_nothing_is_slow(make_world: MakeWorld):
    world = make_world()
    wait_for(world, b"get a\r\n", 10**9)
    assert world.slow.count == 0
    world.observer.configure(slow_us=1)
    wait_for(world, b"get a\r\n", 1)
    world.observer.configure(slow_us=0)
    wait_for(world, b"get a\r\n", 10**9)
    assert world.slow.count == 1


# ------------------------------------------------------------ taps


def tap(number: int = 1, prefix: bytes = b"", server: int = -1, verb: str = "", per_s: float = 1000) -> Tap:
    return Tap(number, prefix, server, verb, per_s)


def test_a_tap_shows_what_it_wants_and_nothing_else(make_world: MakeWorld):
    world = make_world(2)
    client = world.client()
    at_1 = world.keys(1, 1, b"user:")[0]
    at_0 = world.keys(0, 1, b"user:")[0]
    other = world.keys(1, 1, b"item:")[0]
    world.observer.tap(
        [tap(1), tap(2, prefix=b"user:"), tap(3, server=1), tap(4, verb="get"), tap(5, b"user:", 1, "get")]
    )
    world.ask(client, b"set %b 0 0 6\r\nsecret\r\n" % at_1)
    world.ask(client, b"get %b\r\n" % at_0)
    world.ask(client, b"get %b\r\n" % other)
    world.ask(client, b"get %b %b %b\r\n" % (other, at_0, at_1))
    world.ask(client, b"flush_all\r\n")
    found = seen(world.tapped)
    by_tap = {number: [each[5:10] for each in found if each.tap == number] for number in range(1, 6)}
    write, read = (b"set", at_1, 1, 0, b"STORED"), (b"get", at_0, 1, 0, b"MISS")
    foreign = (b"get", other, 1, 0, b"MISS")
    assert by_tap == {
        1: [write, read, foreign, (b"get", other, 3, 1, b"HIT"), (b"flush_all", b"", 0, 0, b"OK")],
        2: [write, read, (b"get", at_0, 3, 1, b"HIT")],
        3: [write, foreign, (b"get", other, 3, 1, b"HIT")],
        4: [read, foreign, (b"get", other, 3, 1, b"HIT")],
        5: [(b"get", at_1, 3, 1, b"HIT")],
    }
    assert {each.server for each in found if each.tap == 3} == {b"s1"}
    assert [world.tapped.matched(number) for number in range(1, 7)] == [5, 3, 3, 3, 1, 0]
    assert all(b"secret" not in field for each in found for field in each if isinstance(field, bytes))


def test_past_its_rate_a_tap_counts_only(make_world: MakeWorld):
    world = make_world()
    client = world.client()
    world.observer.tap([tap(7, per_s=40)])
    for _ in range(2000):
        world.ask(client, b"get a\r\n")
        world.turn.now_us += 1_000
    assert world.tapped.matched(7) == 2000
    assert 80 <= world.tapped.count <= 80 + 10 + 1
    world.turn.now_us += 10_000_000
    before = world.tapped.count
    world.ask(client, b"get a\r\n" * 30)
    assert world.tapped.count == before + 10


def test_taps_come_and_go_and_the_others_go_on(make_world: MakeWorld):
    world = make_world()
    client = world.client()
    world.ask(client, b"get before\r\n")
    world.observer.tap([tap(1), tap(2)])
    world.ask(client, b"get a\r\n")
    world.observer.tap([tap(2), tap(3)])
    world.ask(client, b"get b\r\n")
    world.observer.tap([tap(2)])
    world.observer.tap([])
    world.ask(client, b"get after\r\n")
    assert [(each.tap, each.key) for each in seen(world.tapped)] == [
        *((1, b"a"), (2, b"a"), (2, b"b"), (3, b"b")),
    ]
    assert world.tapped.matched(2) == 2
    # no more than there is room for
    world.observer.tap([tap(number) for number in range(10, 30)])
    world.ask(client, b"get many\r\n")
    assert len(seen(world.tapped)) == 4 + 8


def test_a_tap_leaves_the_slow_log_as_it_is(make_world: MakeWorld):
    world = make_world(slow_us=SLOW_US)
    world.observer.tap([tap()])
    wait_for(world, b"get a\r\n", 10)
    wait_for(world, b"get b\r\n")
    world.observer.tap([])
    wait_for(world, b"get c\r\n", 10)
    wait_for(world, b"get d\r\n")
    assert [each.key for each in seen(world.slow)] == [b"b", b"d"]
    assert [each.key for each in seen(world.tapped)] == [b"a", b"b"]


def test_verbs_of_taps():
    assert verbs()[:2] == ("get", "gets")
    assert verbs()[-1] == "flush_all"
    with pytest.raises(ValueError, match="tuple"):
        tap(verb="nonsense")
