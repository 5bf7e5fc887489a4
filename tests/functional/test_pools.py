"""Several pools: behind one address, told apart by prefixes, and behind addresses of their own."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from memagent.cli.running import RunningProxy
from tests.functional.duo import QUICK
from tests.support.callers import Crowd
from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Wire

Start = Callable[..., Proxy]
NO_ROUTE = b"CLIENT_ERROR no route for this key\r\n"


def a_pool(*servers: Memcached, backups: tuple[Memcached, ...] = (), **settings: Any) -> dict[str, Any]:
    each = {"servers": [server.address for server in servers], **QUICK, **settings}
    return {**each, "backups": [server.address for server in backups]} if backups else each


@pytest.fixture
def servers(memcached_factory: Callable[..., Memcached]) -> list[Memcached]:
    return [memcached_factory("new") for _ in range(3)]


class Case:
    """Pools `main` (the rest), `users` (user:, stripped) and `own` (an address of its own)."""

    def __init__(self, start: Start, servers: list[Memcached], workers: int = 2) -> None:
        self.servers = servers
        self.own = ("127.0.0.1", free_port())
        self.pools = {
            "main": a_pool(servers[0]),
            "users": a_pool(servers[1], prefixes=["user:"], strip_prefix=True),
            "own": a_pool(servers[2], listen=["{}:{}".format(*self.own)]),
        }
        self.proxy = start((), workers=workers, settings={"pools": self.pools})

    def write(self, **pools: dict[str, Any] | None) -> None:
        changed = {**self.pools, **pools}
        self.proxy.write_config(
            (), settings={"pools": {name: pool for name, pool in changed.items() if pool is not None}}
        )

    def reload(self) -> subprocess.CompletedProcess[str]:
        return magent("reload", "-c", str(self.proxy.config))


def magent(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "memagent", *words], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture
def case(proxy_factory: Start, servers: list[Memcached]) -> Iterator[Case]:
    return Case(proxy_factory, servers)


def test_keys_are_where_prefixes_and_addresses_say(case: Case) -> None:
    main, users, own = case.servers
    with case.proxy.connect() as wire, Wire(case.own) as wire_of_own:
        wire.expect(b"set a 0 0 1\r\n1\r\nset user:a 0 0 1\r\n2\r\n", b"STORED\r\nSTORED\r\n")
        wire_of_own.expect(b"set a 0 0 1\r\n3\r\nset user:a 0 0 1\r\n4\r\n", b"STORED\r\nSTORED\r\n")
        wire.expect(
            b"get user:a a user:no\r\n",
            b"VALUE user:a 0 1\r\n2\r\nVALUE a 0 1\r\n1\r\nEND\r\n",
        )
        wire_of_own.expect(b"get user:a a\r\n", b"VALUE user:a 0 1\r\n4\r\nVALUE a 0 1\r\n3\r\nEND\r\n")
        wire.expect(b"mg user:a k v\r\n", b"VA 1 kuser:a\r\n2\r\n")
        wire.expect(b"incr user:a 5\r\n", b"7\r\n")
        wire.send(b"me user:a\r\n")
        assert wire.read_line().startswith(b"ME user:a exp=-1 ")
    assert [main.get(b"a"), main.get(b"user:a")] == [b"1", None]
    assert [users.get(b"a"), users.get(b"user:a")] == [b"7", None]
    assert [own.get(b"a"), own.get(b"user:a")] == [b"3", b"4"]


def test_flush_all_reaches_what_its_address_reaches(case: Case) -> None:
    for server in case.servers:
        server.set(b"k", b"v")
    with case.proxy.connect() as wire:
        wire.expect(b"flush_all\r\n", b"OK\r\n")
    assert [server.get(b"k") for server in case.servers] == [None, None, b"v"]
    with Wire(case.own) as wire:
        wire.expect(b"flush_all\r\n", b"OK\r\n")
    assert case.servers[2].get(b"k") is None


def test_an_operator_flushes_one_pool_of_an_address(case: Case) -> None:
    for server in case.servers:
        server.set(b"k", b"v")
    done = magent("flush", "--all", "--pool", "users", "--yes", "-c", str(case.proxy.config))
    assert done.stdout == "1 server is flushed\n", done.stderr
    assert [server.get(b"k") for server in case.servers] == [b"v", None, b"v"]
    assert magent("flush", "--all", "--yes", "-c", str(case.proxy.config)).returncode == 0
    assert [server.get(b"k") for server in case.servers] == [None] * 3
    case.servers[1].kill()
    with case.proxy.connect() as wire:
        wait_until(
            lambda: wire.ask(b"set user:a 0 0 1\r\nx\r\n").startswith(b"SERVER_ERROR server"),
            10,
            "it is down",
        )
    refused = magent("flush", "--all", "--pool", "users", "--yes", "-c", str(case.proxy.config))
    assert "the pool users is not flushed as a whole: SERVER_ERROR server" in refused.stderr


def test_operators_name_a_server_by_its_pool_too(proxy_factory: Start, servers: list[Memcached]) -> None:
    """One machine in two pools."""
    pools = {
        "a": a_pool(servers[0], backups=(servers[1],)),
        "b": a_pool(servers[0], backups=(servers[1],), prefixes=["b:"]),
    }
    proxy = proxy_factory((), settings={"pools": pools})
    name = servers[0].address
    shown = magent("servers", "-c", str(proxy.config)).stdout
    assert [line.split()[0] for line in shown.splitlines()[1:4:2]] == [f"a/{name}", f"b/{name}"]
    refused = magent("drain", "-c", str(proxy.config), name)
    assert refused.returncode != 0
    assert "server of the pool a, server of the pool b" in refused.stderr
    assert magent("drain", "-c", str(proxy.config), f"b/{name}").returncode == 0
    stats = proxy.stats("servers")
    assert (stats[f"a:{name}:up"], stats[f"b:{name}:up"]) == ("1", "0")


def test_one_pool_is_down_and_the_others_do_not_notice(case: Case) -> None:
    case.servers[0].set(b"a", b"1")
    case.servers[1].kill()
    with case.proxy.connect() as wire:
        wait_until(
            lambda: wire.ask(b"set user:a 0 0 1\r\nx\r\n").startswith(b"SERVER_ERROR server"),
            10,
            "it is down",
        )
        wire.expect(b"get user:a a\r\nget a\r\n", b"VALUE a 0 1\r\n1\r\nEND\r\n" * 2)
        wire.expect(b"set a 0 0 1\r\n2\r\n", b"STORED\r\n")
        case.servers[1].restart()
        wait_until(lambda: wire.ask(b"set user:a 0 0 1\r\nx\r\n") == b"STORED\r\n", 10, "it is up again")
    with Wire(case.own) as wire:
        wire.expect(b"set a 0 0 1\r\n2\r\n", b"STORED\r\n")


def test_a_stripped_key_survives_its_owner(
    proxy_factory: Start, memcached_factory: Callable[..., Memcached]
) -> None:
    """Copies, failover and repairs know the key as the servers do."""
    owner, copy, other = (memcached_factory("new") for _ in range(3))
    users = a_pool(owner, backups=(copy,), prefixes=["u:"], strip_prefix=True)
    proxy = proxy_factory((), settings={"pools": {"main": a_pool(other), "users": users}})
    with proxy.connect() as wire:
        wire.expect(b"set u:a 0 0 1\r\n1\r\nset b 0 0 1\r\n2\r\n", b"STORED\r\nSTORED\r\n")
        wait_until(lambda: copy.get(b"a") == b"1", 5, "the copy")
        owner.kill()
        both = b"VALUE b 0 1\r\n2\r\nVALUE u:a 0 1\r\n1\r\nEND\r\n"
        wait_until(lambda: wire.ask(b"get b u:a\r\n", b"END\r\n") == both, 10, "the copy answers")
        wire.expect(b"set u:a 0 0 1\r\n3\r\n", b"STORED\r\n")
        owner.restart()
        wait_until(lambda: owner.get(b"a") == b"3", 20, "the owner has it again")
        wire.expect(b"get u:a\r\n", b"VALUE u:a 0 1\r\n3\r\nEND\r\n")


class Load(Crowd):
    """Clients that use both pools all the time."""

    def __init__(self, proxy: Proxy, n_clients: int = 2) -> None:
        super().__init__(*((self._ask, number) for number in range(n_clients)))
        self.rounds = 0
        self._proxy = proxy

    def _ask(self, number: int) -> None:
        with self._proxy.connect() as wire:
            while not self.over.is_set():
                wire.expect(
                    b"set a%d 0 0 1\r\nx\r\nset user:a%d 0 0 1\r\ny\r\n" % (number, number),
                    b"STORED\r\nSTORED\r\n",
                )
                wire.send(b"get user:a%d a%d\r\n" % (number, number))
                reply = wire.read_until(b"END\r\n")
                # where keys belong changes all the time: misses are fine, strange keys are not
                for line in reply.split(b"\r\n")[:-2:2]:
                    if line not in (b"VALUE user:a%d 0 1" % number, b"VALUE a%d 0 1" % number):
                        self.wrong.append(repr(reply))
                self.rounds += 1


def test_routes_change_under_load(case: Case, servers: list[Memcached]) -> None:
    """A pool comes and goes, takes other prefixes, strips them and does not."""
    shapes: list[dict[str, Any] | None] = [
        None,
        a_pool(servers[1], prefixes=["user:"]),
        a_pool(servers[1], prefixes=["user:a1", "x:"], strip_prefix=False),
        a_pool(servers[1], prefixes=["user:", "user:a"], strip_prefix=True, copies=1),
    ]
    with Load(case.proxy) as load, RunningProxy.find(None, str(case.proxy.config)) as operator:
        for number in range(24):
            before = load.rounds
            case.write(users=shapes[number % len(shapes)])
            assert operator.ask("reload")["changes"]
            wait_until(lambda before=before: load.rounds > before or load.wrong, 10, "a round with it")
    assert load.wrong == []
    assert case.proxy.stats()["restarts"] == "0"
    assert case.proxy.stats()["unrouted_requests"] == "0"


def test_a_key_that_no_pool_takes(case: Case) -> None:
    case.write(main={**case.pools["main"], "prefixes": ["m:"]})
    assert case.reload().stdout == 'pool "main": prefixes: m: comes\n'
    with case.proxy.connect() as wire:
        wire.expect(b"get a\r\nset a 0 0 1\r\nx\r\nget m:a a\r\nget m:a\r\n", NO_ROUTE * 3 + b"END\r\n")
    assert case.proxy.stats()["unrouted_requests"] == "3"


def test_addresses_of_pools_come_and_go(case: Case) -> None:
    port = free_port()
    with Wire(case.own) as early:
        early.expect(b"set a 0 0 1\r\n1\r\n", b"STORED\r\n")
        case.write(users={**case.pools["users"], "listen": [f"127.0.0.1:{port}"]}, own=None)
        assert sorted(case.reload().stdout.splitlines()) == [
            'pool "own": 1 server goes',
            f'pool "users": listen: 127.0.0.1:{port} comes',
        ]
        early.expect(b"get a\r\nmn\r\n", NO_ROUTE + b"MN\r\n")
        with Wire(("127.0.0.1", port)) as wire:
            wire.expect(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
        assert case.servers[1].get(b"a") == b"x"
        with pytest.raises(ConnectionRefusedError):
            Wire(case.own)
        case.write()
        assert case.reload().returncode == 0
        early.expect(b"get a\r\n", b"VALUE a 0 1\r\n1\r\nEND\r\n")
    with Wire(case.own) as wire:
        wire.expect(b"get a\r\n", b"VALUE a 0 1\r\n1\r\nEND\r\n")
