"""`magent hot`, `slow` and `tap` on a running proxy: real memcached servers, and wires that may be slow."""

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.tools import magent, route
from tests.support.memcached import Memcached
from tests.support.processes import ROOT
from tests.support.proxy import Proxy
from tests.support.relay import Relay
from tests.support.wait import wait_until
from tests.support.wire import Wire

SECRET = b"verysecretvalue"
SLOW_MS = 150


class Case:
    """Two servers and a backup, each behind a relay, and a proxy of two workers."""

    def __init__(self, stack: ExitStack, folder: Path, **settings: Any) -> None:
        self.relays = []
        for _ in range(3):
            server = Memcached.start()
            stack.callback(server.kill)
            self.relays.append(Relay(server.endpoint))
            stack.callback(self.relays[-1].close)
        addresses = [relay.address for relay in self.relays]
        self.path = str(folder / "control")
        self.proxy = Proxy.start(
            [{"address": address, "name": f"cache-{number}"} for number, address in enumerate(addresses[:2])],
            [{"address": addresses[2], "name": "backup"}],
            workers=2,
            settings={"control_socket": self.path, **settings},
        )
        stack.callback(self.proxy.clean_up)

    def ask(self, *command: str) -> Any:
        return json.loads(magent(*command, "--json", "--socket", self.path))

    def key_of(self, server: int, prefix: bytes = b"key") -> bytes:
        keys = [b"%b:%d" % (prefix, number) for number in range(50)]
        return keys[route(self.proxy, keys).index(server)]

    @contextmanager
    def tap(self, **words: Any) -> Iterator["Tap"]:
        with Tap(self.path, words) as tap:
            yield tap


class Tap:
    """A tap by hand: a client of the control socket that reads when it wants to."""

    def __init__(self, path: str, words: dict[str, Any]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.matched = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(path)
        self._socket.sendall(json.dumps({"verb": "tap", **words}).encode() + b"\n")
        self._lines = self._socket.makefile("rb")
        try:
            self.read()
        except KeyError:
            # refused
            self.__exit__()
            raise

    def read(self) -> None:
        look = json.loads(self._lines.readline())["progress"]
        self.requests += look["requests"]
        self.matched = look["matched"]

    def __enter__(self) -> "Tap":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with ExitStack() as stack:
        yield Case(stack, tmp_path_factory.mktemp("single"), slow_ms=SLOW_MS)


def test_the_hottest_key_of_a_skewed_load_is_named_first(case: Case):
    rng = random.Random(1)
    hot = case.key_of(1, b"hot")
    wires = [case.proxy.connect() for _ in range(4)]
    wires[0].expect(b"set %b 0 0 %d\r\n%b\r\n" % (hot, len(SECRET), SECRET), b"STORED\r\n")
    for number in range(3000):
        key = hot if rng.random() < 0.3 else b"cold:%d" % rng.randrange(1000)
        wires[number % 4].ask(b"get %b\r\n" % key, b"END\r\n")
    found = case.ask("hot", "--count", "5")
    first = found["keys"][0]
    assert (first["key"], first["server"]) == (hot.decode(), "cache-1")
    assert first["at_least_per_s"] < found["requests_per_s"] * 0.3 * 1.2
    assert first["at_most_per_s"] > found["requests_per_s"] * 0.3 / 1.2
    assert first["reads_per_s"] > first["writes_per_s"]
    assert hot.decode() in magent("hot", "-c", str(case.proxy.config))
    for wire in wires:
        wire.close()


def test_a_slow_server_is_in_the_slow_log_with_its_part_of_the_time(case: Case):
    key, missing = case.key_of(1), case.key_of(1, b"missing")
    with case.proxy.connect() as wire:
        wire.expect(b"set %b 0 0 %d\r\n%b\r\n" % (key, len(SECRET), SECRET), b"STORED\r\n")
        case.relays[1].delay(0.2)
        wire.ask(b"get %b\r\n" % key, b"END\r\n")
        wire.expect(b"get %b\r\n" % missing, b"END\r\n")
        case.relays[1].heal()
        case.relays[2].delay(0.2)
        wire.expect(b"get %b\r\n" % missing, b"END\r\n")
        case.relays[2].heal()
        port = wire.own_port
    found = {
        (each["result"], each["phases"][0]["us"] >= SLOW_MS * 1000): each
        for each in case.ask("slow")["requests"]
        if each["client"] == f"127.0.0.1:{port}"
    }
    hit = found["HIT", True]
    assert (hit["verb"], hit["key"]) == ("get", key.decode())
    assert [(phase["what"], phase["server"]) for phase in hit["phases"]] == [("first", "cache-1")]
    slow_owner, slow_copy = found["MISS", True], found["MISS", False]
    for each in (slow_owner, slow_copy):
        assert each["key"] == missing.decode()
        assert [(phase["what"], phase["server"]) for phase in each["phases"]] == [
            ("first", "cache-1"),
            ("fallback", "backup"),
        ]
        assert each["us"] == sum(phase["us"] for phase in each["phases"])
    assert slow_copy["phases"][1]["us"] >= SLOW_MS * 1000
    text = magent("slow", "-c", str(case.proxy.config))
    assert "fallback backup" in text
    assert SECRET.decode() not in text


def test_a_tap_shows_requests_without_their_values_and_ends_with_its_count(case: Case):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "memagent", "tap", "--socket", case.path]
    command += ["--prefix", "user:", "--count", "2"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        with case.proxy.connect() as wire:

            def asked() -> bool:
                wire.expect(b"set item:1 0 0 %d\r\n%b\r\n" % (len(SECRET), SECRET), b"STORED\r\n")
                wire.expect(b"set user:1 0 0 %d\r\n%b\r\n" % (len(SECRET), SECRET), b"STORED\r\n")
                wire.ask(b"get user:1\r\n", b"END\r\n")
                return running.poll() is not None

            wait_until(asked, 30, "the tap to end")
        out, err = running.communicate()
    assert running.returncode == 0, err
    lines = out.decode().splitlines()
    assert len(lines) == 2
    assert {tuple(line.split()[1:3]) for line in lines} == {("set", "STORED"), ("get", "HIT")}
    assert all(line.endswith("user:1") for line in lines)
    assert SECRET not in out


def test_taps_by_server_and_verb_and_several_at_once(case: Case):
    at_0, at_1 = case.key_of(0), case.key_of(1)
    with (
        case.tap(server="cache-1") as of_server,
        case.tap(of_verb="set") as of_verb,
        case.proxy.connect() as wire,
    ):

        def seen() -> bool:
            # a worker hears of a tap in its own time
            for key in (at_0, at_1):
                wire.expect(b"set %b 0 0 1\r\nx\r\n" % key, b"STORED\r\n")
                wire.expect(b"delete %b\r\n" % key, b"DELETED\r\n")
            of_server.read()
            of_verb.read()
            return len(of_server.requests) >= 2 and len(of_verb.requests) >= 2

        wait_until(seen, 30, "both taps to show something")
        assert {(each["key"], each["verb"]) for each in of_server.requests} == {
            (at_1.decode(), "set"),
            (at_1.decode(), "delete"),
        }
        assert {each["phases"][0]["server"] for each in of_server.requests} == {"cache-1"}
        assert {each["verb"] for each in of_verb.requests} == {"set"}
        assert {each["result"] for each in of_verb.requests} == {"STORED"}


def test_who_does_not_read_slows_nobody_and_what_he_misses_is_bounded(case: Case):
    with case.proxy.connect() as wire, case.tap(per_s=1000) as tap:
        pids = [worker["pid"] for worker in _workers(case)]
        wait_until(lambda: _answers(wire, 100) and tap.read() is None and tap.matched, what="the tap")
        before = [_resident_bytes(pid) for pid in pids]
        # far more than the ring and the socket's buffers hold
        for _ in range(300):
            assert _answers(wire, 100)
        after = [_resident_bytes(pid) for pid in pids]
        assert all(now - then < 4 << 20 for then, now in zip(before, after, strict=True))
        matched = tap.matched
        wait_until(lambda: tap.read() is None and tap.matched >= matched + 30_000, what="the count")
        assert len(tap.requests) < tap.matched


def test_a_reader_that_goes_takes_its_tap_along(case: Case):
    with ExitStack() as stack:
        for _ in range(8):
            # those of other tests may not have ended yet
            wait_until(lambda: _tapped(case, stack), what="a place for another tap")
        assert not _tapped(case, stack), "there are eight"
    with ExitStack() as stack:
        wait_until(lambda: _tapped(case, stack), what="a place to be free again")


def test_what_is_off_says_so_and_a_reload_turns_it_on(case: Case):
    def put_in_force(**settings: object) -> None:
        whole = yaml.safe_load(case.proxy.config.read_text()) | settings
        case.proxy.config.write_text(yaml.safe_dump(whole))
        magent("reload", "--socket", case.path)

    with case.proxy.connect() as wire:
        wire.expect(b"get before\r\n", b"END\r\n")
        put_in_force(hot_keys=False, slow_ms=0)
        for command in ("hot", "slow"):
            magent(command, "--socket", case.path, expect=1)
        put_in_force(hot_keys=True, slow_ms=SLOW_MS)
        wire.expect(b"get after\r\n", b"END\r\n")
    assert [each["key"] for each in case.ask("hot")["keys"]] == ["after"]


def _workers(case: Case) -> list[dict[str, Any]]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(case.path)
        connection.sendall(b'{"verb": "snapshot"}\n')
        found = json.loads(connection.makefile("rb").readline())
    workers = found["snapshot"]["workers"]
    assert isinstance(workers, list)
    return workers


def _answers(wire: Wire, count: int) -> bool:
    wire.send(b"get none\r\n" * count)
    return wire.read_exact(5 * count) == b"END\r\n" * count


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _tapped(case: Case, stack: ExitStack) -> bool:
    """Is there a place for another tap? Then it is open as long as the stack."""
    try:
        stack.enter_context(case.tap())
    except KeyError:
        return False
    return True
