"""A key as it stands in a line to a server: as it is, or in base64 where only meta commands can carry it."""

from binascii import b2a_base64


cdef bint is_text(const unsigned char *key, size_t length) noexcept:
    """Can a classic command carry the key? Meta commands bring others, in base64."""
    cdef size_t i
    for i in range(length):
        if key[i] <= 32 or key[i] == 127:
            return False
    return True


cdef bytes base64_of(const unsigned char *key, size_t length):
    return b2a_base64(<bytes> key[:length], newline=False)
