"""The reply parser's own promises; its answers are compared with its plain twin's in tests/property."""

from collections.abc import Callable

import pytest

from memagent._core.reply import ReplyParser
from tests.support.core import World

LINES = [
    b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"DELETED", b"TOUCHED", b"OK",
    b"7", b"18446744073709551615", b"9  ",
    b"VERSION 1.6.18", b"ERROR", b"CLIENT_ERROR bad data chunk", b"SERVER_ERROR out of memory storing object",
]  # fmt: skip

# What each request may be answered with, beside an error.
REQUESTS = {
    b"get k": {b"END"},
    b"gats 0 k": {b"END"},
    b"set k 0 0 1\r\nx": {b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND"},
    b"incr k 1": {b"7", b"18446744073709551615", b"9  ", b"NOT_FOUND"},
    b"delete k": {b"DELETED", b"NOT_FOUND"},
    b"touch k 0": {b"TOUCHED", b"NOT_FOUND"},
    b"flush_all": {b"OK"},
}


@pytest.mark.parametrize("request_line", REQUESTS, ids=lambda line: line.split()[0].decode())
@pytest.mark.parametrize("reply", [*LINES, b"END"], ids=lambda line: line.split(b" ")[0].decode())
def test_a_reply_must_be_one_that_the_verb_can_have(
    make_world: Callable[..., World], request_line: bytes, reply: bytes
) -> None:
    """Section 5: never desynchronises. Whatever else it says, the connection is not used any more."""
    world = make_world()
    fake = world.servers[0]
    fake.holds = True
    client = world.client()
    client.send(request_line + b"\r\n")
    world.run()
    fits = b"ERROR" in reply or reply in REQUESTS[request_line]
    # Who refuses the first line of a set may read its data block as commands: answered, trusted no more.
    ends = request_line.startswith(b"set") and reply.startswith((b"ERROR", b"CLIENT_ERROR"))
    assert fake.wire.say(reply + b"\r\n") == (1 if fits and not ends else -1)
    world.run()
    answer = client.take()
    assert (answer == reply + b"\r\n") == fits or request_line.startswith((b"get", b"gat", b"flush")), answer
    assert answer.count(b"\r\n") == 1
    if not fits:
        assert fake.wire.channel.trouble


def test_a_long_reply_is_the_same_at_every_cut() -> None:
    items = [(b"k%d" % i, b"%d" % i, b"v" * (i * 7), b"5" if i % 2 else None) for i in range(8)]
    reply = (
        b"".join(
            b"VALUE %b %b %d%b\r\n%b\r\n" % (key, flags, len(value), b" " + unique if unique else b"", value)
            for key, flags, value, unique in items
        )
        + b"END\r\n"
    )
    for cut in range(len(reply)):
        parser = ReplyParser()
        events = parser.feed("values", reply[:cut]) + parser.feed("values", reply[cut:])
        assert events == [("values", reply, tuple(items))]


@pytest.mark.parametrize("length", [134217706, 134217729, 99999999999999999999])
def test_a_server_that_announces_more_than_128_mib_is_not_waited_for(length: int) -> None:
    assert ReplyParser().feed("values", b"VALUE k 0 134217705\r\n") == []  # with its header just as much
    assert [event[0] for event in ReplyParser().feed("values", b"VALUE k 0 %d\r\n" % length)] == ["garbage"]
