"""Keys with bytes that a line cannot carry travel as base64 (meta flag b); memcached pads and has no line breaks."""

cdef inline int base64_value(unsigned char c) noexcept nogil:
    if 65 <= c <= 90:
        return c - 65
    if 97 <= c <= 122:
        return c - 71
    if 48 <= c <= 57:
        return c + 4
    if c == 43:
        return 62
    return 63 if c == 47 else -1


cdef inline unsigned char base64_digit(unsigned int value) noexcept nogil:
    if value < 26:
        return <unsigned char> (65 + value)
    if value < 52:
        return <unsigned char> (71 + value)
    if value < 62:
        return <unsigned char> (value - 4)
    return 43 if value == 62 else 47


cdef inline Py_ssize_t base64_decoded(const unsigned char *text, size_t n, unsigned char *into) noexcept nogil:
    """The number of bytes written, at most n / 4 * 3; -1 if it is not base64."""
    cdef size_t i, written = 0
    cdef int a, b, c, d
    if n == 0 or n % 4:
        return -1
    for i in range(0, n, 4):
        a = base64_value(text[i])
        b = base64_value(text[i + 1])
        c = base64_value(text[i + 2])
        d = base64_value(text[i + 3])
        if a < 0 or b < 0:
            return -1
        into[written] = <unsigned char> (a << 2 | b >> 4)
        written += 1
        if text[i + 3] == 61 and i + 4 == n:
            if text[i + 2] == 61:
                return <Py_ssize_t> written
            if c < 0:
                return -1
            into[written] = <unsigned char> (b << 4 | c >> 2)
            return <Py_ssize_t> written + 1
        if c < 0 or d < 0:
            return -1
        into[written] = <unsigned char> (b << 4 | c >> 2)
        into[written + 1] = <unsigned char> (c << 6 | d)
        written += 2
    return <Py_ssize_t> written


cdef inline size_t base64_encoded(const unsigned char *data, size_t n, unsigned char *into) noexcept nogil:
    """The number of bytes written: 4 for each 3 begun."""
    cdef size_t i = 0, written = 0
    cdef unsigned int word
    while i < n:
        word = <unsigned int> data[i] << 16
        if i + 1 < n:
            word |= <unsigned int> data[i + 1] << 8
        if i + 2 < n:
            word |= data[i + 2]
        into[written] = base64_digit(word >> 18)
        into[written + 1] = base64_digit(word >> 12 & 63)
        into[written + 2] = base64_digit(word >> 6 & 63) if i + 1 < n else 61
        into[written + 3] = base64_digit(word & 63) if i + 2 < n else 61
        written += 4
        i += 3
    return written
