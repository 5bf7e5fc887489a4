"""A client's socket."""

from libc.stdint cimport int64_t, uint64_t

from memagent._core.session cimport Session
from memagent._net.poller cimport Handler, Poller


cdef enum Again:
    NOT_AGAIN
    SOON        # replies wait for the rest of their batch
    AT_ONCE     # there is more to read than one turn may take


cdef class ClientConnection(Handler):
    cdef Poller poller
    cdef readonly Session session
    cdef bint readable        # the socket may hold more than was read
    cdef bint half_closed     # the client sends no more
    cdef bint draining        # what has arrived is answered, then it is closed
    cdef bint ended           # all that will come has been read
    cdef bint blocked         # the socket takes no more for now
    cdef int64_t linger_until_us
    cdef size_t discarded          # bytes, while lingering
    cdef uint64_t budget_turn      # the turn that `budget` is of
    cdef size_t budget             # bytes that may be read in it

    cdef int read(self) except -1
    cdef int flush(self) except -1
    cdef Again turn_end(self) except *
    cdef int close(self, int reason) except -1
    cdef int linger(self) except -1
    cdef int discard(self) except -1
    cdef bint linger_over(self) except -1
    cdef int drain(self) except -1
