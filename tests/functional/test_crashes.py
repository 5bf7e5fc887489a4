"""Killed workers and a killed supervisor, while clients are at work: house rules of the processes.

Killing a worker costs only its own connections; killing the supervisor costs nothing.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.functional.tools import item, storage
from tests.support import processes
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Wire

CLIENTS = 8
_numbers = count()
GONE = "the supervisor has gone, going on without it"


class Customer:
    """A client that stores, reads and compares on one connection, until it is told to end or loses it."""

    def __init__(self, proxy: Proxy) -> None:
        self.wire = proxy.connect()
        self.key = b"customer:%d" % next(_numbers)
        self.rounds = 0
        self.lost: OSError | None = None
        self.wrong: AssertionError | None = None
        self.is_told_to_end = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        try:
            while not self.is_told_to_end.wait(0.001):
                value = b"%d" % self.rounds
                self.wire.expect(storage(b"set", self.key, value), b"STORED\r\n")
                self.wire.expect(b"get %b\r\n" % self.key, item(self.key, value) + b"END\r\n")
                self.rounds += 1
        except OSError as error:
            self.lost = error
        except AssertionError as error:
            # `expect` reports an end of the connection as the reply that it is: none
            if self.wire.closed():
                self.lost = ConnectionResetError(str(error))
            else:
                self.wrong = error

    @property
    def port(self) -> int:
        port: int = self.wire._socket.getsockname()[1]
        return port

    def stop(self) -> None:
        self.is_told_to_end.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


@contextmanager
def at_work(proxy: Proxy, n: int = CLIENTS) -> Iterator[list[Customer]]:
    customers = [Customer(proxy) for _ in range(n)]
    for each in customers:
        each.thread.start()
    try:
        go_on(customers)
        yield customers
    finally:
        for each in customers:
            each.stop()
            each.wire.close()


def go_on(customers: list[Customer], rounds: int = 30) -> None:
    """Each of them gets so much more done."""
    goals = [each.rounds + rounds for each in customers]

    def is_done() -> bool:
        assert not any(each.lost or each.wrong for each in customers), [
            each.lost or each.wrong for each in customers
        ]
        return all(each.rounds >= goal for each, goal in zip(customers, goals, strict=True))

    wait_until(is_done, 20, lambda: f"progress of {[each.rounds for each in customers]}")


def clients_of(worker: int, proxy: Proxy) -> set[int]:
    """The ports of the clients whose connections this process holds."""
    inodes = set()
    for entry in Path(f"/proc/{worker}/fd").iterdir():
        target = os.readlink(entry)
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        here, there = (int(fields[at].rpartition(":")[2], 16) for at in (1, 2))
        if here == proxy.port and fields[9] in inodes:
            ports.add(there)
    return ports - {0}


def is_replaced(proxy: Proxy, gone: int) -> bool:
    pids = proxy.worker_pids()
    return gone not in pids and len(pids) == 2


@pytest.fixture
def proxy(memcached_factory: Callable[..., Memcached], proxy_factory: Callable[..., Proxy]) -> Proxy:
    return proxy_factory([memcached_factory(), memcached_factory()], workers=2)


def test_a_killed_worker_costs_its_own_connections_and_nothing_else(proxy: Proxy) -> None:
    victim, other = proxy.worker_pids()
    with at_work(proxy, 16) as customers:
        hit = clients_of(victim, proxy)
        assert hit | clients_of(other, proxy) >= {each.port for each in customers}
        before = proxy.stats()
        os.kill(victim, signal.SIGKILL)
        theirs = [each for each in customers if each.port in hit]
        others = [each for each in customers if each.port not in hit]
        wait_until(lambda: all(each.lost for each in theirs), what="its clients to notice")
        go_on(others)
        assert not any(each.wrong for each in customers)
        # somebody new is served at once wherever the kernel puts it, if need be by the next worker
        wait_until(lambda: is_replaced(proxy, victim), 1, "the next one")
        for _ in range(8):
            with proxy.connect(deadline_s=2) as wire:
                wire.expect(b"mn\r\n", b"MN\r\n")
        go_on(others)
        after = proxy.stats()
    for name in ("cmd_get", "cmd_set", "get_hits", "total_connections", "bytes_read"):
        assert int(after[name]) > int(before[name])
    assert int(after["cmd_set"]) >= sum(each.rounds for each in others)
    assert after["restarts"] == "1"
    assert "killed by SIGKILL" in proxy.output()
    with at_work(proxy):
        pass
    wait_until(lambda: proxy.stats()["curr_connections"] == "1", what="a gauge without the dead")
    assert proxy.stop() == 0


def test_one_worker_after_the_other_is_replaced_under_load(proxy: Proxy) -> None:
    for _ in range(2):
        oldest, newer = proxy.worker_pids()
        with at_work(proxy) as customers:
            hit = clients_of(oldest, proxy)
            os.kill(oldest, signal.SIGKILL)
            go_on([each for each in customers if each.port not in hit])
            wait_until(lambda gone=oldest: is_replaced(proxy, gone), 10)  # type: ignore[misc]
        assert newer in proxy.worker_pids()
    assert proxy.stats()["restarts"] == "2"
    assert proxy.stop() == 0


def test_a_killed_supervisor_costs_nothing(proxy: Proxy) -> None:
    workers = proxy.worker_pids()
    with at_work(proxy) as customers:
        os.kill(proxy.pid, signal.SIGKILL)
        assert proxy.process.wait() == -signal.SIGKILL
        go_on(customers, 100)
        wait_until(lambda: proxy.output().count(GONE) == len(workers), what=f"{GONE!r} of both")
        with at_work(proxy) as newcomers:
            go_on(customers + newcomers)
        stats = proxy.stats()
        assert int(stats["cmd_set"]) >= sum(each.rounds for each in customers)
        assert stats["server_errors"] == "0"
    assert all(map(processes.exists, workers))
    for each in workers:
        os.kill(each, signal.SIGTERM)
    wait_until(lambda: not any(map(processes.exists, workers)), what="an end of the orphans")


def test_orphans_finish_what_is_under_way(
    memcached_factory: Callable[..., Memcached], proxy_factory: Callable[..., Proxy]
) -> None:
    server = memcached_factory()
    proxy = proxy_factory([server], workers=2, pool={"request_timeout_ms": 20_000})
    workers = proxy.worker_pids()
    os.kill(proxy.pid, signal.SIGKILL)
    proxy.process.wait()
    wires: list[Wire] = [proxy.connect() for _ in range(6)]
    for wire in wires:
        wire.expect(storage(b"set", b"k", b"v"), b"STORED\r\n")
    server.pause()
    for wire in wires[:4]:
        wire.send(b"get k\r\n")
    wait_until(lambda: int(proxy.stats()["exchanges"]) >= 4, what="the requests to be under way")
    for each in workers:
        os.kill(each, signal.SIGTERM)
    for wire in wires[4:]:
        assert wire.read_to_end() == b""
    assert all(wire.quiet(0.05) for wire in wires[:4])
    server.resume()
    for wire in wires[:4]:
        assert wire.read_to_end() == item(b"k", b"v") + b"END\r\n"
    wait_until(lambda: not any(map(processes.exists, workers)), what="an end of the orphans")
    for wire in wires:
        wire.close()
