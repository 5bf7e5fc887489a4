"""memcached processes that stop, die and come back: behaviour.md section 3, section 5 (request time)."""

import time
from collections.abc import Iterator

import pytest

from tests.functional.tools import SERVER_ERROR, Shop, gauges, item, storage, store, wait_idle
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.relay import Relay
from tests.support.wait import wait_until

REQUEST_S = 0.4
GRACE_S = 0.25
PROBE_MAX_S = 1.0


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Two servers; each test does harm to number 1 and undoes it."""
    servers = [Memcached.start() for _ in range(2)]
    pool = {"request_timeout_ms": int(REQUEST_S * 1000), "probe_max_ms": int(PROBE_MAX_S * 1000)}
    proxy = Proxy.start(servers, pool=pool)
    yield Shop(servers, proxy)
    try:
        assert proxy.stop() == 0
    finally:
        proxy.clean_up()
        for server in servers:
            server.kill()
            server.stop()


@pytest.fixture(autouse=True)
def idle(shop: Shop) -> Iterator[dict[str, int]]:
    """Both are up before and after; nothing that a test left is still held."""
    with shop.proxy.connect() as wire:
        for index in range(2):
            store(wire, dict.fromkeys(shop.keys_of(index, 5), b"1"))
    before = gauges(shop.proxy)
    yield before
    wait_idle(shop.proxy, before)


def is_up(shop: Shop, index: int = 1) -> bool:
    return shop.proxy.stats("servers")[f"main:{shop.servers[index].address}:up"] == "1"


def test_stopped_and_continued(shop: Shop) -> None:
    """Section 3: 3 timeouts in a row, then down and answered at once; up by itself. Others never notice."""
    sick, well = shop.keys_of(1, 1)[0], shop.keys_of(0, 1)[0]
    healthy = item(well, b"1") + b"END\r\n"
    with shop.proxy.connect() as wire, shop.proxy.connect() as other:
        shop.servers[1].pause()
        for request, is_right in (
            (b"get " + sick + b"\r\n", lambda reply: reply == b"END\r\n"),
            (b"incr " + sick + b" 1\r\n", SERVER_ERROR.fullmatch),
            (storage(b"set", sick, b"2"), SERVER_ERROR.fullmatch),
        ):
            begin = time.monotonic()
            wire.send(request)
            for _ in range(5):
                asked = time.monotonic()
                other.expect(b"get " + well + b"\r\n", healthy)
                assert time.monotonic() - asked < GRACE_S
            assert is_right(wire.read_line())
            assert REQUEST_S - 0.05 < time.monotonic() - begin < REQUEST_S + GRACE_S
        wait_until(lambda: not is_up(shop), 2, "it to be down after 3 timeouts")
        for _ in range(10):
            begin = time.monotonic()
            wire.expect(b"get " + sick + b" " + well + b"\r\n", healthy)
            assert SERVER_ERROR.fullmatch(wire.ask(b"delete " + sick + b"\r\n"))
            assert time.monotonic() - begin < GRACE_S
        shop.servers[1].resume()
        wait_until(lambda: is_up(shop), PROBE_MAX_S + REQUEST_S + 2, "a probe to find it")
        wire.expect(
            storage(b"set", sick, b"3") + b"get " + sick + b"\r\n",
            b"STORED\r\n" + item(sick, b"3") + b"END\r\n",
        )


def test_two_timeouts_are_not_three(shop: Shop) -> None:
    """Section 3: failure_limit counts timeouts in a row; an answer between them starts the count again."""
    sick = shop.keys_of(1, 1)[0]
    with shop.proxy.connect() as wire:
        for _ in range(2):
            for _ in range(2):
                shop.servers[1].pause()
                wire.expect(b"get " + sick + b"\r\n", b"END\r\n")
                shop.servers[1].resume()
            wait_until(
                lambda: wire.ask(b"get " + sick + b"\r\n", b"END\r\n") == item(sick, b"1") + b"END\r\n",
                what="an answer in between",
            )
            assert is_up(shop)


def test_late_replies_reach_nobody(shop: Shop) -> None:
    """Section 2, quiet rule and order: what a stopped server says when it continues is nobody's answer."""
    keys = shop.keys_of(1, 5)
    with shop.proxy.connect() as wire, shop.proxy.connect() as other:
        shop.servers[1].pause()
        wire.send(b"get " + keys[0] + b"\r\n" + b"incr " + keys[1] + b" 7\r\n")
        wire.expect(b"", b"END\r\n")
        assert SERVER_ERROR.fullmatch(wire.read_line())
        shop.servers[1].resume()
        wait_until(
            lambda: other.ask(storage(b"set", keys[2], b"new")) == b"STORED\r\n", what="it to answer again"
        )
        other.expect(b"get " + keys[2] + b"\r\n", item(keys[2], b"new") + b"END\r\n")
        other.expect(b"get " + keys[3] + b"\r\n", item(keys[3], b"1") + b"END\r\n")


def test_killed_and_started_again(shop: Shop) -> None:
    """Section 3: refused: down at once, not after a timeout; back within the probe's longest pause."""
    sick, well = shop.keys_of(1, 1)[0], shop.keys_of(0, 1)[0]
    with shop.proxy.connect() as wire:
        wire.expect(b"get " + sick + b"\r\n", item(sick, b"1") + b"END\r\n")
        shop.servers[1].kill()
        for _ in range(20):
            begin = time.monotonic()
            wire.expect(b"get " + sick + b" " + well + b"\r\n", item(well, b"1") + b"END\r\n")
            assert SERVER_ERROR.fullmatch(wire.ask(b"touch " + sick + b" 0\r\n"))
            assert time.monotonic() - begin < GRACE_S
        assert not is_up(shop)
        shop.servers[1].restart()
        begin = time.monotonic()
        wait_until(
            lambda: wire.ask(storage(b"set", sick, b"2")) == b"STORED\r\n", PROBE_MAX_S + 2, "its return"
        )
        assert time.monotonic() - begin < PROBE_MAX_S + GRACE_S
        wire.expect(b"get " + sick + b"\r\n", item(sick, b"2") + b"END\r\n")


def test_killed_with_requests_under_way(shop: Shop) -> None:
    """Section 2: each gets its answer, in order, at once; those to the other server are right."""
    sick, well = shop.keys_of(1, 1)[0], shop.keys_of(0, 1)[0]
    with shop.proxy.connect() as wire:
        shop.servers[1].pause()
        wire.send((b"get " + sick + b"\r\nget " + well + b"\r\nincr " + sick + b" 1\r\nmn\r\n") * 7)
        wait_until(lambda: gauges(shop.proxy)["exchanges"] >= 7, what="the requests to be under way")
        begin = time.monotonic()
        shop.servers[1].kill()
        for _ in range(7):
            wire.expect(b"", b"END\r\n" + item(well, b"1") + b"END\r\n")
            assert SERVER_ERROR.fullmatch(wire.read_line())
            wire.expect(b"", b"MN\r\n")
        assert time.monotonic() - begin < GRACE_S + 0.1
        shop.servers[1].restart()
        wait_until(lambda: is_up(shop), PROBE_MAX_S + 2, "its return")


def test_restarted_between_two_requests(shop: Shop) -> None:
    """Section 3: a restart too quick for a probe costs at most one spell of being down."""
    sick = shop.keys_of(1, 1)[0]
    downs = f"main:{shop.servers[1].address}:downs"
    before = shop.proxy.stats("servers")[downs]
    with shop.proxy.connect() as wire:
        shop.servers[1].restart()
        wait_until(
            lambda: wire.ask(storage(b"set", sick, b"2")) == b"STORED\r\n", PROBE_MAX_S + 2, "its return"
        )
        assert int(shop.proxy.stats("servers")[downs]) <= int(before) + 1


class TestRelay:
    """Faults of the network between proxy and server; processes of their own."""

    @pytest.fixture
    def relayed(self) -> Iterator[tuple[Relay, Memcached, Proxy]]:
        server = Memcached.start()
        relay = Relay(server.endpoint)
        proxy = Proxy.start([relay.address], pool={"request_timeout_ms": 400, "probe_max_ms": 200})
        yield relay, server, proxy
        proxy.clean_up()
        relay.close()
        server.stop()

    def test_slow_network(self, relayed: tuple[Relay, Memcached, Proxy]) -> None:
        """Section 5: late but within the request time is fine, in tiny pieces too."""
        relay, _, proxy = relayed
        with proxy.connect() as wire:
            relay.delay(0.1)
            wire.expect(storage(b"set", b"k", b"v" * 50), b"STORED\r\n")
            relay.heal()
            relay.trickle(1, 0.001)
            relay.trickle(1, 0.001, "forward")
            wire.expect(b"get k\r\n", item(b"k", b"v" * 50) + b"END\r\n")

    def test_cut_after_every_byte_of_a_reply(self, relayed: tuple[Relay, Memcached, Proxy]) -> None:
        """Section 5, never desynchronises: wherever the reply is cut, a miss; never another's bytes."""
        relay, server, proxy = relayed
        whole = item(b"k", b"12345") + b"END\r\n"
        server.set(b"k", b"12345")
        before = gauges(proxy)
        with proxy.connect() as wire:
            for length in range(len(whole)):
                relay.cut_after(length)
                relay.cut()
                assert wire.ask(b"get k\r\n") in (b"END\r\n", b"VALUE k 0 5\r\n"), length
                wire.expect(b"mn\r\n", b"MN\r\n")
                relay.heal()
                wait_until(
                    lambda: wire.ask(b"get k\r\n", b"END\r\n") == whole, 3, f"its return after {length}"
                )
        wait_idle(proxy, before)

    def test_refused_then_accepted(self, relayed: tuple[Relay, Memcached, Proxy]) -> None:
        """Section 3: down at once; probes find it."""
        relay, _, proxy = relayed
        with proxy.connect() as wire:
            for _ in range(3):
                relay.refuse()
                begin = time.monotonic()
                assert SERVER_ERROR.fullmatch(wire.ask(storage(b"set", b"k", b"v")))
                assert time.monotonic() - begin < GRACE_S
                relay.accept()
                wait_until(lambda: wire.ask(storage(b"set", b"k", b"v")) == b"STORED\r\n", 3, "its return")
