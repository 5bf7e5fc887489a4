"""What the death of a worker and a flush_all excuse, and what they do not; replies in meta words."""

import asyncio
import os
import random
from types import SimpleNamespace
from typing import cast

import pytest

from tests.chaos.client import Client, Reply
from tests.chaos.conditional import Lock, Log
from tests.chaos.history import LOST, Events, History, Op
from tests.chaos.models import LATE_LOST_S
from tests.chaos.test_models import Counted, Registered, Story, register, story
from tests.chaos.watch import Watch
from tests.chaos.workers import Absence, Workers
from tests.support.proxy import Proxy

__all__ = ["register", "story"]


class TestLost:
    def test_a_set_may_be_seen_or_not(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        register.set(b"2", LOST)
        register.get(b"1")
        register.get(b"2")
        assert story.found == []
        assert register.model.has_lost
        register.get(None)
        assert story.kinds() == ["lost key"]

    def test_it_may_be_done_a_moment_later(self, story: Story, register: Registered) -> None:
        register.set(b"1", LOST)
        register.set(b"2")
        register.get(b"1")
        assert story.found == []
        story.tick(LATE_LOST_S)
        register.set(b"3")
        register.get(b"1")
        assert story.kinds() == ["old value"]
        assert not register.model.has_lost

    def test_a_server_in_trouble_may_do_it_at_any_time(self, story: Story, register: Registered) -> None:
        story.freeze(story.copy)
        register.set(b"1", LOST)
        story.tick(5)
        register.set(b"2")
        register.get(b"1")
        assert story.found == []

    def test_an_increment(self, story: Story) -> None:
        counter = Counted(story)
        counter.fail(LOST)
        counter.get(10)
        counter.get(11)
        assert story.found == []
        counter.get(12)
        assert story.kinds() == ["increment twice"]

    def test_a_piece_of_a_log(self, story: Story) -> None:
        log = Log(b"j", story.pair, story.report, b"log")
        log.created(log.begin("add", "log", "a", story.tick()), story.tick())
        entry = log.begin_entry("append", b"1", None, "a", story.tick())
        log.not_stored(entry, LOST, story.tick(), is_miss=False)
        for text in (b"log", b"log 1"):
            log.read(log.begin("get", "", "r", story.tick()), text, story.tick())
        assert story.found == []

    def test_a_lock_whose_release_is_lost_may_be_released_under_the_next(self, story: Story) -> None:
        lock = Lock(b"l", story.pair, story.report)
        for token in (b"1", b"2", b"3"):
            lock.added(lock.begin_add(token, "a", story.tick()), story.tick())
            if token == b"1":
                lock.released(lock.begin_release("a", story.tick()), LOST, story.tick(), was_held=True)
        assert story.found == []
        story.tick(LATE_LOST_S)
        for token in (b"4", b"5"):
            lock.added(lock.begin_add(token, "a", story.tick()), story.tick())
        assert story.kinds() == ["lock given twice"]


class TestFlush:
    def flush(self, story: Story, model: "Registered | Counted", is_done: bool = True) -> None:
        op = model.model.flush_begins("f", story.tick())
        model.model.flush_ends(op, "OK" if is_done else "SERVER_ERROR", story.tick(), is_done)

    def test_nothing_from_before(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        self.flush(story, register)
        register.get(None)
        assert story.found == []
        register.get(b"1")
        assert story.kinds() == ["old value"]

    def test_no_fault_excuses_it(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        story.freeze(story.owner)
        self.flush(story, register)
        story.up(story.owner)
        register.get(b"1")
        assert story.kinds() == ["old value"]

    @pytest.mark.parametrize("used_before_s", [0.5, 5.0])
    @pytest.mark.parametrize("may_spare", [False, True])
    def test_what_is_in_use_may_be_spared_by_newer_servers(
        self, story: Story, register: Registered, may_spare: bool, used_before_s: float
    ) -> None:
        story.copy.may_spare = may_spare
        register.set(b"1")
        register.set(b"2")
        story.tick(10)
        register.get(b"2")
        story.tick(used_before_s)
        self.flush(story, register)
        register.get(None)
        assert story.found == []
        register.get(b"2")
        is_excused = may_spare and used_before_s < 1
        assert story.kinds() == ([] if is_excused else ["old value"])
        register.get(b"1")
        assert story.kinds()[-1:] == ["old value"]
        story.found.clear()
        register.set(b"3")
        register.get(b"2")
        assert story.kinds() == ["old value"]

    def test_a_refill_reads_what_may_be_spared(self, story: Story, register: Registered) -> None:
        story.copy.may_spare = True
        register.set(b"1")
        story.freeze(story.owner)
        story.tick(5)
        self.flush(story, register)
        register.get(b"1")
        assert story.found == []

    def test_a_lock_may_be_spared(self, story: Story) -> None:
        story.owner.may_spare = True
        lock = Lock(b"l", story.pair, story.report)
        lock.added(lock.begin_add(b"1", "a", story.tick()), story.tick())
        op = lock.flush_begins("f", story.tick())
        lock.flush_ends(op, "OK", story.tick(), True)
        lock.not_added(lock.begin_add(b"2", "b", story.tick()), "NOT_STORED", story.tick())
        lock.read(lock.begin("get", "", "b", story.tick()), b"1", story.tick())
        assert story.found == []
        lock.released(lock.begin_release("a", story.tick()), "DELETED", story.tick(), was_held=True)
        lock.not_added(lock.begin_add(b"3", "b", story.tick()), "NOT_STORED", story.tick())
        assert story.kinds() == ["old value"]

    def test_what_comes_later_stays(self, story: Story, register: Registered) -> None:
        self.flush(story, register)
        register.set(b"1")
        register.get(b"1")
        assert story.found == []
        register.get(None)
        assert story.kinds() == ["lost key"]

    def test_what_was_written_meanwhile_may_be_gone(self, story: Story, register: Registered) -> None:
        op = register.model.flush_begins("f", story.tick())
        register.set(b"1")
        register.model.flush_ends(op, "OK", story.tick(), True)
        register.get(None)
        register.get(b"1")
        assert story.found == []

    def test_one_that_failed(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        self.flush(story, register, is_done=False)
        register.get(None)
        register.get(b"1")
        assert story.found == []

    def test_of_a_counter_nobody_knows_more(self, story: Story) -> None:
        counter = Counted(story)
        self.flush(story, counter)
        assert counter.model.is_lost
        counter.fail("NOT_FOUND")
        assert story.found == []

    def test_of_a_lock(self, story: Story) -> None:
        lock = Lock(b"l", story.pair, story.report)
        lock.added(lock.begin_add(b"1", "a", story.tick()), story.tick())
        op = lock.flush_begins("f", story.tick())
        lock.flush_ends(op, "OK", story.tick(), True)
        lock.released(lock.begin_release("a", story.tick()), "NOT_FOUND", story.tick(), was_held=True)
        lock.added(lock.begin_add(b"2", "b", story.tick()), story.tick())
        assert story.found == []
        lock.read(lock.begin("get", "", "r", story.tick()), b"1", story.tick())
        assert story.kinds() == ["old value"]


def test_who_lost_a_lock_may_release_that_of_the_next(story: Story) -> None:
    lock = Lock(b"l", story.pair, story.report)
    lock.added(lock.begin_add(b"1", "a", story.tick()), story.tick())
    flush = lock.flush_begins("f", story.tick())
    lock.flush_ends(flush, "OK", story.tick(), True)
    second = lock.begin_add(b"2", "b", story.tick())
    release = lock.begin_release("a", story.tick())
    lock.added(second, story.tick())
    lock.released(release, "DELETED", story.tick(), was_held=True)
    lock.added(lock.begin_add(b"3", "c", story.tick()), story.tick())
    assert story.found == []
    lock.added(lock.begin_add(b"4", "d", story.tick()), story.tick())
    assert story.kinds() == ["lock given twice"]


def test_a_write_past_a_holder_may_cost_it_the_key(story: Story, register: Registered) -> None:
    register.set(b"1")
    story.freeze(story.copy)
    op, version = register.model.begin_write("set", b"2", "w", story.tick())
    register.model.no_reply(op, version, story.tick(), "END")
    story.up(story.copy)
    register.get(b"2")
    story.kill(story.owner)
    register.get(None)
    assert story.found == []


def test_a_worker_dies_while_servers_are_out(story: Story, register: Registered) -> None:
    register.set(b"1")
    story.freeze(story.owner)
    assert [each.worker_dies() for each in story.pair] == [True, False]
    story.up(story.owner)
    register.get(None)
    assert story.kinds() == ["lost key"]  # the copy was there
    story.kill(story.copy)
    register.get(None)
    assert len(story.found) == 1
    register.set(b"2")
    register.get(None)
    assert len(story.found) == 2


def test_a_stall_is_nobodys_flaw() -> None:
    watch = Watch(0.5, list)
    watch._stalls.extend([(1.02, 1.02, 0.0), (1.04, 1.64, 0.1), (1.66, 1.66, 0.0)])
    assert watch.stalls_s(1.0, 1.5) == pytest.approx(0.58)
    assert watch.stalls_s(1.3, 2.0) == pytest.approx(0.44)
    assert watch.stalls_s(2.0, 3.0) == 0


def test_a_history_is_short_and_has_what_matters() -> None:
    events = Events(0.0)
    history = History("k", "s0", "b0")
    old = history.add(Op("set", "1:v", "w@7", 1.0, 1.001, "STORED"))
    for n in range(100):
        history.add(Op("get", "", "r@7", 2.0 + n / 100, 2.001 + n / 100, "1:v"))
    events.add("s0", "killed", 7.5)
    events.add("s1", "killed", 8.5)
    history.add(Op("set", "2:v", "w@8", 8.9, 8.95, "STORED"))
    wrong = history.add(Op("get", "", "r@8", 9.0, 9.1, "1:v", form="mg "))
    under_way = history.add(Op("delete", "", "w@8", 9.05))
    lines = history.render(events, wrong).splitlines()
    assert lines[0] == "key k, owner s0, copy b0; 94 earlier requests are not shown"
    assert str(old) in lines[2]  # it wrote what was read
    assert [line[:2] for line in lines[-4:]] == ["**", "  ", ">>", "  "]
    assert "s1" not in "".join(lines[1:])
    assert lines[-2].split() == [">>", "9.0000", "9.1000", "r@8", "mg", "get", "->", "1:v"]
    assert str(under_way) in lines[-1]
    assert "under way" in lines[-1]


def test_who_was_killed_or_frozen() -> None:
    workers = Workers.__new__(Workers)
    workers.killed = [Absence(7, 10.0, 11.0)]
    workers.frozen = [Absence(8, 20.0, 20.3)]
    assert workers.was_killed(7, 0.0, 10.1)
    assert not workers.was_killed(8, 0.0, 10.1)
    # whoever it was: the one whose death it met
    assert workers.was_killed(0, 9.0, 10.1)
    assert workers.was_killed(0, 10.01, 10.02)
    assert not workers.was_killed(0, 9.0, 9.9)
    assert not workers.was_killed(0, 9.0, 12.0)
    assert not workers.was_killed(0, 11.1, 11.2)
    workers.count, workers.has_supervisor, workers._known = 2, False, [os.getpid()]
    workers._proxy = cast("Proxy", SimpleNamespace(port=1))
    assert workers.serving(1) == 0  # not whoever is left
    assert workers.frozen_s(8, 20.2) == pytest.approx(0.1)
    assert workers.frozen_s(7, 20.2) == 0
    assert Absence(1, 5.0).within_s(4.0, 6.0) == 1


def replies(data: bytes, *shapes: str) -> list[Reply]:
    """What a client makes of these bytes, however they are cut."""

    async def hear(size: int) -> list[Reply]:
        client = Client("c")
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Reply]] = [loop.create_future() for _ in shapes]
        client._awaited.extend((shape, future, 0.0) for shape, future in zip(shapes, futures, strict=True))  # type: ignore[misc]
        for start in range(0, len(data), size):
            client.data_received(data[start : start + size])
        return [future.result() for future in futures]

    whole = asyncio.run(hear(len(data)))
    for size in (1, random.Random(1).randrange(2, 9)):
        cut = asyncio.run(hear(size))
        assert [(each.line, each.hits, each.stats) for each in cut] == [
            (each.line, each.hits, each.stats) for each in whole
        ]
    return whole


def test_meta_replies() -> None:
    data = b"VA 2 f5 c77\r\nab\r\nHD\r\nEN\r\nVA 1 f3\r\nx\r\nMN\r\nSERVER_ERROR no\r\nEN\r\nMN\r\nEND\r\n"
    item, done, miss, batch, trouble, end = replies(data, "meta", "meta", "meta", "batch", "batch", "values")
    assert [(hit.value, hit.flags, hit.cas) for hit in item.hits.values()] == [(b"ab", 5, 77)]
    assert (done.line, miss.line, batch.line, end.line) == ("HD", "EN", "MN", "END")
    assert [hit.value for hit in batch.hits.values()] == [b"x"]
    assert trouble.stats == ["SERVER_ERROR no", "EN"]
