"""Our md5 against Python's: every length up to some blocks, and bytes of every value."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memagent._core.md5 import digest, first_words


@pytest.mark.parametrize("length", range(200))
def test_every_length_up_to_three_blocks(length: int) -> None:
    data = bytes(range(256))[-length:] if length else b""
    assert digest(data) == hashlib.md5(data, usedforsecurity=False).digest()


@given(st.binary(max_size=2000))
def test_any_bytes(data: bytes) -> None:
    assert digest(data) == hashlib.md5(data, usedforsecurity=False).digest()


def test_a_megabyte() -> None:
    data = bytes(range(256)) * 4096
    assert digest(data) == hashlib.md5(data, usedforsecurity=False).digest()


def first_word(data: bytes) -> int:
    return int.from_bytes(hashlib.md5(data, usedforsecurity=False).digest()[:4], "little")


@pytest.mark.parametrize("length", range(130))
def test_many_at_once_of_every_length(length: int) -> None:
    data = [bytes((start + at) % 256 for at in range(length)) for start in range(11)]
    assert first_words(data) == [first_word(each) for each in data]


@pytest.mark.parametrize("count", range(65))
def test_any_number_at_once(count: int) -> None:
    data = [b"key %d" % number * (1 + number % 3) for number in range(count)]
    assert first_words(data) == [first_word(each) for each in data]


@given(st.lists(st.binary(max_size=70) | st.binary(min_size=50, max_size=60), max_size=64))
def test_many_at_once_of_any_bytes(data: list[bytes]) -> None:
    assert first_words(data) == [first_word(each) for each in data]


def test_more_than_the_test_s_own_face_takes() -> None:
    with pytest.raises(ValueError, match="65 at once"):
        first_words([b""] * 65)
