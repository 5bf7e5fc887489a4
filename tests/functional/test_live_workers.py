"""More and fewer workers by a reload while clients connect and ask (behaviour section 7)."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memagent.cli.running import RunningProxy
from tests.functional.duo import Duo, look
from tests.support.callers import Callers
from tests.support.memcached import Memcached
from tests.support.processes import exists, resident_bytes
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Wire

Start = Callable[..., Proxy]


def ask(proxy: Proxy) -> dict[str, Any]:
    with RunningProxy.find(None, str(proxy.config)) as operator:
        return operator.ask("reload")


def pid_at(proxy: Proxy, place: int) -> int:
    with RunningProxy.find(None, str(proxy.config)) as operator:
        return operator.snapshot().workers[place].pid


def fewer(proxy: Proxy, workers: int) -> None:
    wait_until(
        lambda: len(proxy.worker_pids()) == workers,
        20,
        lambda: f"{workers} workers, not {proxy.worker_pids()}: {proxy.process.describe()}",
    )


def answers(wire: Wire) -> bool:
    try:
        return wire.ask(b"mn\r\n") == b"MN\r\n"
    except OSError:
        return False


def test_up_and_down_under_load(
    proxy_factory: Start, memcached_factory: Callable[..., Memcached], tmp_path: Path
):
    server = memcached_factory()
    path = f"{tmp_path}/s"
    pool = {"request_timeout_ms": 60_000}
    case = proxy_factory([server], workers=2, pool=pool, settings={"drain_ms": 60_000})
    listen = [f"127.0.0.1:{case.port}", f"unix:{path}"]

    def resize(workers: int) -> None:
        settings = {"drain_ms": 60_000, "listen": listen, "workers": workers}
        case.write_config([server], pool=pool, settings=settings)
        assert ask(case)["waiting"] == []
        assert case.stats()["threads"] == str(workers)

    resize(2)
    sets = 0
    with Callers(case.endpoint, path) as callers:
        for workers in (4, 1, 3, 2):
            resize(workers)
            calls = callers.calls
            wait_until(lambda calls=calls: callers.calls > calls + 200, 20, "calls after the reload")
            before, sets = sets, int(case.stats()["cmd_set"])
            assert sets > before
    assert callers.wrong == []
    fewer(case, 2)
    assert int(case.stats()["cmd_set"]) == callers.calls
    assert case.stats()["restarts"] == "0"

    wait_until(lambda: case.stats()["curr_connections"] == "1", 10, "all have left")
    files, resident = case.open_files(), resident_bytes(case.pid)
    for _ in range(2):
        resize(4)
        resize(2)
        fewer(case, 2)
    wait_until(lambda: case.has_no_more_files_than(files), 10, lambda: f"{files}, not {case.open_files()}")
    assert resident_bytes(case.pid) < resident + 4 * 1024 * 1024
    # each of the two accepts at what the others had
    for _ in range(40):
        with case.connect() as wire:
            wire.expect(b"mn\r\n", b"MN\r\n")
    assert case.stop() == 0


def test_clients_stay_and_are_sent_away_when_the_time_is_over(
    proxy_factory: Start, memcached_factory: Callable[..., Memcached]
):
    server = memcached_factory()
    case = proxy_factory([server], workers=3)
    wires = [case.connect() for _ in range(30)]
    for wire in wires:
        wire.expect(b"mn\r\n", b"MN\r\n")
    case.write_config([server], settings={"workers": 1, "drain_ms": 700})
    assert ask(case)["changes"] == ["workers: 3 becomes 1", "drain_ms: 10s becomes 700ms"]
    for wire in wires:
        wire.expect(b"mn\r\n", b"MN\r\n")
    fewer(case, 1)
    left = int(case.stats()["curr_connections"]) - 1
    assert 0 < left < 30
    assert [answers(wire) for wire in wires].count(True) == left
    for wire in wires:
        wire.close()


def test_more_than_there_is_room_for_wait(proxy_factory: Start, memcached_factory: Callable[..., Memcached]):
    server = memcached_factory()
    case = proxy_factory([server])
    case.write_config([server], settings={"workers": 17, "drain_ms": 5000})
    answer = ask(case)
    assert answer == {
        "ok": True,
        "changes": ["drain_ms: 10s becomes 5s"],
        "waiting": ["workers"],
        "moving": [],
    }
    assert case.stats()["threads"] == "1"


@pytest.mark.parametrize("version", ["new"], indirect=True)
@pytest.mark.parametrize("is_killed", [False, True])
def test_what_only_one_that_goes_knows_is_not_lost(start_duo: Callable[..., Duo], is_killed: bool):
    """The server has missed writes, and both workers have noted some of them."""
    duo = start_duo(workers=2)
    keys = [b"key%d" % number for number in range(40)]
    wires = [duo.proxy.connect() for _ in range(20)]
    for key in keys:
        wires[0].expect(b"set %b 0 0 3\r\nold\r\n" % key, b"STORED\r\n")
    duo.owner.pause()
    for index, key in enumerate(keys):
        wire = wires[index % len(wires)]
        wait_until(lambda w=wire, k=key: w.ask(b"set %b 0 0 3\r\nnew\r\n" % k) == b"STORED\r\n", 20, "stored")
    leaving = pid_at(duo.proxy, 1)
    for wire in wires:
        wire.close()
    text = duo.proxy.config.read_text()
    duo.proxy.config.write_text(text.replace("workers: 2", "workers: 1"))
    assert ask(duo.proxy)["changes"] == ["workers: 2 becomes 1"]
    wait_until(lambda: "one too many" in duo.proxy.output(), what="it is to go")
    if is_killed:
        os.kill(leaving, signal.SIGKILL)
        duo.proxy.wait_for_log("the server is flushed")
    else:
        assert exists(leaving), "it waits for the server"
    duo.owner.resume()
    fewer(duo.proxy, 1)
    wait_until(
        lambda: duo.proxy.stats("servers")[f"main:{duo.owner.address}:up"] == "1", 20, "the server is back"
    )
    with duo.proxy.connect() as wire:
        for key in keys:
            wire.expect(b"get %b\r\n" % key, b"VALUE %b 0 3\r\nnew\r\nEND\r\n" % key)
    for key in keys:
        found = look(duo.owner, key)
        assert found is not None
        assert found.value == b"new"


def test_a_worker_that_is_killed_while_they_change(
    proxy_factory: Start, memcached_factory: Callable[..., Memcached]
):
    server = memcached_factory()
    case = proxy_factory([server], workers=2)
    for workers in (4, 2):
        case.write_config([server], settings={"workers": workers})
        victim = case.worker_pids()[-1]
        case.reload()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda pid=victim: not exists(pid), 10, "its end")
        wait_until(lambda w=workers: case.stats()["threads"] == str(w), 20, "the reload")
        fewer(case, workers)
    for _ in range(20):
        with Wire(case.endpoint, 20) as wire:
            wire.expect(b"mn\r\n", b"MN\r\n")
