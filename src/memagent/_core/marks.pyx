"""Which keys are being written, and by which worker: two counters for each slot, in shared memory.

    write:  begin ─▶ request ─▶ ... ─▶ effect ─▶ ... ─▶ both servers have answered: end
    copier: read: nobody writes it ─▶ get at the source ─▶ add at the target ─▶ answered: has anybody begun since?
    reader: read the others' ─▶ get where the key may be old ─▶ has another worker been writing? then once more

A write's mark is open as long as the two servers of its key may have seen it in another order than other writes, or may
have different values for another reason: until both have answered, and where two workers' writes have met, until they
were compared (doubt.pyx). Whoever leaves the authority for what the other server has must know of that:
- who copies an item from one server to the other (a repair, the re-warm) may be overtaken by a write that reaches the target
  before the copied item does; `add` keeps a newer value safe, but not a deletion. A copier that finds the mark moved
  takes back what it has copied;
- who reads from the other server may be quicker than another worker's write, which the authority has acknowledged.

Each worker has a row of its own, which it alone writes: its own writes reach a server in the order in which it sent
them, so a reader asks for the others' marks only. What a dead worker had begun is ended by the supervisor.

Invariant: if a mark was quiet when it was read, and has not moved since, then no write of its keys, of any process of
this proxy, was under way in between. (Keys that share a slot only cause work in vain.)
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t, uint64_t, uintptr_t

cdef extern from *:
    """
    /* The halves of a slot: writes begun, writes ended. */
    static inline void memagent_begin(uint64_t *slot) {
        __atomic_add_fetch((uint32_t *) slot, 1, __ATOMIC_SEQ_CST);
    }
    static inline void memagent_end(uint64_t *slot) {
        __atomic_add_fetch((uint32_t *) slot + 1, 1, __ATOMIC_SEQ_CST);
    }
    /* Over all rows but one. The ends first: where both sums are the same nobody was writing when they had been read. */
    static inline uint64_t memagent_mark(const uint64_t *slot, size_t n_rows, size_t row_slots, size_t but) {
        uint32_t begun = 0, ended = 0;
        size_t row;
        for (row = 0; row < n_rows; row++)
            if (row != but)
                ended += __atomic_load_n((const uint32_t *) (slot + row * row_slots) + 1, __ATOMIC_SEQ_CST);
        for (row = 0; row < n_rows; row++)
            if (row != but)
                begun += __atomic_load_n((const uint32_t *) (slot + row * row_slots), __ATOMIC_SEQ_CST);
        return (uint64_t) ended << 32 | begun;
    }
    """
    void memagent_begin(uint64_t *slot) noexcept nogil
    void memagent_end(uint64_t *slot) noexcept nogil
    uint64_t memagent_mark(const uint64_t *slot, size_t n_rows, size_t row_slots, size_t but) noexcept nogil

cdef size_t NO_ROW = <size_t> -1


def marks_bytes(size_t n_rows):
    """How much memory the rows of so many workers take."""
    return n_rows * ROW_SLOTS * sizeof(uint64_t)


cdef bint is_quiet(uint64_t mark) noexcept:
    """Had every write that had begun ended?"""
    return mark >> 32 == (mark & 0xffffffffU)


@cython.final
cdef class Marks:
    """Over `marks_bytes(n_rows)` bytes of a writable buffer, from `offset_bytes` on; in memory of its own without a buffer.

    `row` is the one of this worker; who only reads takes any.
    """

    def __cinit__(self, buffer=None, Py_ssize_t offset_bytes=0, Py_ssize_t n_rows=1, Py_ssize_t row=0):
        if not 0 <= row < n_rows:
            raise ValueError(f"row {row} of {n_rows}")
        size = marks_bytes(n_rows)
        if buffer is None:
            buffer = bytearray(size)
        PyObject_GetBuffer(buffer, &self._view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self._held = True
        if offset_bytes < 0 or self._view.len - offset_bytes < <Py_ssize_t> size:
            raise ValueError(f"{size} bytes at {offset_bytes} do not fit in a buffer of {self._view.len}")
        if (<uintptr_t> self._view.buf + offset_bytes) % sizeof(uint64_t):
            raise ValueError("the marks do not start on a multiple of 8 bytes")
        self.rows = <uint64_t *> (<unsigned char *> self._view.buf + offset_bytes)
        self.n_rows = n_rows
        self.row = row
        self.own = self.rows + row * ROW_SLOTS

    def __dealloc__(self):
        if self._held:
            PyBuffer_Release(&self._view)

    cdef void begin(self, uint32_t slot) noexcept:
        memagent_begin(&self.own[slot])

    cdef void end(self, uint32_t slot) noexcept:
        memagent_end(&self.own[slot])

    cdef uint64_t read(self, uint32_t slot) noexcept:
        return memagent_mark(&self.rows[slot], self.n_rows, ROW_SLOTS, NO_ROW)

    cdef bint moved(self, uint32_t slot, uint64_t mark) noexcept:
        """May a write have been under way since the mark was read?"""
        return not is_quiet(mark) or (self.read(slot) & 0xffffffffU) != (mark & 0xffffffffU)

    cdef uint64_t read_others(self, uint32_t slot) noexcept:
        """What the other workers write."""
        return 0 if self.n_rows == 1 else memagent_mark(&self.rows[slot], self.n_rows, ROW_SLOTS, self.row)

    cdef bint others_moved(self, uint32_t slot, uint64_t mark) noexcept:
        """May another worker's write have been under way since its mark was read?"""
        return not is_quiet(mark) or (self.read_others(slot) & 0xffffffffU) != (mark & 0xffffffffU)

    def take_over(self):
        """Whoever wrote this row before is dead: nothing of it is under way any more."""
        cdef int slot
        cdef uint32_t *halves
        for slot in range(ROW_SLOTS):
            halves = <uint32_t *> &self.own[slot]
            if halves[1] != halves[0]:
                halves[1] = halves[0]

    # The Python face.

    def begin_key(self, bytes key not None):
        self.begin(slot_of(key, len(key)))

    def end_key(self, bytes key not None):
        self.end(slot_of(key, len(key)))

    def stamp_key(self, bytes key not None):
        """A write that is over at once."""
        self.begin_key(key)
        self.end_key(key)

    def read_key(self, bytes key not None):
        """(begun, ended): how many writes of this key's slot."""
        mark = self.read(slot_of(key, len(key)))
        return mark & 0xffffffffU, mark >> 32

    def stamp_flush(self):
        self.begin(FLUSH_MARK)
        self.end(FLUSH_MARK)

    def read_flush(self):
        """(begun, ended): how many flush_alls."""
        mark = self.read(FLUSH_MARK)
        return mark & 0xffffffffU, mark >> 32
