"""A memcached server as this worker sees it: ways to it, and whether it is up."""

from libc.stdint cimport int64_t, uint64_t

from memagent._core.channel cimport Channel, Failure
from memagent._core.journal cimport Journal
from memagent._core.metrics cimport Block
from memagent._core.player cimport Player
from memagent._core.standing cimport Standing
from memagent._core.turn cimport Turn

cdef enum State:
    UP
    DOWN
    RETURNING      # it answers again; what it missed is being played to it
    WARMING        # clean: it gets all writes, and is read only where no copy is better


cdef class Server:
    cdef readonly str name
    cdef readonly int index            # place of its counters
    cdef readonly int state            # a State
    cdef readonly bint up              # UP or WARMING: requests may be sent to it
    cdef readonly bint has_copies      # what it misses is kept and played on its return
    cdef bint loses_copies             # but no more once it is up
    cdef readonly list channels
    cdef Channel only                  # the channel, where there is one
    cdef size_t n_channels
    cdef Block counters
    cdef Turn turn
    cdef object connection             # its sockets, for whoever owns them
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

    # The outage that all workers share.
    cdef readonly Standing standing
    cdef readonly uint64_t joined      # the last one that this worker has joined
    cdef readonly bint fallen          # stands in turn.servers: its connections are to be ended
    cdef Failure fallen_why
    cdef readonly bint held            # by an operator: not even probed
    cdef public object on_change       # called with (server, state's name, reason)
    cdef public object live_places     # who leads without a supervisor: called for the places of live workers, or None

    cdef int64_t changed_until_us      # writes may be under way that another server has decided about

    # What it missed, and its way back.
    cdef readonly Journal journal
    cdef readonly Player player
    cdef public size_t degraded        # writes under way that leave it out
    cdef size_t elsewhere              # writes under way, and what follows of them, that another server decides about
    cdef int64_t open_again_us         # who leads without a supervisor: when to try once more
    cdef public size_t refilling       # repairs of played keys under way
    cdef public object on_played       # called with (server, key) for each key that may be refilled
    cdef public size_t lingering       # old connections that may still bring it what was sent before
    cdef public bint unsettled         # one of them was lost: it may still do what it had got
    cdef int64_t play_from_us          # when all that can have been sent before is done
    cdef bint needs_flush              # it may have anything
    cdef readonly bint emptied         # it came back empty, and has not been up since
    cdef bint restarted                # another process was met: it is empty
    cdef bint fresh                    # this return is such a process's: nothing sent before can reach it
    cdef bint clean                    # WARMING: the word says so

    # The process that answers there.
    cdef readonly uint64_t identity
    cdef public bint meta              # speaks meta commands
    cdef public bint keeps_cas         # `ms` with E: a token that the writer chooses
    cdef public int64_t epoch_offset_s  # its unix time less turn.now_us

    cdef inline bint readable(self) except -1:
        """May it be asked? Joins an outage that another worker has begun, and leaves one that is over."""
        if self.standing.outage_now() != self.joined:
            self.join()
        if self.state == WARMING and self.clean:
            self.try_open()
        return self.state == UP

    cdef inline bint is_changing(self) noexcept:
        """Has it just fallen, risen, or been taken out of service?"""
        return self.changed_until_us > self.turn.now_us

    cdef inline bint follows(self) except -1:
        """Does it get every write?"""
        if self.standing.outage_now() != self.joined:
            self.join()
        return self.up

    cdef Channel channel(self, const unsigned char *key, size_t length)
    cdef bint has_room(self, Channel channel) noexcept
    cdef int64_t deadline(self) noexcept
    cdef int expire(self) except -1

    cdef bint clean_for_all(self) except -1
    cdef bint whole(self) except -1
    cdef int take_place(self) except -1
    cdef int join(self) except -1
    cdef int missed(self, const unsigned char *key, size_t length) except -1
    cdef int missed_flush(self) except -1
    cdef int go_down(self, Failure why, str reason) except -1
    cdef int fall(self, Failure why, str reason) except -1
    cdef int enter(self, State state, str reason) except -1
    cdef int tear_down(self) except -1

    cdef int begin_probe(self) except -1
    cdef int probe_failed(self) except -1
    cdef void plan_probe(self) noexcept
    cdef bint greeted(self, object who) except -1
    cdef int come_back(self) except -1
    cdef int advance(self) except -1
    cdef int try_open(self) except -1
    cdef bint is_about_to_open(self) noexcept
    cdef int refill(self) except -1
    cdef int lead(self) except -1
    cdef int say(self) except -1


cdef Server keep_closed(Server server)
cdef int let_open(Server server) except -1
