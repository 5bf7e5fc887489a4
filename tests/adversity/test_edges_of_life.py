"""A server at the edges of its life, and a worker that is short of time or files: behaviour.md section 3.

Each of these once took a healthy server away, for ever or for everybody.
"""

import os
import resource
import signal
import time
from collections.abc import Callable

import pytest

from tests.functional.tools import Shop, gauges, item, storage, store
from tests.support import processes
from tests.support.liar import Liar, Talk
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

StartMemcached = Callable[..., Memcached]
StartProxy = Callable[..., Proxy]


def fact(proxy: Proxy, server: Memcached | Liar, name: str) -> int:
    """What the proxy counts of a server."""
    return int(proxy.stats("servers")[f"main:{server.address}:{name}"])


def test_a_probe_that_timed_out_is_not_the_last(
    memcached_factory: StartMemcached, proxy_factory: StartProxy
) -> None:
    """Section 3, a probe on a fresh connection answers: whatever became of earlier probes."""
    server = memcached_factory()
    pool = {"request_timeout_ms": 200, "failure_limit": 1, "probe_max_ms": 200}
    proxy = proxy_factory([server], pool=pool)
    with proxy.connect() as wire:
        store(wire, {b"k": b"v"})
        server.pause()
        wire.expect(b"get k\r\n", b"END\r\n")
        wait_until(lambda: fact(proxy, server, "probe_failures") >= 2, 5, "two probes to time out")
        assert fact(proxy, server, "up") == 0
        server.resume()
        wait_until(lambda: fact(proxy, server, "up"), 5, "the next probe to find it")
        wire.expect(b"get k\r\n", item(b"k", b"v") + b"END\r\n")


def hangs_up_after(seconds: float) -> Callable[[Talk], None]:
    """A server that ends connections on which nothing happens."""
    return lambda talk: talk.sleep(seconds)


def test_an_idle_proxy_probes_as_well(proxy_factory: StartProxy) -> None:
    """Section 3, down -> returning: also where nobody asks for anything meanwhile."""
    with Liar(hangs_up_after(0.05)) as liar:
        proxy = proxy_factory([liar.address], pool={"probe_max_ms": 200})
        # nothing else may wake the proxy up: it is not asked how it is
        proxy.wait_for_log("server is down")
        accepted = liar.accepted
        wait_until(lambda: liar.accepted >= accepted + 2, 5, "probes of a server that went down while idle")
        liar.use(Talk.honest)
        wait_until(lambda: fact(proxy, liar, "up"), 5, "a probe to find it")
        with proxy.connect() as wire:
            wire.expect(storage(b"set", b"k", b"v"), b"STORED\r\n")


def test_a_server_may_close_idle_connections(proxy_factory: StartProxy) -> None:
    """Section 3, up -> down: nothing has failed where nobody was waiting (memcached -o idle_timeout)."""
    with Liar(hangs_up_after(1.5)) as liar:
        proxy = proxy_factory([liar.address], pool={"failure_limit": 1, "connections_per_server": 3})
        wait_until(lambda: liar.accepted == 3, 5, "its connections")
        liar.script = Talk.honest
        wait_until(lambda: liar.accepted == 6, 5, "all of them to be made again")
        with proxy.connect() as wire:
            wire.expect(storage(b"set", b"k", b"v"), b"STORED\r\n")
        assert fact(proxy, liar, "downs") == 0


def test_a_slow_server_is_not_a_dead_one(proxy_factory: StartProxy) -> None:
    """Section 3, timeouts in a row: a reply between them, even one that came too late, is a sign of life."""

    def slow(talk: Talk) -> None:
        while True:
            talk.request()
            talk.sleep(0.05)
            talk.say(b"END\r\n")

    with Liar(slow) as liar:
        proxy = proxy_factory([liar.address], pool={"request_timeout_ms": 400})
        with proxy.connect() as busy:
            others = [proxy.connect() for _ in range(5)]
            busy.send(b"get k\r\n" * 30)
            for wire in others:
                wire.send(b"get k\r\n")
            busy.expect(b"", b"END\r\n" * 30)
            for wire in others:
                wire.expect(b"", b"END\r\n")
                wire.close()
            wait_until(lambda: fact(proxy, liar, "in_flight") == 0, 5, "the last reply")
        assert fact(proxy, liar, "timeouts") >= 3
        assert (fact(proxy, liar, "up"), fact(proxy, liar, "downs")) == (1, 0)


def test_a_pause_of_the_worker_is_not_the_servers_fault(
    memcached_factory: StartMemcached, proxy_factory: StartProxy
) -> None:
    """Section 5, request time: a reply that came in time counts, however late the worker reads it."""
    server = memcached_factory()
    proxy = proxy_factory([server], pool={"request_timeout_ms": 1000, "failure_limit": 3})
    wires = [proxy.connect() for _ in range(5)]
    for wire in wires:
        store(wire, {b"k": b"v"})
    (worker,) = proxy.worker_pids()
    gets = int(server.stats()["cmd_get"])
    server.pause()
    asked = time.monotonic()
    for wire in wires:
        wire.send(b"get k\r\n")
    wait_until(
        lambda: gauges(proxy)[f"main:{server.address}:in_flight"] == 5, 0.8, "five requests to be sent"
    )
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: time.monotonic() > asked + 0.4, 1, "its clock to go off before the replies come")
    server.resume()
    wait_until(lambda: int(server.stats()["cmd_get"]) == gets + 5, 5, "the replies to be on their way")
    wait_until(lambda: time.monotonic() > asked + 1.5, 3, "the request time to pass")
    os.kill(worker, signal.SIGCONT)
    for wire in wires:
        wire.expect(b"", item(b"k", b"v") + b"END\r\n")
        wire.close()
    assert (fact(proxy, server, "timeouts"), fact(proxy, server, "downs")) == (0, 0)


def test_out_of_files_while_a_server_is_probed(
    memcached_factory: StartMemcached, proxy_factory: StartProxy
) -> None:
    """Section 5: clients that take the last file cost a probe, not the worker and everybody on it."""
    servers = [memcached_factory(), memcached_factory()]
    proxy = proxy_factory(servers, pool={"probe_max_ms": 100})
    well, sick = (Shop(servers, proxy).keys_of(index, 1)[0] for index in range(2))
    (worker,) = proxy.worker_pids()
    with proxy.connect() as wire:
        store(wire, {well: b"v", sick: b"v"})
        servers[1].kill()
        wait_until(lambda: not fact(proxy, servers[1], "up"), 5, "it to be down")
        limit = max(map(int, os.listdir(f"/proc/{worker}/fd"))) + 3
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, limit))
        crowd = [proxy.connect() for _ in range(40)]
        wait_until(lambda: int(wire.stats()["accept_failures"]), 5, "the worker to be out of files")
        probes = f"main:{servers[1].address}:probe_failures"
        before = int(wire.stats("servers")[probes])
        wait_until(lambda: int(wire.stats("servers")[probes]) >= before + 3, 5, "probes without a file")
        wire.expect(b"get " + well + b" " + sick + b"\r\n", item(well, b"v") + b"END\r\n")
        for each in crowd:
            each.close()
        servers[1].restart()
        wait_until(lambda: wire.ask(storage(b"set", sick, b"w")) == b"STORED\r\n", 5, "its return")
    assert proxy.worker_pids() == [worker]
    assert processes.exists(worker)


@pytest.mark.parametrize("told", ["by the supervisor", "by a signal"])
def test_drain_while_the_files_are_gone(
    memcached_factory: StartMemcached, proxy_factory: StartProxy, told: str
) -> None:
    """Section 7: what is under way is finished, though the last connections cannot be accepted."""
    server = memcached_factory()
    proxy = proxy_factory([server])
    (worker,) = proxy.worker_pids()
    with proxy.connect() as wire, proxy.connect() as idle:
        store(wire, {b"k": b"v"})
        limit = max(map(int, os.listdir(f"/proc/{worker}/fd"))) + 1
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, limit))
        crowd = [proxy.connect() for _ in range(40)]
        wait_until(lambda: int(wire.stats()["accept_failures"]), 5, "the worker to be out of files")
        server.pause()
        wire.send(b"get k\r\n")
        os.kill(proxy.pid if told == "by the supervisor" else worker, signal.SIGTERM)
        assert idle.read_to_end() == b""
        begin = time.monotonic()
        wait_until(lambda: time.monotonic() > begin + 0.1, 1, "it to want to listen again")
        server.resume()
        wire.expect(b"", item(b"k", b"v") + b"END\r\n")
        assert wire.closed()
        for each in crowd:
            each.close()
    assert "Traceback" not in proxy.output()
