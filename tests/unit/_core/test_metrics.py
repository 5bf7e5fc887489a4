"""Blocks of counters in shared memory, and the enums that number them."""

import gc
import mmap

import pytest

from memagent._core.metrics import Block, server_counter_order, worker_counter_order
from memagent.counters import SERVER_COUNTERS, WORKER_COUNTERS, WORKER_INDEX


def test_the_enums_are_the_tables_in_the_same_order():
    assert worker_counter_order() == tuple(c.name for c in WORKER_COUNTERS)
    assert server_counter_order() == tuple(c.name for c in SERVER_COUNTERS)


def test_a_block_counts_in_its_own_slice_only():
    shared = bytearray(8 * 10)
    block = Block(shared, 4, 3)
    block.add(0)
    block.add(2, 5)
    block[1] = 2**64 - 1
    assert block.read(["a", "b", "c"]) == {"a": 1, "b": 2**64 - 1, "c": 5}
    assert list(memoryview(shared).cast("Q")) == [0, 0, 0, 0, 1, 2**64 - 1, 5, 0, 0, 0]


def test_two_blocks_over_one_mapping_see_each_other():
    with mmap.mmap(-1, 4096) as shared:
        writer, reader = Block(shared, 8, len(WORKER_COUNTERS)), Block(shared, 8, len(WORKER_COUNTERS))
        writer.add(WORKER_INDEX["get_hits"], 7)
        assert reader.read(worker_counter_order())["get_hits"] == 7
        del writer, reader
        gc.collect()


def test_a_block_keeps_its_buffer():
    shared = mmap.mmap(-1, 4096)
    block = Block(shared, 0, 8)
    with pytest.raises(BufferError):
        shared.close()
    block.add(0)
    del block
    gc.collect()
    shared.close()


@pytest.mark.parametrize(
    ("offset_slots", "n_slots"),
    [(-1, 1), (0, 0), (0, -1), (0, 11), (10, 1), (11, 1), (9, 2), (2**62, 2**62), (2**63 - 1, 2**63 - 1)],
)
def test_a_block_outside_its_buffer_is_refused(offset_slots: int, n_slots: int):
    with pytest.raises(ValueError, match="slot"):
        Block(bytearray(8 * 10), offset_slots, n_slots)


def test_a_block_needs_a_writable_aligned_buffer_and_whole_numbers():
    with pytest.raises(BufferError):
        Block(bytes(80), 0, 1)
    with pytest.raises(TypeError):
        Block(80, 0, 1)
    with pytest.raises(TypeError):
        Block(bytearray(80), "0", 1)
    with pytest.raises(OverflowError):
        Block(bytearray(80), 2**64, 1)
    with pytest.raises(ValueError, match="multiple of 8"):
        Block(memoryview(bytearray(80))[1:], 0, 1)


def test_no_slot_outside_the_block_can_be_touched():
    block = Block(bytearray(80), 2, 3)
    for index in (-1, 3, 10**6):
        with pytest.raises(IndexError):
            block[index]
        with pytest.raises(IndexError):
            block[index] = 1
        with pytest.raises(IndexError):
            block.add(index)
    for value in (-1, 2**64):
        with pytest.raises(OverflowError):
            block[0] = value
    with pytest.raises(ValueError, match="names"):
        block.read(["a"])
    assert len(block) == block.n_slots == 3
