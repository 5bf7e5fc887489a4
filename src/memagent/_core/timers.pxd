"""What of a worker's requests waits for a time."""

from libc.stdint cimport int64_t

from memagent._core.channel cimport Awaiting
from memagent._core.server cimport Server
from memagent._core.turn cimport Turn


cdef class Hurried(Awaiting):
    """Whoever has something to do at a time of its own."""

    cdef int64_t due_us          # 0: nothing to end
    cdef bint done               # answered: nothing is left to end

    cdef int too_late(self) except -1
    cdef int resume(self) except -1


cdef class Timers:
    cdef Turn turn
    cdef list hurried              # heap of (when it is too late, number, exchange)
    cdef int64_t n_hurried
    cdef object paused             # (when, Hurried) of those that wait for a moment, the earliest first

    cdef int due(self, Hurried exchange, int64_t due_us) except -1
    cdef int hurry(self, Hurried exchange, int64_t started_us, Server server) except -1
    cdef int pause(self, Hurried waiting) except -1
    cdef bint nears_its_end(self, Hurried exchange) noexcept
    cdef int expire(self) except -1
    cdef bint waits(self) noexcept
