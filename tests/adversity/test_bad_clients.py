"""Clients that send half, nonsense or too much, never read, or vanish: behaviour.md section 5, its end.

Nobody else is hurt, and nothing that they left is kept: after each test every gauge is back where it was.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.functional.tools import Shop, gauges, item, storage, store, wait_idle
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Wire

GRACE_S = 0.25


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    servers = [Memcached.start() for _ in range(2)]
    proxy = Proxy.start(servers, settings={"client_pause_bytes": "1MiB", "client_close_bytes": "8MiB"})
    yield Shop(servers, proxy)
    try:
        assert proxy.stop() == 0
    finally:
        proxy.clean_up()
        for server in servers:
            server.kill()
            server.stop()


@pytest.fixture(autouse=True)
def other(shop: Shop) -> Iterator[Wire]:
    """A client that behaves; it is served before and after, and nothing of the bad ones is left."""
    with shop.proxy.connect() as wire:
        store(wire, {b"fine": b"1", b"big": b"v" * 500_000})
        before = gauges(shop.proxy)
        yield wire
        begin = time.monotonic()
        wire.expect(b"get fine\r\n", item(b"fine", b"1") + b"END\r\n")
        assert time.monotonic() - begin < GRACE_S
        wait_idle(shop.proxy, before)


LEAVE: dict[str, Callable[[Wire], None]] = {"closes": Wire.close, "resets": Wire.reset}
HALVES = {
    "nothing": b"",
    "half_a_verb": b"ge",
    "a_line_without_end": b"get fine",
    "half_a_block": b"set x 0 0 100000\r\n" + b"v" * 50_000,
    "a_block_without_end": b"set x 0 0 3\r\nabc",
    "half_a_swallowed_block": b"set " + b"k" * 300 + b" 0 0 5000000\r\n" + b"v" * 50_000,
    "half_a_long_get": b"get " + b"none " * 100_000,
    "requests_and_a_half": b"get fine\r\n" * 500 + b"get fi",
}


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("half", HALVES)
def test_half_a_request(shop: Shop, other: Wire, half: str, leave: str) -> None:
    """Section 5: a client that sends half a request."""
    wire = shop.proxy.connect()
    wire.send(HALVES[half])
    other.expect(b"get fine\r\n", item(b"fine", b"1") + b"END\r\n")
    LEAVE[leave](wire)


@pytest.mark.parametrize("leave", LEAVE)
def test_leaves_with_requests_under_way(shop: Shop, other: Wire, leave: str) -> None:
    """Section 2, order: the replies of one who has left reach nobody else."""
    wires = [shop.proxy.connect() for _ in range(10)]
    for server in shop.servers:
        server.pause()
    for number, wire in enumerate(wires):
        wire.send(
            b"incr none %d\r\n" % number + b"get big fine none\r\n" * 20 + storage(b"set", b"x", b"v" * 1000)
        )
    wait_until(lambda: gauges(shop.proxy)["exchanges"] >= 10, what="requests to be under way")
    for wire in wires:
        LEAVE[leave](wire)
    for server in shop.servers:
        server.resume()
    other.expect(b"get fine\r\nincr none 1\r\n", item(b"fine", b"1") + b"END\r\nNOT_FOUND\r\n")


def test_garbage(shop: Shop, other: Wire) -> None:
    """Section 5: malformed input gets memcached's own error reply; the proxy never crashes."""
    dice = random.Random(5)
    workers = shop.proxy.worker_pids()
    for _ in range(60):
        with shop.proxy.connect() as wire:
            wire.send(dice.randbytes(dice.choice((1, 50, 4000))))
            wire.send(b"\r\n" + bytes(dice.choices(b"getsa k01\r\n\0\xff", k=300)) + b"\r\nquit\r\n")
            other.expect(b"get fine\r\n", item(b"fine", b"1") + b"END\r\n")
    assert shop.proxy.worker_pids() == workers


def test_other_protocols(shop: Shop, other: Wire) -> None:
    """Section 5: HTTP, TLS and memcached's binary protocol are only malformed lines."""
    for greeting in (
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(32)) + b"\n",
        b"\x80\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\n",
    ):
        with shop.proxy.connect() as wire:
            assert wire.ask(greeting) == b"ERROR\r\n"


def test_one_byte_at_a_time_by_many(shop: Shop, other: Wire) -> None:
    """Section 5: slow clients; each is answered rightly."""
    wires = [shop.proxy.connect() for _ in range(50)]
    request = storage(b"set", b"drip", b"12345") + b"get drip\r\n"
    for byte in request:
        for wire in wires:
            wire.send(bytes([byte]))
    other.expect(b"get fine\r\n", item(b"fine", b"1") + b"END\r\n")
    for wire in wires:
        wire.expect(b"", b"STORED\r\n" + item(b"drip", b"12345") + b"END\r\n")
        wire.close()


def test_never_reads(shop: Shop, other: Wire) -> None:
    """Section 5: paused, then closed; what it costs is bounded while others are served."""
    lazy = [shop.proxy.connect(receive_buffer_bytes=4096) for _ in range(4)]
    for wire in lazy:
        wire.send(b"get big\r\n" * 400)
    most = 0
    for _ in range(40):
        begin = time.monotonic()
        other.expect(b"get fine\r\n", item(b"fine", b"1") + b"END\r\n")
        assert time.monotonic() - begin < GRACE_S
        most = max(most, gauges(shop.proxy)["buffered_bytes"])
    assert most < 4 * (16 << 20) + (16 << 20)
    for wire in lazy:
        wire.close()


def test_a_flood_without_reading(shop: Shop, other: Wire) -> None:
    """Section 5: a client that only sends is made to wait by TCP; others are served."""
    with shop.proxy.connect(deadline_s=2) as flood:
        stop = threading.Event()

        def pour() -> None:
            while not stop.is_set():
                if flood.send_some(b"get fine\r\n" * 1000) == 0:
                    stop.wait(0.005)

        thread = threading.Thread(target=pour)
        thread.start()
        for _ in range(100):
            begin = time.monotonic()
            other.expect(b"get fine\r\n", item(b"fine", b"1") + b"END\r\n")
            assert time.monotonic() - begin < GRACE_S
        stop.set()
        thread.join()
        assert gauges(shop.proxy)["buffered_bytes"] < 32 << 20


def test_connects_and_leaves_a_thousand_times(shop: Shop, other: Wire) -> None:
    """Section 5: never leaks."""
    for number in range(1000):
        wire = shop.proxy.connect()
        if number % 3:
            wire.send(b"get fine\r\n")
        LEAVE["resets" if number % 2 else "closes"](wire)
