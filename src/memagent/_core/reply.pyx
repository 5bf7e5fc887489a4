"""A memcached server's replies, from bytes to a code and the items in it.

    VALUE <key> <flags> <bytes> [<cas unique>]\\r\\n<data block>\\r\\n ... END\\r\\n       to retrieval
    STORED | NOT_STORED | EXISTS | NOT_FOUND | DELETED | TOUCHED | OK | <number>    one line to the rest
    HD | EN | NS | EX | NF [<flag>...]                                              one line to mg ms md ma
    VA <bytes> [<flag>...]\\r\\n<data block>\\r\\n                                  a value to mg or ma
    ME <key> <name>=<value>...                                                      one line to me
    ERROR | CLIENT_ERROR <text> | SERVER_ERROR <text>                               one line to anything

Invariants:
- A reply is whole before anybody sees it, and it is one that the verb can have (`expects`); anything else is garbage, after
  which no reply of that connection can be trusted.
- A long reply is scanned once: `scanned` says how far whole items reach.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcmp

from memagent._core.limits cimport MAX_KEY_BYTES, MAX_REPLY_BYTES, MAX_REPLY_LINE_BYTES


cdef inline bint starts(const unsigned char *p, size_t n, const char *word, size_t length) noexcept:
    return n >= length and memcmp(p, word, length) == 0


cdef inline bint is_meta(const unsigned char *p, size_t n, const char *word) noexcept:
    """A meta reply's code: two letters, then nothing or flags."""
    return p[0] == <unsigned char> word[0] and p[1] == <unsigned char> word[1] and (n == 2 or p[2] == 32)


cdef Code read_meta(const unsigned char *p, size_t n) noexcept:
    if is_meta(p, n, b"HD"):
        return R_HD
    if is_meta(p, n, b"VA") and n > 2:
        return R_VA
    if is_meta(p, n, b"EN"):
        return R_EN
    if is_meta(p, n, b"NF"):
        return R_NF
    if is_meta(p, n, b"NS"):
        return R_NS
    if is_meta(p, n, b"EX"):
        return R_EX
    if is_meta(p, n, b"ME") and n > 2:
        return R_ME
    return R_OTHER


cdef bint meta_flag(const unsigned char *p, size_t start, size_t length, unsigned char letter, int64_t *value) noexcept:
    """Is there a flag `letter` with a number among the flags p[start:start + length]? The first one counts.

    A number of more than 63 bits (a cas token) comes as the same bits: cast it to uint64_t.
    """
    cdef size_t i = start
    cdef size_t end = start + length
    cdef size_t digits
    cdef uint64_t number
    cdef bint negative
    while i < end:
        if p[i] == 32:
            i += 1
            continue
        if p[i] == letter:
            i += 1
            negative = i < end and p[i] == 45
            i += negative
            digits = i
            number = 0
            while i < end and 48 <= p[i] <= 57 and i - digits < 20:
                number = number * 10 + (p[i] - 48)
                i += 1
            if i == digits or (i < end and p[i] != 32):
                return False
            value[0] = -<int64_t> number if negative else <int64_t> number
            return True
        while i < end and p[i] != 32:
            i += 1
    return False


cdef Code read_line(const unsigned char *p, size_t n) noexcept:
    """The code of one line of n bytes, its line end left out."""
    cdef size_t i
    if n == 0:
        return R_OTHER
    if p[0] == 83:  # S
        if n == 6 and memcmp(p, b"STORED", 6) == 0:
            return R_STORED
        if starts(p, n, b"SERVER_ERROR", 12):
            return R_SERVER_ERROR
    elif p[0] == 78:  # N
        if n == 9 and memcmp(p, b"NOT_FOUND", 9) == 0:
            return R_NOT_FOUND
        if n == 10 and memcmp(p, b"NOT_STORED", 10) == 0:
            return R_NOT_STORED
    elif p[0] == 69:  # E
        if n == 6 and memcmp(p, b"EXISTS", 6) == 0:
            return R_EXISTS
        if n == 5 and memcmp(p, b"ERROR", 5) == 0:
            return R_ERROR
        if starts(p, n, b"ERROR ", 6):
            return R_ERROR
    elif p[0] == 68:
        if n == 7 and memcmp(p, b"DELETED", 7) == 0:
            return R_DELETED
    elif p[0] == 84:
        if n == 7 and memcmp(p, b"TOUCHED", 7) == 0:
            return R_TOUCHED
    elif p[0] == 79:
        if n == 2 and p[1] == 75:
            return R_OK
    elif p[0] == 67:
        if starts(p, n, b"CLIENT_ERROR", 12):
            return R_CLIENT_ERROR
    elif p[0] == 86:
        if starts(p, n, b"VERSION ", 8):
            return R_VERSION
    elif 48 <= p[0] <= 57:
        # decr pads a number that has become shorter with spaces
        i = 1
        while i < n and 48 <= p[i] <= 57:
            i += 1
        while i < n and p[i] == 32:
            i += 1
        if i == n and n <= 20:
            return R_NUMBER
    if n >= 2 and (n == 2 or p[2] == 32):
        return read_meta(p, n)
    return R_OTHER


@cython.final
cdef class ReplyParser:
    """Finds one reply at a time; see the module's head."""

    def __cinit__(self):
        self.left = b""

    def __dealloc__(self):
        free(self.items)

    cdef Code next(self, const unsigned char *p, size_t n, int expects, size_t scanned) except *:
        """What stands at p[0:n]; `expects` is the set of codes that the awaited reply may have."""
        self.need = 0
        self.scanned = 0
        self.n_items = 0
        if n == 0:
            return R_MORE
        if expects & (1 << R_VALUES) and (scanned or p[0] == 86 or (p[0] == 69 and (n == 1 or p[1] == 78))):
            return self.values(p, n, scanned)
        return self.line(p, n, expects)

    cdef Code garbage(self, str reason) except *:
        self.reason = reason
        return R_GARBAGE

    cdef Code line(self, const unsigned char *p, size_t n, int expects) except *:
        cdef const unsigned char *newline
        cdef size_t length
        cdef Code code
        newline = <const unsigned char *> memchr(p, 10, min(n, <size_t> MAX_REPLY_LINE_BYTES))
        if newline == NULL:
            if n >= MAX_REPLY_LINE_BYTES:
                return self.garbage("a reply line without an end")
            return R_MORE
        length = newline - p
        self.used = length + 1
        if length == 0 or p[length - 1] != 13:
            return self.garbage("a reply line that does not end with CR LF")
        code = read_line(p, length - 1)
        if R_HD <= code <= R_ME:
            if expects & (1 << code):
                return self.meta(p, n, length - 1, code)
            code = R_OTHER
        if not expects & (1 << code):
            return self.garbage("a reply that does not belong to the request")
        return code

    cdef Code meta(self, const unsigned char *p, size_t n, size_t end, Code code) except *:
        """The rest of a reply whose line is p[0:end]; `used` stands behind it."""
        cdef size_t i = 2
        cdef size_t digits
        cdef uint64_t length = 0
        self.value_start = self.value_length = 0
        if code == R_VA:
            i = digits = 3
            while i < end and 48 <= p[i] <= 57:
                length = length * 10 + (p[i] - 48)
                i += 1
                if length > MAX_REPLY_BYTES:
                    return self.garbage("a value of more than 128 MiB")
            if i == digits or (i < end and p[i] != 32):
                return self.garbage("a VA line without a length")
            self.value_start = self.used
            self.value_length = length
            if self.used + length + 2 > MAX_REPLY_BYTES:
                return self.garbage("a reply of more than 128 MiB")
            if n < self.used + length + 2:
                self.need = self.used + length + 2
                return R_MORE
            self.used += length + 2
            if p[self.used - 2] != 13 or p[self.used - 1] != 10:
                return self.garbage("a data block that does not end with CR LF")
        self.flags_start = i
        self.flags_length = end - i
        return code

    cdef Code values(self, const unsigned char *p, size_t n, size_t at) except *:
        cdef size_t i
        cdef size_t key_start
        cdef size_t key_end
        cdef uint64_t length
        cdef size_t digits
        while True:
            if n - at < 5:
                self.scanned = at
                self.need = at + 5
                return R_MORE
            if p[at] == 69 and memcmp(p + at, b"END\r\n", 5) == 0:
                self.used = at + 5
                return R_VALUES
            if memcmp(p + at, b"VALUE", 5) != 0:
                return self.garbage("neither VALUE nor END in a reply to a get")
            if n - at < 6:
                self.scanned = at
                self.need = at + 6
                return R_MORE
            if p[at + 5] != 32:
                return self.garbage("a VALUE line without a key")
            # VALUE <key> <flags> <bytes>[ <cas>]\r\n : at least 10 more bytes
            key_start = at + 6
            i = key_start
            while i < n and p[i] > 32 and p[i] != 127:
                i += 1
            if i - key_start > MAX_KEY_BYTES:
                return self.garbage("a key of more than 250 bytes in a VALUE line")
            if i == n:
                self.scanned = at
                return R_MORE
            key_end = i
            if p[i] != 32 or key_end == key_start:
                return self.garbage("a VALUE line without a key")
            i += 1
            digits = i
            while i < n and 48 <= p[i] <= 57:
                i += 1
            if i - digits > 20:
                return self.garbage("a VALUE line without flags")
            if i == n:
                self.scanned = at
                return R_MORE
            if p[i] != 32 or i == digits:
                return self.garbage("a VALUE line without flags")
            i += 1
            digits = i
            length = 0
            while i < n and 48 <= p[i] <= 57:
                length = length * 10 + (p[i] - 48)
                i += 1
                if length > MAX_REPLY_BYTES:
                    return self.garbage("a value of more than 128 MiB")
            if i - digits > 20:
                return self.garbage("a VALUE line without a length")
            if i == n:
                self.scanned = at
                return R_MORE
            if i == digits:
                return self.garbage("a VALUE line without a length")
            if p[i] == 32:
                i += 1
                digits = i
                while i < n and 48 <= p[i] <= 57:
                    i += 1
                if i - digits > 20:
                    return self.garbage("a VALUE line with a bad cas unique")
                if i == n:
                    self.scanned = at
                    return R_MORE
                if i == digits:
                    return self.garbage("a VALUE line with a bad cas unique")
            if p[i] != 13:
                return self.garbage("a VALUE line that does not end with CR LF")
            if i + 1 == n:
                self.scanned = at
                return R_MORE
            if p[i + 1] != 10:
                return self.garbage("a VALUE line that does not end with CR LF")
            i += 2
            if i + length + 2 > MAX_REPLY_BYTES:
                return self.garbage("a reply of more than 128 MiB")
            if n - i < length + 2:
                self.scanned = at
                self.need = i + length + 2
                return R_MORE
            i += length
            if p[i] != 13 or p[i + 1] != 10:
                return self.garbage("a data block that does not end with CR LF")
            i += 2
            self.add_item(at, key_end - key_start, i)
            at = i

    cdef int add_item(self, size_t start, size_t key_length, size_t end) except -1:
        cdef size_t capacity
        cdef Item *items
        if self.n_items == self.items_capacity:
            capacity = self.items_capacity * 2 if self.items_capacity else 64
            items = <Item *> realloc(self.items, capacity * sizeof(Item))
            if items == NULL:
                raise MemoryError
            self.items = items
            self.items_capacity = capacity
        self.items[self.n_items].start = start
        self.items[self.n_items].key_length = key_length
        self.items[self.n_items].end = end
        self.n_items += 1
        return 0

    def feed(self, str expects not None, bytes data not None):
        """Events of the bytes so far, as tests/reference/replies.py defines them. Keeps what is left over.

        `expects` is "line", "values" or "meta".
        """
        cdef bytes buffer = self.left + data
        cdef const unsigned char *p = buffer
        cdef size_t n = len(buffer)
        cdef size_t at = 0
        cdef Code code
        cdef int mask = {"line": E_LINE | 1 << R_OTHER, "values": E_VALUES, "meta": E_MG | E_MA | E_ME}[expects]
        events = []
        while at < n:
            code = self.next(p + at, n - at, mask, 0)
            if code == R_MORE:
                break
            if code == R_GARBAGE:
                events.append(("garbage", self.reason))
                self.left = b""
                return events
            raw = buffer[at:at + self.used]
            at += self.used
            if code == R_VALUES:
                events.append(("values", raw, self.describe(raw)))
            elif R_HD <= code <= R_ME:
                events.append(("meta", raw, *self.describe_meta(raw, code)))
            else:
                events.append(("line", raw))
        self.left = buffer[at:]
        return events

    cdef tuple describe(self, bytes raw):
        cdef size_t i
        found = []
        for i in range(self.n_items):
            line, rest = raw[self.items[i].start:self.items[i].end].split(b"\r\n", 1)
            words = line.split(b" ")
            found.append((words[1], words[2], rest[:-2], words[4] if len(words) > 4 else None))
        return tuple(found)

    cdef tuple describe_meta(self, bytes raw, Code code):
        """The words behind the code, the numbers that meta_flag finds in them, and the value."""
        cdef const unsigned char *p = raw
        cdef int64_t number = 0
        cdef unsigned char letter
        words = raw[self.flags_start:self.flags_start + self.flags_length]
        numbers = {}
        for letter in range(33, 127):
            if meta_flag(p, self.flags_start, self.flags_length, letter, &number):
                numbers[chr(letter)] = number
        value = raw[self.value_start:self.value_start + self.value_length] if code == R_VA else None
        return tuple(word for word in words.split(b" ") if word), numbers, value
