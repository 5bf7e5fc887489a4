"""Who holds a key, and what is done about holders that fail."""

import pytest

from memagent.errors import ServerError
from memagent.inspection.places import Looker
from tests.unit.inspection.pools import places


class At:
    def __init__(self, address):
        self.address = address


SERVERS = [At(f"10.0.0.{n}") for n in range(3)]
BACKUPS = [At(f"10.0.1.{n}") for n in range(2)]


def test_owner_and_copy_on_a_backup():
    found = places(SERVERS, BACKUPS)
    assert [(each.name, each.role) for each in found.holders] == [
        *(("s0", "server"), ("s1", "server"), ("s2", "server")),
        *(("b0", "backup"), ("b1", "backup")),
    ]
    assert str(found.holders[3].address) == "10.0.1.0:11211"
    pairs = [found.of(b"key:%d" % n) for n in range(50)]
    assert {owner.name for owner, _ in pairs} == {"s0", "s1", "s2"}
    assert {copy.name for _, copy in pairs} == {"b0", "b1"}


def test_both_on_one_ring():
    found = places(SERVERS, copies=2)
    for owner, copy in (found.of(b"key:%d" % n) for n in range(50)):
        assert owner.role == copy.role == "server"
        assert owner != copy


def test_no_copy():
    assert places(SERVERS).of(b"key")[1] is None


def test_a_holder_that_fails_twice_is_not_asked_again(memcached_factory):
    server, other = memcached_factory(), memcached_factory()
    first, second = places([server, other]).holders
    with Looker(5.0) as looker:
        assert looker.look(first, [b"key"]) == [None]
        assert looker.bytes_read > 0
        before = looker.bytes_read
        server.kill()
        for _ in range(2):
            with pytest.raises(ServerError):
                looker.look(first, [b"key"])
        server.restart()
        with pytest.raises(ServerError):
            looker.look(first, [b"key"])
        assert looker.failures == {first: "cannot connect: Connection refused"}
        assert looker.look(second, [b"key"]) == [None]
        assert looker.bytes_read > before


def test_a_server_that_was_restarted_is_asked_on_a_new_connection(memcached_factory):
    server = memcached_factory()
    holder = places([server]).holders[0]
    with Looker(5.0) as looker:
        looker.look(holder, [b"key"])
        server.restart()
        with pytest.raises(ServerError):
            looker.look(holder, [b"key"])
        assert looker.look(holder, [b"key"]) == [None]
