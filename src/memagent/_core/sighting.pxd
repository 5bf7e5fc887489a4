"""Single requests that somebody wants to see: a ring in shared memory."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from memagent._core.limits cimport MAX_KEY_BYTES
from memagent._core.metrics cimport Block

cdef enum:
    MOST_TAPS = 8
    NAME_BYTES = 64
    RESULT_BYTES = 16


# What came after the first server, and took the rest of the time.
cdef enum Step:
    ONE_STEP
    FALLBACK     # the first has missed the key: the other one was asked
    FAILOVER     # the first has failed: the other one was asked
    AGAIN        # another worker was writing the key: it was asked again
    REPAIR       # the first has got the item back from its copy, and was asked again
    COPY         # the copy had to answer too


cdef struct Sighting:
    uint64_t number              # counts from 1; 0 while it is written
    uint64_t tap                 # that asked for it, 0: it was slow
    int64_t ended_us
    int64_t took_us
    int64_t first_us             # of which before the second step, where there was one
    uint32_t n_keys
    uint32_t n_found
    uint8_t verb
    uint8_t step
    uint8_t length
    unsigned char key[MAX_KEY_BYTES]     # the first one, or the one that was waited for
    char result[RESULT_BYTES]    # texts end with a 0 where they are shorter
    char client[NAME_BYTES]
    char server[NAME_BYTES]      # that answered last
    char before[NAME_BYTES]      # and the one before it, where there was a second step


cdef struct Tally:
    uint64_t tap
    uint64_t matched


cdef struct SightingsHead:
    uint64_t count               # how many were written
    uint64_t dropped             # and how many not, because there were too many
    Tally tallies[MOST_TAPS]     # what taps would have shown


cdef class Sightings:
    cdef SightingsHead *head
    cdef Sighting *sightings
    cdef size_t capacity
    cdef Block _block

    cdef Sighting *begin(self) noexcept
    cdef void end(self, Sighting *sighting) noexcept
