"""Accepting: how many, from whom, and what happens when the machine has no more files."""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memagent._core.metrics import Block
from memagent.counters import WORKER_COUNTERS, WORKER_INDEX
from tests.support.net import Play, Scene, lowest_free_fd

REFUSAL = b"SERVER_ERROR too many connections\r\n"


def test_a_crowd_that_waited_before_the_start(scene: Scene) -> None:
    """More than are accepted in one turn."""
    address = scene.listener()
    clients = [scene.call(address) for _ in range(150)]
    for client in clients:
        client.send(b"mn\r\n")

    def play() -> Play:
        for client in clients:
            yield lambda client=client: client.got(b"MN\r\n")  # type: ignore[misc]

    scene.run(play())
    assert scene.count("total_connections") == scene.count("curr_connections") == 150


def test_a_client_is_non_blocking_closed_on_exec_and_without_delay(scene: Scene) -> None:
    scene.call(scene.listener())

    def play() -> Play:
        yield lambda: scene.poller.clients

    scene.run(play())
    (client,) = scene.poller.clients
    assert not os.get_blocking(client.fd)
    assert not os.get_inheritable(client.fd)
    with socket.socket(fileno=os.dup(client.fd)) as same:
        assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_one_too_many_is_told_so_until_another_leaves(scene: Scene) -> None:
    """Behaviour section 5: client connections."""
    address = scene.listener(max_connections=2)

    def play() -> Play:
        first, second = scene.call(address), scene.call(address)
        for client in (first, second):
            client.send(b"mn\r\n")
            yield lambda client=client: client.got(b"MN\r\n")  # type: ignore[misc]
        third = scene.call(address)
        yield lambda: third.got(REFUSAL)
        yield third.got_end
        first.close()
        fourth = scene.call(address)
        fourth.send(b"mn\r\n")
        yield lambda: fourth.got(b"MN\r\n")

    scene.run(play())
    assert (scene.count("rejected_connections"), scene.count("total_connections")) == (1, 3)


def test_who_leaves_in_a_turn_makes_room_in_the_same_turn(scene: Scene) -> None:
    address = scene.listener(max_connections=1)

    def play() -> Play:
        client = scene.call(address)
        for _ in range(20):
            client.send(b"mn\r\n")
            yield lambda client=client: client.got(b"MN\r\n")  # type: ignore[misc]
            client.close()
            client = scene.call(address)

    scene.run(play())
    assert scene.count("rejected_connections") == 0


def test_the_clients_of_other_workers_count(scene: Scene) -> None:
    other = Block(bytearray(8 * len(WORKER_COUNTERS)), 0, len(WORKER_COUNTERS))
    other[WORKER_INDEX["curr_connections"]] = 4
    address = scene.listener(5, (other,))

    def play() -> Play:
        first = scene.call(address)
        first.send(b"mn\r\n")
        yield lambda: first.got(b"MN\r\n")
        refused = scene.call(address)
        yield lambda: refused.got(REFUSAL)
        other[WORKER_INDEX["curr_connections"]] = 3
        second = scene.call(address)
        second.send(b"mn\r\n")
        yield lambda: second.got(b"MN\r\n")

    scene.run(play())


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process cannot open any: every new descriptor is above the limit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free_fd(), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_files_it_rests_and_then_accepts_again(scene: Scene) -> None:
    address = scene.listener()
    early = scene.call(address)
    late = scene.call(address)
    late.send(b"mn\r\n")

    def play() -> Play:
        early.send(b"mn\r\n")
        yield lambda: early.got(b"MN\r\n")
        waiting = scene.call(address)
        with no_more_files():
            # `waiting` and whoever came with it are in the kernel's queue; nobody can be taken out of it
            begin_us, before = scene.world.turn.now_us, scene.count("accept_failures")
            yield lambda: scene.world.turn.now_us - begin_us >= 200_000
            failures = scene.count("accept_failures") - before
            assert 1 <= failures <= 21, "once a tick, and not once a turn"
            early.send(b"mn\r\n")
            yield lambda: early.got(b"MN\r\n")
        waiting.send(b"mn\r\n")
        yield lambda: waiting.got(b"MN\r\n")
        yield lambda: late.got(b"MN\r\n")

    scene.run(play())
    assert scene.count("total_connections") == 3


def test_a_unix_socket(scene: Scene, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    scene.listen_on(listening)
    client = scene.call(path)

    def play() -> Play:
        client.send(b"mn\r\n")
        yield lambda: client.got(b"MN\r\n")

    scene.run(play())


def test_draining_takes_those_whom_the_kernel_has_accepted_and_nobody_else(scene: Scene) -> None:
    address = scene.listener()

    def play() -> Play:
        waiting = scene.call(address)
        waiting.send(b"mn\r\n")
        scene.loop.drain(10_000)
        yield lambda: waiting.got(b"MN\r\n")
        yield waiting.got_end

    scene.run(play())
    with socket.socket() as late:
        assert late.connect_ex(address) != 0
