"""Do both servers of a key have the same, after two writes at once?"""

from libc.stdint cimport uint32_t

from memagent._core.metrics cimport Block
from memagent._core.pool cimport Hurried, Pool
from memagent._core.server cimport Server


cdef class Doubt(Hurried):
    cdef Pool pool
    cdef Block counters
    cdef bytes key
    cdef uint32_t slot
    cdef uint32_t begun          # writes of the key, before this look at it
    cdef int delays
    cdef Server authority        # whose value counts: it has decided about those writes
    cdef Server follower
    cdef int outstanding
    cdef bint failing
    cdef bytes own_reply
    cdef bytes follower_reply

    cdef uint32_t count(self) noexcept
    cdef int later(self) except -1
    cdef int look(self, Server server, uint32_t part) except -1
    cdef int one_done(self) except -1
    cdef int decide(self) except -1
    cdef int end(self) except -1


cdef int doubt(Pool pool, Block counters, Server authority, const unsigned char *key, size_t length) except -1
