"""Which keys are being written: two counters for each slot and worker, in shared memory."""

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    MARKS = 1 << 18          # slots; keys share them by their hash
    FLUSH_MARK = MARKS       # one more slot: flush_all
    ROW_SLOTS = MARKS + 8    # whole cache lines

cdef inline uint32_t slot_of(const unsigned char *key, size_t length) noexcept nogil:
    """The slot of a key, by its FNV-1a hash."""
    cdef uint32_t h = 2166136261U
    cdef size_t i
    for i in range(length):
        h = (h ^ key[i]) * 16777619U
    return (h ^ h >> 18) & (MARKS - 1)


cdef class Marks:
    cdef uint64_t *rows
    cdef uint64_t *own           # this worker's row
    cdef readonly size_t n_rows
    cdef size_t row
    cdef Py_buffer _view
    cdef bint _held

    cdef void begin(self, uint32_t slot) noexcept
    cdef void end(self, uint32_t slot) noexcept
    cdef uint64_t read(self, uint32_t slot) noexcept
    cdef bint moved(self, uint32_t slot, uint64_t mark) noexcept
    cdef uint64_t read_others(self, uint32_t slot) noexcept
    cdef bint others_moved(self, uint32_t slot, uint64_t mark) noexcept

cdef bint is_quiet(uint64_t mark) noexcept
