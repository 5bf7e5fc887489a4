"""A memcached server as this worker sees it: ways to it, and whether it is up."""

from libc.stdint cimport int64_t, uint64_t

from memagent._core.buffer cimport Memory
from memagent._core.channel cimport Awaiting, Channel, Failure
from memagent._core.metrics cimport Block
from memagent._core.turn cimport Turn


cdef class Server:
    cdef readonly str name
    cdef readonly int index            # place of its counters
    cdef readonly bint up
    cdef readonly list channels
    cdef Channel only                  # the channel, where there is one
    cdef size_t n_channels
    cdef Block counters
    cdef Turn turn
    cdef Memory memory
    cdef int64_t request_timeout_us
    cdef int failure_limit
    cdef int timeouts_in_row
    cdef public int64_t heard_us       # when it last sent anything
    cdef size_t queue_requests
    cdef size_t queue_bytes
    cdef int64_t probe_min_us
    cdef int64_t probe_max_us
    cdef int64_t probe_wait_us
    cdef public int64_t probe_at_us    # when the next probe is due
    cdef bint probing
    cdef uint64_t random
    cdef public object on_change       # called with (server, up, reason) when the state changes

    cdef Channel channel(self, const unsigned char *key, size_t length)
    cdef bint has_room(self, Channel channel) noexcept
    cdef int64_t deadline(self) noexcept
    cdef int expire(self) except -1
    cdef int go_down(self, Failure why, str reason) except -1
    cdef int go_up(self) except -1
    cdef int probe(self) except -1
    cdef int probe_failed(self) except -1
    cdef void plan_probe(self) noexcept


cdef class Probe(Awaiting):
    cdef Server server
