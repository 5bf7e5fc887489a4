"""Every row of behaviour.md section 5, each reached; limits too big for a test are made small in the file."""

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.functional.tools import SERVER_ERROR, Shop, gauges, item, storage, store, wait_idle
from tests.support.memcached import Memcached
from tests.support.processes import resident_bytes
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

MIB = 1 << 20
StartMemcached = Callable[..., Memcached]
StartProxy = Callable[..., Proxy]


@pytest.fixture
def start(memcached_factory: StartMemcached, proxy_factory: StartProxy) -> Callable[..., Shop]:
    def begin(servers: int = 1, pool: dict[str, Any] | None = None, **settings: Any) -> Shop:
        running = [memcached_factory() for _ in range(servers)]
        return Shop(running, proxy_factory(running, pool=pool, settings=settings))

    return begin


def counter(shop: Shop, name: str) -> int:
    return int(shop.proxy.stats()[name])


# --- client connections


def test_client_connections(start: Callable[..., Shop]) -> None:
    """Past max_connections: SERVER_ERROR too many connections, closed; a place that becomes free is taken."""
    shop = start(max_connections=3)
    wires = [shop.proxy.connect() for _ in range(3)]
    for wire in wires:
        wire.expect(b"mn\r\n", b"MN\r\n")
    with shop.proxy.connect() as refused:
        assert refused.read_to_end() == b"SERVER_ERROR too many connections\r\n"
    for wire in wires:
        wire.expect(b"get none\r\n", b"END\r\n")
    assert int(wires[0].stats()["rejected_connections"]) == 1
    wires[0].close()
    wait_until(lambda: _answers(shop.proxy), what="the free place to be given")
    for wire in wires:
        wire.close()


def _answers(proxy: Proxy) -> bool:
    with proxy.connect() as wire:
        return wire.ask(b"mn\r\n") == b"MN\r\n"


# --- key


def test_key(start: Callable[..., Shop]) -> None:
    """250 bytes, no control character; CLIENT_ERROR bad key, its data block swallowed, connection lives."""
    shop = start()
    with shop.proxy.connect() as wire:
        longest = b"k" * 250
        wire.expect(storage(b"set", longest, b"v"), b"STORED\r\n")
        wire.expect(b"get " + longest + b"\r\n", item(longest, b"v") + b"END\r\n")
        for bad in (longest + b"k", b"k" * 3000, b"a\x01", b"a\x7f", b"a\tb", b"a\0"):
            for request in (
                b"get " + bad + b"\r\n",
                b"get x " + bad + b" y\r\n",
                b"gat 0 " + bad + b"\r\n",
                b"delete " + bad + b"\r\n",
                b"incr " + bad + b" 1\r\n",
                b"touch " + bad + b" 1\r\n",
                storage(b"set", bad, b"delete " + longest),
                storage(b"cas", bad, b"quit", tail=b" 1"),
            ):
                wire.expect(request + b"mn\r\n", b"CLIENT_ERROR bad key\r\nMN\r\n")
        wire.expect(b"get " + longest + b"\r\n", item(longest, b"v") + b"END\r\n")
    assert counter(shop, "bad_keys") == 48


def test_a_bad_keys_block_is_swallowed_not_kept(start: Callable[..., Shop]) -> None:
    """Key: the answer comes before the block, and hundreds of megabytes of it leave nothing behind."""
    shop = start()
    length = 200 * MIB
    with shop.proxy.connect(deadline_s=30) as wire:
        worker = shop.proxy.worker_pids()[0]
        wire.expect(b"set %b 0 0 %d\r\n" % (b"k" * 251, length), b"CLIENT_ERROR bad key\r\n")
        before = resident_bytes(worker)
        for _ in range(200):
            wire.send(b"x" * MIB)
        wire.expect(b"\r\nmn\r\n", b"MN\r\n")
        assert resident_bytes(worker) - before < 32 * MIB


# --- request line


def test_request_line(start: Callable[..., Shop]) -> None:
    """1 MiB for get and gets, 4 KiB otherwise; past it CLIENT_ERROR line too long, closed."""
    shop = start()
    error = b"CLIENT_ERROR line too long\r\n"
    for line in (b"touch k" + b" " * 4087 + b"0\r\n", b"x" * 4096, b"gat 0" + b" k" * 2046 + b"\r\n"):
        with shop.proxy.connect() as wire:
            wire.send(b"mn\r\n" + line)
            assert wire.read_to_end() == b"MN\r\n" + error
    with shop.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"v"), b"STORED\r\n")
        wire.expect(b"touch k" + b" " * 4086 + b"0\r\n", b"TOUCHED\r\n")
        longest = b"get" + b" none" * ((MIB - 10) // 5) + b" k"
        assert MIB - 10 < len(longest) < MIB - 1
        wire.expect(longest + b"\r\n", item(b"k", b"v") + b"END\r\n")
        wire.expect(b"get k\r\n", item(b"k", b"v") + b"END\r\n")
    for verb in (b"get", b"gets"):
        with shop.proxy.connect() as wire:
            wire.send(verb + b" " * MIB)
            assert wire.read_to_end() == error
    assert counter(shop, "lines_too_long") == 5
    assert counter(shop, "client_closed_protocol") == 5


# --- value


def test_value(start: Callable[..., Shop]) -> None:
    """Past max_item_bytes: SERVER_ERROR object too large for cache, swallowed; set deletes the old value."""
    shop = start(max_item_bytes=10_000)
    with shop.proxy.connect() as wire:
        largest = b"v" * 10_000
        wire.expect(storage(b"set", b"k", largest), b"STORED\r\n")
        wire.expect(b"get k\r\n", item(b"k", largest) + b"END\r\n")
        refusal = b"SERVER_ERROR object too large for cache\r\n"
        wire.expect(storage(b"append", b"k", largest + b"v"), refusal)
        wire.expect(storage(b"replace", b"k", largest + b"v", tail=b" noreply") + b"mn\r\n", b"MN\r\n")
        wire.expect(b"get k\r\n", item(b"k", largest) + b"END\r\n")
        wire.expect(storage(b"set", b"k", largest + b"v") + b"get k\r\n", refusal + b"END\r\n")
        wire.expect(storage(b"set", b"k", b"v") + b"get k\r\n", b"STORED\r\n" + item(b"k", b"v") + b"END\r\n")
        quiet = storage(b"set", b"k", largest + b"v", tail=b" noreply")
        wire.expect(quiet + b"get k\r\n", b"END\r\n")
    assert counter(shop, "store_too_large") == 4


# --- connect and request time


def test_connect_time(start: Callable[..., Shop], proxy_factory: StartProxy) -> None:
    """250 ms, then SERVER_ERROR. A listener whose backlog is full does not answer a SYN."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(8)]
        for each in fillers:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        proxy = proxy_factory([f"127.0.0.1:{full.getsockname()[1]}"])
        with proxy.connect() as wire:
            begin = time.monotonic()
            assert SERVER_ERROR.fullmatch(wire.ask(b"incr k 1\r\n"))
            assert time.monotonic() - begin < 0.25 + 0.25
        for each in fillers:
            each.close()


def test_request_time(start: Callable[..., Shop]) -> None:
    """1 s, then SERVER_ERROR, or a miss for a get; requests behind it get no second second."""
    shop = start()
    before = gauges(shop.proxy)
    with shop.proxy.connect() as wire, shop.proxy.connect() as other:
        store(wire, {b"k": b"1"})
        shop.servers[0].pause()
        begin = time.monotonic()
        wire.send(b"incr k 1\r\n")
        other.send(b"get k\r\n")
        assert SERVER_ERROR.fullmatch(wire.read_line())
        assert other.read_line() == b"END\r\n"
        assert 0.9 < time.monotonic() - begin < 1.0 + 0.25
        shop.servers[0].resume()
    wait_idle(shop.proxy, before)


# --- replies that a client has not read


def test_unread_replies_stop_reading(start: Callable[..., Shop]) -> None:
    """client_pause_bytes: no more is read from it; others never notice; everything comes in the end."""
    shop = start(client_pause_bytes="256KiB", client_close_bytes="64MiB")
    before = gauges(shop.proxy)
    value = b"v" * 100_000
    with shop.proxy.connect(receive_buffer_bytes=4096) as lazy, shop.proxy.connect() as other:
        store(other, {b"big": value})
        lazy.send(b"get big\r\n" * 200)
        wait_until(lambda: int(other.stats()["client_paused"]) >= 1, what="the client to be paused")
        assert int(other.stats()["buffered_bytes"]) < 16 * MIB
        other.expect(b"get big\r\n", item(b"big", value) + b"END\r\n")
        whole = item(b"big", value) + b"END\r\n"
        for _ in range(200):
            assert lazy.read_exact(len(whole)) == whole
        lazy.expect(b"mn\r\n", b"MN\r\n")
    wait_idle(shop.proxy, before)


def test_unread_replies_close_the_client(start: Callable[..., Shop]) -> None:
    """client_close_bytes: closed; what it left is freed."""
    shop = start(client_pause_bytes="64KiB", client_close_bytes="1MiB")
    before = gauges(shop.proxy)
    with shop.proxy.connect() as other:
        store(other, {b"big": b"v" * 1_000_000})
        with shop.proxy.connect(receive_buffer_bytes=4096) as lazy:
            lazy.send(b"get big\r\n" * 30)
            wait_until(
                lambda: int(other.stats()["client_closed_unread"]) == 1, what="the client to be closed"
            )
        other.expect(b"mn\r\n", b"MN\r\n")
    wait_idle(shop.proxy, before)


# --- requests waiting for one server


def test_waiting_requests(start: Callable[..., Shop]) -> None:
    """server_queue_requests: SERVER_ERROR server busy, at once; the others are answered later."""
    shop = start(pool={"request_timeout_ms": 5000}, server_queue_requests=100)
    before = gauges(shop.proxy)
    wires = [shop.proxy.connect() for _ in range(10)]
    with shop.proxy.connect() as other:
        store(other, {b"n": b"0"})
        shop.servers[0].pause()
        for wire in wires:
            wire.send(b"incr n 1\r\n" * 10)
        wait_until(lambda: waiting(shop) == 100, what="100 requests to wait")
        begin = time.monotonic()
        other.expect(b"incr n 1\r\n", b"SERVER_ERROR server busy\r\n")
        other.expect(storage(b"set", b"n", b"9"), b"SERVER_ERROR server busy\r\n")
        other.expect(b"mn\r\n", b"MN\r\n")
        assert time.monotonic() - begin < 1.0
        shop.servers[0].resume()
        replies = [int(wire.read_line()) for wire in wires for _ in range(10)]
        assert sorted(replies) == list(range(1, 101))
        other.expect(b"incr n 1\r\n", b"101\r\n")
    for wire in wires:
        wire.close()
    assert int(shop.proxy.stats("servers")[f"main:{shop.servers[0].address}:busy_rejections"]) == 2
    wait_idle(shop.proxy, before)


def waiting(shop: Shop) -> int:
    """Requests pending at or in flight to the first server."""
    found = shop.proxy.stats("servers")
    prefix = f"main:{shop.servers[0].address}"
    return int(found[f"{prefix}:pending"]) + int(found[f"{prefix}:in_flight"])


def test_waiting_bytes(start: Callable[..., Shop]) -> None:
    """server_queue_bytes: SERVER_ERROR server busy, at once."""
    shop = start(pool={"request_timeout_ms": 30_000}, server_queue_bytes="8MiB")
    before = gauges(shop.proxy)
    value = b"v" * 1_000_000
    wires = [shop.proxy.connect(deadline_s=30) for _ in range(24)]
    wires[0].expect(b"get none\r\n", b"END\r\n")
    shop.servers[0].pause()
    begin = time.monotonic()
    for number, wire in enumerate(wires):
        wire.send(storage(b"set", b"k%d" % number, value))
    # The kernel's own buffers take a few of them, 8 MiB wait; the others are refused at once.
    refused = f"main:{shop.servers[0].address}:busy_rejections"
    wait_until(lambda: int(shop.proxy.stats("servers")[refused]) >= 1, 20, "one of them to be refused")
    assert time.monotonic() - begin < 30, "it was not the end of their time"
    assert int(shop.proxy.stats()["buffered_bytes"]) < 40 * MIB
    shop.servers[0].resume()
    replies = [wire.read_line() for wire in wires]
    assert set(replies) == {b"STORED\r\n", b"SERVER_ERROR server busy\r\n"}
    assert replies.count(b"STORED\r\n") >= 7
    for wire in wires:
        wire.close()
    wait_idle(shop.proxy, before)


# --- all buffers of a worker


def test_worker_buffers(start: Callable[..., Shop]) -> None:
    """worker_buffer_bytes: the largest consumers are paused, then refused; a small client goes on."""
    shop = start(worker_buffer_bytes="8MiB", client_pause_bytes="64MiB", client_close_bytes="64MiB")
    before = gauges(shop.proxy)
    value = b"v" * 1_000_000
    with shop.proxy.connect() as small:
        store(small, {b"big": value, b"little": b"1"})
        lazy = [shop.proxy.connect(receive_buffer_bytes=4096) for _ in range(12)]
        for wire in lazy:
            wire.send(b"get big\r\n" * 8)
        for _ in range(50):
            small.expect(b"get little\r\n", item(b"little", b"1") + b"END\r\n")
        found = small.stats()
        assert int(found["buffered_bytes"]) < 24 * MIB
        assert (
            sum(int(found[name]) for name in ("memory_paused", "memory_refused", "client_closed_memory")) >= 1
        )
        for wire in lazy:
            wire.close()
    wait_idle(shop.proxy, before)


# --- below the table


def test_idle_connections_are_cheap(start: Callable[..., Shop]) -> None:
    """An idle client connection costs under 4 KiB, also after it has been used."""
    shop = start()
    worker = shop.proxy.worker_pids()[0]
    wires = [shop.proxy.connect() for _ in range(20)]
    before = resident_bytes(worker)
    wires += [shop.proxy.connect() for _ in range(800)]
    for wire in wires:
        wire.send(storage(b"set", b"k", b"v" * 10))
    for wire in wires:
        wire.expect(b"", b"STORED\r\n")
    assert int(shop.proxy.stats()["curr_connections"]) == 821
    assert (resident_bytes(worker) - before) / 800 < 4096
    for wire in wires:
        wire.close()


def test_half_a_request_hurts_nobody(start: Callable[..., Shop]) -> None:
    """A client that sends half a request hurts nobody else, and what it sent is freed when it leaves."""
    shop = start()
    before = gauges(shop.proxy)
    halves = [b"ge", b"get k", b"set k 0 0 100\r\nabc", b"set k 0 0 3\r\nabc\r", b"get " + b"k " * 200_000]
    with shop.proxy.connect() as other:
        wires = [shop.proxy.connect() for _ in halves]
        for wire, half in zip(wires, halves, strict=True):
            wire.send(half)
        other.expect(
            storage(b"set", b"k", b"v") + b"get k\r\n", b"STORED\r\n" + item(b"k", b"v") + b"END\r\n"
        )
        for number, wire in enumerate(wires):
            if number % 2:
                wire.reset()
            else:
                wire.close()
        other.expect(b"get k\r\n", item(b"k", b"v") + b"END\r\n")
    wait_idle(shop.proxy, before)
