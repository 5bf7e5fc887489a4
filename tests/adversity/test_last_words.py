"""What arrived before the end is carried out: clients that hang up, a proxy that is told to end.

behaviour.md section 2 (order), section 5 (slow clients), section 7 (finish what is under way).
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functional.tools import gauges, item, storage, store
from tests.support import processes
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

StartMemcached = Callable[..., Memcached]
StartProxy = Callable[..., Proxy]
N_REQUESTS = 1500  # far more than one window has


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: processes.state(pid) == "T", what=f"pid {pid} to stop")


def test_request_and_close_over_a_unix_socket(
    memcached_factory: StartMemcached, proxy_factory: StartProxy, tmp_path: Path
) -> None:
    """Section 6, Unix sockets: what a client sent before it closed is done, as memcached does it."""
    server = memcached_factory()
    proxy = proxy_factory([server], unix=str(tmp_path / "s"))
    keys = [b"u%d" % number for number in range(20)]
    for key in keys:
        with proxy.connect() as wire:
            wire.send(storage(b"set", key, b"v", tail=b" noreply"))
    wait_until(lambda: all(server.get(key) == b"v" for key in keys), 3, "all of them to be stored")


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_requests_and_the_end_of_sending(
    memcached_factory: StartMemcached, proxy_factory: StartProxy, tmp_path: Path, over: str
) -> None:
    """Section 2, order: a client that sends no more gets every reply to what it has sent."""
    proxy = proxy_factory([memcached_factory()], unix=str(tmp_path / "s") if over == "unix" else None)
    for turn in range(5):
        with proxy.connect() as wire:
            requests = [storage(b"set", b"%d:%d" % (turn, i), b"v") for i in range(N_REQUESTS)]
            wire.send(b"".join(requests))
            wire.finish_sending()
            assert wire.read_to_end() == b"STORED\r\n" * N_REQUESTS


def test_the_end_of_sending_together_with_replies(
    memcached_factory: StartMemcached, proxy_factory: StartProxy
) -> None:
    """Section 2, order: the end comes when the rest has not been looked at yet."""
    server = memcached_factory()
    proxy = proxy_factory([server])
    (worker,) = proxy.worker_pids()
    with proxy.connect() as wire:
        server.pause()
        wire.send(storage(b"set", b"k", b"v") * N_REQUESTS)
        in_flight = f"main:{server.address}:in_flight"
        wait_until(lambda: gauges(proxy)[in_flight] > 0, 0.8, "the first ones to be sent")
        stop(worker)
        server.resume()
        wait_until(lambda: int(server.stats()["cmd_set"]) > 0, 5, "them to be answered")
        wire.finish_sending()
        os.kill(worker, signal.SIGCONT)
        assert wire.read_to_end() == b"STORED\r\n" * N_REQUESTS


def test_half_a_request_at_the_end_is_none(
    memcached_factory: StartMemcached, proxy_factory: StartProxy
) -> None:
    """Section 5: what is whole is answered, the rest is dropped, and the connection is closed."""
    proxy = proxy_factory([memcached_factory()])
    with proxy.connect() as wire:
        wire.send(storage(b"set", b"k", b"v") * N_REQUESTS + b"set k 0 0 5\r\nab")
        wire.finish_sending()
        assert wire.read_to_end() == b"STORED\r\n" * N_REQUESTS


def test_large_replies_for_a_client_that_reads(
    memcached_factory: StartMemcached, proxy_factory: StartProxy
) -> None:
    """Section 5, replies a client has not read: one that reads is not closed, however much it asks for."""
    proxy = proxy_factory([memcached_factory(args=["-m", "200"])], pool={"request_timeout_ms": 20_000})
    keys = [b"k%d" % number for number in range(70)]
    value = b"v" * 1_000_000
    with proxy.connect(deadline_s=20) as wire:
        store(wire, dict.fromkeys(keys, value))
        wire.send(b"get " + b" ".join(keys) + b"\r\n")
        for key in keys:
            assert wire.read_exact(len(item(key, value))) == item(key, value)
        wire.expect(b"mn\r\n", b"END\r\nMN\r\n")
        for _ in range(8):  # small replies open its window wide
            wire.expect(b"get none\r\n" * 32, b"END\r\n" * 32)
        wire.send(b"".join(b"get " + key + b"\r\n" for key in keys))
        for key in keys:
            assert wire.read_exact(len(item(key, value)) + 5) == item(key, value) + b"END\r\n"


@pytest.mark.parametrize("told", ["by the supervisor", "by a signal"])
def test_drain_answers_what_has_arrived(
    memcached_factory: StartMemcached, proxy_factory: StartProxy, told: str
) -> None:
    """Section 7, finish what is under way: also what stands behind a window or in the socket."""
    proxy = proxy_factory([memcached_factory()])
    (worker,) = proxy.worker_pids()
    with proxy.connect() as wire:
        wire.expect(b"mn\r\n", b"MN\r\n")
        stop(worker)
        wire.send(storage(b"set", b"k", b"v" * 30_000) + b"get none\r\n" * N_REQUESTS)
        tell(proxy, worker, told)
        os.kill(worker, signal.SIGCONT)
        assert wire.read_to_end() == b"STORED\r\n" + b"END\r\n" * N_REQUESTS
    assert_orderly(proxy, told)


@pytest.mark.parametrize("told", ["by the supervisor", "by a signal"])
def test_drain_while_a_client_connects(
    memcached_factory: StartMemcached, proxy_factory: StartProxy, told: str
) -> None:
    """Section 7: whom the kernel has let in is answered, whoever has a request under way gets its reply."""
    server = memcached_factory()
    for _ in range(3):
        proxy = proxy_factory([server])
        (worker,) = proxy.worker_pids()
        with proxy.connect() as wire:
            store(wire, {b"k": b"v"})
            server.pause()
            wire.send(b"get k\r\n")
            stop(worker)
            with proxy.connect() as late:
                late.send(b"mn\r\n")
                tell(proxy, worker, told)
                os.kill(worker, signal.SIGCONT)
                assert late.read_to_end() == b"MN\r\n"
            let_it_tick()
            server.resume()
            wire.expect(b"", item(b"k", b"v") + b"END\r\n")
            assert wire.closed()
        assert_orderly(proxy, told)
        if proxy.alive:
            assert proxy.stop() == 0


def test_a_signal_in_the_middle_of_a_request(
    memcached_factory: StartMemcached, proxy_factory: StartProxy
) -> None:
    """Section 7: SIGTERM straight to a busy worker (systemd does that) upsets no request."""
    proxy = proxy_factory([memcached_factory()])
    (worker,) = proxy.worker_pids()
    n_rounds = 600
    with proxy.connect() as first, proxy.connect() as second:
        for wire in (first, second):
            wire.expect(b"mn\r\n", b"MN\r\n")
        stop(worker)
        first.send(b"stats\r\nverbosity 1\r\nmn\r\n" * n_rounds)
        second.send(storage(b"set", b"k", b"v" * 30_000) + b"get none\r\n" * 500)
        begin = processes.cpu_seconds(worker)
        os.kill(worker, signal.SIGCONT)
        wait_until(lambda: processes.cpu_seconds(worker) > begin, 5, "it to work", every_s=0.001)
        os.kill(worker, signal.SIGTERM)
        said = first.read_to_end()
        assert second.read_to_end() == b"STORED\r\n" + b"END\r\n" * 500
    lines = [line for line in said.split(b"\r\n") if not line.startswith(b"STAT ")]
    assert lines == [b"END", b"OK", b"MN"] * n_rounds + [b""]
    assert said.count(b"STAT pid ") == n_rounds
    assert_orderly(proxy, "by a signal")


def let_it_tick() -> None:
    """Time for what a worker does every 10 ms while it drains."""
    begin = time.monotonic()
    wait_until(lambda: time.monotonic() > begin + 0.1, 1, "time to pass")


def tell(proxy: Proxy, worker: int, told: str) -> None:
    """To end: the proxy as a whole, or only this worker."""
    if told == "by a signal":
        os.kill(worker, signal.SIGTERM)
    else:
        proxy.process.signal(signal.SIGTERM)
        proxy.wait_for_log("draining")


def assert_orderly(proxy: Proxy, told: str) -> None:
    """It ended, or goes on with another worker, and no worker died of an error."""
    if told == "by the supervisor":
        assert proxy.process.wait(5) == 0
    else:
        proxy.wait_ready()
    assert "Traceback" not in proxy.output()
