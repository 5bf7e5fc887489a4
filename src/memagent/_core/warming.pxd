"""A batch of keys on its way from one server to another."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t

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
    uint32_t mark
    uint16_t length
    uint8_t state
    bint is_binary          # its key came as base64, or cannot come otherwise
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


cdef class Batch:
    cdef readonly Route route
    cdef readonly int attempt
    cdef Item *items
    cdef readonly size_t count
    cdef size_t capacity
    cdef Buffer text
    cdef Buffer out
    cdef size_t cursor          # the item whose reply is awaited
    cdef size_t answered        # the item that a classic target answers next
    cdef uint64_t skipping
    cdef uint32_t flush_mark
    cdef int unanswered         # pieces of stores that the target has not answered
    cdef size_t unnamed         # stores that the target refused without saying which
    cdef readonly size_t need   # bytes wanted for the reply under way, 0 when unknown
    cdef readonly bint heard    # the reply of the step is complete
    cdef readonly bint fetched
    cdef readonly uint64_t fetched_bytes
    cdef readonly size_t n_there
    cdef readonly size_t n_won
    cdef public int64_t waited_s
    cdef public int64_t source_now_s
    cdef public int64_t target_now_s

    cdef int add(
        self, const unsigned char *key, size_t length, bint is_binary, int64_t expires_s, uint64_t cas
    ) except -1
    cdef const unsigned char *key(self, Item *item) noexcept
    cdef int put_key(self, Item *item) except -1
    cdef int put_barrier(self, bint meta) except -1
    cdef bytes taken(self)
    cdef bint holds(self, Item *item, const unsigned char *key, size_t length, bint is_binary) noexcept
    cdef size_t line(self, const unsigned char *p, size_t n, size_t *length) except? 0
    cdef size_t hear_quiet(self, const unsigned char *p, size_t n, int step) except? 0
    cdef size_t hear_classic(self, const unsigned char *p, size_t n, int step) except? 0
    cdef size_t hear_meta_item(self, const unsigned char *p, size_t n) except? 0
    cdef size_t hear_classic_item(self, const unsigned char *p, size_t n) except? 0
    cdef size_t skip(self, size_t n) noexcept
    cdef int advance(self) noexcept
    cdef int fetch_item(
        self, Item *item, const unsigned char *value, uint64_t length, uint64_t flags, int64_t ttl_s
    ) except -1
    cdef int count_refusal(self, const unsigned char *p, size_t n) noexcept
