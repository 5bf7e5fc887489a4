"""The keys whose write a server missed, each once, in the order in which they came.

            add            take              remove
     key ─────────▶ waiting ─────▶ handed out ─────▶ gone      (remove: the delete was answered)
                       ▲               │
                       └───────────────┘
                add (missed again), rewind (no answer will come)

     parts, by hash        chunks, by time of arrival
     ┌──────────────┐      ┌──────────────────┬──────────────┐   ┌────────────────────┐
     │ tag │ ref ───┼────▶ │ length state key │ length sta.. │ ⇄ │ .. tail, filled to │ ◀─ add
     └──────────────┘      └──────────────────┴──────────────┘   └────────────────────┘
                                                  ▲ cursor: nothing before it waits

Invariants:
- A key is in at most once. It is gone when every delete handed out for it since the last `rewind` is answered and
  it was not missed again: an answer to a delete from before the newest miss proves nothing.
- `used_bytes` is every byte allocated and never above `max_bytes`; an empty journal holds none. Where a key finds no
  room, or malloc none, everything is dropped at once and `overflowed` is all that remains: only a flush helps then.
- Nothing before the cursor waits; nothing behind its chunk is handed out, but for keys missed `again` meanwhile.
- Any two neighbouring chunks before the tail hold more live bytes together than one chunk has room for, so the dead
  are never more than half, but for three chunks. A merge frees a chunk, so all merges cost no more than the appends.
- No call does more than one part's or a few chunks' work (well below a millisecond), but for `rewind` and what drops
  everything (3 to 5 ms at a million keys).

Longer than most files, since the two halves point at each other: a part's refs into chunks that move.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from memagent._core.limits cimport MAX_KEY_BYTES
from memagent._core.words cimport word32, word64

cdef extern from *:
    ctypedef unsigned long long uint128_t "unsigned __int128"

cdef enum:
    CHUNK_BITS = 14
    CHUNK_BYTES = 1 << CHUNK_BITS
    MOST_PLACES = 1 << (32 - CHUNK_BITS)
    FIRST_PLACES = 16

    # A table in parts grows part by part: at a million keys a step moves 3,000 slots, not 800,000.
    PARTS = 256
    LEAST_SLOTS = 8

    # A record: length (1 byte), state (2 bytes), key. State 0 is dead.
    HEAD_BYTES = 3
    WAITING = 0x8000
    OUT = 0x7fff  # how many deletes are handed out and unanswered

# Secret and different in every process, so that no client can choose keys that fall on one another.
cdef uint64_t SECRET = <uint64_t> <Py_hash_t> hash(b"memagent._core.journal")
cdef uint64_t FACTOR = <uint64_t> <Py_hash_t> hash(b"memagent._core.journal.factor") | 1


cdef inline uint64_t mixed(uint64_t value, uint64_t word) noexcept nogil:
    cdef uint128_t product = <uint128_t> (value ^ word) * FACTOR
    return <uint64_t> product ^ <uint64_t> (product >> 64)


cdef uint64_t hash_of(const unsigned char *key, size_t length) noexcept nogil:
    cdef uint64_t value = mixed(SECRET, length), word = 0
    cdef const unsigned char *end = key + length
    cdef int shift = 0
    while end - key >= 8:
        value = mixed(value, word64(key))
        key += 8
    if end - key >= 4:
        word = word32(key)
        key += 4
        shift = 32
    while key < end:
        word |= <uint64_t> key[0] << shift
        key += 1
        shift += 8
    return mixed(mixed(value, word), SECRET)


cdef inline uint32_t state_of(const unsigned char *record) noexcept nogil:
    return <uint32_t> record[1] | <uint32_t> record[2] << 8


cdef inline void set_state(unsigned char *record, uint32_t state) noexcept nogil:
    record[1] = <unsigned char> state
    record[2] = <unsigned char> (state >> 8)


cdef inline uint32_t size_of(const unsigned char *record) noexcept nogil:
    return HEAD_BYTES + <uint32_t> record[0]


@cython.final
cdef class Journal:
    def __cinit__(self, size_t max_keys=1_000_000, size_t max_bytes=64 << 20):
        self.max_keys = max_keys
        self.max_bytes = max_bytes

    def __dealloc__(self):
        self.release()

    cdef int add(self, const unsigned char *key, size_t length) except -1:
        cdef uint64_t hashed
        cdef uint32_t state = 0, ref, old
        cdef Slot *slot
        if length == 0 or length > MAX_KEY_BYTES:
            raise ValueError(f"a key of {length} bytes is no key")
        if self.overflowed:
            self.dropped += 1
            return 0
        hashed = hash_of(key, length)
        slot = self.find(hashed, key, length)
        if slot != NULL:
            state = state_of(self.record(slot.ref))
            if state & WAITING:
                return 1
            if state == OUT:
                return self.overflow()
        elif self.count >= self.max_keys:
            return self.overflow()
        ref = self.append(key, length, state | WAITING)
        if ref == 0:
            return self.overflow()
        if slot != NULL:
            old = slot.ref  # only now: the append may have moved it
            slot.ref = ref
            self.kill(old)
            self.again += 1
        else:
            if not self.insert(hashed, ref):
                return self.overflow()
            self.count += 1
        self.waiting += 1
        return 1

    cdef const unsigned char *take(self, size_t *length) noexcept:
        cdef Chunk *chunk
        cdef unsigned char *record
        cdef uint32_t state
        length[0] = 0
        if self.waiting == 0:
            return NULL
        while True:
            chunk = &self.chunks[self.cursor]
            while self.cursor_at < chunk.filled:
                record = chunk.data + self.cursor_at
                self.cursor_at += size_of(record)
                state = state_of(record)
                if state & WAITING:
                    if state & OUT:
                        self.again -= 1
                    set_state(record, (state & OUT) + 1)
                    self.waiting -= 1
                    length[0] = record[0]
                    return record + HEAD_BYTES
            if self.cursor == self.tail:
                return NULL
            self.cursor = chunk.after
            self.cursor_at = 0

    cdef int remove(self, const unsigned char *key, size_t length) noexcept:
        cdef uint64_t hashed = hash_of(key, length)
        cdef Slot *slot = self.find(hashed, key, length)
        cdef unsigned char *record
        cdef uint32_t state, ref
        if slot == NULL:
            return 0
        ref = slot.ref
        record = self.record(ref)
        state = state_of(record)
        if state & OUT == 0:
            return 0
        if state != 1:
            set_state(record, state - 1)
            if state == WAITING + 1:
                self.again -= 1
            return 0
        self.erase(hashed, slot)
        self.count -= 1
        if self.count:
            self.kill(ref)
        else:
            self.release()
        return 1

    cpdef void rewind(self) noexcept:
        # What was handed out is in the cursor's chunk or before it, unless it was missed again meanwhile.
        cdef uint32_t last = self.tail if self.again else self.cursor
        cdef uint32_t place = self.head, at
        cdef unsigned char *record
        while place:
            at = 0
            while at < self.chunks[place].filled:
                record = self.chunks[place].data + at
                if state_of(record):
                    set_state(record, WAITING)
                at += size_of(record)
            if place == last:
                break
            place = self.chunks[place].after
        self.cursor = self.head
        self.cursor_at = 0
        self.waiting = self.count
        self.again = 0

    cpdef void clear(self) noexcept:
        self.release()
        self.overflowed = False
        self.flush_missed = False
        self.dropped = 0

    cdef int overflow(self) noexcept:
        self.dropped = self.count + 1
        self.release()
        self.overflowed = True
        return 0

    cdef void release(self) noexcept:
        cdef uint32_t place = self.head
        cdef int part
        while place:
            free(self.chunks[place].data)
            place = self.chunks[place].after
        if self.parts != NULL:
            for part in range(PARTS):
                free(self.parts[part].slots)
        free(self.parts)
        free(self.chunks)
        self.parts = NULL
        self.chunks = NULL
        self.n_places = self.free_place = self.head = self.tail = self.cursor = self.cursor_at = 0
        self.count = self.waiting = self.again = self.used_bytes = 0

    cdef void *allocated(self, size_t size) noexcept:
        """Zeros, or NULL where the bound or the machine has no room."""
        cdef void *memory = NULL
        if size <= self.max_bytes and self.used_bytes <= self.max_bytes - size:
            memory = calloc(1, size)
        if memory != NULL:
            self.used_bytes += size
        return memory

    cdef void freed(self, void *memory, size_t size) noexcept:
        free(memory)
        self.used_bytes -= size

    # Chunks

    cdef unsigned char *record(self, uint32_t ref) noexcept:
        return self.chunks[ref >> CHUNK_BITS].data + (ref & (CHUNK_BYTES - 1))

    cdef uint32_t append(self, const unsigned char *key, size_t length, uint32_t state) noexcept:
        """The new record's ref; 0 where there is no room."""
        cdef uint32_t full = self.tail, at
        cdef unsigned char *record
        cdef Chunk *chunk
        if full == 0 or self.chunks[full].filled + HEAD_BYTES + length > CHUNK_BYTES:
            if not self.new_tail():
                return 0
            if full:
                self.tidy(full)
        chunk = &self.chunks[self.tail]
        at = chunk.filled
        record = chunk.data + at
        record[0] = <unsigned char> length
        set_state(record, state)
        memcpy(record + HEAD_BYTES, key, length)
        chunk.filled += size_of(record)
        chunk.live += size_of(record)
        return self.tail << CHUNK_BITS | at

    cdef bint new_tail(self) noexcept:
        cdef unsigned char *data
        cdef uint32_t place
        if self.free_place == 0 and not self.more_places():
            return False
        data = <unsigned char *> self.allocated(CHUNK_BYTES)
        if data == NULL:
            return False
        place = self.free_place
        self.free_place = self.chunks[place].after
        self.chunks[place] = Chunk(data, 0, 0, self.tail, 0)
        if self.tail:
            self.chunks[self.tail].after = place
        else:
            self.head = self.cursor = place
        self.tail = place
        return True

    cdef bint more_places(self) noexcept:
        cdef uint32_t size = self.n_places * 2 if self.n_places else FIRST_PLACES, place
        cdef size_t more = (size - self.n_places) * sizeof(Chunk)
        cdef Chunk *chunks
        if size > MOST_PLACES or self.used_bytes + more > self.max_bytes:
            return False
        chunks = <Chunk *> realloc(self.chunks, size * sizeof(Chunk))
        if chunks == NULL:
            return False
        memset(chunks + self.n_places, 0, more)
        for place in range(size - 1, max(self.n_places, 1) - 1, -1):
            chunks[place].after = self.free_place
            self.free_place = place
        self.chunks = chunks
        self.n_places = size
        self.used_bytes += more
        return True

    cdef void kill(self, uint32_t ref) noexcept:
        cdef uint32_t place = ref >> CHUNK_BITS
        cdef unsigned char *record = self.record(ref)
        cdef Chunk *chunk = &self.chunks[place]
        set_state(record, 0)
        chunk.live -= size_of(record)
        if place != self.tail:
            self.tidy(place)
        elif chunk.live == 0:
            chunk.filled = 0
            if self.cursor == place:
                self.cursor_at = 0

    cdef void tidy(self, uint32_t place) noexcept:
        """Keep the invariant of neighbours after `place`, not the tail, has lost something or stopped being the tail."""
        cdef uint32_t before, after
        while place and place != self.tail:
            before = self.chunks[place].before
            after = self.chunks[place].after
            if self.chunks[place].live == 0:
                self.drop_chunk(place)
                place = before
            elif before and self.chunks[before].live + self.chunks[place].live <= CHUNK_BYTES:
                self.merge(before, place)
                place = before
            elif after != self.tail and self.chunks[place].live + self.chunks[after].live <= CHUNK_BYTES:
                self.merge(place, after)
            else:
                return

    cdef void drop_chunk(self, uint32_t place) noexcept:
        """Never the tail."""
        cdef Chunk *chunk = &self.chunks[place]
        self.chunks[chunk.after].before = chunk.before
        if chunk.before:
            self.chunks[chunk.before].after = chunk.after
        else:
            self.head = chunk.after
        if self.cursor == place:
            self.cursor = chunk.after
            self.cursor_at = 0
        self.freed(chunk.data, CHUNK_BYTES)
        chunk.data = NULL
        chunk.after = self.free_place
        self.free_place = place

    cdef void merge(self, uint32_t first, uint32_t second) noexcept:
        """All that lives in two neighbours, in its order, into the first."""
        cdef uint32_t filled = self.move_live(first, first, 0)
        filled = self.move_live(second, first, filled)
        self.chunks[first].filled = self.chunks[first].live = filled
        if self.cursor == first or self.cursor == second:
            self.cursor = first
            self.cursor_at = 0
        self.drop_chunk(second)

    cdef uint32_t move_live(self, uint32_t source, uint32_t target, uint32_t to) noexcept:
        cdef unsigned char *record
        cdef unsigned char *new_record
        cdef uint32_t at = 0, size, ref, i
        cdef uint64_t hashed
        cdef Part *part
        while at < self.chunks[source].filled:
            record = self.chunks[source].data + at
            size = size_of(record)
            if state_of(record):
                new_record = self.chunks[target].data + to
                if new_record != record:
                    hashed = hash_of(record + HEAD_BYTES, record[0])
                    ref = source << CHUNK_BITS | at
                    part = &self.parts[hashed >> 56]
                    i = <uint32_t> hashed & (part.size - 1)
                    while part.slots[i].ref != ref:
                        i = (i + 1) & (part.size - 1)
                    part.slots[i].ref = target << CHUNK_BITS | to
                    memmove(new_record, record, size)
                to += size
            at += size
        return to

    # Parts: open addressing, no tombstones

    cdef Slot *find(self, uint64_t hashed, const unsigned char *key, size_t length) noexcept:
        cdef Part *part
        cdef uint32_t tag = <uint32_t> hashed, i
        cdef const unsigned char *record
        if self.parts == NULL:
            return NULL
        part = &self.parts[hashed >> 56]
        if part.slots == NULL:
            return NULL
        i = tag & (part.size - 1)
        while part.slots[i].ref:
            if part.slots[i].tag == tag:
                record = self.record(part.slots[i].ref)
                if record[0] == length and memcmp(record + HEAD_BYTES, key, length) == 0:
                    return &part.slots[i]
            i = (i + 1) & (part.size - 1)
        return NULL

    cdef bint insert(self, uint64_t hashed, uint32_t ref) noexcept:
        """False where there is no room."""
        cdef Part *part
        cdef uint32_t tag = <uint32_t> hashed, i
        if self.parts == NULL:
            self.parts = <Part *> self.allocated(PARTS * sizeof(Part))
            if self.parts == NULL:
                return False
        part = &self.parts[hashed >> 56]
        if part.count >= part.size // 4 * 3:
            if not self.resize(part, part.size * 2 if part.size else LEAST_SLOTS):
                return False
        i = tag & (part.size - 1)
        while part.slots[i].ref:
            i = (i + 1) & (part.size - 1)
        part.slots[i] = Slot(tag, ref)
        part.count += 1
        return True

    cdef void erase(self, uint64_t hashed, Slot *slot) noexcept:
        cdef Part *part = &self.parts[hashed >> 56]
        cdef uint32_t mask = part.size - 1, hole = <uint32_t> (slot - part.slots), i = hole
        while True:
            i = (i + 1) & mask
            if part.slots[i].ref == 0:
                break
            # It may fill the hole unless that lies before its home.
            if (i - part.slots[i].tag & mask) >= (i - hole & mask):
                part.slots[hole] = part.slots[i]
                hole = i
        part.slots[hole].ref = 0
        part.count -= 1
        if part.count == 0:
            self.freed(part.slots, part.size * sizeof(Slot))
            part.slots = NULL
            part.size = 0
        elif part.size > LEAST_SLOTS and part.count < part.size // 8:
            self.resize(part, part.size // 2)  # without room for it the larger one serves as well

    cdef bint resize(self, Part *part, uint32_t size) noexcept:
        cdef Slot *slots = <Slot *> self.allocated(size * sizeof(Slot))
        cdef uint32_t old, i
        if slots == NULL:
            return False
        for old in range(part.size):
            if part.slots[old].ref:
                i = part.slots[old].tag & (size - 1)
                while slots[i].ref:
                    i = (i + 1) & (size - 1)
                slots[i] = part.slots[old]
        self.freed(part.slots, part.size * sizeof(Slot))
        part.slots = slots
        part.size = size
        return True

    # The Python face, for tests.

    def __len__(self):
        return self.count

    def add_key(self, bytes key not None):
        return self.add(key, len(key)) == 1

    def take_key(self):
        cdef size_t length
        cdef const unsigned char *key = self.take(&length)
        return key[:length] if key != NULL else None

    def remove_key(self, bytes key not None):
        return self.remove(key, len(key)) == 1
