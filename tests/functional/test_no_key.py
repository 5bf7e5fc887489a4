"""Verbs without a key: behaviour.md section 2 (flush_all; version, verbosity, stats, quit, mn)."""

import re

from memagent import __version__
from memagent.counters import SERVER_COUNTERS, WORKER_COUNTERS
from tests.functional.tools import SERVER_ERROR, Shop, storage, store
from tests.support.wait import wait_until


def test_flush_all_reaches_every_server(shop: Shop) -> None:
    """Section 2: every server."""
    for index, server in enumerate(shop.servers):
        server.set(b"flush:%d" % index, b"x")
    with shop.proxy.connect() as wire:
        wire.expect(b"flush_all\r\n", b"OK\r\n")
    assert [server.get(b"flush:%d" % index) for index, server in enumerate(shop.servers)] == [None] * 3


def test_flush_all_with_a_delay_hands_it_on(shop: Shop) -> None:
    """Section 2: flush_all [delay]."""
    for server in shop.servers:
        server.set(b"later", b"x")
    with shop.proxy.connect() as wire:
        wire.expect(b"flush_all 2\r\n", b"OK\r\n")
        assert shop.servers[0].get(b"later") == b"x"
        for server in shop.servers:
            wait_until(lambda server=server: server.get(b"later") is None, 5, "the delayed flush")  # type: ignore[misc]
        wire.expect(b"flush_all 0\r\n", b"OK\r\n")


def test_version_is_the_proxys_own(shop: Shop) -> None:
    """Section 2: answered by the proxy."""
    with shop.proxy.connect() as wire:
        for request in (b"version\r\n", b"version noreply\r\n"):
            words = wire.ask(request).decode().removesuffix("\r\n").split(" ")
            assert words[0] == "VERSION"
            assert words[1:] == [wire.stats()["version"]]
            assert words[1].endswith(__version__)


def test_verbosity_reaches_no_server(shop: Shop) -> None:
    """Section 2: answered by the proxy."""
    with shop.proxy.connect() as wire:
        wire.expect(b"verbosity 1\r\nverbosity 1 noreply\r\nmn\r\n", b"OK\r\nMN\r\n")


def test_stats_has_every_counter_of_the_table(shop: Shop) -> None:
    """Issue 2, stats: real STAT lines, from the counters table."""
    with shop.proxy.connect() as wire:
        wire.send(b"stats\r\n")
        reply = wire.read_until(b"END\r\n")
    assert re.fullmatch(rb"(STAT [^ \r\n]+ [^\r\n]*\r\n)+END\r\n", reply)
    found = dict(line.split(b" ", 2)[1:] for line in reply.split(b"\r\n")[:-2])
    assert {counter.name.encode() for counter in WORKER_COUNTERS} <= found.keys()
    assert {
        b"pid",
        b"uptime",
        b"time",
        b"version",
        b"rusage_user",
        b"rusage_system",
        b"threads",
    } <= found.keys()
    assert found[b"version"].endswith(__version__.encode())
    assert found[b"threads"] == b"1"


def test_counters_count(shop: Shop) -> None:
    """Issue 2, stats: names as memcached's where they mean the same, and the same numbers."""
    with shop.proxy.connect() as wire:
        wire.expect(b"flush_all\r\n", b"OK\r\n")
        before = {name: int(value) for name, value in wire.stats().items() if value.isdigit()}
        store(wire, {b"s:1": b"1", b"s:2": b"2"})
        wire.expect(storage(b"cas", b"s:1", b"x", tail=b" 1"), b"EXISTS\r\n")
        wire.expect(storage(b"cas", b"s:none", b"x", tail=b" 1"), b"NOT_FOUND\r\n")
        wire.ask(b"get s:1 s:2 s:3\r\n", b"END\r\n")
        wire.ask(b"gat 0 s:1 s:4\r\n", b"END\r\n")
        wire.expect(b"incr s:1 1\r\nincr s:9 1\r\n", b"2\r\nNOT_FOUND\r\n")
        wire.expect(b"decr s:1 1\r\ndecr s:9 1\r\n", b"1\r\nNOT_FOUND\r\n")
        wire.expect(b"touch s:1 0\r\ntouch s:9 0\r\n", b"TOUCHED\r\nNOT_FOUND\r\n")
        wire.expect(b"delete s:1\r\ndelete s:9\r\n", b"DELETED\r\nNOT_FOUND\r\n")
        wire.expect(b"delete s:2 noreply\r\nmn\r\nfoo\r\nincr s:1 x\r\n", b"MN\r\nERROR\r\n")
        wire.read_line()
        after = {name: int(value) for name, value in wire.stats().items() if value.isdigit()}
    changed = {name: after[name] - before[name] for name in before if after[name] != before[name]}
    assert changed.pop("bytes_read") > 0
    assert changed.pop("bytes_written") > 0
    expected = {
        "cmd_set": 4, "cmd_get": 5, "get_hits": 3, "get_misses": 2, "cmd_touch": 4, "touch_hits": 2,
        "touch_misses": 2,
        "cas_badval": 1, "cas_misses": 1, "incr_hits": 1, "incr_misses": 1, "decr_hits": 1, "decr_misses": 1,
        "delete_hits": 2, "delete_misses": 1, "quiet_requests": 1, "bad_commands": 1, "client_errors": 1,
        "multigets": 2,
    }  # fmt: skip
    assert {name: changed.get(name, 0) for name in expected} == expected


def test_stats_servers_has_a_block_for_each(shop: Shop) -> None:
    """Issue 2, `stats servers`: one block per server, in the configuration's order."""
    found = shop.proxy.stats("servers")
    blocks = list(dict.fromkeys(name.rpartition(":")[0] for name in found))
    assert blocks == [f"main:{server.address}" for server in shop.servers]
    for block in blocks:
        assert {f"{block}:{counter.name}" for counter in SERVER_COUNTERS} <= found.keys()
        assert found[f"{block}:up"] == "1"


def test_stats_reset(shop: Shop) -> None:
    """Issue 2, `stats reset`: as memcached's."""
    with shop.proxy.connect() as wire:
        wire.ask(b"get none\r\n")
        assert int(wire.stats()["cmd_get"]) >= 1
        wire.expect(b"stats reset\r\n", b"RESET\r\n")
        found = wire.stats()
        assert found["cmd_get"] == "0"
        assert found["curr_connections"] == "1"
        assert all(
            value == "0" for name, value in wire.stats("servers").items() if name.endswith(":timeouts")
        )


def test_stats_magent_keeps_the_old_lines(shop: Shop) -> None:
    """Issue 2: magent's old lines (agent version, matrix n -> ip:port, pool size)."""
    with shop.proxy.connect() as wire:
        wire.send(b"stats magent\r\n")
        lines = wire.read_until(b"END\r\n").decode().split("\r\n")
    assert re.fullmatch(rf"memcached agent v\S*{re.escape(__version__)}", lines[0])
    for number, (line, server) in enumerate(zip(lines[1:], shop.servers, strict=False), 1):
        assert re.fullmatch(rf"matrix {number} -> {server.address}, pool size \d+", line)
    assert lines[4:] == ["END", ""]


def test_unknown_stats_are_an_error(shop: Shop) -> None:
    """As memcached answers."""
    with shop.proxy.connect() as wire:
        wire.expect(b"stats nonsense\r\nmn\r\n", b"ERROR\r\nMN\r\n")


def test_a_server_error_line_is_the_kind_that_tests_look_for() -> None:
    assert SERVER_ERROR.fullmatch(b"SERVER_ERROR out of order\r\n")
    assert not SERVER_ERROR.fullmatch(b"SERVER_ERROR \r\n\r\n")
