"""Which keys are being written: two counters for each slot, in shared memory.

    write:  begin ─▶ request ─▶ ... ─▶ effect ─▶ ... ─▶ all answered: end
    copier: read: nobody writes it ─▶ get at the source ─▶ add at the target ─▶ answered: has anybody begun since?

Whoever copies an item from one server to another (a repair, the re-warm) may be overtaken by a write that reaches the
target before the copied item does; `add` keeps a newer value safe, but not a deletion. Each write that can leave a key
without a value, or change it other than by a plain set, therefore moves the mark of its key when it begins and when all
is answered. A copier that finds the mark moved takes back what it has copied.

Invariant: if a mark was quiet when the copier read it, and has not moved when its `add` was answered, then no such write,
of any process of this proxy, was under way in between. (Keys that share a slot only cause copies in vain. A worker that is
killed leaves the marks of its last writes open; a copier waits for those no longer than any write may take.)
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t, uint64_t, uintptr_t

cdef extern from *:
    """
    /* The halves of a slot: writes begun, writes ended. */
    static inline uint32_t memagent_begin(uint64_t *slot) {
        return __atomic_add_fetch((uint32_t *) slot, 1, __ATOMIC_SEQ_CST);
    }
    static inline void memagent_end(uint64_t *slot) {
        __atomic_add_fetch((uint32_t *) slot + 1, 1, __ATOMIC_SEQ_CST);
    }
    static inline uint64_t memagent_mark(const uint64_t *slot) {
        uint64_t ended = __atomic_load_n((const uint32_t *) slot + 1, __ATOMIC_SEQ_CST);
        return ended << 32 | __atomic_load_n((const uint32_t *) slot, __ATOMIC_SEQ_CST);
    }
    """
    uint32_t memagent_begin(uint64_t *slot) noexcept nogil
    void memagent_end(uint64_t *slot) noexcept nogil
    uint64_t memagent_mark(const uint64_t *slot) noexcept nogil

MARKS_BYTES = (MARKS + 1) * sizeof(uint64_t)


cdef bint is_quiet(uint64_t mark) noexcept:
    """Had every write that had begun ended?"""
    return mark >> 32 == (mark & 0xffffffffU)


@cython.final
cdef class Marks:
    """Over `MARKS_BYTES` bytes of a writable buffer, from `offset_bytes` on; in memory of its own without a buffer."""

    def __cinit__(self, buffer=None, Py_ssize_t offset_bytes=0):
        if buffer is None:
            buffer = bytearray(MARKS_BYTES)
        PyObject_GetBuffer(buffer, &self._view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self._held = True
        if offset_bytes < 0 or self._view.len - offset_bytes < <Py_ssize_t> MARKS_BYTES:
            raise ValueError(f"{MARKS_BYTES} bytes at {offset_bytes} do not fit in a buffer of {self._view.len}")
        if (<uintptr_t> self._view.buf + offset_bytes) % sizeof(uint64_t):
            raise ValueError("the marks do not start on a multiple of 8 bytes")
        self.slots = <uint64_t *> (<unsigned char *> self._view.buf + offset_bytes)

    def __dealloc__(self):
        if self._held:
            PyBuffer_Release(&self._view)

    cdef uint32_t begin(self, uint32_t slot) noexcept:
        """A write begins; returns how many have begun."""
        return memagent_begin(&self.slots[slot])

    cdef void end(self, uint32_t slot) noexcept:
        memagent_end(&self.slots[slot])

    cdef uint64_t read(self, uint32_t slot) noexcept:
        return memagent_mark(&self.slots[slot])

    cdef bint moved(self, uint32_t slot, uint64_t mark) noexcept:
        """May a write have been under way since the mark was read?"""
        return not is_quiet(mark) or (self.read(slot) & 0xffffffffU) != (mark & 0xffffffffU)

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
