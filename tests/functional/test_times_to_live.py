"""Items live as long as their client said, wherever they were copied: sections 2 and 4, a real clock."""

import time
from contextlib import ExitStack
from functools import partial

from tests.functional.duo import Duo, StartDuo, drop, get, hit, look
from tests.functional.tools import storage
from tests.support.memcached import Memcached
from tests.support.wait import wait_until
from tests.support.wire import Wire

STORED = b"STORED\r\n"

SHORT_S = 6
FLAGS = 4_000_000_001


def expiries() -> dict[bytes, tuple[int, int | None]]:
    """Key -> what the client writes, and the seconds that its item has to live, None for ever."""
    now = int(time.time())
    return {
        b"infinite": (0, None),
        b"relative": (1000, 1000),
        b"a month": (60 * 60 * 24 * 30, 60 * 60 * 24 * 30),
        b"absolute": (now + 2000, 2000),
        b"short": (SHORT_S, SHORT_S),
        b"short absolute": (now + SHORT_S, SHORT_S),
    }


def fill(wire: Wire) -> tuple[dict[bytes, int | None], float]:
    wanted = {}
    for name, (written, seconds) in expiries().items():
        key = name.replace(b" ", b"-")
        wire.expect(storage(b"set", key, key, b"%d %d" % (FLAGS, written)), STORED)
        wanted[key] = seconds
    wire.expect(storage(b"set", b"negative", b"x", b"0 -1"), STORED)
    wire.expect(storage(b"set", b"past", b"x", b"0 %d" % (time.time() - 100)), STORED)
    return wanted, time.monotonic()


def check(server: Memcached, wanted: dict[bytes, int | None], since: float) -> None:
    """Every item that must still be there is, whole, and with what is left of its time."""
    passed = time.monotonic() - since
    for key, seconds in wanted.items():
        found = look(server, key)
        if seconds == SHORT_S and passed > SHORT_S - 3:
            continue
        assert found is not None, key
        assert (found.value, found.flags) == (key, FLAGS)
        if seconds is None:
            assert found.ttl_s == -1, key
        else:
            assert abs(found.ttl_s - (seconds - passed)) <= 2, key
    assert look(server, b"negative") is None
    assert look(server, b"past") is None


def check_the_end(duo: Duo, wire: Wire, since: float) -> None:
    """An expired item is gone on time and never lives again."""
    short = [b"short", b"short-absolute"]
    left = SHORT_S + 2.5 - (time.monotonic() - since)
    wait_until(lambda: all(get(wire, key) is None for key in short), max(left, 0.5), "short lives to end")
    for _ in range(20):
        assert [get(wire, key) for key in short] == [None, None]
    assert [look(server, key) for server in (duo.owner, duo.copy) for key in short] == [None] * 4
    assert get(wire, b"relative") == b"relative"
    assert get(wire, b"negative") is None


def test_through_a_re_warm(start_duo: StartDuo) -> None:
    """Of the owner, and with other processes of the copy: what is short ends for both in the same seconds."""
    with ExitStack() as stack:
        ends = []
        for which in ("owner", "copy"):
            duo = start_duo()
            wire = stack.enter_context(duo.proxy.connect())
            wanted, since = fill(wire)
            for key in wanted:
                duo.wait_same(key, key)
            server = getattr(duo, which)
            duo.restart(server)
            duo.wait_up()
            wait_until(partial(look, server, b"infinite"), what=f"the re-warm of the {which}")
            check(server, wanted, since)
            ends.append((duo, wire, since))
        for end in ends:
            check_the_end(*end)


def test_through_a_repair(start_duo: StartDuo) -> None:
    duo = start_duo(rewarm=False)
    with duo.proxy.connect() as wire:
        wanted, since = fill(wire)
        for key in wanted:
            duo.wait_same(key, key)
            drop(duo.owner, key)
            wire.expect(b"get " + key + b"\r\n", hit(key, key, FLAGS))
        for key in wanted:
            duo.wait_same(key, key)
        check(duo.owner, wanted, since)
        check_the_end(duo, wire, since)


def test_through_a_return(start_duo: StartDuo) -> None:
    """Written while it was out of reach, refilled from the other; the owner, and elsewhere the copy."""
    with ExitStack() as stack:
        ends = []
        for which in ("owner", "copy"):
            duo = start_duo()
            server = getattr(duo, which)
            wire = stack.enter_context(duo.proxy.connect())
            server.pause()
            wire.expect(storage(b"set", b"k", b"1"), STORED)
            duo.wait_down(which)
            wanted, since = fill(wire)
            server.resume()
            duo.wait_up()
            for key in wanted:
                duo.wait_same(key, key)
            check(server, wanted, since)
            ends.append((duo, wire, since))
        for end in ends:
            check_the_end(*end)


def test_a_touch_reaches_both(duo: Duo) -> None:
    with duo.proxy.connect() as wire:
        for key, verb in ((b"a", b"touch a 3\r\n"), (b"b", b"gat 3 b\r\n")):
            wire.expect(storage(b"set", key, b"1"), STORED)
            duo.wait_same(key, b"1")
            wire.send(verb)
            wire.expect(b"", b"TOUCHED\r\n" if key == b"a" else hit(b"b", b"1"))
            found = duo.wait_same(key, b"1")
            assert found is not None
            assert 0 <= found.ttl_s <= 3
        wait_until(
            lambda: [look(each, key) for each in (duo.owner, duo.copy) for key in (b"a", b"b")] == [None] * 4,
            6,
            "both to be gone on both",
        )
        wire.expect(b"get a b\r\n", b"END\r\n")
