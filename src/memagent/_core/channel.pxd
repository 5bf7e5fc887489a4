"""One connection's conversation with a server: requests out, replies in, first come first served."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memagent._core.buffer cimport Buffer
from memagent._core.latency cimport Histograms
from memagent._core.metrics cimport Block
from memagent._core.reply cimport Code, ReplyParser
from memagent._core.turn cimport Turn


cdef enum Failure:
    F_DOWN         # the server was down before anything was sent
    F_REFUSED      # no connection could be made
    F_RESET        # the connection ended
    F_TIMED_OUT    # no reply in time
    F_GARBAGE      # the server sent what is no reply
    F_BUSY         # too much waits for this server


cdef class Awaiting:
    """Whoever awaits a reply. `part` is the number it gave the request."""

    cdef int replied(self, uint32_t part, Code code, const unsigned char *p, size_t n, ReplyParser parser) except -1
    cdef int failed(self, uint32_t part, Failure why, bint sent) except -1


cdef struct Ticket:
    PyObject *awaiting      # NULL: nobody, the reply is dropped
    uint32_t part
    uint32_t expects
    uint64_t end            # place in the stream behind the request's last byte
    int64_t asked_us
    int64_t deadline_us


cdef class Channel:
    cdef readonly object peer      # the Server that it belongs to
    cdef object connection         # its socket, for whoever owns one
    cdef readonly Buffer out
    cdef readonly Buffer left      # the beginning of a reply
    cdef Block counters
    cdef Turn turn
    cdef ReplyParser parser
    cdef bint dirty                # stands in turn.channels
    cdef size_t need               # bytes that complete the reply in `left`, 0 when unknown
    cdef size_t scanned
    cdef uint64_t appended_total   # stream places: appended to `out`,
    cdef uint64_t sent_total       # and taken by the socket
    cdef Ticket *tickets           # ring: [first, first + count)
    cdef size_t capacity
    cdef size_t first
    cdef size_t count
    cdef size_t count_done         # replies so far
    cdef int64_t latency_us        # from a request to its reply, a moving average
    cdef Histograms latency        # the same of every reply, all channels of the server in one; None: not measured
    cdef uint64_t popped_end       # `end` of the last ticket that left
    cdef uint64_t line_start       # multiget: place in the stream where the open line began
    cdef int line_part             # its part number, -1 when no line is open
    cdef int64_t mixed_until_us    # up to then a ticket may have a later deadline than those behind it
    cdef str reason                # why the last bytes were garbage

    cdef int append(self, const unsigned char *p, size_t n) except -1
    cdef int ticket(self, Awaiting awaiting, uint32_t part, int expects, int64_t deadline_us) except -1
    cdef int grow(self) except -1
    cdef int sent(self, size_t n) except -1
    cdef int received(self, const unsigned char *p, size_t n) except -2
    cdef int resume(self) except -2
    cdef Py_ssize_t parse(self, const unsigned char *p, size_t n) except -2
    cdef bint is_sent(self, size_t i) noexcept
    cdef int expire(self) except -1
    cdef int lost(self, Failure why, bint keep_unsent) except -1
    cdef size_t pending(self) noexcept
    cdef bint nobody_waits(self) noexcept


cdef inline Channel way(list channels, const unsigned char *key, size_t length):
    """The channel for a key: always the same one, so that two requests for it arrive in their order."""
    cdef uint32_t h = 2166136261U
    cdef size_t i
    if len(channels) == 1:
        return <Channel> channels[0]
    for i in range(length):
        h = (h ^ key[i]) * 16777619U
    return <Channel> channels[(h ^ h >> 16) % <size_t> len(channels)]
