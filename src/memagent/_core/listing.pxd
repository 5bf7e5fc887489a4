"""The keys that a server lists, less those that are not wanted."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from memagent._core.buffer cimport Buffer
from memagent._core.copies cimport Tally
from memagent._core.ring cimport Placement

cdef struct Listed:
    int64_t expires_s
    uint64_t cas
    uint8_t length
    bint is_binary


cdef class Listing:
    cdef Placement placement
    cdef Tally tally
    cdef int target
    cdef int source
    cdef bytes left                     # of a line that has not come whole
    cdef public bint is_dated                  # when items expire and their cas are kept as well
    cdef Buffer queue                   # length, is it binary, [expiry, cas,] key; one after the other
    cdef readonly size_t waiting        # keys kept and not taken
    cdef readonly bint begun
    cdef readonly bint ended
    cdef readonly str refusal

    cdef int line(self, const unsigned char *p, size_t n) except -1
    cdef int keep(self, const unsigned char *key, Listed *listed) except -1
    cdef size_t head_bytes(self) noexcept
