"""What has become of the keys of a batch that is on its way from one server to another.

    LISTED ─▶ SENT ─▶ STORED ─▶ MOVED ─▶ (a new batch)         the other states are ends
      │         └▶ THERE, REFUSED
      └▶ THERE, GONE, EXPIRED, STALE, TOO_BIG, REFUSED

Invariants
- A key counts once for what became of it; `copied` goes down again for what has to be taken back.
- A key's mark is read before its fetch is sent, and again when its store was answered.
"""

cimport cython
from libc.stdlib cimport free, realloc

from memagent._core.buffer cimport Buffer, Memory
from memagent._core.limits cimport MAX_KEY_BYTES, MAX_REPLY_BYTES
from memagent._core.marks cimport FLUSH_MARK, Marks, slot_of

ATTEMPTS = 10

cdef Memory memory = Memory(0)


@cython.final
cdef class Tally:
    """What has become of the keys, over all batches and sources."""


@cython.final
cdef class Route:
    """What the two servers of a copy can do, and what is to be done about it.

    `marks` says which keys are being written; `marks_before` is a copy of them from before the listing, by which a
    listed expiry that may have been changed since is known. None: nobody can say.
    """

    def __cinit__(
        self,
        Tally tally not None,
        Marks marks=None,
        Marks marks_before=None,
        *,
        bint source_meta=True,
        bint target_meta=True,
        bint keeps_cas=False,
        uint64_t largest_bytes=1 << 20,
        int64_t unknown_ttl_s=60,
    ):
        self.tally = tally
        self.marks = marks
        self.marks_before = marks_before
        self.source_meta = source_meta
        self.target_meta = target_meta
        self.keeps_cas = keeps_cas
        self.largest_bytes = min(largest_bytes, <uint64_t> MAX_REPLY_BYTES)
        self.unknown_ttl_s = unknown_ttl_s


cdef class Copies:
    """The keys, packed, and their states; how they are asked for and stored is the batch's business."""

    def __cinit__(self, Route route not None, int attempt=0):
        self.route = route
        self.attempt = attempt
        self.text = Buffer(memory)
        self.out = Buffer(memory)

    def __dealloc__(self):
        free(self.items)

    def __len__(self):
        return self.count

    cdef int add(
        self, const unsigned char *key, size_t length, bint is_binary, int64_t expires_s, uint64_t cas
    ) except -1:
        cdef size_t i
        cdef size_t capacity
        cdef Item *items
        if length == 0 or length > MAX_KEY_BYTES:
            raise ValueError("a key has 1 to 250 bytes")
        if self.count == self.capacity:
            capacity = self.capacity * 2 if self.capacity else 64
            items = <Item *> realloc(self.items, capacity * sizeof(Item))
            if items == NULL:
                raise MemoryError
            self.items = items
            self.capacity = capacity
        cdef bint is_unsafe = False
        for i in range(length):
            if key[i] <= 32 or key[i] == 127:
                is_binary = is_unsafe = True
                break
        self.items[self.count] = Item(
            self.text.length(), expires_s, cas, slot_of(key, length), 0, <uint16_t> length, LISTED,
            is_binary, is_unsafe, False, False, False,
        )
        self.text.append(key, length)
        self.count += 1
        return 0

    cdef const unsigned char *key(self, Item *item) noexcept:
        return self.text.head() + item.at

    @property
    def is_stored(self):
        """Has the source said all, and the target answered to all of it?"""
        return self.fetched and self.unanswered == 0 and self.out.length() == 0

    def finish(self):
        """Once `is_stored`: how many are stored. Whatever was sent and not refused is."""
        cdef size_t i, n = 0
        for i in range(self.count):
            if self.items[i].state == SENT:
                self.items[i].state = STORED
                n += 1
        # A key that is taken for stored and is not is only cleared in vain.
        self.route.tally.copied += n - min(n, self.unnamed)
        return n

    def verify(self, bint late):
        """How many have to be taken back, because their marks have moved or, when the target's answer came too
        `late`, because they were stored with a time to live that has become too long."""
        cdef size_t i, n = 0
        cdef Item *item
        cdef Marks marks = self.route.marks
        cdef bint all_moved = marks is not None and marks.moved(FLUSH_MARK, self.flush_mark)
        for i in range(self.count):
            item = &self.items[i]
            if item.state != STORED:
                continue
            if (
                all_moved
                or (late and item.is_finite)
                or (marks is not None and marks.moved(item.slot, item.mark))
            ):
                item.state = MOVED
                n += 1
        self.route.tally.copied -= min(n, self.route.tally.copied)
        return n

    def again(self):
        """A batch of what has been taken back; None where that was nothing, or the last attempt."""
        cdef size_t i
        cdef Item *item
        cdef Copies batch = type(self)(self.route, self.attempt + 1)
        for i in range(self.count):
            item = &self.items[i]
            if item.state == MOVED:
                batch.add(self.key(item), item.length, item.is_binary, item.expires_s, item.cas)
        if batch.attempt == ATTEMPTS:
            self.route.tally.changed += batch.count
            return None
        self.route.tally.again += batch.count
        return batch if batch.count else None

    def doubt(self):
        """The target was lost before the batch was verified: how many may be there and have to be taken back?"""
        cdef size_t i, n = 0, copied = 0
        for i in range(self.count):
            if self.items[i].state in (SENT, STORED, MOVED):
                copied += self.items[i].state == STORED
                self.items[i].state = MOVED
                n += 1
        self.route.tally.copied -= min(copied, self.route.tally.copied)
        return n

    def condemn(self):
        """None of it belongs there: all has to be deleted."""
        cdef size_t i
        for i in range(self.count):
            self.items[i].state = MOVED
        self.route.tally.gone += self.count

    def forget(self):
        """What had to be taken back is, and is not copied again."""
        cdef size_t i
        for i in range(self.count):
            if self.items[i].state == MOVED:
                self.items[i].state = REFUSED
                self.route.tally.failed += 1

    def abandon(self):
        """The source is lost: what was not fetched has failed. What was sent to the target is still to be heard."""
        cdef size_t i
        for i in range(self.count):
            if self.items[i].state == LISTED:
                self.items[i].state = REFUSED
                self.route.tally.failed += 1
        self.fetched = True
