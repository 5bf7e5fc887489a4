"""Meta requests under way: what q hides, what is counted, what a lost server means (behaviour section 2)."""

from collections.abc import Callable

import pytest

from memagent.counters import WORKER_COUNTERS
from tests.support.core import World

MakeWorld = Callable[..., World]

VALUE = b"VA 1\r\nx"
REPLIES = [b"HD", VALUE, b"EN", b"NS", b"EX", b"NF", b"ME k exp=-1"]
ERRORS = [b"ERROR", b"CLIENT_ERROR x", b"SERVER_ERROR x"]
FITS = {
    b"mg": {b"HD", VALUE, b"EN"},
    b"ms": {b"HD", b"NS", b"EX", b"NF"},
    b"md": {b"HD", b"EX", b"NF"},
    b"ma": {b"HD", VALUE, b"NS", b"EX", b"NF"},
    b"me": {b"ME k exp=-1", b"EN"},
}
HIDDEN = {b"mg": {b"EN"}, b"ms": {b"HD"}, b"md": {b"HD"}, b"ma": {b"HD", VALUE}}
each_verb = pytest.mark.parametrize("verb", FITS, ids=bytes.decode)


def request(verb: bytes, flags: bytes = b"") -> bytes:
    head, block = (b" 1", b"y\r\n") if verb == b"ms" else (b"", b"")
    return verb + b" k" + head + flags + b"\r\n" + block


@pytest.mark.parametrize("flags", [b"", b" q"], ids=["", "q"])
@each_verb
@pytest.mark.parametrize("reply", [*REPLIES, *ERRORS], ids=lambda line: line.split(b" ")[0].decode())
def test_a_reply_is_passed_on_or_hidden_or_refused(
    make_world: MakeWorld, verb: bytes, reply: bytes, flags: bytes
) -> None:
    """Verbatim; q hides what memcached hides, never an error; what cannot be a reply ends the connection."""
    world = make_world()
    fake = world.servers[0]
    fake.holds = True
    client = world.client()
    client.send(request(verb, flags) + b"mn\r\n")
    world.run()
    fits = reply in ERRORS or reply in FITS[verb]
    # Nobody knows yet whether this server speaks meta: it may read the data block as commands.
    ends = verb == b"ms" and reply in ERRORS[:2]
    assert fake.wire.say(reply + b"\r\n") == (1 if fits and not ends else -1)
    world.run()
    answer = client.take()
    if fits:
        hidden = flags and reply in HIDDEN.get(verb, ())
        assert answer == (b"" if hidden else reply + b"\r\n") + b"MN\r\n"
    else:
        assert answer.count(b"\r\n") == (1 if flags and verb == b"mg" else 2), answer


def test_a_server_that_speaks_meta_may_refuse_a_value(make_world: MakeWorld) -> None:
    """It has swallowed the data block: nobody else's requests on the connection are lost."""
    world = make_world()
    world.servers[0].server.meta = True
    client = world.client()
    assert world.ask(client, b"ms k 3 ! q\r\nxyz\r\nmg k\r\n") == b"CLIENT_ERROR invalid flag\r\nEN\r\n"
    assert not world.changes


@pytest.mark.parametrize(
    ("line", "reply", "counted"),
    [
        (b"mg k v", VALUE, {"cmd_get": 1, "get_hits": 1}),
        (b"mg k", b"HD", {"cmd_get": 1, "get_hits": 1}),
        (b"mg k q", b"EN", {"cmd_get": 1, "get_misses": 1, "quiet_requests": 1}),
        (b"mg k T0", b"HD", {"cmd_get": 1, "cmd_touch": 1, "get_hits": 1, "touch_hits": 1}),
        (b"mg k T0", b"EN", {"cmd_get": 1, "cmd_touch": 1, "get_misses": 1, "touch_misses": 1}),
        (b"ms k 1\r\nx", b"HD", {"cmd_set": 1}),
        (b"ms k 1 ME\r\nx", b"NS", {"cmd_set": 1}),
        (b"ms k 1 C1\r\nx", b"HD", {"cmd_set": 1, "cas_hits": 1}),
        (b"ms k 1 C1\r\nx", b"EX", {"cmd_set": 1, "cas_badval": 1}),
        (b"ms k 1 C1\r\nx", b"NF", {"cmd_set": 1, "cas_misses": 1}),
        (b"md k", b"HD", {"delete_hits": 1}),
        (b"md k", b"NF", {"delete_misses": 1}),
        (b"md k C1", b"EX", {}),
        (b"ma k", b"HD", {"incr_hits": 1}),
        (b"ma k M+ v", VALUE, {"incr_hits": 1}),
        (b"ma k", b"NF", {"incr_misses": 1}),
        (b"ma k MD", b"HD", {"decr_hits": 1}),
        (b"ma k M-", b"NF", {"decr_misses": 1}),
        (b"ma k", b"CLIENT_ERROR cannot increment or decrement non-numeric value", {}),
        (b"me k", b"EN", {}),
    ],
)
def test_counted_as_the_classic_twin(
    make_world: MakeWorld, line: bytes, reply: bytes, counted: dict[str, int]
) -> None:
    world = make_world()
    fake = world.servers[0]
    fake.holds = True
    world.client().send(line + b"\r\n")
    world.run()
    fake.wire.say(reply + b"\r\n")
    world.run()
    names = [
        row.name for row in WORKER_COUNTERS if row.name.endswith(("_hits", "_misses", "_badval", "_requests"))
    ]
    names += ["cmd_get", "cmd_set", "cmd_touch", "cmd_meta", "requests"]
    assert {name: n for name in names if (n := world.count(name))} == {
        "cmd_meta": 1,
        "requests": 1,
        **counted,
    }


@pytest.mark.parametrize(
    ("line", "miss"),
    [
        (b"mg k v", b"EN\r\n"),
        (b"mg k v q", b""),
        (b"mg k v O1 k t", b"EN O1 kk\r\n"),
        (b"mg k k O1", b"EN kk O1\r\n"),
        (b"mg aw== k b Oabc", b"EN kaw== b Oabc\r\n"),
        (b"me k", b"EN\r\n"),
    ],
)
def test_down_is_a_miss(make_world: MakeWorld, line: bytes, miss: bytes) -> None:
    """As a server says it that has not got the key."""
    for miss_when_down in (True, False):
        world = make_world(miss_when_down=miss_when_down)
        client = world.client()
        assert world.ask(client, line + b"\r\nmn\r\n").endswith(b"MN\r\n")
        world.servers[0].die()
        answer = world.ask(client, line + b"\r\nmn\r\n")
        assert answer == (miss if miss_when_down else b"SERVER_ERROR server s0 is down\r\n") + b"MN\r\n"
    world = make_world()
    assert world.ask(world.client(), line + b"\r\n") == miss, "not what an honest server says"


@pytest.mark.parametrize("flags", [b"", b" q"], ids=["", "q"])
@pytest.mark.parametrize("verb", [b"ms", b"md", b"ma"], ids=bytes.decode)
def test_down_is_an_error_for_the_rest(make_world: MakeWorld, verb: bytes, flags: bytes) -> None:
    world = make_world()
    world.servers[0].die()
    assert world.ask(world.client(), request(verb, flags)) == b"SERVER_ERROR server s0 is down\r\n"


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        (b"ms k 1\r\nx", False),
        (b"ms k 1 ME\r\nx", True),
        (b"ms k 1 MR q\r\nx", True),
        (b"ms k 1 MA\r\nx", True),
        (b"ms k 1 C5\r\nx", True),
        (b"md k", False),
        (b"md k C5", True),
        (b"ma k q", True),
    ],
)
def test_lost_after_it_was_sent(make_world: MakeWorld, line: bytes, unknown: bool) -> None:
    """Section 2: what may have been done and must not be done twice has an unknown outcome."""
    world = make_world()
    fake = world.servers[0]
    fake.holds = True
    client = world.client()
    client.send(line + b"\r\n")
    world.run()
    fake.wire.lose()
    world.run()
    what = b"unknown outcome: " if unknown else b""
    assert client.take() == b"SERVER_ERROR " + what + b"server s0 closed the connection\r\n"
    assert world.count("unknown_outcomes") == unknown


@pytest.mark.parametrize(
    ("line", "sent"), [(b"ms k 101 q", b"delete k"), (b"ms aw== 101 MA b", b"md aw== b")]
)
def test_a_value_that_is_too_large_costs_the_old_one(make_world: MakeWorld, line: bytes, sent: bytes) -> None:
    world = make_world(max_item_bytes=100)
    client = world.client()
    assert world.ask(client, b"set k 0 0 1\r\nx\r\n") == b"STORED\r\n"
    answer = world.ask(client, line + b"\r\n" + b"y" * 101 + b"\r\nmg k\r\n")
    assert answer == b"SERVER_ERROR object too large for cache\r\nEN\r\n"
    assert world.servers[0].lines == [b"set k 0 0 1", sent, b"mg k"]


def test_replies_to_quiet_requests_keep_their_order(make_world: MakeWorld) -> None:
    world = make_world(n_servers=3)
    client = world.client()
    keys = [b"key:%d" % i for i in range(60)]
    for key in keys[::3]:
        assert world.ask(client, b"ms %b 3 q\r\nabc\r\n" % key) == b""
    asked = b"".join(b"mg %b v k q O%d\r\n" % (key, i) for i, key in enumerate(keys))
    found = b"".join(b"VA 3 k%b O%d\r\nabc\r\n" % (key, i) for i, key in enumerate(keys) if i % 3 == 0)
    assert world.ask(client, asked + b"mn\r\n" + asked) == found + b"MN\r\n" + found
