"""Which of several sockets with one port get new clients."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from memagent.reuseport import give_to_first

CLIENTS = 100  # that one of four gets none of them by chance: 1e-12


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        made: list[socket.socket] = []
        for _ in range(4):
            each = stack.enter_context(socket.socket())
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(made[0].getsockname() if made else ("127.0.0.1", 0))
            each.listen(CLIENTS)
            each.setblocking(False)
            made.append(each)
        yield made


def waiting(sockets: list[socket.socket]) -> list[int]:
    """Of so many clients that come now, and of those before."""
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(sockets[0].getsockname(), 10))
        return [accept_all(each) for each in sockets]


def accept_all(listening: socket.socket) -> int:
    count = 0
    while True:
        try:
            client, _ = listening.accept()
        except BlockingIOError:
            return count
        client.close()
        count += 1


def test_the_first_get_all_that_come(sockets: list[socket.socket]):
    assert all(waiting(sockets))
    for count in (3, 1, 4):
        give_to_first(sockets[2], count)
        found = waiting(sockets)
        assert sum(found) == CLIENTS
        assert [bool(each) for each in found] == [number < count for number in range(4)]


def test_who_waits_already_stays(sockets: list[socket.socket]):
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(sockets[0].getsockname(), 10))
        give_to_first(sockets[0], 3)
        assert accept_all(sockets[3]) > 0
    assert waiting(sockets)[3] == 0


def test_what_shares_no_port_refuses():
    with socket.socket() as alone, pytest.raises(OSError, match="Invalid argument"):
        give_to_first(alone, 1)
