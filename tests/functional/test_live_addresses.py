"""Addresses come and go by a reload while clients connect and ask (behaviour section 7)."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memagent.cli.running import RunningProxy
from memagent.errors import ControlError
from tests.support.callers import Callers
from tests.support.memcached import Memcached
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Address, Wire

Start = Callable[..., Proxy]


def reload(proxy: Proxy, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "memagent", "reload", *(more or ("-c", str(proxy.config)))],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def refused(address: Address) -> bool:
    try:
        Wire(address).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False


def test_addresses_come_and_go_under_load(proxy_factory: Start, memcached_factory: Callable[..., Memcached]):
    server = memcached_factory()
    case = proxy_factory([server], workers=2, pool={"request_timeout_ms": 60_000})
    path = str(case.folder / "s")
    stays, others = f"127.0.0.1:{case.port}", [free_port() for _ in range(2)]

    def listen(*addresses: str) -> None:
        case.write_config(
            [server], pool={"request_timeout_ms": 60_000}, settings={"listen": [stays, *addresses]}
        )
        with RunningProxy.find(None, str(case.config)) as operator:
            assert operator.ask("reload")["changes"]

    with Callers(case.endpoint) as callers:
        for number in range(20):
            listen(f"127.0.0.1:{others[number % 2]}", f"unix:{path}")
            with Wire(("127.0.0.1", others[number % 2])) as client, Wire(path) as other:
                assert refused(("127.0.0.1", others[1 - number % 2]))
                listen(*([f"127.0.0.1:{others[0]}"] if number % 2 else []))
                assert refused(path)
                for wire in (client, other):
                    wire.expect(b"get none\r\n", b"END\r\n")
        calls = callers.calls
        wait_until(lambda: callers.calls > calls, 10, "calls after the last reload")
        listen(f"unix:{path}")
    assert callers.wrong == []
    listen()
    wait_until(lambda: case.stats()["curr_connections"] == "1", 10, "all have left")
    before = case.open_files()
    for _ in range(3):
        listen(f"unix:{path}", f"127.0.0.1:{others[1]}")
        listen()
    wait_until(lambda: case.has_no_more_files_than(before), 10, lambda: f"{before}, not {case.open_files()}")
    os.kill(case.worker_pids()[0], signal.SIGKILL)
    wait_until(lambda: case.output().count("worker is ready") == 3, 20, "another worker")
    listen(f"unix:{path}")
    with Wire(path) as client:
        client.expect(b"get none\r\n", b"END\r\n")
    assert case.stop() == 0
    assert not os.path.exists(path)


def test_an_address_changes_its_pool_and_is_never_closed(
    proxy_factory: Start, memcached_factory: Callable[..., Memcached]
):
    shared, own = memcached_factory(), memcached_factory()
    case = proxy_factory([shared], workers=2)
    moving = f"127.0.0.1:{free_port()}"
    address = ("127.0.0.1", int(moving.rpartition(":")[2]))

    def move(to_pool: bool) -> None:
        pools = {"main": {"servers": [shared.address]}, "own": {"servers": [own.address], "prefixes": ["o:"]}}
        first = f"127.0.0.1:{case.port}"
        if to_pool:
            pools["own"]["listen"] = [moving]
        listen = [first] if to_pool else [first, moving]
        case.write_config([], settings={"listen": listen, "pools": pools})
        with RunningProxy.find(None, str(case.config)) as operator:
            operator.ask("reload")

    move(False)
    with Callers(address) as callers, Wire(address) as early:
        early.expect(b"set a 0 0 1\r\n1\r\n", b"STORED\r\n")
        for _ in range(3):
            move(True)
            with Wire(address) as late:
                late.expect(b"set b 0 0 1\r\n2\r\n", b"STORED\r\n")
            move(False)
        move(True)
        # who came in when it was everybody's is where he was
        early.expect(b"get a\r\n", b"VALUE a 0 1\r\n1\r\nEND\r\n")
    assert callers.wrong == []
    assert (shared.get(b"b"), own.get(b"b")) == (None, b"2")


def test_an_address_that_cannot_be_had_changes_nothing(
    proxy_factory: Start, memcached_factory: Callable[..., Memcached], tmp_path: Path
):
    server = memcached_factory()
    case = proxy_factory([server])
    here, path = f"127.0.0.1:{case.port}", tmp_path / "file"
    path.write_text("not a socket")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = f"127.0.0.1:{busy.getsockname()[1]}"
        for address, why in (
            (taken, f"listen {taken}: Address already in use"),
            ("192.0.2.1:5", "listen 192.0.2.1:5: Cannot assign requested address"),
            (f"unix:{path}", f"listen unix:{path}: there is a file that is not a socket"),
            (f"unix:{tmp_path}/none/s", f"listen unix:{tmp_path}/none/s: No such file or directory"),
        ):
            free = f"unix:{tmp_path}/free"
            case.write_config([server], settings={"listen": [here, free, address], "drain_ms": 7})
            with (
                RunningProxy.find(None, str(case.config)) as operator,
                pytest.raises(ControlError, match=why) as caught,
            ):
                operator.ask("reload")
            assert caught.value.message.startswith(why)
            assert not (tmp_path / "free").exists()
    case.wait_for_log("the configuration is not reloaded, nothing changes")
    assert len(case.stats()) > 10
    assert reload(case).returncode == 1, "the last one is as bad as before"
    case.write_config([server], settings={"drain_ms": 7})
    assert reload(case).stdout == "drain_ms: 10s becomes 7ms\n"


def test_the_control_socket_goes_with_the_first_address(
    proxy_factory: Start, memcached_factory: Callable[..., Memcached]
):
    server = memcached_factory()
    case = proxy_factory([server])
    with RunningProxy.find(None, str(case.config)) as operator:
        before = operator.path
    case.port = free_port()
    case.write_config([server])
    lost = reload(case)
    assert "no proxy listens at" in lost.stderr
    assert f"--socket {before}" in lost.stderr
    done = reload(case, "--socket", before)
    assert f"listen: 127.0.0.1:{case.port} comes" in done.stdout
    assert not os.path.exists(before)
    assert reload(case).stderr == "nothing has changed\n"
    assert case.stats()["curr_connections"] == "1"


def test_signals_know_the_new_addresses(proxy_factory: Start, memcached_factory: Callable[..., Memcached]):
    server = memcached_factory()
    case = proxy_factory([server], workers=2)
    old, case.port = case.endpoint, free_port()
    case.write_config([server])
    case.reload()
    wait_until(lambda: case.stats()["curr_connections"], 10, "it is open")
    wait_until(lambda: refused(old), 10, "the old one is closed")
    assert case.stop() == 0
    assert refused(case.endpoint)
