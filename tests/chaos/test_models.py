"""The checker sees lies and accepts the truth: histories made up, with a clock of their own."""

from itertools import count

import pytest

from tests.chaos.conditional import Counter, Lock, Log
from tests.chaos.holders import NEVER, Holder, Pair
from tests.chaos.models import Register, Violation


class Story:
    """Two holders and what the checker has to say; every step of the clock is a second's hundredth."""

    def __init__(self) -> None:
        self.owner, self.copy = Holder("owner", 0), Holder("copy", 0)
        self.pair = Pair(self.owner, self.copy)
        self.found: list[Violation] = []
        self.now = 1.0

    def tick(self, seconds: float = 0.01) -> float:
        self.now += seconds
        return self.now

    def report(self, violation: Violation) -> None:
        self.found.append(violation)

    def kinds(self) -> list[str]:
        return [each.kind for each in self.found]

    def kill(self, *holders: Holder) -> None:
        for holder in holders:
            holder.loses_memory(self.tick())

    def freeze(self, *holders: Holder) -> None:
        for holder in holders:
            holder.fault_begins()

    def up(self, *holders: Holder) -> None:
        for holder in holders:
            holder.is_called_up(self.tick())


@pytest.fixture
def story() -> Story:
    return Story()


class Registered:
    """A register with whole requests."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.model = Register(b"k", story.pair, story.report)

    def set(self, value: bytes, reply: str = "STORED", ttl_s: float = 0) -> None:
        op, version = self.model.begin_write("set", value, "w", self.story.tick(), ttl_s)
        if reply == "STORED":
            self.model.stored(op, version, reply, self.story.tick(), ttl_s)
        else:
            self.model.refused(op, version, reply, self.story.tick())

    def delete(self, had_it: bool) -> None:
        op, version = self.model.begin_write("delete", None, "w", self.story.tick())
        self.model.deleted(op, version, had_it, self.story.tick())

    def get(self, value: bytes | None) -> None:
        op = self.model.begin("get", "", "r", self.story.tick())
        self.model.read(op, value, self.story.tick())


@pytest.fixture
def register(story: Story) -> Registered:
    return Registered(story)


class TestRegister:
    def test_the_truth(self, story: Story, register: Registered) -> None:
        register.get(None)
        register.set(b"1")
        register.get(b"1")
        register.set(b"2")
        register.get(b"2")
        register.delete(had_it=True)
        register.get(None)
        register.delete(had_it=False)
        assert story.found == []

    def test_an_old_value(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        register.set(b"2")
        register.get(b"1")
        assert story.kinds() == ["old value"]
        assert "before" in story.found[0].text

    def test_no_fault_excuses_an_old_value(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        story.freeze(story.owner)
        register.set(b"2")
        story.kill(story.copy)
        register.get(b"1")
        assert story.kinds() == ["old value"]

    def test_what_was_deleted(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        register.delete(had_it=True)
        register.get(b"1")
        register.delete(had_it=True)
        assert story.kinds() == ["old value", "old value"]

    def test_what_was_never_written(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        register.get(b"2")
        assert story.kinds() == ["old value"]

    def test_writes_under_way_may_be_seen_or_not(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        op, version = register.model.begin_write("set", b"2", "w", story.tick())
        early = register.model.begin("get", "", "early", story.tick())
        register.get(b"1")
        register.get(b"2")
        register.model.stored(op, version, "STORED", story.tick())
        register.model.read(early, b"1", story.tick())
        assert story.found == []
        register.get(b"1")
        assert story.kinds() == ["old value"]

    def test_of_concurrent_writes_either_may_be_the_last(self, story: Story, register: Registered) -> None:
        first = register.model.begin_write("set", b"1", "a", story.tick())
        second = register.model.begin_write("set", b"2", "b", story.tick())
        register.model.stored(*first, "STORED", story.tick())
        register.model.stored(*second, "STORED", story.tick())
        register.get(b"2")
        register.get(b"1")
        assert story.found == []
        register.set(b"3")
        register.get(b"1")
        assert story.kinds() == ["old value"]

    def test_an_unknown_outcome_lasts_until_the_next_write(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        story.freeze(story.owner, story.copy)
        register.set(b"2", "SERVER_ERROR down")
        register.get(b"1")
        register.get(b"2")
        register.get(None)
        story.up(story.owner, story.copy)
        register.set(b"3")
        assert story.found == []
        register.get(b"2")
        assert story.kinds() == ["old value"]

    def test_a_miss(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        register.get(None)
        register.delete(had_it=False)
        assert story.kinds() == ["lost key", "lost key"]

    @pytest.mark.parametrize("which", ["owner", "copy"])
    def test_one_holder_that_lives_must_have_it(self, story: Story, register: Registered, which: str) -> None:
        register.set(b"1")
        story.kill(getattr(story, which))
        register.get(None)
        assert story.kinds() == ["lost key"]

    def test_both_lost_it(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        story.kill(story.owner, story.copy)
        register.get(None)
        story.up(story.owner, story.copy)
        register.get(None)
        assert story.found == []
        register.set(b"2")
        register.get(None)
        assert story.kinds() == ["lost key"]

    def test_both_lost_it_one_after_the_other(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        story.kill(story.owner)
        story.up(story.owner)
        register.get(None)
        assert story.kinds() == ["lost key"]
        story.kill(story.copy)
        register.get(None)
        assert len(story.found) == 1
        # had it been seen on the owner before, that would be no excuse
        register.set(b"2")
        story.kill(story.owner)
        story.up(story.owner, story.copy)
        register.model.keeping.found([story.owner, story.copy], story.tick())
        story.kill(story.copy)
        register.get(None)
        assert len(story.found) == 2

    def test_a_read_that_meets_a_write_may_be_done_before_it(
        self, story: Story, register: Registered
    ) -> None:
        story.freeze(story.copy)
        register.set(b"1")
        story.freeze(story.owner)
        story.up(story.copy)
        early = register.model.begin("get", "", "early", story.tick())
        register.set(b"2")
        register.model.read(early, None, story.tick())
        assert story.found == []
        register.get(None)
        assert story.kinds() == ["lost key"]

    @pytest.mark.parametrize(("worker", "kinds"), [(7, []), (8, ["lost key"])])
    def test_a_write_that_was_under_way_at_a_worker_that_died(
        self, story: Story, register: Registered, worker: int, kinds: list[str]
    ) -> None:
        story.pair.was_absent = lambda pid, begun, asked: pid == 7
        register.set(b"1")
        register.model.begin_write("set", b"2", f"w@{worker}", story.tick())
        story.freeze(story.owner)
        register.get(None)
        assert story.kinds() == kinds
        story.up(story.owner)
        register.get(None)
        assert story.kinds() == [*kinds, "lost key"]

    def test_out_of_reach_is_not_lost(self, story: Story, register: Registered) -> None:
        register.set(b"1")
        story.freeze(story.owner)
        register.get(None)
        assert story.kinds() == ["lost key"]
        story.freeze(story.copy)
        register.get(None)
        assert len(story.found) == 1
        story.up(story.owner)
        register.get(None)
        assert len(story.found) == 2

    def test_a_write_that_only_one_holder_can_have(self, story: Story, register: Registered) -> None:
        story.freeze(story.owner)
        register.set(b"1")
        story.up(story.owner)
        register.get(None)
        assert story.kinds() == ["lost key"]
        story.kill(story.copy)
        register.get(None)
        assert len(story.found) == 1

    def test_a_write_that_one_of_the_two_must_have(self, story: Story, register: Registered) -> None:
        story.freeze(story.owner, story.copy)
        register.set(b"1")
        register.get(None)
        story.up(story.owner)
        register.get(None)
        assert story.found == []
        story.up(story.copy)
        register.get(None)
        assert story.kinds() == ["lost key"]

    def test_times_to_live(self, story: Story, register: Registered) -> None:
        register.set(b"1", ttl_s=5)
        register.get(b"1")
        story.tick(3.5)
        register.get(b"1")
        story.tick(1.0)
        register.get(None)
        register.get(b"1")
        story.tick(4.0)
        assert story.found == []
        register.get(b"1")
        assert story.kinds() == ["expired value"]

    def test_it_is_gone_too_early(self, story: Story, register: Registered) -> None:
        register.set(b"1", ttl_s=5)
        story.tick(2.5)
        register.get(None)
        assert story.kinds() == ["lost key"]

    def test_touched(self, story: Story, register: Registered) -> None:
        register.set(b"1", ttl_s=3)
        op = register.model.begin_touch("t", story.tick(), 100)
        register.model.touched(op, story.tick(), 100)
        story.tick(9)
        register.get(b"1")
        assert story.found == []
        register.get(None)
        assert story.kinds() == ["lost key"]

    def test_an_error(self, story: Story, register: Registered) -> None:
        story.freeze(story.owner)
        register.set(b"1", "SERVER_ERROR no")
        assert story.kinds() == ["error reply"]
        story.freeze(story.copy)
        register.set(b"1", "SERVER_ERROR no")
        assert len(story.found) == 1

    def test_a_report_has_the_whole_story(self, story: Story, register: Registered) -> None:
        from tests.chaos.history import Events

        events = Events(0.0)
        register.set(b"1")
        events.add("owner", "killed", story.tick())
        register.set(b"2")
        register.get(b"1")
        text = register.model.history.render(events, story.found[0].op)
        lines = text.splitlines()
        assert lines[0] == "key k, owner owner, copy copy"
        assert ["set 1 -> STORED" in lines[2], "owner: killed" in lines[3], "set 2" in lines[4]] == [True] * 3
        assert lines[5].startswith(">>")
        assert lines[5].endswith("-> 1")


class Counted:
    def __init__(self, story: Story) -> None:
        self.story = story
        self.model = Counter(b"c", story.pair, story.report, 10)
        self.model.created(self.model.begin("add", "10", "a", story.tick()), story.tick())

    def incr(self, result: int, amount: int = 1) -> None:
        step = self.model.begin_step(amount, "a", self.story.tick())
        self.model.stepped(step, result, self.story.tick())

    def fail(self, reply: str) -> None:
        step = self.model.begin_step(1, "a", self.story.tick())
        self.model.failed(step, reply, self.story.tick())

    def get(self, value: int | None) -> None:
        op = self.model.begin("get", "", "r", self.story.tick())
        self.model.read(op, value, self.story.tick())


class TestCounter:
    def test_the_truth(self, story: Story) -> None:
        counter = Counted(story)
        counter.get(10)
        counter.incr(11)
        counter.incr(13, 2)
        counter.incr(12, -1)
        counter.get(12)
        assert story.found == []

    def test_a_lost_increment(self, story: Story) -> None:
        counter = Counted(story)
        counter.incr(11)
        counter.incr(12)
        story.kill(story.owner)
        counter.get(11)
        assert set(story.kinds()) == {"lost increment"}

    def test_the_same_result_twice(self, story: Story) -> None:
        counter = Counted(story)
        first, second = (counter.model.begin_step(1, "a", story.tick()) for _ in range(2))
        counter.model.stepped(first, 11, story.tick())
        counter.model.stepped(second, 11, story.tick())
        assert story.found == []  # nobody can tell yet: one of them may still be under way elsewhere
        counter.get(11)
        assert story.kinds() == ["lost increment"]

    def test_counted_twice(self, story: Story) -> None:
        counter = Counted(story)
        counter.incr(12)
        assert story.kinds() == ["increment twice"]

    def test_an_unknown_outcome(self, story: Story) -> None:
        counter = Counted(story)
        story.freeze(story.owner)
        counter.fail("SERVER_ERROR unknown outcome")
        counter.get(10)
        counter.get(11)
        counter.incr(11)
        counter.incr(12)
        assert story.found == []
        counter.incr(14)  # the unknown one was either in the first result or never
        assert "increment twice" in story.kinds()

    def test_unknown_without_a_fault(self, story: Story) -> None:
        Counted(story).fail("SERVER_ERROR unknown outcome")
        assert story.kinds() == ["error reply"]

    def test_any_other_error_with_a_holder_alive(self, story: Story) -> None:
        counter = Counted(story)
        story.freeze(story.owner)
        counter.fail("SERVER_ERROR down")
        assert story.kinds() == ["error reply"]

    def test_not_found(self, story: Story) -> None:
        counter = Counted(story)
        story.kill(story.owner)
        counter.fail("NOT_FOUND")
        assert story.kinds() == ["lost key"]
        assert not counter.model.is_lost
        story.kill(story.copy)
        counter.fail("NOT_FOUND")
        assert len(story.found) == 1
        assert counter.model.is_lost


class TestLock:
    def add(self, lock: Lock, story: Story, reply: str = "STORED") -> bytes:
        token = b"t%d" % next(_numbers)
        grant = lock.begin_add(token, "a", story.tick())
        if reply == "STORED":
            lock.added(grant, story.tick())
        else:
            lock.not_added(grant, reply, story.tick())
        return token

    def release(self, lock: Lock, story: Story, reply: str = "DELETED") -> None:
        lock.released(lock.begin_release("a", story.tick()), reply, story.tick(), was_held=True)

    @pytest.fixture
    def lock(self, story: Story) -> Lock:
        return Lock(b"l", story.pair, story.report)

    def test_the_truth(self, story: Story, lock: Lock) -> None:
        for _ in range(3):
            token = self.add(lock, story)
            self.add(lock, story, "NOT_STORED")
            op = lock.begin("get", "", "r", story.tick())
            lock.read(op, token, story.tick())
            self.release(lock, story)
            op = lock.begin("get", "", "r", story.tick())
            lock.read(op, None, story.tick())
        assert story.found == []
        assert lock.given == 3

    def test_given_twice(self, story: Story, lock: Lock) -> None:
        self.add(lock, story)
        story.kill(story.owner)
        self.add(lock, story)
        assert story.kinds() == ["lock given twice"]

    def test_given_twice_at_the_same_time(self, story: Story, lock: Lock) -> None:
        first, second = (lock.begin_add(b"%d" % n, "a", story.tick()) for n in range(2))
        lock.added(first, story.tick())
        lock.added(second, story.tick())
        assert story.kinds() == ["lock given twice"]

    def test_both_holders_lost_it(self, story: Story, lock: Lock) -> None:
        self.add(lock, story)
        story.kill(story.owner, story.copy)
        self.add(lock, story)
        assert story.found == []

    def test_while_it_is_being_released_anybody_may_have_it(self, story: Story, lock: Lock) -> None:
        self.add(lock, story)
        release = lock.begin_release("a", story.tick())
        self.add(lock, story, "NOT_STORED")
        self.add(lock, story)
        lock.released(release, "DELETED", story.tick(), was_held=True)
        assert story.found == []

    def test_held_by_nobody(self, story: Story, lock: Lock) -> None:
        token = self.add(lock, story)
        self.release(lock, story)
        self.add(lock, story, "NOT_STORED")
        op = lock.begin("get", "", "r", story.tick())
        lock.read(op, token, story.tick())
        assert story.kinds() == ["old value"] * 2

    def test_lost_while_held(self, story: Story, lock: Lock) -> None:
        self.add(lock, story)
        op = lock.begin("get", "", "r", story.tick())
        lock.read(op, None, story.tick())
        self.release(lock, story, "NOT_FOUND")
        assert story.kinds() == ["lost key"] * 2

    def test_an_unknown_outcome_may_hold_it(self, story: Story, lock: Lock) -> None:
        story.freeze(story.owner)
        self.add(lock, story, "SERVER_ERROR unknown outcome")
        self.add(lock, story, "NOT_STORED")
        self.release(lock, story)
        assert story.found == []
        self.add(lock, story, "NOT_STORED")
        assert story.kinds() == ["old value"]


class TestLog:
    @pytest.fixture
    def log(self, story: Story) -> Log:
        log = Log(b"j", story.pair, story.report, b"log")
        log.created(log.begin("add", "log", "a", story.tick()), story.tick())
        return log

    def add(self, log: Log, story: Story, mark: bytes, whole: bytes | None, reply: str = "STORED") -> None:
        entry = log.begin_entry("cas", mark, whole, "a", story.tick())
        if reply == "STORED":
            log.stored(entry, story.tick())
        else:
            log.not_stored(entry, reply, story.tick(), is_miss=reply.startswith("NOT_"))

    def read(self, log: Log, story: Story, text: bytes | None) -> None:
        log.read(log.begin("get", "", "r", story.tick()), text, story.tick())

    def test_the_truth(self, story: Story, log: Log) -> None:
        self.read(log, story, b"log")
        self.add(log, story, b"1", b"log 1")
        self.read(log, story, b"log 1")
        self.add(log, story, b"2", b"log 2", "EXISTS")
        self.add(log, story, b"3", b"log 1 3")
        self.read(log, story, b"log 1 3")
        assert story.found == []

    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            (b"log 2", "lost write"),
            (b"log 2 1", "lost write"),
            (b"log 1 2 2", "written twice"),
            (b"log 1 2 3", "old value"),
            (b"log 1 2 9", "old value"),
            (b"gol 1 2", "old value"),
            (None, "lost key"),
        ],
    )
    def test_lies(self, story: Story, log: Log, text: bytes | None, kind: str) -> None:
        self.add(log, story, b"1", b"log 1")
        self.add(log, story, b"2", b"log 1 2")
        self.add(log, story, b"3", b"log 1 2 3", "EXISTS")
        self.read(log, story, text)
        assert kind in story.kinds()

    def test_an_unknown_outcome(self, story: Story, log: Log) -> None:
        story.freeze(story.owner)
        self.add(log, story, b"1", None, "SERVER_ERROR unknown outcome")
        self.read(log, story, b"log")
        self.read(log, story, b"log 1")
        assert story.found == []


_numbers = count()


def test_sound_means_called_up_after_the_fault() -> None:
    holder = Holder("s")
    assert not holder.is_sound_since(5)
    holder.is_called_up(4)
    holder.is_called_up(6)
    assert holder.is_sound_since(5)
    holder.fault_begins()
    assert not holder.is_sound_since(5)
    assert holder.sound_since == NEVER


def test_a_pair() -> None:
    pair = Pair(Holder("o", 1), Holder("c", 3))
    assert [pair.any_sound(begun) for begun in (0, 2, 3)] == [False, True, True]
    assert [pair.both_sound(begun) for begun in (0, 2, 3)] == [False, False, True]
