"""An item copied from one of its servers to the other."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from memagent._core.channel cimport Channel
from memagent._core.exchange cimport Exchange
from memagent._core.metrics cimport Block
from memagent._core.pool cimport Pool
from memagent._core.reply cimport Code, ReplyParser
from memagent._core.server cimport Server
from memagent._core.timers cimport Hurried

cdef enum Step:
    CLEARING
    WAITING
    READING
    ADDING


cdef class Repair(Hurried):
    cdef Pool pool
    cdef Block counters
    cdef Server source
    cdef Server target
    cdef Exchange then           # who waits for it, if anybody
    cdef bint refills            # counted in target.refilling and pool.n_refilling
    cdef Step step
    cdef int tries
    cdef uint32_t slot
    cdef uint32_t note           # of what the target has not, or not as it shall be
    cdef Server closed           # the target, if it shall not open before
    cdef uint64_t mark
    cdef uint64_t flush_mark
    cdef int64_t since_us        # the marks have not moved
    cdef bytes key
    cdef bytes name              # as it stands in a meta line

    cdef int clear(self) except -1
    cdef int cleared(self, bint is_gone) except -1
    cdef int start(self) except -1
    cdef int wait(self) except -1
    cdef int again(self) except -1
    cdef bint moved(self) noexcept
    cdef int add(self, Code code, const unsigned char *p, ReplyParser parser) except -1
    cdef int put(self, Channel channel, bytes head, const unsigned char *value, size_t length) except -1
    cdef int hurry(self, Server server) except -1
    cdef int tell(self, bint present) except -1
    cdef int give_up(self) except -1
    cdef int finish(self) except -1


cdef int repair(Pool pool, Block counters, Server source, Server target, const unsigned char *key, size_t length) except -1
cdef int repair_for(Exchange then, Pool pool, Block counters, Server source, Server target, const unsigned char *key,
                    size_t length) except -1
cdef int overwrite(Pool pool, Block counters, Server source, Server target, const unsigned char *key,
                   size_t length) except -1
cdef int go_on(Pool pool) except -1
