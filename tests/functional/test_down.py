"""A server that is down: behaviour.md section 2 (owner down, no copy), section 3 (up -> down -> up)."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.functional.tools import SERVER_ERROR, Shop, gauges, item, storage, store, wait_idle
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

DEAD = 1
ANSWER_S = 0.25
"""What a request to a server that is known to be down may take at most, on a busy machine."""


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Three servers; number 1 has been killed."""
    servers = [Memcached.start() for _ in range(3)]
    proxy = Proxy.start(servers)
    shop = Shop(servers, proxy)
    with proxy.connect() as wire:
        for index in range(3):
            store(wire, dict.fromkeys(shop.keys_of(index, 10), b"1"))
    before = gauges(proxy)
    servers[DEAD].kill()
    yield shop
    try:
        wait_idle(proxy, before)
        assert proxy.stop() == 0
    finally:
        proxy.clean_up()
        for server in servers:
            server.kill()
            server.stop()


def test_gets_are_misses(shop: Shop) -> None:
    """Section 2: none up: miss, at once."""
    with shop.proxy.connect() as wire:
        for key in shop.keys_of(DEAD, 10):
            for request in (b"get %b\r\n", b"gets %b\r\n", b"gat 0 %b\r\n"):
                begin = time.monotonic()
                wire.expect(request % key, b"END\r\n")
                assert time.monotonic() - begin < ANSWER_S


def test_everything_else_is_a_server_error(shop: Shop) -> None:
    """Section 2: none up: SERVER_ERROR, at once; the connection lives and quiet requests stay quiet."""
    key = shop.keys_of(DEAD, 1)[0]
    requests = [storage(verb, key, b"x") for verb in (b"set", b"add", b"replace", b"append", b"prepend")]
    requests += [storage(b"cas", key, b"x", tail=b" 1")]
    requests += [verb + b" " + key + b" 1\r\n" for verb in (b"incr", b"decr", b"touch")]
    requests += [b"delete " + key + b"\r\n"]
    with shop.proxy.connect() as wire:
        for request in requests:
            begin = time.monotonic()
            assert SERVER_ERROR.fullmatch(wire.ask(request)), request
            assert time.monotonic() - begin < ANSWER_S
        wire.expect(storage(b"set", key, b"x", tail=b" noreply") + b"mn\r\n", b"MN\r\n")
        wire.expect(b"delete " + key + b" noreply\r\nmn\r\n", b"MN\r\n")


def test_multiget_keeps_the_live_servers_hits(shop: Shop) -> None:
    """Section 2, multiget: never an error between VALUE lines, never the loss of the live servers' hits."""
    owned = [shop.keys_of(index, 10) for index in range(3)]
    keys = [key for trio in zip(*owned, strict=True) for key in trio]
    dead = set(shop.keys_of(DEAD, 10))
    expected = b"".join(item(key, b"1") for key in keys if key not in dead) + b"END\r\n"
    before = int(shop.proxy.stats()["misses_server_down"])
    with shop.proxy.connect() as wire:
        for _ in range(20):
            wire.expect(b"get " + b" ".join(keys) + b"\r\n", expected)
    assert int(shop.proxy.stats()["misses_server_down"]) == before + 20 * 10


def test_others_go_on(shop: Shop) -> None:
    """Section 3: a request never waits for a down server, not even behind one to it in a pipeline."""
    dead, alive = shop.keys_of(DEAD, 10), shop.keys_of(0, 10)
    stream = b"".join(b"get %b\r\nget %b\r\n" % pair for pair in zip(dead, alive, strict=True)) * 50
    expected = b"".join(b"END\r\n" + item(key, b"1") + b"END\r\n" for key in alive) * 50
    with shop.proxy.connect() as wire:
        wire.expect(stream, expected)


def test_flush_all_says_so_and_flushes_the_others(shop: Shop) -> None:
    """Section 2: OK only if all said OK."""
    shop.servers[0].set(b"flush", b"x")
    shop.servers[2].set(b"flush", b"x")
    with shop.proxy.connect() as wire:
        assert SERVER_ERROR.fullmatch(wire.ask(b"flush_all\r\n"))
        wire.expect(b"flush_all noreply\r\nmn\r\n", b"MN\r\n")
    assert shop.servers[0].get(b"flush") is None
    assert shop.servers[2].get(b"flush") is None
    with shop.proxy.connect() as wire:
        for index in (0, 2):
            store(wire, dict.fromkeys(shop.keys_of(index, 10), b"1"))


def test_stats_show_it(shop: Shop) -> None:
    """Section 3: down, probed."""
    prefix = f"main:{shop.servers[DEAD].address}"
    found = shop.proxy.stats("servers")
    assert found[f"{prefix}:up"] == "0"
    assert int(found[f"{prefix}:downs"]) >= 1
    assert int(found[f"{prefix}:down_rejections"]) >= 1
    wait_until(
        lambda: int(shop.proxy.stats("servers")[f"{prefix}:probe_failures"]) >= 2, what="probes to fail"
    )
    assert found[f"main:{shop.servers[0].address}:up"] == "1"


def test_it_comes_back(shop: Shop) -> None:
    """Section 3: probes back off to probe_max_ms (5 s); then it serves again. Last in this file."""
    shop.servers[DEAD].restart()
    key = shop.keys_of(DEAD, 1)[0]
    with shop.proxy.connect() as wire:
        wait_until(lambda: wire.ask(storage(b"set", key, b"new")) == b"STORED\r\n", 6, "the server's return")
        wire.expect(b"get " + key + b"\r\n", item(key, b"new") + b"END\r\n")
        wire.expect(b"flush_all\r\n", b"OK\r\n")
    assert shop.proxy.stats("servers")[f"main:{shop.servers[DEAD].address}:up"] == "1"


class TestSettings:
    """What the configuration changes; processes of their own."""

    @pytest.fixture
    def start(self) -> Iterator[Callable[..., Shop]]:
        shops: list[Shop] = []

        def begin(servers: int = 1, **pool: Any) -> Shop:
            running = [Memcached.start() for _ in range(servers)]
            shops.append(Shop(running, Proxy.start(running, pool=pool)))
            return shops[-1]

        yield begin
        for shop in shops:
            shop.proxy.clean_up()
            for server in shop.servers:
                server.kill()
                server.stop()

    def test_get_when_down_error(self, start: Callable[..., Shop]) -> None:
        """Section 2: miss (default) or SERVER_ERROR; a multiget still has no error between VALUE lines."""
        shop = start(2, get_when_down="error")
        live, dead = shop.keys_of(0, 1)[0], shop.keys_of(1, 1)[0]
        with shop.proxy.connect() as wire:
            store(wire, {live: b"1"})
            shop.servers[1].kill()
            for verb in (b"get ", b"gets "):
                assert SERVER_ERROR.fullmatch(wire.ask(verb + dead + b"\r\n"))
            wire.expect(
                b"get " + live + b" " + dead + b" " + live + b"\r\n", item(live, b"1") * 2 + b"END\r\n"
            )

    def test_multiget_deadline(self, start: Callable[..., Shop]) -> None:
        """Section 2: with multiget_deadline_ms, what is there by then is the answer."""
        shop = start(2, multiget_deadline_ms=200, request_timeout_ms=5000)
        quick, slow = shop.keys_of(0, 1)[0], shop.keys_of(1, 1)[0]
        before = gauges(shop.proxy)
        with shop.proxy.connect() as wire:
            store(wire, {quick: b"1", slow: b"2"})
            shop.servers[1].pause()
            begin = time.monotonic()
            wire.expect(b"get " + quick + b" " + slow + b"\r\n", item(quick, b"1") + b"END\r\n")
            assert 0.15 < time.monotonic() - begin < 0.2 + 0.25
            shop.servers[1].resume()
            both = item(quick, b"1") + item(slow, b"2") + b"END\r\n"
            wait_until(
                lambda: wire.ask(b"get " + quick + b" " + slow + b"\r\n", b"END\r\n") == both,
                5,
                "both values",
            )
        assert int(shop.proxy.stats()["misses_deadline"]) >= 1
        wait_idle(shop.proxy, before)

    def test_no_server_is_up_at_the_start(self, start: Callable[..., Shop]) -> None:
        """Section 3: the proxy starts, answers, and serves once they come."""
        servers = [Memcached() for _ in range(2)]
        proxy = Proxy.start(servers)
        try:
            with proxy.connect() as wire:
                wire.expect(b"get k\r\nmn\r\n", b"END\r\nMN\r\n")
                assert SERVER_ERROR.fullmatch(wire.ask(b"delete k\r\n"))
                for server in servers:
                    server.restart()
                wait_until(lambda: wire.ask(b"flush_all\r\n") == b"OK\r\n", 6, "the servers to be found")
                wire.expect(storage(b"set", b"k", b"v"), b"STORED\r\n")
        finally:
            proxy.clean_up()
            for server in servers:
                server.kill()
                server.stop()
