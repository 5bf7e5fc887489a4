"""A retrieval of several keys, split over servers and put together again."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from memagent._core.buffer cimport Buffer
from memagent._core.channel cimport Channel
from memagent._core.exchange cimport Exchange
from memagent._core.pool cimport Pool
from memagent._core.request cimport RequestParser


cdef struct Wanted:
    uint32_t start          # of the key in `text`
    uint32_t length
    int part                # -1: nobody was asked
    uint32_t next           # the part's next key, n_keys at the end
    size_t item_start       # in the part's data; item_length 0: not found
    size_t item_length


cdef struct Part:
    unsigned char *data
    size_t length           # of data
    uint32_t first_key
    uint32_t last_key
    uint32_t n_keys
    bint done
    uint64_t *counters      # its server's


cdef class MultiGet(Exchange):
    cdef Pool pool
    cdef unsigned char *text
    cdef Wanted *wanted
    cdef uint32_t n_keys
    cdef Part *parts
    cdef uint32_t n_parts
    cdef uint32_t parts_capacity
    cdef uint32_t outstanding
    cdef uint32_t answered
    cdef readonly int64_t deadline_us

    cdef int ask(self, Channel channel, uint32_t i, RequestParser request, const unsigned char *p) except -1
    cdef int open_line(self, Channel channel, RequestParser request, const unsigned char *p) except -1
    cdef int close_line(self, Channel channel) except -1
    cdef int missed(self, uint32_t n) except -1
    cdef int part_done(self, const unsigned char *borrowed) except -1
    cdef int finish(self, const unsigned char *borrowed) except -1
    cdef int expire(self) except -1
