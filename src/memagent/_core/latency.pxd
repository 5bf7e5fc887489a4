"""How long requests take, counted in shared memory: histograms of 47 slots each."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from memagent._core.metrics cimport Block

cdef extern from *:
    int clz "__builtin_clzll"(unsigned long long) noexcept nogil

cdef enum:
    LEAST_BITS = 4                                 # the first bucket ends at 16 us,
    MOST_BITS = 26                                 # the last one that ends at 67 s
    BUCKETS = 2 * (MOST_BITS - LEAST_BITS) + 2     # and one holds all that took longer
    HISTOGRAM_SLOTS = BUCKETS + 1                  # and the sum of all, in us

# What clients' requests are told apart by: counters.VERB_CLASSES in the same order; a test compares them.
cdef enum VerbClass:
    L_GET
    L_MULTIGET
    L_GETS
    L_SET
    L_ADD
    L_CAS
    L_INCR
    L_DELETE
    L_TOUCH
    L_MG
    L_MS
    L_MD
    L_MA
    L_OTHER
    NOT_TIMED     # no histogram has it


cdef inline int bucket_of(int64_t us) noexcept nogil:
    """Two buckets for each power of two; each holds its upper end."""
    cdef uint64_t before
    cdef int top
    if us <= 1 << LEAST_BITS:
        return 0
    before = <uint64_t> us - 1
    top = 63 - clz(before)
    if top >= MOST_BITS:
        return BUCKETS - 1
    return 2 * (top - LEAST_BITS) + <int> (before >> (top - 1) & 1) + 1


@cython.final
cdef class Histograms:
    cdef uint64_t *slot
    cdef readonly Py_ssize_t n
    cdef Block _block

    cdef inline void add(self, size_t which, int64_t us) noexcept:
        """It took so long. `which` is below `n`: that is for the caller to know."""
        cdef uint64_t *slot = self.slot + which * HISTOGRAM_SLOTS
        slot[bucket_of(us)] += 1
        slot[BUCKETS] += <uint64_t> max(us, 0)
