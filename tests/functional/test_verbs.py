"""Every classic verb with every result, the same through the proxy as from memcached: behaviour.md section 2.

A story is told to a memcached and to the proxy; the two transcripts must be the same, cas tokens apart.
"""

from collections.abc import Callable

import pytest

from tests.functional.tools import Shop, cas_of, item, storage, without_cas
from tests.support.memcached import Memcached
from tests.support.wire import Wire

Story = Callable[["Teller"], None]


class Teller:
    """Asks on one connection and keeps what it got."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.transcript: list[tuple[bytes, bytes]] = []

    def ask(self, request: bytes) -> bytes:
        """The whole reply, known by the MN that is asked for behind it."""
        self.wire.send(request + b"mn\r\n")
        reply = self.wire.read_until(b"MN\r\n").removesuffix(b"MN\r\n")
        self.transcript.append((b" ".join(request.split()[:2]), without_cas(reply)))
        return reply

    def cas(self, key: bytes) -> bytes:
        return cas_of(self.wire, key)


def get_and_gets(tell: Teller) -> None:
    tell.ask(b"get none\r\n")
    tell.ask(b"gets none other\r\n")
    tell.ask(storage(b"set", b"a", b"1", b"7 0"))
    tell.ask(storage(b"set", b"b", b"\r\nEND\r\n", b"4294967295 0"))
    tell.ask(storage(b"set", b"c", b""))
    tell.ask(b"get a\r\n")
    tell.ask(b"gets a\r\n")
    tell.ask(b"get c b a\r\n")
    tell.ask(b"gets a none b a c c\r\n")


def storage_verbs(tell: Teller) -> None:
    for verb in (
        b"add",
        b"replace",
        b"append",
        b"prepend",
        b"set",
        b"add",
        b"replace",
        b"append",
        b"prepend",
    ):
        tell.ask(storage(verb, b"word", verb, b"3 0"))
        tell.ask(b"get word\r\n")
    tell.ask(b"delete word\r\n")
    tell.ask(storage(b"append", b"word", b"x"))


def cas_verb(tell: Teller) -> None:
    tell.ask(storage(b"cas", b"c", b"1", tail=b" 5"))
    tell.ask(storage(b"set", b"c", b"1"))
    token = tell.cas(b"c")
    tell.ask(storage(b"cas", b"c", b"22", b"9 0", b" " + token))
    tell.ask(storage(b"cas", b"c", b"333", b"9 0", b" " + token))
    tell.ask(b"get c\r\n")
    tell.ask(b"delete c\r\n")
    tell.ask(storage(b"cas", b"c", b"4444", tail=b" " + token))


def counting(tell: Teller) -> None:
    tell.ask(b"incr n 1\r\ndecr n 1\r\n")
    tell.ask(storage(b"set", b"n", b"9"))
    tell.ask(b"incr n 1\r\n")
    tell.ask(b"decr n 4\r\n")
    tell.ask(b"get n\r\n")
    tell.ask(b"decr n 100\r\n")
    tell.ask(b"incr n 18446744073709551615\r\n")
    tell.ask(b"incr n 1\r\n")
    tell.ask(storage(b"set", b"n", b"x"))
    tell.ask(b"incr n 1\r\ndecr n 1\r\n")


def deleting_and_touching(tell: Teller) -> None:
    tell.ask(b"delete k\r\ntouch k 10\r\ngat 10 k\r\n")
    tell.ask(storage(b"set", b"k", b"v", b"0 100"))
    tell.ask(b"touch k 0\r\n")
    tell.ask(b"gat 100 k none k\r\n")
    tell.ask(b"gats 0 k\r\n")
    tell.ask(b"delete k\r\n")
    tell.ask(b"delete k\r\n")
    tell.ask(storage(b"set", b"k", b"v"))
    tell.ask(b"touch k -1\r\nget k\r\n")
    tell.ask(storage(b"set", b"k", b"v", b"0 -1"))
    tell.ask(b"get k\r\n")


def quiet_verbs(tell: Teller) -> None:
    """noreply everywhere it exists: nothing comes back, and it is done."""
    for verb in (b"set", b"add", b"replace", b"append", b"prepend"):
        for key in (b"q:" + verb, b"q:set"):
            assert tell.ask(storage(verb, key, b"7", tail=b" noreply")) == b""
            tell.ask(b"get " + key + b"\r\n")
    for request in (b"incr q:set 1", b"decr q:set 2", b"touch q:set 10", b"incr none 1", b"touch none 1"):
        assert tell.ask(request + b" noreply\r\n") == b""
        tell.ask(b"get q:set\r\n")
    assert tell.ask(storage(b"cas", b"q:set", b"1", tail=b" 1 noreply")) == b""
    token = tell.cas(b"q:set")
    assert tell.ask(storage(b"cas", b"q:set", b"cas", tail=b" " + token + b" noreply")) == b""
    tell.ask(b"get q:set\r\n")
    assert tell.ask(b"delete q:set noreply\r\ndelete none noreply\r\n") == b""
    tell.ask(b"get q:set\r\n")
    assert tell.ask(b"verbosity 0 noreply\r\n") == b""


def flushing(tell: Teller) -> None:
    keys = b" ".join(b"f%d" % n for n in range(20))
    for key in keys.split():
        tell.ask(storage(b"set", key, key))
    assert tell.ask(b"get " + keys + b"\r\n").count(b"VALUE") == 20
    tell.ask(b"flush_all 1000\r\n")
    tell.ask(b"get " + keys + b"\r\n")
    tell.ask(b"flush_all\r\n")
    assert tell.ask(b"get " + keys + b"\r\n") == b"END\r\n"
    for key in keys.split():
        tell.ask(storage(b"set", key, key))
    assert tell.ask(b"flush_all noreply\r\n") == b""
    assert tell.ask(b"get " + keys + b"\r\n") == b"END\r\n"


def large_values(tell: Teller) -> None:
    """Section 5: up to max_item_bytes; what a server itself does not take is its own answer."""
    for size in (
        1 << 10,
        1 << 14,
        (1 << 16) + 1,
        1 << 19,
        (1 << 20) - 300,
        (1 << 20) - 1,
        1 << 20,
        (1 << 20) + 1,
    ):
        value = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
        tell.ask(storage(b"set", b"large", value))
        tell.ask(b"get large\r\n")
        tell.ask(storage(b"set", b"large%d" % size, value[: size // 2]))
    tell.ask(b"get large1024 large524288 large16384 none large1024\r\n")


STORIES: list[Story] = [
    get_and_gets,
    storage_verbs,
    cas_verb,
    counting,
    deleting_and_touching,
    quiet_verbs,
    flushing,
    large_values,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_as_memcached(story: Story, direct: Memcached, shop: Shop) -> None:
    """Section 2, owner up."""
    transcripts = []
    for target in (direct, shop.proxy):
        with target.connect() as wire:
            wire.expect(b"flush_all\r\n", b"OK\r\n")
            teller = Teller(wire)
            story(teller)
            transcripts.append(teller.transcript)
    for expected, got in zip(*transcripts, strict=True):
        assert got == expected


def test_anything_else_is_an_error_and_the_connection_lives(shop: Shop) -> None:
    """Section 2, last row."""
    with shop.proxy.connect() as wire:
        for line in (
            b"foo",
            b"GET k",
            b"bget k",
            b"slabs",
            b"lru_crawler metadump all",
            b"shutdown",
            b"watch",
            b"",
        ):
            wire.expect(line + b"\r\n", b"ERROR\r\n")
        wire.expect(storage(b"set", b"alive", b"yes"), b"STORED\r\n")
        wire.expect(b"get alive\r\n", item(b"alive", b"yes") + b"END\r\n")


def test_quit_closes_behind_the_replies(shop: Shop) -> None:
    """Section 2."""
    with shop.proxy.connect() as wire:
        wire.send(b"get none\r\nmn\r\nquit\r\nget none\r\n")
        assert wire.read_to_end() == b"END\r\nMN\r\n"


def test_half_closed_clients_get_their_replies(shop: Shop) -> None:
    """Section 2, order: a client that sends, shuts its side down and reads gets everything."""
    with shop.proxy.connect() as wire:
        wire.send(storage(b"set", b"half", b"1") + b"get half\r\n" * 50)
        wire.finish_sending()
        assert wire.read_to_end() == b"STORED\r\n" + (item(b"half", b"1") + b"END\r\n") * 50


def test_one_byte_at_a_time(shop: Shop) -> None:
    """Section 5: a client that sends half a request."""
    with shop.proxy.connect() as wire:
        wire.send_slowly(storage(b"set", b"slow", b"12345") + b"get slow\r\nincr slow 1\r\n")
        wire.expect(b"", b"STORED\r\n" + item(b"slow", b"12345") + b"END\r\n12346\r\n")
