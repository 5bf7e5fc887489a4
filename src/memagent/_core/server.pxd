"""A memcached server as this worker sees it: ways to it, and whether it is up."""

from libc.stdint cimport int64_t, uint64_t

from memagent._core.buffer cimport Memory
from memagent._core.channel cimport Awaiting, Channel, Failure
from memagent._core.metrics cimport Block
from memagent._core.standing cimport Standing
from memagent._core.turn cimport Turn

cdef enum State:
    UP
    DOWN
    RETURNING      # it answers again, and what it missed is being deleted there
    WARMING        # clean: it gets all writes, and is read only where no copy is better


cdef class Server:
    cdef readonly str name
    cdef readonly int index            # place of its counters
    cdef readonly int state            # a State
    cdef readonly bint up              # UP or WARMING: requests may be sent to it
    cdef readonly bint has_copies      # what it misses is kept and deleted on its return
    cdef readonly Standing standing
    cdef readonly uint64_t joined      # the last outage that this worker has joined
    cdef public size_t degraded        # writes under way that leave it out
    cdef public size_t refilling       # repairs of played keys under way
    cdef readonly set journal          # keys it has missed
    cdef readonly bint flush_missed
    cdef readonly bint emptied         # it came back without what it had: what is there now has been copied to it
    cdef readonly bint fallen                   # stands in turn.servers: its connections are to be ended
    cdef Failure fallen_why
    cdef object connection             # its sockets, for whoever owns them
    # What the process that answers there can do.
    cdef public bint meta              # meta commands
    cdef public bint keeps_cas         # `ms` with E: a token that the writer chooses
    cdef public int64_t epoch_offset_s  # its unix time less turn.now_us
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

    cdef inline bint readable(self) except -1:
        """May it be asked? Joins an outage that another worker has begun."""
        if self.standing.outage_now() != self.joined:
            self.join()
        return self.state == UP

    cdef inline bint follows(self) except -1:
        """Does it get every write?"""
        if self.standing.outage_now() != self.joined:
            self.join()
        return self.up

    cdef int join(self) except -1
    cdef int missed(self, const unsigned char *key, size_t length) except -1
    cdef int missed_flush(self) except -1
    cdef int fall(self, Failure why, str reason) except -1
    cdef int tear_down(self) except -1
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
