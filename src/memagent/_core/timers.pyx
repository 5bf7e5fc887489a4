"""What of a worker's requests waits for a time: the end of its last step, or a moment's pause.

    due, hurry ─▶ heap, the first that is too late on top ─┐
    pause ──────▶ queue, each waits for as long ───────────┴─ expire, now and then ─▶ too_late, resume

One for all pools of a worker: a request that waits is called also when its pool is configured no more.
"""

from collections import deque
from heapq import heappop, heappush

cimport cython
from libc.stdint cimport int64_t

from memagent._core.channel cimport Awaiting
from memagent._core.server cimport Server
from memagent._core.turn cimport Turn

cdef enum:
    SLOW_US = 50_000     # a first step that took less leaves time for a second one
    GRACE_US = 200_000   # for the second step, when the first has used the time up
    PAUSE_US = 10_000
    LAST_US = 40_000     # a look that begins so soon before the end is the last one


cdef class Hurried(Awaiting):
    cdef int too_late(self) except -1:
        """The time has come: answer with what is known."""
        raise NotImplementedError

    cdef int resume(self) except -1:
        """The pause is over."""
        raise NotImplementedError


@cython.final
cdef class Timers:
    def __cinit__(self, Turn turn not None):
        self.turn = turn
        self.hurried = []
        self.paused = deque()

    def __len__(self):
        """How many wait; those who do not need it any more count until their turn comes."""
        return len(self.hurried) + len(self.paused)

    cdef int due(self, Hurried exchange, int64_t due_us) except -1:
        """It must end at this time, or sooner where that has been said."""
        if exchange.due_us and exchange.due_us <= due_us:
            return 0
        self.n_hurried += 1
        exchange.due_us = due_us
        heappush(self.hurried, (due_us, self.n_hurried, exchange))
        return 0

    cdef int hurry(self, Hurried exchange, int64_t started_us, Server server) except -1:
        """The next step of a request that has taken long: it must end soon after the time of one step is over."""
        if self.turn.now_us - started_us < SLOW_US:
            return 0
        return self.due(exchange, started_us + server.request_timeout_us + GRACE_US)

    cdef int pause(self, Hurried waiting) except -1:
        """Another worker may be done in a moment: `waiting.resume` is called then."""
        self.paused.append((self.turn.now_us + PAUSE_US, waiting))
        return 0

    cdef bint nears_its_end(self, Hurried exchange) noexcept:
        """Would it be too late if this look came to nothing?"""
        return exchange.due_us != 0 and exchange.due_us - self.turn.now_us < LAST_US

    cdef int expire(self) except -1:
        """End what has taken too long, go on with what was paused; to be called now and then."""
        while self.paused and <int64_t> self.paused[0][0] <= self.turn.now_us:
            (<Hurried> self.paused.popleft()[1]).resume()
        while self.hurried and (
            (<Hurried> self.hurried[0][2]).done or <int64_t> self.hurried[0][0] <= self.turn.now_us
        ):
            (<Hurried> heappop(self.hurried)[2]).too_late()
        return 0

    cdef bint waits(self) noexcept:
        """Is there anything that time brings?"""
        return len(self.hurried) > 0 or len(self.paused) > 0
