"""A channel: every reply meets its own ticket, whatever was lost, late or never asked for."""

from collections.abc import Callable

import pytest

from tests.support.core import Client, World

MakeWorld = Callable[..., World]
UNKNOWN = b"SERVER_ERROR unknown outcome: server s0 closed the connection\r\n"


def held(make_world: MakeWorld, n_clients: int = 1) -> tuple[World, list[Client]]:
    """One server that keeps its replies to itself."""
    world = make_world()
    world.servers[0].holds = True
    return world, [world.client() for _ in range(n_clients)]


def test_replies_go_to_those_who_asked(make_world: MakeWorld) -> None:
    world, clients = held(make_world, 100)
    for number, client in enumerate(clients):
        client.send(b"set k%d 0 0 3\r\n%03d\r\nget k%d\r\n" % (number, number, number))
    world.run()
    wire = world.servers[0].wire
    assert (len(wire.channel), wire.channel.not_sent) == (200, 0)
    while wire.move_replies(7):
        pass
    world.run()
    for number, client in enumerate(clients):
        assert client.take() == b"STORED\r\nVALUE k%d 0 3\r\n%03d\r\nEND\r\n" % (number, number)
    assert len(wire.channel) == 0


def test_tickets_wrap_around_while_they_grow(make_world: MakeWorld) -> None:
    """More and more requests under way, their replies a few at a time."""
    world, clients = held(make_world, 150)
    wire = world.servers[0].wire
    asked = most = 0
    for turn in range(60):
        for client in clients[: turn * 5 % 150]:
            client.send(b"get k\r\n")
            asked += 1
        world.run()
        most = max(most, len(wire.channel))
        for _ in range(turn * 2):
            wire.move_replies(5)
        assert len(wire.channel) == sum(client.session.waiting_for for client in clients if client.session)
    world.servers[0].release()
    world.run()
    assert b"".join(client.take() for client in clients) == b"END\r\n" * asked
    assert most > 64


def test_a_reply_cut_anywhere(make_world: MakeWorld) -> None:
    world, (client,) = held(make_world)
    wire = world.servers[0].wire
    reply = b"VALUE k 0 7\r\nEND\r\n\r\n\r\nEND\r\n"
    for cut in range(len(reply) + 1):
        client.send(b"get k\r\nget absent\r\n")
        world.run()
        wire.replies = b""
        wire.say(reply[:cut])
        wire.say(reply[cut:] + b"EN")
        wire.say(b"D\r\n")
        world.run()
        assert client.take() == reply + b"END\r\n"


def test_a_long_reply_in_many_pieces(make_world: MakeWorld) -> None:
    """Found items are not scanned again, and all are there in the end."""
    world = make_world()
    client = world.client()
    keys = [b"key%d" % i for i in range(100)]
    world.ask(
        client,
        b"".join(b"set %b 0 0 %d noreply\r\n%b\r\n" % (key, i, b"v" * i) for i, key in enumerate(keys)),
    )
    world.servers[0].holds = True
    client.send(b"get %b\r\n" % b" ".join(keys))
    world.run()
    while world.servers[0].wire.move_replies(11):
        assert client.received == b""
    world.run()
    expected = b"".join(b"VALUE %b 0 %d\r\n%b\r\n" % (key, i, b"v" * i) for i, key in enumerate(keys))
    assert client.take() == expected + b"END\r\n"


def test_a_late_reply_is_dropped(make_world: MakeWorld) -> None:
    world, (late, other) = held(make_world, 2)
    fake = world.servers[0]
    late.send(b"incr n 1\r\n")
    world.run()
    world.pass_time(600_000)
    other.send(b"get k\r\n")
    world.run()
    world.pass_time(400_000)
    world.run()
    assert late.take() == b"SERVER_ERROR unknown outcome: server s0 did not answer in time\r\n"
    assert other.take() == b""
    assert len(fake.wire.channel) == 2  # the ticket stays until its reply has come
    fake.release()
    world.run()
    assert late.take() == b""
    assert other.take() == b"END\r\n"
    assert len(fake.wire.channel) == 0
    assert world.server_count(0, "timeouts") == 1


def test_nobody_waits_longer_than_the_time_that_a_reload_has_made_shorter(make_world: MakeWorld) -> None:
    """Nor less long than what held when they asked."""
    world, (first, second, third) = held(make_world, 3)
    server = world.servers[0].server

    def who_got_an_answer() -> list[bool]:
        world.run()
        return [bool(client.take()) for client in (first, second, third)]

    first.send(b"get k\r\n")
    world.run()
    server.configure(request_timeout_us=500_000)
    second.send(b"get k\r\n")
    world.run()
    world.pass_time(100_000)
    server.configure(request_timeout_us=200_000)
    third.send(b"get k\r\n")
    world.run()
    world.pass_time(199_999)
    assert who_got_an_answer() == [False, False, False]
    world.pass_time(1)
    assert who_got_an_answer() == [False, False, True]
    world.pass_time(200_000)
    assert who_got_an_answer() == [False, True, False]
    world.pass_time(500_000)
    assert who_got_an_answer() == [True, False, False]


def test_a_late_long_reply_that_had_begun_is_dropped(make_world: MakeWorld) -> None:
    world, (late, other) = held(make_world, 2)
    wire = world.servers[0].wire
    late.send(b"get a b\r\n")
    world.run()
    wire.replies = b""
    wire.say(b"VALUE a 0 1\r\nx\r\nVALUE b 0 5\r\nab")
    world.pass_time(1_000_000)
    other.send(b"get k\r\n")
    world.run()
    assert late.take() == b"END\r\n"
    wire.say(b"cde\r\nEND\r\nEND\r\n")
    world.run()
    assert (late.take(), other.take()) == (b"", b"END\r\n")


@pytest.mark.parametrize("next_request", [b"get k\r\n", b"get k l\r\n", b"set k 0 0 1\r\nx\r\n"])
def test_a_long_reply_that_was_cut_off_is_not_gone_on_with(
    make_world: MakeWorld, next_request: bytes
) -> None:
    """The first reply on a new connection has nothing to do with the last one on the old."""
    world, (client,) = held(make_world)
    fake = world.servers[0]
    fake.store.apply(b"set", (b"k",), (b"0", b"0"), b"x")
    client.send(b"get a b\r\n")
    world.run()
    fake.wire.replies = b""
    fake.wire.say(b"VALUE a 0 50\r\n%b\r\nVALUE b 0 100\r\nab" % (b"x" * 50))
    fake.wire.lose()
    assert world.ask(client, next_request) == b"END\r\n"
    wire = fake.wire
    while wire.move_replies(1):
        pass
    reply = b"STORED\r\n" if next_request.startswith(b"set") else b"VALUE k 0 1\r\nx\r\nEND\r\n"
    assert world.ask(client, b"") == reply


def test_a_request_that_is_not_sent_yet_may_still_be_done(make_world: MakeWorld) -> None:
    """It timed out in the queue, where it stays: nobody can say that nothing will happen."""
    world, (client,) = held(make_world)
    client.send(b"incr n 1\r\n")
    client.step()
    world.pass_time(1_000_000)
    client.step()
    assert client.take() == b"SERVER_ERROR unknown outcome: server s0 did not answer in time\r\n"
    world.run()
    assert world.servers[0].lines == [b"incr n 1"]


@pytest.mark.parametrize(
    "reply",
    [
        b"STORED\r\n",
        b"END\r\nEND\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"VALUE k\r\n",
        b"\r\n",
        b"\0\0\0\0\n",
        b"x" * 5000,
    ],
)
def test_garbage_ends_the_connection(make_world: MakeWorld, reply: bytes) -> None:
    world, (first, second) = held(make_world, 2)
    fake = world.servers[0]
    first.send(b"get k\r\n")
    world.run()
    second.send(b"get other\r\n")
    second.step()  # not sent yet: not part of the disaster
    fake.wire.replies = b""
    assert fake.wire.say(reply) == -1
    fake.release()
    world.run()
    assert fake.wire.channel.trouble
    assert (first.take(), second.take()) == (b"END\r\n", b"END\r\n")
    assert world.ask(first, b"set k 0 0 1\r\nx\r\n") == b"STORED\r\n"


@pytest.mark.parametrize("refusal", [b"ERROR\r\n", b"CLIENT_ERROR bad command line format\r\n"])
def test_a_server_that_refuses_the_first_line_of_a_set_is_not_trusted_on(
    make_world: MakeWorld, refusal: bytes
) -> None:
    """Section 5, never desynchronises: it may go on to read the data block as requests, and answer those."""
    world, (first, second) = held(make_world, 2)
    fake = world.servers[0]
    first.send(b"set k 0 0 5\r\nget k\r\n")
    world.run()
    second.send(b"incr k 1\r\n")
    world.run()
    fake.wire.replies = b""
    assert fake.wire.say(refusal + b"END\r\n") == -1
    fake.release()
    world.run()
    assert first.take() == refusal
    assert second.take().startswith(b"SERVER_ERROR unknown outcome")
    assert world.ask(first, b"set k 0 0 1\r\nx\r\n") == b"STORED\r\n"


def test_other_errors_to_a_set_end_nothing(make_world: MakeWorld) -> None:
    """Its data block has been swallowed then, as memcached does."""
    world, (first, second) = held(make_world, 2)
    fake = world.servers[0]
    first.send(b"set k 0 0 1\r\nx\r\n")
    world.run()
    second.send(b"get k\r\n")
    world.run()
    fake.wire.replies = b""
    assert fake.wire.say(b"SERVER_ERROR out of memory storing object\r\nEND\r\n") == 2
    world.run()
    assert first.take() == b"SERVER_ERROR out of memory storing object\r\n"
    assert second.take() == b"END\r\n"


def test_a_reply_to_nothing(make_world: MakeWorld) -> None:
    world, (client,) = held(make_world)
    wire = world.servers[0].wire
    assert wire.say(b"END\r\n") == -1
    assert wire.channel.trouble == "a reply to nothing"
    client.send(b"get k\r\n")
    world.run()
    wire.replies = b""
    assert wire.say(b"END\r\nERROR\r\n") == -1
    world.run()
    assert client.take() == b"END\r\n"


def test_a_reply_to_what_was_not_sent_yet_is_a_reply_to_nothing(make_world: MakeWorld) -> None:
    world, (client, other) = held(make_world, 2)
    wire = world.servers[0].wire
    client.send(b"set a 0 0 1\r\nx\r\n")
    world.run()
    other.send(b"set b 0 0 1\r\ny\r\n")
    other.step()
    assert wire.say(b"STORED\r\nSTORED\r\n") == -1
    other.step()
    client.step()
    assert (client.take(), other.take()) == (b"STORED\r\n", b"")
    world.servers[0].release()
    world.run()
    assert other.take() == b"STORED\r\n"
    assert world.servers[0].store.items[b"b"] == (b"0", b"y")


def test_a_lost_connection_fails_what_was_sent_and_keeps_the_rest(make_world: MakeWorld) -> None:
    world, (first, second) = held(make_world, 2)
    fake = world.servers[0]
    first.send(b"incr n 1\r\nincr n 2\r\n")
    world.run()
    second.send(b"incr n 4\r\nset n 0 0 1\r\n5\r\nincr n 8\r\n")
    second.step()
    assert (len(fake.wire.channel), fake.wire.channel.not_sent) == (5, 3)
    fake.wire.lose()
    fake.release()
    world.run()
    assert first.take() == UNKNOWN * 2
    assert second.take() == b"NOT_FOUND\r\nSTORED\r\n13\r\n"


@pytest.mark.parametrize("n_bytes", range(len(b"incr n 1\r\n") * 2 + 1))
def test_a_request_of_which_any_byte_was_sent_counts_as_sent(make_world: MakeWorld, n_bytes: int) -> None:
    """What was begun on one connection is never finished on another."""
    world, clients = held(make_world, 3)
    fake = world.servers[0]
    for client in clients:
        client.send(b"incr n 1\r\n")
        client.step()
    fake.wire.move_requests(n_bytes)
    n_sent = -(-n_bytes // len(b"incr n 1\r\n"))
    assert fake.wire.channel.not_sent == 3 - n_sent
    fake.wire.lose()
    fake.lines.clear()
    fake.release()
    world.run()
    assert [client.take() for client in clients] == [UNKNOWN] * n_sent + [b"NOT_FOUND\r\n"] * (3 - n_sent)
    assert fake.lines == [b"incr n 1"] * (3 - n_sent)


def test_a_reply_may_come_before_the_request_is_sent_to_its_end(make_world: MakeWorld) -> None:
    """As memcached refuses a value from its header alone."""
    world, (client,) = held(make_world)
    fake = world.servers[0]
    client.send(b"set k 0 0 1000\r\n%b\r\n" % (b"x" * 1000))
    client.step()
    fake.wire.move_requests(100)
    assert fake.wire.say(b"SERVER_ERROR object too large for cache\r\n") == 1
    world.run()
    assert client.take() == b"SERVER_ERROR object too large for cache\r\n"


def test_a_client_that_is_gone_leaves_its_tickets(make_world: MakeWorld) -> None:
    world, (gone, stays) = held(make_world, 2)
    fake = world.servers[0]
    gone.send(b"set a 0 0 1\r\nx\r\nget a\r\nincr b 1\r\n")
    world.run()
    stays.send(b"get a\r\n")
    world.run()
    gone.hang_up()
    assert (len(fake.wire.channel), world.count("exchanges")) == (4, 4)
    fake.release()
    world.run()
    assert stays.take() == b"VALUE a 0 1\r\nx\r\nEND\r\n"
    assert world.count("exchanges") == 0


def test_what_passes_is_counted(make_world: MakeWorld) -> None:
    world = make_world()
    client = world.client()
    world.ask(client, b"get a\r\nset n 0 0 1\r\nx\r\nincr n 1\r\nversion\r\n")
    assert [world.server_count(0, name) for name in ("requests", "replies", "errors")] == [3, 3, 1]
