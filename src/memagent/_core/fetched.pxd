"""The line before an item's value, as servers answer mg and gets."""

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    FETCHED_FOREVER = -1    # its time to live


cdef struct Fetched:
    const unsigned char *key    # NULL where it was not asked for
    size_t key_length
    bint is_binary              # the key is base64
    uint64_t length             # of the value
    uint64_t flags
    uint64_t cas
    int64_t ttl_s               # mg only
    int64_t opaque              # mg only; -1 without
    bint is_stale
    bint won                    # reading it took a stale item's token


cdef inline bint starts(const unsigned char *p, size_t n, const char *word, size_t length) noexcept:
    cdef size_t i
    if n < length:
        return False
    for i in range(length):
        if p[i] != <unsigned char> word[i]:
            return False
    return True


cdef size_t reply_line(const unsigned char *p, size_t n, size_t *length) except? 0
cdef const unsigned char *take_number(
    const unsigned char *p, const unsigned char *end, uint64_t *number
) noexcept
cdef int read_mg(const unsigned char *p, size_t n, Fetched *item) except -1
cdef int read_gets(const unsigned char *p, size_t n, Fetched *item) except -1
cdef bint is_refusal(const unsigned char *p, size_t n) noexcept
cdef str shown(const unsigned char *p, size_t n)
