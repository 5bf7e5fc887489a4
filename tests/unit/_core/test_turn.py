"""A turn: everybody with bytes to send stands in its lists, once."""

from collections.abc import Callable

from memagent._core.turn import Turn
from tests.support.core import World


def test_a_new_turn_is_empty() -> None:
    turn = Turn()
    assert (turn.now_us, turn.channels, turn.sessions, turn.servers) == (0, [], [], [])
    turn.now_us = 5
    assert turn.now_us == 5


def test_whoever_has_bytes_to_send_stands_there_once(make_world: Callable[..., World]) -> None:
    world = make_world(2)
    first, second = world.client(), world.client()
    first.step()
    assert world.turn.channels == []
    assert world.turn.sessions == []
    key = world.keys(1, 1)[0]
    first.send(b"get %b\r\nget %b\r\n" % (key, key))
    first.step()
    assert world.turn.channels == [world.servers[1].wire.channel]
    assert world.turn.sessions == []
    second.send(b"version\r\nversion\r\n")
    second.step()
    assert world.turn.sessions == [second.session]
    world.run()
    assert world.turn.channels == [world.servers[1].wire.channel]
    assert world.turn.sessions == [second.session, first.session]
