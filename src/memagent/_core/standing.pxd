"""How a server stands with all workers: one row of shared memory."""

from libc.stdint cimport uint64_t

from memagent._core.metrics cimport Block

cdef extern from *:
    """
    #define memagent_load(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
    #define memagent_store(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
    static inline int memagent_swap(uint64_t *p, uint64_t from, uint64_t to) {
        return __atomic_compare_exchange_n(p, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    """
    uint64_t load "memagent_load"(uint64_t *p) noexcept nogil
    void store "memagent_store"(uint64_t *p, uint64_t value) noexcept nogil
    bint swap "memagent_swap"(uint64_t *p, uint64_t old, uint64_t new) noexcept nogil

# The row, in slots of 8 bytes: what all read on each request stands on a line that changes only with an outage.
cdef enum:
    AT_OUTAGE = 0
    AT_OPENED = 1
    AT_IDENTITY = 2
    AT_WORDS = 8

# In AT_OPENED.
cdef enum:
    OPENING = 1
    ATTEMPT = 2
    ATTEMPTS = 0xfffe
    OUTAGE_SHIFT = 16


cdef class Standing:
    cdef Block row
    cdef readonly size_t n_places
    cdef readonly size_t place          # whose word this worker writes

    cdef uint64_t begin(self, uint64_t joined) noexcept
    cdef int say(self, uint64_t outage, int phase, bint emptied, bint elsewhere) except -1
    cdef bint all_say(self, uint64_t outage, int phase) noexcept
    cdef int bury(self, size_t place) except -1
    cdef int open(self, uint64_t outage) except -1
    cdef int finish_opening(self) noexcept
    cdef int call_off(self) noexcept
    cdef inline uint64_t outage_now(self) noexcept:
        return load(self.row.slot + AT_OUTAGE)
    cdef inline uint64_t opened_now(self) noexcept:
        cdef uint64_t opening = load(self.row.slot + AT_OPENED)
        return (opening >> OUTAGE_SHIFT) - (opening & OPENING)
    cdef inline bint is_opening(self) noexcept:
        return load(self.row.slot + AT_OPENED) & OPENING
