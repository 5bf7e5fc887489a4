"""A key as it stands in a line to a server."""

cdef bint is_text(const unsigned char *key, size_t length) noexcept
cdef bytes base64_of(const unsigned char *key, size_t length)
