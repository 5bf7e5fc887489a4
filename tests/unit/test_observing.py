"""Hot keys, slow requests and taps over all workers, whose part of the memory real cores write."""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

import pytest

from memagent._core.observer import Observer, Tap
from memagent._core.session import Context
from memagent.admin.requests import InvalidError, RefusedError
from memagent.control import Taps, ToWorker
from memagent.fleet import Fleet
from memagent.inspection.keys import shown
from memagent.observed import Phase, Tapped
from memagent.observing import Observing
from memagent.segment import Segment
from memagent.settings import Config
from tests.support.core import Client, World

SLOW_MS = 100


class Worker:
    """A core with servers 0 and 1 that observes into a worker's part of the segment."""

    def __init__(self, segment: Segment, number: int) -> None:
        world = World(2)
        world.turn.now_us = time.monotonic_ns() // 1000 - 10_000_000
        parts = segment.hot_keys(number), segment.slow_log(number), segment.tapped(number)
        self.observer = Observer(world.turn, *parts, seed=number + 1)
        self.observer.configure(hot_keys=True, slow_us=SLOW_MS * 1000)
        world.context = Context(
            world.turn, world.memory, world.timers, world.counters, observer=self.observer
        )
        self.world = world
        self.client: Client = world.client()

    def ask(self, request: bytes, took_ms: int = 0) -> None:
        world = self.world
        for server in world.servers:
            server.holds = True
        world.turn.now_us += 1_000
        self.client.send(request)
        world.run()
        world.turn.now_us += took_ms * 1000
        for server in world.servers:
            server.release()
        world.run()


class Case:
    def __init__(self, **settings: object) -> None:
        pools = [{"name": "main", "servers": ["s0:1", "s1:2"]}]
        self.fleet = Fleet(Config.model_validate({"workers": 2, "pools": pools, **settings}))
        self.segment = Segment.create(2, 2)
        self.workers = [Worker(self.segment, number) for number in range(2)]
        self.told: list[ToWorker] = []
        self.observing = Observing(self.fleet, self.segment, self.tell_all)

    def tell_all(self, message: ToWorker) -> None:
        self.told.append(message)
        assert isinstance(message, Taps)
        for worker in self.workers:
            worker.observer.tap(
                [
                    Tap(each.number, each.prefix.encode(), -1, each.verb, each.per_s)
                    for each in message.filters
                ]
            )

    def tap(self, prefix: str = "", verb: str = "", per_s: int = 100) -> AsyncGenerator[Tapped, None]:
        return self.observing.tap(prefix=prefix, server=None, verb=verb, per_s=per_s)


@pytest.fixture
def make() -> Iterator[Callable[..., Case]]:
    made: list[Case] = []

    def start(**settings: object) -> Case:
        made.append(Case(**settings))
        return made[-1]

    yield start
    for case in made:
        for worker in case.workers:
            assert not worker.world.finish()


def test_a_key_is_hot_over_all_workers(make: Callable[..., Case]):
    case = make()
    one, other = case.workers
    for _ in range(30):
        one.ask(b"get both\r\n")
        other.ask(b"set both 0 0 1\r\nx\r\n")
        other.ask(b"get mine\r\n")
    one.ask(b"get rare\r\n")
    found = case.observing.hot(3)
    assert [each.key for each in found.keys] == ["both", "mine", "rare"]
    first = found.keys[0]
    assert first.share == pytest.approx(60 / 91, rel=0.01)
    assert first.requests_per_s == pytest.approx(found.requests_per_s * first.share)
    assert first.reads_per_s == pytest.approx(first.writes_per_s, rel=0.01)
    assert first.at_least_per_s == pytest.approx(first.requests_per_s) == first.at_most_per_s
    assert first.server == f"s{one.world.owner(b'both')}:{one.world.owner(b'both') + 1}"
    assert [each.key for each in case.observing.hot(1).keys] == ["both"]


def test_where_more_keys_are_asked_for_than_there_is_room_the_bounds_are_apart(make: Callable[..., Case]):
    case = make()
    for number in range(4000):
        case.workers[0].ask(b"get k%d\r\n" % number)
    for _ in range(50):
        case.workers[0].ask(b"get hot\r\n")
    found = case.observing.hot(1000)
    first, *others = found.keys
    assert first.key == "hot"
    assert first.at_least_per_s <= first.requests_per_s < first.at_most_per_s
    assert found.unseen_per_s > 0
    # known to the one worker: at the other it had nothing, which knows no key at all
    assert first.at_most_per_s <= first.requests_per_s * 2
    assert len(others) <= 511


@pytest.mark.parametrize(
    "key", [b"k" * 250, b"\xff\xfe", b"\xc2\x9b31m", "\u202etxt".encode(), b"\x1b]0;x\x07"]
)
def test_any_bytes_of_a_key_are_plain_text_and_not_lost(make: Callable[..., Case], key: bytes):
    case = make()
    hot = case.segment.hot_keys(0)
    hot.add(key, time.monotonic_ns() // 1000)
    (found,) = case.observing.hot(5).keys
    assert base64.b64decode(found.key_base64) == key
    assert found.key == shown(key)
    assert found.key.isprintable()
    found.key.encode()


def test_a_server_that_has_left_has_no_name(make: Callable[..., Case]):
    case = make()
    hot = case.segment.hot_keys(0)
    hot.add(b"k", time.monotonic_ns() // 1000, server=7)
    assert case.observing.hot(1).keys[0].server is None


def test_slow_requests_of_all_workers_the_newest_first(make: Callable[..., Case]):
    case = make()
    case.workers[1].ask(b"get old\r\n", SLOW_MS)
    case.workers[0].ask(b"get quick\r\n", SLOW_MS - 1)
    case.workers[0].world.turn.now_us = case.workers[1].world.turn.now_us
    case.workers[0].ask(b"set new 0 0 1\r\nx\r\n", SLOW_MS + 1)
    found = case.observing.slow(10)
    assert (found.slow_ms, found.total) == (SLOW_MS, 2)
    new, old = found.requests
    assert (new.verb, new.key, new.key_base64, new.worker, new.us) == ("set", "new", "bmV3", 0, 101_000)
    assert new.phases == (Phase("first", f"s{case.workers[0].world.owner(b'new')}", 101_000),)
    assert (old.key, old.worker, old.result, old.keys, old.found) == ("old", 1, "MISS", 1, 0)
    assert abs(old.ended_s - time.time()) < 60
    only = case.observing.slow(1)
    assert (only.total, [each.key for each in only.requests]) == (2, ["new"])


def test_what_is_off_says_so(make: Callable[..., Case]):
    case = make(hot_keys=False, slow_ms=0)
    with pytest.raises(RefusedError, match="not looked for"):
        case.observing.hot(1)
    with pytest.raises(RefusedError, match="no slow log"):
        case.observing.slow(1)


def run(work: Callable[[], object]) -> None:
    asyncio.run(asyncio.wait_for(work(), 20))  # type: ignore[arg-type]


def test_a_tap_shows_what_comes_of_all_workers_and_ends_when_nobody_listens(make: Callable[..., Case]):
    case = make()

    async def listen() -> None:
        case.workers[0].ask(b"get user:before\r\n")
        async with aclosing(case.tap("user:", per_s=1000)) as looks:
            assert await anext(looks) == Tapped((), 0, 0)
            case.workers[0].ask(b"get user:1\r\nget item:1\r\n")
            case.workers[1].ask(b"set user:2 0 0 6\r\nsecret\r\n")
            look = await anext(looks)
            assert {(each.worker, each.verb, each.key, each.result) for each in look.requests} == {
                (0, "get", "user:1", "MISS"),
                (1, "set", "user:2", "STORED"),
            }
            assert (look.matched, look.shown) == (2, 2)
            assert "secret" not in repr(look)
        assert case.told[-1] == Taps(())
        case.workers[0].ask(b"get user:after\r\n")

    run(listen)
    assert case.segment.tapped(0).count == 1


def test_what_a_tap_left_out_is_counted_and_so_is_what_a_successor_sees(make: Callable[..., Case]):
    case = make()

    async def listen() -> None:
        async with aclosing(case.tap(per_s=4)) as looks:
            await anext(looks)
            case.workers[0].ask(b"get a\r\n" * 10)
            look = await anext(looks)
            assert (look.matched, look.shown, len(look.requests)) == (10, 1, 1)
            # the worker is replaced, and hears of the tap again
            case.workers[0].observer.tap([])
            case.tell_all(case.told[-1])
            case.workers[0].ask(b"get a\r\n" * 3)
            while look.matched < 13:
                look = await anext(looks)
            assert look.matched == 13

    run(listen)


def test_several_taps_at_once_each_see_their_own(make: Callable[..., Case]):
    case = make()

    async def listen() -> None:
        async with aclosing(case.tap("a")) as of_a, aclosing(case.tap(verb="set")) as of_set:
            await anext(of_a)
            await anext(of_set)
            case.workers[0].ask(b"get a1\r\nset b1 0 0 1\r\nx\r\n")
            assert [each.key for each in (await anext(of_a)).requests] == ["a1"]
            assert [each.key for each in (await anext(of_set)).requests] == ["b1"]
        assert case.told[-1] == Taps(())

    run(listen)


def test_new_workers_hear_of_a_tap_and_whoever_listens_is_spoken_to(
    make: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("memagent.observing._SPEAK_EVERY_S", 0.02)
    monkeypatch.setattr("memagent.observing._TELL_EVERY_S", 0.02)
    monkeypatch.setattr("memagent.observing._LOOK_EVERY_S", 0.01)
    case = make()

    async def listen() -> None:
        async with aclosing(case.tap()) as looks:
            for _ in range(5):
                assert await anext(looks) == Tapped((), 0, 0)

    run(listen)
    assert len(case.told) >= 3
    assert len(set(case.told[:-1])) == 1


def test_taps_are_few_and_know_their_verbs(make: Callable[..., Case]):
    case = make()

    async def listen() -> None:
        with pytest.raises(InvalidError, match="is no verb"):
            await anext(case.tap(verb="nonsense"))
        taps = [case.tap() for _ in range(9)]
        for each in taps[:8]:
            await anext(each)
        with pytest.raises(RefusedError, match="8 taps are open"):
            await anext(taps[8])
        for each in taps:
            await each.aclose()

    run(listen)
    assert case.told[-1] == Taps(())
