"""A worker that hardly gets to run, and a kernel that refuses: nothing may wait for better days."""

import time
from collections.abc import Callable

import pytest

from memagent._net.client import ClientConnection
from tests.support.net import Play, Scene

MakeScene = Callable[..., Scene]


def test_waits_end_even_where_every_turn_is_long(make_scene: MakeScene) -> None:
    """Behaviour section 5, request time: one long turn is held against nobody, but not for ever."""
    scene = make_scene(request_timeout_us=50_000, failure_limit=100)
    client, server = scene.client(), scene.server(0)

    def answered_after_a_long_turn() -> bool:
        time.sleep(0.12)
        return client.got(b"END\r\n")

    def play() -> Play:
        client.send(b"get a\r\n")
        yield lambda: server.heard(b"get a\r\n")
        yield answered_after_a_long_turn

    scene.run(play(), 3)
    assert scene.server_count("timeouts") == 1


def test_a_client_that_cannot_be_watched_is_no_client(scene: Scene) -> None:
    """epoll takes no regular file; of a socket it says the same when it has no memory."""
    with open(__file__, "rb") as file, pytest.raises(OSError, match="epoll_ctl"):
        ClientConnection(scene.poller, file.fileno(), scene.world.routes)
    assert not scene.poller.clients
    assert scene.count("curr_connections") == 0
