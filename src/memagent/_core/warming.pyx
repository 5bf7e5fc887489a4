"""A batch of keys on its way from one server to another: bytes in, bytes out.

              ask ─▶ target      which of them are there already? (a target with meta commands only)
    marks ─▶  fetch ─▶ source    value, flags, time to live, cas
              store ─▶ target    added, so that nothing newer is overwritten
              ... for as long as a request may take ...
              verify             has a mark moved? then clear ─▶ target, and again, three times at most

    LISTED ─▶ SENT ─▶ STORED ─▶ MOVED ─▶ (a new batch)         the other states are ends
      │         └▶ THERE, REFUSED
      └▶ THERE, GONE, EXPIRED, STALE, TOO_BIG, REFUSED

Who owns the sockets sends what `ask`, `fetch`, `stores`, `clear` and `give_back` return and hands to `hear` what
comes back, in the order in which it was sent, until `heard`.

Invariants
- A key's mark is read before its fetch is sent.
- An item is stored with the time that it has left, never with more; without any left it is not stored.
- Each piece for the target ends with a barrier (mn, or version), so that quiet requests have an end.
- What a server says that it cannot say is a ProtocolError: the connection is lost, the batch can be abandoned.
"""

cimport cython
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcmp, memcpy

from memagent._core.base64 cimport base64_decoded, base64_encoded
from memagent._core.buffer cimport Buffer, Memory
from memagent._core.limits cimport GET_LINE_BYTES, MAX_KEY_BYTES, MAX_REPLY_BYTES, MAX_REPLY_LINE_BYTES
from memagent._core.marks cimport FLUSH_MARK, Marks, slot_of

from memagent.errors import ProtocolError

ATTEMPTS = 3
ASK, FETCH, STORE, CLEAR, GIVE_BACK = range(5)

cdef enum:
    C_ASK = 0
    C_FETCH = 1
    C_STORE = 2
    C_CLEAR = 3
    C_GIVE_BACK = 4
    LONGEST_RELATIVE_S = 30 * 86400     # memcached takes more for a date
    REQUEST_ROOM = 640                  # a request line without its value: a key in base64 and less than 256 bytes

cdef uint64_t GLOBAL_CAS = <uint64_t> 1 << 61   # chosen by a proxy: the same at every holder

cdef Memory memory = Memory(0)


cdef inline bint starts(const unsigned char *p, size_t n, const char *word, size_t length) noexcept:
    return n >= length and memcmp(p, word, length) == 0


cdef inline unsigned char *put_word(unsigned char *p, const char *word, size_t length) noexcept:
    memcpy(p, word, length)
    return p + length


cdef inline unsigned char *put_number(unsigned char *p, uint64_t number) noexcept:
    cdef unsigned char digits[20]
    cdef int n = 0
    while True:
        digits[n] = <unsigned char> (48 + number % 10)
        number //= 10
        n += 1
        if number == 0:
            break
    while n:
        n -= 1
        p[0] = digits[n]
        p += 1
    return p


cdef inline const unsigned char *take_number(
    const unsigned char *p, const unsigned char *end, uint64_t *number
) noexcept:
    """Behind the digits at p, 20 at most; NULL where there are none."""
    cdef const unsigned char *at = p
    number[0] = 0
    while at < end and 48 <= at[0] <= 57 and at - p < 20:
        number[0] = number[0] * 10 + (at[0] - 48)
        at += 1
    return at if at > p else NULL


cdef inline bint is_refusal(const unsigned char *p, size_t n) noexcept:
    """An error that leaves the connection in order: a bad data chunk does not."""
    if starts(p, n, b"CLIENT_ERROR", 12):
        return not starts(p, n, b"CLIENT_ERROR bad data chunk", 27)
    return starts(p, n, b"SERVER_ERROR", 12)


cdef shown(const unsigned char *p, size_t n):
    return p[:min(n, <size_t> 60)].decode("ascii", "backslashreplace")


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


@cython.final
cdef class Batch:
    """See the module's head. `waited_s`, `source_now_s` and `target_now_s` are set before a fetch is heard: the
    whole seconds since it was sent, and the servers' own clocks."""

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
        if not is_binary:
            for i in range(length):
                if key[i] <= 32 or key[i] == 127:
                    is_binary = True
                    break
        self.items[self.count] = Item(
            self.text.length(), expires_s, cas, slot_of(key, length), 0, <uint16_t> length, LISTED,
            is_binary, False, False, False,
        )
        self.text.append(key, length)
        self.count += 1
        return 0

    cdef const unsigned char *key(self, Item *item) noexcept:
        return self.text.head() + item.at

    # ---------------------------------------------------------------- requests

    cdef int put_key(self, Item *item) except -1:
        cdef unsigned char *p = self.out.room(REQUEST_ROOM)
        cdef size_t length = item.length
        if item.is_binary:
            length = base64_encoded(self.key(item), item.length, p)
        else:
            memcpy(p, self.key(item), length)
        self.out.filled(length)
        return 0

    cdef int put_barrier(self, bint meta) except -1:
        if meta:
            self.out.append(b"mn\r\n", 4)
        else:
            self.out.append(b"version\r\n", 9)
        return 0

    cdef bytes taken(self):
        cdef bytes data = self.out.head()[:self.out.length()]
        self.out.clear()
        return data

    def ask(self):
        """For the target, with meta commands: which keys has it?"""
        cdef size_t i
        cdef unsigned char *start
        cdef unsigned char *p
        for i in range(self.count):
            self.out.append(b"mg ", 3)
            self.put_key(&self.items[i])
            start = p = self.out.room(REQUEST_ROOM)
            p = put_word(p, b" u q O", 6)
            p = put_number(p, i)
            if self.items[i].is_binary:
                p = put_word(p, b" b", 2)
            p = put_word(p, b"\r\n", 2)
            self.out.filled(p - start)
        self.put_barrier(True)
        return self.taken()

    def fetch(self):
        """For the source: what the target misses. b"" if it misses nothing."""
        cdef size_t i, line_bytes = 0
        cdef Item *item
        cdef Item *last = NULL
        cdef Marks marks = self.route.marks
        if marks is not None:
            self.flush_mark = marks.read(FLUSH_MARK)
        for i in range(self.count):
            item = &self.items[i]
            if item.state != LISTED:
                continue
            if marks is not None:
                item.mark = marks.read(item.slot)
            if self.route.source_meta:
                self.out.append(b"mg ", 3)
                self.put_key(item)
                if item.is_binary:
                    self.out.append(b" v k f t c u b\r\n", 16)
                else:
                    self.out.append(b" v k f t c u\r\n", 14)
                continue
            if item.is_binary:
                item.state = REFUSED
                self.route.tally.failed += 1
                continue
            if line_bytes + item.length >= GET_LINE_BYTES - 8:
                last.ends_line = True
                self.out.append(b"\r\n", 2)
                line_bytes = 0
            if line_bytes == 0:
                self.out.append(b"gets", 4)
            self.out.append(b" ", 1)
            self.put_key(item)
            line_bytes += item.length + 1
            last = item
        if line_bytes:
            last.ends_line = True
            self.out.append(b"\r\n", 2)
        self.cursor = 0
        while self.cursor < self.count and self.items[self.cursor].state != LISTED:
            self.cursor += 1
        self.fetched = self.cursor == self.count
        return self.taken()

    def stores(self):
        """For the target: what has been fetched since the last call, with a barrier; b"" if that is nothing."""
        if self.out.length() == 0:
            return b""
        self.put_barrier(self.route.target_meta)
        self.unanswered += 1
        return self.taken()

    @property
    def unsent_bytes(self):
        """What `stores` would return."""
        return self.out.length()

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

    def give_back(self):
        """For the source: stale items whose token went to our reading are stale without it again."""
        cdef size_t i
        cdef unsigned char *start
        cdef unsigned char *p
        for i in range(self.count):
            if not self.items[i].won:
                continue
            self.items[i].won = False
            self.out.append(b"md ", 3)
            self.put_key(&self.items[i])
            start = p = self.out.room(REQUEST_ROOM)
            p = put_word(p, b" I q C", 6)
            p = put_number(p, self.items[i].cas)
            if self.items[i].is_binary:
                p = put_word(p, b" b", 2)
            p = put_word(p, b"\r\n", 2)
            self.out.filled(p - start)
        self.n_won = 0
        self.put_barrier(True)
        return self.taken()

    def verify(self, bint late):
        """How many have to be taken back, because their marks have moved or, when the target's answer came too
        `late`, because they were stored with a time to live that has become too long."""
        cdef size_t i, n = 0
        cdef Item *item
        cdef Marks marks = self.route.marks
        cdef bint all_moved = marks is not None and marks.read(FLUSH_MARK) != self.flush_mark
        for i in range(self.count):
            item = &self.items[i]
            if item.state != STORED:
                continue
            if (
                all_moved
                or (late and item.is_finite)
                or (marks is not None and marks.read(item.slot) != item.mark)
            ):
                item.state = MOVED
                n += 1
        self.route.tally.copied -= min(n, self.route.tally.copied)
        return n

    def clear(self):
        """For the target: delete what has to be taken back."""
        cdef size_t i
        cdef Item *item
        for i in range(self.count):
            item = &self.items[i]
            if item.state != MOVED:
                continue
            if not self.route.target_meta:
                self.out.append(b"delete ", 7)
                self.put_key(item)
                self.out.append(b"\r\n", 2)
                continue
            self.out.append(b"md ", 3)
            self.put_key(item)
            if item.is_binary:
                self.out.append(b" q b\r\n", 6)
            else:
                self.out.append(b" q\r\n", 4)
        self.put_barrier(self.route.target_meta)
        return self.taken()

    def again(self):
        """A batch of what has been taken back; None where that was nothing, or the last attempt."""
        cdef size_t i
        cdef Item *item
        cdef Batch batch = Batch(self.route, self.attempt + 1)
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

    # ---------------------------------------------------------------- replies

    def hear(self, int step, const unsigned char[::1] data not None, size_t start, size_t end):
        """Replies of the step in data[start:end]; where the first stands that is not complete or not the step's."""
        cdef size_t used
        cdef const unsigned char *p
        if start > end or end > <size_t> data.shape[0]:
            raise IndexError("beyond the data")
        self.heard = False
        self.need = 0
        while start < end and not self.heard:
            p = &data[start]
            if step == C_FETCH:
                if self.skipping:
                    used = self.skip(end - start)
                elif self.route.source_meta:
                    used = self.hear_meta_item(p, end - start)
                else:
                    used = self.hear_classic_item(p, end - start)
            elif self.route.target_meta or step == C_GIVE_BACK:
                used = self.hear_quiet(p, end - start, step)
            else:
                used = self.hear_classic(p, end - start, step)
            if used == 0:
                break
            start += used
        return start

    cdef size_t line(self, const unsigned char *p, size_t n, size_t *length) except? 0:
        """Behind the line at p, 0 if its end has not come; its length without its end."""
        cdef const unsigned char *newline
        newline = <const unsigned char *> memchr(p, 10, min(n, <size_t> MAX_REPLY_LINE_BYTES))
        if newline == NULL:
            if n >= MAX_REPLY_LINE_BYTES:
                raise ProtocolError("a reply line without an end")
            return 0
        length[0] = newline - p
        if length[0] == 0 or p[length[0] - 1] != 13:
            raise ProtocolError("a reply line that does not end with CR LF")
        length[0] -= 1
        return newline - p + 1

    cdef size_t hear_quiet(self, const unsigned char *p, size_t n, int step) except? 0:
        cdef size_t length = 0
        cdef size_t used = self.line(p, n, &length)
        cdef uint64_t index
        cdef const unsigned char *end
        if used == 0:
            return 0
        if length == 2 and memcmp(p, b"MN", 2) == 0:
            self.heard = True
            self.unanswered -= step == C_STORE
            return used
        if is_refusal(p, length):
            # Without an opaque: which of them it was is not said.
            if step == C_STORE:
                self.unnamed += 1
                self.count_refusal(p, length)
            return used
        if step == C_GIVE_BACK and (starts(p, length, b"EX", 2) or starts(p, length, b"NF", 2)):
            return used
        if (step == C_ASK and starts(p, length, b"HD O", 4)) or (step == C_STORE and starts(p, length, b"NS O", 4)):
            end = take_number(p + 4, p + length, &index)
            if end == p + length and index < self.count and self.items[index].state in (LISTED, SENT):
                self.items[index].state = THERE
                self.n_there += 1
                self.route.tally.there += 1
                return used
        raise ProtocolError(f"a reply that does not belong to the request: {shown(p, length)}")

    cdef int count_refusal(self, const unsigned char *p, size_t n) noexcept:
        if starts(p, n, b"SERVER_ERROR object too large", 29):
            self.route.tally.too_big += 1
        else:
            self.route.tally.failed += 1
        return 0

    cdef size_t hear_classic(self, const unsigned char *p, size_t n, int step) except? 0:
        cdef size_t length = 0
        cdef size_t used = self.line(p, n, &length)
        cdef Item *item
        if used == 0:
            return 0
        if starts(p, length, b"VERSION ", 8):
            self.heard = True
            self.unanswered -= step == C_STORE
            return used
        if step == C_CLEAR and (
            starts(p, length, b"DELETED", 7) or starts(p, length, b"NOT_FOUND", 9)
            or is_refusal(p, length)
        ):
            return used
        if step == C_STORE:
            while self.answered < self.count and self.items[self.answered].state != SENT:
                self.answered += 1
            if self.answered < self.count:
                item = &self.items[self.answered]
                self.answered += 1
                if length == 6 and memcmp(p, b"STORED", 6) == 0:
                    return used
                if length == 10 and memcmp(p, b"NOT_STORED", 10) == 0:
                    item.state = THERE
                    self.n_there += 1
                    self.route.tally.there += 1
                    return used
                if is_refusal(p, length):
                    item.state = REFUSED
                    self.count_refusal(p, length)
                    return used
        raise ProtocolError(f"a reply that does not belong to the request: {shown(p, length)}")

    cdef int advance(self) noexcept:
        """To the next item that has been asked for."""
        self.cursor += 1
        while self.cursor < self.count and self.items[self.cursor].state != LISTED:
            self.cursor += 1
        if self.cursor == self.count and self.route.source_meta and not self.skipping:
            self.fetched = True
            self.heard = True
        return 0

    cdef size_t skip(self, size_t n) noexcept:
        """Bytes of a value that is too large to be held."""
        if n > self.skipping:
            n = self.skipping
        self.skipping -= n
        if self.skipping == 0 and self.cursor == self.count and self.route.source_meta:
            self.fetched = True
            self.heard = True
        return n

    cdef bint holds(self, Item *item, const unsigned char *key, size_t length, bint is_binary) noexcept:
        """Is this the item's key? Learns how the source writes it."""
        cdef unsigned char decoded[MAX_KEY_BYTES]
        cdef Py_ssize_t n
        if is_binary:
            if length > MAX_KEY_BYTES:
                return False
            n = base64_decoded(key, length, decoded)
            if n != item.length or memcmp(decoded, self.key(item), n) != 0:
                return False
            item.is_binary = True
            return True
        return length == item.length and memcmp(key, self.key(item), length) == 0

    cdef size_t hear_meta_item(self, const unsigned char *p, size_t n) except? 0:
        cdef size_t line_bytes = 0
        cdef size_t used = self.line(p, n, &line_bytes)
        cdef const unsigned char *at
        cdef const unsigned char *end
        cdef const unsigned char *word
        cdef const unsigned char *key = NULL
        cdef size_t key_length = 0
        cdef uint64_t length, flags = 0, ttl = 0, cas = 0
        cdef bint has_flags = False, has_ttl = False, never = False, has_cas = False
        cdef bint is_binary = False, is_stale = False, won = False
        cdef Item *item
        if used == 0:
            return 0
        if self.cursor >= self.count:
            raise ProtocolError(f"a reply to nothing: {shown(p, line_bytes)}")
        item = &self.items[self.cursor]
        if starts(p, line_bytes, b"EN", 2) and (line_bytes == 2 or p[2] == 32):
            item.state = GONE
            self.route.tally.gone += 1
            self.advance()
            return used
        if starts(p, line_bytes, b"SERVER_ERROR", 12):
            item.state = REFUSED
            self.route.tally.failed += 1
            self.advance()
            return used
        end = p + line_bytes
        at = take_number(p + 3, end, &length) if starts(p, line_bytes, b"VA ", 3) else NULL
        if at == NULL:
            raise ProtocolError(f"a reply that does not belong to the request: {shown(p, line_bytes)}")
        if length > MAX_REPLY_BYTES:
            raise ProtocolError("a value of more than 128 MiB")
        while at < end:
            if at[0] != 32:
                raise ProtocolError(f"flags that make no sense: {shown(p, line_bytes)}")
            word = at + 1
            at = word
            while at < end and at[0] != 32:
                at += 1
            if at == word:
                raise ProtocolError(f"flags that make no sense: {shown(p, line_bytes)}")
            if word[0] == 107:  # k
                key = word + 1
                key_length = at - key
            elif word[0] == 102:  # f
                has_flags = take_number(word + 1, at, &flags) == at
            elif word[0] == 116:  # t
                never = at - word == 3 and word[1] == 45 and word[2] == 49
                has_ttl = never or take_number(word + 1, at, &ttl) == at
            elif word[0] == 99:  # c
                has_cas = take_number(word + 1, at, &cas) == at
            elif word[0] == 98:  # b
                is_binary = True
            elif word[0] == 88:  # X
                is_stale = True
            elif word[0] == 87:  # W
                won = True
        if key == NULL or not (has_flags and has_ttl and has_cas):
            raise ProtocolError(f"a value without key, flags, time or cas: {shown(p, line_bytes)}")
        if not self.holds(item, key, key_length, is_binary):
            raise ProtocolError(f"the value of another key than the one asked for: {shown(key, key_length)}")
        if length > self.route.largest_bytes:
            item.state = TOO_BIG
            self.route.tally.too_big += 1
            self.skipping = length + 2
            self.advance()
            return used
        if n - used < length + 2:
            self.need = used + length + 2
            return 0
        if p[used + length] != 13 or p[used + length + 1] != 10:
            raise ProtocolError("a value that does not end with CR LF")
        item.cas = cas
        item.won = won
        self.n_won += won
        if is_stale or won:
            item.state = STALE
            self.route.tally.changed += 1
        else:
            # What is less than no time left comes as a very large number.
            if not never and ttl > 0x7fffffff:
                ttl = 0
            self.fetch_item(item, p + used, length, flags, NEVER if never else <int64_t> ttl)
        self.advance()
        return used + length + 2

    cdef size_t hear_classic_item(self, const unsigned char *p, size_t n) except? 0:
        cdef size_t line_bytes = 0
        cdef size_t used = self.line(p, n, &line_bytes)
        cdef const unsigned char *at
        cdef const unsigned char *end
        cdef size_t key_length
        cdef uint64_t length, flags, cas = 0
        cdef int64_t ttl_s
        cdef Item *item = NULL
        cdef bint is_error
        if used == 0:
            return 0
        if self.cursor >= self.count:
            raise ProtocolError(f"a reply to nothing: {shown(p, line_bytes)}")
        is_error = starts(p, line_bytes, b"SERVER_ERROR", 12)
        if is_error or (line_bytes == 3 and memcmp(p, b"END", 3) == 0):
            while self.cursor < self.count:
                item = &self.items[self.cursor]
                self.cursor += 1
                if item.state == LISTED and is_error:
                    item.state = REFUSED
                    self.route.tally.failed += 1
                elif item.state == LISTED:
                    item.state = GONE
                    self.route.tally.gone += 1
                if item.ends_line:
                    break
            while self.cursor < self.count and self.items[self.cursor].state != LISTED:
                self.cursor += 1
            if self.cursor == self.count:
                self.fetched = True
                self.heard = True
            return used
        if not starts(p, line_bytes, b"VALUE ", 6):
            raise ProtocolError(f"a reply that does not belong to the request: {shown(p, line_bytes)}")
        end = p + line_bytes
        at = <const unsigned char *> memchr(p + 6, 32, line_bytes - 6)
        if at == NULL:
            raise ProtocolError(f"a VALUE line that makes no sense: {shown(p, line_bytes)}")
        key_length = at - (p + 6)
        at = take_number(at + 1, end, &flags)
        if at == NULL or at == end or at[0] != 32:
            raise ProtocolError(f"a VALUE line that makes no sense: {shown(p, line_bytes)}")
        at = take_number(at + 1, end, &length)
        if at == NULL or (at != end and (at[0] != 32 or take_number(at + 1, end, &cas) != end)):
            raise ProtocolError(f"a VALUE line that makes no sense: {shown(p, line_bytes)}")
        if length > MAX_REPLY_BYTES:
            raise ProtocolError("a value of more than 128 MiB")
        if length <= self.route.largest_bytes and n - used < length + 2:
            self.need = used + length + 2
            return 0
        # Those between the last value and this one were not found.
        while self.cursor < self.count:
            item = &self.items[self.cursor]
            if item.state == LISTED and self.holds(item, p + 6, key_length, False):
                break
            if item.ends_line:
                raise ProtocolError(f"the value of a key that was not asked for: {shown(p + 6, key_length)}")
            if item.state == LISTED:
                item.state = GONE
                self.route.tally.gone += 1
            self.cursor += 1
        if self.cursor == self.count:
            raise ProtocolError(f"the value of a key that was not asked for: {shown(p + 6, key_length)}")
        if length > self.route.largest_bytes:
            item.state = TOO_BIG
            self.route.tally.too_big += 1
            self.skipping = length + 2
            return used
        if p[used + length] != 13 or p[used + length + 1] != 10:
            raise ProtocolError("a value that does not end with CR LF")
        if (
            item.expires_s == UNKNOWN or item.cas != cas
            or (
                self.route.marks is not None and self.route.marks_before is not None
                and self.route.marks_before.read(item.slot) != item.mark
            )
        ):
            ttl_s = self.route.unknown_ttl_s
        elif item.expires_s == NEVER:
            ttl_s = NEVER
        else:
            ttl_s = max(0, item.expires_s - self.source_now_s)
        self.fetch_item(item, p + used, length, flags, ttl_s)
        return used + length + 2

    cdef int fetch_item(
        self, Item *item, const unsigned char *value, uint64_t length, uint64_t flags, int64_t ttl_s
    ) except -1:
        """The request that stores it, if it has any time left; `value` ends with CR LF."""
        cdef unsigned char *start
        cdef unsigned char *p
        self.fetched_bytes += item.length + length
        if ttl_s != NEVER:
            ttl_s -= self.waited_s
            if ttl_s <= 0:
                item.state = EXPIRED
                self.route.tally.expired += 1
                return 0
            if ttl_s > LONGEST_RELATIVE_S:
                ttl_s += self.target_now_s
            item.is_finite = True
        if item.is_binary and not self.route.target_meta:
            item.state = REFUSED
            self.route.tally.failed += 1
            return 0
        if self.route.target_meta:
            self.out.append(b"ms ", 3)
            self.put_key(item)
            start = p = self.out.room(REQUEST_ROOM)
            p[0] = 32
            p = put_number(p + 1, length)
            p = put_word(p, b" ME q F", 7)
            p = put_number(p, flags)
            if ttl_s != NEVER:
                p = put_word(p, b" T", 2)
                p = put_number(p, ttl_s)
            if self.route.keeps_cas and item.cas & GLOBAL_CAS:
                p = put_word(p, b" E", 2)
                p = put_number(p, item.cas)
            if item.is_binary:
                p = put_word(p, b" b", 2)
            p = put_word(p, b" O", 2)
            p = put_number(p, item - self.items)
        else:
            self.out.append(b"add ", 4)
            self.put_key(item)
            start = p = self.out.room(REQUEST_ROOM)
            p[0] = 32
            p = put_number(p + 1, flags)
            p[0] = 32
            p = put_number(p + 1, 0 if ttl_s == NEVER else ttl_s)
            p[0] = 32
            p = put_number(p + 1, length)
        p = put_word(p, b"\r\n", 2)
        self.out.filled(p - start)
        self.out.append(value, length + 2)
        item.state = SENT
        self.route.tally.bytes += item.length + length
        return 0
