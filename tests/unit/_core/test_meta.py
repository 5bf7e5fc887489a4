"""Meta requests: what is sent on, and where it lives. (What is refused: tests/property, tests/protocol.)"""

import base64
from collections.abc import Callable

import pytest

from memagent._core.request import RequestParser
from tests.support.core import World

MakeWorld = Callable[..., World]

# What a client may write, and the one line that a server shall read.
LINES = [
    (b"mg k", b"mg k"),
    (b"  mg  k  v ", b"mg k v"),
    (b"mg k q", b"mg k"),
    (b"mg k v q O1", b"mg k v O1"),
    (b"mg k  v  q  ", b"mg k v"),
    (b"mg k q v", b"mg k v"),
    (b"mg k qwhatever v", b"mg k v"),
    (b"mg Cg== b q k v", b"mg Cg== b v"),
    (b"mg Cg== k v b q", b"mg Cg== v b"),
    (b"mg aw== k v b q", b"mg aw== k v b"),
    (b"md k q C1", b"md k C1"),
    (b"md Cg== q k b", b"md Cg== k b"),
    (b"ma k MD q N0 J5", b"ma k MD N0 J5"),
    (b"me k", b"me k"),
    (b"me k q b", b"me k"),
    (b"me aw== b q", b"me aw== b"),
    (b"mg k Lp" + b" " * 2500 + b"q v", b"mg k Lp v"),
    (b"mg k O" + b"o" * 31 + b" P" + b"p" * 1550, b"mg k O" + b"o" * 31 + b" P" + b"p" * 1550),
]


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize(("line", "sent"), LINES, ids=lambda line: line[:24].decode())
def test_a_line_is_sent_on_without_q(make_world: MakeWorld, line: bytes, sent: bytes, end: bytes) -> None:
    world = make_world()
    client = world.client()
    world.ask(client, line + end)
    assert world.servers[0].lines == [sent]
    assert world.ask(client, b"mn\r\n") == b"MN\r\n"


@pytest.mark.parametrize("flags", [b"q", b"T0 q c", b"q  F5", b" " * 2500 + b"q"], ids=len)
def test_a_data_block_is_sent_on_whole(make_world: MakeWorld, flags: bytes) -> None:
    world = make_world()
    client = world.client()
    assert world.ask(client, b"ms k 3 " + flags + b"\r\n\n\r\n\r\nmg k v\r\n") == b"VA 3\r\n\n\r\n\r\n"
    assert world.servers[0].lines[0].split() == [b"ms", b"k", b"3", *flags.replace(b"q", b"").split()]


def test_a_base64_key_lives_where_its_bytes_live(make_world: MakeWorld) -> None:
    """Section 2: classic and base64 requests for one key meet, whichever server has it."""
    world = make_world(n_servers=4)
    client = world.client()
    for i in range(40):
        key = b"key:%d" % i
        text = base64.b64encode(key)
        assert world.ask(client, b"ms %b 2 b k O%d\r\n%02d\r\n" % (text, i, i)) == b"HD k%b b O%d\r\n" % (
            text,
            i,
        )
        assert world.ask(client, b"get %b\r\n" % key) == b"VALUE %b 0 2\r\n%02d\r\nEND\r\n" % (key, i)
        assert key in world.servers[world.owner(key)].store.items
    assert sum(len(fake.store.items) for fake in world.servers) == 40


def test_any_bytes_may_be_a_base64_key(make_world: MakeWorld) -> None:
    world = make_world(n_servers=2)
    client = world.client()
    for key in (b"\0", b"\n", b"\r\nHD\r\n", b" ", b"\x7f" * 186, bytes(range(186))):
        text = base64.b64encode(key)
        assert world.ask(client, b"ms %b 1 b q\r\nx\r\nmg %b v k b O1\r\n" % (text, text)) in (
            b"VA 1 k%b b O1\r\nx\r\n" % text,
            b"VA 1 O1 k%b b\r\nx\r\n" % text,
        )
        assert key in world.servers[world.owner(key)].store.items


@pytest.mark.parametrize(
    "text", [b"Zm9v", b"Zm-9!v", b"Zm9vYQ==", b"Zm9vYQ==Zm9v", b"aw==", b"////", b"++++"]
)
def test_keys_are_decoded_as_memcached_does(text: bytes) -> None:
    """What is not of the alphabet is skipped, and nothing behind the padding is read."""
    clean = text.replace(b"-", b"").replace(b"!", b"").partition(b"==")
    event = RequestParser(100).feed(b"mg " + text + b" b\r\n")[0]
    assert event[2] == (base64.b64decode(clean[0] + clean[1]),)
