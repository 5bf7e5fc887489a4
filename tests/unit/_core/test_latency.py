"""Histograms in shared memory, and what is counted in them."""

import gc
import mmap
import random
from itertools import pairwise

import pytest

from memagent._core.latency import Histograms, histogram_slots, latency_bounds_us, verb_class_order
from memagent._core.metrics import Block
from memagent.counters import VERB_CLASSES
from tests.support.core import World

BOUNDS = latency_bounds_us()
SUM = histogram_slots() - 1


def recorded(*values_us: int) -> list[int]:
    shared = bytearray(8 * histogram_slots())
    histograms = Histograms(Block(shared, 0, histogram_slots()))
    for us in values_us:
        histograms.record(0, us)
    return memoryview(shared).cast("Q").tolist()


def test_the_enum_is_the_table_in_the_same_order():
    assert verb_class_order() == tuple(VERB_CLASSES)


def test_bounds_rise_by_a_half_at_most_and_reach_from_16_us_to_a_minute():
    assert (BOUNDS[0], BOUNDS[-1]) == (16, 2**26)
    assert len(BOUNDS) + 2 == histogram_slots()
    assert all(1 < upper / lower <= 1.5 for lower, upper in pairwise(BOUNDS))


@pytest.mark.parametrize("index", range(len(BOUNDS)))
def test_a_bucket_holds_its_upper_end_and_nothing_beyond(index: int):
    counts = recorded(BOUNDS[index], BOUNDS[index] + 1)
    assert [counts[index], counts[index + 1]] == [1, 1]
    assert sum(counts[:SUM]) == 2


def test_any_value_is_in_the_bucket_of_its_bounds_and_in_the_sum():
    rng = random.Random(4)
    values = [int(10 ** rng.uniform(0, 10)) for _ in range(2000)]
    counts = recorded(*values)
    for index, bound in enumerate(BOUNDS):
        assert sum(counts[: index + 1]) == sum(value <= bound for value in values)
    assert sum(counts[:SUM]) == len(values)
    assert counts[SUM] == sum(values)


def test_a_clock_that_stands_or_goes_back_counts_as_nothing():
    assert recorded(0, -5)[0] == 2
    assert recorded(0, -5)[SUM] == 0
    assert recorded(2**62)[SUM - 1] == 1


def test_histograms_are_apart_and_inside_their_block():
    slots = histogram_slots()
    shared = bytearray(8 * (3 * slots + 1))
    histograms = Histograms(Block(shared, 1, 3 * slots))
    assert histograms.n == 3
    for which in range(3):
        histograms.record(which, 20)
    counts = memoryview(shared).cast("Q").tolist()
    ones = [at for at, value in enumerate(counts) if value == 1]
    assert ones == [1 + which * slots + 1 for which in range(3)]
    for outside in (3, 2**62):
        with pytest.raises(IndexError, match=f"{outside} of 3"):
            histograms.record(outside, 1)


@pytest.mark.parametrize("n_slots", [1, SUM, SUM + 2, 2 * SUM + 1])
def test_a_block_that_is_not_one_of_whole_histograms_is_refused(n_slots: int):
    with pytest.raises(ValueError, match=f"a block of {n_slots} slots"):
        Histograms(Block(bytearray(8 * n_slots), 0, n_slots))
    with pytest.raises(TypeError):
        Histograms(None)


def test_histograms_keep_their_block():
    shared = mmap.mmap(-1, 4096)
    histograms = Histograms(Block(shared, 0, histogram_slots()))
    gc.collect()
    with pytest.raises(BufferError):
        shared.close()
    histograms.record(0, 1)
    del histograms
    gc.collect()
    shared.close()


class Timed:
    """A world whose one server answers when it is told to."""

    def __init__(self) -> None:
        self.world = World(1, times_requests=True)
        self.client = self.world.client()
        self.world.servers[0].holds = True

    def ask(self, request: bytes, us: int) -> bytes:
        """The answer comes after this time."""
        self.client.send(request)
        self.world.run()
        self.world.turn.now_us += us
        self.world.servers[0].release()
        self.world.run()
        self.world.servers[0].holds = True
        return self.client.take()


@pytest.mark.parametrize(
    ("request_bytes", "verb_class"),
    [
        (b"get a\r\n", "get"),
        (b"gets a\r\n", "gets"),
        (b"get a b\r\n", "multiget"),
        (b"gat 5 a b\r\n", "multiget"),
        (b"gat 5 a\r\n", "touch"),
        (b"gats 5 a\r\n", "touch"),
        (b"touch a 5\r\n", "touch"),
        (b"set a 0 0 1\r\n1\r\n", "set"),
        (b"set a 0 0 1 noreply\r\n1\r\n", "set"),
        (b"add a 0 0 1\r\n1\r\n", "add"),
        (b"replace a 0 0 1\r\n1\r\n", "add"),
        (b"append a 0 0 1\r\n1\r\n", "add"),
        (b"prepend a 0 0 1\r\n1\r\n", "add"),
        (b"cas a 0 0 1 5\r\n1\r\n", "cas"),
        (b"incr a 1\r\n", "incr"),
        (b"decr a 1\r\n", "incr"),
        (b"delete a\r\n", "delete"),
        (b"flush_all\r\n", "other"),
    ],
)
def test_a_request_is_timed_by_its_verb_and_its_server(request_bytes: bytes, verb_class: str):
    timed = Timed()
    timed.ask(request_bytes, 3_000)
    assert timed.world.latencies_us() == {verb_class: (1, 3_000)}
    assert timed.world.server_latency_us(0) == (1, 3_000)


@pytest.mark.parametrize(("verb", "flags"), [("mg", "v"), ("md", ""), ("ma", ""), ("me", "")])
def test_meta_requests_have_classes_of_their_own(verb: str, flags: str):
    timed = Timed()
    timed.ask(f"{verb} a {flags}\r\n".encode(), 50)
    assert timed.world.latencies_us() == {"other" if verb == "me" else verb: (1, 50)}


def test_what_the_proxy_answers_itself_is_not_timed():
    timed = Timed()
    for request in (b"version\r\n", b"mn\r\n", b"nonsense\r\n", b"stats\r\n", b"get " + b"k" * 300 + b"\r\n"):
        assert timed.ask(request, 10)
    assert timed.world.latencies_us() == {}


def test_requests_in_one_batch_each_count_their_own_time():
    timed = Timed()
    timed.client.send(b"get a\r\n")
    timed.world.run()
    timed.world.turn.now_us += 100
    other = timed.world.client()
    other.send(b"get b\r\n")
    timed.world.run()
    timed.world.turn.now_us += 10
    timed.world.servers[0].release()
    timed.world.run()
    assert timed.world.latencies_us() == {"get": (2, 120)}
    assert timed.world.server_latency_us(0) == (2, 120)


def test_a_request_that_is_given_up_counts_for_its_client_only():
    world = World(1, times_requests=True, request_timeout_us=1_000_000)
    client = world.client()
    world.servers[0].is_mute = True
    client.send(b"get a\r\n")
    world.run()
    world.pass_time(1_000_000)
    world.run()
    assert client.take() == b"END\r\n"
    assert world.latencies_us() == {"get": (1, 1_000_000)}
    assert world.server_latency_us(0) == (0, 0)


def test_without_histograms_nothing_is_timed():
    world = World(1)
    assert world.ask(world.client(), b"get a\r\n") == b"END\r\n"
    assert world.pool.latencies is None


@pytest.mark.parametrize("request_timeout_us", [1_000, 60_000_000])
def test_a_request_whose_server_gets_another_time_meanwhile(request_timeout_us: int):
    world = World(1, times_requests=True)
    client, fake = world.client(), world.servers[0]
    fake.holds = True
    client.send(b"get a\r\n")
    world.run()
    fake.server.configure(
        request_timeout_us=request_timeout_us, latency=world.histograms(len(VERB_CLASSES), 1)
    )
    world.turn.now_us += 3_000
    fake.release()
    world.run()
    assert client.take() == b"END\r\n"
    assert world.server_latency_us(0) == (1, 3_000)
