"""Marks of keys that were written."""

import pytest

from memagent._core.marks import MARKS_BYTES, Marks


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
    shared = bytearray(MARKS_BYTES + 64)
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


@pytest.mark.parametrize(("size", "offset"), [(MARKS_BYTES - 1, 0), (MARKS_BYTES, 8), (MARKS_BYTES, -8)])
def test_a_buffer_that_is_too_small_is_refused(size: int, offset: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Marks(bytearray(size), offset)


def test_a_crooked_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        Marks(bytearray(MARKS_BYTES + 8), 4)
