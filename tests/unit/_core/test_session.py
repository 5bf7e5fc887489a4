"""A client's conversation: order, windows, limits, and how it ends (behaviour sections 2 and 5)."""

from collections.abc import Callable
from itertools import permutations

import pytest

from tests.support.core import Client, World

MakeWorld = Callable[..., World]
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
OUT_OF_MEMORY = b"SERVER_ERROR out of buffer memory\r\n"


def store(world: World, key: bytes, value: bytes) -> bytes:
    """Put it where it belongs; returns the reply to a get."""
    world.servers[world.owner(key)].store.apply(b"set", (key,), (b"0", b"0"), value)
    return b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (key, len(value), value)


# --- order


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_replies_leave_in_the_order_of_the_requests(make_world: MakeWorld, order: tuple[int, ...]) -> None:
    world = make_world(3)
    keys = [world.keys(index, 1)[0] for index in range(3)]
    expected = [store(world, key, b"value of " + key) for key in keys]
    client = world.client()
    for fake in world.servers:
        fake.holds = True
    client.send(b"get %b\r\nversion\r\nget %b\r\nbogus\r\nget %b\r\nmn\r\n" % tuple(keys))
    world.run()
    for number, index in enumerate(order):
        world.servers[index].release()
        world.run()
        done = set(order[: number + 1])
        first_missing = min(set(range(3)) - done, default=3)
        own = [b"VERSION memagent\r\n", b"ERROR\r\n", b"MN\r\n"]
        said = b"".join(expected[i] + own[i] for i in range(first_missing))
        assert client.received == said
    assert world.memory.used_bytes == 0


def test_two_requests_for_one_key_reach_its_server_in_their_order(make_world: MakeWorld) -> None:
    world = make_world(3, n_channels=2)
    client = world.client()
    requests = [b"set n 0 0 1\r\n0\r\n"] + [b"incr n %d\r\n" % i for i in range(100)] + [b"get n\r\n"]
    reply = world.ask(client, b"".join(requests))
    assert reply.split(b"\r\n")[1:101] == [b"%d" % (i * (i + 1) // 2) for i in range(100)]
    lines = world.servers[world.owner(b"n")].lines
    assert lines[1:101] == [b"incr n %d" % i for i in range(100)]


def test_quiet_requests_are_done_and_say_nothing(make_world: MakeWorld) -> None:
    world = make_world(2)
    client = world.client()
    request = (
        b"set a 0 0 1 noreply\r\n5\r\nincr a 2 noreply\r\nset bad\x01key 0 0 1 noreply\r\nx\r\n"
        b"incr a x noreply\r\nadd a 0 0 1 noreply\r\nx\r\ndelete absent noreply\r\nverbosity 1 noreply\r\n"
        b"get a\r\n"
    )
    assert world.ask(client, request) == b"VALUE a 0 1\r\n7\r\nEND\r\n"
    assert world.count("quiet_requests") == 7
    assert world.count("requests") == 8


def test_a_late_error_of_a_quiet_request_moves_nobodys_replies(make_world: MakeWorld) -> None:
    """Section 2, quiet requests."""
    world = make_world()
    fake = world.servers[0]
    fake.holds = True
    quiet, other = world.client(), world.client()
    quiet.send(b"set a 0 0 1 noreply\r\nx\r\nget a\r\n")
    world.run()
    other.send(b"set b 0 0 1\r\ny\r\n")
    world.run()
    fake.wire.replies = b"SERVER_ERROR out of memory storing object\r\nEND\r\nSTORED\r\n"
    fake.release()
    world.run()
    assert (quiet.take(), other.take()) == (b"END\r\n", b"STORED\r\n")


def test_only_quiet_requests_and_then_nothing(make_world: MakeWorld) -> None:
    world = make_world()
    client = world.client()
    assert world.ask(client, b"incr n 1 noreply\r\n" * 500) == b""
    assert len(world.servers[0].lines) == 500
    assert world.count("exchanges") == 0


# --- what the proxy answers itself


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"version\r\n", b"VERSION memagent\r\n"),
        (b"verbosity 1\r\n", b"OK\r\n"),
        (b"mn\r\n", b"MN\r\n"),
        (b"stats\r\n", b"STAT words \r\nEND\r\n"),
        (b"stats  items 5\r\n", b"STAT words items 5\r\nEND\r\n"),
        (b"\r\n", b"ERROR\r\n"),
        (b"GET k\r\n", b"ERROR\r\n"),
        (b"get\r\n", b"ERROR\r\n"),
        (b"gat 5\r\n", b"END\r\n"),
        (b"get \x01\r\n", b"CLIENT_ERROR bad key\r\n"),
        (b"get " + b"k" * 251 + b"\r\n", b"CLIENT_ERROR bad key\r\n"),
        (b"set " + b"k" * 251 + b" 0 0 9\r\nversion\r\n\r\n", b"CLIENT_ERROR bad key\r\n"),
        (b"set k 0 0 3\r\nabcde", b"CLIENT_ERROR bad data chunk\r\n"),
        (b"incr k x\r\n", b"CLIENT_ERROR invalid numeric delta argument\r\n"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [0, 1])
def test_what_needs_no_server(make_world: MakeWorld, request_: bytes, reply: bytes, piece_bytes: int) -> None:
    world = make_world()
    world.servers[0].die()
    client = world.client()
    client.send(request_, piece_bytes)
    world.run()
    assert client.take() == reply
    assert world.ask(client, b"version\r\n") == b"VERSION memagent\r\n"
    assert world.memory.used_bytes == 0


def test_refusals_are_counted(make_world: MakeWorld) -> None:
    world = make_world(max_item_bytes=10)
    client = world.client()
    world.ask(client, b"bogus\r\nget \x01\r\nincr k x\r\nset k 0 0 11\r\nhello world\r\n")
    names = ("bad_commands", "bad_keys", "client_errors", "store_too_large", "server_errors", "requests")
    assert [world.count(name) for name in names] == [1, 1, 2, 1, 1, 4]


# --- values that are too large


@pytest.mark.parametrize("piece_bytes", [0, 1, 7])
@pytest.mark.parametrize("noreply", [b"", b" noreply"])
def test_a_set_that_is_too_large_takes_the_old_value_with_it(
    make_world: MakeWorld, noreply: bytes, piece_bytes: int
) -> None:
    world = make_world(2, max_item_bytes=10)
    client = world.client()
    store(world, b"k", b"old")
    client.send(b"get k\r\nset k 0 0 13%b\r\nget k\r\nquit\r\n\r\nget k\r\n" % noreply, piece_bytes)
    world.run()
    said = b"" if noreply else TOO_LARGE
    assert client.take() == b"VALUE k 0 3\r\nold\r\nEND\r\n" + said + b"END\r\n"
    assert world.servers[world.owner(b"k")].lines == [b"get k", b"delete k", b"get k"]


@pytest.mark.parametrize("verb", [b"add", b"replace", b"append", b"prepend", b"cas"])
def test_other_verbs_keep_the_old_value(make_world: MakeWorld, verb: bytes) -> None:
    world = make_world(max_item_bytes=10)
    found = store(world, b"k", b"old")
    unique = b" 1" if verb == b"cas" else b""
    reply = world.ask(world.client(), b"%b k 0 0 11%b\r\nhello world\r\nget k\r\n" % (verb, unique))
    assert reply == TOO_LARGE + found


def test_a_set_that_is_too_large_for_a_server_that_is_down(make_world: MakeWorld) -> None:
    world = make_world(max_item_bytes=10)
    world.servers[0].die()
    reply = world.ask(world.client(), b"set k 0 0 11\r\nhello world\r\nversion\r\n")
    assert reply == TOO_LARGE + b"VERSION memagent\r\n"


def test_a_huge_block_is_swallowed_and_never_held(make_world: MakeWorld) -> None:
    world = make_world(max_item_bytes=10)
    client = world.client()
    client.send(b"set k 0 0 100000000\r\n")
    world.run()
    assert client.take() == TOO_LARGE
    for _ in range(100):
        client.send(b"x" * 1_000_000)
        world.run()
        assert world.memory.used_bytes == 0
    assert world.ask(client, b"\r\nversion\r\n") == b"VERSION memagent\r\n"


# --- windows


def batches(world: World, client: Client, fake_index: int = 0) -> list[int]:
    """Let the server answer only when nothing else moves: how many requests were under way each time."""
    fake = world.servers[fake_index]
    fake.holds = True
    found: list[int] = []
    while True:
        world.run()
        if not fake.wire.replies:
            return found
        found.append(len(fake.wire.channel))
        fake.wire.move_replies()


def test_a_pipeline_of_ten_thousand(make_world: MakeWorld) -> None:
    """All answered, in order, and never more under way than the window, which opens as replies are small."""
    world = make_world()
    client = world.client()
    expected = b"".join(store(world, b"k%d" % i, b"%d" % i) for i in range(10_000))
    client.send(b"".join(b"get k%d\r\n" % i for i in range(10_000)))
    found = batches(world, client)
    assert client.take() == expected
    assert found[:6] == [32, 64, 128, 256, 512, 1024]
    assert max(found) == 1024
    assert found.count(1024) > 5
    assert sum(found) == 10_000
    assert world.memory.used_bytes == 0


def test_a_pipeline_of_ten_thousand_over_several_servers(make_world: MakeWorld) -> None:
    world = make_world(5, n_channels=2)
    client = world.client()
    expected = b"".join(store(world, b"k%d" % i, b"%d" % i) for i in range(10_000))
    assert world.ask(client, b"".join(b"get k%d\r\n" % i for i in range(10_000))) == expected


def test_a_pipeline_of_ten_thousand_that_the_proxy_answers(make_world: MakeWorld) -> None:
    world = make_world()
    assert world.ask(world.client(), b"mn\r\n" * 10_000) == b"MN\r\n" * 10_000


def test_the_window_closes_where_replies_are_large(make_world: MakeWorld) -> None:
    """A client that asks for more than it can take cannot make the proxy hold all of it."""
    world = make_world()
    client = world.client()
    reply = store(world, b"k", b"x" * (1 << 20))
    client.send(b"get k\r\n" * 80)
    found = batches(world, client)
    assert client.take() == reply * 80
    assert found[:4] == [32, 16, 8, 4]
    assert max(found[4:]) <= 8


def test_a_request_larger_than_a_read(make_world: MakeWorld) -> None:
    world = make_world()
    client = world.client()
    value = bytes(range(256)) * 4096
    request = b"set k 0 0 %d\r\n%b\r\n" % (len(value), value)
    assert world.ask(client, request * 3 + b"get k\r\n") == b"STORED\r\n" * 3 + store(world, b"k", value)


# --- when replies leave


def test_a_ready_reply_waits_for_the_rest_of_its_batch_but_not_long(make_world: MakeWorld) -> None:
    world = make_world(2)
    quick, slow = (world.keys(index, 1)[0] for index in range(2))
    client = world.client()
    assert client.session
    client.reads = False
    world.servers[1].holds = True
    client.send(b"get %b\r\nget %b\r\n" % (quick, slow))
    world.run()
    assert not client.session.is_ready
    world.turn.now_us += 999
    assert not client.session.is_ready
    world.turn.now_us += 1
    assert client.session.is_ready
    client.reads = True
    world.servers[1].release()
    world.run()
    assert client.take() == b"END\r\n" * 2
    assert not client.session.is_ready


def test_a_whole_batch_leaves_at_once(make_world: MakeWorld) -> None:
    world = make_world()
    client = world.client()
    assert client.session
    client.reads = False
    assert world.ask(client, b"get a\r\nget b\r\n") == b""
    assert client.session.is_ready


# --- clients that do not read


def test_a_client_that_does_not_read_is_not_read(make_world: MakeWorld) -> None:
    """Section 5: replies a client has not read."""
    world = make_world(pause_bytes=100_000)
    reply = store(world, b"k", b"x" * 10_000)
    client = world.client()
    assert client.session
    client.reads = False
    client.send(b"get k\r\n" * 400)
    world.run()
    assert not client.session.wants_input
    assert len(world.servers[0].lines) == 32
    assert world.count("client_paused") == 1
    client.reads = True
    world.run()
    assert client.take() == reply * 400
    assert world.memory.used_bytes == 0


def test_past_the_limit_it_is_closed(make_world: MakeWorld) -> None:
    world = make_world(2, pause_bytes=100_000, close_bytes=1_000_000)
    large, other = (world.keys(index, 1)[0] for index in range(2))
    store(world, large, b"x" * 100_000)
    lazy, neighbour = world.client(), world.client()
    assert lazy.session
    lazy.reads = False
    lazy.send(b"get %b\r\n" % large * 32)
    world.run()
    assert lazy.closed_by_proxy == "unread"
    assert world.memory.used_bytes == 0
    assert world.ask(neighbour, b"get %b\r\n" % other) == b"END\r\n"


def test_replies_that_wait_for_an_earlier_one_count_as_well(make_world: MakeWorld) -> None:
    world = make_world(2, pause_bytes=100_000, close_bytes=1_000_000)
    slow, large = (world.keys(index, 1)[0] for index in range(2))
    store(world, large, b"x" * 100_000)
    world.servers[0].holds = True
    client = world.client()
    client.send(b"get %b\r\n" % slow + b"get %b\r\n" % large * 9)
    world.run()
    assert not client.closed_by_proxy
    other = world.client()
    other.send(b"get %b\r\n" % slow + b"get %b\r\n" % large * 12)
    world.run()
    assert (client.closed_by_proxy, other.closed_by_proxy) == ("", "unread")
    world.servers[0].release()
    world.run()
    assert client.take().count(b"END\r\n") == 10


def test_one_reply_may_be_larger_than_what_may_be_left_unread(make_world: MakeWorld) -> None:
    """Section 5, replies a client has not read: this one it has had no chance to read yet."""
    world = make_world(pause_bytes=100_000, close_bytes=400_000)
    keys = world.keys(0, 70)
    items = [store(world, key, b"x" * 10_000).removesuffix(b"END\r\n") for key in keys]
    client = world.client()
    for _ in range(2):
        assert world.ask(client, b"get " + b" ".join(keys) + b"\r\n") == b"".join(items) + b"END\r\n"
    assert not client.closed_by_proxy


def test_full_buffers_are_the_largest_consumers_trouble(make_world: MakeWorld) -> None:
    """Section 5: all buffers of a worker. Who holds little goes on as before."""
    world = make_world(memory_limit_bytes=1_000_000)
    reply = store(world, b"large", b"x" * 150_000)
    small = store(world, b"small", b"y")
    lazy, modest = world.client(), world.client()
    assert lazy.session
    lazy.reads = False
    lazy.send(b"get large\r\n" * 20)
    world.run()
    assert world.memory.used_bytes < 2_200_000
    assert not lazy.session.wants_input
    assert world.ask(modest, b"get small\r\nset small 0 0 1\r\nz\r\nget small\r\n") == (
        small + b"STORED\r\n" + small.replace(b"y", b"z")
    )
    assert world.count("memory_paused") == 1
    lazy.reads = True
    world.run()
    said = lazy.take()
    n_refused = world.count("memory_refused")
    assert 0 < n_refused < 20
    assert said == reply * (20 - n_refused) + OUT_OF_MEMORY * n_refused
    assert world.memory.used_bytes == 0
    assert world.ask(lazy, b"get large\r\n") == reply


def test_many_who_ask_for_much_at_once_leave_room_for_who_asks_for_little(make_world: MakeWorld) -> None:
    """None of them holds anything until then."""
    world = make_world(memory_limit_bytes=1_000_000)
    reply = store(world, b"large", b"x" * 150_000)
    small = store(world, b"small", b"y")
    modest, *many = (world.client() for _ in range(21))
    for each in many:
        each.reads = False
        each.send(b"get large\r\n")
    world.run()
    assert world.ask(modest, b"get small\r\n") == small
    said = []
    for each in many:
        each.reads = True
        world.run()
        said.append(each.take())
    n_refused = world.count("memory_refused")
    assert sorted(said) == sorted([reply] * (20 - n_refused) + [OUT_OF_MEMORY] * n_refused)
    assert 6 <= n_refused <= 14


def test_a_reader_that_keeps_up_is_not_refused(make_world: MakeWorld) -> None:
    world = make_world(memory_limit_bytes=1_000_000)
    reply = store(world, b"large", b"x" * 400_000)
    client = world.client()
    for _ in range(20):
        assert world.ask(client, b"get large\r\n") == reply
    assert world.count("memory_refused") == 0


# --- how it ends


def test_quit_ends_it_behind_the_replies(make_world: MakeWorld) -> None:
    world = make_world()
    world.servers[0].holds = True
    client = world.client()
    client.send(b"get a\r\nset n 0 0 1\r\n5\r\nquit\r\nincr n 1\r\n")
    world.run()
    assert client.session
    world.servers[0].release()
    world.run()
    assert client.take() == b"END\r\nSTORED\r\n"
    assert client.closed_by_proxy == "end"
    assert world.servers[0].store.items[b"n"] == (b"0", b"5")


@pytest.mark.parametrize("piece_bytes", [0, 100])
def test_a_line_that_is_too_long_ends_it(make_world: MakeWorld, piece_bytes: int) -> None:
    world = make_world()
    client = world.client()
    client.send(b"get a\r\n" + b"x" * 5000 + b"\r\nversion\r\n", piece_bytes)
    world.run()
    assert client.take() == b"END\r\nCLIENT_ERROR line too long\r\n"
    assert client.closed_by_proxy == "end"
    assert world.count("lines_too_long") == 1
    assert world.memory.used_bytes == 0


@pytest.mark.parametrize("n_bytes", [0, 1, 10, 20, 30_000, 60_000])
def test_a_client_may_leave_in_the_middle_of_a_request(make_world: MakeWorld, n_bytes: int) -> None:
    world = make_world()
    client = world.client()
    client.send((b"set k 0 0 60000\r\n" + b"x" * 60_000)[:n_bytes])
    world.run()
    client.hang_up()
    assert world.memory.used_bytes == 0
    assert world.servers[0].lines == []


def test_a_client_that_leaves_is_none_of_the_others_business(make_world: MakeWorld) -> None:
    world = make_world()
    fake = world.servers[0]
    fake.holds = True
    leaving, staying = world.client(), world.client()
    leaving.send(b"set a 0 0 1\r\nx\r\nincr n 1\r\nget a b\r\nget " + b"k" * 100)
    world.run()
    staying.send(b"get a\r\n")
    world.run()
    leaving.hang_up()
    fake.release()
    world.run()
    assert staying.take() == b"VALUE a 0 1\r\nx\r\nEND\r\n"
    assert leaving.received == b""


def test_an_idle_session_holds_no_buffer(make_world: MakeWorld) -> None:
    world = make_world(2)
    clients = [world.client() for _ in range(100)]
    for client in clients:
        world.ask(client, b"set a 0 0 5\r\nhello\r\nget a b c d\r\nbogus\r\n")
    assert world.memory.used_bytes == 0
