"""Keys move to other servers under traffic: nothing misses, nothing old or deleted comes back."""

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from memagent._core.ring import Placement
from memagent.cli.running import RunningProxy
from memagent.snapshot import MigrationSnapshot
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

Start = Callable[..., Proxy]
N_KEYS = 2000
POOL = {"on_change": "migrate", "request_timeout_ms": 500, "rewarm_keys_per_s": 0}


class Counting:
    """A client that counts its keys up, one after the other, and knows what each of them must be."""

    def __init__(self, proxy: Proxy, number: int) -> None:
        self.keys = {b"n%d:%d" % (number, index): 0 for index in range(50)}
        self.wrong: list[str] = []
        self._proxy = proxy
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        with proxy.connect() as wire:
            for key in self.keys:
                assert wire.ask(b"set %b 0 0 1\r\n0\r\n" % key) == b"STORED\r\n"

    def __enter__(self) -> "Counting":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with self._proxy.connect() as wire:
                while not self._stop.is_set():
                    for key in self.keys:
                        self.keys[key] += 1
                        wanted = b"%d\r\n" % self.keys[key]
                        said = wire.ask(b"incr %b 1\r\n" % key)
                        if said != wanted:
                            self.wrong.append(f"incr {key!r}: {said!r}, not {wanted!r}")
                            return
        except Exception as error:
            self.wrong.append(repr(error))


def key(number: int) -> bytes:
    return b"key:%d" % number


def holders(servers: list[Memcached]) -> Placement:
    return Placement([("", "127.0.0.1", server.port, 1) for server in servers], [], "ketama", "md5")


def fill(proxy: Proxy) -> None:
    with proxy.connect() as wire:
        for number in range(N_KEYS):
            assert wire.ask(b"set %b 7 0 4\r\n%04d\r\n" % (key(number), number)) == b"STORED\r\n"


def run(proxy: Proxy, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "memagent", *words, "-c", str(proxy.config)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def reload(proxy: Proxy, servers: list[Memcached], **pool: object) -> subprocess.CompletedProcess[str]:
    proxy.write_config(servers, pool={**POOL, **pool})
    return run(proxy, "reload")


def shown(proxy: Proxy) -> MigrationSnapshot:
    with RunningProxy.find(None, str(proxy.config)) as running:
        [found] = running.snapshot().migrations
    return found


def state(proxy: Proxy) -> str:
    return shown(proxy).state


def value_at(server: Memcached, name: bytes) -> bytes | None:
    with server.connect() as wire:
        head = wire.ask(b"get %b\r\n" % name)
        if head == b"END\r\n":
            return None
        value, _ = wire.read_until(b"\r\n"), wire.read_until(b"END\r\n")
        return value.removesuffix(b"\r\n")


@pytest.fixture
def servers(memcached_factory: Callable[..., Memcached]) -> list[Memcached]:
    return [memcached_factory() for _ in range(4)]


def test_one_comes_and_one_leaves_under_traffic(proxy_factory: Start, servers: list[Memcached]) -> None:
    former, new = servers[:3], [servers[0], servers[1], servers[3]]
    proxy = proxy_factory(former, workers=2, pool=POOL)
    fill(proxy)
    leftover = next(
        number
        for number in range(N_KEYS)
        if new[holders(new).locate(key(number))[0]] is not former[holders(former).locate(key(number))[0]]
    )
    with Counting(proxy, 1) as first, Counting(proxy, 2) as second, proxy.connect() as wire:
        # as if older rings had left something at the new home, of a key that is deleted
        home = new[holders(new).locate(key(leftover))[0]]
        with home.connect() as at_home:
            assert at_home.ask(b"set %b 0 0 3\r\nold\r\n" % key(leftover)) == b"STORED\r\n"
        assert wire.ask(b"delete %b\r\n" % key(leftover)) == b"DELETED\r\n"
        done = reload(proxy, new)
        assert done.returncode == 0, done.stderr
        gone = {leftover}
        for number in range(0, N_KEYS, 3):
            expected = b"END\r\n" if number in gone else b"VALUE %b 7 4\r\n" % key(number)
            said = wire.ask(b"get %b\r\n" % key(number))
            assert said == expected
            if said != b"END\r\n":
                wire.read_until(b"END\r\n")
            if number % 6 == 0 and number not in gone:
                gone.add(number)
                assert wire.ask(b"delete %b\r\n" % key(number)) == b"DELETED\r\n"
        wait_until(lambda: state(proxy) == "done", 60, "the end of the migration")
        assert [wire.ask(b"get %b\r\n" % key(number)) for number in gone] == [b"END\r\n"] * len(gone)
    assert first.wrong + second.wrong == []
    placement = holders(new)
    for number in range(0, N_KEYS, 7):
        at = new[placement.locate(key(number))[0]]
        assert value_at(at, key(number)) == (None if number in gone else b"%04d" % number)
    for name, count in (first.keys | second.keys).items():
        assert value_at(new[placement.locate(name)[0]], name) == b"%d" % count
    wait_until(lambda: int(servers[2].stats()["curr_connections"]) <= 2, 20, "nobody left at the old server")


def test_more_and_fewer_workers_meanwhile(proxy_factory: Start, servers: list[Memcached]) -> None:
    former, new = servers[:3], [servers[0], servers[1], servers[3]]
    slow, settings = {**POOL, "rewarm_keys_per_s": 500}, {"drain_ms": 60_000}
    proxy = proxy_factory(former, workers=2, pool=slow, settings=settings)
    fill(proxy)
    changing = moved(former, new)
    gone = set(changing[::5])
    written = {number: b"new%d" % number for number in changing[1::5]}

    def resize(workers: int) -> None:
        proxy.write_config(new, pool=slow, settings={**settings, "workers": workers})
        with RunningProxy.find(None, str(proxy.config)) as running:
            running.ask("reload")
        assert state(proxy) == "running"

    with ExitStack() as stack:
        # so many that a worker that goes hardly ever has none of them
        clients = [stack.enter_context(Counting(proxy, number)) for number in range(4)]
        resize(2)
        resize(4)
        with proxy.connect() as wire:
            for number in gone:
                assert wire.ask(b"delete %b\r\n" % key(number)) == b"DELETED\r\n"
        wait_until(lambda: shown(proxy).keys_copied > 0, 30, "copying")
        resize(1)
        with proxy.connect() as wire:
            for number, value in written.items():
                assert (
                    wire.ask(b"set %b 7 0 %d\r\n%b\r\n" % (key(number), len(value), value)) == b"STORED\r\n"
                )
        clients += [stack.enter_context(Counting(proxy, number)) for number in (4, 5)]
        resize(3)
        with proxy.connect() as wire:
            for number in range(0, N_KEYS, 3):
                found = wire.ask(b"get %b\r\n" % key(number))
                assert (found == b"END\r\n") is (number in gone), found
                if number not in gone:
                    wire.read_until(b"END\r\n")
        wait_until(lambda: state(proxy) == "done", 60, "the end of the migration")
    assert [wrong for client in clients for wrong in client.wrong] == []
    placement = holders(new)
    for number in range(0, N_KEYS, 7):
        at = new[placement.locate(key(number))[0]]
        wanted = None if number in gone else written.get(number, b"%04d" % number)
        assert value_at(at, key(number)) == wanted
    for client in clients:
        for name, count in client.keys.items():
            assert value_at(new[placement.locate(name)[0]], name) == b"%d" % count
    wait_until(lambda: len(proxy.worker_pids()) == 3, 20, "three workers")
    assert proxy.stats()["restarts"] == "0"
    assert '"level": "error"' not in proxy.output()


def moved(former: list[Memcached], new: list[Memcached]) -> list[int]:
    """Keys that have another home."""
    before, after = holders(former), holders(new)
    return [
        number
        for number in range(N_KEYS)
        if former[before.locate(key(number))[0]] is not new[after.locate(key(number))[0]]
    ]


def test_called_off_given_up_and_nothing_else_meanwhile(
    proxy_factory: Start, servers: list[Memcached]
) -> None:
    proxy = proxy_factory(servers[:2], pool=POOL)
    fill(proxy)
    slow = {"rewarm_keys_per_s": 20}
    assert reload(proxy, servers[:3], **slow).returncode == 0
    wait_until(lambda: int(servers[2].stats()["curr_items"]) > 0, 30, "the first keys at their new home")
    refused = reload(proxy, servers[:4], **slow)
    assert refused.returncode != 0
    assert "keys are still moving" in refused.stderr
    assert "magent migration --abort" in refused.stderr
    other = reload(proxy, servers[:3], **slow, failure_limit=7)
    assert (other.returncode, state(proxy)) == (0, "running")
    with proxy.connect() as wire:
        changed = moved(servers[:2], servers[:3])[-5:]
        for number in changed:
            assert wire.ask(b"set %b 0 0 3\r\nnew\r\n" % key(number)) == b"STORED\r\n"
        assert reload(proxy, servers[:2]).returncode == 0
        assert state(proxy) == "cancelled"
        for number in range(0, N_KEYS, 5):
            assert wire.ask(b"get %b\r\n" % key(number)) != b"END\r\n"
            wire.read_until(b"END\r\n")
        for number in changed:
            assert wire.ask(b"set %b 0 0 4\r\nlast\r\n" % key(number)) == b"STORED\r\n"
        # what the first one has left at the new home is old by now
        assert reload(proxy, servers[:3], **slow).returncode == 0
        wait_until(lambda: "copying" in run(proxy, "migration").stdout, 30, "copying")
        assert run(proxy, "migration", "--pause").stdout.startswith("pool main: paused")
        ended = run(proxy, "migration", "--abort", "--wait")
        assert (ended.returncode, ended.stdout.split(":")[1].strip()) == (1, "aborted")
        answers = [wire.ask(b"get %b\r\n" % key(number)) for number in changed]
        assert not any(said.startswith(b"VALUE") and said.split()[3] == b"3" for said in answers)
