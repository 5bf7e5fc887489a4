"""Keys in lines to servers: those that no classic command can carry (behaviour section 2, meta verbs)."""

from base64 import b64encode

import pytest

from tests.support.copies import Pair

ODD = b"two words\n"
ODD64 = b64encode(ODD)


@pytest.fixture
def pair() -> Pair:
    made = Pair()
    for fake in made.servers:
        fake.server.meta = True
    return made


def test_an_odd_key_reaches_both_servers_in_base64(pair: Pair) -> None:
    assert pair.say(b"ms %b 2 b\r\nv1\r\n" % ODD64) == b"HD\r\n"
    assert pair.held(ODD) == (b"v1", b"v1")


def test_an_odd_key_is_never_part_of_a_classic_line(pair: Pair) -> None:
    pair.say(b"ms %b 2 b\r\nv1\r\n" % ODD64)
    pair.lose(0, ODD)
    assert pair.say(b"mg %b b v\r\n" % ODD64) == b"VA 2\r\nv1\r\n"
    assert pair.held(ODD) == (b"v1", b"v1")
    assert pair.say(b"mg %b b v T100\r\n" % ODD64) == b"VA 2\r\nv1\r\n"
    assert pair.say(b"md %b b\r\n" % ODD64) == b"HD\r\n"
    assert pair.held(ODD) == (None, None)
    for server in (0, 1):
        assert all(line.startswith(b"m") for line in pair.lines(server))
