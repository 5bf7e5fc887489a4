from libc.stdint cimport uint32_t


# The digest as four little-endian words, the form in which rings use it.
cdef void md5_words(const unsigned char *data, size_t length, uint32_t *state) noexcept nogil
