"""Operators' verbs on a running proxy, over its control socket, with real memcached servers."""

import json
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.wait import wait_until
from tests.support.wire import Wire

KEYS = [f"key{number}" for number in range(200)]


class Case:
    """Two servers, two backups, a proxy of two workers, and an operator."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.servers = [self.memcached() for _ in range(2)]
        self.backups = [self.memcached() for _ in range(2)]
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="memagent-operator-"))
        self.path = f"{folder}/control"
        self.proxy = Proxy.start(
            self.servers,
            self.backups,
            workers=2,
            pool={"probe_max_ms": 200},
            settings={"control_socket": self.path},
        )
        stack.callback(self.proxy.clean_up)

    def memcached(self) -> Memcached:
        made = Memcached.start()
        self.stack.callback(made.kill)
        return made

    def ask(self, verb: str, **words: Any) -> list[dict[str, Any]]:
        """All lines of the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(self.path)
            connection.sendall(json.dumps({"verb": verb, **words}).encode() + b"\n")
            lines = []
            for line in connection.makefile("rb"):
                lines.append(json.loads(line))
                if "progress" not in lines[-1]:
                    return lines
        raise AssertionError(f"no last line: {lines}")

    def last(self, verb: str, **words: Any) -> dict[str, Any]:
        """The last line, which must be a good one."""
        line = self.ask(verb, **words)[-1]
        assert line.get("ok"), line
        return line

    def states(self) -> list[str]:
        [pool] = self.last("snapshot")["snapshot"]["pools"]
        return [server["state"] for server in pool["servers"]]

    def wait_up(self) -> None:
        wait_until(lambda: set(self.states()) == {"up"}, 30, lambda: f"up: {self.states()}")

    def set_all(self, value: str) -> None:
        with self.proxy.connect() as wire:
            for key in KEYS:
                line = f"set {key} 5 0 {len(value)}\r\n{value}\r\n".encode()
                assert wire.ask(line) == b"STORED\r\n"

    def values(self, of: Wire) -> dict[str, str]:
        """What there is of all keys."""
        found = {}
        for key in KEYS:
            line = of.ask(f"get {key}\r\n".encode())
            if line != b"END\r\n":
                found[key] = of.read_until(b"\r\n").decode().strip()
                assert of.read_until(b"\r\n") == b"END\r\n"
        return found

    def at(self, server: Memcached) -> dict[str, str]:
        with Wire(server.endpoint) as wire:
            return self.values(wire)

    def through(self) -> dict[str, str]:
        with self.proxy.connect() as wire:
            return self.values(wire)


@pytest.fixture
def case() -> Iterator[Case]:
    with ExitStack() as stack:
        yield Case(stack)


def test_an_operator_sees_what_there_is(case: Case):
    assert stat.S_IMODE(os.stat(case.path).st_mode) == 0o600
    snapshot = case.last("snapshot")["snapshot"]
    assert snapshot["pid"] == case.proxy.pid
    assert sorted(worker["pid"] for worker in snapshot["workers"]) == sorted(case.proxy.worker_pids())
    [pool] = snapshot["pools"]
    addresses = [server.address for server in (*case.servers, *case.backups)]
    assert [server["address"] for server in pool["servers"]] == addresses
    assert case.states() == ["up"] * 4
    assert case.last("config")["addresses"] == [[address] for address in addresses]
    assert "unknown verb" in case.ask("dance")[-1]["error"]
    case.proxy.stop()
    assert not os.path.exists(case.path)


def test_a_server_that_came_back_empty_is_filled_by_itself(case: Case):
    case.set_all("1")
    before = case.at(case.servers[0])
    assert len(before) > 20
    case.servers[0].kill()
    wait_until(lambda: case.states()[0] == "down", 30, lambda: f"down: {case.states()}")
    assert set(case.through().values()) == {"1"}
    case.servers[0].restart()
    case.wait_up()
    assert case.at(case.servers[0]) == before
    [pool] = case.last("snapshot")["snapshot"]["pools"]
    warm = pool["servers"][0]["warm"]
    assert (warm["state"], warm["keys_copied"]) == ("done", len(before))
    case.proxy.wait_for_log("re-warm done")


def test_drained_without_an_error_and_right_when_it_is_back(case: Case):
    case.set_all("1")
    before = case.at(case.servers[0])
    stop, wrong = threading.Event(), []

    def use() -> None:
        with case.proxy.connect() as wire:
            while not stop.is_set():
                for key in KEYS[:20]:
                    if wire.ask(f"get {key}\r\n".encode(), b"END\r\n").count(b"VALUE") != 1:
                        wrong.append(key)

    user = threading.Thread(target=use)
    user.start()
    try:
        drained = case.last("drain", server=case.servers[0].address)["server"]
        assert (drained["state"], drained["in_flight"]) == ("drained", 0)
        case.set_all("2")
        assert case.at(case.servers[0]) == before, "left alone"
        back = case.last("undrain", server=case.servers[0].address)["server"]
        assert back["state"] == "up"
    finally:
        stop.set()
        user.join(30)
    assert wrong == []
    assert set(case.through().values()) == {"2"}
    assert set(case.at(case.servers[0]).values()) <= {"2"}, "the journal was played"


def test_refused_where_keys_would_have_no_copy(case: Case):
    case.last("drain", server=case.backups[0].address)
    refused = case.ask("drain", server=case.servers[0].address)[-1]
    assert "no other live copy" in refused["error"]
    assert refused["force"]
    case.last("undrain", server=case.backups[0].address)
    case.wait_up()


def test_replaced_and_filled_and_no_key_moves(case: Case):
    case.set_all("1")
    before = case.at(case.servers[0])
    new = case.memcached()
    with Wire(new.endpoint) as wire:
        assert wire.ask(b"set key0 0 0 3\r\nold\r\n") == b"STORED\r\n"
    answer = case.last("replace", server=case.servers[0].address, address=new.address)
    assert new.address in answer["text"]
    assert (answer["server"]["address"], answer["server"]["replaced"]) == (new.address, True)
    assert case.at(new) == before
    assert set(case.through().values()) == {"1"}
    # Of either worker, whichever it is that answers.
    for _ in range(10):
        said = {
            name: value for name, value in case.proxy.stats("servers").items() if name.endswith(":address")
        }
        assert new.address in said.values()
        assert case.servers[0].address not in said.values()
    # A worker that is started afterwards knows of it too.
    case.servers[0].kill()
    victim = case.proxy.worker_pids()[0]
    os.kill(victim, 9)
    wait_until(lambda: len(set(case.proxy.worker_pids()) - {victim}) == 2, 30, lambda: "two workers")
    case.wait_up()
    case.set_all("3")
    assert set(case.at(new)) == set(before)


def test_rewarmed_because_an_operator_asked(case: Case):
    case.set_all("1")
    before = case.at(case.backups[0])
    with Wire(case.backups[0].endpoint) as wire:
        for key in list(before)[:10]:
            assert wire.ask(f"delete {key}\r\n".encode()) == b"DELETED\r\n"
    answer = case.last("rewarm", server=case.backups[0].address)
    assert answer["server"]["warm"]["state"] == "done"
    assert case.at(case.backups[0]) == before
    assert "no re-warm" in case.ask("rewarm_abort", server=case.backups[0].address)[-1]["error"]
