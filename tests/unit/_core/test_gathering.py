"""Requests of several pools, and keys whose route strips its prefix, behind one listener."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from memagent._core.pool import Pool
from memagent._core.ring import Placement
from memagent._core.routes import Route
from tests.support.core import Client, World

MakeWorld = Callable[..., World]
A, B, C = 0, 1, 2  # servers: the only ones of pool "a" (every other key), "b" (b:), "c" (c:, stripped)
NO_ROUTE = b"CLIENT_ERROR no route for this key\r\n"
BAD_KEY = b"CLIENT_ERROR bad key\r\n"


def routed(make_world: MakeWorld, rest: bool = True, **given: Any) -> World:
    """Three pools of one server each; `given`: settings of a pool by its name, and of the world."""
    each = {name: given.pop(name) for name in "abc" if name in given}
    world = make_world(3, **given)
    servers = world.pool.servers
    pools = [
        Pool(
            name,
            [server],
            [],
            Placement([(server.name, "127.0.0.1", 11211, 1)], [], "modula", "djb"),
            timers=world.timers,
            **each.get(name, {}),
        )
        for name, server in zip("abc", servers, strict=True)
    ]
    routes = [Route(b"b:", pools[B]), Route(b"c:", pools[C], strip=True)]
    world.routes.configure([Route(b"", pools[A]), *routes] if rest else routes)
    return world


def fill(world: World, server: int, *keys: bytes) -> None:
    for key in keys:
        world.servers[server].store.apply(b"set", (key,), (b"7", b"0"), b"<%b>" % key)


def item(key: bytes, stored: bytes | None = None, unique: bytes = b"") -> bytes:
    value = b"<%b>" % (key if stored is None else stored)
    return b"VALUE %b 7 %d%b\r\n%b\r\n" % (key, len(value), unique, value)


def lines(world: World) -> list[list[bytes]]:
    return [fake.lines for fake in world.servers]


@pytest.mark.parametrize(
    ("request_", "reply", "server", "line"),
    [
        (b"set k 0 0 1\r\nx\r\n", b"STORED\r\n", A, b"set k 0 0 1"),
        (b"set b:k 0 0 1\r\nx\r\n", b"STORED\r\n", B, b"set b:k 0 0 1"),
        (b"set c:k 0 0 1\r\nx\r\n", b"STORED\r\n", C, b"set k 0 0 1"),
        (b"add c:c:k 0 0 1\r\nx\r\n", b"STORED\r\n", C, b"add c:k 0 0 1"),
        (b"set c:k 0 0 1 noreply\r\nx\r\n", b"", C, b"set k 0 0 1"),
        (b"delete c:k\r\n", b"NOT_FOUND\r\n", C, b"delete k"),
        (b"incr c:k 1\r\n", b"NOT_FOUND\r\n", C, b"incr k 1"),
        (b"touch c:k 1\r\n", b"NOT_FOUND\r\n", C, b"touch k 1"),
        (b"cas c:k 0 0 1 9\r\nx\r\n", b"NOT_FOUND\r\n", C, b"cas k 0 0 1 9"),
        (b"get b:x\r\n", b"END\r\n", B, b"get b:x"),
        (b"get c:x\r\n", b"END\r\n", C, b"get x"),
        (b"  get   c:x  \r\n", b"END\r\n", C, b"get x"),
        (b"gat 5 c:x\r\n", b"END\r\n", C, b"gat 5 x"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [0, 1])
def test_a_request_of_one_key_goes_where_its_prefix_says(
    make_world: MakeWorld, request_: bytes, reply: bytes, server: int, line: bytes, piece_bytes: int
) -> None:
    world = routed(make_world)
    client = world.client()
    client.send(request_, piece_bytes)
    world.run()
    assert client.take() == reply
    assert lines(world) == [[line] if each == server else [] for each in (A, B, C)]
    assert world.ask(client, b"mn\r\n") == b"MN\r\n"


@pytest.mark.parametrize("verb", [b"get", b"gets", b"gat 0", b"gats 0"])
def test_a_multiget_of_several_pools_answers_in_the_order_of_its_keys(
    make_world: MakeWorld, verb: bytes
) -> None:
    world = routed(make_world)
    fill(world, A, b"x", b"y")
    fill(world, B, b"b:x")
    fill(world, C, b"x", b"z")
    unique = b" 1" if b"s" in verb else b""
    asked = [b"c:x", b"x", b"b:no", b"y", b"c:no", b"b:x", b"x", b"c:z", b"no"]
    reply = world.ask(world.client(), b"%b %b\r\n" % (verb, b" ".join(asked)))
    there = [(b"c:x", b"x"), (b"x", b"x"), (b"y", b"y"), (b"b:x", b"b:x"), (b"x", b"x"), (b"c:z", b"z")]
    assert reply == b"".join(item(key, stored, unique) for key, stored in there) + b"END\r\n"
    assert lines(world) == [[verb + b" x y x no"], [verb + b" b:no b:x"], [verb + b" x no z"]]
    counts = [world.count(name) for name in ("multigets", "cmd_get", "get_hits", "get_misses", "fragments")]
    assert counts == [1, 9, 6, 3, 3]


def test_a_multiget_of_one_pool_is_an_ordinary_one(make_world: MakeWorld) -> None:
    world = routed(make_world)
    fill(world, B, b"b:1", b"b:2")
    assert world.ask(world.client(), b"get b:1 b:2\r\n") == item(b"b:1") + item(b"b:2") + b"END\r\n"


@pytest.mark.parametrize("order", [(A, B, C), (C, B, A), (B, A, C)])
def test_replies_of_pools_come_in_any_order(make_world: MakeWorld, order: tuple[int, ...]) -> None:
    world = routed(make_world)
    fill(world, A, b"x")
    fill(world, B, b"b:x")
    fill(world, C, b"x")
    for fake in world.servers:
        fake.holds = True
    client = world.client()
    client.send(b"get b:x c:x x\r\nget b:x\r\nversion\r\n")
    world.run()
    for server in order:
        assert client.take() == b""
        world.servers[server].wire.move_replies()
        world.run()
    both = item(b"b:x") + item(b"c:x", b"x") + item(b"x") + b"END\r\n"
    assert client.take() == both + item(b"b:x") + b"END\r\nVERSION memagent\r\n"


def test_a_value_that_looks_like_a_reply(make_world: MakeWorld) -> None:
    world = routed(make_world)
    value = b"VALUE b:x 0 3\r\nabc\r\nEND"
    world.servers[C].store.apply(b"set", (b"x",), (b"0", b"0"), value)
    whole = b"VALUE c:x 0 %d\r\n%b\r\n" % (len(value), value)
    assert world.ask(world.client(), b"get b:x c:x\r\n") == whole + b"END\r\n"
    assert world.ask(world.client(), b"get c:x\r\n") == whole + b"END\r\n"


def test_what_is_down_in_one_pool_is_a_miss_and_the_others_answer(make_world: MakeWorld) -> None:
    world = routed(make_world)
    fill(world, A, b"x")
    world.servers[B].die()
    client = world.client()
    assert world.ask(client, b"get b:x x c:x\r\n") == item(b"x") + b"END\r\n"
    assert world.ask(client, b"set x 0 0 1\r\n1\r\n") == b"STORED\r\n"
    assert world.ask(client, b"set b:x 0 0 1\r\n1\r\n").startswith(b"SERVER_ERROR server s1 is down")
    assert world.count("misses_server_down") == 1


def test_each_pool_has_its_own_get_when_down(make_world: MakeWorld) -> None:
    world = routed(make_world, b={"miss_when_down": False})
    fill(world, A, b"x")
    world.servers[B].die()
    world.servers[C].die()
    client = world.client()
    assert world.ask(client, b"get c:x\r\n") == b"END\r\n"
    assert world.ask(client, b"get b:x\r\n").startswith(b"SERVER_ERROR server s1 is down")
    # no error stands between values; where nobody has answered there are none
    assert world.ask(client, b"get x b:x\r\n") == item(b"x") + b"END\r\n"
    world.servers[A].die()
    assert world.ask(client, b"get b:x b:y\r\n").startswith(b"SERVER_ERROR no server of these keys")


@pytest.mark.parametrize("late", [B, C])
def test_the_shortest_deadline_counts_for_all(make_world: MakeWorld, late: int) -> None:
    world = routed(make_world, b={"multiget_deadline_us": 20_000}, c={"multiget_deadline_us": 90_000})
    fill(world, A, b"x")
    world.servers[late].holds = True
    client = world.client()
    client.send(b"get x b:x c:x\r\n")
    world.run()
    world.pass_time(19_999)
    assert client.take() == b""
    world.pass_time(1)
    world.run()
    assert client.take() == item(b"x") + b"END\r\n"
    assert world.count("misses_deadline") == 1
    world.servers[late].release()
    assert world.ask(client, b"get x\r\n") == item(b"x") + b"END\r\n"


# ---------------------------------------------------------------- keys that are nobody's


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"get k\r\n", NO_ROUTE),
        (b"get b:k k\r\n", NO_ROUTE),
        (b"set k 0 0 1\r\nx\r\n", NO_ROUTE),
        (b"set k 0 0 1 noreply\r\nx\r\n", b""),
        (b"mg k v q\r\n", NO_ROUTE),
        (b"mg " + base64.b64encode(b"k") + b" b v\r\n", NO_ROUTE),
        (b"me k\r\n", NO_ROUTE),
        (b"b:\r\n", b"ERROR\r\n"),
        (b"get c:\r\n", BAD_KEY),
        (b"get b:k c:\r\n", BAD_KEY),
        (b"set c: 0 0 1\r\nx\r\n", BAD_KEY),
        (b"mg c: v\r\n", BAD_KEY),
    ],
)
def test_a_key_that_no_route_takes_is_refused_and_nobody_is_asked(
    make_world: MakeWorld, request_: bytes, reply: bytes
) -> None:
    world = routed(make_world, rest=False)
    client = world.client()
    assert world.ask(client, request_ + b"get b:1\r\n") == reply + b"END\r\n"
    assert [fake.lines for fake in world.servers] == [[], [b"get b:1"], []]
    assert world.count("unrouted_requests") == (reply in (NO_ROUTE, b""))
    assert world.count("bad_keys") == (reply == BAD_KEY)


def test_a_listener_without_routes_answers_what_needs_none(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.routes.configure([])
    client = world.client()
    assert world.ask(client, b"get k\r\nflush_all\r\nmn\r\n") == NO_ROUTE + NO_ROUTE + b"MN\r\n"


# ---------------------------------------------------------------- other verbs


def test_flush_all_reaches_every_pool(make_world: MakeWorld) -> None:
    world = routed(make_world)
    client = world.client()
    assert world.ask(client, b"flush_all\r\n") == b"OK\r\n"
    assert lines(world) == [[b"flush_all"]] * 3
    assert world.ask(client, b"flush_all 5 noreply\r\nmn\r\n") == b"MN\r\n"
    world.servers[B].die()
    reply = world.ask(client, b"flush_all\r\n")
    assert reply == b"SERVER_ERROR server s1 is down: not flushed\r\n"


def test_a_flush_of_several_pools_holds_back_what_may_be_quicker(make_world: MakeWorld) -> None:
    world = routed(make_world, n_channels=2)
    for fake in world.servers:
        fake.holds = True
    client = world.client()
    client.send(b"flush_all\r\nget b:1\r\n")
    world.run()
    assert lines(world)[B] == [b"flush_all"] * 2
    for fake in world.servers:
        fake.release()
    world.run()
    assert client.take() == b"OK\r\nEND\r\n"
    assert world.count("cmd_flush") == 1


def test_a_set_that_is_too_large_takes_the_old_value_of_its_pool(make_world: MakeWorld) -> None:
    world = routed(make_world)
    world.context.configure(max_item_bytes=1024)
    fill(world, C, b"x")
    fill(world, A, b"x")
    client = world.client()
    refused = world.ask(client, b"set c:x 0 0 2000\r\n%b\r\n" % bytes(2000))
    assert refused == b"SERVER_ERROR object too large for cache\r\n"
    assert world.ask(client, b"get c:x x\r\n") == item(b"x") + b"END\r\n"


def test_a_set_that_is_too_large_for_nobodys_key(make_world: MakeWorld) -> None:
    world = routed(make_world, rest=False)
    world.context.configure(max_item_bytes=1024)
    client = world.client()
    refused = world.ask(client, b"set x 0 0 2000\r\n%b\r\nmn\r\n" % bytes(2000))
    assert refused == b"SERVER_ERROR object too large for cache\r\nMN\r\n"


@pytest.mark.parametrize("piece_bytes", [0, 3])
def test_a_pipeline_of_all_kinds(make_world: MakeWorld, piece_bytes: int) -> None:
    world = routed(make_world)
    client = world.client()
    sent = expected = b""
    for i in range(50):
        sent += b"set c:%d 0 0 1\r\nx\r\nset b:%d 0 0 1 noreply\r\ny\r\nget c:%d b:%d\r\n" % (i, i, i, i)
        expected += b"STORED\r\nVALUE c:%d 0 1\r\nx\r\nVALUE b:%d 0 1\r\ny\r\nEND\r\n" % (i, i)
    client.send(sent, piece_bytes)
    world.run()
    assert client.take() == expected


def test_a_client_that_goes_leaves_nothing(make_world: MakeWorld) -> None:
    world = routed(make_world)
    for fake in world.servers:
        fake.holds = True
    client = world.client()
    client.send(b"get x b:x c:x\r\nget c:x\r\nset c:x 0 0 1\r\nx\r\nflush_all\r\n")
    world.run()
    client.hang_up()
    for fake in world.servers:
        fake.release()
    world.run()
    assert world.count("exchanges") == 0


# ---------------------------------------------------------------- meta


def meta(world: World) -> Client:
    for fake in world.servers:
        fake.speaks_meta = True
        fake.restart()
    world.run()
    return world.client()


STRIPPED = base64.b64encode(b"c:x y")
BARE = base64.b64encode(b"x y")


@pytest.mark.parametrize(
    ("request_", "reply", "line"),
    [
        (b"ms c:k 1 c\r\nx\r\n", b"HD c1\r\n", b"ms k 1 c"),
        (b"ms c:k 1 k O7\r\nx\r\n", b"HD O7 kc:k\r\n", b"ms k 1 O7"),
        (b"ms c:k 1 k q\r\nx\r\n", b"", b"ms k 1"),
        (b"ms %b 1 b k\r\nx\r\n" % STRIPPED, b"HD k%b b\r\n" % STRIPPED, b"ms %b 1 b" % BARE),
        (b"mg c:no k v\r\n", b"EN kc:no\r\n", b"mg no v"),
        (b"mg c:no k v q\r\n", b"", b"mg no v"),
        (b"mg c:no v\r\n", b"EN\r\n", b"mg no v"),
        (b"mg c:old v\r\n", b"VA 3\r\nold\r\n", b"mg old v"),
        (b"mg c:old k v\r\n", b"VA 3 kc:old\r\nold\r\n", b"mg old v"),
        (b"mg c:old v k O9 q\r\n", b"VA 3 O9 kc:old\r\nold\r\n", b"mg old v O9"),
        (b"md c:old k\r\n", b"HD kc:old\r\n", b"md old"),
        (b"md c:no k q\r\n", b"NF kc:no\r\n", b"md no"),
        (b"ma c:no k\r\n", b"NF kc:no\r\n", b"ma no"),
        (b"me c:no\r\n", b"EN\r\n", b"me no"),
    ],
)
def test_meta_requests_show_the_clients_key(
    make_world: MakeWorld, request_: bytes, reply: bytes, line: bytes
) -> None:
    world = routed(make_world)
    client = meta(world)
    world.servers[C].store.apply(b"set", (b"old",), (b"0", b"0"), b"old")
    world.servers[C].lines.clear()
    assert world.ask(client, request_ + b"mn\r\n") == reply + b"MN\r\n"
    assert world.servers[C].lines == [line]


def test_the_key_of_a_me_is_the_clients(make_world: MakeWorld) -> None:
    world = routed(make_world)
    client = meta(world)
    world.servers[C].holds = True
    client.send(b"me c:x\r\n")
    world.run()
    world.servers[C].wire.say(b"ME x exp=-1 la=3 cas=7 fetch=no cls=1 size=63\r\n")
    world.run()
    assert client.take() == b"ME c:x exp=-1 la=3 cas=7 fetch=no cls=1 size=63\r\n"
    world.servers[C].wire.replies = b""


@pytest.mark.parametrize("refusal", [b"SERVER_ERROR out of memory\r\n", b"CLIENT_ERROR no\r\n", b"ERROR\r\n"])
def test_an_error_line_is_passed_on_as_it_is(make_world: MakeWorld, refusal: bytes) -> None:
    world = routed(make_world)
    client = meta(world)
    world.servers[C].holds = True
    client.send(b"mg c:x k v\r\n")
    world.run()
    world.servers[C].wire.say(refusal)
    world.run()
    assert client.take() == refusal
    world.servers[C].wire.replies = b""


# ---------------------------------------------------------------- what is looked at of single requests


def test_shares_are_observed_by_the_keys_that_their_servers_know(make_world: MakeWorld) -> None:
    world = routed(make_world, hot_keys=True, slow_us=1000)
    client = world.client()
    world.turn.now_us += 100_000
    world.ask(client, b"get a c:a b:a\r\n")
    world.ask(client, b"set c:k 0 0 1\r\nx\r\n")
    world.ask(client, b"get b:a b:b\r\n")
    found = world.hot.read(world.turn.now_us)
    assert found is not None
    assert {key for key, *_ in found[0]} == {b"a", b"b:a", b"k", b"b:b"}
    world.servers[C].holds = True
    client.send(b"get a c:a\r\n")
    world.run()
    world.turn.now_us += 2000
    world.servers[C].release()
    world.run()
    assert client.take() == b"END\r\n"
    assert [each[6] for each in world.slow.read()] == [b"a"]
