"""The request parser's own promises; its answers are compared with its plain twin's in tests/property."""

from collections.abc import Callable

import pytest

from memagent._core.request import RequestParser
from tests.support.core import World

STREAM = (
    b"get a\r\nset k 1 2 3\r\nabc\r\ngets a b\ngat 5 a b\r\ncas k 1 2 3 4 noreply\r\n\r\n\n\r\nincr n 5\r\n"
    b"delete k\r\ntouch k 5\r\nflush_all 3 noreply\r\nverbosity 1\r\nset big 0 0 11\r\nget evil\r\n\r\n"
    b"bogus\r\nversion\r\nquit\r\n"
)  # fmt: skip
EVENTS = [
    ("request", "get", (b"a",), (), False, None),
    ("request", "set", (b"k",), (b"1", b"2", b"3"), False, b"abc"),
    ("request", "gets", (b"a", b"b"), (), False, None),
    ("request", "gat", (b"a", b"b"), (b"5",), False, None),
    ("request", "cas", (b"k",), (b"1", b"2", b"3", b"4"), True, b"\r\n\n"),
    ("request", "incr", (b"n",), (b"5",), False, None),
    ("request", "delete", (b"k",), (), False, None),
    ("request", "touch", (b"k",), (b"5",), False, None),
    ("request", "flush_all", (), (b"3",), True, None),
    ("request", "verbosity", (), (b"1",), False, None),
    ("too_large", b"big", b"SERVER_ERROR object too large for cache\r\n", False),
    ("error", b"ERROR\r\n", False),
    ("request", "version", (), (), False, None),
    ("request", "quit", (), (), False, None),
]


def test_every_cut_gives_the_same_events() -> None:
    assert RequestParser(10).feed(STREAM) == EVENTS
    for cut in range(len(STREAM)):
        parser = RequestParser(10)
        assert parser.feed(STREAM[:cut]) + parser.feed(STREAM[cut:]) == EVENTS, cut
    parser = RequestParser(10)
    assert [event for at in range(len(STREAM)) for event in parser.feed(STREAM[at : at + 1])] == EVENTS


@pytest.mark.parametrize(("length", "kind"), [(10, "request"), (11, "too_large")])
def test_the_bound_of_a_value_is_inclusive(length: int, kind: str) -> None:
    events = RequestParser(10).feed(b"set k 0 0 %d\r\n%b\r\n" % (length, b"x" * length))
    assert [event[0] for event in events] == [kind]


@pytest.mark.parametrize(
    ("verb", "fits"), [(b"get", 1 << 20), (b"gets", 1 << 20), (b"gat 0", 4096), (b"touch", 4096)]
)
def test_the_longest_line(verb: bytes, fits: int) -> None:
    """`fits` counts the line end. Cut where it hurts: the answer comes with the byte that is one too many."""
    for length, fatal in ((fits, False), (fits + 1, True)):
        line = verb + b" k".rjust(length - len(verb) - 1) + b"\n"
        parser = RequestParser(10)
        assert parser.feed(line[: fits - 1]) == []
        events = parser.feed(line[fits - 1 :])
        assert [event[0] == "fatal" for event in events] == [fatal], events


def test_one_parser_serves_many_clients_in_the_middle_of_something(make_world: Callable[..., World]) -> None:
    world = make_world()
    clients = [world.client() for _ in range(3)]
    requests = [b"set a 0 0 5\r\nhello\r\n", b"get %b\r\n" % b"x".ljust(250, b"x"), b"add b 0 0 3\r\nabc\r\n"]
    for at in range(max(map(len, requests))):
        for client, request in zip(clients, requests, strict=True):
            client.send(request[at : at + 1])
            world.run()
    assert [client.take() for client in clients] == [b"STORED\r\n", b"END\r\n", b"STORED\r\n"]


def test_an_earlier_header_is_never_measured_again(make_world: Callable[..., World]) -> None:
    """Whatever was parsed before, a quiet line of the same length is not sent as it came."""
    for width in range(1, 20):
        world = make_world()
        client = world.client()
        # a storage header as long as `flush_all 0`, `incr n 1`, ... up to their noreply
        assert world.ask(client, b"set %b 0 0 1\r\nx\r\n" % (b"k" * width)) == b"STORED\r\n"
        client.send(b"flush_all 0 noreply\r\nincr n 1 noreply\r\ndelete a noreply\r\ntouch a 0 noreply\r\n")
        assert world.ask(client, b"get after\r\n") == b"END\r\n"
        assert not any(b"noreply" in line for line in world.servers[0].lines)
