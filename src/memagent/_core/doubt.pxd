"""Do both servers of a key have the same, after two writes at once, or one that a dead worker had begun?"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from memagent._core.metrics cimport Block
from memagent._core.pool cimport Pool
from memagent._core.server cimport Server
from memagent._core.timers cimport Hurried


cdef struct Seen:
    bint there
    int64_t digest               # of the value and its flags: values may be large, and doubts many
    int64_t ttl_s                # -1: for ever; 0 where the server does not say


cdef class Doubt(Hurried):
    cdef Pool pool
    cdef Block counters
    cdef bytes key
    cdef uint32_t slot
    cdef uint32_t note           # of the key, for whoever outlives this worker too
    cdef bint holds              # the key's mark
    cdef bint inherited          # from a dead worker
    cdef bint suspects           # the follower, of an old value: without a comparison it loses the key
    cdef bint looked             # once
    cdef uint32_t begun          # writes of the key, before this look at it
    cdef int delays
    cdef Server authority        # whose value counts: it has decided about those writes
    cdef Server follower         # as the key's servers are configured now; None if it has no other any more
    cdef Server closed           # it, if it shall not open before
    cdef int outstanding
    cdef bint failing
    cdef bint by_meta
    cdef Seen seen[2]            # the authority's, the follower's

    cdef int side_with(self, Server authority) except -1
    cdef int find_follower(self) except -1
    cdef int hold(self) except -1
    cdef bint nobody_writes(self) noexcept
    cdef uint32_t count(self) noexcept
    cdef int later(self) except -1
    cdef int look(self, Server server, uint32_t part) except -1
    cdef int one_done(self) except -1
    cdef int decide(self) except -1
    cdef int give_up(self) except -1
    cdef int end(self) except -1


cdef int doubt(Pool pool, Block counters, Server authority, const unsigned char *key, size_t length) except -1
cdef uint64_t read_others(
    Pool pool, uint32_t slot, const unsigned char *key, size_t length, Hurried reader
) except? 0
