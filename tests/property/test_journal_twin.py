"""The journal against its plain twin, whatever the order of misses, deletes, answers and lost connections."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from memagent._core.journal import Journal
from tests.reference.journal import PlainJournal, drain

CHUNK_BYTES = 16 * 1024
RECORD_HEAD_BYTES = 3
SLOT_BYTES = 8
# Directory, table of parts, and the least that a part has.
FIXED_BYTES = 64 * 1024


def most_bytes(keys: list[bytes]) -> int:
    """At most half of the chunks' bytes are dead, but for two chunks; a part is at least an eighth full."""
    live = sum(RECORD_HEAD_BYTES + len(key) for key in keys)
    slots = 8 * SLOT_BYTES * len(keys) + 256 * 8 * SLOT_BYTES
    return 2 * live + 2 * CHUNK_BYTES + slots + FIXED_BYTES


class Twins(RuleBasedStateMachine):
    @initialize(max_keys=st.sampled_from([1, 3, 1000, 100_000]))
    def start(self, max_keys: int) -> None:
        self.journal = Journal(max_keys)
        self.plain = PlainJournal(max_keys)
        self.handed_out: list[bytes] = []

    def add(self, key: bytes) -> None:
        assert self.journal.add_key(key) == self.plain.add_key(key)

    @rule(key=st.binary(min_size=1, max_size=250) | st.sampled_from([b"a", b"b", b"c", b"d"]))
    def miss(self, key: bytes) -> None:
        self.add(key)

    @rule(first=st.integers(0, 300), count=st.integers(1, 300), width=st.sampled_from([4, 8, 30, 250]))
    def miss_many(self, first: int, count: int, width: int) -> None:
        for number in range(first, first + count):
            self.add(b"%0*d" % (width, number))

    @rule(count=st.integers(1, 400))
    def play(self, count: int) -> None:
        for _ in range(count):
            key = self.journal.take_key()
            assert key == self.plain.take_key()
            if key is not None:
                self.handed_out.append(key)

    @rule(share=st.sampled_from([0.1, 0.5, 0.9, 1.0]), seed=st.integers(0, 9))
    def answer(self, share: float, seed: int) -> None:
        choice = random.Random(seed)
        left = []
        for key in self.handed_out:
            if choice.random() < share:
                assert self.journal.remove_key(key) == self.plain.remove_key(key)
            else:
                left.append(key)
        self.handed_out = left

    @rule(key=st.sampled_from([b"a", b"b", b"0007", b"never there"]))
    def answer_what_nobody_may_have_asked(self, key: bytes) -> None:
        assert self.journal.remove_key(key) == self.plain.remove_key(key)

    @rule()
    def lose_the_connection(self) -> None:
        self.journal.rewind()
        self.plain.rewind()
        self.handed_out.clear()

    @rule()
    def clear(self) -> None:
        self.journal.clear()
        self.plain.clear()

    @invariant()
    def agree(self) -> None:
        assert len(self.journal) == self.journal.count == len(self.plain)
        assert self.journal.waiting == self.plain.waiting
        assert self.journal.overflowed == self.plain.overflowed
        assert self.journal.dropped == self.plain.dropped
        assert self.journal.used_bytes <= most_bytes(list(self.plain.entries))
        assert bool(self.journal.used_bytes) == bool(self.plain.entries)


TestTwins = pytest.mark.timeout(240)(Twins.TestCase)
TestTwins.settings = settings(max_examples=150, stateful_step_count=30)


@pytest.mark.parametrize("again", [True, False], ids=["keys-again", "new-keys"])
@pytest.mark.parametrize("seed", range(6))
def test_a_long_play_under_writes(seed: int, again: bool) -> None:
    """Chunks are filled, emptied out of order and merged; parts grow and shrink."""
    choice = random.Random(seed)
    widths = choice.choice([(6, 12), (20, 40), (200, 250)])
    journal, plain = Journal(), PlainJournal(1_000_000)
    keys = [b"%0*d" % (choice.randint(*widths), number) for number in range(100_000)]
    if again:
        del keys[8000:]
    handed_out: list[bytes] = []
    for _ in range(40):
        for _ in range(choice.randrange(2500)):
            key = choice.choice(keys) if again else keys.pop()
            assert journal.add_key(key)
            plain.add_key(key)
        taken = [journal.take_key() for _ in range(min(choice.randrange(3000), journal.waiting))]
        expected = [key for key, entry in plain.entries.items() if entry.waiting][: len(taken)]
        assert taken == expected
        for key in expected:
            plain.entries[key].waiting = False
            plain.entries[key].out += 1
        handed_out += expected
        choice.shuffle(handed_out)
        answered = choice.randrange(len(handed_out) + 1)
        for key in handed_out[:answered]:
            assert journal.remove_key(key) == plain.remove_key(key)
        del handed_out[:answered]
        if choice.random() < 0.3:
            journal.rewind()
            plain.rewind()
            handed_out.clear()
        assert (journal.count, journal.waiting) == (len(plain), plain.waiting)
        assert journal.used_bytes <= most_bytes(list(plain.entries))
    journal.rewind()
    plain.rewind()
    left = drain(journal)
    assert sorted(left) == sorted(plain.entries)
    assert all(journal.remove_key(key) for key in left)
    assert (journal.count, journal.used_bytes) == (0, 0)
