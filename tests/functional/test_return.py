"""A server that comes back: behaviour.md section 3, and what section 4 has filled when it is up again."""

import os
import signal
import threading
import time

import pytest

from tests.functional.duo import Duo, StartDuo, get, hit, look
from tests.functional.tools import storage, store
from tests.support import processes
from tests.support.memcached import Memcached
from tests.support.wait import wait_until
from tests.support.wire import Wire

STORED = b"STORED\r\n"

KEYS = [b"k%d" % n for n in range(300)]


class Reader:
    """Reads one key all the time on a connection of its own; keeps what it saw whenever that changed."""

    def __init__(self, duo: Duo, key: bytes = b"k") -> None:
        self.wire = duo.proxy.connect()
        self.key = key
        self.seen: list[bytes | None] = []
        self.lost: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_until(lambda: self.seen or self.lost, what="the first read")

    def _read(self) -> None:
        try:
            while not self._over.is_set():
                value = get(self.wire, self.key)
                if not self.seen or self.seen[-1] != value:
                    self.seen.append(value)
        except (OSError, AssertionError) as error:
            self.lost = error

    def stop(self) -> list[bytes | None]:
        self._over.set()
        self._thread.join(10)
        self.wire.close()
        assert self.lost is None, self.lost
        return self.seen


def fill(wire: Wire, duo: Duo) -> None:
    store(wire, {key: key for key in KEYS})
    wait_until(lambda: count(duo.owner) == count(duo.copy) == len(KEYS), what="copies of all")


def count(server: Memcached) -> int:
    return int(server.stats()["curr_items"])


def all_there(wire: Wire) -> bool:
    found = wire.ask(b"get " + b" ".join(KEYS) + b"\r\n", b"END\r\n")
    return found == b"".join(hit(key, key).removesuffix(b"END\r\n") for key in KEYS) + b"END\r\n"


@pytest.mark.parametrize("which", ["owner", "copy"])
def test_a_server_that_comes_back_empty_is_filled(duo: Duo, which: str) -> None:
    """No miss meanwhile, nothing to be asked for, and then the other one is not needed any more."""
    server, other = getattr(duo, which), getattr(duo, {"owner": "copy", "copy": "owner"}[which])
    with duo.proxy.connect() as wire:
        fill(wire, duo)
        server.kill()
        assert all_there(wire)
        store(wire, {b"meanwhile": b"1"})
        duo.restart(server)
        assert all_there(wire)
        duo.wait_up()
        wait_until(lambda: count(server) == len(KEYS) + 1, what="all to be there")
        other.kill()
        assert all_there(wire)
        assert get(wire, b"meanwhile") == b"1"


@pytest.mark.parametrize("which", ["owner", "copy"])
def test_a_restart_too_quick_for_any_probe_is_noticed(duo: Duo, which: str) -> None:
    server = getattr(duo, which)
    for _ in range(3):
        with duo.proxy.connect() as wire:
            fill(wire, duo)
            before = duo.stat(which, "outages")
            duo.restart(server)
            assert all_there(wire)
            wire.expect(storage(b"add", KEYS[0], b"x"), b"NOT_STORED\r\n")
            wait_until(lambda before=before: duo.stat(which, "outages") > before, what="the restart seen")  # type: ignore[misc]
            duo.wait_up()
            wait_until(lambda: count(server) == len(KEYS), what="all to be there")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("which", ["owner", "copy"])
@pytest.mark.parametrize("how", ["frozen", "cut off", "silent"])
def test_what_it_missed_is_never_seen(start_duo: StartDuo, which: str, how: str, workers: int) -> None:
    """Same process: it kept its data, some of which is now old."""
    duo = start_duo(relayed=True, workers=workers)
    server = getattr(duo, which)
    relay = duo.relays[which == "copy"]
    with duo.proxy.connect() as wire:
        store(wire, {b"k": b"1", b"gone": b"1", b"touched": b"1", b"counter": b"1", b"still": b"1"})
        duo.wait_same(b"k", b"1")
        duo.wait_same(b"still", b"1")
        readers = [Reader(duo), Reader(duo, b"gone"), Reader(duo, b"still"), Reader(duo, b"counter")]
        {"frozen": server.pause, "cut off": relay.refuse, "silent": relay.blackhole}[how]()
        store(wire, {b"k": b"2"})
        duo.wait_down(which)
        store(wire, {b"k": b"3"})
        wire.expect(b"delete gone\r\n", b"DELETED\r\n")
        wire.expect(b"touch touched 900\r\n", b"TOUCHED\r\n")
        assert wire.ask(b"incr counter 5\r\n") == b"6\r\n"
        {"frozen": server.resume, "cut off": relay.accept, "silent": relay.emerge}[how]()
        duo.wait_up()
        seen = [reader.stop() for reader in readers]
        assert seen[0] in ([b"1", b"2", b"3"], [b"1", b"3"])
        assert seen[1] == [b"1", None]
        assert seen[2] == [b"1"]
        assert seen[3] == [b"1", b"6"]
        for key, value in ((b"k", b"3"), (b"gone", None), (b"counter", b"6"), (b"still", b"1")):
            assert get(wire, key) == value
            duo.wait_same(key, value)
        found = duo.wait_same(b"touched", b"1")
        assert found is not None
        assert found.ttl_s > 890


@pytest.mark.parametrize("lose", [False, True])
@pytest.mark.parametrize("which", ["owner", "copy"])
def test_what_was_sent_before_it_froze_does_not_come_back(
    start_duo: StartDuo, which: str, lose: bool
) -> None:
    """Requests that it carries out after the thaw are older than what others have written meanwhile."""
    duo = start_duo(relayed=True)
    relay = duo.relays[which == "copy"]
    with duo.proxy.connect() as wire:
        for n in range(3):
            store(wire, {b"k": b"first%d" % n})
            duo.wait_same(b"k", b"first%d" % n)
            reader = Reader(duo)
            relay.hold("forward")
            store(wire, {b"k": b"on its way%d" % n})
            wait_until(lambda: relay.waiting_bytes("forward") > 0, what="the write to be on its way")
            if lose:
                relay.cut_clients()
            duo.wait_down(which)
            store(wire, {b"k": b"last%d" % n})
            relay.release("forward")
            duo.wait_up()
            duo.wait_same(b"k", b"last%d" % n)
            seen = reader.stop()
            assert seen in (
                [b"first%d" % n, b"on its way%d" % n, b"last%d" % n],
                [b"first%d" % n, b"last%d" % n],
            )


@pytest.mark.parametrize("which", ["owner", "copy"])
def test_a_flush_that_it_missed_is_played(duo: Duo, which: str) -> None:
    server = getattr(duo, which)
    with duo.proxy.connect() as wire:
        fill(wire, duo)
        server.pause()
        wire.ask(b"flush_all\r\n")
        duo.wait_down(which)
        wire.ask(b"flush_all\r\n")
        store(wire, {b"after": b"1"})
        server.resume()
        for _ in range(200):
            assert wire.ask(b"get " + b" ".join(KEYS) + b"\r\n", b"END\r\n") == b"END\r\n"
        duo.wait_up()
        assert wire.ask(b"get " + b" ".join(KEYS) + b"\r\n", b"END\r\n") == b"END\r\n"
        assert get(wire, b"after") == b"1"
        duo.wait_same(b"after", b"1")
        assert look(server, KEYS[0]) is None


@pytest.mark.parametrize("which", ["owner", "copy"])
def test_a_journal_that_overflowed_means_a_flush(start_duo: StartDuo, which: str) -> None:
    """And then it is filled again."""
    duo = start_duo(journal_keys=10)
    server = getattr(duo, which)
    with duo.proxy.connect() as wire:
        fill(wire, duo)
        server.pause()
        store(wire, {b"k": b"1"})
        duo.wait_down(which)
        store(wire, dict.fromkeys(KEYS[:100], b"new"))
        server.resume()
        for key in KEYS[:100]:
            assert get(wire, key) == b"new"
        duo.wait_up()
        assert duo.stat(which, "journal_overflows") >= 1
        for key in KEYS:
            value = b"new" if key in KEYS[:100] else key
            assert get(wire, key) == value
        wait_until(lambda: count(server) == len(KEYS) + 1, what="all to be there")
        duo.wait_same(KEYS[5], b"new")
        duo.wait_same(KEYS[200], KEYS[200])


def test_a_request_never_waits_for_a_down_server(duo: Duo) -> None:
    with duo.proxy.connect() as wire:
        store(wire, {b"k": b"1"})
        duo.wait_same(b"k", b"1")
        duo.owner.pause()
        for _ in range(3):  # failure_limit: a read alone does not make a slow server a dead one
            assert get(wire, b"k") == b"1"
        duo.wait_down("owner")
        begin = time.monotonic()
        for n in range(200):
            store(wire, {b"k": b"%d" % n})
            assert get(wire, b"k") == b"%d" % n
        assert time.monotonic() - begin < 5
        duo.owner.resume()
        duo.wait_up()


def test_both_come_back_empty_one_after_the_other(duo: Duo) -> None:
    """With the re-warm of the one over before the other goes, nothing is lost."""
    with duo.proxy.connect() as wire:
        fill(wire, duo)
        for server in (duo.owner, duo.copy, duo.owner):
            duo.restart(server)
            assert all_there(wire)
            duo.wait_up()
            wait_until(lambda server=server: count(server) == len(KEYS), what="all to be there")  # type: ignore[misc]
        assert all_there(wire)


def test_add_stays_a_lock_through_a_restart(duo: Duo) -> None:
    """While the owner is warming, or missed the key: an add must not succeed, an incr must find it."""
    with duo.proxy.connect() as wire:
        store(wire, {b"lock": b"mine", b"counter": b"7"})
        for n, server in enumerate([duo.owner, duo.copy] * 2):
            duo.restart(server)
            for _ in range(50):
                wire.expect(storage(b"add", b"lock", b"yours"), b"NOT_STORED\r\n")
            reply = wire.ask(b"incr counter 1\r\n")
            assert reply == b"%d\r\n" % (8 + n)
            duo.wait_up()
        wire.expect(b"delete lock\r\n", b"DELETED\r\n")
        wire.expect(storage(b"add", b"lock", b"yours"), STORED)


def test_without_re_warm_reads_fill_it(start_duo: StartDuo) -> None:
    """rewarm: off leaves fallback and repair."""
    duo = start_duo(rewarm=False)
    with duo.proxy.connect() as wire:
        fill(wire, duo)
        duo.restart(duo.owner)
        assert all_there(wire)
        duo.wait_up()
        assert all_there(wire)
        wait_until(lambda: count(duo.owner) == len(KEYS), what="all repaired")


def test_a_supervisor_that_is_gone_changes_nothing(start_duo: StartDuo) -> None:
    """The workers act safely alone: no old value, and the server comes back."""
    duo = start_duo(workers=2)
    with duo.proxy.connect() as wire:
        store(wire, {b"k": b"1"})
        duo.wait_same(b"k", b"1")
        workers = duo.proxy.worker_pids()
        duo.proxy.process.signal(signal.SIGKILL)
        duo.proxy.process.wait()
        reader = Reader(duo)
        duo.owner.pause()
        store(wire, {b"k": b"2"})
        duo.wait_down("owner")
        store(wire, {b"k": b"3"})
        duo.owner.resume()
        wait_until(lambda: duo.stat("owner", "up") == 1, what="the owner to be up")
        duo.wait_same(b"k", b"3")
        assert reader.stop() in ([b"1", b"2", b"3"], [b"1", b"3"])
        assert get(wire, b"k") == b"3"
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not any(map(processes.exists, workers)), what="an end of the orphans")
