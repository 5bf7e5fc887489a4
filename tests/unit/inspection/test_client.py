"""Asking one memcached: the item as it is, untouched, and every failure in a few words."""

import hashlib
import socket

import pytest

from memagent.addresses import Address, parse_address
from memagent.errors import ServerError
from memagent.inspection.client import FOREVER, Connection
from tests.support.ports import free_port
from tests.support.scripted import Scripted


def digest(value: bytes) -> str:
    return hashlib.blake2b(value, digest_size=16).hexdigest()


def look(server, *keys, timeout_s=5.0):
    address = server.address
    address = parse_address(address) if isinstance(address, str) else address
    with Connection.open(address, timeout_s) as connection:
        return connection.look(keys)


@pytest.mark.parametrize("version", ["old", "new"])
def test_an_item_as_it_is(memcached_factory, version):
    server = memcached_factory(version)
    big = bytes(range(256)) * 2000
    server.set(b"for-ever", b"five5", flags=7)
    server.set(b"for-long", big, exptime=1000)
    server.set(b"empty", b"")
    lasting, missing, expiring, empty = look(server, b"for-ever", b"nothing", b"for-long", b"empty")
    assert missing is None
    assert (lasting.size_bytes, lasting.flags, lasting.ttl_s) == (5, 7, FOREVER)
    assert lasting.digest == digest(b"five5")
    assert (expiring.size_bytes, expiring.digest) == (len(big), digest(big))
    assert 900 < expiring.ttl_s <= 1000
    assert (empty.size_bytes, empty.digest) == (0, digest(b""))
    assert len({lasting.cas, expiring.cas, empty.cas}) == 3


@pytest.mark.parametrize("version", ["old", "new"])
def test_looking_is_no_reading(memcached_factory, version):
    server = memcached_factory(version)
    server.set(b"key", b"value")
    look(server, b"key")
    with server.connect() as wire:
        assert b"fetch=no" in wire.ask(b"me key\r\n")


def test_over_a_unix_socket(memcached_factory):
    server = memcached_factory(unix=True)
    server.set(b"key", b"value")
    assert look(server, b"key")[0].size_bytes == 5


def test_without_meta_commands_the_time_to_live_is_not_known():
    def answer(line):
        if line == b"gets key":
            return b"VALUE key 3 5 17\r\nvalue\r\nEND\r\n"
        return b"END\r\n" if line.startswith(b"gets ") else b"ERROR\r\n"

    with Scripted(answer) as server:
        found, missing = look(server, b"key", b"other")
        assert server.asked == [b"mn", b"gets key", b"gets other"]
    assert missing is None
    assert (found.size_bytes, found.flags, found.ttl_s, found.cas) == (5, 3, None, 17)
    assert found.digest == digest(b"value")


def test_a_server_that_knows_mn_and_not_our_flags_is_asked_the_classic_way():
    def answer(line):
        if line == b"mn":
            return b"MN\r\n"
        return b"END\r\n" if line.startswith(b"gets ") else b"CLIENT_ERROR invalid flag\r\n"

    with Scripted(answer) as server:
        assert look(server, b"key") == [None]


def test_an_item_that_is_marked_stale():
    def answer(line):
        if line.startswith(b"mg key"):
            return b"VA 2 s2 t-1 f0 c9 W X\r\nhi\r\n"
        return b"MN\r\n" if line == b"mn" else b"EN\r\n"

    with Scripted(answer) as server:
        assert look(server, b"key")[0].is_stale


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"SERVER_ERROR out of memory\r\n", "refuses mg: 'SERVER_ERROR out of memory'"),
        (b"VA 2 s2\r\nhi\r\n", "answers mg with"),
        (b"VA 2 s2 fx t1 c1\r\nhi\r\n", "answers mg with"),
        (b"VA 99999999999 s2 f0 t1 c1\r\n", "tells of a value of 99999999999 bytes"),
        (b"VA 2 s2 f0 t1 c1\r\nhiho\r\n", "sends more of a value than it told"),
        (b"x" * 10_000, "sends a line without an end: is it a memcached?"),
        (b"VA 200 s200 f0 t1 c1\r\nhi", "does not answer in time"),
        (b"", "does not answer in time"),
        (None, "closes the connection"),
    ],
)
def test_what_is_no_answer(reply, says):
    def answer(line):
        if line.startswith(b"mg key"):
            return reply
        return b"MN\r\n" if line == b"mn" else b"EN\r\n"

    with Scripted(answer) as server, pytest.raises(ServerError, match=says):
        look(server, b"key", timeout_s=0.3)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"VALUE other 0 2 1\r\nhi\r\nEND\r\n", "refuses gets"),
        (b"ERROR\r\n", "refuses gets: 'ERROR'"),
        (b"VALUE key 0 2 1\r\nhi\r\nVALUE key 0 2 1\r\n", "answers gets with"),
    ],
)
def test_what_is_no_classic_answer(reply, says):
    with (
        Scripted(lambda line: reply if line == b"gets key" else b"ERROR\r\n") as server,
        pytest.raises(ServerError, match=says),
    ):
        look(server, b"key")


def test_a_server_that_drips_does_not_hold_us_for_ever():
    """Each byte comes in time, the answer does not."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        connection = Connection.open(Address(*listening.getsockname()), 0.3)
        theirs = listening.accept()[0]

        def drip():
            connection._begin()
            while True:
                theirs.send(b"x")
                connection._receive()

        with connection, theirs, pytest.raises(ServerError, match="does not answer in time"):
            drip()


def test_nobody_there(tmp_path):
    with pytest.raises(ServerError, match="cannot connect: Connection refused"):
        Connection.open(Address("127.0.0.1", free_port()), 1.0)
    with pytest.raises(ServerError, match="cannot connect: No such file or directory"):
        Connection.open(Address("x", 0, str(tmp_path / "none.sock")), 1.0)


def test_stats():
    with (
        Scripted(lambda line: b"STAT pid 7\r\nSTAT version 1 2\r\nEND\r\n") as server,
        Connection.open(server.address, 5.0) as connection,
    ):
        assert connection.stats() == {"pid": "7", "version": "1 2"}
        assert connection.bytes_read > 0


def test_stats_that_are_refused():
    with (
        Scripted(lambda line: b"ERROR\r\n") as server,
        Connection.open(server.address, 5.0) as connection,
        pytest.raises(ServerError, match="refuses stats: 'ERROR'"),
    ):
        connection.stats("items")


@pytest.mark.parametrize("version", ["old", "new"])
def test_as_much_of_a_value_as_is_wanted(memcached_factory, version):
    server = memcached_factory(version)
    server.set(b"key", b"0123456789")
    with Connection.open(parse_address(server.address), 5) as connection:
        [whole] = connection.look([b"key"], keep_bytes=100)
        [part] = connection.look([b"key"], keep_bytes=4)
        [none] = connection.look([b"key"])
        assert connection.ask(b"delete key\r\n") == b"DELETED"
    assert (whole.start, part.start, none.start) == (b"0123456789", b"0123", b"")
    assert whole.digest == part.digest == digest(b"0123456789")
    assert whole.idle_s in range(60)
