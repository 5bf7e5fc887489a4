from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

# In the order of VERBS in workload.pyx.
cdef enum Verb:
    GET, GETS, SET, DELETE, INCR, TOUCH, VERB_COUNT

cdef enum:
    KEY_BYTES_MAX = 250
    # Values of neighbouring keys differ because each starts at another place of one random pattern.
    PATTERN_SHIFTS = 251


cdef class Workload:
    cdef uint64_t random_state
    cdef uint8_t mix[1024]              # drawn from uniformly; each verb fills its share
    cdef readonly uint32_t keys
    cdef readonly uint32_t width
    cdef readonly uint32_t largest_value_bytes
    cdef bint zipf
    cdef double *alias_share            # Vose's alias table: one draw costs two reads, whatever the skew
    cdef uint32_t *alias_other
    cdef uint32_t *sizes                # NULL: every value has `fixed_bytes`
    cdef uint32_t fixed_bytes
    cdef uint8_t *pattern
    cdef uint8_t prefix[KEY_BYTES_MAX]
    cdef uint32_t prefix_bytes
    cdef uint32_t digits
    cdef readonly bint uses_counters

    cdef uint64_t draw(self) noexcept nogil
    cdef int draw_verb(self) noexcept nogil
    cdef uint32_t draw_key(self) noexcept nogil
    cdef uint32_t value_bytes(self, uint32_t key) noexcept nogil
    cdef const uint8_t *value(self, uint32_t key) noexcept nogil
    cdef uint8_t *put_key(self, uint8_t *at, uint32_t key, bint counter) noexcept nogil
    cdef int64_t key_of(self, const uint8_t *text, size_t length) noexcept nogil
    cdef size_t request_bytes_max(self, int verb) noexcept nogil
    cdef uint8_t *put_request(self, uint8_t *at, int verb, const uint32_t *keys, bint preload) noexcept nogil
