"""Buffers: bytes in order, no memory while empty, every byte of capacity counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memagent._core.buffer import Buffer, Memory

BLOCK_BYTES = 16 * 1024

steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3 * BLOCK_BYTES)),
        st.tuples(st.just("take"), st.integers(0, 3 * BLOCK_BYTES)),
    ),
    max_size=30,
)


@settings(max_examples=200)
@given(steps)
def test_what_goes_in_comes_out_in_order(steps: list[tuple[str, int]]) -> None:
    memory = Memory(1 << 30)
    buffer = Buffer(memory)
    model = b""
    for number, (what, n) in enumerate(steps):
        if what == "put":
            content = bytes([number % 256]) * n
            buffer.put(content)
            model += content
        else:
            n = min(n, len(model))
            assert buffer.take(n) == model[:n]
            model = model[n:]
        assert len(buffer) == len(model)
        assert bytes(buffer) == model
        assert (memory.used_bytes == 0) == (not model)
        assert memory.used_bytes >= len(model)
    del buffer
    assert memory.used_bytes == 0


def test_capacity_grows_by_doubling_and_is_given_back_at_once() -> None:
    memory = Memory(1 << 30)
    buffer = Buffer(memory)
    buffer.put(b"x")
    assert memory.used_bytes == BLOCK_BYTES
    buffer.put(b"x" * BLOCK_BYTES)
    assert memory.used_bytes == 2 * BLOCK_BYTES
    buffer.put(b"x" * BLOCK_BYTES * 4)
    assert memory.used_bytes == 8 * BLOCK_BYTES
    buffer.take(5 * BLOCK_BYTES)
    assert memory.used_bytes == 8 * BLOCK_BYTES
    buffer.take(1)
    assert memory.used_bytes == 0


def test_a_steady_stream_does_not_grow() -> None:
    """Room is made by moving what is left to the front, not by asking for more."""
    memory = Memory(1 << 30)
    buffer = Buffer(memory)
    buffer.put(b"first")
    for _ in range(1000):
        buffer.put(b"y" * 1000)
        buffer.take(1000)
        assert memory.used_bytes == BLOCK_BYTES
    assert len(buffer) == 5


def test_more_than_there_is_cannot_be_taken() -> None:
    buffer = Buffer(Memory(1 << 30))
    with pytest.raises(ValueError, match="more than there was"):
        buffer.take(1)
    buffer.put(b"ab")
    with pytest.raises(ValueError, match="more than there was"):
        buffer.take(3)
    assert buffer.take(2) == b"ab"
    assert buffer.take(0) == b""


def test_nothing_put_is_nothing_held() -> None:
    memory = Memory(1 << 30)
    buffer = Buffer(memory)
    buffer.put(b"")
    assert (len(buffer), bytes(buffer), memory.used_bytes) == (0, b"", 0)


def test_all_buffers_of_a_memory_are_counted_together() -> None:
    memory = Memory(1 << 30)
    buffers = [Buffer(memory) for _ in range(600)]  # more than the blocks that are kept for reuse
    for round_number in range(2):
        for buffer in buffers:
            buffer.put(b"%d" % round_number)
        assert memory.used_bytes == 600 * BLOCK_BYTES
        assert all(buffer.take(1) == b"%d" % round_number for buffer in buffers)
        assert memory.used_bytes == 0
    buffers[0].put(b"left over")
    buffers.clear()
    assert memory.used_bytes == 0
    assert memory.limit_bytes == 1 << 30
