"""XXH3 against its plain twin, at the lengths where its branches begin and end above all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memagent._core.xxh3 import digest64
from tests.reference.xxh3 import hash64

# Branches end at 3, 8, 16, 128 and 240 bytes; longer data goes by stripes of 64 bytes and blocks of 1024.
EDGES = (0, 3, 8, 16, 32, 64, 96, 128, 144, 240, 256, 1024, 2048, 4096)


@pytest.mark.parametrize("length", sorted({edge + step for edge in EDGES for step in (-1, 0, 1)} - {-1}))
def test_around_every_edge(length: int) -> None:
    data = (bytes(range(255, -1, -1)) * 17)[:length]
    assert digest64(data) == hash64(data)


@given(st.binary(max_size=3000))
def test_any_bytes(data: bytes) -> None:
    assert digest64(data) == hash64(data)


@pytest.mark.parametrize(
    ("data", "published"),
    [(b"", 0x2D06800538D394C2), (b"a", 0xE6C632B61E964E1F), (b"abc", 0x78AF5F94892F3950)],
)
def test_what_the_worlds_programs_answer(data: bytes, published: int) -> None:
    assert digest64(data) == published
