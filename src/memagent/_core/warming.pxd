"""A batch of keys on its way from one server to another: bytes in, bytes out."""

from libc.stdint cimport int64_t, uint64_t

from memagent._core.copies cimport Copies, Item
from memagent._core.fetched cimport Fetched


cdef class Batch(Copies):
    cdef size_t cursor          # the item whose reply is awaited
    cdef size_t answered        # the item that a classic target answers next
    cdef uint64_t skipping
    cdef readonly size_t need   # bytes wanted for the reply under way, 0 when unknown
    cdef readonly bint heard    # the reply of the step is complete
    cdef readonly uint64_t fetched_bytes
    cdef readonly size_t n_there
    cdef readonly size_t n_won
    cdef public int64_t waited_s
    cdef public int64_t source_now_s
    cdef public int64_t target_now_s

    cdef int put_key(self, Item *item) except -1
    cdef int put_barrier(self, bint meta) except -1
    cdef bytes taken(self)
    cdef int count_refusal(self, const unsigned char *p, size_t n) noexcept
    cdef int put_fetch(self, size_t i) except -1
    cdef bint is_of(self, Item *item, Fetched *fetched) noexcept
    cdef size_t hear_quiet(self, const unsigned char *p, size_t n, int step) except? 0
    cdef size_t hear_classic(self, const unsigned char *p, size_t n, int step) except? 0
    cdef size_t hear_meta_item(self, const unsigned char *p, size_t n) except? 0
    cdef size_t hear_classic_item(self, const unsigned char *p, size_t n) except? 0
    cdef size_t skip(self, size_t n) noexcept
    cdef int advance(self) noexcept
    cdef int store_item(self, Item *item, const unsigned char *value, Fetched *fetched) except -1
