"""Marks of keys that were written."""

import mmap
import random

import pytest

from memagent._core.marks import Marks, marks_bytes, notes_bytes

NO_NOTE = 1 << 16


def test_a_stamp_moves_its_own_mark_only() -> None:
    marks = Marks()
    before = marks.read_key(b"a"), marks.read_key(b"b"), marks.read_flush()
    marks.stamp_key(b"a")
    assert before == ((0, 0), (0, 0), (0, 0))
    assert (marks.read_key(b"a"), marks.read_key(b"b"), marks.read_flush()) == ((1, 1), (0, 0), (0, 0))
    marks.stamp_flush()
    assert marks.read_flush() == (1, 1)


def test_a_write_is_seen_while_it_is_under_way() -> None:
    marks = Marks()
    marks.begin_key(b"a")
    assert marks.read_key(b"a") == (1, 0)
    marks.end_key(b"a")
    assert marks.read_key(b"a") == (1, 1)


def test_two_views_of_one_buffer_see_each_other() -> None:
    shared = bytearray(marks_bytes(1) + 64)
    one, other = Marks(shared, 64), Marks(shared, 64)
    one.stamp_key(b"k" * 250)
    other.stamp_key(b"k" * 250)
    assert one.read_key(b"k" * 250) == other.read_key(b"k" * 250) == (2, 2)
    assert Marks().read_key(b"k" * 250) == (0, 0)


@pytest.mark.parametrize("key", [b"", b"\x00\xff", b"x" * 250])
def test_any_key_has_a_mark(key: bytes) -> None:
    marks = Marks()
    marks.stamp_key(key)
    assert marks.read_key(key) == (1, 1)


@pytest.mark.parametrize(
    ("size", "offset"), [(marks_bytes(1) - 1, 0), (marks_bytes(1), 8), (marks_bytes(1), -8)]
)
def test_a_buffer_that_is_too_small_is_refused(size: int, offset: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Marks(bytearray(size), offset)


def test_a_crooked_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        Marks(bytearray(marks_bytes(1) + 8), 4)


def test_workers_have_rows_of_their_own_and_see_all() -> None:
    shared = bytearray(marks_bytes(3))
    rows = [Marks(shared, 0, 3, row) for row in range(3)]
    rows[0].begin_key(b"k")
    rows[2].stamp_key(b"k")
    assert {row.read_key(b"k") for row in rows} == {(2, 1)}


def rows_with_notes(n: int) -> list[Marks]:
    shared = mmap.mmap(-1, marks_bytes(n) + notes_bytes(n))
    return [Marks(shared, 0, n, row, marks_bytes(n)) for row in range(n)]


def test_who_takes_over_finds_what_was_noted_and_not_forgotten() -> None:
    dead, other = rows_with_notes(2)
    longest = b"\x00" * 250
    notes = [dead.note_key(key, server) for key, server in ((b"a", 7), (b"b", 8), (longest, 65535))]
    other.note_key(b"theirs", 1)
    dead.forget_note(notes[1])
    dead.note_key(b"c", 9, decided=True)
    assert dead.take_notes() == ([(7, b"a", False), (9, b"c", True), (65535, longest, False)], 0)
    assert dead.take_notes() == ([], 0)
    assert other.take_notes() == ([(1, b"theirs", False)], 0)


def test_what_is_free_is_given_again() -> None:
    marks = Marks()
    first, second = marks.note_key(b"a", 0), marks.note_key(b"b", 0)
    marks.forget_note(first)
    assert marks.note_key(b"c", 0) == first
    marks.forget_note(second)
    marks.forget_note(first)
    assert [marks.note_key(b"d", 0), marks.note_key(b"e", 0)] == [first, second]


def test_writes_that_find_no_room_are_counted_as_long_as_they_are_under_way() -> None:
    marks = Marks()
    notes = [marks.note_key(b"k", 0) for _ in range((1 << 16) + 3)]
    marks.forget_note(notes[-1])
    marks.forget_note(notes[0])
    notes[0] = marks.note_key(b"k", 0)
    assert notes[0] == 0, "there was room again"
    found, unnoted = marks.take_notes()
    assert (len(found), unnoted) == (1 << 16, 2)


def test_a_successor_notes_where_a_dead_one_has_noted() -> None:
    [dead] = rows_with_notes(1)
    for key in (b"a", b"b"):
        dead.note_key(key, 0)
    [_, taken] = [dead.take_notes(), dead.note_key(b"c", 0)]
    assert taken == 0
    assert dead.take_notes() == ([(0, b"c", False)], 0)


def test_who_only_reads_notes_nothing() -> None:
    marks = Marks(bytearray(marks_bytes(1)))
    marks.forget_note(marks.note_key(b"a", 0))
    assert marks.take_notes() == ([], 0)


@pytest.mark.parametrize(("n_rows", "row"), [(1, 1), (2, -1), (0, 0)])
def test_a_row_that_is_not_there_is_refused(n_rows: int, row: int) -> None:
    with pytest.raises(ValueError, match=f"row {row} of {n_rows}"):
        Marks(None, 0, n_rows, row)


def test_what_a_burst_has_left_is_not_looked_through() -> None:
    """Though there is never a moment without a note."""
    marks = Marks()
    burst = [marks.note_key(b"k", 0) for _ in range(5000)]
    assert burst == list(range(5000))
    steady = marks.note_key(b"k", 0)
    for note in burst:
        marks.forget_note(note)
    for _ in range(3):
        steady, over = marks.note_key(b"k", 0), steady
        marks.forget_note(over)
    assert steady < 2


def test_no_number_is_given_twice() -> None:
    choice = random.Random(7)
    marks = Marks()
    live: list[int] = []
    for most in (3000, 10, 70_000, 65, 0, 500):
        while len(live) != most:
            if live and choice.random() < (0.2 if len(live) < most else 0.8):
                at = choice.randrange(len(live))
                live[at], live[-1] = live[-1], live[at]
                marks.forget_note(live.pop())
            else:
                live.append(marks.note_key(b"k", 0))
        numbers = [each for each in live if each != NO_NOTE]
        assert len(set(numbers)) == len(numbers)
    notes, unnoted = marks.take_notes()
    assert len(notes) + unnoted == 500


def test_what_a_dead_worker_noted_is_not_written_over() -> None:
    buffer = bytearray(marks_bytes(1) + notes_bytes(1))
    dead, heir = (Marks(buffer, 0, 1, 0, marks_bytes(1)) for _ in range(2))
    assert [dead.note_key(key, 0) for key in (b"a", b"b")] == [0, 1]
    assert heir.note_key(b"c", 0) == 2
    assert [key for _, key, _ in heir.take_notes()[0]] == [b"a", b"b", b"c"]


def test_rows_that_nobody_has_had_are_not_looked_at() -> None:
    buffer = bytearray(8 + marks_bytes(3))
    first, third = (Marks(buffer, 8, 3, row, in_use_offset_bytes=0) for row in (0, 2))
    buffer[0] = 1
    third.begin_key(b"k")
    assert (first.rows_in_use, first.read_key(b"k")) == (1, (0, 0))
    buffer[0] = 3
    assert (first.rows_in_use, first.read_key(b"k")) == (3, (1, 0))
    assert (first.is_quiet, third.is_quiet) == (True, False)
    third.end_key(b"k")
    assert third.is_quiet
