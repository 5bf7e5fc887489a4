"""One request: what a server is asked, what a client is told, and what is counted (behaviour section 2)."""

from collections.abc import Callable

import pytest

from memagent.counters import WORKER_COUNTERS
from tests.support.core import World

MakeWorld = Callable[..., World]
VALUE = b"VALUE k 0 1\r\nx\r\nEND\r\n"

# What a client may write, and the one line that a server shall read.
LINES = [
    (b"get k", b"get k"),
    (b"  get   k  ", b"get   k"),
    (b"get k ", b"get k"),
    (b"gets k", b"gets k"),
    (b"gat 5 k", b"gat 5 k"),
    (b"gats  -1  k", b"gats  -1  k"),
    (b"incr k 1", b"incr k 1"),
    (b"incr k 1 noreply", b"incr k 1"),
    (b"decr k 5 whatever", b"decr k 5"),
    (b"delete k", b"delete k"),
    (b"delete k 0", b"delete k"),
    (b"delete k noreply", b"delete k"),
    (b"delete k 0 noreply", b"delete k"),
    (b"delete noreply", b"delete noreply"),
    (b"touch k 0", b"touch k 0"),
    (b"touch k 0 noreply", b"touch k 0"),
    (b"flush_all", b"flush_all"),
    (b"flush_all 10 noreply", b"flush_all 10"),
    (b"flush_all noreply", b"flush_all"),
    (b"touch" + b" " * 3000 + b"k" + b" " * 900 + b"0", b"touch k 0"),
]


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize(("line", "sent"), LINES, ids=lambda line: line[:24].decode())
def test_a_line_is_sent_on_without_what_could_make_it_quiet(
    make_world: MakeWorld, line: bytes, sent: bytes, end: bytes
) -> None:
    world = make_world()
    client = world.client()
    reply = world.ask(client, line + end)
    assert world.servers[0].lines == [sent]
    assert (reply == b"") == (b" noreply" in line and line != b"delete noreply")
    assert world.ask(client, b"version\r\n") == b"VERSION memagent\r\n"


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b" \r\n", b" \n", b" noreply\r\n"])
@pytest.mark.parametrize("words", [b"k 5 0 3", b" k  5 0   3", b"k" + b" " * 2500 + b"5 0 3"], ids=len)
@pytest.mark.parametrize("verb", [b"set", b"add", b"replace", b"append", b"prepend", b"cas"])
def test_a_data_block_is_sent_on_whole(make_world: MakeWorld, verb: bytes, words: bytes, end: bytes) -> None:
    world = make_world()
    client = world.client()
    fake = world.servers[0]
    fake.store.apply(b"set", (b"k",), (b"5", b"0"), b"old")
    unique = b" 1" if verb == b"cas" else b""
    reply = world.ask(client, verb + b" " + words + unique + end + b"\n\r\n\r\n" + b"get k\r\n")
    assert len(fake.lines) == 2
    assert fake.lines[0].split() == [verb, b"k", b"5", b"0", b"3", *unique.split()]
    own = b"" if b"noreply" in end else b"NOT_STORED\r\n" if verb == b"add" else b"STORED\r\n"
    value = {b"add": b"old", b"append": b"old\n\r\n", b"prepend": b"\n\r\nold"}.get(verb, b"\n\r\n")
    assert reply == own + b"VALUE k 5 %d\r\n%b\r\nEND\r\n" % (len(value), value)


@pytest.mark.parametrize(
    ("request_", "reply", "counted"),
    [
        (b"get k", VALUE, {"cmd_get": 1, "get_hits": 1}),
        (b"get k", b"END", {"cmd_get": 1, "get_misses": 1}),
        (b"gat 0 k", VALUE, {"cmd_get": 1, "cmd_touch": 1, "get_hits": 1, "touch_hits": 1}),
        (b"gat 0 k", b"END", {"cmd_get": 1, "cmd_touch": 1, "get_misses": 1, "touch_misses": 1}),
        (b"set k 0 0 1\r\nx", b"STORED", {"cmd_set": 1}),
        (b"add k 0 0 1\r\nx", b"NOT_STORED", {"cmd_set": 1}),
        (b"cas k 0 0 1 1\r\nx", b"STORED", {"cmd_set": 1, "cas_hits": 1}),
        (b"cas k 0 0 1 1\r\nx", b"EXISTS", {"cmd_set": 1, "cas_badval": 1}),
        (b"cas k 0 0 1 1\r\nx", b"NOT_FOUND", {"cmd_set": 1, "cas_misses": 1}),
        (b"incr k 1", b"2", {"incr_hits": 1}),
        (b"incr k 1", b"NOT_FOUND", {"incr_misses": 1}),
        (b"incr k 1", b"CLIENT_ERROR cannot increment or decrement non-numeric value", {}),
        (b"decr k 1", b"9  ", {"decr_hits": 1}),
        (b"decr k 1", b"NOT_FOUND", {"decr_misses": 1}),
        (b"delete k", b"DELETED", {"delete_hits": 1}),
        (b"delete k", b"NOT_FOUND", {"delete_misses": 1}),
        (b"touch k 0", b"TOUCHED", {"cmd_touch": 1, "touch_hits": 1}),
        (b"touch k 0", b"NOT_FOUND", {"cmd_touch": 1, "touch_misses": 1}),
        (b"get k", b"SERVER_ERROR out of memory writing get response", {"cmd_get": 1}),
        (b"flush_all", b"OK", {"cmd_flush": 1}),
    ],
    ids=lambda each: each.split()[0].decode() if isinstance(each, bytes) else "",
)
def test_a_reply_is_passed_on_and_counted(
    make_world: MakeWorld, request_: bytes, reply: bytes, counted: dict[str, int]
) -> None:
    world = make_world()
    world.servers[0].is_mute = True
    client = world.client()
    client.send(request_ + b"\r\n")
    world.run()
    reply = reply.removesuffix(b"\r\n") + b"\r\n"
    assert world.servers[0].wire.say(reply) == 1
    world.run()
    assert client.take() == reply
    groups = ("cmd_", "get_", "touch_", "cas_", "incr_", "decr_", "delete_")
    names = [counter.name for counter in WORKER_COUNTERS if counter.name.startswith(groups)]
    assert {name: n for name in names if (n := world.count(name))} == counted


@pytest.mark.parametrize(
    "reply",
    [
        b"VALUE other 0 1\r\nx\r\nEND\r\n",
        b"VALUE kk 0 1\r\nx\r\nEND\r\n",
        b"VALUE j 0 1\r\nx\r\nEND\r\n",
        b"VALUE k 0 1\r\nx\r\nVALUE k 0 1\r\nx\r\nEND\r\n",
        b"VALUE k 0 1\r\nx\r\nVALUE other 0 1\r\ny\r\nEND\r\n",
    ],
)
def test_a_value_of_another_key_reaches_nobody(make_world: MakeWorld, reply: bytes) -> None:
    world = make_world(miss_when_down=False)
    world.servers[0].is_mute = True
    client = world.client()
    client.send(b"get k\r\n")
    world.run()
    assert world.servers[0].wire.say(reply) == -1
    world.run()
    assert client.take() == b"SERVER_ERROR server s0 sent what is no reply\r\n"


REPEATABLE = [b"set k 0 0 1\r\nx", b"delete k", b"touch k 0"]
ONCE = [b"%b k 0 0 1\r\nx" % verb for verb in (b"add", b"replace", b"append", b"prepend")]
ONCE += [b"cas k 0 0 1 1\r\nx", b"incr k 1", b"decr k 1"]


@pytest.mark.parametrize("request_", [*REPEATABLE, *ONCE], ids=lambda each: each.split()[0].decode())
def test_what_may_have_been_done_is_said_to_be_unknown(make_world: MakeWorld, request_: bytes) -> None:
    """Section 2, what may be repeated. Not sent, or harmless to repeat: a plain error."""
    world = make_world()
    fake = world.servers[0]
    fake.is_mute = True
    client, unsent = world.client(), world.client()
    client.send(request_ + b"\r\n")
    world.run()
    unsent.send(request_ + b"\r\n")
    unsent.step()
    fake.wire.channel.end()
    world.run()
    unknown = b"unknown outcome: " if request_ in ONCE else b""
    assert client.take() == b"SERVER_ERROR %bserver s0 closed the connection\r\n" % unknown
    assert unsent.take() == b"SERVER_ERROR server s0 closed the connection\r\n"
    fake.die()
    assert world.ask(client, request_ + b"\r\n") == b"SERVER_ERROR server s0 is down\r\n"
    assert world.count("unknown_outcomes") == (request_ in ONCE)
    assert world.count("server_errors") == 3


@pytest.mark.parametrize("miss", [True, False])
@pytest.mark.parametrize("line", [b"get k", b"gets k", b"gat 0 k", b"gats 0 k"])
def test_a_get_that_cannot_be_had_is_a_miss_unless_the_pool_says_otherwise(
    make_world: MakeWorld, line: bytes, miss: bool
) -> None:
    world = make_world(miss_when_down=miss)
    fake = world.servers[0]
    fake.is_mute = True
    client = world.client()
    world.ask(client, line + b"\r\n")
    fake.wire.lose()
    lost = world.ask(client, line + b"\r\n")
    world.pass_time(1_000_000)
    late = world.ask(client, b"")
    fake.die()
    down = world.ask(client, line + b"\r\n")
    if miss:
        assert [lost, late, down] == [b"END\r\n"] * 3
        names = ("misses_server_failed", "misses_server_down", "get_misses", "server_errors")
        assert [world.count(name) for name in names] == [2, 1, 3, 0]
    else:
        whys = b"closed the connection", b"did not answer in time", b"is down"
        assert [lost, late, down] == [b"SERVER_ERROR server s0 %b\r\n" % why for why in whys]
        assert [world.count(name) for name in ("get_misses", "server_errors")] == [0, 3]


def test_a_busy_server_is_said_to_be_busy_by_every_verb(make_world: MakeWorld) -> None:
    world = make_world(queue_requests=1)
    world.servers[0].holds = True
    first, second = world.client(), world.client()
    first.send(b"get k\r\n")
    world.run()
    for line in (b"get k", *REPEATABLE, *ONCE, b"flush_all"):
        assert world.ask(second, line + b"\r\n") == b"SERVER_ERROR server busy\r\n", line


def test_with_one_server_busy_none_is_flushed(make_world: MakeWorld) -> None:
    world = make_world(2, queue_requests=1)
    busy, idle = (world.keys(index, 1)[0] for index in range(2))
    first, second = world.client(), world.client()
    world.ask(first, b"set %b 0 0 1\r\nx\r\n" % idle)
    world.servers[0].holds = True
    first.send(b"get %b\r\n" % busy)
    world.run()
    assert world.ask(second, b"flush_all\r\n") == b"SERVER_ERROR server busy\r\n"
    assert idle in world.servers[1].store.items


def test_a_flush_goes_to_every_server_and_backup(make_world: MakeWorld) -> None:
    world = make_world(3, 2)
    client = world.client()
    world.ask(client, b"".join(b"set k%d 0 0 1\r\nx\r\n" % i for i in range(30)))
    for fake in world.servers:
        fake.holds = True
    client.send(b"flush_all\r\nversion\r\n")
    world.run()
    for fake in world.servers:
        assert client.take() == b""
        assert fake.lines[-1] == b"flush_all"
        fake.release()
        world.run()
    assert client.take() == b"OK\r\nVERSION memagent\r\n"
    assert not any(fake.store.items for fake in world.servers)


@pytest.mark.parametrize("order", [1, -1])
def test_a_flush_stands_between_what_its_client_writes_on_several_connections(
    make_world: MakeWorld, order: int
) -> None:
    world = make_world(1, n_channels=4)
    fake = world.servers[0]
    client = world.client()
    early, late = ([b"%b%d" % (name, i) for i in range(8)] for name in (b"early", b"late"))
    sets = [b"".join(b"set %b 0 0 1\r\nx\r\n" % key for key in keys) for keys in (early, late)]
    client.send(b"set warm 0 0 1\r\nx\r\n" * 32)  # so that the window is open
    world.run()
    client.take()
    client.send(sets[0] + b"flush_all\r\n" + sets[1])
    for _ in range(100):
        client.step()
        for wire in fake.wires[::order]:
            wire.move_requests()
            wire.move_replies()
    assert client.take() == b"STORED\r\n" * 8 + b"OK\r\n" + b"STORED\r\n" * 8
    assert sorted(fake.store.items) == late


@pytest.mark.parametrize("culprit", [0, 1, 2])
def test_a_flush_is_ok_only_if_all_said_so(make_world: MakeWorld, culprit: int) -> None:
    world = make_world(2, 1)
    fake = world.servers[culprit]
    name = b"s%d" % culprit
    client = world.client()

    fake.is_mute = True
    client.send(b"flush_all\r\n")
    world.run()
    fake.wire.say(b"SERVER_ERROR \xff no\r\n")
    assert world.ask(client, b"") == (
        f"SERVER_ERROR server s{culprit} refused: SERVER_ERROR \ufffd no\r\n".encode()
    )

    client.send(b"flush_all\r\n")
    world.run()
    fake.wire.lose()
    assert world.ask(client, b"") == (
        b"SERVER_ERROR server %b closed the connection: perhaps not flushed\r\n" % name
    )

    client.send(b"flush_all\r\n")
    world.run()
    world.pass_time(1_000_000)
    assert world.ask(client, b"") == (
        b"SERVER_ERROR server %b did not answer in time: perhaps not flushed\r\n" % name
    )

    fake.die()
    assert world.ask(client, b"flush_all\r\n") == b"SERVER_ERROR server %b is down: not flushed\r\n" % name
    others = [each for each in world.servers if each is not fake]
    assert [each.lines.count(b"flush_all") for each in others] == [4, 4]


def test_exchanges_go_on_without_their_client(make_world: MakeWorld) -> None:
    world = make_world(2)
    client = world.client()
    for fake in world.servers:
        fake.holds = True
    client.send(
        b"set a 0 0 1\r\nx\r\nset b 0 0 1\r\ny\r\nget a b\r\nflush_all 5\r\nincr a 1 noreply\r\nversion\r\n"
    )
    world.run()
    # the answer to `version` waits, but is settled
    assert world.count("exchanges") == 5
    session = client.session
    assert session
    client.hang_up()
    assert (world.count("exchanges"), session.waiting_for) == (5, 0)
    for fake in world.servers:
        fake.release()
    world.run()
    # nobody has reported to the session that was left
    assert (world.count("exchanges"), session.waiting_for, session.output()) == (0, 0, b"")
    assert world.ask(world.client(), b"get a b\r\n") == b"VALUE a 0 1\r\nx\r\nVALUE b 0 1\r\ny\r\nEND\r\n"
