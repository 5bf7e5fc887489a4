"""Sockets to memcached servers."""

from libc.stdint cimport int64_t

from memagent._core.channel cimport Channel, Failure
from memagent._core.server cimport Server
from memagent._net.poller cimport Handler, Poller

cdef enum LinkState:
    CLOSED
    CONNECTING
    GREETING
    OPEN

cdef enum Pace:
    IDLE       # time changes nothing
    SLOW       # another worker may begin an outage
    BUSY


cdef class Link(Handler):
    cdef Endpoint endpoint
    cdef readonly Channel channel
    cdef LinkState state
    cdef object socket
    cdef int64_t due_us          # when the connection must be made, or the greeting answered
    cdef bytes greeting          # what has come of the answer
    cdef size_t attempt          # addresses tried since the last connection
    cdef bint heard              # a reply has come on this connection
    cdef int64_t opened_us
    cdef bint ended              # the server sends no more
    cdef bint unread             # stands in poller.unread
    cdef bint writable

    cdef int connect(self) except -1
    cdef int try_next(self) except -1
    cdef int opened(self) except -1
    cdef int greet(self) except -1
    cdef int hear_greeting(self) except -1
    cdef int failed_to_connect(self, str reason) except -1
    cdef int read(self) except -1
    cdef int flush(self) except -1
    cdef int lost(self, Failure why, str reason) except -1
    cdef object unplug(self)
    cdef int close(self) except -1
    cdef int let_go(self) except -1
    cdef int tick(self) except -1


cdef class Endpoint:
    cdef readonly Server server
    cdef Poller poller
    cdef readonly list links
    cdef list addresses          # (family, address) as the socket module takes them
    cdef public int64_t connect_timeout_us
    cdef int64_t leaves_us       # it is configured no more, and nothing of it is left some time after this; 0: stays
    cdef int failures_in_row     # connections lost before they gave a reply
    cdef object on_connect       # called with (server index): time to resolve the name again

    cdef bint has_left(self) noexcept
    cdef int tear_down(self) except -1
    cdef int down(self, Failure why, str reason) except -1
    cdef int unreachable(self, str reason) except -1
    cdef int tick(self) except -1
    cdef int finish_held(self) except -1
    cdef Pace pace(self) noexcept
