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
them, so a reader asks for the others' marks only.

Next to its marks a worker notes the key of every write that is under way, and the server that may be wrong about it:
one that dies knows what nobody else knows. Whoever takes over its row (doubt.pyx) reads that.

    a worker's notes:  how many were ever used, how many found no room │ note 0 │ note 1 │ ...
    a note:            server │ length of the key, 0: free │ stage │ key

Invariants:
- If a mark was quiet when it was read, and has not moved since, then no write of its keys, of any process of this proxy,
  was under way in between. (Keys that share a slot only cause work in vain.)
- A note is whole from the moment in which its length says that it is there: its worker may die between any two steps.
- The lowest free note is taken: about as many are in use, in the cache, and looked through by others, as writes are under
  way.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from memagent._core.limits cimport MAX_KEY_BYTES

cdef extern from *:
    """
    /* The halves of a slot: writes begun, writes ended. The row has one writer, so nothing need be locked for it: what
       is sent of a write is sent behind its mark, by system calls that no store is moved behind. */
    static inline void memagent_add(uint32_t *half, uint32_t n) {
        __atomic_store_n(half, __atomic_load_n(half, __ATOMIC_RELAXED) + n, __ATOMIC_RELEASE);
    }
    static inline void memagent_fetch(const uint64_t *slot, size_t n_rows, size_t row_slots) {
        size_t row;
        for (row = 0; row < n_rows; row++)
            __builtin_prefetch(slot + row * row_slots);
    }
    static inline void memagent_begin(uint64_t *slot) {
        memagent_add((uint32_t *) slot, 1);
    }
    static inline void memagent_end(uint64_t *slot, uint32_t n) {
        memagent_add((uint32_t *) slot + 1, n);
    }
    /* What was written before is there for whoever sees the length. */
    static inline void memagent_publish(uint8_t *length, uint8_t value) {
        __atomic_store_n(length, value, __ATOMIC_RELEASE);
    }
    static inline uint8_t memagent_published(const uint8_t *length) {
        return __atomic_load_n(length, __ATOMIC_ACQUIRE);
    }
    /* Begun and ended of one row, at the same moment. */
    static inline uint64_t memagent_row_mark(const uint64_t *slot) {
        return __atomic_load_n(slot, __ATOMIC_SEQ_CST);
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
    void memagent_fetch(const uint64_t *slot, size_t n_rows, size_t row_slots) noexcept nogil
    void memagent_end(uint64_t *slot, uint32_t n) noexcept nogil
    void memagent_publish(uint8_t *length, uint8_t value) noexcept nogil
    uint8_t memagent_published(const uint8_t *length) noexcept nogil
    uint64_t memagent_row_mark(const uint64_t *slot) noexcept nogil
    uint64_t memagent_mark(const uint64_t *slot, size_t n_rows, size_t row_slots, size_t but) noexcept nogil
    int ctz "__builtin_ctzll"(unsigned long long) noexcept nogil

cdef size_t NO_ROW = <size_t> -1

cdef size_t NOTES_BYTES = sizeof(Notes) + MOST_NOTES * sizeof(Note)


def marks_bytes(size_t n_rows):
    """How much memory the rows of so many workers take."""
    return n_rows * ROW_SLOTS * sizeof(uint64_t)


def notes_bytes(size_t n_rows):
    """How much memory their notes take; what was never used takes none in fact."""
    return n_rows * NOTES_BYTES


cdef void free_all(Numbers *numbers) noexcept:
    memset(numbers.free, 0xff, sizeof(numbers.free))
    memset(numbers.words, 0xff, sizeof(numbers.words))
    numbers.top = (<uint64_t> 1 << (MOST_NOTES >> 12)) - 1


cdef uint32_t take_lowest(Numbers *numbers) noexcept:
    """NO_NOTE when none is free."""
    cdef uint32_t at, number
    if numbers.top == 0:
        return NO_NOTE
    at = ctz(numbers.top)
    number = at * 64 + ctz(numbers.words[at])
    at = number
    number = at * 64 + ctz(numbers.free[at])
    numbers.free[at] &= numbers.free[at] - 1
    if numbers.free[at] == 0:
        at >>= 6
        numbers.words[at] &= numbers.words[at] - 1
        if numbers.words[at] == 0:
            numbers.top &= numbers.top - 1
    return number


cdef void give_back(Numbers *numbers, uint32_t number) noexcept:
    numbers.free[number >> 6] |= <uint64_t> 1 << (number & 63)
    numbers.words[number >> 12] |= <uint64_t> 1 << (number >> 6 & 63)
    numbers.top |= <uint64_t> 1 << (number >> 12)


cdef bint is_quiet(uint64_t mark) noexcept:
    """Had every write that had begun ended?"""
    return mark >> 32 == (mark & 0xffffffffU)


@cython.final
cdef class Marks:
    """Over `marks_bytes(n_rows)` bytes of a writable buffer, from `offset_bytes` on; in memory of its own without a buffer.

    `row` is the one of this worker; who only reads takes any, and needs no notes: they are `notes_bytes(n_rows)` bytes
    from `notes_offset_bytes` on. How many rows anybody has ever had stands at `in_use_offset_bytes`, and only grows: the
    others are not looked at. Without it all are.
    """

    def __cinit__(self, buffer=None, Py_ssize_t offset_bytes=0, Py_ssize_t n_rows=1, Py_ssize_t row=0,
                  Py_ssize_t notes_offset_bytes=-1, Py_ssize_t in_use_offset_bytes=-1):
        if not 0 <= row < n_rows:
            raise ValueError(f"row {row} of {n_rows}")
        size = marks_bytes(n_rows)
        if buffer is None:
            buffer = bytearray(size)
            self._own_notes = <Notes *> calloc(1, NOTES_BYTES)
            if self._own_notes == NULL:
                raise MemoryError
        PyObject_GetBuffer(buffer, &self._view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self._held = True
        self.rows = <uint64_t *> self.part(offset_bytes, size)
        self.n_rows = self._all_in_use = n_rows
        self._in_use = &self._all_in_use
        if in_use_offset_bytes >= 0:
            self._in_use = <uint64_t *> self.part(in_use_offset_bytes, sizeof(uint64_t))
        free_all(&self._free)
        self.row = row
        self.own = self.rows + row * ROW_SLOTS
        self.notes = self._own_notes
        if notes_offset_bytes >= 0:
            self.notes = <Notes *> (self.part(notes_offset_bytes, notes_bytes(n_rows)) + row * NOTES_BYTES)

    cdef unsigned char *part(self, Py_ssize_t offset_bytes, Py_ssize_t size) except NULL:
        """So many bytes of the buffer."""
        if offset_bytes < 0 or self._view.len - offset_bytes < size:
            raise ValueError(f"{size} bytes at {offset_bytes} do not fit in a buffer of {self._view.len}")
        if (<uintptr_t> self._view.buf + offset_bytes) % sizeof(uint64_t):
            raise ValueError("the marks do not start on a multiple of 8 bytes")
        return <unsigned char *> self._view.buf + offset_bytes

    def __dealloc__(self):
        free(self._own_notes)
        if self._held:
            PyBuffer_Release(&self._view)

    cdef void fetch(self, uint32_t slot) noexcept:
        """A mark of this slot is about to begin or to end: what memory takes to answer passes meanwhile."""
        memagent_fetch(&self.rows[slot], self.rows_now(), ROW_SLOTS)

    cdef uint32_t begin(self, uint32_t slot, int server, const unsigned char *key, size_t length, Stage stage) noexcept:
        """A write begins. Its note, for `end`."""
        memagent_begin(&self.own[slot])
        return self.note(server, key, length, stage)

    cdef void end(self, uint32_t slot, uint32_t note) noexcept:
        self.forget(note)
        memagent_end(&self.own[slot], 1)

    cdef void hold(self, uint32_t slot) noexcept:
        """The mark alone, for what has no key, or a note that lives longer."""
        memagent_begin(&self.own[slot])

    cdef void release(self, uint32_t slot) noexcept:
        memagent_end(&self.own[slot], 1)

    cdef uint32_t note(self, int server, const unsigned char *key, size_t length, Stage stage) noexcept:
        """Something less than a write begins: the server may be wrong about the key if this worker dies."""
        cdef Note *note
        cdef uint32_t number
        if self.notes == NULL:
            return NO_NOTE
        while True:
            number = take_lowest(&self._free)
            if number == NO_NOTE:
                self.notes.unnoted += 1
                return NO_NOTE
            note = &self.notes.notes[number]
            if note.length == 0:
                break
            # one of a dead worker, which nobody has read yet
        if number >= self.notes.used:
            self.notes.used = number + 1
        note.server = server
        note.stage = stage
        memcpy(note.key, key, length)
        memagent_publish(&note.length, <uint8_t> length)
        return number

    cdef void forget(self, uint32_t note) noexcept:
        if note == NO_NOTE:
            if self.notes != NULL:
                self.notes.unnoted -= 1
            return
        memagent_publish(&self.notes.notes[note].length, 0)
        give_back(&self._free, note)
        while self.notes.used and self.notes.notes[self.notes.used - 1].length == 0:
            self.notes.used -= 1

    cdef void reach(self, uint32_t note, Stage stage) noexcept:
        if note != NO_NOTE:
            self.notes.notes[note].stage = stage

    cdef void blame(self, uint32_t note, int server) noexcept:
        """It is this server that may be wrong, for the other one decides now."""
        if note != NO_NOTE:
            self.notes.notes[note].stage = UNDECIDED
            self.notes.notes[note].server = server

    cdef uint64_t read(self, uint32_t slot) noexcept:
        return memagent_mark(&self.rows[slot], self.rows_now(), ROW_SLOTS, NO_ROW)

    cdef bint moved(self, uint32_t slot, uint64_t mark) noexcept:
        """May a write have been under way since the mark was read?"""
        return not is_quiet(mark) or (self.read(slot) & 0xffffffffU) != (mark & 0xffffffffU)

    cdef uint64_t read_others(self, uint32_t slot) noexcept:
        """What the other workers write."""
        return 0 if self.rows_now() == 1 else memagent_mark(&self.rows[slot], self.rows_now(), ROW_SLOTS, self.row)

    cdef bint others_moved(self, uint32_t slot, uint64_t mark) noexcept:
        """May another worker's write have been under way since its mark was read?"""
        return not is_quiet(mark) or (self.read_others(slot) & 0xffffffffU) != (mark & 0xffffffffU)

    cdef bint are_all(self, Stage stage, uint32_t slot, bint but_own) noexcept:
        """Is whatever the workers have under way in this slot in this stage?

        False also where that cannot be told: what has no note, too many notes, one that began or ended meanwhile.
        """
        cdef const unsigned char *notes_of_all = <unsigned char *> self.notes - self.row * NOTES_BYTES
        cdef const uint64_t *mark
        cdef const Notes *notes
        cdef const Note *note
        cdef uint64_t before
        cdef uint32_t unended, i
        cdef size_t row, length
        if self.notes == NULL or (self.notes == self._own_notes and self.n_rows > 1):
            return False
        for row in range(self.rows_now()):
            mark = &self.rows[row * ROW_SLOTS + slot]
            before = memagent_row_mark(mark)
            unended = <uint32_t> before - <uint32_t> (before >> 32)
            if unended == 0 or (but_own and row == self.row):
                continue
            notes = <const Notes *> (notes_of_all + row * NOTES_BYTES)
            if notes.used > MOST_LOOKED_AT:
                return False
            for i in range(notes.used):
                note = &notes.notes[i]
                length = memagent_published(&note.length)
                if 0 < length <= MAX_KEY_BYTES and note.stage == stage and slot_of(note.key, length) == slot:
                    unended -= 1
            if unended or memagent_row_mark(mark) != before:
                return False
        return True

    cdef list unended(self):
        """[(slot, writes)] that a dead worker has begun in this row and not ended."""
        cdef uint32_t slot
        cdef const uint32_t *halves
        cdef list found = []
        for slot in range(ROW_SLOTS):
            halves = <uint32_t *> &self.own[slot]
            if halves[1] != halves[0]:
                found.append((slot, halves[0] - halves[1]))
        return found

    cdef int end_all(self, list unended) except -1:
        cdef uint32_t slot
        cdef uint32_t n
        for slot, n in unended:
            memagent_end(&self.own[slot], n)
        return 0

    def take_notes(self):
        """Those of a dead worker, which has none afterwards: [(server, key, decided)], and how many found no room."""
        cdef uint32_t i
        cdef Note *note
        cdef list found = []
        if self.notes == NULL:
            return found, 0
        for i in range(min(self.notes.used, <uint32_t> MOST_NOTES)):
            note = &self.notes.notes[i]
            if 0 < note.length <= MAX_KEY_BYTES:
                found.append((note.server, <bytes> note.key[:note.length], note.stage == DECIDED or note.stage == IN_DOUBT))
            note.length = 0
        unnoted = self.notes.unnoted
        self.notes.used = self.notes.unnoted = 0
        free_all(&self._free)
        return found, unnoted

    # The Python face.

    @property
    def rows_in_use(self):
        return self.rows_now()

    @property
    def is_quiet(self):
        """Has the worker of this row ended every write?"""
        return not self.unended()

    def begin_key(self, bytes key not None):
        self.hold(slot_of(key, len(key)))

    def end_key(self, bytes key not None):
        self.release(slot_of(key, len(key)))

    def note_key(self, bytes key not None, int server, bint decided=False, bint in_doubt=False):
        """The number of the note."""
        return self.note(server, key, len(key), IN_DOUBT if in_doubt else DECIDED if decided else UNDECIDED)

    def forget_note(self, uint32_t note):
        self.forget(note)

    def stamp_key(self, bytes key not None):
        """A write that is over at once."""
        self.begin_key(key)
        self.end_key(key)

    def read_key(self, bytes key not None):
        """(begun, ended): how many writes of this key's slot."""
        mark = self.read(slot_of(key, len(key)))
        return mark & 0xffffffffU, mark >> 32

    def stamp_flush(self):
        self.hold(FLUSH_MARK)
        self.release(FLUSH_MARK)

    def read_flush(self):
        """(begun, ended): how many flush_alls."""
        mark = self.read(FLUSH_MARK)
        return mark & 0xffffffffU, mark >> 32
