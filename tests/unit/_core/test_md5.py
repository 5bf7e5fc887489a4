"""Our md5 against Python's: every length up to some blocks, and bytes of every value."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memagent._core.md5 import digest


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
