"""One request under way."""

from libc.stdint cimport int64_t, uint32_t

from memagent._core.buffer cimport Memory
from memagent._core.channel cimport Channel, Failure
from memagent._core.latency cimport VerbClass
from memagent._core.metrics cimport Block
from memagent._core.pool cimport Pool
from memagent._core.request cimport RequestParser, Verb
from memagent._core.server cimport Server
from memagent._core.timers cimport Hurried


cdef class Waiting:
    """Whoever waits for an exchange to settle."""

    cdef int settled(self, Exchange exchange, const unsigned char *p, size_t n) except -1
    cdef int hold_back(self) except -1


cdef class Exchange(Hurried):
    cdef Waiting waiting         # None once the client is gone
    cdef Exchange behind         # the client's next one
    cdef Block counters
    cdef Memory memory
    cdef Pool pool               # of its key
    cdef Verb verb
    cdef VerbClass timed_as
    cdef bint quiet
    cdef int64_t started_us      # when the request had been read
    cdef int64_t stepped_us      # when a second step began, 0: there was none
    cdef unsigned char *reply    # kept here while earlier exchanges are under way
    cdef size_t reply_length

    cdef int begin(self, Waiting waiting, Block counters, Memory memory, Verb verb, bint quiet, int64_t now_us) except -1
    cdef int start(self, Pool pool, RequestParser request, const unsigned char *p) except -1
    cdef int repaired(self, bint present) except -1
    cdef int hurry(self, Pool pool, Server server) except -1
    cdef int settle(self, const unsigned char *p, size_t n) except -1
    cdef int settle_text(self, str text) except -1
    cdef int keep(self, const unsigned char *p, size_t n) except -1
    cdef void let_go(self) noexcept


cdef class Told(Waiting):
    cdef object tell             # (reply: bytes) -> None


cdef class Broadcast(Exchange):
    cdef list servers
    cdef size_t outstanding
    cdef str trouble
    cdef bint holds                # the mark of flushes

    cdef int note(self, str trouble) except -1
    cdef int finish_one(self) except -1


cdef int send(Channel channel, Exchange exchange, uint32_t part, int expects, Server server, RequestParser request,
              const unsigned char *p) except -1
cdef str explain(Server server, Failure why)
