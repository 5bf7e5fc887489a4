"""Bytes between a socket and a parser.

          start        end          capacity
    ┌──────┬────────────┬──────────────┐
    │ used │  content   │     room     │
    └──────┴────────────┴──────────────┘

Invariants: start <= end <= capacity; an empty buffer holds no memory, so that an idle connection costs nothing here;
every byte of capacity is counted in `Memory.used_bytes`. Appending n bytes costs O(n): room is made by moving the
content to the front when at least half of the capacity is used up, by doubling otherwise.
"""

cimport cython
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from memagent._core.limits cimport BLOCK_BYTES, BLOCKS_KEPT


@cython.final
cdef class Memory:
    """What all buffers of a worker hold together; `limit_bytes` is a bound for those who ask, not enforced here."""

    def __cinit__(self, size_t limit_bytes):
        self.limit_bytes = limit_bytes
        self.blocks = <unsigned char **> malloc(BLOCKS_KEPT * sizeof(unsigned char *))
        if self.blocks == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef int i
        if self.blocks != NULL:
            for i in range(self.n_blocks):
                free(self.blocks[i])
            free(self.blocks)

    cdef unsigned char *take_block(self) noexcept:
        if self.n_blocks:
            self.n_blocks -= 1
            return self.blocks[self.n_blocks]
        return <unsigned char *> malloc(BLOCK_BYTES)

    cdef void give_block(self, unsigned char *block) noexcept:
        if self.n_blocks < BLOCKS_KEPT:
            self.blocks[self.n_blocks] = block
            self.n_blocks += 1
        else:
            free(block)


@cython.final
@cython.no_gc  # refers to Memory only, which refers to nothing: __dealloc__ may rely on it
cdef class Buffer:
    def __cinit__(self, Memory memory not None):
        self.memory = memory

    def __dealloc__(self):
        self.clear()

    cdef unsigned char *room(self, size_t n) except NULL:
        """At least n free bytes behind the content; fill them, then call `filled`."""
        cdef size_t length = self.end - self.start
        cdef size_t capacity = self.capacity
        cdef unsigned char *data
        if capacity - self.end >= n and self.data != NULL:
            return self.data + self.end
        if self.start and length + n <= capacity and self.start * 2 >= capacity:
            memmove(self.data, self.data + self.start, length)
            self.start = 0
            self.end = length
            return self.data + self.end
        if self.data == NULL and n <= BLOCK_BYTES:
            self.data = self.memory.take_block()
            if self.data == NULL:
                raise MemoryError
            self.capacity = BLOCK_BYTES
            self.memory.used_bytes += BLOCK_BYTES
            return self.data
        capacity = capacity * 2 if capacity else BLOCK_BYTES
        while capacity < length + n:
            capacity *= 2
        if self.start:
            memmove(self.data, self.data + self.start, length)
            self.start = 0
            self.end = length
        data = <unsigned char *> realloc(self.data, capacity)
        if data == NULL:
            raise MemoryError
        self.memory.used_bytes += capacity - self.capacity
        self.data = data
        self.capacity = capacity
        return data + self.end

    cdef int filled(self, size_t n) except -1:
        if n > self.capacity - self.end:
            raise ValueError("filled more than there was room for")
        self.end += n
        if self.start == self.end:
            self.clear()
        return 0

    cdef int append(self, const unsigned char *source, size_t n) except -1:
        if n == 0:
            return 0
        memcpy(self.room(n), source, n)
        self.end += n
        return 0

    cdef int consume(self, size_t n) except -1:
        if n > self.end - self.start:
            raise ValueError("consumed more than there was")
        self.start += n
        if self.start == self.end:
            self.clear()
        return 0

    cdef void clear(self) noexcept:
        if self.data == NULL:
            return
        if self.capacity == BLOCK_BYTES:
            self.memory.give_block(self.data)
        else:
            free(self.data)
        self.memory.used_bytes -= self.capacity
        self.data = NULL
        self.start = self.end = self.capacity = 0

    # The Python face, for tests.

    def __len__(self):
        return self.length()

    def __bytes__(self):
        return self.data[self.start:self.end] if self.data != NULL else b""

    def put(self, bytes content not None):
        self.append(content, len(content))

    def take(self, size_t n):
        if n > self.length():
            raise ValueError("consumed more than there was")
        content = self.data[self.start:self.start + n] if n else b""
        self.consume(n)
        return content
