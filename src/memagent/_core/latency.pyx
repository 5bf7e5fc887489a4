"""How long requests take, counted in shared memory: log-linear histograms in microseconds.

    us        .. 16 | 17 .. 24 | 25 .. 32 | 33 .. 48 | 49 .. 64 | ... | .. 67 s | longer
    slot          0 |        1 |        2 |        3 |        4 | ... |      44 |     45 | 46: the sum of all

- Two buckets for each power of two: the ends of one are a half or a third apart, and no percentile is known better.
- One writer, as with a block of counters: readers in other processes never see half a number. A reader's sum may be
  some requests ahead of its buckets.
- All bounds are checked here, once: hot code calls `add` with a constant below `n`.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t, uintptr_t


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
    """`n` histograms behind one another, from slot `offset_slots` of a writable buffer on."""

    def __cinit__(self, buffer, Py_ssize_t offset_slots, Py_ssize_t n):
        if offset_slots < 0 or n <= 0:
            raise ValueError(f"{n} histograms at slot {offset_slots} make no sense")
        PyObject_GetBuffer(buffer, &self._view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self._held = True
        cdef Py_ssize_t there = self._view.len // <Py_ssize_t> sizeof(uint64_t)
        if offset_slots > there or n > (there - offset_slots) // HISTOGRAM_SLOTS:
            raise ValueError(f"{n} histograms at slot {offset_slots} do not fit in a buffer of {there} slots")
        if <uintptr_t> self._view.buf % sizeof(uint64_t):
            raise ValueError("the buffer does not start on a multiple of 8 bytes")
        self.slot = <uint64_t *> self._view.buf + offset_slots
        self.n = n

    def __dealloc__(self):
        if self._held:
            PyBuffer_Release(&self._view)

    def record(self, size_t which, int64_t us):
        """It took so long; for tests."""
        if which >= <size_t> self.n:
            raise IndexError(f"histogram {which} of {self.n}")
        self.add(which, us)
