"""Every verb with owner and copy up: behaviour.md section 2, the table's second column and the bullets."""

import re
import time
from collections.abc import Callable

import pytest

from tests.functional.duo import Duo, StartDuo, another_second, drop, get, hit, look
from tests.functional.tools import SERVER_ERROR, cas_of, storage, store
from tests.support.memcached import Memcached
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

STORED, NOT_STORED, NOT_FOUND = b"STORED\r\n", b"NOT_STORED\r\n", b"NOT_FOUND\r\n"


def test_a_set_is_on_both_whole(duo: Duo) -> None:
    """set: owner and copies at once: value, flags, time to live."""
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"1", b"77 100"), STORED)
        found = duo.wait_same(b"k", b"1")
        assert found is not None
        assert found.flags == 77
        assert 98 <= found.ttl_s <= 100
        wire.expect(storage(b"set", b"k", b"\r\nEND\r\n" * 5000), STORED)
        duo.wait_same(b"k", b"\r\nEND\r\n" * 5000)


def test_with_copies_2_the_copy_is_on_another_server_of_the_ring(
    memcached_factory: Callable[..., Memcached], proxy_factory: Callable[..., Proxy]
) -> None:
    """Section 1: a pool without backups."""
    servers = [memcached_factory() for _ in range(3)]
    proxy = proxy_factory(servers, pool={"copies": 2})
    keys = [b"k%d" % n for n in range(60)]
    started = time.time()
    with proxy.connect() as wire:
        store(wire, dict.fromkeys(keys, b"1"))

    def holders(key: bytes) -> list[int]:
        return [index for index, server in enumerate(servers) if server.get(key) is not None]

    wait_until(lambda: all(len(holders(key)) == 2 for key in keys), what="two copies of each")
    assert {tuple(holders(key)) for key in keys} == {(0, 1), (0, 2), (1, 2)}
    for server in servers:
        server.kill()
        with proxy.connect() as wire:
            assert [get(wire, key) for key in keys] == [b"1"] * len(keys)
            another_second(started)
            server.restart()
            started = time.time()
            assert [get(wire, key) for key in keys] == [b"1"] * len(keys)
        wait_until(
            lambda: all(v == "0" for n, v in proxy.stats("servers").items() if n.endswith(":state")),
            what="all up",
        )
        wait_until(lambda: all(len(holders(key)) == 2 for key in keys), what="two copies of each again")


EFFECTS = [
    (storage(b"add", b"n", b"new", b"5 50"), STORED, b"n", b"new"),
    (storage(b"replace", b"k", b"20", b"5 50"), STORED, b"k", b"20"),
    (storage(b"append", b"k", b"5"), STORED, b"k", b"105"),
    (storage(b"prepend", b"k", b"5"), STORED, b"k", b"510"),
    (b"incr k 7\r\n", b"17\r\n", b"k", b"17"),
    (b"decr k 3\r\n", b"7\r\n", b"k", None),  # memcached pads a shorter number with a space
    (b"touch k 500\r\n", b"TOUCHED\r\n", b"k", b"10"),
    (b"gat 500 k\r\n", hit(b"k", b"10"), b"k", b"10"),
    (b"gats 0 k\r\n", None, b"k", b"10"),
    (b"delete k\r\n", b"DELETED\r\n", b"k", "gone"),
    (storage(b"set", b"k", b"1", b"0 -1"), STORED, b"k", "gone"),
    (storage(b"set", b"k", b"1", b"3 0", b" noreply") + b"mn\r\n", b"MN\r\n", b"k", b"1"),
    (b"incr k 5 noreply\r\nmn\r\n", b"MN\r\n", b"k", b"15"),
    (b"delete k noreply\r\nmn\r\n", b"MN\r\n", b"k", "gone"),
    (b"touch k 90 noreply\r\nmn\r\n", b"MN\r\n", b"k", b"10"),
]


@pytest.mark.parametrize("acknowledge", ["owner", "all"])
def test_the_effect_goes_to_the_copy(start_duo: StartDuo, acknowledge: str) -> None:
    """Conditional verbs: the owner decides; copies receive the effect."""
    duo = start_duo(acknowledge=acknowledge)
    with duo.proxy.connect() as wire:
        for request, reply, key, value in EFFECTS:
            wire.expect(b"flush_all\r\n", b"OK\r\n")
            wire.expect(storage(b"set", b"k", b"10", b"0 100"), STORED)
            if reply is None:
                wire.ask(request, b"END\r\n")
            else:
                wire.expect(request, reply)
            if value == "gone":
                duo.wait_same(key, None)
            else:
                wanted = get(wire, key) if value is None else value
                found = duo.wait_same(key, wanted)
                if b" 500" in request:
                    assert found is not None
                    assert found.ttl_s > 490
        token = cas_of(wire, b"k")
        wire.expect(storage(b"cas", b"k", b"by cas", b"9 100", b" " + token), STORED)
        duo.wait_same(b"k", b"by cas")
        wire.expect(storage(b"cas", b"k", b"again", b"9 100", b" " + token), b"EXISTS\r\n")
        duo.wait_same(b"k", b"by cas")


REFUSALS = [
    (storage(b"add", b"k", b"2"), NOT_STORED),
    (storage(b"replace", b"n", b"2"), NOT_STORED),
    (storage(b"append", b"n", b"2"), NOT_STORED),
    (storage(b"prepend", b"n", b"2"), NOT_STORED),
    (storage(b"cas", b"n", b"2", tail=b" 12345"), NOT_FOUND),
    (storage(b"cas", b"k", b"2", tail=b" 999999"), b"EXISTS\r\n"),
    (b"incr n 1\r\n", NOT_FOUND),
    (b"touch n 1\r\n", NOT_FOUND),
    (b"gat 1 n\r\n", b"END\r\n"),
    (b"delete n\r\n", NOT_FOUND),
    (b"incr k 1\r\n", re.compile(rb"CLIENT_ERROR .*\r\n")),
]


def test_what_the_owner_refuses_changes_nothing(duo: Duo) -> None:
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"text", b"4 0"), STORED)
        for request, reply in REFUSALS:
            if isinstance(reply, bytes):
                wire.expect(request, reply)
            else:
                assert reply.fullmatch(wire.ask(request))
            duo.wait_same(b"k", b"text")
            duo.wait_same(b"n", None)


@pytest.mark.parametrize("where", ["owner", "copy"])
def test_delete_says_deleted_if_any_had_it(duo: Duo, where: str) -> None:
    getattr(duo, where).set(b"k", b"1")
    with duo.proxy.connect() as wire:
        wire.expect(b"delete k\r\n", b"DELETED\r\n")
        duo.wait_same(b"k", None)
        wire.expect(b"delete k\r\n", NOT_FOUND)


def test_flush_all_reaches_both(duo: Duo) -> None:
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"1"), STORED)
        duo.wait_same(b"k", b"1")
        wire.expect(b"flush_all\r\n", b"OK\r\n")
        wire.expect(b"get k\r\n", b"END\r\n")
        duo.wait_same(b"k", None)


class TestTheOwnerMissesWhatTheCopyHas:
    """Fallback: asked, answered, repaired; a conditional verb repairs the key first and then runs."""

    READS = (
        (b"get k\r\n", hit(b"k", b"10", 77)),
        (b"gat 100 k\r\n", hit(b"k", b"10", 77)),
        (b"get none k there\r\n", hit(b"k", b"10", 77).removesuffix(b"END\r\n") + hit(b"there", b"1")),
    )
    VERBS = (
        (storage(b"add", b"k", b"2"), NOT_STORED, b"10"),
        (storage(b"replace", b"k", b"2"), STORED, b"2"),
        (storage(b"append", b"k", b"2"), STORED, b"102"),
        (storage(b"prepend", b"k", b"2"), STORED, b"210"),
        (b"incr k 5\r\n", b"15\r\n", b"15"),
        (b"decr k 0\r\n", b"10\r\n", b"10"),
        (b"touch k 1000\r\n", b"TOUCHED\r\n", b"10"),
        (b"delete k\r\n", b"DELETED\r\n", None),
    )

    @staticmethod
    def lose(duo: Duo) -> None:
        """The owner has k no more, and nothing is under way."""
        with duo.proxy.connect() as wire:
            wire.expect(storage(b"set", b"k", b"10", b"77 100"), STORED)
            wire.expect(storage(b"set", b"there", b"1"), STORED)
        duo.wait_same(b"k", b"10")
        duo.wait_same(b"there", b"1")
        drop(duo.owner, b"k")

    @pytest.fixture
    def missing(self, duo: Duo) -> Duo:
        self.lose(duo)
        return duo

    def test_a_read(self, duo: Duo) -> None:
        for request, reply in self.READS:
            self.lose(duo)
            with duo.proxy.connect() as wire:
                wire.expect(request, reply)
            found = duo.wait_same(b"k", b"10")
            assert found is not None
            assert found.flags == 77
            assert 90 < found.ttl_s <= 100

    def test_a_conditional_verb(self, duo: Duo) -> None:
        for request, reply, after in self.VERBS:
            self.lose(duo)
            with duo.proxy.connect() as wire:
                wire.expect(request, reply)
                assert get(wire, b"k") == after
                duo.wait_same(b"k", after)

    def test_a_newer_value_is_never_overwritten(self, missing: Duo) -> None:
        """Repair has add semantics."""
        with missing.proxy.connect() as wire:
            wire.expect(b"get k\r\n", hit(b"k", b"10", 77))
            wire.expect(storage(b"set", b"k", b"newer"), STORED)
            missing.wait_same(b"k", b"newer")
            names = ("repairs", "repairs_refused", "repairs_failed")
            wait_until(
                lambda: sum(int(missing.proxy.stats()[name]) for name in names), what="an end of the repair"
            )
            assert get(wire, b"k") == b"newer"
            missing.wait_same(b"k", b"newer")

    def test_true_misses_stay_misses(self, missing: Duo) -> None:
        with missing.proxy.connect() as wire:
            wire.expect(b"get no\r\nget no no2\r\ngat 1 no\r\n", b"END\r\n" * 3)


@pytest.mark.parametrize("fallback", ["never", "warming"])
def test_without_fallback_a_miss_is_a_miss(start_duo: StartDuo, fallback: str) -> None:
    """`warming`: only while the owner is warming; `never`."""
    duo = start_duo(fallback=fallback)
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"1"), STORED)
        duo.wait_same(b"k", b"1")
        drop(duo.owner, b"k")
        wire.expect(b"get k\r\n", b"END\r\n")
        wire.expect(b"get a k b\r\n", b"END\r\n")
    assert look(duo.owner, b"k") is None


def test_a_copy_that_differs_does_not_stay(duo: Duo) -> None:
    """incr: a missing copy is better than a wrong one."""
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"10"), STORED)
        duo.wait_same(b"k", b"10")
        duo.copy.set(b"k", b"900")
        wire.expect(b"incr k 1\r\n", b"11\r\n")

        def no_lie() -> bool:
            found = look(duo.copy, b"k")
            return found is None or found.value == b"11"

        wait_until(no_lie, what="the wrong copy to go")
        wire.expect(b"incr k 1\r\n", b"12\r\n")
        wait_until(lambda: (found := look(duo.copy, b"k")) is None or found.value == b"12", what="no lie")


def test_a_copy_that_cannot_follow_does_not_stay(duo: Duo) -> None:
    """The copy's text is no number, or it is not there: it never says something else than the owner."""
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"10"), STORED)
        duo.wait_same(b"k", b"10")
        duo.copy.set(b"k", b"text")
        wire.expect(b"incr k 1\r\n", b"11\r\n")
        wait_until(lambda: (found := look(duo.copy, b"k")) is None or found.value == b"11", what="no lie")
        wire.expect(storage(b"set", b"a", b"1"), STORED)
        duo.wait_same(b"a", b"1")
        drop(duo.copy, b"a")
        wire.expect(storage(b"append", b"a", b"2"), STORED)
        wait_until(lambda: (found := look(duo.copy, b"a")) is None or found.value == b"12", what="no lie")
        assert look(duo.owner, b"a").value == b"12"  # type: ignore[union-attr]


def test_a_token_of_the_copy_never_fits_the_owner(duo: Duo) -> None:
    """cas tokens are only comparable on the server that gave them: EXISTS, though numbers are the same."""
    duo.copy.set(b"k", b"of the copy")
    with duo.proxy.connect() as wire:
        token = cas_of(wire, b"k")
        with duo.copy.connect() as direct:
            raw = int(cas_of(direct, b"k"))
        assert int(token) < 2**63, "signed in many clients"
        duo.wait_same(b"k", b"of the copy")
        # write on the owner until its own token is the very number that the copy had given
        with duo.owner.connect() as direct:
            while int(cas_of(direct, b"k")) < raw:
                direct.expect(storage(b"set", b"k", b"of the owner"), STORED)
        wire.expect(storage(b"cas", b"k", b"wrong", tail=b" " + token), b"EXISTS\r\n")
        token = cas_of(wire, b"k")
        wire.expect(storage(b"cas", b"k", b"right", tail=b" " + token), STORED)
        duo.wait_same(b"k", b"right")


def test_cas_loops_get_on(duo: Duo) -> None:
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"0"), STORED)
        for n in range(50):
            assert get(wire, b"k") == b"%d" % n
            token = cas_of(wire, b"k")
            wire.expect(storage(b"cas", b"k", b"%d" % (n + 1), tail=b" " + token), STORED)
        duo.wait_same(b"k", b"50")


def test_two_requests_reach_both_in_their_order(duo: Duo) -> None:
    """Order: whatever the verbs, owner and copy end the same."""
    verbs = [
        storage(b"set", b"k", b"1"),
        storage(b"append", b"k", b"2"),
        storage(b"prepend", b"k", b"3"),
        b"incr k 10\r\n",
        b"delete k\r\n",
        storage(b"add", b"k", b"4"),
        storage(b"replace", b"k", b"5"),
        storage(b"append", b"k", b"6"),
    ]
    replies = STORED * 3 + b"322\r\nDELETED\r\n" + STORED * 3
    with duo.proxy.connect() as wire:
        wire.expect(b"".join(verbs) * 40, replies * 40)
        duo.wait_same(b"k", b"56")


def test_quiet_requests_shift_nobodys_replies(duo: Duo) -> None:
    """An error of a quiet request, on either side, is dropped."""
    with duo.proxy.connect() as wire, duo.proxy.connect() as other:
        wire.expect(storage(b"set", b"text", b"x"), STORED)
        for n in range(50):
            wire.send(b"incr text 1 noreply\r\n" + storage(b"append", b"none", b"x", tail=b" noreply"))
            value = b"%d" % n
            other.expect(storage(b"set", b"k", value) + b"get k\r\n", STORED + hit(b"k", value))
            wire.expect(b"get text\r\n", hit(b"text", b"x"))


def test_the_answer_waits_for_the_owner_only(start_duo: StartDuo) -> None:
    """acknowledge: owner (default): a copy's trouble is not the client's."""
    duo = start_duo(request_timeout_ms=3000)
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"1"), STORED)
        duo.copy.pause()
        begin = time.monotonic()
        wire.expect(storage(b"set", b"k", b"2"), STORED)
        wire.expect(b"incr k 1\r\n", b"3\r\n")
        assert time.monotonic() - begin < 2
        duo.copy.resume()
        duo.wait_same(b"k", b"3")


def test_the_answer_waits_for_both(start_duo: StartDuo) -> None:
    """acknowledge: all."""
    duo = start_duo(request_timeout_ms=5000, acknowledge="all")
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"1"), STORED)
        for request, reply in ((storage(b"set", b"k", b"2"), STORED), (b"incr k 1\r\n", b"3\r\n")):
            duo.copy.pause()
            wire.send(request)
            assert wire.quiet(0.3)
            duo.copy.resume()
            wire.expect(b"", reply)
        duo.wait_same(b"k", b"3")


def test_with_all_a_copy_that_fails_is_journaled_and_no_error(start_duo: StartDuo) -> None:
    duo = start_duo(acknowledge="all")
    with duo.proxy.connect() as wire:
        duo.copy.kill()
        for n in range(5):
            wire.expect(storage(b"set", b"k", b"%d" % n), STORED)
        wire.expect(b"incr k 1\r\n", b"5\r\n")
        duo.restart(duo.copy)
        duo.wait_up()
        duo.wait_same(b"k", b"5")


def test_too_large_for_the_servers(start_duo: StartDuo) -> None:
    """Section 5: the old value is deleted as memcached does, on both."""
    duo = start_duo(args=("-I", "512k"))
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"1"), STORED)
        duo.wait_same(b"k", b"1")
        assert SERVER_ERROR.fullmatch(wire.ask(storage(b"set", b"k", b"x" * 700_000)))
        duo.wait_same(b"k", None)
        wire.expect(b"get k\r\n", b"END\r\n")
