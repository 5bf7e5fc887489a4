"""Bytes between a socket and a parser: fill at the tail, consume at the head."""


cdef class Memory:
    """What all buffers of a worker hold together, and the blocks that wait for reuse."""

    cdef readonly size_t used_bytes
    cdef public size_t limit_bytes
    cdef unsigned char **blocks
    cdef int n_blocks

    cdef unsigned char *take_block(self) noexcept
    cdef void give_block(self, unsigned char *block) noexcept


cdef class Buffer:
    cdef Memory memory
    cdef unsigned char *data
    cdef size_t start
    cdef size_t end
    cdef size_t capacity

    cdef inline size_t length(self) noexcept:
        return self.end - self.start

    cdef inline const unsigned char *head(self) noexcept:
        return self.data + self.start

    cdef unsigned char *room(self, size_t n) except NULL
    cdef int filled(self, size_t n) except -1
    cdef int append(self, const unsigned char *source, size_t n) except -1
    cdef int consume(self, size_t n) except -1
    cdef void clear(self) noexcept
