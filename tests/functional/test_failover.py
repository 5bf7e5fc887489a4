"""Owner, copy or both out of reach: behaviour.md section 2, other columns; what may be repeated."""

import time
from collections.abc import Callable

import pytest

from tests.functional.duo import LATE_S, QUICK, Duo, StartDuo, get, hit
from tests.functional.tools import SERVER_ERROR, Shop, cas_of, item, storage, store
from tests.support.memcached import Memcached, Version
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

STORED, NOT_STORED, NOT_FOUND = b"STORED\r\n", b"NOT_STORED\r\n", b"NOT_FOUND\r\n"

STORY = [
    (b"get k\r\n", hit(b"k", b"10", 7)),
    (b"gets k none\r\n", None),
    (b"gat 100 k\r\n", hit(b"k", b"10", 7)),
    (b"touch k 100\r\n", b"TOUCHED\r\n"),
    (storage(b"add", b"k", b"x"), NOT_STORED),
    (b"incr k 5\r\n", b"15\r\n"),
    (b"decr k 4\r\n", b"11\r\n"),
    (storage(b"append", b"k", b"1"), STORED),
    (storage(b"prepend", b"k", b"2"), STORED),
    (b"get k\r\n", hit(b"k", b"2111", 7)),
    (storage(b"replace", b"k", b"30"), STORED),
    (storage(b"cas", b"k", b"31", tail=b" 999999"), b"EXISTS\r\n"),
    (b"delete k\r\n", b"DELETED\r\n"),
    (b"get k\r\n", b"END\r\n"),
    (b"delete k\r\n", NOT_FOUND),
    (b"incr k 1\r\n", NOT_FOUND),
    (b"touch k 1\r\n", NOT_FOUND),
    (storage(b"replace", b"k", b"x"), NOT_STORED),
    (storage(b"append", b"k", b"x"), NOT_STORED),
    (storage(b"add", b"k", b"40"), STORED),
    (b"get k\r\n", hit(b"k", b"40")),
    (storage(b"set", b"k", b"50", b"9 0"), STORED),
    (b"get k\r\n", hit(b"k", b"50", 9)),
]


@pytest.mark.parametrize("acknowledge", ["owner", "all"])
@pytest.mark.parametrize("down", ["owner", "copy"])
def test_one_that_lives_answers_everything(start_duo: StartDuo, down: str, acknowledge: str) -> None:
    """Owner down: the copy, as if it were the owner; copy down: nothing changes."""
    duo = start_duo(acknowledge=acknowledge)
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"10", b"7 0"), STORED)
        duo.wait_same(b"k", b"10")
        getattr(duo, down).kill()
        for request, reply in STORY:
            begin = time.monotonic()
            if reply is None:
                wire.ask(request, b"END\r\n")
            else:
                wire.expect(request, reply)
            assert time.monotonic() - begin < LATE_S
        token = cas_of(wire, b"k")
        wire.expect(storage(b"cas", b"k", b"51", tail=b" " + token), STORED)
        wire.expect(storage(b"cas", b"k", b"52", tail=b" " + token), b"EXISTS\r\n")
        # and the one that was down learns all of it before anybody reads from it
        duo.restart(getattr(duo, down))
        assert get(wire, b"k") == b"51"
        duo.wait_up()
        duo.wait_same(b"k", b"51")


def test_the_first_read_after_a_death_is_a_hit(duo: Duo) -> None:
    """A refused or reset connection costs nobody anything: reads are repeated at the copy."""
    for _ in range(5):
        with duo.proxy.connect() as wire:
            wire.expect(storage(b"set", b"k", b"1"), STORED)
            duo.wait_same(b"k", b"1")
            duo.owner.kill()
            wire.expect(b"get k\r\n" * 50, hit(b"k", b"1") * 50)
            duo.restart(duo.owner)
            duo.wait_up()


def test_reads_wait_for_a_frozen_owner_within_the_bound(duo: Duo) -> None:
    """Its own keys answer from the copy after the first timeouts, never later than the limit."""
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"1"), STORED)
        duo.wait_same(b"k", b"1")
        duo.owner.pause()
        for request in [b"get k\r\n", b"gat 0 k\r\n", b"get a k b\r\n"] * 3:
            begin = time.monotonic()
            wire.expect(request, hit(b"k", b"1"))
            assert time.monotonic() - begin < LATE_S
        duo.wait_down("owner")
        duo.owner.resume()
        duo.wait_up()
        wire.expect(b"get k\r\n", hit(b"k", b"1"))


REPEATED = [
    (storage(b"set", b"k", b"2"), STORED, b"2"),
    (b"delete k\r\n", b"DELETED\r\n", None),
    (b"touch k 100\r\n", b"TOUCHED\r\n", b"1"),
]


@pytest.mark.parametrize("down", ["owner", "copy"])
def test_what_may_be_repeated_is(duo: Duo, down: str) -> None:
    """Sent, and the server froze: repeated elsewhere only if that is harmless; then it is no error."""
    with duo.proxy.connect() as wire:
        for request, reply, after in REPEATED:
            wire.expect(storage(b"set", b"k", b"1"), STORED)
            duo.wait_same(b"k", b"1")
            getattr(duo, down).pause()
            begin = time.monotonic()
            wire.expect(request, reply)
            assert time.monotonic() - begin < LATE_S
            assert get(wire, b"k") == after
            getattr(duo, down).resume()
            assert get(wire, b"k") == after
            duo.wait_up()
            duo.wait_same(b"k", after)


NOT_REPEATED = [
    # what is there before, the request, what it makes of it
    (b"10", b"incr k 5\r\n", b"15"),
    (b"10", b"decr k 0\r\n", b"10"),
    (b"10", storage(b"append", b"k", b"1"), b"101"),
    (b"10", storage(b"prepend", b"k", b"1"), b"110"),
    (None, storage(b"add", b"k", b"2"), b"2"),
    (b"10", storage(b"replace", b"k", b"2"), b"2"),
    (b"10", None, b"2"),  # cas, with the token that is k's then
]


def test_what_may_not_be_repeated_says_so(duo: Duo) -> None:
    """SERVER_ERROR that says "unknown outcome"; afterwards owner and copy agree on one of the two."""
    with duo.proxy.connect() as wire:
        for before, request, made in NOT_REPEATED:
            if before is None:
                wire.expect(b"delete k\r\n", b"DELETED\r\n")
            else:
                wire.expect(storage(b"set", b"k", before), STORED)
            duo.wait_same(b"k", before)
            given = request or storage(b"cas", b"k", made, tail=b" " + cas_of(wire, b"k"))
            duo.owner.pause()
            begin = time.monotonic()
            reply = wire.ask(given)
            assert time.monotonic() - begin < LATE_S
            assert SERVER_ERROR.fullmatch(reply), reply
            assert b"unknown outcome" in reply
            seen = get(wire, b"k")
            assert seen in (before, made)
            duo.owner.resume()
            duo.wait_up()
            now = get(wire, b"k")
            assert now in (before, made)
            duo.wait_same(b"k", now)


def test_both_down(start_duo: StartDuo) -> None:
    """None up: a miss (default), SERVER_ERROR for the rest; the connection lives."""
    duo = start_duo()
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"1"), STORED)
        duo.owner.kill()
        duo.copy.kill()
        wire.expect(b"get k\r\n", b"END\r\n")
        wire.expect(b"gets k a b\r\n", b"END\r\n")
        for request, reply in STORY:
            if not request.startswith(b"g"):
                assert SERVER_ERROR.fullmatch(wire.ask(request)), (request, reply)
        assert SERVER_ERROR.fullmatch(wire.ask(b"flush_all\r\n"))
        wire.expect(storage(b"set", b"k", b"1", tail=b" noreply") + b"mn\r\n", b"MN\r\n")
        duo.restart(duo.copy)
        wait_until(lambda: wire.ask(storage(b"set", b"k", b"2")) == STORED, what="the copy's return")
        wire.expect(b"get k\r\n", hit(b"k", b"2"))
        duo.restart(duo.owner)
        duo.wait_up()
        duo.wait_same(b"k", b"2")


def test_both_down_as_an_error(start_duo: StartDuo) -> None:
    duo = start_duo(get_when_down="error")
    duo.owner.kill()
    duo.copy.kill()
    with duo.proxy.connect() as wire:
        assert SERVER_ERROR.fullmatch(wire.ask(b"get k\r\n"))
        assert SERVER_ERROR.fullmatch(wire.ask(b"gets k\r\n"))


def test_both_frozen_stays_within_the_bound(duo: Duo) -> None:
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"1"), STORED)
        duo.wait_same(b"k", b"1")
        duo.owner.pause()
        duo.copy.pause()
        for request in (b"get k\r\n", storage(b"set", b"k", b"2"), b"incr k 1\r\n", b"delete k\r\n"):
            begin = time.monotonic()
            wire.ask(request)
            assert time.monotonic() - begin < LATE_S, request
        duo.owner.resume()
        duo.copy.resume()
        duo.wait_up()


@pytest.mark.parametrize("version", ["new"])
def test_cas_across_a_failover(duo: Duo) -> None:
    """From 1.6.27 on copies have the owner's token: gets and cas go on, whoever answers."""
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"1"), STORED)
        duo.wait_same(b"k", b"1")
        token = cas_of(wire, b"k")
        duo.owner.kill()
        assert cas_of(wire, b"k") == token
        wire.expect(storage(b"cas", b"k", b"2", tail=b" " + token), STORED)
        token = cas_of(wire, b"k")
        duo.restart(duo.owner)
        duo.wait_up()
        duo.wait_same(b"k", b"2")
        wire.expect(storage(b"cas", b"k", b"3", tail=b" " + token), STORED)
        wire.expect(storage(b"cas", b"k", b"4", tail=b" " + token), b"EXISTS\r\n")
        duo.wait_same(b"k", b"3")


@pytest.mark.parametrize("version", ["old"])
def test_cas_across_a_failover_with_older_servers(duo: Duo) -> None:
    """A token of one never fits the other: EXISTS, and the next loop gets on."""
    with duo.proxy.connect() as wire:
        wire.expect(storage(b"set", b"k", b"1"), STORED)
        duo.wait_same(b"k", b"1")
        owners = cas_of(wire, b"k")
        duo.owner.kill()
        wire.expect(storage(b"cas", b"k", b"x", tail=b" " + owners), b"EXISTS\r\n")
        copys = cas_of(wire, b"k")
        wire.expect(storage(b"cas", b"k", b"2", tail=b" " + copys), STORED)
        copys = cas_of(wire, b"k")
        duo.restart(duo.owner)
        duo.wait_up()
        duo.wait_same(b"k", b"2")
        wire.expect(storage(b"cas", b"k", b"x", tail=b" " + copys), b"EXISTS\r\n")
        wire.expect(storage(b"cas", b"k", b"3", tail=b" " + cas_of(wire, b"k")), STORED)


class TestMultiget:
    """Keys of three servers, with two backups."""

    @pytest.fixture
    def shop(
        self,
        memcached_factory: Callable[..., Memcached],
        proxy_factory: Callable[..., Proxy],
        version: Version,
        request: pytest.FixtureRequest,
    ) -> Shop:
        servers = [memcached_factory(version) for _ in range(3)]
        backups = [memcached_factory(version) for _ in range(2)]
        pool = {**QUICK, **getattr(request, "param", {})}
        shop = Shop(servers, proxy_factory(servers, backups, pool=pool))
        with shop.proxy.connect() as wire:
            store(wire, dict.fromkeys(self.mixed(shop), b"1"))
        keys = self.mixed(shop)
        wait_until(
            lambda: all(any(each.get(key) is not None for each in backups) for key in keys), what="copies"
        )
        return shop

    @staticmethod
    def mixed(shop: Shop) -> list[bytes]:
        owned = [shop.keys_of(index, 20) for index in range(3)]
        return [key for trio in zip(*owned, strict=True) for key in trio]

    def request_and_reply(self, shop: Shop) -> tuple[bytes, bytes]:
        keys = self.mixed(shop)
        request = b"get " + b" none ".join(keys) + b"\r\n"
        return request, b"".join(item(key, b"1") for key in keys) + b"END\r\n"

    def test_a_dead_servers_keys_fall_over(self, shop: Shop) -> None:
        request, reply = self.request_and_reply(shop)
        with shop.proxy.connect() as wire:
            wire.expect(request, reply)
            shop.servers[1].kill()
            wire.expect(request * 10, reply * 10)

    def test_a_server_dies_while_it_is_asked(self, shop: Shop) -> None:
        request, reply = self.request_and_reply(shop)
        with shop.proxy.connect() as wire:
            shop.servers[1].pause()
            wire.send(request * 3)
            assert wire.quiet(0.1)
            shop.servers[1].kill()
            wire.expect(b"", reply * 3)

    def test_a_server_freezes(self, shop: Shop) -> None:
        request, reply = self.request_and_reply(shop)
        with shop.proxy.connect() as wire:
            shop.servers[1].pause()
            for _ in range(4):
                begin = time.monotonic()
                wire.expect(request, reply)
                assert time.monotonic() - begin < LATE_S

    def test_keys_that_their_owner_missed(self, shop: Shop) -> None:
        request, reply = self.request_and_reply(shop)
        with shop.servers[1].connect() as direct:
            direct.expect(b"flush_all\r\n", b"OK\r\n")
        with shop.proxy.connect() as wire:
            wire.expect(request, reply)
        keys = shop.keys_of(1, 20)
        wait_until(lambda: all(shop.servers[1].get(key) == b"1" for key in keys), what="all repaired")

    @pytest.mark.parametrize(
        "shop", [{"multiget_deadline_ms": 150, "request_timeout_ms": 5000}], indirect=True
    )
    def test_deadline(self, shop: Shop) -> None:
        """What is there by then is the answer: the live servers' hits, at least."""
        request, reply = self.request_and_reply(shop)
        living = [key for index in (0, 2) for key in shop.keys_of(index, 20)]
        with shop.proxy.connect() as wire:
            shop.servers[1].pause()
            begin = time.monotonic()
            got = wire.ask(request, b"END\r\n")
            assert time.monotonic() - begin < 0.15 + 0.25
            assert all(item(key, b"1") in got for key in living)
            shop.servers[1].resume()
            wait_until(lambda: wire.ask(request, b"END\r\n") == reply, what="everything")


def test_a_frozen_server_delays_nobody_else(
    memcached_factory: Callable[..., Memcached], proxy_factory: Callable[..., Proxy]
) -> None:
    """While one client waits for the frozen one, another's requests to the others are all answered."""
    servers, backups = [memcached_factory() for _ in range(3)], [memcached_factory() for _ in range(2)]
    shop = Shop(servers, proxy_factory(servers, backups, pool={"request_timeout_ms": 3000}))
    frozen, others = shop.keys_of(1, 1)[0], shop.keys_of(0, 20) + shop.keys_of(2, 20)
    with shop.proxy.connect() as waiting, shop.proxy.connect() as wire:
        store(wire, dict.fromkeys([frozen, *others], b"1"))
        servers[1].pause()
        waiting.send(b"get " + frozen + b"\r\n")
        for _ in range(20):
            for key in others:
                wire.expect(b"get " + key + b"\r\n", hit(key, b"1"))
        assert waiting.quiet(0.05), "the frozen one has not even timed out"
        waiting.expect(b"", hit(frozen, b"1"))
