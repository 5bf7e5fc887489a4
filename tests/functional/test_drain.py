"""SIGTERM: behaviour.md section 7: stop accepting, finish what is under way, close; drain_ms at most."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.functional.tools import item, storage, store
from tests.support import processes
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.relay import Relay
from tests.support.wait import wait_until

StartMemcached = Callable[..., Memcached]
StartProxy = Callable[..., Proxy]


def in_flight(proxy: Proxy) -> int:
    found = proxy.stats("servers")
    return sum(int(value) for name, value in found.items() if name.endswith((":in_flight", ":pending")))


def test_idle_clients_are_closed_at_once(
    memcached_factory: StartMemcached, proxy_factory: StartProxy
) -> None:
    proxy = proxy_factory([memcached_factory()], workers=2)
    wires = [proxy.connect() for _ in range(6)]
    for wire in wires:
        wire.expect(b"mn\r\n", b"MN\r\n")
    begin = time.monotonic()
    assert proxy.stop() == 0
    assert time.monotonic() - begin < 3
    for wire in wires:
        assert wire.read_to_end() == b""
        wire.close()


def test_what_is_under_way_is_finished(
    memcached_factory: StartMemcached, proxy_factory: StartProxy, relay_factory: Callable[..., Relay]
) -> None:
    server = memcached_factory()
    relay = relay_factory(server)
    proxy = proxy_factory([relay.address], pool={"request_timeout_ms": 5000})
    workers = proxy.worker_pids()
    with proxy.connect() as wire, proxy.connect() as idle:
        store(wire, {b"k": b"v"})
        idle.expect(b"mn\r\n", b"MN\r\n")
        relay.hold()
        wire.send(b"get k\r\n" + storage(b"set", b"k", b"w") + b"get k\r\n")
        wait_until(lambda: in_flight(proxy) >= 1, what="the requests to be under way")
        proxy.process.signal(signal.SIGTERM)
        assert idle.read_to_end() == b""
        with pytest.raises(ConnectionRefusedError):
            wait_until(lambda: proxy.connect(0.2).close(), 2, "the port to be closed", ignoring=())
        relay.release()
        wire.expect(b"", item(b"k", b"v") + b"END\r\nSTORED\r\n" + item(b"k", b"w") + b"END\r\n")
        assert wire.read_to_end() == b""
    assert proxy.process.wait(3) == 0
    wait_until(lambda: not any(map(processes.exists, workers)), what="the workers to end")


def test_a_large_reply_is_sent_whole(memcached_factory: StartMemcached, proxy_factory: StartProxy) -> None:
    proxy = proxy_factory([memcached_factory()])
    value = b"v" * 1_000_000
    with proxy.connect(receive_buffer_bytes=4096) as wire, proxy.connect() as other:
        store(other, {b"big": value})
        wire.send(b"get big\r\n" * 4)
        wait_until(lambda: int(proxy.stats()["cmd_get"]) >= 4, what="the requests to be read")
        proxy.process.signal(signal.SIGTERM)
        assert wire.read_to_end() == (item(b"big", value) + b"END\r\n") * 4
    assert proxy.process.wait(5) == 0


def test_drain_ms_at_most(memcached_factory: StartMemcached, proxy_factory: StartProxy) -> None:
    server = memcached_factory()
    proxy = proxy_factory([server], pool={"request_timeout_ms": 60_000}, settings={"drain_ms": 500})
    with proxy.connect() as wire:
        store(wire, {b"k": b"v"})
        server.pause()
        wire.send(b"get k\r\n")
        wait_until(lambda: in_flight(proxy) >= 1, what="the request to be under way")
        begin = time.monotonic()
        assert proxy.stop() == 0
        assert 0.45 < time.monotonic() - begin < 0.5 + 2.5
        server.resume()


def test_sigterm_while_workers_are_still_starting(
    memcached_factory: StartMemcached, proxy_factory: StartProxy
) -> None:
    """Nothing is under way yet, so there is nothing to wait drain_ms (10 s) for."""
    server = memcached_factory()
    for _ in range(2):
        proxy = proxy_factory([server], workers=2, wait=False)
        wait_until(proxy.worker_pids, what="a worker to be started")
        begin = time.monotonic()
        assert proxy.stop() == 0
        assert time.monotonic() - begin < 5
