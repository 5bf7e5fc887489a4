"""What has become of the keys of a batch that is on its way from one server to another."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from memagent._core.buffer cimport Buffer
from memagent._core.marks cimport Marks

cdef enum State:
    LISTED      # the source had it when it was listed; wanted, once the target has said that it misses it
    THERE       # the target has it
    GONE        # the source has it no more
    EXPIRED
    STALE       # the source has it as a stale item, which no other server could be given
    TOO_BIG
    REFUSED
    SENT        # to the target, which has not answered yet
    STORED
    MOVED       # stored, but written meanwhile: to be taken back

cdef enum:
    NEVER = -1      # time to live, or when it ends
    UNKNOWN = 0     # when its life ends

cdef struct Item:
    size_t at               # of the key in the batch's text
    int64_t expires_s       # as listed, by the source's clock
    uint64_t cas            # as listed, and later as fetched
    uint32_t slot
    uint64_t mark
    uint16_t length
    uint8_t state
    bint is_binary          # its key goes as base64
    bint is_unsafe          # its key holds bytes that no line can carry
    bint is_finite          # it was sent with a time to live
    bint ends_line          # the last of a line of gets
    bint won                # reading it took a stale item's token


cdef class Tally:
    cdef public uint64_t listed, kept, copied, there, gone, expired, changed, too_big, failed, again, bytes


cdef class Route:
    cdef readonly Tally tally
    cdef readonly bint source_meta
    cdef readonly bint target_meta
    cdef readonly bint keeps_cas
    cdef readonly uint64_t largest_bytes
    cdef readonly int64_t unknown_ttl_s
    cdef Marks marks
    cdef Marks marks_before


cdef class Copies:
    cdef readonly Route route
    cdef readonly int attempt
    cdef Item *items
    cdef readonly size_t count
    cdef size_t capacity
    cdef Buffer text                # the keys, one after the other
    cdef Buffer out                 # requests that were not taken
    cdef uint64_t flush_mark
    cdef int unanswered             # pieces of stores that the target has not answered
    cdef size_t unnamed             # stores that the target refused without saying which
    cdef readonly bint fetched      # the source has said all

    cdef int add(
        self, const unsigned char *key, size_t length, bint is_binary, int64_t expires_s, uint64_t cas
    ) except -1
    cdef const unsigned char *key(self, Item *item) noexcept
