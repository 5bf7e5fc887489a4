from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from memagent._bench.histogram cimport Histogram
from memagent._bench.workload cimport VERB_COUNT, Workload

cdef enum:
    STASH_BYTES = 1024                  # the longest line that may arrive in two pieces
    ERROR_SAMPLE_BYTES = 160

cdef enum Purpose:
    UNCOUNTED, COUNTED, PRELOADING


cdef struct Flight:
    int64_t intended_ns                 # when it should have left; a late start counts as latency
    int64_t sent_ns
    uint32_t found                      # VALUE blocks so far
    uint32_t near                       # where the search for the next VALUE's key begins
    uint8_t verb
    uint8_t purpose


cdef struct Client:
    int fd                              # -1: not connected
    bint connecting
    bint queued                         # stands in the open loop's queue of clients with room
    uint32_t head                       # ring of requests in flight, oldest first
    uint32_t count
    Flight *flights
    uint32_t *asked                     # key numbers, `width` per place in the ring
    int64_t since_ns                    # connecting since; while not connected: not to be tried before
    bint in_body
    int64_t body_key                    # -1: a key that nobody asked for, its bytes are not compared
    uint32_t body_bytes
    uint32_t body_at
    uint8_t *pending                    # what the socket did not take
    size_t pending_start
    size_t pending_end
    size_t pending_room
    uint32_t stash_bytes                # the beginning of a line whose end has not come yet
    uint8_t stash[STASH_BYTES]


cdef struct Tally:
    uint64_t requests                   # counted requests that got their whole reply, whatever it said
    uint64_t by_verb[VERB_COUNT]
    uint64_t keys_asked
    uint64_t hits
    uint64_t misses
    uint64_t stored
    uint64_t not_stored
    uint64_t errors
    uint64_t client_errors
    uint64_t server_errors
    uint64_t mismatches
    uint64_t lost_requests              # in flight when their connection was lost, or unanswered at the end
    uint64_t connections_lost
    uint64_t timeouts
    uint64_t bytes_in
    uint64_t bytes_out


cdef class Checker:
    cdef Workload workload
    cdef readonly Histogram latency
    cdef Tally tally
    cdef uint32_t ring                  # places in each client's ring
    cdef uint64_t answered              # of every purpose, never reset
    cdef uint64_t in_flight
    cdef readonly uint32_t unanswered   # by the last replay
    cdef uint64_t preload_stored
    cdef int64_t last_counted_ns
    cdef uint8_t error_sample[ERROR_SAMPLE_BYTES]
    cdef uint32_t error_sample_bytes
    cdef uint8_t mismatch_sample[ERROR_SAMPLE_BYTES]
    cdef uint32_t mismatch_sample_bytes

    cdef int64_t consume(
        self, Client *client, const uint8_t *data, size_t length, int64_t now_ns
    ) noexcept nogil
    cdef void settle(self, Client *client, int64_t now_ns) noexcept nogil
    cdef int start_value(
        self, Client *client, Flight *flight, const uint8_t *line, size_t length
    ) noexcept nogil
    cdef bint finish_line(self, Flight *flight, const uint8_t *line, size_t length) noexcept nogil
    cdef void mismatch(self, const uint8_t *line, size_t length) noexcept nogil
