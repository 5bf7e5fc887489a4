"""The ring of single requests: what is there, what is gone, and whoever died while writing."""

from collections.abc import Callable

import pytest

from memagent._core.metrics import Block
from memagent._core.sighting import Sightings, sightings_slots
from tests.support.core import SIGHTINGS, World

HEAD_BYTES = 8 * sightings_slots(0)
ONE_BYTES = 8 * sightings_slots(1) - HEAD_BYTES


def wait_for(world: World, request: bytes, us: int = 2_000) -> None:
    """The servers take so long over it."""
    client = world.client()
    for server in world.servers:
        server.holds = True
    client.send(request)
    world.run()
    world.turn.now_us += us
    for server in world.servers:
        server.release()
    world.run()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world(slow_us=1_000)


def test_the_oldest_are_written_over_and_numbers_tell(world: World):
    last = SIGHTINGS + 10
    for number in range(1, last + 1):
        world.turn.now_us += 1_000_000  # far enough apart for all to be kept
        wait_for(world, b"get k%d\r\n" % number)
    seen = world.slow.read()
    assert (world.slow.count, world.slow.dropped) == (last, 0)
    assert [each[0] for each in seen] == list(range(11, last + 1))
    assert [each[6] for each in seen] == [b"k%d" % number for number in range(11, last + 1)]
    assert [each[0] for each in world.slow.read(last - 2)] == [last - 1, last]
    assert world.slow.read(last) == []


def test_whoever_is_written_or_was_when_its_worker_died_is_not_shown(world: World):
    for number in range(3):
        wait_for(world, b"get k%d\r\n" % number)
    shared = memoryview(world.shared_slow)
    shared[HEAD_BYTES + ONE_BYTES : HEAD_BYTES + ONE_BYTES + 8] = bytes(8)
    assert [each[0] for each in world.slow.read()] == [1, 3]
    # a successor goes on behind them
    successor = Sightings(Block(world.shared_slow, 0, sightings_slots(SIGHTINGS)))
    assert successor.count == 3


def test_nothing_in_a_ring_leads_a_reader_out_of_it(world: World):
    wait_for(world, b"get k\r\n")
    shared = memoryview(world.shared_slow)
    whole = bytes(shared[HEAD_BYTES : HEAD_BYTES + ONE_BYTES])
    for at in range(8, ONE_BYTES):
        shared[HEAD_BYTES + at] = 255
    for each in world.slow.read():
        assert len(each[6]) <= 250
    for at in range(8, ONE_BYTES):
        shared[HEAD_BYTES : HEAD_BYTES + ONE_BYTES] = whole
        shared[HEAD_BYTES + at] = 255
        world.slow.read()
    shared[0:8] = bytes([255] * 8)
    assert world.slow.read() == []


def test_a_ring_is_of_whole_sightings():
    slots = sightings_slots(3)
    shared = bytearray(8 * (slots + 1))
    assert Sightings(Block(shared, 1, slots)).count == 0
    for wrong in (slots - 1, slots + 1, sightings_slots(0), 1):
        with pytest.raises(ValueError, match="no ring of whole sightings"):
            Sightings(Block(shared, 0, wrong))
