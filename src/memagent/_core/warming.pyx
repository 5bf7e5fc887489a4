"""A batch of keys on its way from one server to another: bytes in, bytes out.

              ask ─▶ target      which of them are there already? (a target with meta commands only)
    marks ─▶  fetch ─▶ source    value, flags, time to live, cas
              store ─▶ target    added, so that nothing newer is overwritten
              ... for as long as a request may take ...
              verify             has a mark moved? then clear ─▶ target, and again, ten times at most

Who owns the sockets sends what `ask`, `fetch`, `stores`, `clear` and `give_back` return and hands to `hear` what
comes back, in the order in which it was sent, until `heard`.

Invariants
- A key's mark is read before its fetch is sent.
- An item is stored with the time that it has left, never with more; without any left it is not stored.
- Each piece for the target ends with a barrier (mn, or version), so that quiet requests have an end.
- What a server says that it cannot say is a ProtocolError: the connection is lost, the batch can be abandoned.
"""

cimport cython
from libc.string cimport memcmp, memcpy

from memagent._core.copies cimport (
    EXPIRED,
    GONE,
    LISTED,
    MOVED,
    NEVER,
    REFUSED,
    SENT,
    STALE,
    THERE,
    TOO_BIG,
    UNKNOWN,
    Copies,
    Item,
)
from memagent._core.fetched cimport (
    FETCHED_FOREVER,
    Fetched,
    is_refusal,
    read_gets,
    read_mg,
    reply_line,
    shown,
    starts,
    take_number,
)
from memagent._core.limits cimport GET_LINE_BYTES, MAX_KEY_BYTES
from memagent._core.marks cimport FLUSH_MARK, Marks
from memagent._core.meta cimport decode_base64, encode_base64

from memagent.errors import ProtocolError

ASK, FETCH, STORE, CLEAR, GIVE_BACK = range(5)

cdef enum:
    C_ASK = 0
    C_FETCH = 1
    C_STORE = 2
    C_CLEAR = 3
    C_GIVE_BACK = 4
    LONGEST_RELATIVE_S = 30 * 86400     # memcached takes more for a date
    FLAGS_ROOM = 256                    # what stands behind the key in any request line

cdef uint64_t GLOBAL_CAS = <uint64_t> 1 << 61   # chosen by a proxy: the same at every holder


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


@cython.final
cdef class Batch(Copies):
    """See the module's head. `waited_s`, `source_now_s` and `target_now_s` are set before a fetch is heard: the
    whole seconds since it was sent, and the servers' own clocks."""

    # ---------------------------------------------------------------- requests

    cdef int put_key(self, Item *item) except -1:
        cdef bytes text
        if item.is_binary:
            text = encode_base64(self.key(item), item.length)
            self.out.append(text, len(text))
        else:
            self.out.append(self.key(item), item.length)
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
            start = p = self.out.room(FLAGS_ROOM)
            p = put_word(p, b" u q O", 6)
            p = put_number(p, i)
            if self.items[i].is_binary:
                p = put_word(p, b" b", 2)
            p = put_word(p, b"\r\n", 2)
            self.out.filled(p - start)
        self.put_barrier(True)
        return self.taken()

    cdef int put_fetch(self, size_t i) except -1:
        cdef Item *item = &self.items[i]
        cdef unsigned char *start
        cdef unsigned char *p
        self.out.append(b"mg ", 3)
        self.put_key(item)
        start = p = self.out.room(FLAGS_ROOM)
        p = put_word(p, b" v f t c u", 10)
        if item.is_unsafe:
            # Items that were made by mg or ma write such a key into the reply as it is.
            p = put_word(p, b" O", 2)
            p = put_number(p, i)
        else:
            p = put_word(p, b" k", 2)
        if item.is_binary:
            p = put_word(p, b" b", 2)
        p = put_word(p, b"\r\n", 2)
        self.out.filled(p - start)
        return 0

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
                self.put_fetch(i)
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
            start = p = self.out.room(FLAGS_ROOM)
            p = put_word(p, b" I q C", 6)
            p = put_number(p, self.items[i].cas)
            if self.items[i].is_binary:
                p = put_word(p, b" b", 2)
            p = put_word(p, b"\r\n", 2)
            self.out.filled(p - start)
        self.n_won = 0
        self.put_barrier(True)
        return self.taken()

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
            start = p = self.out.room(FLAGS_ROOM)
            p = put_word(p, b" q", 2)
            if self.route.keeps_cas and item.cas & GLOBAL_CAS:
                # only what was copied: a set may have come since
                p = put_word(p, b" C", 2)
                p = put_number(p, item.cas)
            if item.is_binary:
                p = put_word(p, b" b", 2)
            p = put_word(p, b"\r\n", 2)
            self.out.filled(p - start)
        self.put_barrier(self.route.target_meta)
        return self.taken()

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

    cdef size_t hear_quiet(self, const unsigned char *p, size_t n, int step) except? 0:
        cdef size_t length = 0
        cdef size_t used = reply_line(p, n, &length)
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
        # Not every version lets q hide these.
        if step in (C_CLEAR, C_GIVE_BACK) and length == 2 and (
            memcmp(p, b"EX", 2) == 0 or memcmp(p, b"NF", 2) == 0 or memcmp(p, b"HD", 2) == 0
        ):
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
        cdef size_t used = reply_line(p, n, &length)
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

    cdef bint is_of(self, Item *item, Fetched *fetched) noexcept:
        """Is this the item that was asked for? Learns how the source writes its key."""
        cdef unsigned char decoded[MAX_KEY_BYTES]
        cdef size_t n
        if item.is_unsafe:
            return fetched.opaque == item - self.items
        if fetched.key == NULL or fetched.key_length > MAX_KEY_BYTES:
            return False
        if not fetched.is_binary:
            return (
                fetched.key_length == item.length and memcmp(fetched.key, self.key(item), item.length) == 0
            )
        n = decode_base64(fetched.key, fetched.key_length, decoded)
        if n != item.length or memcmp(decoded, self.key(item), n) != 0:
            return False
        item.is_binary = True
        return True

    cdef size_t hear_meta_item(self, const unsigned char *p, size_t n) except? 0:
        cdef size_t line_bytes = 0
        cdef size_t used = reply_line(p, n, &line_bytes)
        cdef Fetched fetched
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
        read_mg(p, line_bytes, &fetched)
        if not self.is_of(item, &fetched):
            raise ProtocolError(f"the value of another key than the one asked for: {shown(p, line_bytes)}")
        if fetched.length > self.route.largest_bytes:
            item.state = TOO_BIG
            self.route.tally.too_big += 1
            self.skipping = fetched.length + 2
            self.advance()
            return used
        if n - used < fetched.length + 2:
            self.need = used + fetched.length + 2
            return 0
        if p[used + fetched.length] != 13 or p[used + fetched.length + 1] != 10:
            raise ProtocolError("a value that does not end with CR LF")
        item.cas = fetched.cas
        item.won = fetched.won
        self.n_won += fetched.won
        if fetched.is_stale or fetched.won:
            item.state = STALE
            self.route.tally.changed += 1
        else:
            self.store_item(item, p + used, &fetched)
        self.advance()
        return used + fetched.length + 2

    cdef size_t hear_classic_item(self, const unsigned char *p, size_t n) except? 0:
        cdef size_t line_bytes = 0
        cdef size_t used = reply_line(p, n, &line_bytes)
        cdef Fetched fetched
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
        read_gets(p, line_bytes, &fetched)
        if fetched.length <= self.route.largest_bytes and n - used < fetched.length + 2:
            self.need = used + fetched.length + 2
            return 0
        # Those between the last value and this one were not found.
        while self.cursor < self.count:
            item = &self.items[self.cursor]
            if item.state == LISTED and self.is_of(item, &fetched):
                break
            if item.ends_line:
                raise ProtocolError(f"the value of a key that was not asked for: {shown(p, line_bytes)}")
            if item.state == LISTED:
                item.state = GONE
                self.route.tally.gone += 1
            self.cursor += 1
        if self.cursor == self.count:
            raise ProtocolError(f"the value of a key that was not asked for: {shown(p, line_bytes)}")
        if fetched.length > self.route.largest_bytes:
            item.state = TOO_BIG
            self.route.tally.too_big += 1
            self.skipping = fetched.length + 2
            return used
        if p[used + fetched.length] != 13 or p[used + fetched.length + 1] != 10:
            raise ProtocolError("a value that does not end with CR LF")
        if (
            item.expires_s == UNKNOWN or item.cas != fetched.cas
            or (
                self.route.marks is not None and self.route.marks_before is not None
                and self.route.marks.moved(item.slot, self.route.marks_before.read(item.slot))
            )
        ):
            fetched.ttl_s = self.route.unknown_ttl_s
        elif item.expires_s == NEVER:
            fetched.ttl_s = FETCHED_FOREVER
        else:
            fetched.ttl_s = max(0, item.expires_s - self.source_now_s)
        self.store_item(item, p + used, &fetched)
        return used + fetched.length + 2

    cdef int store_item(self, Item *item, const unsigned char *value, Fetched *fetched) except -1:
        """The request that stores it, if it has any time left; `value` ends with CR LF."""
        cdef unsigned char *start
        cdef unsigned char *p
        cdef int64_t ttl_s = fetched.ttl_s
        self.fetched_bytes += item.length + fetched.length
        if ttl_s != FETCHED_FOREVER:
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
            start = p = self.out.room(FLAGS_ROOM)
            p[0] = 32
            p = put_number(p + 1, fetched.length)
            p = put_word(p, b" ME q F", 7)
            p = put_number(p, fetched.flags)
            if ttl_s != FETCHED_FOREVER:
                p = put_word(p, b" T", 2)
                p = put_number(p, ttl_s)
            if self.route.keeps_cas and fetched.cas & GLOBAL_CAS:
                p = put_word(p, b" E", 2)
                p = put_number(p, fetched.cas)
            if item.is_binary:
                p = put_word(p, b" b", 2)
            p = put_word(p, b" O", 2)
            p = put_number(p, item - self.items)
        else:
            self.out.append(b"add ", 4)
            self.put_key(item)
            start = p = self.out.room(FLAGS_ROOM)
            p[0] = 32
            p = put_number(p + 1, fetched.flags)
            p[0] = 32
            p = put_number(p + 1, 0 if ttl_s == FETCHED_FOREVER else ttl_s)
            p[0] = 32
            p = put_number(p + 1, fetched.length)
        p = put_word(p, b"\r\n", 2)
        self.out.filled(p - start)
        self.out.append(value, fetched.length + 2)
        item.state = SENT
        self.route.tally.bytes += item.length + fetched.length
        return 0
