"""A new configuration is put in force while clients are served (behaviour section 7)."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from memagent.cli.running import RunningProxy
from tests.support.callers import Crowd
from tests.support.memcached import Memcached
from tests.support.processes import resident_bytes
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Wire

KEYS = [b"key%d" % number for number in range(200)]
Start = Callable[..., Proxy]


@pytest.fixture
def servers(memcached_factory: Callable[..., Memcached]) -> list[Memcached]:
    return [memcached_factory() for _ in range(4)]


@pytest.fixture
def proxy(proxy_factory: Start) -> Start:
    return proxy_factory


class Clients(Crowd):
    """They ask without a pause, each on a connection of its own."""

    def __init__(self, proxy: Proxy, count: int = 3) -> None:
        super().__init__(*((self._ask, number) for number in range(count)))
        self.replies = 0
        self._proxy = proxy

    def _ask(self, number: int) -> None:
        with self._proxy.connect() as wire:
            while not self.over.is_set():
                for key in KEYS[number::3]:
                    self._hear(wire, b"set %b 0 0 1\r\nv\r\n" % key, (b"STORED",))
                    self._hear(wire, b"get %b\r\n" % key, (b"END", b"VALUE %b 0 1" % key))

    def _hear(self, wire: Wire, request: bytes, good: tuple[bytes, ...]) -> None:
        line = wire.ask(request).rstrip()
        if line.split(b"\r\n")[0] not in good:
            self.wrong.append(f"{request!r} -> {line!r}")
        if line.startswith(b"VALUE"):
            wire.read_until(b"END\r\n")
        self.replies += 1


def changes(proxy: Proxy, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "memagent", "reload", "-c", str(proxy.config), *more],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def names(proxy: Proxy) -> set[str]:
    return {line.rsplit(":", 1)[0] for line in proxy.stats("servers") if line.endswith(":state")}


def holding(server: Memcached) -> int:
    return int(server.stats()["curr_items"])


def test_servers_come_and_go(proxy: Start, servers: list[Memcached]) -> None:
    case = proxy(servers[:2], workers=2)
    case.write_config(servers[1:])
    done = changes(case)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(
        [
            f'pool "main": servers: {servers[0].address} goes',
            f'pool "main": servers: {servers[2].address} comes',
            f'pool "main": servers: {servers[3].address} comes',
        ]
    )
    with case.connect() as wire:
        for key in KEYS:
            assert wire.ask(b"set %b 0 0 1\r\nv\r\n" % key) == b"STORED\r\n"
    assert [holding(server) > 0 for server in servers] == [False, True, True, True]
    assert names(case) == {f"main:{server.address}" for server in servers[1:]}
    wait_until(lambda: int(servers[0].stats()["curr_connections"]) <= 2, 20, "nobody left at the old server")


def test_a_hundred_reloads_under_load(proxy: Start, servers: list[Memcached]) -> None:
    # Never reached, whatever else the machine does.
    case = proxy(servers[:2], workers=2, pool={"request_timeout_ms": 60_000})
    with Clients(case) as clients:
        before = None
        for number in range(100):
            used = [servers[(number + step) % 4] for step in range(2 + number % 2)]
            case.write_config(used, pool={"request_timeout_ms": 60_001 + number})
            with RunningProxy.find(None, str(case.config)) as operator:
                assert any("request_timeout_ms" in line for line in operator.ask("reload")["changes"])
            if number == 50:
                before = [resident_bytes(pid) for pid in case.worker_pids()]
        replies = clients.replies
        wait_until(lambda: clients.replies > replies, 10, "requests after the last reload")
    assert clients.wrong == []
    assert before is not None
    for then_bytes, now_bytes in zip(before, map(resident_bytes, case.worker_pids()), strict=True):
        assert now_bytes < then_bytes + 2 * 1024 * 1024
    assert case.stats()["restarts"] == "0"


def test_with_copies_nothing_is_lost_when_servers_come_and_go(proxy: Start, servers: list[Memcached]) -> None:
    case = proxy(servers[:3], workers=2, pool={"copies": 2})
    with case.connect() as wire:
        for key in KEYS:
            assert wire.ask(b"set %b 0 0 1\r\nv\r\n" % key) == b"STORED\r\n"
        case.write_config(servers, pool={"copies": 2})
        assert changes(case).returncode == 0
        wire.send(b"get %b\r\n" % b" ".join(KEYS))
        assert wire.read_until(b"END\r\n").count(b"VALUE") == len(KEYS)


def test_a_bad_file_changes_nothing_and_says_why(proxy: Start, servers: list[Memcached]) -> None:
    case = proxy(servers[:2], workers=1)
    case.write_config(servers[:3], pool={"fallback": "perhaps"})
    done = changes(case)
    assert done.returncode == 2
    assert "must be one of always, warming, never" in done.stderr
    case.reload()
    case.wait_for_log("the configuration is not reloaded")
    assert "must be one of always, warming, never" in case.output()
    assert len(names(case)) == 2
    case.config.unlink()
    assert "no such file" in changes(case).stderr
    case.write_config(servers[:3])
    assert f"servers: {servers[2].address} comes" in changes(case).stdout


def test_limits_hold_at_once_and_some_wait_for_a_start(proxy: Start, servers: list[Memcached]) -> None:
    case = proxy(servers[:1], workers=1)
    with case.connect() as wire:
        big = b"set k 0 0 5000\r\n" + b"x" * 5000 + b"\r\n"
        assert wire.ask(big) == b"STORED\r\n"
        case.write_config(
            servers[:1], settings={"max_item_bytes": 4096, "user": "nobody", "max_connections": 77}
        )
        done = changes(case)
        assert "these wait for the next start: user" in done.stderr
        assert wire.ask(big) == b"SERVER_ERROR object too large for cache\r\n"
        assert wire.stats()["max_connections"] == "77"
    assert changes(case).stdout == ""


def test_a_named_server_moves(proxy: Start, servers: list[Memcached]) -> None:
    def named(server: Memcached) -> list[Any]:
        return [{"address": server.address, "name": "one"}, {"address": servers[1].address, "name": "two"}]

    case = proxy(named(servers[0]), [servers[3]], workers=2)
    with case.connect() as wire:
        for key in KEYS:
            wire.ask(b"set %b 0 0 1\r\nv\r\n" % key)
        case.write_config(named(servers[2]), [servers[3]])
        assert changes(case).stdout == (
            f'pool "main": servers: one {servers[0].address} becomes one {servers[2].address}\n'
        )
        wait_until(lambda: holding(servers[2]) == holding(servers[0]), 20, "the new machine is filled")
        wire.send(b"get %b\r\n" % b" ".join(KEYS))
        assert wire.read_until(b"END\r\n").count(b"VALUE") == len(KEYS)


def test_a_worker_that_dies_starts_with_what_is_in_force(proxy: Start, servers: list[Memcached]) -> None:
    case = proxy(servers[:2], workers=1)
    case.write_config(servers[1:])
    assert changes(case).returncode == 0
    os.kill(case.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: len(names(case)) == 3, 10, "another worker")
    with case.connect() as wire:
        for key in KEYS:
            assert wire.ask(b"set %b 0 0 1\r\nv\r\n" % key) == b"STORED\r\n"
    assert holding(servers[0]) == 0
