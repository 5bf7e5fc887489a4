"""The text requests of memcached's protocol.txt, classic and meta, from bytes to offsets.

    <verb> <key> <flags> <exptime> <bytes> [<cas unique>] [noreply]\\r\\n<data block>\\r\\n      storage
    <verb> [<exptime>] <key>*\\r\\n                                                            retrieval
    <verb> <key> [<argument>] [noreply]\\r\\n                                                  the rest
    <verb> <key> [<bytes>] <flag>*\\r\\n[<data block>\\r\\n]                                    meta (see meta.pyx)

`next` looks at the bytes from the start of a request and says what they are (see `Parsed` in the header). Invariants:
- The same bytes give the same answers however they were cut.
- Nothing is copied; all results are offsets from the start of the request, valid until `next` is called again.
- What is accepted is safe to send on: a memcached server reads exactly the same request in p[body_start:body_end] + CR LF
  (+ data block) and answers exactly once. That is why every needed token is checked here more strictly than a server
  would, and why what stands behind the last needed token (noreply, surplus words, a NUL at which memcached stops
  reading) is never sent on. Of a meta request, p[body_start:body_end] is sent without the flags in `meta.cuts`.
- Refusals use memcached's own words (behaviour section 5 where it names others).
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcmp, strlen

from memagent._core.limits cimport MAX_GET_LINE_BYTES, MAX_KEY_BYTES, MAX_LINE_BYTES
from memagent._core.meta cimport (
    META_DEBUG,
    META_GET,
    META_SET,
    MetaVerb,
    has_flag,
    read_flags,
)
from memagent._core.tokens cimport KeyRef, is_exptime, is_key, next_token, read_number

cdef uint64_t MAX_UINT64 = 18446744073709551615U
cdef uint64_t MAX_VALUE_BYTES = 2147483645U  # memcached's own bound: INT_MAX - 2

cdef enum:
    MAX_TOKENS = 8

cdef const char *ERROR = b"ERROR\r\n"
cdef const char *END = b"END\r\n"
cdef const char *BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
cdef const char *BAD_DELETE = b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"
cdef const char *BAD_KEY = b"CLIENT_ERROR bad key\r\n"
cdef const char *BAD_CHUNK = b"CLIENT_ERROR bad data chunk\r\n"
cdef const char *BAD_DELTA = b"CLIENT_ERROR invalid numeric delta argument\r\n"
cdef const char *BAD_EXPTIME = b"CLIENT_ERROR invalid exptime argument\r\n"
cdef const char *TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
cdef const char *LINE_TOO_LONG = b"CLIENT_ERROR line too long\r\n"

_VERBS = (
    "get", "gets", "gat", "gats", "set", "add", "replace", "append", "prepend", "cas", "incr", "decr", "delete",
    "touch", "mg", "ms", "md", "ma", "me", "flush_all", "version", "verbosity", "stats", "quit", "mn",
)


cdef bytes verb_name(int verb):
    return _VERBS[verb].encode()


cdef inline bint is_token(const unsigned char *p, size_t length, const char *word, size_t word_length) noexcept:
    return length == word_length and memcmp(p, word, word_length) == 0


cdef inline bint is_noreply(const unsigned char *p, KeyRef token) noexcept:
    return token.length == 7 and memcmp(p + token.start, b"noreply", 7) == 0


cdef inline bint only_spaces(const unsigned char *p, size_t at, size_t end) noexcept:
    while at < end and p[at] == 32:
        at += 1
    return at == end


cdef Verb find_verb(const unsigned char *p, size_t n) noexcept:
    if n == 3:
        if memcmp(p, b"get", 3) == 0:
            return V_GET
        if memcmp(p, b"set", 3) == 0:
            return V_SET
        if memcmp(p, b"add", 3) == 0:
            return V_ADD
        if memcmp(p, b"cas", 3) == 0:
            return V_CAS
        if memcmp(p, b"gat", 3) == 0:
            return V_GAT
    elif n == 4:
        if memcmp(p, b"gets", 4) == 0:
            return V_GETS
        if memcmp(p, b"incr", 4) == 0:
            return V_INCR
        if memcmp(p, b"decr", 4) == 0:
            return V_DECR
        if memcmp(p, b"gats", 4) == 0:
            return V_GATS
        if memcmp(p, b"quit", 4) == 0:
            return V_QUIT
    elif n == 5:
        if memcmp(p, b"touch", 5) == 0:
            return V_TOUCH
        if memcmp(p, b"stats", 5) == 0:
            return V_STATS
    elif n == 6:
        if memcmp(p, b"delete", 6) == 0:
            return V_DELETE
        if memcmp(p, b"append", 6) == 0:
            return V_APPEND
    elif n == 7:
        if memcmp(p, b"replace", 7) == 0:
            return V_REPLACE
        if memcmp(p, b"prepend", 7) == 0:
            return V_PREPEND
        if memcmp(p, b"version", 7) == 0:
            return V_VERSION
    elif n == 9:
        if memcmp(p, b"flush_all", 9) == 0:
            return V_FLUSH_ALL
        if memcmp(p, b"verbosity", 9) == 0:
            return V_VERBOSITY
    elif n == 2 and p[0] == 109:  # m
        if p[1] == 103:
            return V_MG
        if p[1] == 115:
            return V_MS
        if p[1] == 100:
            return V_MD
        if p[1] == 97:
            return V_MA
        if p[1] == 101:
            return V_ME
        if p[1] == 110:
            return V_MN
    return V_NONE


@cython.final
cdef class RequestParser:
    """Finds one request at a time; see the module's head. `max_item_bytes` bounds the data block."""

    def __cinit__(self, size_t max_item_bytes):
        self.max_item_bytes = max_item_bytes
        self.left = b""

    def __dealloc__(self):
        free(self.keys)

    cdef Parsed next(self, const unsigned char *p, size_t n, size_t searched) except *:
        """What stands at p[0:n]. The first `searched` bytes are known to hold no line end."""
        cdef const unsigned char *newline
        cdef size_t limit = MAX_LINE_BYTES
        cdef size_t position = 0
        cdef size_t start
        self.n_keys = 0
        self.quiet = False
        self.skip = 0
        self.need = 0
        self.n_cuts = 0
        self.value_start = self.value_length = 0
        newline = <const unsigned char *> memchr(p + searched, 10, n - searched)
        if (n if newline == NULL else <size_t> (newline - p)) >= MAX_LINE_BYTES:
            while position < MAX_LINE_BYTES and p[position] == 32:
                position += 1
            if position + 5 <= MAX_LINE_BYTES and (
                memcmp(p + position, b"get ", 4) == 0 or memcmp(p + position, b"gets ", 5) == 0
            ):
                limit = MAX_GET_LINE_BYTES
            if (n if newline == NULL else <size_t> (newline - p)) >= limit:
                return self.fatal(LINE_TOO_LONG)
            position = 0
        if newline == NULL:
            return P_MORE
        self.line_length = newline - p
        self.used = self.line_length + 1
        if self.line_length and p[self.line_length - 1] == 13:
            self.line_length -= 1
        while position < self.line_length and p[position] == 32:
            position += 1
        self.body_start = start = position
        while position < self.line_length and p[position] != 32:
            position += 1
        self.body_end = position
        self.verb = find_verb(p + start, position - start)
        if self.verb <= V_GATS:
            return self.parse_get(p, position)
        if self.verb <= V_CAS:
            return self.parse_storage(p, n, position)
        if V_MG <= self.verb <= V_ME:
            return self.parse_meta(p, n, position)
        return self.parse_line(p, position)

    cdef Parsed error(self, const char *reply, size_t skip) noexcept:
        if reply == ERROR:
            self.quiet = False
        self.reply = reply
        self.reply_length = strlen(reply)
        self.skip = skip
        return P_ERROR

    cdef Parsed fatal(self, const char *reply) noexcept:
        self.reply = reply
        self.reply_length = strlen(reply)
        return P_FATAL

    cdef int add_key(self, size_t start, size_t length) except -1:
        cdef size_t capacity
        cdef KeyRef *keys
        if self.n_keys == self.keys_capacity:
            capacity = self.keys_capacity * 2 if self.keys_capacity else 64
            keys = <KeyRef *> realloc(self.keys, capacity * sizeof(KeyRef))
            if keys == NULL:
                raise MemoryError
            self.keys = keys
            self.keys_capacity = capacity
        self.keys[self.n_keys].start = <uint32_t> start
        self.keys[self.n_keys].length = <uint32_t> length
        self.n_keys += 1
        return 0

    cdef Parsed parse_get(self, const unsigned char *p, size_t position) except *:
        cdef size_t end = self.line_length
        cdef size_t start
        cdef bint want_exptime = self.verb >= V_GAT
        cdef unsigned char c
        while True:
            while position < end and p[position] == 32:
                position += 1
            if position == end:
                break
            start = position
            if want_exptime:
                want_exptime = False
                while position < end and p[position] != 32:
                    position += 1
                self.argument.start = <uint32_t> start
                self.argument.length = <uint32_t> (position - start)
                if not is_exptime(p + start, position - start):
                    return self.error(BAD_EXPTIME, 0)
                if only_spaces(p, position, end):
                    return self.error(END, 0)
                continue
            while position < end:
                c = p[position]
                if c <= 32 or c == 127:
                    break
                position += 1
            if position - start > MAX_KEY_BYTES or (position < end and p[position] != 32):
                return self.error(BAD_KEY, 0)
            self.add_key(start, position - start)
            self.body_end = position
        if self.n_keys == 0:
            return self.error(ERROR, 0)
        return P_REQUEST

    cdef Parsed parse_storage(self, const unsigned char *p, size_t n, size_t position) except *:
        cdef KeyRef tokens[MAX_TOKENS]
        cdef int count = split(p, self.line_length, position, tokens)
        cdef int wanted = 5 if self.verb == V_CAS else 4
        cdef int i
        cdef uint64_t value = 0
        cdef uint64_t length = 0
        if count != wanted and count != wanted + 1:
            return self.error(ERROR, 0)
        self.quiet = is_noreply(p, tokens[count - 1])
        if (
            not read_number(p + tokens[1].start, tokens[1].length, MAX_UINT64, &value)
            or not is_exptime(p + tokens[2].start, tokens[2].length)
            or not read_number(p + tokens[3].start, tokens[3].length, MAX_VALUE_BYTES, &length)
            or (wanted == 5 and not read_number(p + tokens[4].start, tokens[4].length, MAX_UINT64, &value))
        ):
            return self.error(BAD_FORMAT, 0)
        if not is_key(p + tokens[0].start, tokens[0].length):
            return self.error(BAD_KEY, length + 2)
        self.add_key(tokens[0].start, tokens[0].length)
        for i in range(wanted - 1):
            self.words[i] = tokens[i + 1]
        self.body_end = tokens[wanted - 1].start + tokens[wanted - 1].length
        if length > self.max_item_bytes:
            self.error(TOO_LARGE, length + 2)
            # of all storage verbs only set loses the old value then, as in memcached
            return P_TOO_LARGE if self.verb == V_SET else P_ERROR
        return self.data_block(p, n, length)

    cdef Parsed data_block(self, const unsigned char *p, size_t n, size_t length) except *:
        self.value_start = self.used
        self.value_length = length
        if n < self.used + length + 2:
            self.need = self.used + length + 2
            return P_MORE
        self.used += length + 2
        if p[self.used - 2] != 13 or p[self.used - 1] != 10:
            return self.error(BAD_CHUNK, 0)
        return P_REQUEST

    cdef Parsed parse_meta(self, const unsigned char *p, size_t n, size_t position) except *:
        cdef size_t end = self.line_length
        cdef KeyRef key = next_token(p, position, end)
        cdef KeyRef size
        cdef uint64_t length = 0
        cdef size_t block = 0
        cdef MetaVerb verb = <MetaVerb> (self.verb - V_MG + <int> META_GET)
        cdef const char *trouble
        if key.length == 0:
            return self.error(BAD_FORMAT if verb == META_DEBUG else ERROR, 0)
        position = key.start + key.length
        if verb == META_SET:
            size = next_token(p, position, end)
            # no plus here, which newer servers do not read
            if (
                size.length == 0 or p[size.start] == 43
                or not read_number(p + size.start, size.length, MAX_VALUE_BYTES, &length)
            ):
                return self.error(BAD_FORMAT, 0)
            position = size.start + size.length
            block = length + 2
        if not is_key(p + key.start, key.length):
            return self.error(BAD_KEY, block)
        trouble = read_flags(&self.meta, verb, p, key, position, end)
        if trouble != NULL:
            return self.error(trouble, block)
        self.add_key(key.start, key.length)
        self.body_end = self.meta.end
        self.n_cuts = self.meta.n_cuts
        self.twin = self.find_twin()
        if verb != META_SET:
            return P_REQUEST
        if length > self.max_item_bytes:
            self.error(TOO_LARGE, block)
            # whatever its mode, as in memcached
            return P_TOO_LARGE
        return self.data_block(p, n, length)

    cdef Verb find_twin(self) noexcept:
        cdef unsigned char mode = self.meta.mode
        if self.verb == V_MS:
            if mode == 69:
                return V_ADD
            if mode == 65:
                return V_APPEND
            if mode == 80:
                return V_PREPEND
            if has_flag(&self.meta, 67):
                return V_CAS
            return V_REPLACE if mode == 82 else V_SET
        if self.verb == V_MD:
            return V_DELETE
        if self.verb == V_MA:
            return V_DECR if mode == 68 else V_INCR
        return V_GAT if has_flag(&self.meta, 84) and self.verb == V_MG else V_GET

    cdef bytes sent_line(self, const unsigned char *p):
        """What is sent on of the line of the request at p, without its end."""
        cdef bytes line = p[self.body_start:self.body_end]
        cdef int i
        cdef size_t start
        for i in range(self.n_cuts - 1, -1, -1):
            start = self.meta.cuts[i].start - self.body_start
            line = line[:start] + line[start + self.meta.cuts[i].length:]
        return line.rstrip(b" ")

    cdef const unsigned char *stored_key(self, const unsigned char *p, size_t *length) noexcept:
        """The only key of the request at p, as a server stores it: what decides where it lives."""
        if V_MG <= self.verb <= V_ME and self.meta.binary:
            length[0] = self.meta.key_length
            return self.meta.key
        length[0] = self.keys[0].length
        return p + self.keys[0].start

    cdef Parsed parse_line(self, const unsigned char *p, size_t position) except *:
        cdef KeyRef tokens[MAX_TOKENS]
        cdef int count
        cdef uint64_t value = 0
        if self.verb == V_NONE:
            return self.error(ERROR, 0)
        count = split(p, self.line_length, position, tokens)
        self.argument.start = tokens[0].start if count else <uint32_t> self.line_length
        self.argument.length = <uint32_t> self.line_length - self.argument.start
        if self.verb == V_DELETE:
            if count == 0 or count > 3:
                return self.error(ERROR, 0)
            self.quiet = count > 1 and is_noreply(p, tokens[count - 1])
            if (count == 3 and not self.quiet) or (
                count > 1 and not (count == 2 and self.quiet)
                and not is_token(p + tokens[1].start, tokens[1].length, b"0", 1)
            ):
                return self.error(BAD_DELETE, 0)
            return self.single_key(p, tokens[0], tokens[0])
        if self.verb == V_INCR or self.verb == V_DECR or self.verb == V_TOUCH:
            if count != 2 and count != 3:
                return self.error(ERROR, 0)
            self.quiet = is_noreply(p, tokens[count - 1])
            if self.single_key(p, tokens[0], tokens[1]) == P_ERROR:
                return P_ERROR
            self.words[0] = tokens[1]
            if self.verb == V_TOUCH:
                if not is_exptime(p + tokens[1].start, tokens[1].length):
                    return self.error(BAD_EXPTIME, 0)
            elif not read_number(p + tokens[1].start, tokens[1].length, MAX_UINT64, &value):
                return self.error(BAD_DELTA, 0)
        elif self.verb == V_FLUSH_ALL:
            if count > 2:
                return self.error(ERROR, 0)
            self.quiet = count > 0 and is_noreply(p, tokens[count - 1])
            self.argument.length = 0
            if count == 2 or (count == 1 and not self.quiet):
                if not is_exptime(p + tokens[0].start, tokens[0].length):
                    return self.error(BAD_EXPTIME, 0)
                self.argument = tokens[0]
                self.body_end = tokens[0].start + tokens[0].length
        elif self.verb == V_VERBOSITY:
            if count != 1 and count != 2:
                return self.error(ERROR, 0)
            self.quiet = is_noreply(p, tokens[count - 1])
            if not read_number(p + tokens[0].start, tokens[0].length, MAX_UINT64, &value):
                return self.error(BAD_FORMAT, 0)
            self.argument = tokens[0]
        return P_REQUEST

    cdef Parsed single_key(self, const unsigned char *p, KeyRef key, KeyRef last) except *:
        """One key, and the request ends with the token `last`."""
        if not is_key(p + key.start, key.length):
            return self.error(BAD_KEY, 0)
        self.add_key(key.start, key.length)
        self.body_end = last.start + last.length
        return P_REQUEST

    def feed(self, bytes data not None):
        """Events of the bytes so far, as tests/reference/requests.py defines them. Keeps what is left over."""
        cdef bytes buffer = self.left + data
        cdef const unsigned char *p = buffer
        cdef size_t n = len(buffer)
        cdef size_t at = min(self.skipping, n)
        cdef Parsed parsed
        events = []
        self.skipping -= at
        while at < n:
            parsed = self.next(p + at, n - at, 0)
            if parsed == P_MORE:
                break
            if parsed == P_FATAL:
                events.append(("fatal", self.reply[:self.reply_length]))
                self.left = b""
                return events
            raw = buffer[at:at + self.used]
            at += self.used
            if parsed == P_REQUEST:
                events.append(self.describe(raw))
                continue
            skip = min(self.skip, n - at)
            at += skip
            self.skipping = self.skip - skip
            if parsed == P_ERROR:
                events.append(("error", self.reply[:self.reply_length], bool(self.quiet)))
            else:
                key = raw[self.keys[0].start:self.keys[0].start + self.keys[0].length]
                events.append(("too_large", key, self.reply[:self.reply_length], bool(self.quiet)))
        self.left = buffer[at:]
        return events

    cdef tuple describe(self, bytes raw):
        """The event of tests/reference/requests.py: (kind, verb, keys, needed arguments, quiet, value)."""
        cdef size_t i
        if V_MG <= self.verb <= V_ME:
            return self.describe_meta(raw)
        keys = tuple(raw[self.keys[i].start:self.keys[i].start + self.keys[i].length] for i in range(self.n_keys))
        argument = raw[self.argument.start:self.argument.start + self.argument.length]
        if self.verb <= V_GATS:
            args = (argument,) if self.verb >= V_GAT else ()
        elif self.verb <= V_TOUCH:
            args = tuple(token for token in raw[self.body_start:self.body_end].split(b" ") if token)[2:]
        else:
            args = tuple(token for token in argument.split(b" ") if token)
        value = raw[self.value_start:self.value_start + self.value_length] if V_SET <= self.verb <= V_CAS else None
        return ("request", _VERBS[self.verb], keys, args, bool(self.quiet), value)

    cdef tuple describe_meta(self, bytes raw):
        """The same of a meta request: its key as stored; its key as given and all that is sent on behind it."""
        cdef const unsigned char *p = raw
        cdef size_t length = 0
        cdef const unsigned char *key = self.stored_key(p, &length)
        args = tuple(token for token in self.sent_line(p).split(b" ") if token)[1:]
        value = raw[self.value_start:self.value_start + self.value_length] if self.verb == V_MS else None
        return ("request", _VERBS[self.verb], (key[:length],), args, bool(self.meta.quiet), value)


cdef int split(const unsigned char *p, size_t end, size_t position, KeyRef *tokens) noexcept:
    """The tokens from `position` on; MAX_TOKENS stands for as many or more."""
    cdef int count = 0
    cdef size_t start
    while count < MAX_TOKENS:
        while position < end and p[position] == 32:
            position += 1
        if position == end:
            break
        start = position
        while position < end and p[position] != 32:
            position += 1
        tokens[count].start = <uint32_t> start
        tokens[count].length = <uint32_t> (position - start)
        count += 1
    return count
