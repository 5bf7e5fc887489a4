"""What a server missed is played to it when it answers again."""

from libc.stdint cimport int64_t

from memagent._core.channel cimport Awaiting
from memagent._core.journal cimport Journal
from memagent._core.metrics cimport Block
from memagent._core.turn cimport Turn


cdef class Player(Awaiting):
    cdef Journal journal
    cdef list channels
    cdef Block counters
    cdef Turn turn
    cdef int64_t timeout_us
    cdef readonly bint flushing     # a flush_all is on its way, or one more is to come
    cdef readonly bint flushed      # and the last one was answered
    cdef bint flush_again           # one more is needed
    cdef int64_t flush_at_us        # when it is to be sent, 0 if not at any time
    cdef readonly str trouble       # why the play cannot go on
    cdef dict out                   # keys whose delete is on its way, by part
    cdef unsigned int part
    cdef readonly Journal played    # keys that are deleted there, to be refilled

    cdef int flush(self) except -1
    cdef int flush_more(self) except -1
    cdef int send_flush_all(self) except -1
    cdef int play(self) except -1
    cdef bint is_done(self) noexcept
    cdef int stop(self) except -1
    cdef str refusal(self, str verb, const unsigned char *p, size_t n)
    cdef bytes next_played(self)
