"""The keys whose write a server missed: a delete is owed for each before the server may be read again."""

from libc.stdint cimport uint32_t, uint64_t


cdef struct Slot:
    uint32_t tag
    uint32_t ref    # 0: empty

cdef struct Part:
    Slot *slots
    uint32_t size   # a power of two, or 0
    uint32_t count

cdef struct Chunk:
    unsigned char *data
    uint32_t filled
    uint32_t live   # bytes of records that are still owed a delete
    uint32_t before
    uint32_t after  # in a free place of the directory: the next free one


cdef class Journal:
    cdef readonly size_t max_keys
    cdef readonly size_t max_bytes
    cdef readonly size_t count       # keys that are in
    cdef readonly size_t waiting     # of those: still, or again, to be handed out
    cdef readonly size_t used_bytes  # all memory held
    cdef readonly bint overflowed
    cdef readonly size_t dropped     # what the overflow cost: keys that were in, and calls of `add` since
    # Set by whoever knows of the flush; cleared with everything else.
    cdef public bint flush_missed

    cdef Part *parts
    cdef Chunk *chunks               # the directory; place 0 stays unused
    cdef uint32_t n_places
    cdef uint32_t free_place
    cdef uint32_t head
    cdef uint32_t tail
    cdef uint32_t cursor             # chunk and offset from which `take` looks on
    cdef uint32_t cursor_at
    cdef size_t again                # waiting keys that have earlier deletes unanswered

    # 1: it is in now. 0: the journal has overflowed.
    cdef int add(self, const unsigned char *key, size_t length) except -1
    # The next key to delete at the server, or NULL; good until any other call than `take`.
    cdef const unsigned char *take(self, size_t *length) noexcept
    # One delete of this key was answered. 1: nothing is owed for it any more. 0: something still is, or nothing was.
    cdef int remove(self, const unsigned char *key, size_t length) noexcept
    # No answer will come to what was handed out: hand it out once more.
    cpdef void rewind(self) noexcept
    # As new, both flags included.
    cpdef void clear(self) noexcept

    cdef int overflow(self) noexcept
    cdef void release(self) noexcept
    cdef void *allocated(self, size_t size) noexcept
    cdef void freed(self, void *memory, size_t size) noexcept

    cdef unsigned char *record(self, uint32_t ref) noexcept
    cdef uint32_t append(self, const unsigned char *key, size_t length, uint32_t state) noexcept
    cdef bint new_tail(self) noexcept
    cdef bint more_places(self) noexcept
    cdef void kill(self, uint32_t ref) noexcept
    cdef void tidy(self, uint32_t place) noexcept
    cdef void drop_chunk(self, uint32_t place) noexcept
    cdef void merge(self, uint32_t first, uint32_t second) noexcept
    cdef uint32_t move_live(self, uint32_t source, uint32_t target, uint32_t to) noexcept

    cdef Slot *find(self, uint64_t hashed, const unsigned char *key, size_t length) noexcept
    cdef bint insert(self, uint64_t hashed, uint32_t ref) noexcept
    cdef void erase(self, uint64_t hashed, Slot *slot) noexcept
    cdef bint resize(self, Part *part, uint32_t size) noexcept
