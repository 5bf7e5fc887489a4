"""A client's conversation: its requests in, their replies out in the same order."""

from libc.stdint cimport int64_t

from memagent._core.buffer cimport Buffer, Memory
from memagent._core.exchange cimport Exchange, Waiting
from memagent._core.latency cimport VerbClass
from memagent._core.metrics cimport Block
from memagent._core.observer cimport Observer
from memagent._core.pool cimport Pool
from memagent._core.request cimport Parsed, RequestParser
from memagent._core.routes cimport Routes
from memagent._core.timers cimport Timers
from memagent._core.turn cimport Turn


cdef class Context:
    """What all sessions of a worker share."""

    cdef readonly Turn turn
    cdef readonly Memory memory
    cdef readonly Timers timers
    cdef Block counters
    cdef RequestParser parser
    cdef readonly Observer observer
    cdef size_t pause_bytes
    cdef size_t close_bytes
    cdef object answer_stats     # (words: bytes) -> bytes
    cdef bytes version

    cdef int expire(self) except -1
    cdef bint waits(self) noexcept


cdef class Session(Waiting):
    cdef Context context
    cdef Routes routes           # of its listener
    cdef object connection       # its socket, for whoever owns one
    cdef Buffer out
    cdef Buffer left             # the beginning of a request, or requests beyond the window
    cdef Exchange first
    cdef Exchange last
    cdef size_t under_way        # exchanges that have not settled, quiet ones included
    cdef size_t window           # how many of those there may be
    cdef int64_t reply_bytes     # what a reply has, a moving average
    cdef size_t batch_bytes      # replies since nothing was under way
    cdef size_t kept_bytes       # replies that wait for earlier ones
    cdef size_t swallow          # bytes of a refused data block still to come
    cdef size_t searched         # bytes of `left` known to hold no line end
    cdef size_t need             # bytes that complete the request in `left`, 0 when unknown
    cdef int64_t ready_us        # since when `out` waits for the rest of its batch
    cdef bint dirty              # stands in turn.sessions
    cdef bint closing            # no more requests; close when all is answered
    cdef int end_counter         # what counts the end of this session
    cdef bint paused             # not read because the worker's buffers are full
    cdef bint overflowed         # past close_bytes: close at once

    cdef int received(self, const unsigned char *p, size_t n) except -1
    cdef int resume(self) except -1
    cdef Py_ssize_t parse(self, const unsigned char *p, size_t n) except -1
    cdef int dispatch(self, const unsigned char *p) except -1
    cdef Pool lead(self, VerbClass timed_as, const unsigned char *p)
    cdef int add(self, Exchange exchange, VerbClass timed_as) except -1
    cdef int answer(self, const unsigned char *p, size_t n) except -1
    cdef int write(self, const unsigned char *p, size_t n) except -1
    cdef int mark(self) except -1
    cdef int refuse(self, Parsed parsed) except -1
    cdef int count_meta(self, RequestParser parser) except -1
    cdef int dispatch_local(self, const unsigned char *p) except -1
    cdef int drop_old(self, const unsigned char *p) except -1
    cdef bint wants_more(self) noexcept
    cdef bint must_yield(self) noexcept
    cdef bint must_refuse(self, size_t with_reply_bytes) noexcept
    cdef bint should_flush(self) noexcept
    cdef int abandon(self) except -1
