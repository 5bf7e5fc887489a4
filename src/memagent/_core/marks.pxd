"""Which keys are being written: counters in shared memory, and the keys themselves, for whoever outlives the worker."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    static inline uint64_t memagent_in_use(const uint64_t *rows) { return __atomic_load_n(rows, __ATOMIC_SEQ_CST); }
    """
    uint64_t memagent_in_use(const uint64_t *rows) noexcept nogil

cdef enum:
    MARKS = 1 << 18          # slots; keys share them by their hash
    FLUSH_MARK = MARKS       # one more slot: flush_all
    ROW_SLOTS = MARKS + 8    # whole cache lines
    MOST_NOTES = 1 << 16     # of a worker: a server that stands still has so many writes before it falls, and not more
    NO_NOTE = MOST_NOTES
    MOST_LOOKED_AT = 4096    # notes of a worker, at once: a worker has not so much time

# What a note stands for.
cdef enum Stage:
    UNDECIDED  # a write that the other server of the key has not decided: no client can know of it
    DECIDED    # it has: what the server of the note has may be old
    IN_DOUBT   # no write: a comparison, until which that server's word does not count
    UNMARKED   # a comparison for which nobody waits: it has no mark


cdef struct Note:
    uint16_t server          # its number: it may be wrong about the key
    uint8_t length           # of the key; 0: nothing is noted here
    uint8_t stage
    unsigned char key[252]


cdef struct Notes:
    uint32_t used            # none behind them is in use
    uint32_t unnoted         # writes under way that found no room
    uint64_t unused[31]
    Note notes[0]


cdef struct Numbers:
    uint64_t free[MOST_NOTES >> 6]    # a bit for each
    uint64_t words[MOST_NOTES >> 12]  # a bit for each word of them that has one
    uint64_t top                      # and for each of those


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
    cdef Notes *notes            # this worker's; NULL for who only reads
    cdef Numbers _free           # of notes
    cdef Notes *_own_notes       # in no buffer
    cdef readonly size_t n_rows
    cdef const uint64_t *_in_use
    cdef uint64_t _all_in_use
    cdef size_t row
    cdef Py_buffer _view
    cdef bint _held

    cdef unsigned char *part(self, Py_ssize_t offset_bytes, Py_ssize_t size) except NULL
    cdef void fetch(self, uint32_t slot) noexcept
    cdef uint32_t begin(self, uint32_t slot, int server, const unsigned char *key, size_t length, Stage stage) noexcept
    cdef void end(self, uint32_t slot, uint32_t note) noexcept
    cdef void hold(self, uint32_t slot) noexcept
    cdef void release(self, uint32_t slot) noexcept
    cdef uint32_t note(self, int server, const unsigned char *key, size_t length, Stage stage) noexcept
    cdef inline size_t rows_now(self) noexcept:
        return <size_t> memagent_in_use(self._in_use)
    cdef void forget(self, uint32_t note) noexcept
    cdef void reach(self, uint32_t note, Stage stage) noexcept
    cdef void blame(self, uint32_t note, int server) noexcept
    cdef uint64_t read(self, uint32_t slot) noexcept
    cdef bint moved(self, uint32_t slot, uint64_t mark) noexcept
    cdef uint64_t read_others(self, uint32_t slot) noexcept
    cdef bint others_moved(self, uint32_t slot, uint64_t mark) noexcept
    cdef bint are_all(self, Stage stage, uint32_t slot, bint but_own) noexcept
    cdef list unended(self)
    cdef int end_all(self, list unended) except -1

cdef bint is_quiet(uint64_t mark) noexcept
