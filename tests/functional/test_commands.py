"""Operators' commands against a running proxy: behaviour.md sections 2 to 4, as seen from a terminal."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from memagent.cli.running import RunningProxy
from tests.support.memcached import Memcached
from tests.support.processes import ROOT
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

KEYS = [b"key:%d" % number for number in range(300)]


@dataclass
class Site:
    """Servers s0, s1, s2 and backups b0, b1 behind two workers."""

    servers: dict[str, Memcached]
    proxy: Proxy
    control: str

    def magent(self, *arguments: str, code: int = 0) -> str:
        """What a command prints; its exit code is checked."""
        return self.run(*arguments, code=code).stdout

    def run(self, *arguments: str, code: int) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
        done = subprocess.run(
            [sys.executable, "-m", "memagent", *arguments, "-c", str(self.proxy.config)],
            capture_output=True,
            text=True,
            timeout=50,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert done.returncode == code, (arguments, done, self.proxy.output())
        return done

    def state(self, name: str) -> dict[str, Any]:
        found = json.loads(self.magent("servers", "--json"))
        return next(server for server in found if server["name"] == name)

    def wait_for(self, name: str, state: str) -> None:
        """By asking the proxy itself, for a command is a process each time; then the command says so too."""

        def states() -> dict[str, str]:
            with RunningProxy.at(self.control) as proxy:
                return {server.name: server.state for server in proxy.snapshot().servers()}

        wait_until(lambda: states()[name] == state, 20, f"{name} to be {state}", every_s=0.1)
        assert self.state(name)["state"] == state

    def fill(self, value: bytes = b"value", exptime: int = 0) -> None:
        with self.proxy.connect() as wire:
            for key in KEYS:
                wire.expect(b"set %b 5 %d %d\r\n%b\r\n" % (key, exptime, len(value), value), b"STORED\r\n")

    def read(self) -> dict[bytes, bytes]:
        """All keys that the proxy has."""
        found = {}
        with self.proxy.connect() as wire:
            for key in KEYS:
                line = wire.ask(b"get %b\r\n" % key)
                if line != b"END\r\n":
                    found[key] = wire.read_exact(int(line.split()[3]))
                    wire.read_until(b"END\r\n")
        return found

    def explain(self, key: bytes) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.magent("explain", "--json", key.decode()))
        return told

    def owned_by(self, name: str) -> list[bytes]:
        keys = [key.decode() for key in KEYS]
        lines = self.magent("route", "--json", *keys).splitlines()
        return [key for key, line in zip(KEYS, lines, strict=True) if json.loads(line)["server"] == name]


@pytest.fixture
def site(
    memcached_factory: Callable[..., Memcached], proxy_factory: Callable[..., Proxy], tmp_path: Path
) -> Site:
    names = ("s0", "s1", "s2", "b0", "b1")
    servers = {name: memcached_factory("new" if number % 2 else "old") for number, name in enumerate(names)}
    listed = [{"address": server.address, "name": name} for name, server in servers.items()]
    control = str(tmp_path / "c.sock")
    proxy = proxy_factory(
        listed[:3],
        listed[3:],
        workers=2,
        pool={"probe_min_ms": "50ms", "probe_max_ms": "200ms", "request_timeout_ms": "500ms"},
        settings={"control_socket": control},
    )
    return Site(servers, proxy, control)


@pytest.fixture
def small_site(
    memcached_factory: Callable[..., Memcached], proxy_factory: Callable[..., Proxy], tmp_path: Path
) -> Site:
    """Two servers without copies behind one worker."""
    server, control = memcached_factory(), str(tmp_path / "c.sock")
    listed = [{"address": server.address, "name": "s0"}, memcached_factory()]
    return Site({"s0": server}, proxy_factory(listed, settings={"control_socket": control}), control)


def test_all_is_well(site: Site) -> None:
    site.fill(exptime=1000)
    table = site.magent("servers", "--check").splitlines()
    assert [line.split()[:4] for line in table[1:]] == [
        [name, server.address, "server" if name.startswith("s") else "backup", "up"]
        for name, server in site.servers.items()
    ]
    told = site.explain(KEYS[0])
    assert told["verdict"] == "agree"
    assert (told["owner"]["state"], told["copy"]["state"]) == ("up", "up")
    assert told["owner"]["flags"] == 5
    assert 900 < told["copy"]["ttl_s"] <= 1000
    verified = json.loads(site.magent("verify", "--json"))
    assert (verified["compared"], verified["agree"]) == (len(KEYS), len(KEYS))


def test_verify_finds_what_was_written_past_the_proxy(site: Site) -> None:
    site.fill()
    told = site.explain(KEYS[0])
    site.servers[told["copy"]["name"]].set(KEYS[0], b"other", flags=5)
    verified = json.loads(site.magent("verify", "--json", code=1))
    assert (verified["differ"], verified["agree"]) == (1, len(KEYS) - 1)
    assert verified["examples"][0]["key"] == KEYS[0].decode()
    assert site.explain(KEYS[0])["differs_in"] == ["value"]


def test_a_server_dies_and_comes_back_empty(site: Site) -> None:
    site.fill()
    site.servers["s1"].kill()
    with site.proxy.connect() as wire:
        wire.ask(b"get %b\r\n" % site.owned_by("s1")[0], end=b"END\r\n")
    site.wait_for("s1", "down")
    site.magent("servers", "--check", code=1)
    assert "s1" in site.magent("servers", code=0)
    assert len(site.read()) == len(KEYS)
    site.servers["s1"].restart()
    site.wait_for("s1", "up")
    assert site.state("s1")["warm"]["state"] == "done"
    verified = json.loads(site.magent("verify", "--json"))
    assert verified["agree"] == len(KEYS), verified


def test_drain_and_undrain(site: Site) -> None:
    site.fill(b"old")
    out = site.run("drain", "s0", code=0)
    assert out.stdout == f"server s0 ({site.servers['s0'].address}) is drained\n"
    assert "magent undrain s0" in out.stderr
    assert set(site.read().values()) == {b"old"}
    site.fill(b"new")
    mine = site.owned_by("s0")
    assert site.servers["s0"].get(mine[0]) in (b"old", None)
    verified = json.loads(site.magent("verify", "--json"))
    assert (verified["differ"], verified["agree"]) == (0, len(KEYS) - len(mine))
    assert list(verified["problems"]) == ["server s0"]
    assert site.magent("undrain", "s0").endswith("is up\n")
    assert set(site.read().values()) == {b"new"}
    verified = json.loads(site.magent("verify", "--json"))
    assert (verified["differ"], verified["missing_owner"]) == (0, 0)


def test_replace(site: Site, memcached_factory: Callable[..., Memcached]) -> None:
    site.fill()
    new = memcached_factory()
    new.set(KEYS[0], b"of another life")
    out = site.run("replace", "s2", new.address, code=0)
    assert out.stdout == f"server s2 ({new.address}) is up\n"
    assert set(site.read().values()) == {b"value"}
    mine = site.owned_by("s2")
    assert {new.get(key) for key in mine} == {b"value"}
    assert site.explain(mine[0])["owner"]["address"] == new.address


def test_rewarm_by_hand(site: Site) -> None:
    site.fill()
    with site.servers["s0"].connect() as wire:
        wire.expect(b"flush_all\r\n", b"OK\r\n")
    out = site.run("rewarm", "s0", code=0)
    assert "re-warm done" in out.stdout
    assert {site.servers["s0"].get(key) for key in site.owned_by("s0")} == {b"value"}


def test_flush_one_server_and_all(site: Site) -> None:
    def flushes() -> dict[str, int]:
        return {name: int(server.stats()["cmd_flush"]) for name, server in site.servers.items()}

    site.fill()
    out = site.run("flush", "s0", "--yes", code=0)
    assert out.stdout == f"server s0 ({site.servers['s0'].address}) is flushed\n"
    assert flushes() == {"s0": 1, "s1": 0, "s2": 0, "b0": 0, "b1": 0}
    # an old server, which spares nothing
    assert {site.servers["s0"].get(key) for key in site.owned_by("s0")} == {None}
    assert site.read() == dict.fromkeys(KEYS, b"value"), "found at their copies"
    assert "flush_server" in site.proxy.output(), "who did it is in the log"
    assert site.magent("flush", "--all", "--yes") == "5 servers are flushed\n"
    assert flushes() == {"s0": 2, "s1": 1, "s2": 1, "b0": 1, "b1": 1}


def test_the_log_level_while_it_runs(site: Site) -> None:
    assert site.magent("log-level") == "info\n"
    assert site.magent("log-level", "debug") == "debug\n"
    assert site.magent("log-level") == "debug\n"
    assert site.magent("log-level", "info") == "info\n"


def test_a_name_that_nobody_has(site: Site) -> None:
    for command in ("drain", "undrain", "rewarm"):
        done = site.run(command, "s9", code=1)
        assert "s9" in done.stderr, command
        assert "hint: " in done.stderr, command
        assert done.stdout == "", command


def test_without_copies_draining_has_to_be_meant(small_site: Site) -> None:
    site = small_site
    done = site.run("drain", "s0", code=1)
    assert "--force does it nevertheless" in done.stderr
    assert site.state("s0")["state"] == "up"
    assert site.magent("drain", "s0", "--force").endswith("is drained\n")
    assert site.magent("undrain", "s0").endswith("is up\n")


def test_nobody_there(small_site: Site) -> None:
    small_site.proxy.stop()
    done = small_site.run("servers", code=1)
    assert "no proxy listens at" in done.stderr
    assert "hint: is it running?" in done.stderr
