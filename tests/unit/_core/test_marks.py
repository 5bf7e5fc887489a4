"""Marks of keys that were written."""

import pytest

from memagent._core.marks import Marks, marks_bytes


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


def test_who_takes_the_place_of_a_dead_worker_ends_what_that_had_begun() -> None:
    shared = bytearray(marks_bytes(2))
    dead, other = (Marks(shared, 0, 2, row) for row in range(2))
    dead.begin_key(b"k")
    other.begin_key(b"k")
    Marks(shared, 0, 2, 0).take_over()
    assert other.read_key(b"k") == (2, 1)


@pytest.mark.parametrize(("n_rows", "row"), [(1, 1), (2, -1), (0, 0)])
def test_a_row_that_is_not_there_is_refused(n_rows: int, row: int) -> None:
    with pytest.raises(ValueError, match=f"row {row} of {n_rows}"):
        Marks(None, 0, n_rows, row)
