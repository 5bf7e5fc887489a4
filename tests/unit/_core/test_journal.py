"""The journal: each key once, in order, until its delete is answered; bounded, and all memory counted."""

import random

import pytest

from memagent._core.journal import Journal
from tests.reference.journal import drain

MIB = 1 << 20


def filled(*keys: bytes) -> Journal:
    journal = Journal()
    assert all(journal.add_key(key) for key in keys)
    return journal


def test_keys_are_handed_out_once_in_the_order_of_their_first_miss() -> None:
    journal = filled(b"c", b"a", b"b", b"a", b"c")
    assert (len(journal), journal.waiting) == (3, 3)
    assert drain(journal) == [b"c", b"a", b"b"]
    assert (len(journal), journal.waiting) == (3, 0)
    assert journal.take_key() is None


def test_a_key_that_is_in_costs_nothing() -> None:
    journal = filled(b"key")
    before = journal.used_bytes
    for _ in range(10_000):
        assert journal.add_key(b"key")
    assert (len(journal), journal.used_bytes) == (1, before)


def test_a_key_is_gone_when_its_delete_is_answered() -> None:
    journal = filled(b"a", b"b")
    assert journal.take_key() == b"a"
    assert journal.remove_key(b"a")
    assert not journal.remove_key(b"a")
    assert (len(journal), journal.waiting) == (1, 1)
    assert drain(journal) == [b"b"]


def test_nothing_is_removed_that_was_not_handed_out() -> None:
    journal = filled(b"a")
    assert not journal.remove_key(b"a")
    assert not journal.remove_key(b"never there")
    assert not Journal().remove_key(b"a")
    assert drain(journal) == [b"a"]


def test_a_key_missed_again_is_handed_out_again_behind_the_others() -> None:
    journal = filled(b"a", b"b")
    assert journal.take_key() == b"a"
    assert journal.add_key(b"a")
    assert (len(journal), journal.waiting) == (2, 2)
    assert drain(journal) == [b"b", b"a"]


def test_the_answer_to_an_earlier_delete_does_not_remove_a_key_missed_again() -> None:
    journal = filled(b"a")
    assert journal.take_key() == b"a"
    journal.add_key(b"a")
    assert not journal.remove_key(b"a")  # the first delete's answer
    assert (len(journal), journal.waiting) == (1, 1)
    assert journal.take_key() == b"a"
    assert journal.remove_key(b"a")
    assert journal.used_bytes == 0


def test_with_two_deletes_under_way_the_second_answer_counts() -> None:
    journal = filled(b"a")
    assert journal.take_key() == b"a"
    journal.add_key(b"a")
    assert journal.take_key() == b"a"
    assert not journal.remove_key(b"a")
    assert (len(journal), journal.waiting) == (1, 0)
    assert journal.remove_key(b"a")
    assert len(journal) == 0


def test_what_no_answer_will_come_for_is_handed_out_once_more() -> None:
    journal = filled(b"a", b"b", b"c", b"d")
    assert [journal.take_key() for _ in range(3)] == [b"a", b"b", b"c"]
    journal.remove_key(b"b")
    journal.rewind()
    assert journal.waiting == 3
    assert not journal.remove_key(b"a")  # an answer that came too late
    assert drain(journal) == [b"a", b"c", b"d"]


def test_what_was_missed_again_owes_one_delete_after_a_rewind() -> None:
    journal = filled(b"a", b"b")
    drain(journal)
    journal.add_key(b"a")
    journal.rewind()
    assert drain(journal) == [b"b", b"a"]
    assert journal.remove_key(b"a")
    assert journal.remove_key(b"b")
    assert journal.used_bytes == 0


@pytest.mark.parametrize("handed_out", [60, 100, 130, 190, 260])
def test_a_rewind_finds_what_was_moved_together(handed_out: int) -> None:
    """Chunks that lost most of their keys are merged, also where `take` has come to."""
    keys = [b"%0250d" % number for number in range(300)]  # 64 to a chunk
    journal = filled(*keys)
    for key in keys[:handed_out]:
        assert journal.take_key() == key
    for key in keys[:handed_out]:
        if int(key) % 5:
            assert journal.remove_key(key)
    journal.rewind()
    assert drain(journal) == [key for key in keys if int(key) >= handed_out or int(key) % 5 == 0]


def test_a_rewind_of_nothing() -> None:
    journal = Journal()
    journal.rewind()
    assert journal.take_key() is None


@pytest.mark.parametrize("key", [b"", b"k" * 251, b"k" * 70_000])
def test_what_is_no_key_is_refused(key: bytes) -> None:
    journal = filled(b"a")
    with pytest.raises(ValueError, match="is no key"):
        journal.add_key(key)
    assert not journal.remove_key(key)
    assert len(journal) == 1


def test_keys_of_any_bytes_and_lengths() -> None:
    keys = [bytes([first]) * length for first in (1, 0x7F, 0x80, 0xFF) for length in range(1, 251)]
    journal = filled(*keys)
    assert drain(journal) == keys
    assert all(journal.remove_key(key) for key in reversed(keys))
    assert journal.used_bytes == 0


def test_one_key_too_many_drops_all_and_is_remembered() -> None:
    journal = Journal(3)
    for key in (b"a", b"b", b"c", b"a"):
        assert journal.add_key(key)
    journal.flush_missed = True
    assert not journal.overflowed
    assert not journal.add_key(b"d")
    assert (journal.overflowed, journal.dropped, len(journal), journal.used_bytes) == (True, 4, 0, 0)
    assert not journal.add_key(b"a")
    assert (journal.dropped, journal.take_key(), journal.waiting) == (5, None, 0)
    assert not journal.remove_key(b"a")
    journal.rewind()
    assert journal.overflowed
    journal.clear()
    assert (journal.overflowed, journal.flush_missed, journal.dropped) == (False, False, 0)
    assert journal.add_key(b"a")
    assert drain(journal) == [b"a"]


@pytest.mark.parametrize("max_bytes", [0, 1000, 30_000, 100_000, MIB])
@pytest.mark.parametrize("width", [20, 250])
def test_memory_stays_within_its_bound_and_then_all_is_dropped(max_bytes: int, width: int) -> None:
    journal = Journal(1_000_000, max_bytes)
    added = 0
    while journal.add_key(b"%0*d" % (width, added)):
        added += 1
        assert journal.used_bytes <= max_bytes
    assert (journal.overflowed, journal.used_bytes, journal.dropped) == (True, 0, added + 1)
    assert added >= (max_bytes - 70_000) // (width + 50)


@pytest.mark.parametrize(("shortest", "longest"), [(20, 40), (40, 40), (1, 12)])
def test_a_million_keys_cost_no_more_than_100_bytes_each(shortest: int, longest: int) -> None:
    choice = random.Random(1)
    journal = Journal(1_000_000, 64 * MIB)
    for number in range(1_000_000):
        key = b"%0*d" % (choice.randint(shortest, longest), number)
        assert journal.add_key(key), number
        if number & (number + 1) == 0 and number > 2000:
            assert journal.used_bytes <= 100 * (number + 1)
    assert len(journal) == 1_000_000
    assert journal.used_bytes <= 100 * 1_000_000
    assert journal.used_bytes <= 64 * MIB
    assert journal.add_key(b"%0*d" % (shortest, 0)) or shortest != longest
    journal.clear()
    assert journal.used_bytes == 0


def test_the_longest_keys_count_against_the_bytes() -> None:
    journal = Journal(1_000_000, 64 * MIB)
    for number in range(240_000):
        assert journal.add_key(b"%0250d" % number)
    assert journal.used_bytes <= 64 * MIB


def test_deletion_in_any_order_gives_memory_back() -> None:
    choice = random.Random(7)
    keys = [b"%030d" % number for number in range(100_000)]
    journal = filled(*keys)
    full = journal.used_bytes
    drain(journal)
    choice.shuffle(keys)
    for left in range(len(keys) - 1, -1, -1):
        assert journal.remove_key(keys[left])
        # Never much more than twice what lives, and the tables.
        if left in (40_000, 10_000, 1000):
            assert journal.used_bytes <= 2 * 33 * left + 64 * left + 100_000
            assert journal.used_bytes < full * (0.3 + 2 * left / len(keys)) / 1.3
    assert journal.used_bytes == 0


def test_missing_one_key_for_ever_does_not_grow() -> None:
    journal = filled(b"other")
    journal.take_key()
    most = 0
    for _ in range(20_000):
        journal.add_key(b"k" * 200)
        assert journal.take_key() == b"k" * 200
        journal.add_key(b"k" * 200)
        journal.remove_key(b"k" * 200)
        most = max(most, journal.used_bytes)
        journal.take_key()
        journal.remove_key(b"k" * 200)
    assert most <= 4 * 16 * 1024
    assert journal.remove_key(b"other")
    assert journal.used_bytes == 0


def test_a_key_with_too_many_deletes_unanswered_overflows() -> None:
    journal = Journal()
    for _ in range(0x7FFF):
        assert journal.add_key(b"a")
        assert journal.take_key() == b"a"
    assert not journal.add_key(b"a")
    assert journal.overflowed
