from libc.stdint cimport int64_t, uint64_t

cdef enum:
    SUB_BITS = 6                        # 64 steps within each power of two: half a step is 0.8 %
    SUB_COUNT = 1 << SUB_BITS
    BUCKETS = (63 - SUB_BITS + 1) * SUB_COUNT


cdef class Histogram:
    cdef uint64_t slot[BUCKETS]
    cdef readonly uint64_t count
    cdef uint64_t total_ns              # wraps only after 584 years of waiting
    cdef int64_t least_ns
    cdef int64_t most_ns

    cdef void add(self, int64_t ns) noexcept nogil
    cdef int64_t at(self, double percent) noexcept nogil
