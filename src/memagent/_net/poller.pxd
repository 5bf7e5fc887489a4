"""epoll, and who owns which file descriptor."""

from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t

from memagent._core.metrics cimport Block
from memagent._core.session cimport Context

cdef enum:
    SCRATCH_BYTES = 64 * 1024   # sockets are read into one shared piece of memory that stays in the cache
    EVENTS = 256                # taken from epoll at once


cdef class Handler:
    """Whoever owns a file descriptor that is watched. The poller keeps a reference until `forget`."""

    cdef readonly int fd
    cdef uint32_t generation      # tells it from an earlier owner of the same descriptor
    cdef bint is_late             # comes last in a turn: a listener, the timer

    cdef int ready(self, uint32_t events) except -1


cdef class Callback(Handler):
    cdef object function


cdef class Poller:
    cdef int epoll_fd
    cdef PyObject **handlers       # by file descriptor
    cdef int capacity
    cdef uint32_t generation
    cdef unsigned char *scratch
    cdef readonly Context context
    cdef Block counters
    cdef readonly set clients      # ClientConnections
    cdef readonly list lingering   # ClientConnections that were told the end and may still be sending
    cdef list unread               # Links with more to read than one turn may take
    cdef bint work_ahead           # somebody needs a tick soon

    cdef int watch(self, Handler handler, uint32_t events) except -1
    cdef int forget(self, Handler handler) except -1
    cdef int wait(self, int timeout_ms) except -1
