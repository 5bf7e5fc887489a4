"""Some keys of a server, whatever way it lists them."""

import random

import pytest

from memagent.addresses import parse_address
from memagent.errors import ServerError
from memagent.inspection import listing
from memagent.inspection.listing import sample_keys
from tests.support.scripted import Scripted


def fill(server, count):
    keys = {b"key:%d" % n for n in range(count)}
    with server.connect() as wire:
        for key in keys:
            wire.send(b"set %b 0 0 1\r\nx\r\n" % key)
        for _ in keys:
            assert wire.read_line() == b"STORED\r\n"
    return keys


def sample(server, count, seed=1, **settings):
    address = parse_address(server.address) if isinstance(server.address, str) else server.address
    return sample_keys(address, count, 5.0, random.Random(seed), **settings)


@pytest.mark.parametrize(("version", "how"), [("old", "metadump hash"), ("new", "mgdump hash")])
def test_a_few_of_many(memcached_factory, version, how):
    server = memcached_factory(version)
    keys = fill(server, 3000)
    found = [sample(server, 100, seed) for seed in (1, 2)]
    for each in found:
        assert each.how.endswith(how)
        assert len(each.keys) == len(set(each.keys)) == 100
        assert set(each.keys) <= keys
    # from places of their own
    assert set(found[0].keys) != set(found[1].keys)


@pytest.mark.parametrize("version", ["old", "new"])
def test_all_where_there_are_fewer(memcached_factory, version):
    server = memcached_factory(version)
    assert sample(server, 10).keys == []
    keys = fill(server, 5)
    assert sorted(sample(server, 10).keys) == sorted(keys)


@pytest.mark.parametrize("version", ["old", "new"])
def test_keys_that_are_not_ascii_and_keys_that_no_client_can_name(memcached_factory, version):
    server = memcached_factory(version)
    with server.connect() as wire:
        for key in ("ключ".encode(), b"100%+&"):
            wire.expect(b"set %b 0 0 1\r\nx\r\n" % key, b"STORED\r\n")
        wire.expect(b"ms YSBi 1 b\r\nx\r\n", b"HD\r\n")  # "a b"
    found = sample(server, 10)
    assert sorted(found.keys) == sorted(["ключ".encode(), b"100%+&"])
    assert found.unspeakable == 1


def test_without_a_crawler(memcached_factory):
    server = memcached_factory()
    keys = fill(server, 50)
    with server.connect() as wire:
        wire.expect(b"lru_crawler disable\r\n", b"OK\r\n")
    found = sample(server, 20)
    assert found.how == "stats cachedump"
    assert len(found.keys) == 20
    assert set(found.keys) <= keys


def test_a_crawler_that_is_busy_is_waited_for():
    busy = [b"BUSY currently processing crawler request\r\n"] * 3

    def answer(line):
        if line == b"stats":
            return b"STAT curr_items 1\r\nEND\r\n"
        return busy.pop() if busy else b"mg one\r\nEN\r\n"

    pauses = []
    with Scripted(answer) as server:
        assert sample(server, 5, pause=pauses.append).keys == [b"one"]
    assert len(pauses) == 3


def test_a_crawler_that_stays_busy():
    def answer(line):
        return b"BUSY currently\r\n" if line.startswith(b"lru_crawler") else b"ERROR\r\n"

    says = "lists no keys: BUSY currently; refuses stats: 'ERROR'"
    with Scripted(answer) as server, pytest.raises(ServerError, match=says):
        sample(server, 5, pause=lambda _: None)


def test_a_server_that_refuses_everything():
    says = "lists no keys: ERROR; refuses stats: 'ERROR'"
    with Scripted(lambda line: b"ERROR\r\n") as server, pytest.raises(ServerError, match=says):
        sample(server, 5)


def test_the_order_of_a_dump_by_size_does_not_matter():
    """metadump all comes class by class: the sample is drawn from all of it."""

    def answer(line):
        if line == b"lru_crawler metadump all":
            return (
                b"".join(b"key=k%d exp=-1 la=1 cas=1 fetch=no cls=1 size=60\r\n" % n for n in range(500))
                + b"END\r\n"
            )
        return b"CLIENT_ERROR bad class id\r\n"

    with Scripted(answer) as server:
        found = sample(server, 50)
    assert len(set(found.keys)) == 50
    assert max(int(key[1:]) for key in found.keys) > 250


def test_a_dump_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr(listing, "_MOST_LINES", 1000)
    lines = b"".join(b"key=k%d exp=-1\r\n" % n for n in range(100_000))
    with Scripted(lambda line: lines if line.endswith(b"all") else b"ERROR\r\n") as server:
        found = sample(server, 90_000)
    # what had come with the last of them
    assert 1000 <= len(found.keys) < 20_000


def test_a_line_without_an_end_is_not_kept():
    """Whatever listens there: it sends for as long as somebody reads."""
    endless = b"mg " + b"x" * 10_000_000
    with (
        Scripted(lambda line: endless if b"mgdump" in line else b"ERROR\r\n") as server,
        pytest.raises(ServerError, match="without an end"),
    ):
        sample(server, 5)


def test_a_dump_that_ends_in_a_complaint_counts_until_there():
    with Scripted(
        lambda line: b"mg a\r\nmg b\r\nERROR went wrong\r\nEN\r\n" if b"mgdump" in line else b"ERROR\r\n"
    ) as server:
        assert sorted(sample(server, 9).keys) == [b"a", b"b"]


def test_a_refusal_cannot_steer_a_terminal():
    with (
        Scripted(lambda line: b"ERROR \x1b[2J\r\n") as server,
        pytest.raises(ServerError, match=r"lists no keys: ERROR \\x1b\[2J"),
    ):
        sample(server, 5)
