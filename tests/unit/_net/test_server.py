"""Connections to servers: which address, how long, how often, and what becomes of requests under way."""

import socket
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from memagent._core.identity import GREETING
from memagent._net.server import Endpoint
from tests.support.net import Play, Scene
from tests.support.ports import free_port

MakeScene = Callable[..., Scene]
Address = tuple[int, tuple[str, int]]

LINK_BYTES = 64 * 1024  # read at once


def value(length: int) -> bytes:
    """A whole reply of that many bytes."""
    for digits in range(1, 8):
        n = length - len(b"VALUE k 0 \r\n\r\nEND\r\n") - digits
        if len(str(n)) == digits:
            return b"VALUE k 0 %d\r\n%b\r\nEND\r\n" % (n, (bytes(range(256)) * (n // 256 + 1))[:n])
    raise AssertionError(length)


def refusing() -> Address:
    return socket.AF_INET, ("127.0.0.1", free_port())


@pytest.fixture
def silent() -> Iterator[Address]:
    """An address that does not even refuse: its queue is full, so the kernel drops who comes."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        callers = []
        for _ in range(3):
            callers.append(socket.socket())
            callers[-1].setblocking(False)
            callers[-1].connect_ex(listener.getsockname())
        yield socket.AF_INET, listener.getsockname()
        for caller in callers:
            caller.close()


class TestAddresses:
    def test_one_that_refuses_is_passed_over(self, scene: Scene) -> None:
        """Behaviour section 6: several addresses of one server are tried in turn."""
        client, second = scene.client(), scene.bystander()
        scene.endpoint(0, [refusing(), second.address])

        def play() -> Play:
            client.send(b"get a\r\n")
            yield lambda: second.heard(b"get a\r\n")
            second.say(b"END\r\n")
            yield lambda: client.got(b"END\r\n")

        scene.run(play())
        assert scene.world.changes == []
        assert (scene.server_count("connect_failures"), scene.server_count("connects")) == (1, 1)

    def test_one_that_is_silent_is_passed_over_in_time(self, scene: Scene, silent: Address) -> None:
        client, second = scene.client(), scene.bystander()
        scene.endpoint(0, [silent, second.address], connect_timeout_us=100_000)
        begin_us = scene.world.turn.now_us

        def play() -> Play:
            client.send(b"get a\r\n")
            yield lambda: second.heard(b"get a\r\n")
            second.say(b"END\r\n")
            yield lambda: client.got(b"END\r\n")

        scene.run(play())
        assert scene.world.turn.now_us - begin_us >= 100_000
        assert scene.world.changes == []
        assert scene.server_count("connect_failures") == 1

    def test_silence_after_the_last_one_means_down(self, make_scene: MakeScene, silent: Address) -> None:
        scene = make_scene(probe_min_us=60_000_000, probe_max_us=60_000_000)
        client = scene.client()
        scene.endpoint(0, [refusing(), silent], connect_timeout_us=50_000)

        def play() -> Play:
            client.send(b"get a\r\nset a 0 0 1\r\n1\r\n")
            yield lambda: client.got(b"END\r\nSERVER_ERROR ")
            yield lambda: client.received.endswith(b"\r\n")

        scene.run(play())
        assert scene.world.changes == [("s0", "down", "cannot connect: no answer in time")]
        assert scene.server_count("connect_failures") == 2

    def test_new_addresses_hold_for_the_next_connection(self, scene: Scene) -> None:
        client, first, second = scene.client(), scene.bystander(), scene.bystander()
        endpoint = scene.endpoint(0, [first.address])

        def play() -> Play:
            for _ in range(2):
                client.send(b"get a\r\n")
                yield lambda: first.heard(b"get a\r\n")
                first.say(b"END\r\n")
                yield lambda: client.got(b"END\r\n")
                endpoint.set_addresses([second.address])
                endpoint.set_addresses([])
            first.last.close()
            yield lambda: second.connections
            client.send(b"get a\r\n")
            yield lambda: second.heard(b"get a\r\n")
            second.say(b"END\r\n")
            yield lambda: client.got(b"END\r\n")

        scene.run(play())
        assert len(first.connections) == 1
        assert scene.world.changes == []

    def test_a_name_without_an_address_gets_one_later(self, make_scene: MakeScene) -> None:
        scene = make_scene(probe_min_us=10_000)
        asked: list[int] = []
        late = scene.bystander()
        endpoint = scene.endpoint(0, [], on_connect=asked.append)

        def play() -> Play:
            yield lambda: scene.world.changes == [("s0", "down", "cannot connect: its name has no address")]
            yield lambda: len(asked) > 1
            endpoint.set_addresses([late.address])
            yield lambda: scene.world.servers[0].server.up

        scene.run(play())
        assert set(asked) == {0}

    def test_a_unix_socket(self, scene: Scene, tmp_path: Path) -> None:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        client, server = scene.client(), scene.server(0, listening)

        def play() -> Play:
            client.send(b"get a\r\n")
            yield lambda: server.heard(b"get a\r\n")
            server.say(b"END\r\n")
            yield lambda: client.got(b"END\r\n")

        scene.run(play())

    def test_the_end_of_an_endpoint_closes_its_connections(self, make_scene: MakeScene) -> None:
        scene = make_scene(n_channels=3)
        server = scene.server(0)

        def play() -> Play:
            yield lambda: len(server.connections) == scene.server_count("connections") == 3
            endpoint: Endpoint = scene.loop.endpoints[0]
            endpoint.close()
            yield lambda: all(peer.got_end() for peer in server.connections)

        scene.run(play())
        assert scene.server_count("connections") == 0


class TestGoingDown:
    def test_hanging_up_without_a_reply_is_not_called_for_ever(self, make_scene: MakeScene) -> None:
        """Section 3: down after failure_limit such connections, then only probes, ever later."""
        scene = make_scene(failure_limit=3, probe_min_us=50_000, probe_max_us=100_000)
        client, server = scene.client(), scene.server(0)
        server.hangs_up = True

        def play() -> Play:
            client.send(b"set a 0 0 1\r\n1\r\n")
            yield lambda: client.got(b"SERVER_ERROR ")
            yield lambda: scene.world.changes == [("s0", "down", "it closed the connection")]
            assert scene.server_count("connects") == len(server.connections) == 3
            begin_us = scene.world.turn.now_us
            yield lambda: scene.server_count("probe_failures") >= 3
            # 50, 100, 100 ms, each up to a fifth early
            assert scene.world.turn.now_us - begin_us >= 4 / 5 * 250_000 - 20_000
            assert scene.server_count("connects") == 3 + scene.server_count("probes")
            server.hangs_up = False
            yield lambda: scene.world.changes[1:] == [("s0", "up", "a probe was answered")]

        scene.run(play())

    def test_one_reply_starts_the_count_again(self, make_scene: MakeScene) -> None:
        scene = make_scene(failure_limit=2)
        client, server = scene.client(), scene.server(0)

        def play() -> Play:
            for number in range(1, 6):
                client.send(b"get a\r\n")
                yield lambda: server.heard(b"get a\r\n")
                server.say(b"END\r\n")
                yield lambda: client.got(b"END\r\n")
                server.last.close()
                yield lambda number=number: len(server.connections) > number  # type: ignore[misc]

        scene.run(play())
        assert scene.world.changes == []

    def test_probes_back_off_to_the_longest_pause(self, make_scene: MakeScene) -> None:
        scene = make_scene(probe_min_us=20_000, probe_max_us=80_000)
        tried_at_us: list[int] = []
        scene.endpoint(0, [refusing()], on_connect=lambda _: tried_at_us.append(scene.world.turn.now_us))

        def play() -> Play:
            yield lambda: len(tried_at_us) == 7

        scene.run(play())
        pauses_us = [b - a for a, b in pairwise(tried_at_us)]
        for pause_us, least_us in zip(pauses_us, (20_000, 40_000, *[80_000] * 4), strict=True):
            assert pause_us >= least_us * 4 / 5
        assert scene.world.changes == [("s0", "down", "cannot connect: Connection refused")]
        assert scene.server_count("probes") == 0, "nobody was there to be asked"
        assert scene.server_count("probe_failures") >= 5

    @pytest.mark.parametrize(
        "answer", [b"OK\r\n", b"STAT pid 1\r\nEND\r\nSTORED\r\n", b"HTTP/1.0 400 Bad Request\r\n\r\n"]
    )
    def test_a_probe_that_is_answered_wrongly_has_failed(self, make_scene: MakeScene, answer: bytes) -> None:
        scene = make_scene(probe_min_us=10_000, probe_max_us=10_000, failure_limit=1)
        server = scene.server(0)
        server.says_who = False

        def play() -> Play:
            yield lambda: server.connections
            server.last.close()
            yield lambda: scene.world.changes
            for number in (2, 3):
                yield lambda number=number: len(server.connections) == number  # type: ignore[misc]
                yield lambda: server.heard(GREETING)
                server.say(answer)
                yield server.last.got_end
            assert len(scene.world.changes) == 1
            yield lambda: len(server.connections) == 4 and server.heard(GREETING)
            server.say(server.greeting)
            yield lambda: len(scene.world.changes) == 2

        scene.run(play())

    def test_all_connections_end_and_only_the_first_probes(self, make_scene: MakeScene) -> None:
        scene = make_scene(n_channels=4, probe_min_us=10_000, request_timeout_us=100_000, failure_limit=1)
        client, server = scene.client(), scene.server(0)

        def play() -> Play:
            yield lambda: len(server.connections) == 4 and server.has_said_who
            client.send(b"get a\r\n")
            yield lambda: b"get a\r\n" in [bytes(peer.received) for peer in server.connections]
            server.says_who = False
            yield lambda: client.got(b"END\r\n")
            yield lambda: all(peer.is_ended for peer in server.connections[:4])
            yield lambda: len(server.connections) > 4 and server.last.received == GREETING
            assert scene.server_count("connections") == 1
            server.says_who = True
            yield lambda: scene.world.servers[0].server.up

        scene.run(play())
        assert [state for _, state, _ in scene.world.changes] == ["down", "up"]


def test_what_was_sent_is_lost_with_its_connection_and_the_rest_goes_over_the_next(scene: Scene) -> None:
    client, server = scene.client(), scene.server(0)
    second = scene.client()

    def play() -> Play:
        client.send(b"get a\r\n")
        yield lambda: server.heard(b"get a\r\n")
        server.say(b"END\r\n")
        yield lambda: client.got(b"END\r\n")
        client.send(b"get a\r\nincr a 1\r\n")
        yield lambda: server.heard(b"get a\r\nincr a 1\r\n")
        server.last.close()
        yield lambda: client.got(b"END\r\nSERVER_ERROR ")
        yield lambda: b"unknown outcome" in client.received
        second.send(b"get b\r\n")
        yield lambda: len(server.connections) == 2 and server.heard(b"get b\r\n")
        server.say(b"END\r\n")
        yield lambda: second.got(b"END\r\n")

    scene.run(play())
    assert scene.world.changes == []
    assert scene.count("misses_server_failed") == 1


def test_requests_wait_while_the_connection_is_made(scene: Scene, silent: Address) -> None:
    client, server = scene.client(), scene.bystander()
    endpoint = scene.endpoint(0, [silent, server.address], connect_timeout_us=50_000)

    def play() -> Play:
        client.send(b"get a\r\nincr a 1\r\n")
        yield lambda: server.heard(b"get a\r\nincr a 1\r\n")
        server.say(b"END\r\n5\r\n")
        yield lambda: client.got(b"END\r\n5\r\n")

    scene.run(play())
    assert endpoint.server.up


@pytest.mark.parametrize("length", [*range(LINK_BYTES - 1, LINK_BYTES + 2), 2 * LINK_BYTES, 600_000])
def test_replies_longer_than_one_read(scene: Scene, length: int) -> None:
    client, server = scene.client(), scene.server(0)

    def play() -> Play:
        for _ in range(2):
            client.send(b"get k\r\n")
            yield lambda: server.heard(b"get k\r\n")
            server.say(value(length))
            yield lambda: client.got(value(length))

    scene.run(play())
    assert scene.server_count("bytes_received") == 2 * length


@pytest.mark.parametrize("length", [100, LINK_BYTES, 150_000])
def test_a_reply_that_the_end_follows_at_once_is_whole(scene: Scene, length: int) -> None:
    client, server = scene.client(), scene.server(0)

    def play() -> Play:
        client.send(b"get k\r\n")
        yield lambda: server.heard(b"get k\r\n")
        server.say(value(length))
        yield lambda: not server.last.unsent
        server.last.close()
        yield lambda: client.got(value(length))
        yield lambda: len(server.connections) == 2

    scene.run(play())
    assert scene.world.changes == []
    assert scene.count("misses_server_failed") == 0


def small_tcp() -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_writes_that_block_go_on_when_the_server_reads(
    make_scene: MakeScene, kind: str, tmp_path: Path
) -> None:
    scene = make_scene(request_timeout_us=60_000_000)
    if kind == "tcp":
        listening = small_tcp()
    else:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
    # as much as no kernel holds back for one connection
    clients, server = [scene.client() for _ in range(8)], scene.server(0, listening)
    request = b"set k 0 0 900000\r\n" + b"0123456789" * 90_000 + b"\r\n"

    def play() -> Play:
        yield lambda: server.has_said_who
        server.last.reads = False
        for client in clients:
            client.send(request)
        yield lambda: scene.server_count("queued_bytes") > 0
        assert scene.server_count("bytes_sent") < 8 * len(request)
        server.last.reads = True
        for _ in clients:
            yield lambda: server.heard(request)
            server.say(b"STORED\r\n")
        for client in clients:
            yield lambda client=client: client.got(b"STORED\r\n")  # type: ignore[misc]

    scene.run(play(), 20)
    assert scene.server_count("bytes_sent") == 8 * len(request)


def test_half_a_request_is_never_finished_on_another_connection(scene: Scene, tmp_path: Path) -> None:
    """The connection ends in the middle of a long value: that request is lost, the next one is whole."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    listening.listen()
    clients, server = [scene.client(), scene.client()], scene.server(0, listening)
    request = b"set k 0 0 900000\r\n" + b"v" * 900_000 + b"\r\n"

    def play() -> Play:
        yield lambda: server.has_said_who
        server.last.reads = False
        clients[0].send(request)
        yield lambda: scene.server_count("queued_bytes") > 0
        clients[1].send(b"get a\r\n")
        yield lambda: scene.server_count("pending") == 1
        server.last.close()
        yield lambda: clients[0].got(b"SERVER_ERROR ")
        yield lambda: len(server.connections) == 2 and server.heard(b"get a\r\n")
        server.say(b"END\r\n")
        yield lambda: clients[1].got(b"END\r\n")

    scene.run(play())


def test_garbage_ends_the_connection_and_nobody_hears_it(scene: Scene) -> None:
    client, server = scene.client(), scene.server(0)

    def play() -> Play:
        client.send(b"get a\r\n")
        yield lambda: server.heard(b"get a\r\n")
        server.say(b"WHAT\r\nEND\r\n")
        yield lambda: client.got(b"END\r\n")
        yield lambda: len(server.connections) == 2
        client.send(b"get b\r\n")
        yield lambda: server.heard(b"get b\r\n")
        server.say(b"VALUE b 0 1\r\n1\r\nEND\r\n")
        yield lambda: client.got(b"VALUE b 0 1\r\n1\r\nEND\r\n")

    scene.run(play())
    assert scene.server_count("garbage_replies") == 1
