"""A worker is killed while it waits for one of a key's two servers: who else knows what that has missed?"""

import os
import signal
from collections.abc import Callable

import pytest

from tests.functional.duo import Duo, StartDuo, get, look
from tests.functional.test_crashes import clients_of
from tests.functional.tools import storage, store
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Wire

KEYS = 20
LATE_MS = 3000
"""Long enough for a killed worker to be replaced before anybody finds that a server stands still."""


def worker_of(proxy: Proxy, wire: Wire) -> int:
    port = wire._socket.getsockname()[1]
    [pid] = [pid for pid in proxy.worker_pids() if port in clients_of(pid, proxy)]
    return pid


def kill_worker_of(duo: Duo, wire: Wire, then: Callable[[], None] | None = None) -> None:
    gone = worker_of(duo.proxy, wire)
    os.kill(gone, signal.SIGKILL)
    if then is not None:
        then()
    wait_until(lambda: gone not in duo.proxy.worker_pids(), what="another worker")


def all_agree(duo: Duo) -> None:
    for n in range(KEYS):
        key = b"k%d" % n

        def same(key: bytes = key) -> bool:
            one, two = look(duo.owner, key), look(duo.copy, key)
            return one is two is None or (one is not None and one.is_like(two))

        wait_until(same, 10, lambda key=key: f"{key!r}: {look(duo.owner, key)}, {look(duo.copy, key)}")  # type: ignore[misc]


@pytest.mark.parametrize(("workers", "heals"), [(1, "at once"), (2, "at once"), (2, "late")])
def test_a_copy_that_missed_what_was_acknowledged(start_duo: StartDuo, workers: int, heals: str) -> None:
    duo = start_duo(relayed=True, workers=workers, request_timeout_ms=LATE_MS)
    relay = duo.relays[1]
    with duo.proxy.connect() as wire:
        store(wire, {b"k%d" % n: b"old" for n in range(KEYS)} | {b"n": b"1"})
        duo.wait_same(b"n", b"1")
        relay.drop("forward")
        for n in range(KEYS // 2):
            wire.expect(storage(b"set", b"k%d" % n, b"new"), b"STORED\r\n")
        wire.expect(b"touch k10 900\r\n", b"TOUCHED\r\n")
        assert b"old" in wire.ask(b"gat 900 k11\r\n", b"END\r\n")
        wire.expect(b"append k12 0 0 4\r\nmore\r\n", b"STORED\r\n")
        wire.expect(b"incr n 1\r\n", b"2\r\n")
        kill_worker_of(duo, wire, relay.heal if heals == "at once" else None)
        duo.proxy.wait_for_log("writes under way are looked into")
        relay.heal()
    duo.wait_up()
    all_agree(duo)
    duo.wait_same(b"n", b"2")
    with duo.proxy.connect() as wire:
        assert get(wire, b"k0") == b"new"
        assert get(wire, b"k12") == b"oldmore"
    touched = duo.wait_same(b"k10", b"old")
    assert touched is not None
    assert touched.ttl_s > 890


def test_a_copy_that_stands_still_with_all_buffers_full(start_duo: StartDuo) -> None:
    duo = start_duo(workers=2, request_timeout_ms=LATE_MS)
    with duo.proxy.connect() as wire:
        store(wire, {b"k%d" % n: b"old" for n in range(KEYS)})
        duo.wait_same(b"k%d" % (KEYS - 1), b"old")
        duo.copy.pause()
        for n in range(20):
            wire.expect(storage(b"set", b"large%d" % n, b"x" * 1_000_000), b"STORED\r\n")
        for n in range(KEYS):
            wire.expect(storage(b"set", b"k%d" % n, b"new"), b"STORED\r\n")
        kill_worker_of(duo, wire)
        duo.copy.resume()
    duo.wait_up()
    for n in range(KEYS):
        duo.wait_same(b"k%d" % n, b"new")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_owner_that_never_got_what_its_copy_has(start_duo: StartDuo, workers: int) -> None:
    """Nobody was answered: either value may be left, but only one."""
    duo = start_duo(relayed=True, workers=workers, request_timeout_ms=LATE_MS)
    with duo.proxy.connect() as wire:
        store(wire, {b"k%d" % n: b"old" for n in range(KEYS)})
        duo.wait_same(b"k%d" % (KEYS - 1), b"old")
        duo.relays[0].drop("forward")
        sets = b"".join(storage(b"set", b"k%d" % n, b"new") for n in range(KEYS // 2))
        # In one piece: what comes later is not read before this is answered.
        wire.send(sets + b"".join(b"delete k%d\r\n" % n for n in range(KEYS // 2, KEYS)))
        wait_until(lambda: look(duo.copy, b"k%d" % (KEYS - 1)) is None, what="the copy to have it")
        kill_worker_of(duo, wire, duo.relays[0].heal)
    duo.wait_up()
    all_agree(duo)
