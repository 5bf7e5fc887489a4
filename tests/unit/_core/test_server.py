"""Up, down, probed, up again (behaviour section 3), and how much may wait for one server (section 5)."""

from collections.abc import Callable

import pytest

from tests.support.core import World

MakeWorld = Callable[..., World]
TIMEOUT_US = 1_000_000
DOWN = b"SERVER_ERROR server s0 is down\r\n"


def test_three_timeouts_in_a_row_are_the_end(make_world: MakeWorld) -> None:
    world = make_world(failure_limit=3)
    fake = world.servers[0]
    fake.holds = True
    clients = [world.client() for _ in range(3)]
    for number, client in enumerate(clients, 1):
        client.send(b"set k 0 0 1\r\nx\r\n")
        world.run()
        world.pass_time(TIMEOUT_US - 1)
        world.run()
        assert client.take() == b""
        world.pass_time(1)
        world.run()
        assert client.take() == b"SERVER_ERROR server s0 did not answer in time\r\n"
        assert fake.server.up == (number < 3)
    assert world.changes == [("s0", "down", "3 timeouts in a row")]
    assert world.ask(clients[0], b"set k 0 0 1\r\nx\r\n") == DOWN
    assert world.server_count(0, "downs") == 1
    assert world.server_count(0, "up") == 0


def test_a_reply_in_between_begins_a_new_row(make_world: MakeWorld) -> None:
    world = make_world(failure_limit=3)
    fake = world.servers[0]
    client = world.client()
    for _ in range(5):
        for _ in range(2):
            fake.holds = True
            client.send(b"set k 0 0 1\r\nx\r\n")
            world.run()
            world.pass_time(TIMEOUT_US)
        world.run()
        assert client.take().count(b"did not answer in time") == 2
        fake.release()
        world.run()
    assert fake.server.up


def test_many_timeouts_of_a_slow_server_are_not_in_a_row(make_world: MakeWorld) -> None:
    """Section 3: those who wait too long for one that goes on talking wait for a slow server."""
    world = make_world(failure_limit=3)
    fake = world.servers[0]
    fake.holds = True
    busy = world.client()
    others = [world.client() for _ in range(5)]
    busy.send(b"get k\r\n" * 30)
    world.run()
    for client in others:
        client.send(b"get k\r\n")
    world.run()
    for _ in range(12):
        world.pass_time(TIMEOUT_US // 10)
        fake.server.heard_us = world.turn.now_us
        fake.wire.move_replies(len(b"END\r\n"))
    world.run()
    assert [client.take() for client in others] == [b"END\r\n"] * 5
    assert world.server_count(0, "timeouts") > 3
    assert world.changes == []
    world.pass_time(TIMEOUT_US)
    for client in others[:3]:
        client.send(b"get k\r\n")
    world.run()
    world.pass_time(TIMEOUT_US)
    assert world.changes == [("s0", "down", "3 timeouts in a row")]


def test_a_server_that_goes_down_fails_all_that_waits_for_it(make_world: MakeWorld) -> None:
    """Section 3: a request never waits for a down server."""
    world = make_world(2, n_channels=3)
    fake = world.servers[0]
    fake.holds = True
    client = world.client()
    keys = world.keys(0, 20)
    other = world.keys(1, 1)[0]
    client.send(b"".join(b"set %b 0 0 1\r\nx\r\n" % key for key in keys[:10]))
    world.run()
    late = world.client()
    late.send(b"".join(b"incr %b 1\r\n" % key for key in keys[10:]) + b"get %b\r\n" % other)
    late.step()
    fake.die()
    world.run()
    assert client.take() == b"SERVER_ERROR server s0 cannot be reached\r\n" * 10
    # never sent, so the outcome is known
    assert late.take() == b"SERVER_ERROR server s0 cannot be reached\r\n" * 10 + b"END\r\n"
    assert sum(len(channel) for channel in fake.server.channels) == 0
    assert world.changes == [("s0", "down", "cannot connect: refused")]
    assert world.ask(client, b"incr %b 1\r\n" % keys[0]) == DOWN
    assert world.server_count(0, "down_rejections") == 1


@pytest.mark.parametrize("seed", range(5))
def test_probes_back_off_with_jitter(make_world: MakeWorld, seed: int) -> None:
    """Section 3: 100 ms to 5 s; many proxies must not probe in step."""
    world = make_world(probe_min_us=100_000, probe_max_us=5_000_000, seed=seed)
    fake = world.servers[0]
    fake.die()
    waits = []
    for number in range(12):
        assert world.server_count(0, "probes") == world.server_count(0, "probe_failures") == number
        wait = fake.server.probe_at_us - world.turn.now_us
        waits.append(wait)
        world.pass_time(wait - 1)
        assert world.server_count(0, "probes") == number
        world.pass_time(1)
    for number, wait in enumerate(waits):
        most = min(100_000 * 2**number, 5_000_000)
        assert most * 0.8 <= wait <= most, (number, wait)
    assert len({wait / min(100_000 * 2**number, 5_000_000) for number, wait in enumerate(waits)}) > 6


def test_two_proxies_do_not_probe_in_step(make_world: MakeWorld) -> None:
    waits = set()
    for seed in range(20):
        world = make_world(seed=seed)
        world.servers[0].die()
        waits.add(world.servers[0].server.probe_at_us - world.turn.now_us)
    assert len(waits) > 10


def test_a_probe_that_is_answered_brings_it_back(make_world: MakeWorld) -> None:
    world = make_world()
    fake = world.servers[0]
    client = world.client()
    fake.die()
    fake.is_dead = False
    assert world.ask(client, b"set k 0 0 1\r\nx\r\n") == DOWN
    world.pass_time(100_000)
    assert fake.server.is_probing
    assert not fake.server.up
    world.run()
    assert fake.server.up
    assert not fake.server.is_probing
    assert world.ask(client, b"set k 0 0 1\r\nx\r\n") == b"STORED\r\n"
    assert world.changes[-1] == ("s0", "up", "a probe was answered")
    assert world.server_count(0, "up") == 1


def test_nothing_is_sent_before_the_probe_is_answered(make_world: MakeWorld) -> None:
    world = make_world()
    fake = world.servers[0]
    fake.die()
    fake.is_dead, fake.holds = False, True
    world.pass_time(100_000)
    client = world.client()
    assert world.ask(client, b"set k 0 0 1\r\nx\r\nget k\r\n") == DOWN + b"END\r\n"
    assert (fake.lines, len(fake.wire.channel)) == ([], 0)


def test_a_probe_that_is_not_answered_has_failed(make_world: MakeWorld) -> None:
    world = make_world()
    fake = world.servers[0]
    fake.die()
    fake.is_dead, fake.is_mute = False, True
    world.pass_time(100_000)
    world.run()
    assert fake.server.is_probing
    world.pass_time(TIMEOUT_US)
    assert (fake.server.up, fake.server.is_probing) == (False, False)
    assert world.server_count(0, "probe_failures") == 1
    assert 160_000 <= fake.server.probe_at_us - world.turn.now_us <= 200_000


def test_the_wait_begins_anew_when_it_goes_down_again(make_world: MakeWorld) -> None:
    world = make_world()
    fake = world.servers[0]
    fake.die()
    for _ in range(6):
        world.pass_time(5_000_000)
    fake.is_dead = False
    world.pass_time(5_000_000)
    world.run()
    assert fake.server.up
    fake.die()
    assert 80_000 <= fake.server.probe_at_us - world.turn.now_us <= 100_000


def test_failing_twice_is_failing_once(make_world: MakeWorld) -> None:
    world = make_world()
    world.servers[0].die()
    world.servers[0].die()
    assert len(world.changes) == 1
    assert world.server_count(0, "downs") == 1


def test_a_key_always_takes_the_same_channel(make_world: MakeWorld) -> None:
    """Two requests for one key from one client connection reach the server in that order."""
    world = make_world(n_channels=4)
    fake = world.servers[0]
    client = world.client()
    keys = [b"k%d" % i for i in range(40)]
    world.ask(client, b"".join(b"set %b 0 0 1\r\n1\r\n" % key for key in keys))
    for wire in fake.wires:
        assert len(wire.channel) == 0
    fake.holds = True
    used = set()
    for key in keys:
        client.send(b"incr %b 1\r\nget %b\r\ngat 0 %b\r\nget %b %b\r\n" % ((key,) * 5))
        world.run()
        busy = [number for number, wire in enumerate(fake.wires) if len(wire.channel)]
        assert len(busy) == 1, key
        used.add(busy[0])
        fake.release()
        world.run()
        fake.holds = True
    assert used == {0, 1, 2, 3}


@pytest.mark.parametrize("n_channels", [1, 4])
def test_how_many_requests_may_wait(make_world: MakeWorld, n_channels: int) -> None:
    world = make_world(n_channels=n_channels, queue_requests=40)
    fake = world.servers[0]
    fake.holds = True
    clients = [world.client() for _ in range(60)]
    for client in clients:
        client.send(b"get same\r\n")
    world.run()
    refused = [client for client in clients if client.take() == b"SERVER_ERROR server busy\r\n"]
    assert refused == clients[40 // n_channels :]
    assert world.server_count(0, "busy_rejections") == len(refused)
    fake.release()
    world.run()
    assert [client.take() for client in clients[: 40 // n_channels]] == [b"END\r\n"] * (40 // n_channels)
    assert world.ask(refused[0], b"get same\r\n") == b"END\r\n"


def test_how_many_bytes_may_wait(make_world: MakeWorld) -> None:
    world = make_world(queue_bytes=100_000)
    clients = [world.client() for _ in range(5)]
    for client in clients:
        client.send(b"set k 0 0 40000\r\n%b\r\n" % (b"x" * 40000))
        client.step()
    assert [client.take() for client in clients] == [b""] * 3 + [b"SERVER_ERROR server busy\r\n"] * 2
    world.run()
    assert [client.take() for client in clients[:3]] == [b"STORED\r\n"] * 3
    # what is sent and awaits its reply does not count
    assert world.ask(clients[4], b"set k 0 0 40000\r\n%b\r\n" % (b"x" * 40000)) == b"STORED\r\n"


def test_others_do_not_wait_for_a_busy_server(make_world: MakeWorld) -> None:
    world = make_world(2, queue_requests=1)
    busy, idle = (world.keys(index, 1)[0] for index in range(2))
    world.servers[0].holds = True
    first, second = world.client(), world.client()
    first.send(b"get %b\r\n" % busy)
    world.run()
    second.send(b"get %b\r\nget %b\r\nset %b 0 0 1\r\nx\r\n" % (idle, busy, busy))
    world.run()
    assert second.take() == b"END\r\n" + b"SERVER_ERROR server busy\r\n" * 2


def test_a_missed_write_takes_a_server_with_copies_down_at_once(make_world: MakeWorld) -> None:
    """Sections 2 and 3: the client hears of it afterwards, so nobody may read an old value any more."""
    world = make_world(has_copies=True)
    server = world.servers[0].server
    assert (server.is_readable, server.is_following) == (True, True)
    server.miss(b"k")
    assert (server.is_readable, server.is_following, server.up) == (False, False, False)
    assert (server.standing.outage, server.standing.opened) == (1, 0)
    assert len(server.journal) == 1
    server.miss(b"k2")
    assert server.standing.outage == 1
    assert len(server.journal) == 2


def test_its_connections_end_at_the_next_safe_place(make_world: MakeWorld) -> None:
    world = make_world(has_copies=True)
    fake = world.servers[0]
    fake.holds = True
    client = world.client()
    client.send(b"set k 0 0 1\r\nx\r\n")
    world.run()
    fake.server.miss_flush()
    assert (fake.server.journal.flush_missed, fake.server.fallen, len(fake.wire.channel)) == (True, True, 1)
    world.run()
    assert (fake.server.fallen, len(fake.wire.channel)) == (False, 0)
    assert client.take().startswith(b"SERVER_ERROR")


def test_an_outage_that_another_worker_began_is_joined(make_world: MakeWorld) -> None:
    world = make_world(has_copies=True)
    server = world.servers[0].server
    server.standing.begin_outage(0)
    assert not server.is_readable
    assert (server.joined, server.standing.outage) == (1, 1)


def test_without_copies_nothing_is_kept_of_a_missed_write(make_world: MakeWorld) -> None:
    world = make_world()
    server = world.servers[0].server
    server.miss(b"k")
    server.miss_flush()
    assert (server.up, len(server.journal), server.journal.flush_missed) == (True, 0, False)
    assert server.standing.outage == 0


def test_one_that_was_held_while_a_connection_was_being_made_is_probed_once_it_is_let_go() -> None:
    server = World(1, has_copies=True).servers[0].server
    server.hold("drained")
    server.ask_probe()  # the connection is there now; it is closed without a word, as the server is held
    server.release()
    assert not server.is_probing


def test_a_connection_that_is_made_while_a_server_falls_is_no_probe() -> None:
    server = World(1, 1, has_copies=True).servers[0].server
    server.miss(b"k")
    server.ask_probe()  # it is there in the same turn, and closed at its end
    server.end_connections()
    assert not server.is_probing
