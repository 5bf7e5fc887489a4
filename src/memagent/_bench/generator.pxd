from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from memagent._bench.replies cimport Checker, Client
from memagent._bench.workload cimport Workload


cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr_storage:
        unsigned short ss_family


cdef enum Phase:
    IDLE, CONNECTING, PRELOAD, WARMING, MEASURING, DRAINING, DONE


cdef class Generator:
    cdef Workload workload
    cdef readonly Checker checker
    cdef readonly uint32_t clients
    cdef readonly uint32_t depth
    cdef Client *client
    cdef sockaddr_storage address
    cdef unsigned int address_bytes
    cdef int poll_fd
    cdef int phase
    cdef int connect_errno              # why the first connection that failed did so
    cdef uint32_t connected
    cdef uint32_t opening               # connections under way; few at a time, for the listener's backlog
    cdef int64_t timeout_ns
    cdef int64_t next_scan_ns
    cdef void *events                   # epoll_event[]
    cdef uint8_t *inbound               # one for all clients: a line's beginning moves to its stash
    cdef uint8_t *outbound
    cdef size_t outbound_room

    cdef double interval_ns             # open loop: between two requests; 0: closed loop
    cdef int64_t schedule_ns            # when the schedule began, moved at the start of measuring
    cdef uint64_t scheduled             # requests of the schedule that have left
    cdef uint32_t *idle                 # open loop: ring of clients with room
    cdef uint32_t idle_head
    cdef uint32_t idle_count

    cdef int64_t measure_from_ns
    cdef int64_t measure_until_ns       # 0: until `requests` have been issued
    cdef int64_t drain_until_ns
    cdef uint64_t requests_left
    cdef uint64_t issued
    cdef uint64_t preload_next
    cdef uint64_t preload_total
    cdef int preload_losses
    cdef bint interrupted
    cdef int64_t ended_ns

    cdef void turn(self, int64_t until_ns) noexcept nogil
    cdef void advance(self, int64_t now_ns) noexcept nogil
    cdef void receive(self, uint32_t index) noexcept nogil
    cdef void refill(self, uint32_t index, int64_t now_ns) noexcept nogil
    cdef void fill(self, uint32_t index, int64_t now_ns) noexcept nogil
    cdef void issue_due(self, int64_t now_ns) noexcept nogil
    cdef uint8_t *put(
        self, Client *client, uint8_t *at, int64_t intended_ns, int64_t now_ns
    ) noexcept nogil
    cdef void deliver(self, uint32_t index, size_t length, int64_t now_ns) noexcept nogil
    cdef void flush(self, uint32_t index, int64_t now_ns) noexcept nogil
    cdef void begin_connect(self, uint32_t index, int64_t now_ns) noexcept nogil
    cdef void finish_connect(self, uint32_t index, int64_t now_ns) noexcept nogil
    cdef void lose(self, uint32_t index, int64_t now_ns, bint timed_out) noexcept nogil
    cdef void scan(self, int64_t now_ns) noexcept nogil
    cdef void watch(self, uint32_t index, int operation, uint32_t events) noexcept nogil
    cdef void kick(self, int64_t now_ns) noexcept nogil
    cdef int wait(self, int64_t now_ns, int64_t until_ns) noexcept nogil
    cdef void abandon(self, int64_t now_ns) noexcept nogil
