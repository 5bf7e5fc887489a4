"""A block of counters: a slice of a buffer that other processes see too.

    segment ──▶ │ header │ worker 0 │ its server 0 │ its server 1 │ worker 1 │ ...
                              ▲ Block(buffer, offset_slots, W_COUNT)

- A block has one writer, the worker that it belongs to; everybody else reads.
- The block keeps the buffer alive; the buffer cannot be closed under it.
- All bounds are checked here, once: hot code writes through `slot` with constants below the block's size.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t, uintptr_t


__all__ = ["Block", "server_counter_order", "worker_counter_order"]


def worker_counter_order():
    """The worker's constants in slot order, without their prefix: the counters' names."""
    return _order("W_")


def server_counter_order():
    """The server's constants in slot order, without their prefix: the counters' names."""
    return _order("S_")


def _order(prefix):
    slots = {name: slot for name, slot in globals().items() if name.startswith(prefix)}
    del slots[prefix + "COUNT"]
    return tuple(name.removeprefix(prefix).lower() for name in sorted(slots, key=slots.get))


@cython.final
cdef class Block:
    """`n_slots` counters, from slot `offset_slots` of a writable buffer on."""

    def __cinit__(self, buffer, Py_ssize_t offset_slots, Py_ssize_t n_slots):
        if offset_slots < 0 or n_slots <= 0:
            raise ValueError(f"a block of {n_slots} slots at slot {offset_slots} makes no sense")
        PyObject_GetBuffer(buffer, &self._view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self._held = True
        cdef Py_ssize_t there = self._view.len // <Py_ssize_t>sizeof(uint64_t)
        if offset_slots > there or n_slots > there - offset_slots:
            raise ValueError(f"{n_slots} slots at slot {offset_slots} do not fit in a buffer of {there}")
        if <uintptr_t>self._view.buf % sizeof(uint64_t):
            raise ValueError("the buffer does not start on a multiple of 8 bytes")
        self.slot = <uint64_t *>self._view.buf + offset_slots
        self.n_slots = n_slots

    def __dealloc__(self):
        if self._held:
            PyBuffer_Release(&self._view)

    def __len__(self):
        return self.n_slots

    def __getitem__(self, Py_ssize_t index):
        self._check(index)
        return self.slot[index]

    def __setitem__(self, Py_ssize_t index, uint64_t value):
        self._check(index)
        self.slot[index] = value

    def add(self, Py_ssize_t index, uint64_t step=1):
        """Count from the cold path. Wraps around at 2**64, as the hot path does."""
        self._check(index)
        self.slot[index] += step

    def read(self, names):
        """The values by name; `names` are the slots' names in order."""
        if len(names) != self.n_slots:
            raise ValueError(f"{len(names)} names for a block of {self.n_slots} slots")
        return {name: self.slot[index] for index, name in enumerate(names)}

    cdef int _check(self, Py_ssize_t index) except -1:
        if not 0 <= index < self.n_slots:
            raise IndexError(f"slot {index} of a block of {self.n_slots}")
        return 0
