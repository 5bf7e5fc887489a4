"""How long requests take, counted in shared memory: log-linear histograms in microseconds.

    us        .. 16 | 17 .. 24 | 25 .. 32 | 33 .. 48 | 49 .. 64 | ... | .. 67 s | longer
    slot          0 |        1 |        2 |        3 |        4 | ... |      44 |     45 | 46: the sum of all

- Two buckets for each power of two: the ends of one are a half or a third apart, and no percentile is known better.
- They stand in a block of slots, with one writer: readers in other processes never see half a number. A reader's sum
  may be some requests ahead of its buckets.
- The block has checked all bounds, once: hot code calls `add` with a constant below `n`.
"""

cimport cython
from libc.stdint cimport int64_t

from memagent._core.metrics cimport Block


__all__ = ["Histograms", "histogram_slots", "latency_bounds_us", "verb_class_order"]

_VERB_CLASSES = {
    "get": L_GET, "multiget": L_MULTIGET, "gets": L_GETS, "set": L_SET, "add": L_ADD, "cas": L_CAS, "incr": L_INCR,
    "delete": L_DELETE, "touch": L_TOUCH, "mg": L_MG, "ms": L_MS, "md": L_MD, "ma": L_MA, "other": L_OTHER,
}


def verb_class_order():
    """The constants' names, in slot order."""
    assert len(_VERB_CLASSES) == NOT_TIMED
    return tuple(sorted(_VERB_CLASSES, key=_VERB_CLASSES.get))


def histogram_slots():
    """Slots of one histogram: its buckets, then the sum in us."""
    return HISTOGRAM_SLOTS


def latency_bounds_us():
    """What each bucket holds at most, in us; without the last one's, which has no end."""
    halves = [(2 + half) << (power - 1) for power in range(LEAST_BITS, MOST_BITS) for half in (1, 2)]
    return (1 << LEAST_BITS, *halves)


@cython.final
cdef class Histograms:
    """As many histograms behind one another as the block has room for; they keep it alive."""

    def __cinit__(self, Block block not None):
        if block.n_slots % HISTOGRAM_SLOTS:
            raise ValueError(f"a block of {block.n_slots} slots is not one of whole histograms, {HISTOGRAM_SLOTS} each")
        self._block = block
        self.slot = block.slot
        self.n = block.n_slots // HISTOGRAM_SLOTS

    def record(self, size_t which, int64_t us):
        """It took so long; for tests."""
        if which >= <size_t> self.n:
            raise IndexError(f"histogram {which} of {self.n}")
        self.add(which, us)
