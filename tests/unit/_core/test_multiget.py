"""Retrieval of several keys over several servers (behaviour section 2, multiget)."""

from collections.abc import Callable

import pytest

from tests.support.core import World

MakeWorld = Callable[..., World]


def item(key: bytes, value: bytes) -> bytes:
    return b"VALUE %b 0 %d\r\n%b\r\n" % (key, len(value), value)


def filled(
    make_world: MakeWorld, n_servers: int, keys_each: int, **settings: int
) -> tuple[World, list[bytes]]:
    """A world in which every key has a value that names it; the keys of the servers in turn."""
    world = make_world(n_servers, **settings)
    keys = [
        key
        for each in zip(*(world.keys(i, keys_each) for i in range(n_servers)), strict=True)
        for key in each
    ]
    fill(world, keys)
    return world, keys


def fill(world: World, keys: list[bytes]) -> None:
    for key in keys:
        world.servers[world.owner(key)].store.apply(b"set", (key,), (b"0", b"0"), b"<%b>" % key)


def hold(world: World) -> None:
    for fake in world.servers:
        fake.holds = True


def items(keys: list[bytes]) -> bytes:
    return b"".join(item(key, b"<%b>" % key) for key in keys) + b"END\r\n"


@pytest.mark.parametrize("verb", [b"get", b"gets", b"gat 0", b"gats 5"])
def test_one_line_to_each_server_and_one_reply_in_the_order_of_the_keys(
    make_world: MakeWorld, verb: bytes
) -> None:
    world, keys = filled(make_world, 3, 4)
    reply = world.ask(world.client(), b"%b %b\r\n" % (verb, b" ".join(keys)))
    unique = b" 1" if b"s" in verb else b""
    assert reply == b"".join(
        b"VALUE %b 0 %d%b\r\n<%b>\r\n" % (key, len(key) + 2, unique, key) for key in keys
    ) + b"END\r\n"  # fmt: skip
    for index, fake in enumerate(world.servers):
        own = [key for key in keys if world.owner(key) == index]
        assert fake.lines == [b"%b %b" % (verb, b" ".join(own))]
    assert [world.count(n) for n in ("multigets", "fragments", "get_hits", "get_misses")] == [1, 3, 12, 0]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_servers_answer_in_any_order(make_world: MakeWorld, order: tuple[int, ...]) -> None:
    world, keys = filled(make_world, 3, 3)
    hold(world)
    client = world.client()
    asked = [keys[0], b"absent1", *keys[4:], b"absent2", *keys[1:4]]
    client.send(b"get %b\r\nversion\r\n" % b" ".join(asked))
    world.run()
    for index in order:
        assert client.take() == b""
        while world.servers[index].wire.move_replies(5):
            pass
        world.run()
    assert client.take() == items([key for key in asked if key in keys]) + b"VERSION memagent\r\n"
    assert (world.count("get_hits"), world.count("get_misses")) == (9, 2)


def test_a_key_asked_for_twice_is_answered_twice(make_world: MakeWorld) -> None:
    world, (a, b, c, d) = filled(make_world, 2, 2)
    client = world.client()
    no, not_this = b"absent", b"absent2"
    for asked in ([a, a], [a, b, a], [a, c, a, b, b, d, a], [a, no, a, no, c, not_this, no]):
        reply = world.ask(client, b"get %b\r\n" % b" ".join(asked))
        assert reply == items([key for key in asked if not key.startswith(b"absent")])


def test_nothing_found(make_world: MakeWorld) -> None:
    world = make_world(3)
    assert world.ask(world.client(), b"get %b\r\n" % b" ".join(b"k%d" % i for i in range(50))) == b"END\r\n"
    assert (world.count("get_misses"), world.count("fragments")) == (50, 3)


@pytest.mark.parametrize(("verb", "limit"), [(b"get", 8 * 1024), (b"gat 0", 1900)])
@pytest.mark.parametrize("width", [250, 249, 60, 11])
def test_long_lines_are_split(make_world: MakeWorld, verb: bytes, limit: int, width: int) -> None:
    """Not more lines than needed, none longer than a server takes (the fake one refuses that)."""
    world = make_world(2)
    n = 400 if verb == b"get" else 4000 // (width + 1)  # a client's gat line is 4 KiB at most
    counts = [n * 3 // 4, n - n * 3 // 4]
    keys = [key for i in range(2) for key in world.keys(i, counts[i], b"k", width)]
    keys = keys[::2] + keys[1::2]
    fill(world, keys)
    assert world.ask(world.client(), b"%b %b\r\n" % (verb, b" ".join(keys))) == items(keys)
    for index, fake in enumerate(world.servers):
        needed = counts[index] * (width + 1) / (limit - len(verb) - width)
        assert needed * 0.9 <= len(fake.lines) <= needed + 1
        assert max(map(len, fake.lines)) <= limit + 2
        assert sum(line.count(b" k") for line in fake.lines) == counts[index]


def test_a_quarter_of_a_million_keys_in_one_line(make_world: MakeWorld) -> None:
    world = make_world(3)
    line = b"get" + b" k" * 250_000 + b" a" + b"\r\n"
    world.ask(world.client(), b"set a 0 0 1 noreply\r\nx\r\nset k 0 0 1 noreply\r\ny\r\n")
    assert world.ask(world.client(), line) == item(b"k", b"y") * 250_000 + item(b"a", b"x") + b"END\r\n"


def test_spaces_between_keys_do_not_matter(make_world: MakeWorld) -> None:
    world, (a, b, c, _) = filled(make_world, 2, 2)
    assert world.ask(world.client(), b"  get   %b  %b %b   \r\n" % (a, b, c)) == items([a, b, c])


def test_a_down_server_is_a_miss(make_world: MakeWorld) -> None:
    world, keys = filled(make_world, 2, 3)
    world.servers[1].die()
    alive = [key for key in keys if world.owner(key) == 0]
    client = world.client()
    assert world.ask(client, b"get %b\r\n" % b" ".join(keys)) == items(alive)
    assert [world.count(name) for name in ("get_hits", "get_misses", "misses_server_down")] == [3, 3, 3]
    assert world.server_count(1, "down_rejections") == 3
    world.servers[0].die()
    assert world.ask(client, b"get %b\r\n" % b" ".join(keys)) == b"END\r\n"


def test_with_errors_instead_of_misses_a_hit_is_still_a_hit(make_world: MakeWorld) -> None:
    """Never the loss of the live servers' hits; an error only where nobody could be asked."""
    world, keys = filled(make_world, 2, 2, miss_when_down=False)
    world.servers[1].die()
    alive = [key for key in keys if world.owner(key) == 0]
    client = world.client()
    assert world.ask(client, b"get %b\r\n" % b" ".join(keys)) == items(alive)
    world.servers[0].die()
    reply = world.ask(client, b"get %b\r\n" % b" ".join(keys))
    assert reply == b"SERVER_ERROR no server of these keys could be asked\r\n"
    assert world.ask(client, b"get %b\r\n" % keys[0]) == b"SERVER_ERROR server s0 is down\r\n"


def test_a_part_that_fails_is_a_miss(make_world: MakeWorld) -> None:
    world, keys = filled(make_world, 3, 2)
    hold(world)
    client = world.client()
    client.send(b"get %b\r\nget %b\r\n" % (b" ".join(keys), keys[0]))
    world.run()
    world.servers[1].wire.lose()
    world.run()
    assert client.take() == b""
    for fake in world.servers:
        fake.release()
    world.run()
    alive = [key for key in keys if world.owner(key) != 1]
    assert client.take() == items(alive) + items([keys[0]])
    assert [world.count(name) for name in ("get_hits", "get_misses", "misses_server_failed")] == [5, 2, 2]


def test_a_part_that_is_refused_is_a_miss(make_world: MakeWorld) -> None:
    """Never an error line between VALUE lines."""
    world, keys = filled(make_world, 2, 2)
    hold(world)
    for first in (0, 1):
        client = world.client()
        client.send(b"get %b\r\n" % b" ".join(keys))
        world.run()
        world.servers[1].wire.replies = b"SERVER_ERROR out of memory writing get response\r\n"
        world.servers[first].wire.move_replies()
        world.servers[1 - first].wire.move_replies()
        world.run()
        assert client.take() == items([key for key in keys if world.owner(key) == 0])


def test_a_part_that_times_out_is_a_miss(make_world: MakeWorld) -> None:
    world, keys = filled(make_world, 2, 2)
    world.servers[0].holds = True
    client = world.client()
    client.send(b"get %b\r\n" % b" ".join(keys))
    world.run()
    assert client.take() == b""
    world.pass_time(1_000_000)
    world.run()
    assert client.take() == items([key for key in keys if world.owner(key) == 1])
    world.servers[0].release()
    world.run()
    assert client.take() == b""
    assert world.ask(client, b"get %b\r\n" % b" ".join(keys)) == items(keys)


def test_a_busy_server_is_a_miss(make_world: MakeWorld) -> None:
    world, keys = filled(make_world, 2, 2, queue_requests=1)
    world.servers[0].holds = True
    first, second = world.client(), world.client()
    first.send(b"get %b\r\n" % keys[0])
    world.run()
    idle = [key for key in keys if world.owner(key) == 1]
    assert world.ask(second, b"get %b\r\n" % b" ".join(keys)) == items(idle)
    assert world.server_count(0, "busy_rejections") == 2


DEADLINE_US = 20_000


def test_a_deadline_answers_with_what_is_there(make_world: MakeWorld) -> None:
    world, keys = filled(make_world, 3, 2, multiget_deadline_us=DEADLINE_US)
    hold(world)
    client = world.client()
    client.send(b"get %b\r\nget %b\r\n" % (b" ".join(keys), *world.keys(0, 1, b"absent")))
    world.run()
    world.servers[2].wire.move_replies()
    world.pass_time(DEADLINE_US - 1)
    world.run()
    assert client.take() == b""
    world.pass_time(1)
    world.run()
    there = [key for key in keys if world.owner(key) == 2]
    assert client.take() == items(there)
    counts = [world.count(n) for n in ("get_hits", "get_misses", "misses_deadline", "exchanges")]
    assert counts == [2, 4, 4, 1]
    for fake in world.servers:
        fake.release()
    world.run()
    assert client.take() == b"END\r\n"  # to the second request; late parts are dropped
    assert all(fake.server.up for fake in world.servers)


def test_multigets_that_were_answered_do_not_hold_up_the_deadlines(make_world: MakeWorld) -> None:
    world, keys = filled(make_world, 2, 2, multiget_deadline_us=DEADLINE_US)
    quick, slow = world.client(), world.client()
    own = [[key for key in keys if world.owner(key) == index] for index in range(2)]
    world.servers[1].holds = True
    slow.send(b"get %b\r\n" % b" ".join(own[1]))
    world.run()
    for _ in range(4):
        world.pass_time(DEADLINE_US // 5)
        assert world.ask(quick, b"get %b\r\n" % b" ".join(own[0])) == items(own[0])
    assert len(world.timers) == 5
    world.pass_time(DEADLINE_US // 5)
    world.run()
    assert slow.take() == b"END\r\n"
    assert len(world.timers) == 0


@pytest.mark.parametrize("wrong_last", [True, False])
@pytest.mark.parametrize("good_first", [0, 1, 2])
def test_an_item_that_was_not_asked_for_is_garbage(
    make_world: MakeWorld, good_first: int, wrong_last: bool
) -> None:
    """Nothing of such a reply is believed, and the other servers' hits are not touched by it."""
    world, keys = filled(make_world, 2, 2)
    hold(world)
    own = [[key for key in keys if world.owner(key) == index] for index in range(2)]
    client = world.client()
    client.send(b"get %b\r\n" % b" ".join(keys))
    world.run()
    found = [item(key, b"a lie") for key in own[0][:good_first]] + [item(own[1][0], b"somebody else's")]
    lie = b"".join(found) + b"END\r\n"
    if not wrong_last:
        assert world.servers[0].wire.say(lie) == -1
    world.servers[1].wire.move_replies()
    if wrong_last:
        assert world.servers[0].wire.say(lie) == -1
    assert world.servers[0].wire.channel.trouble
    world.run()
    assert client.take() == items(own[1])
    assert world.count("misses_server_failed") == 2
    assert world.ask(client, b"version\r\n") == b"VERSION memagent\r\n"


@pytest.mark.parametrize(
    "positions", [[1, 0], [0, 0], [0, 1, 1], [2, 1], [0, 1, 2, 0]], ids=lambda each: "".join(map(str, each))
)
def test_items_in_another_order_or_too_often_are_garbage(make_world: MakeWorld, positions: list[int]) -> None:
    world, keys = filled(make_world, 1, 3)
    hold(world)
    client = world.client()
    client.send(b"get %b\r\n" % b" ".join(keys))
    world.run()
    assert world.servers[0].wire.say(b"".join(item(keys[i], b"x") for i in positions) + b"END\r\n") == -1
    world.run()
    assert client.take() == b"END\r\n"


def test_a_client_that_leaves_in_the_middle(make_world: MakeWorld) -> None:
    world, keys = filled(make_world, 3, 2, multiget_deadline_us=DEADLINE_US)
    hold(world)
    client = world.client()
    client.send(b"get %b\r\n" % b" ".join(keys))
    world.run()
    world.servers[0].wire.move_replies()
    client.hang_up()
    world.servers[1].wire.move_replies()
    world.servers[2].wire.lose()
    assert world.count("exchanges") == 0


def test_gat_counts_touches(make_world: MakeWorld) -> None:
    world, keys = filled(make_world, 2, 2)
    world.ask(world.client(), b"gat 5 %b absent\r\n" % b" ".join(keys))
    counts = [world.count(name) for name in ("cmd_get", "cmd_touch", "touch_hits", "touch_misses")]
    assert counts == [5, 5, 4, 1]
    assert sum(world.server_count(index, "get_hits") for index in range(2)) == 4
    assert sum(world.server_count(index, "get_misses") for index in range(2)) == 1
