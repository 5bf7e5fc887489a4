from libc.stdint cimport uint32_t

ctypedef uint32_t (*KeyHash)(const unsigned char *key, size_t length) noexcept nogil

cdef KeyHash find_key_hash(str name) except NULL

# For magent's ring, which falls back to it.
cdef uint32_t djb(const unsigned char *key, size_t length) noexcept nogil
