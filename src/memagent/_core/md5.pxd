from libc.stdint cimport uint32_t


# The digest as four little-endian words, the form in which rings use it.
cdef void md5_words(const unsigned char *data, size_t length, uint32_t *state) noexcept nogil
# The first word of each digest; eight short ones at a time cost little more than one.
cdef void md5_first_words(
    const unsigned char **data, const size_t *lengths, int count, uint32_t *first
) noexcept nogil
