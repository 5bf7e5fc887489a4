"""Words of a request line: keys and numbers. Stricter than memcached, so that every server reads them the same way."""

from libc.stdint cimport uint32_t, uint64_t

from memagent._core.limits cimport MAX_KEY_BYTES


cdef enum:
    MAX_NUMBER_BYTES = 64
    SAFE_NUMBER_BYTES = 10


cdef struct KeyRef:
    uint32_t start   # offset from the start of the request
    uint32_t length


cdef inline bint read_number(const unsigned char *p, size_t n, uint64_t highest, uint64_t *value) noexcept:
    """Decimal digits up to `highest`, perhaps behind a plus. memcached takes more (wrapped lengths), nobody sends it."""
    cdef uint64_t total = 0
    cdef uint64_t digit
    cdef size_t i = 1 if n and p[0] == 43 else 0
    if n == i or n > MAX_NUMBER_BYTES:
        return False
    while i < n:
        if p[i] < 48 or p[i] > 57:
            return False
        digit = p[i] - 48
        if total > (highest - digit) // 10:
            return False
        total = total * 10 + digit
        i += 1
    value[0] = total
    return True


cdef inline bint is_exptime(const unsigned char *p, size_t n) noexcept:
    """A signed 64-bit number."""
    cdef uint64_t value = 0
    if n > 1 and p[0] == 45 and p[1] != 43:
        return read_number(p + 1, n - 1, 9223372036854775808U, &value)
    return read_number(p, n, 9223372036854775807U, &value)


cdef inline bint is_key(const unsigned char *p, size_t n) noexcept:
    cdef size_t i
    if n > MAX_KEY_BYTES:
        return False
    for i in range(n):
        if p[i] <= 32 or p[i] == 127:
            return False
    return True


cdef inline KeyRef next_token(const unsigned char *p, size_t position, size_t end) noexcept:
    """The first token from `position` on; of length 0 where there is none."""
    cdef KeyRef token
    while position < end and p[position] == 32:
        position += 1
    token.start = <uint32_t> position
    while position < end and p[position] != 32:
        position += 1
    token.length = <uint32_t> position - token.start
    return token


cdef inline bint is_meta_number(const unsigned char *p, const KeyRef *word) noexcept:
    """Do the meta commands of every version read this number as the classic ones do? Not one with a plus, or a long one."""
    return word.length <= SAFE_NUMBER_BYTES and p[word.start] != 43
