from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from memagent._bench.connections cimport Connections
from memagent._bench.replies cimport Checker, Client
from memagent._bench.workload cimport Workload


cdef enum Phase:
    IDLE, CONNECTING, PRELOAD, WARMING, MEASURING, DRAINING, DONE


cdef class Generator:
    cdef Workload workload
    cdef readonly Checker checker
    cdef readonly uint32_t clients
    cdef readonly uint32_t depth
    cdef Connections links
    cdef int phase
    cdef int64_t next_scan_ns

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
    cdef bint interrupted
    cdef int64_t ended_ns

    cdef void turn(self, int64_t until_ns) noexcept nogil
    cdef void advance(self, int64_t now_ns) noexcept nogil
    cdef void refill(self, uint32_t index, int64_t now_ns) noexcept nogil
    cdef void fill(self, uint32_t index, int64_t now_ns) noexcept nogil
    cdef void issue_due(self, int64_t now_ns) noexcept nogil
    cdef uint8_t *put(
        self, Client *client, uint8_t *at, int64_t intended_ns, int64_t now_ns
    ) noexcept nogil
    cdef void kick(self, int64_t now_ns) noexcept nogil
    cdef int wait(self, int64_t now_ns, int64_t until_ns) noexcept nogil
    cdef void abandon(self, int64_t now_ns) noexcept nogil
