"""Where a key has been written lately: counters in shared memory that only ever move.

    write:  stamp ─▶ request ─▶ ... ─▶ effect: stamp ─▶ request ─▶ ... ─▶ all answered: stamp
    copier: read ─▶ get at the source ─▶ add at the target ─▶ (as long as a request may take) ─▶ read again: moved?

Whoever copies an item from one server to another (a repair, the re-warm) may be overtaken by a write that reaches the
target before the copied item does; `add` keeps a newer value safe, but not a deletion. Each write that can leave a key
without a value, or change it other than by a plain set, therefore moves the mark of its key when it begins, before each
later step, and when all is answered. A copier whose mark has moved takes back what it has copied.

Invariant: for every such write that any process of this proxy had under way between a copier's two readings, the
readings differ. (Keys that share a slot only cause copies to be taken back in vain.)
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t, uintptr_t

cdef extern from *:
    """
    static inline uint32_t memagent_add_one(uint32_t *p) { return __atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST); }
    static inline uint32_t memagent_load(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
    """
    uint32_t memagent_add_one(uint32_t *p) noexcept nogil
    uint32_t memagent_load(const uint32_t *p) noexcept nogil

MARKS_BYTES = (MARKS + 1) * sizeof(uint32_t)


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
        if (<uintptr_t> self._view.buf + offset_bytes) % sizeof(uint32_t):
            raise ValueError("the marks do not start on a multiple of 4 bytes")
        self.slots = <uint32_t *> (<unsigned char *> self._view.buf + offset_bytes)

    def __dealloc__(self):
        if self._held:
            PyBuffer_Release(&self._view)

    cdef uint32_t stamp(self, uint32_t slot) noexcept:
        """Move the mark; returns what it is now."""
        return memagent_add_one(&self.slots[slot])

    cdef uint32_t read(self, uint32_t slot) noexcept:
        return memagent_load(&self.slots[slot])

    # The Python face.

    def stamp_key(self, bytes key not None):
        self.stamp(slot_of(key, len(key)))

    def read_key(self, bytes key not None):
        """How often a write has moved the mark of this key."""
        return self.read(slot_of(key, len(key)))

    def stamp_flush(self):
        self.stamp(FLUSH_MARK)

    def read_flush(self):
        """How often a flush_all has been under way."""
        return self.read(FLUSH_MARK)
