"""The re-warm's own process between real servers, old and new (behaviour 4)."""

import base64
import mmap
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from memagent._core.marks import Marks, marks_bytes
from memagent.rewarm.job import Abort, Pause, Rates, Resume
from memagent.settings import PoolConfig
from memagent.topology import make_placement
from tests.support.memcached import Memcached, Version
from tests.support.relay import Relay
from tests.support.rewarm import Rewarm
from tests.support.wait import wait_until
from tests.support.wire import Wire

Start = Callable[..., Rewarm]
Servers = Callable[..., Memcached]
Relays = Callable[..., Relay]
GLOBAL = 1 << 61
PAIRS: list[tuple[Version, Version]] = [("old", "old"), ("new", "new"), ("old", "new"), ("new", "old")]
ANY_PAIR = pytest.mark.parametrize(("source_version", "target_version"), PAIRS)


@pytest.fixture
def rewarm() -> Iterator[Start]:
    """One server (the target) and one backup that has everything, unless the test says otherwise."""
    started: list[Rewarm] = []

    def start(target: Memcached | Relay, source: Memcached | Relay, **settings: Any) -> Rewarm:
        started.append(Rewarm([target.address], [source.address], 0, [1], **settings))
        return started[-1]

    yield start
    for each in started:
        each.close()


class Shared:
    """Marks in memory that another process can have."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("marks", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, 4096 + marks_bytes(1))
        self.marks = Marks(mmap.mmap(self.fd, 0), 4096)
        self.settings = {"marks_fd": self.fd, "marks_offset_bytes": 4096}


@pytest.fixture
def shared() -> Iterator[Shared]:
    made = Shared()
    yield made
    os.close(made.fd)


def named(key: bytes) -> tuple[bytes, bytes]:
    """The key in a meta request, and the flag that goes with it."""
    if any(c <= 32 or c == 127 for c in key):
        return base64.b64encode(key), b" b"
    return key, b""


def store(wire: Wire, key: bytes, value: bytes, flags: int = 0, ttl: int = 0) -> None:
    name, b = named(key)
    reply = wire.ask(b"ms %b %d F%d T%d%b\r\n%b\r\n" % (name, len(value), flags, ttl, b, value))
    assert reply == b"HD\r\n", reply


def look(wire: Wire, key: bytes) -> tuple[bytes, int, int] | None:
    """Value, flags and remaining time."""
    name, b = named(key)
    words = wire.ask(b"mg %b f t v%b\r\n" % (name, b)).split()
    if words[0] == b"EN":
        return None
    value = wire.read_exact(int(words[1]) + 2)[:-2]
    return value, int(words[2][1:]), int(words[3][1:])


def fill(server: Memcached, count: int, size: int = 20) -> list[bytes]:
    keys = [b"key:%06d" % i for i in range(count)]
    with server.connect() as wire:
        for start in range(0, count, 1000):
            some = keys[start : start + 1000]
            wire.send(b"".join(b"set %b 0 0 %d noreply\r\n%b\r\n" % (key, size, b"x" * size) for key in some))
        assert wire.ask(b"mn\r\n") == b"MN\r\n"
    return keys


def count_of(server: Memcached) -> int:
    return int(server.stats()["curr_items"])


# ---------------------------------------------------------------- what arrives


@ANY_PAIR
def test_value_flags_and_time_to_live_arrive(
    memcached_factory: Servers, rewarm: Start, source_version: Version, target_version: Version
) -> None:
    source, target = memcached_factory(source_version), memcached_factory(target_version)
    choice = random.Random(1)
    in_a_year = int(time.time()) + 365 * 86400
    ttls = [0, 0, 0, 30, 1000, 30 * 86400, in_a_year]
    keys = [b"key:%d" % i for i in range(2000)] + [
        *(b"k" * 250, b"\xc3\xa9%41+/=", b"a b", b"\x00\xff\n", b"tab\there", b"line\r\nend", b"x" * 187),
    ]
    with source.connect() as wire:
        for key in keys:
            size = choice.choice([0, 1, 100, 5000])
            store(wire, key, choice.randbytes(size), choice.choice([0, 1, 4294967295]), choice.choice(ttls))
        store(wire, b"END", b"END\r\nVA 3\r\nmn\r\n", 0, 0)
    last = rewarm(target, source).last()
    assert (last.event, last.copied, last.failed) == ("done", len(keys) + 1, 0), last
    assert count_of(target) == len(keys) + 1
    with source.connect() as before, target.connect() as after:
        for key in [*keys, b"END"]:
            old, new = look(before, key), look(after, key)
            assert old is not None
            assert new is not None
            assert old[:2] == new[:2], key
            if old[2] < 0:
                assert new[2] == old[2], key
            else:
                assert abs(new[2] - old[2]) <= 1, (key, old[2], new[2])


@pytest.mark.parametrize("version", ["old", "new"])
def test_an_expired_item_never_lives_again(
    memcached_factory: Servers, rewarm: Start, version: Version
) -> None:
    source, target = memcached_factory(version), memcached_factory(version)
    with source.connect() as wire:
        for i in range(300):
            store(wire, b"short:%d" % i, b"v", 0, 2)
        store(wire, b"long", b"v", 0, 100)
    running = rewarm(target, source, keys_per_s=100)
    wait_until(lambda: source.get(b"short:0") is None)
    assert running.last().event == "done"
    with target.connect() as wire:
        # What was copied in its last second may have a second more there, by the servers' own clocks.
        wait_until(lambda: all(look(wire, b"short:%d" % i) is None for i in range(300)), 3.0)
        assert look(wire, b"long") is not None


@pytest.mark.parametrize(("version", "kept"), [("old", False), ("new", True)])
def test_a_cas_that_a_proxy_has_chosen_is_the_same_at_both(
    memcached_factory: Servers, rewarm: Start, version: Version, kept: bool
) -> None:
    source, target = memcached_factory("new"), memcached_factory(version)
    with source.connect() as wire:
        assert wire.ask(b"ms a 1 E%d\r\nv\r\n" % (GLOBAL | 77)) == b"HD\r\n"
    assert rewarm(target, source).last().copied == 1
    with target.connect() as wire:
        assert (wire.ask(b"mg a c\r\n") == b"HD c%d\r\n" % (GLOBAL | 77)) == kept


@ANY_PAIR
def test_large_values_arrive(
    memcached_factory: Servers, rewarm: Start, source_version: Version, target_version: Version
) -> None:
    source = memcached_factory(source_version, args=["-m", "200", "-I", "3m"])
    target = memcached_factory(target_version, args=["-m", "200"])
    value = random.Random(2).randbytes(1_000_000)
    with source.connect() as wire:
        for i in range(30):
            store(wire, b"large:%d" % i, value + b"%d" % i)
        store(wire, b"too large", b"x" * 2_000_000)
    last = rewarm(target, source).last()
    assert (last.event, last.copied, last.too_big) == ("done", 30, 1)
    with target.connect() as wire:
        for i in range(30):
            found = look(wire, b"large:%d" % i)
            assert found is not None
            assert found[0] == value + b"%d" % i


@pytest.mark.parametrize("version", ["old", "new"])
def test_only_the_targets_own_keys_are_copied(memcached_factory: Servers, version: Version) -> None:
    servers = [memcached_factory(version) for _ in range(3)]
    addresses = [server.address for server in servers]
    keys = fill(servers[0], 3000)
    fill(servers[2], 3000)
    pool = {"copies": 2}
    placement = make_placement(PoolConfig.model_validate({"name": "main", "servers": addresses, **pool}))
    running = Rewarm(addresses, [], 1, [0, 2], pool=pool)
    try:
        assert running.last().event == "done"
    finally:
        running.close()
    expected = sum(1 in placement.locate(key) for key in keys)
    assert 0 < expected < 3000
    assert count_of(servers[1]) == expected


def test_an_empty_pool_is_done_at_once(memcached_factory: Servers, rewarm: Start) -> None:
    last = rewarm(memcached_factory(), memcached_factory()).last()
    assert (last.event, last.kept, last.reason) == ("done", 0, "")


@pytest.mark.parametrize("version", ["old", "new"])
def test_a_second_run_goes_on_where_the_first_ended(
    memcached_factory: Servers, rewarm: Start, version: Version
) -> None:
    source, target = memcached_factory(version), memcached_factory(version)
    fill(source, 5000)
    first = rewarm(target, source, keys_per_s=5000)
    first.reaches(lambda report: report.copied > 100)
    first.tell(Abort())
    ended = first.last()
    assert (ended.event, ended.unverified) == ("aborted", 0)
    assert 100 < ended.copied < 5000
    second = rewarm(target, source).last()
    assert (second.event, second.there, second.copied) == ("done", ended.copied, 5000 - ended.copied)
    assert count_of(target) == 5000


# ---------------------------------------------------------------- while clients write


@ANY_PAIR
def test_what_is_written_meanwhile_stays_right(
    memcached_factory: Servers,
    relay_factory: Relays,
    rewarm: Start,
    shared: Shared,
    source_version: Version,
    target_version: Version,
) -> None:
    """A writer as the proxy is one: it stamps, writes to the source, then to the target, and stamps again."""
    source, target = memcached_factory(source_version), memcached_factory(target_version)
    keys = fill(source, 4000)
    stop = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        choice = random.Random(3)
        with source.connect() as at_source, target.connect() as at_target:
            while not stop.is_set():
                key = choice.choice(keys[:400])
                request = choice.choice(
                    [b"delete %b\r\n" % key, b"set %b 0 100 3\r\nnew\r\n" % key, b"touch %b 500\r\n" % key]
                )
                shared.marks.stamp_key(key)
                at_source.ask(request)
                shared.marks.stamp_key(key)
                at_target.ask(request)
                shared.marks.stamp_key(key)
                written += 1

    writer = threading.Thread(target=write)
    # What is written between a fetch and its store has to be noticed: let there be time for it.
    relay = relay_factory(target)
    relay.delay(0.05, "forward")
    running = rewarm(relay, source, keys_per_s=20_000, **shared.settings)
    # What was written before it is copied would be there, or gone, and no copy of it be taken back.
    running.reaches(lambda report: report.listed > 0)
    writer.start()
    try:
        # The writer rests before the end, lest the last attempts leave its keys missing.
        running.reaches(lambda report: report.kept > 0 and report.copied > 2500)
    finally:
        stop.set()
        writer.join()
    last = running.last()
    assert last.event == "done"
    assert written > 100
    assert last.again > 0
    with source.connect() as before, target.connect() as after:
        for key in keys:
            old, new = look(before, key), look(after, key)
            if new is None:
                continue
            assert old is not None, f"{key!r} was deleted and lives again"
            assert new[:2] == old[:2]
            assert (new[2] < 0) == (old[2] < 0)
            assert abs(new[2] - old[2]) <= 2
    assert count_of(target) >= 3600


# ---------------------------------------------------------------- commands


def test_paused_resumed_and_at_another_rate(memcached_factory: Servers, rewarm: Start) -> None:
    source, target = memcached_factory(), memcached_factory()
    fill(source, 3000)
    running = rewarm(target, source, keys_per_s=300)
    running.reaches(lambda report: report.copied > 0)
    running.tell(Pause())
    paused = running.reaches(lambda report: report.phase == "paused")
    copied = count_of(target)
    seen = len(running.reports)
    wait_until(lambda: len(running.reports) >= seen + 2)
    assert count_of(target) <= copied + 10
    assert paused.total == 3000
    running.tell(Rates(0, 0))
    running.tell(Resume())
    assert running.last().copied == 3000


def test_a_rate_is_kept(memcached_factory: Servers, rewarm: Start) -> None:
    source, target = memcached_factory(), memcached_factory()
    fill(source, 3000, size=100)
    assert rewarm(target, source, keys_per_s=1500).last().elapsed_s > 1.8
    target.restart()
    assert rewarm(target, source, bytes_per_s=150_000).last().elapsed_s > 1.8


@pytest.mark.parametrize("how", ["leave", "terminate"])
def test_without_a_supervisor_it_ends_in_an_orderly_way(
    memcached_factory: Servers, rewarm: Start, shared: Shared, how: str
) -> None:
    source, target = memcached_factory(), memcached_factory()
    fill(source, 3000)
    running = rewarm(target, source, keys_per_s=500, **shared.settings)
    running.reaches(lambda report: report.copied > 0)
    getattr(running, how)()
    last = running.last()
    assert (last.event, last.unverified) == ("aborted", 0)
    assert count_of(target) == last.copied


# ---------------------------------------------------------------- trouble


@pytest.mark.parametrize("version", ["old", "new"])
def test_somebody_elses_listing_is_waited_for(
    memcached_factory: Servers, rewarm: Start, version: Version
) -> None:
    source, target = memcached_factory(version), memcached_factory(version)
    fill(source, 100_000, size=1)
    with source.connect() as admin, source.connect(deadline_s=60) as other:
        # A crawler that rests after every thousand items takes long, for anybody.
        assert admin.ask(b"lru_crawler sleep 50000\r\n") == b"OK\r\n"
        other.send(b"lru_crawler metadump all\r\n")
        reader = threading.Thread(target=other.read_until, args=(b"END\r\n",))
        reader.start()
        running = rewarm(target, source)
        running.reaches(lambda report: report.phase == "locked")
        admin.ask(b"lru_crawler sleep 100\r\n")
        last = running.last()
        reader.join()
    assert (last.event, last.listed) == ("done", 100_000)


def test_a_server_without_listings_is_named(memcached_factory: Servers, rewarm: Start) -> None:
    source = memcached_factory(args=["-o", "no_lru_crawler"])
    fill(source, 10)
    last = rewarm(memcached_factory(), source).last()
    assert last.event == "done"
    assert f"server {source.address} cannot list keys (CLIENT_ERROR lru crawler disabled)" in last.reason


def test_a_source_that_dies_is_named(memcached_factory: Servers, rewarm: Start, shared: Shared) -> None:
    source, target = memcached_factory(), memcached_factory()
    fill(source, 5000)
    running = rewarm(target, source, keys_per_s=1000, **shared.settings)
    running.reaches(lambda report: report.copied > 0)
    source.kill()
    last = running.last()
    assert (last.event, last.unverified) == ("failed", 0)
    assert f"server {source.address}: " in last.reason
    assert count_of(target) == last.copied > 0


def await_stores_in_flight(running: Rewarm, source: Memcached, target: Memcached, relay: Relay) -> None:
    """Copies have arrived at the target, and the re-warm will not hear of it."""
    running.reaches(lambda report: report.copied > 0)
    source.pause()
    seen = len(running.reports)
    wait_until(lambda: len(running.reports) >= seen + 2, what="all under way to wait for the source")
    relay.hold("back")
    before = count_of(target)
    source.resume()
    wait_until(lambda: count_of(target) > before, what="copies")


def test_a_target_that_dies_is_named(
    memcached_factory: Servers, relay_factory: Relays, rewarm: Start, shared: Shared
) -> None:
    source, target = memcached_factory(), memcached_factory()
    fill(source, 5000)
    relay = relay_factory(target)
    running = rewarm(relay, source, keys_per_s=1000, **shared.settings)
    await_stores_in_flight(running, source, target, relay)
    target.kill()
    relay.cut()
    last = running.last()
    assert last.event == "failed"
    assert f"server {relay.address}: " in last.reason
    assert last.unverified > 0


def test_a_target_that_comes_back_empty_has_nothing_unverified(
    memcached_factory: Servers, relay_factory: Relays, rewarm: Start, shared: Shared
) -> None:
    source, target = memcached_factory(), memcached_factory()
    fill(source, 5000)
    relay = relay_factory(target)
    running = rewarm(relay, source, keys_per_s=1000, **shared.settings)
    await_stores_in_flight(running, source, target, relay)
    target.restart()
    relay.heal()
    relay.cut()
    last = running.last()
    assert (last.event, last.unverified) == ("failed", 0)


def test_a_target_whose_connection_breaks_is_cleared(
    memcached_factory: Servers, relay_factory: Relays, rewarm: Start, shared: Shared
) -> None:
    source, target = memcached_factory(), memcached_factory()
    relay = relay_factory(target)
    fill(source, 5000)
    running = rewarm(relay, source, keys_per_s=1000, **shared.settings)
    await_stores_in_flight(running, source, target, relay)
    relay.heal()
    relay.cut()
    last = running.last()
    assert (last.event, last.unverified) == ("failed", 0)
    assert count_of(target) == last.copied > 0


def test_nobody_to_ask_is_said_so(memcached_factory: Servers, rewarm: Start) -> None:
    source, target = memcached_factory(), memcached_factory()
    target.kill()
    last = rewarm(target, source).last()
    assert last.event == "failed"
    assert last.reason == (
        f"server {target.address}: cannot connect: Connection refused; start it again once it is up"
    )
