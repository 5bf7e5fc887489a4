# cython: cdivision=True
"""Latencies in a log-linear histogram: fixed memory, one increment a request, at most 1 % off.

A value below 64 ns has a slot of its own; above, each power of two is cut into 64 equal slots:

    ns      0 .. 63 | 64 .. 127 | 128 .. 255 | 256 .. 511 | ...
    step          1 |         1 |          2 |          4 | ...

Invariant: `count` is the sum of all slots, and `most_ns` is exact (the maximum is never rounded).
"""

cimport cython
from libc.string cimport memset


cdef extern from *:
    int clz "__builtin_clzll"(unsigned long long) noexcept nogil


cdef inline int slot_of(uint64_t ns) noexcept nogil:
    cdef int top
    if ns < SUB_COUNT:
        return <int>ns
    top = 63 - clz(ns)
    return (top - SUB_BITS + 1) * SUB_COUNT + <int>((ns >> (top - SUB_BITS)) - SUB_COUNT)


cdef inline int64_t middle_of(int slot) noexcept nogil:
    cdef int shift = slot // SUB_COUNT - 1
    if shift <= 0:
        return slot
    return ((<int64_t>(SUB_COUNT + slot % SUB_COUNT)) << shift) + ((<int64_t>1 << shift) >> 1)


@cython.final
cdef class Histogram:
    def __cinit__(self):
        self.clear()

    cdef void add(self, int64_t ns) noexcept nogil:
        if ns < 0:
            ns = 0
        self.slot[slot_of(<uint64_t>ns)] += 1
        self.count += 1
        self.total_ns += <uint64_t>ns
        if ns > self.most_ns:
            self.most_ns = ns
        if ns < self.least_ns:
            self.least_ns = ns

    cdef int64_t at(self, double percent) noexcept nogil:
        cdef double wanted = percent / 100.0 * <double>self.count
        cdef uint64_t seen = 0
        cdef int64_t ns
        cdef int i
        if self.count == 0:
            return 0
        for i in range(BUCKETS):
            seen += self.slot[i]
            if seen != 0 and <double>seen >= wanted:
                ns = middle_of(i)
                return min(max(ns, self.least_ns), self.most_ns)
        return self.most_ns

    def record(self, int64_t ns):
        self.add(ns)

    def percentile_us(self, double percent):
        if not 0.0 <= percent <= 100.0:
            raise ValueError(f"a percentile is 0-100, not {percent}")
        return self.at(percent) / 1000.0

    @property
    def mean_us(self):
        return self.total_ns / <double>self.count / 1000.0 if self.count else 0.0

    @property
    def min_us(self):
        return self.least_ns / 1000.0 if self.count else 0.0

    @property
    def max_us(self):
        return self.most_ns / 1000.0

    def clear(self):
        memset(self.slot, 0, sizeof(self.slot))
        self.count = 0
        self.total_ns = 0
        self.most_ns = 0
        self.least_ns = 0x7FFFFFFFFFFFFFFF
