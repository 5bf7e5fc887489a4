"""A retrieval of several keys, split over servers and put together again."""

from libc.stdint cimport uint32_t, uint64_t

from memagent._core.channel cimport Channel
from memagent._core.exchange cimport Exchange
from memagent._core.request cimport RequestParser
from memagent._core.server cimport Server


cdef struct Wanted:
    uint32_t start          # of the key in `text`
    uint32_t length
    int part                # the last one that asked for it, -1: nobody was asked
    uint32_t next           # the part's next key, n_keys at the end
    bint is_copy            # the server that was asked is not the owner,
    bint again              # is the second one,
    bint missed             # and the first one has missed the key
    bint careful            # the owner has just fallen or risen
    bint waits              # to be asked for again
    uint64_t others         # marks of other workers' writes when the server was asked
    size_t item_start       # in the part's data; item_length 0: not found
    size_t item_length


cdef struct Part:
    unsigned char *data
    size_t length           # of data
    uint32_t first_key
    uint32_t last_key
    uint32_t n_keys
    bint done


cdef class MultiGet(Exchange):
    cdef unsigned char *text     # from the space before the first key on
    cdef bytes exptime           # gat, gats
    cdef list servers            # by part
    cdef list waiting            # keys to be asked for again
    cdef bint watches            # any of the answers may be old
    cdef Wanted *wanted
    cdef uint32_t n_keys
    cdef Part *parts
    cdef uint32_t n_parts
    cdef uint32_t parts_capacity
    cdef uint32_t outstanding
    cdef uint32_t answered
    cdef uint32_t last_part      # that was answered, or failed

    cdef int seek(self, uint32_t i, int owner_index, list touched) except -1
    cdef void place(self, uint32_t first, RequestParser request, const unsigned char *p, int *owners) noexcept
    cdef int watch(self, uint32_t i) except -1
    cdef uint32_t put_off(self, uint32_t number) except? 0xffffffff
    cdef bint seek_again(self, uint32_t i, bint was_missed, list touched) except -1
    cdef bint ask(self, Server server, uint32_t i, list touched) except -1
    cdef int open_line(self, Channel channel) except -1
    cdef int close_line(self, Channel channel) except -1
    cdef int close_lines(self, list touched) except -1
    cdef int hold(self, uint32_t number, const unsigned char *p, size_t n) except -1
    cdef int go_elsewhere(self, uint32_t number, bint was_missed) except -1
    cdef int follow_up(self, uint32_t number) except -1
    cdef int missed(self, uint32_t n) except -1
    cdef int part_done(self, const unsigned char *borrowed) except -1
    cdef int finish(self, const unsigned char *borrowed) except -1
