from libc.stdint cimport int64_t, uint8_t, uint32_t

from memagent._bench.posix cimport epoll_event, sockaddr_storage
from memagent._bench.replies cimport Checker, Client

cdef enum:
    EVENTS_MAX = 256
    BATCH_BYTES = 256 * 1024            # one send at most: deep pipelines of large values would pile up
    RETRY_NS = 20000000


cdef class Connections:
    cdef Checker checker
    cdef Client *client
    cdef uint32_t clients
    cdef uint32_t connected
    cdef uint32_t opening               # connections under way; few at a time, for the listener's backlog
    cdef uint32_t losses                # of connections that were up; the owner sets it back
    cdef int first_errno                # why the first connection that failed did so; the owner sets it back
    cdef int64_t timeout_ns
    cdef int64_t retry_ns
    cdef int poll_fd
    cdef epoll_event *events
    cdef uint8_t *inbound               # one for all clients: a line's beginning moves to its stash
    cdef uint8_t *outbound              # the batch being built
    cdef sockaddr_storage address
    cdef unsigned int address_bytes

    cdef int wait(self, int64_t wait_ns, bint precise) noexcept nogil
    cdef bint receive(self, uint32_t index) noexcept nogil
    cdef bint deliver(self, uint32_t index, size_t length, int64_t now_ns) noexcept nogil
    cdef bint flush(self, uint32_t index, int64_t now_ns) noexcept nogil
    cdef bint has_room(self, uint32_t index) noexcept nogil
    cdef void begin_connect(self, uint32_t index, int64_t now_ns) noexcept nogil
    cdef bint finish_connect(self, uint32_t index, int64_t now_ns) noexcept nogil
    cdef void lose(self, uint32_t index, int64_t now_ns, bint timed_out) noexcept nogil
    cdef void scan(self, int64_t now_ns) noexcept nogil
    cdef void watch(self, uint32_t index, int operation, uint32_t events) noexcept nogil
    cdef void failed(self, int number) noexcept nogil
