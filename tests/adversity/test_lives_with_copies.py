"""A server with copies that freezes, restarts, hangs up or loses a worker: behaviour.md section 3."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.functional.tools import storage
from tests.support.memcached import Memcached, Version
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Wire

POOL = {"request_timeout_ms": 300, "probe_min_ms": 50, "probe_max_ms": 200, "connections_per_server": 2}
KEYS = [b"key%d" % number for number in range(40)]


class Case:
    """One server, one backup, a proxy before them."""

    def __init__(self, owner: Memcached, copy: Memcached, proxy: Proxy) -> None:
        self.owner, self.copy, self.proxy = owner, copy, proxy

    def count(self, name: str) -> int:
        return int(self.proxy.stats("servers")[f"main:{self.owner.address}:{name}"])

    def wait_up(self) -> None:
        wait_until(lambda: self.count("up") == 1, 30, lambda: f"its return; {self.proxy.output()[-2000:]}")

    def wait_down(self) -> None:
        wait_until(lambda: self.count("up") == 0, 10, "it to be down")

    def set_all(self, wire: Wire, value: bytes) -> None:
        for key in KEYS:
            wire.expect(storage(b"set", key, value), b"STORED\r\n")

    def read_all(self, value: bytes) -> None:
        """Through as many connections as it takes to meet every worker."""
        for _ in range(8):
            with self.proxy.connect() as wire:
                for key in KEYS:
                    wire.expect(
                        b"get %b\r\n" % key, b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (key, len(value), value)
                    )


@contextmanager
def running(workers: int = 1, version: Version = "old", args: tuple[str, ...] = ()) -> Iterator[Case]:
    owner, copy = Memcached.start(version, args=args), Memcached.start(version)
    proxy = Proxy.start([owner], [copy], workers=workers, pool=POOL)
    try:
        yield Case(owner, copy, proxy)
        if proxy.alive:
            assert proxy.stop() == 0
    finally:
        proxy.clean_up()
        for server in (owner, copy):
            server.kill()
            server.stop()


@pytest.mark.parametrize("version", ["old", "new"])
@pytest.mark.parametrize("workers", [1, 2])
def test_what_it_got_before_it_froze_does_not_survive(workers: int, version: Version) -> None:
    """Writes lie in a frozen server's sockets; newer ones go to the copy; then it does the old ones."""
    with running(workers, version) as case, case.proxy.connect() as wire:
        case.set_all(wire, b"first")
        case.owner.pause()
        case.set_all(wire, b"second")
        case.wait_down()
        case.set_all(wire, b"third")
        case.read_all(b"third")
        case.owner.resume()
        case.read_all(b"third")
        case.wait_up()
        case.read_all(b"third")
        assert all(case.owner.get(key) in (None, b"third") for key in KEYS)
        assert case.count("journal_played") >= 1
        assert case.count("journal_keys") == case.count("restarts_seen") == 0


def test_a_restart_quicker_than_a_probe_is_noticed() -> None:
    with running(2) as case, case.proxy.connect() as wire:
        case.set_all(wire, b"first")
        case.owner.restart()
        wait_until(lambda: case.count("restarts_seen") >= 1, 10, "the restart to be seen")
        case.read_all(b"first")
        case.wait_up()
        assert case.count("outages") == 1
        wait_until(lambda: [case.owner.get(key) for key in KEYS] == [b"first"] * len(KEYS), 30, "its re-warm")
        case.read_all(b"first")


def test_a_server_that_closes_idle_connections_is_up() -> None:
    with running(args=("-o", "idle_timeout=1")) as case, case.proxy.connect() as wire:
        case.set_all(wire, b"first")
        before = case.count("connects")
        wait_until(lambda: case.count("connects") >= before + 2, 20, "idle connections to be closed")
        case.set_all(wire, b"second")
        case.read_all(b"second")
        assert case.count("outages") == case.count("downs") == case.count("restarts_seen") == 0


def test_workers_join_one_outage() -> None:
    with running(3) as case, case.proxy.connect() as wire:
        case.set_all(wire, b"first")
        case.owner.pause()
        wire.expect(storage(b"set", KEYS[0], b"first"), b"STORED\r\n")
        wait_until(lambda: case.count("downs") == 3, 5, "all workers to take it down, traffic or not")
        case.owner.resume()
        case.wait_up()
        assert case.count("outages") == case.count("returns") == 1
        case.read_all(b"first")


@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_that_dies_in_an_outage_takes_its_notes_with_it(workers: int) -> None:
    """Nobody knows any more what its journal held: the server is flushed before it is read again."""
    with running(workers) as case:
        with case.proxy.connect() as wire:
            case.set_all(wire, b"first")
        case.owner.pause()
        for _ in range(4):
            with case.proxy.connect() as wire:
                case.set_all(wire, b"second")
        case.wait_down()
        pids = case.proxy.worker_pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: (
                len(case.proxy.worker_pids()) == workers and not set(pids) & set(case.proxy.worker_pids())
            ),
            20,
            "new workers",
        )
        case.owner.resume()
        case.read_all(b"second")
        case.wait_up()
        assert case.count("flushes_played") >= 1
        case.read_all(b"second")
        assert all(case.owner.get(key) in (None, b"second") for key in KEYS)


def test_without_a_supervisor_the_workers_agree_among_themselves() -> None:
    with running(2) as case, case.proxy.connect() as wire:
        case.set_all(wire, b"first")
        os.kill(case.proxy.pid, signal.SIGKILL)
        assert case.proxy.process.wait() == -signal.SIGKILL
        case.owner.pause()
        case.set_all(wire, b"second")
        case.wait_down()
        case.set_all(wire, b"third")
        case.owner.resume()
        case.wait_up()
        case.read_all(b"third")
