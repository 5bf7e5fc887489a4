"""The event loop of a worker."""

from libc.stdint cimport int64_t

from memagent._core.metrics cimport Block
from memagent._core.session cimport Context
from memagent._net.poller cimport Poller


cdef class Loop:
    cdef readonly Poller poller
    cdef Context context
    cdef Block counters
    cdef readonly list endpoints
    cdef readonly list listeners
    cdef public bint accepting     # False before `run`: not until `accept`
    cdef bint accepts_no_more
    cdef public object on_gone     # called with the number of a server that was told to leave, when nothing of it is left
    cdef int timer_fd
    cdef bint ticking
    cdef bint tick_was_skipped
    cdef unsigned int nap_us
    cdef bint running
    cdef readonly bint draining
    cdef int drain_ms              # -1: not told to drain
    cdef int64_t drain_until_us

    cdef int wait(self, int timeout_ms) except -1
    cdef int flush(self) except? -2
    cdef int start_ticking(self) except -1
    cdef int read_on(self) except -1
    cdef int begin_to_drain(self) except -1
    cdef int plan_naps(self) except -1
    cdef int serve(self) except -1
    cdef int set_timer(self, long interval_ns) except -1
