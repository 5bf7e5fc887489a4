"""A client's socket."""

from libc.stdint cimport int64_t, uint32_t

from memagent._core.session cimport Session
from memagent._net.poller cimport Handler, Poller


cdef class ClientConnection(Handler):
    cdef Poller poller
    cdef readonly Session session
    cdef bint readable        # the socket may hold more than was read
    cdef bint half_closed     # the client sends no more
    cdef int64_t linger_until_us

    cdef int read(self) except -1
    cdef int flush(self) except -1
    cdef int turn_end(self) except -1
    cdef int close(self, int reason) except -1
    cdef int linger(self) except -1
    cdef int discard(self) except -1
    cdef bint linger_over(self) except -1
    cdef int drain(self) except -1
