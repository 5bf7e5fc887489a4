"""The parts that other tests stand on do what they say."""

import time
from collections.abc import Callable

import pytest

from tests.support import processes
from tests.support.memcached import Memcached
from tests.support.ports import free_port, is_free
from tests.support.relay import Relay
from tests.support.wait import wait_until
from tests.support.wire import Wire

Start = Callable[..., Memcached]


def test_a_server_starts_answers_and_ends(memcached_factory: Start) -> None:
    server = memcached_factory()
    server.set(b"k", b"v1\r\nv2")
    assert server.get(b"k") == b"v1\r\nv2"
    assert server.get(b"none") is None
    assert server.stats()["version"].startswith("1.")
    pid, folder = server.pid, server._folder
    server.stop()
    assert not processes.exists(pid)
    assert not folder.exists()
    assert is_free(server.port)


def test_a_restarted_server_is_a_new_and_empty_process(memcached_factory: Start) -> None:
    server = memcached_factory()
    server.set(b"k", b"v")
    pid, port = server.pid, server.port
    server.restart()
    assert server.pid != pid
    assert server.port == port
    assert server.get(b"k") is None


def test_a_paused_server_is_silent_and_keeps_its_data(memcached_factory: Start) -> None:
    server = memcached_factory()
    server.set(b"k", b"v")
    server.pause()
    with Wire(server.endpoint) as wire:
        wire.send(b"get k\r\n")
        assert wire.quiet(for_s=0.1)
        server.resume()
        assert wire.read_until(b"END\r\n") == b"VALUE k 0 1\r\nv\r\nEND\r\n"


def test_a_killed_server_refuses(memcached_factory: Start) -> None:
    server = memcached_factory()
    server.kill()
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_a_server_on_a_unix_socket(memcached_factory: Start) -> None:
    server = memcached_factory(unix=True)
    assert server.address.startswith("unix:/")
    server.set(b"k", b"v")
    assert server.get(b"k") == b"v"


def test_the_new_memcached_knows_what_the_old_does_not(memcached_factory: Start) -> None:
    server = memcached_factory(version="new")
    major, minor, patch = map(int, server.stats()["version"].split("."))
    assert (major, minor, patch) >= (1, 6, 27)
    with server.connect() as wire:
        assert wire.ask(b"ms k 1 E77\r\nv\r\n") == b"HD\r\n"
        assert wire.ask(b"mg k c\r\n") == b"HD c77\r\n"


def test_a_server_that_cannot_start_says_why(memcached_factory: Start) -> None:
    with pytest.raises(RuntimeError, match="--nonsense"):
        memcached_factory(args=["--nonsense"])


def test_ports_are_given_once() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50


def test_waiting_ends_and_says_for_what() -> None:
    with pytest.raises(TimeoutError, match=r"without the moon; last value: 0"):
        wait_until(lambda: 0, 0.02, "the moon")


@pytest.fixture
def through(memcached_factory: Start, relay_factory: Callable[..., Relay]) -> tuple[Memcached, Relay]:
    server = memcached_factory()
    server.set(b"k", b"0123456789")
    return server, relay_factory(server)


HIT = b"VALUE k 0 10\r\n0123456789\r\nEND\r\n"


def test_a_relay_passes_everything_by_default(through: tuple[Memcached, Relay]) -> None:
    _, relay = through
    with Wire(relay.endpoint) as wire:
        wire.expect(b"get k\r\n", HIT)
        value = b"x" * 1_000_000
        wire.expect(b"set big 0 0 1000000\r\n" + value + b"\r\n", b"STORED\r\n")
        wire.expect(b"get big\r\n", b"VALUE big 0 1000000\r\n" + value + b"\r\nEND\r\n")
        assert relay.open_connections == 1
    wait_until(lambda: relay.open_connections == 0, what="the relay to see the end")


def test_a_relay_delays_holds_and_trickles(through: tuple[Memcached, Relay]) -> None:
    _, relay = through
    with Wire(relay.endpoint) as wire:
        relay.delay(0.15)
        begin = time.monotonic()
        wire.expect(b"get k\r\n", HIT)
        assert time.monotonic() - begin >= 0.15
        relay.heal()
        relay.hold()
        wire.send(b"get k\r\n")
        assert wire.quiet(0.1)
        relay.release()
        assert wire.read_exact(len(HIT)) == HIT
        relay.trickle(1, 0.002)
        wire.expect(b"get k\r\n", HIT)


def test_a_relay_cuts_after_so_many_bytes(through: tuple[Memcached, Relay]) -> None:
    _, relay = through
    relay.cut_after(17)
    for _ in range(2):
        with Wire(relay.endpoint) as wire:
            wire.send(b"get k\r\n")
            assert wire.read_to_end() == HIT[:17]


def test_a_relay_resets_and_refuses_on_command(through: tuple[Memcached, Relay]) -> None:
    _, relay = through
    with Wire(relay.endpoint) as wire:
        wire.expect(b"get k\r\n", HIT)
        relay.cut()
        with pytest.raises(ConnectionResetError):
            wire.read_line()
    relay.refuse()
    with pytest.raises(ConnectionRefusedError):
        Wire(relay.endpoint)
    relay.accept()
    with Wire(relay.endpoint) as wire:
        wire.expect(b"get k\r\n", HIT)


def test_a_relay_drops_and_corrupts(through: tuple[Memcached, Relay]) -> None:
    _, relay = through
    with Wire(relay.endpoint) as wire:
        relay.drop()
        wire.send(b"get k\r\n")
        assert wire.quiet(0.1)
    relay.heal()
    with Wire(relay.endpoint) as wire:
        relay.corrupt(lambda data: data.replace(b"VALUE", b"VOLUE"))
        assert wire.ask(b"get k\r\n", b"END\r\n") == HIT.replace(b"VALUE", b"VOLUE")


def test_a_relay_is_a_black_hole(through: tuple[Memcached, Relay]) -> None:
    _, relay = through
    for lose in (False, True):
        with Wire(relay.endpoint) as wire:
            wire.expect(b"get k\r\n", HIT)
            relay.blackhole()
            wire.send(b"get k\r\n")
            assert wire.quiet(0.1)
            with pytest.raises(TimeoutError):
                Wire(relay.endpoint, deadline_s=0.2)
            relay.emerge(lose)
            if lose:
                with pytest.raises(ConnectionResetError):
                    wire.read_line()
            else:
                wire.expect(b"", HIT)
        with Wire(relay.endpoint) as wire:
            wire.expect(b"get k\r\n", HIT)


def test_what_is_under_way_arrives_after_its_sender_was_cut_off(through: tuple[Memcached, Relay]) -> None:
    server, relay = through
    with Wire(relay.endpoint) as wire:
        wire.expect(b"get k\r\n", HIT)
        relay.hold("forward")
        wire.send(b"set late 0 0 1\r\n1\r\n")
        wait_until(lambda: relay.waiting_bytes("forward") > 0, what="the relay to have it")
        relay.cut_clients()
        with pytest.raises(ConnectionResetError):
            wire.read_line()
    assert server.get(b"late") is None
    relay.release("forward")
    wait_until(lambda: server.get(b"late") == b"1", what="the late write")
