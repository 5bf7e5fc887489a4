"""A listening socket."""

from memagent._core.routes cimport Routes
from memagent._net.poller cimport Handler, Poller


cdef class Listener(Handler):
    cdef Poller poller
    cdef public Routes routes
    cdef readonly bint is_tcp
    cdef public size_t max_connections
    cdef list worker_blocks
    cdef bint resting          # accept failed: wait for a tick

    cdef bint take(self) except -1
    cdef int refuse(self, int fd) except -1
    cdef size_t connections(self) except? 0
    cdef int start(self) except -1
    cdef int stop(self) except -1
    cdef int close(self) except -1
    cdef int leave(self) except -1
