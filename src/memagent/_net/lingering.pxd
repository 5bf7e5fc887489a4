"""An old connection whose server may still do what was sent on it."""

from libc.stdint cimport uint32_t

from memagent._core.server cimport Server
from memagent._net.poller cimport Handler, Poller


cdef class Lingering(Handler):
    cdef Server server
    cdef Poller poller
    cdef object socket

    cdef int ready(self, uint32_t events) except -1
    cdef int ended(self, bint orderly) except -1


cdef int linger(Server server, Poller poller, object socket) except -1
