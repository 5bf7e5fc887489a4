"""Old connections whose server may still do what was sent to it before it froze (behaviour section 3)."""

from collections.abc import Callable

import pytest

from memagent._core.server import Server
from tests.support.net import Peer, Play, Scene
from tests.support.net import Server as Other

MakeScene = Callable[..., Scene]
SET = b"set k 0 0 1\r\n1\r\n"
LONG_US = 200_000


class Frozen:
    """An owner that got a write and says nothing more; its copy has acknowledged it."""

    def __init__(self, make_scene: MakeScene, **settings: int) -> None:
        quick = {"request_timeout_us": 200_000, "probe_min_us": 10_000, "probe_max_us": 20_000}
        self.scene = make_scene(1, n_backups=1, has_copies=True, **quick, **settings)
        self.client = self.scene.client()
        self.owner, self.copy = self.scene.server(0), self.scene.server(1)
        self.state: Server = self.scene.world.servers[0].server

    @property
    def old(self) -> Peer:
        return self.owner.connections[0]

    def began(self) -> Play:
        self.client.send(SET)
        yield lambda: self.owner.heard(SET)
        yield lambda: self.copy.heard(SET)
        self.owner.says_who = False
        self.copy.say(b"STORED\r\n")
        yield lambda: self.client.got(b"STORED\r\n")
        yield lambda: self.state.state_name == "down"
        yield lambda: self.old.is_ended

    def stays(self, state: str, us: int = LONG_US) -> Play:
        until_us = self.scene.world.turn.now_us + us
        while self.scene.world.turn.now_us < until_us:
            assert self.state.state_name == state
            yield lambda: True
            at_us = self.scene.world.turn.now_us
            yield lambda at_us=at_us: self.scene.world.turn.now_us > at_us  # type: ignore[misc]


def answers(server: Other, request: bytes, reply: bytes) -> Play:
    yield lambda: not server.last.is_ended and server.heard(request)
    server.say(reply)


def test_its_return_waits_until_the_server_has_done_all_and_closed(make_scene: MakeScene) -> None:
    it = Frozen(make_scene)

    def play() -> Play:
        yield from it.began()
        assert it.state.lingering == 1
        it.owner.says_who = True
        yield lambda: it.state.state_name == "returning"
        yield from it.stays("returning")
        it.old.send(b"STORED\r\n")
        it.old.close()
        yield lambda: it.state.lingering == 0
        assert not it.state.unsettled
        yield from answers(it.owner, b"delete k\r\n", b"DELETED\r\n")
        yield lambda: it.state.state_name == "warming"

    it.scene.run(play())
    assert len(it.state.journal) == 0


def test_one_that_is_reset_leaves_the_server_a_moment(make_scene: MakeScene) -> None:
    it = Frozen(make_scene)

    def play() -> Play:
        yield from it.began()
        it.old.reset()
        yield lambda: it.state.lingering == 0
        assert it.state.unsettled
        it.owner.says_who = True
        yield lambda: it.state.state_name == "returning"
        begun_us = it.scene.world.turn.now_us
        yield from answers(it.owner, b"delete k\r\n", b"NOT_FOUND\r\n")
        assert it.scene.world.turn.now_us - begun_us >= 900_000
        yield lambda: it.state.state_name == "warming"

    it.scene.run(play())


def test_nothing_of_it_can_reach_another_process(make_scene: MakeScene) -> None:
    it = Frozen(make_scene)

    def play() -> Play:
        yield from it.began()
        it.owner.pid, it.owner.started_s = 2, it.owner.started_s + 100
        it.owner.says_who = True
        yield from answers(it.owner, b"delete k\r\n", b"NOT_FOUND\r\n")
        yield lambda: it.state.state_name == "warming"
        assert (it.state.lingering, it.state.emptied) == (1, True)

    it.scene.run(play())


@pytest.mark.parametrize("n_channels", [1, 3])
def test_only_connections_with_something_under_way_stay(make_scene: MakeScene, n_channels: int) -> None:
    it = Frozen(make_scene, n_channels=n_channels)

    def play() -> Play:
        yield lambda: len(it.owner.connections) == n_channels
        used = list(it.owner.connections)
        it.client.send(SET)
        yield lambda: any(peer.received == SET for peer in used)
        it.owner.says_who = False
        yield lambda: it.state.state_name == "down"
        assert it.state.lingering == 1
        yield lambda: all(peer.is_ended for peer in used)

    it.scene.run(play())
